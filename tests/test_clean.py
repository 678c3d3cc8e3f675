"""Exact duplicates: who stays, and where."""

from collections.abc import Sequence

from curation.clean import Cleaned, Row, keep_first, keep_longest


def asked(*rows: tuple[str, int]) -> list[Row]:
    """Make rows named a, b, c ... from (question, response length)."""
    return [
        Row(n, chr(ord("a") + n), n, (("exact_duplicate", question),), length)
        for n, (question, length) in enumerate(rows)
    ]


def kept(cleaned: Cleaned) -> Sequence[tuple[str, int]]:
    return sorted(((row.id, position) for row, position in cleaned.kept), key=lambda one: one[1])


def test_the_longest_response_stays_at_the_place_of_the_first() -> None:
    cleaned = keep_longest(asked(("q", 1), ("other", 5), ("q", 9), ("q", 3)))
    assert kept(cleaned) == [("c", 0), ("b", 1)]
    assert [(one.row.id, one.keeper.id) for one in cleaned.repeats] == [("a", "c"), ("d", "c")]


def test_ties_keep_the_first() -> None:
    assert kept(keep_longest(asked(("q", 4), ("q", 4)))) == [("a", 0)]


def row(id: str, seed: str, problem: str, solution: str) -> Row:
    keys = (("duplicate_seed", seed), ("duplicate_problem", problem), ("duplicate_solution", solution))
    return Row(ord(id), id, ord(id), keys, 0)


def test_magicoder_drops_a_row_whose_seed_problem_or_solution_was_kept_before() -> None:
    rows = [
        row("a", "s", "p", "x"),
        row("b", "s", "q", "y"),
        row("c", "t", "p", "z"),
        row("d", "u", "r", "x"),
    ]
    cleaned = keep_first(rows)
    assert [one.id for one, _ in cleaned.kept] == ["a"]
    assert [(one.row.id, one.reason) for one in cleaned.repeats] == [
        ("b", "duplicate_seed"),
        ("c", "duplicate_problem"),
        ("d", "duplicate_solution"),
    ]


def test_a_dropped_row_adds_nothing_to_what_was_seen() -> None:
    rows = [row("a", "s", "p", "x"), row("b", "s", "q", "y"), row("c", "t", "q", "z")]
    assert [one.id for one, _ in keep_first(rows).kept] == ["a", "c"], "b was dropped, so its problem is free"
