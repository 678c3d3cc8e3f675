"""Two texts side by side: nothing is lost, and what is marked is what differs."""

from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_a_text_with_too_many_lines_is_one_piece() -> None:
    long = "x\n" * (MOST_LINES + 1)
    assert word_diff(long, "y") == ([Span(long, False)], [Span("y", False)])
