"""Two texts side by side: which words they share and which only one of them has."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

# A word, a run of white space, or one other character: code differs in single signs.
TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
MOST_TOKENS = 1_500  # of one text; difflib is quadratic, longer texts are compared line by line
MOST_LINES = 5_000  # a text with more is cut here, and says so


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of one text."""

    text: str
    shared: bool  # the other text has it, too, at this place


def word_diff(left: str, right: str) -> tuple[list[Span], list[Span]]:
    """Split both texts into shared pieces and their own. The pieces of a side, joined, give its text.

    Words are aligned by difflib; texts of more than 1,500 tokens are aligned by lines.
    """
    first, second = TOKEN.findall(left), TOKEN.findall(right)
    if max(len(first), len(second)) > MOST_TOKENS:
        first, second = left.splitlines(keepends=True), right.splitlines(keepends=True)
    if max(len(first), len(second)) > MOST_LINES:  # not code a person compares word by word
        same = left == right
        return [Span(left, same)], [Span(right, same)]
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return _spans(first, [(b.a, b.size) for b in blocks]), _spans(second, [(b.b, b.size) for b in blocks])


def _spans(tokens: list[str], shared: list[tuple[int, int]]) -> list[Span]:
    spans: list[Span] = []
    at = 0
    for start, size in shared:
        if start > at:
            spans.append(Span("".join(tokens[at:start]), False))
        if size:
            spans.append(Span("".join(tokens[start : start + size]), True))
        at = start + size
    return spans


def highlighted(text: str, start: int, end: int) -> list[Span]:
    """Split a text around one stretch of it (the text that a benchmark shares): positions in characters."""
    pieces = [Span(text[:start], False), Span(text[start:end], True), Span(text[end:], False)]
    return [piece for piece in pieces if piece.text]
