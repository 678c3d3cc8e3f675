"""Two texts side by side: nothing is lost, and what is marked is what differs."""

from difflib import SequenceMatcher

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import word_diff as diff
from curation.word_diff import MOST_LINES, MOST_TOKENS, Span, word_diff


def own(spans: list[Span]) -> str:
    return "".join(span.text for span in spans if not span.shared)


def whole(spans: list[Span]) -> str:
    return "".join(span.text for span in spans)


def test_only_the_words_that_differ_are_marked() -> None:
    left, right = word_diff("Write a Python function to sort", "Write a Rust function to sort")
    assert (own(left), own(right)) == ("Python", "Rust")


def test_code_differs_in_single_signs() -> None:
    left, right = word_diff("if a[i] > b:", "if a[i] >= b:")
    assert (own(left), own(right)) == ("", "=")


def test_an_empty_side_has_no_spans() -> None:
    assert word_diff("", "x") == ([], [Span("x", False)])


@given(st.text(max_size=200), st.text(max_size=200))
def test_the_pieces_joined_are_the_text(left: str, right: str) -> None:
    a, b = word_diff(left, right)
    assert (whole(a), whole(b)) == (left, right)


@given(st.text(max_size=200), st.text(max_size=200))
def test_what_is_shared_is_the_same_on_both_sides(left: str, right: str) -> None:
    a, b = word_diff(left, right)
    assert "".join(s.text for s in a if s.shared) == "".join(s.text for s in b if s.shared)


@settings(max_examples=30)
@given(st.text(max_size=300))
def test_a_text_equals_itself(text: str) -> None:
    assert own(word_diff(text, text)[0]) == ""


def test_long_texts_are_compared_line_by_line() -> None:
    lines = [f"line {n} of many\n" for n in range(MOST_TOKENS)]
    changed = [*lines[:700], "another line\n", *lines[701:]]
    left, right = word_diff("".join(lines), "".join(changed))
    assert (own(left), own(right)) == (lines[700], "another line\n")


@pytest.mark.parametrize(
    ("left", "right"),
    [("a " * 750, "a b c d " * 187), ("x y\n" * MOST_LINES, "x y\nz q\n" * (MOST_LINES // 2))],
    ids=["words", "lines"],
)
def test_a_text_that_repeats_itself_takes_a_bounded_number_of_steps(left: str, right: str) -> None:
    """Such rows occur in generated data; difflib alone takes 33 s for the first, more for the second."""
    a, b = word_diff(left, right)
    assert (whole(a), whole(b)) == (left, right)
    assert "".join(s.text for s in a if s.shared) == "".join(s.text for s in b if s.shared) != ""


@settings(max_examples=50)
@given(st.text("ab (", max_size=150), st.text("ab (", max_size=150), st.integers(0, 3_000))
def test_few_steps_lose_no_text(left: str, right: str, steps: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diff, "MOST_STEPS", steps)
        a, b = word_diff(left, right)
    assert (whole(a), whole(b)) == (left, right)
    assert "".join(s.text for s in a if s.shared) == "".join(s.text for s in b if s.shared)


@settings(max_examples=50)
@given(st.text("ab (", max_size=150), st.text("ab (", max_size=150))
def test_with_steps_enough_it_is_what_difflib_says(left: str, right: str) -> None:
    first, second = diff.TOKEN.findall(left), diff.TOKEN.findall(right)
    wanted = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    found = "".join(span.text for span in word_diff(left, right)[0] if span.shared)
    assert found == "".join("".join(first[b.a : b.a + b.size]) for b in wanted)


def test_a_text_with_too_many_lines_is_one_piece() -> None:
    long = "x\n" * (MOST_LINES + 1)
    assert word_diff(long, "y") == ([Span(long, False)], [Span("y", False)])
