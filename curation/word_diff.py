"""Two texts side by side: which words they share and which only one of them has."""

import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate

# A word, a run of white space, or one other character: code differs in single signs.
TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
MOST_TOKENS = 1_500  # of one text; difflib is quadratic, longer texts are compared line by line
MOST_STEPS = (
    1_500_000  # of difflib for one pair; real pairs took 0.6 million at most, repeated words take billions
)
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
    blocks = sorted(_blocks(first, second))
    return _spans(first, [(a, size) for a, _, size in blocks]), _spans(
        second, [(b, size) for _, b, size in blocks]
    )


def _blocks(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Align two texts as difflib does, the longest shared piece first: (begin, begin, tokens) of each piece.

    A text that repeats itself can take difflib hours. Ranges are looked at from the outside in, and one that
    would take more than the steps left keeps only what both sides begin and end with.
    """
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    times = Counter(second)
    steps = [0, *accumulate(times[token] for token in first)]
    left = MOST_STEPS
    waiting = deque([(0, len(first), 0, len(second))])
    while waiting:
        a, a_end, b, b_end = waiting.popleft()
        if steps[a_end] - steps[a] > left:
            yield from _ends(first[a:a_end], second[b:b_end], a, b)
            continue
        left -= steps[a_end] - steps[a]
        at, other, size = matcher.find_longest_match(a, a_end, b, b_end)
        if size:
            yield at, other, size
            waiting += [(a, at, b, other), (at + size, a_end, other + size, b_end)]
    yield len(first), len(second), 0


def _ends(first: Sequence[str], second: Sequence[str], a: int, b: int) -> Iterator[tuple[int, int, int]]:
    """Give what two ranges, which begin at `a` and `b`, begin and end with in common."""
    most = min(len(first), len(second))
    head = next((n for n in range(most) if first[n] != second[n]), most)
    most -= head
    tail = next((n for n in range(most) if first[-1 - n] != second[-1 - n]), most)
    yield a, b, head
    yield a + len(first) - tail, b + len(second) - tail, tail


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
