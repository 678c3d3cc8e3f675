"""Exact duplicates: who stays, and where."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from curation.clean import Cleaned, Row, clean, keep_first, keep_longest
from curation.records import Sample, digest
from curation.review import rescue
from curation.sample_words import say
from curation.store import decisions, runs, samples, seeds
from curation.workspace import Workspace
from tests.made_up_seeds import made_up_seeds
from tests.workspaces import CommandLine


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


# --- the rule for generated rows, on a store: planted repeats (recipes 1.5) ---

SAMPLES = (  # seed, problem, solution; `same` says what becomes of a row, and by which
    ("a", "Sum a list.", "sum(x)"),
    ("b", "Sort a list.", "sorted(x)"),
    ("a again", "Reverse a list.", "x[::-1]"),  # its seed is a's text, its white space aside
    ("a", "Rotate a list.", "x[1:] + x[:1]"),  # a second reply to one seed
    ("c", "Sum \n a\tlist.", "return sum(x)"),  # a's problem
    ("d", "sum a list.", "s = sum(x)"),  # other letters: case is kept
    ("e", "Order a list.", " sorted ( x )\n"),  # b's solution
    ("f", "Reverse a list.", "list(reversed(x))"),  # what repeats only dropped rows is kept
    ("g", "Sort  a list.", "sum (x)"),  # b's problem and a's solution: the problem comes first
    ("b", "Sort a list.", "sorted(x)"),  # all three: the seed comes first
    (None, "Count a list.", "len(x)"),  # imported: it has no seed
    (None, "Length of a list", "len( x )"),
)
FATES = {
    2: ("duplicate_seed", 0), 3: ("duplicate_seed", 0), 4: ("duplicate_problem", 0),
    6: ("duplicate_solution", 1), 8: ("duplicate_problem", 1), 9: ("duplicate_seed", 1),
    11: ("duplicate_solution", 10),
}  # fmt: skip
LANGUAGES = {"a": "Python", "a again": "Python", "b": "Java", "c": "Python", "d": "Python", "e": "Java"}


def planted(folder: Path) -> Workspace:
    """Give a workspace with SAMPLES, in this order."""
    texts = {"a": "def f(x):\n    return x", "a again": "def f(x):\n\treturn x\n"}
    named = {name: f"{name}: x = 1" for name, *_ in SAMPLES if name} | texts
    snippets = {
        name: replace(
            made_up_seeds(1)[0], id=digest("seed", name), text=text, language=LANGUAGES.get(name, "Rust")
        )
        for name, text in named.items()
    }
    workspace = Workspace(folder)
    with workspace.database.transaction() as connection:
        seeds.add(connection, list(snippets.values()))
        rows = [
            Sample(
                id_of(number), problem, "", solution, "p", None, "oss", "MIT", "oss-instruct",
                seed_id=snippets[name].id if name else None,
            )
            for number, (name, problem, solution) in enumerate(SAMPLES)
        ]  # fmt: skip
        samples.add(connection, rows)
    return workspace


def id_of(number: int) -> str:
    return digest("row", str(number))


def fates(workspace: Workspace) -> dict[int, tuple[str, int]]:
    """Read which rows the current run dropped, for what, and in favour of which."""
    numbers = {id_of(number): number for number in range(len(SAMPLES))}
    run = runs.current(workspace.database, "clean")
    assert run is not None
    found = {}
    for one in decisions.outcomes(workspace.database, run.id):
        for why in decisions.rejections_of(workspace.database, run.id, one.seq):
            assert one.state == "dropped"
            found[one.seq - 1] = (why.reason, numbers[why.evidence["keeper"]])
    return found


def test_magicoders_rule_names_rows_reasons_and_survivors(tmp_path: Path) -> None:
    workspace = planted(tmp_path / "w")
    report = clean(workspace, "magicoder").report
    assert fates(workspace) == FATES
    assert {name: report[name] for name in ("in", "kept", "pending", "dropped")} == {
        "in": 12, "kept": 5, "pending": 0,
        "dropped": {"duplicate_seed": 3, "duplicate_problem": 2, "duplicate_solution": 2},
    }  # fmt: skip
    assert runs.input_rows(workspace.database, "near-duplicates").ids == [id_of(n) for n in (0, 1, 5, 7, 10)]


def test_the_report_by_language_adds_up_and_shows_examples(tmp_path: Path) -> None:
    workspace = planted(tmp_path / "w")
    languages = clean(workspace, "magicoder").report["languages"]
    assert {
        name: (one["in"], one["kept"], one["pending"], one["dropped"]) for name, one in languages.items()
    } == {
        "Python": (5, 2, 0, {"duplicate_problem": 1, "duplicate_seed": 2}),
        "Java": (3, 1, 0, {"duplicate_seed": 1, "duplicate_solution": 1}),
        "Rust": (2, 1, 0, {"duplicate_problem": 1}),
        "no seed": (2, 1, 0, {"duplicate_solution": 1}),
    }
    assert next(iter(languages)) == "Python", "the largest first"
    assert languages["Python"]["examples"]["duplicate_seed"] == [
        {"id": id_of(2), "keeper": id_of(0), "problem": "Reverse a list."},
        {"id": id_of(3), "keeper": id_of(0), "problem": "Rotate a list."},
    ]
    assert "languages" not in clean(workspace, "platypus").report


def test_a_reason_has_five_examples_and_counts_follow_a_rescue(tmp_path: Path) -> None:
    workspace = planted(tmp_path / "w")
    with workspace.database.transaction() as connection:
        more = [
            Sample(id_of(100 + n), f"New {n}", "", "sum(x)", "p", None, "oss", "MIT", "oss-instruct")
            for n in range(9)
        ]
        samples.add(connection, more)
    say(workspace, id_of(108), "reject")
    told = clean(workspace, "magicoder").report["languages"]["no seed"]
    assert told["dropped"] == {"duplicate_solution": 9, "rejected_by_person": 1}
    shown = [one["id"] for one in told["examples"]["duplicate_solution"]]
    assert shown == [id_of(11), *(id_of(100 + n) for n in range(4))], "the first five, in their order"
    assert told["examples"]["rejected_by_person"] == [{"id": id_of(108), "keeper": None, "problem": "New 8"}]
    rescue(workspace, id_of(100))
    again = clean(workspace, "magicoder")
    told = again.report["languages"]["no seed"]
    assert again.unchanged and (told["in"], told["kept"], told["pending"]) == (11, 1, 1)
    assert sum(told["dropped"].values()) == 9


def test_the_report_can_be_read_in_a_terminal(cli: CommandLine) -> None:
    planted(cli.workspace).database.close()
    out = cli("clean", "--rule", "magicoder", json_wanted=False).out.splitlines()
    at = out.index("Python: 5 in, 2 kept, 3 dropped")
    assert out[at + 1 : at + 3] == [
        "  duplicate problem: 1",
        f"    {id_of(4)[:12]} repeats {id_of(0)[:12]}  Sum a list.",
    ]
    assert "languages" not in "".join(out) and "kept: 5" in out
