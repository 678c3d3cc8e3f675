"""Which lines to take from a document: Magicoder's 1-15 at random, or one whole function, method or class.

Lines are counted from 1, both ends belong to a cut, and a line ends after "\\n", "\\r\\n" or a lone "\\r" and
nowhere else: so count `bytes.splitlines`, Python's own reader and `documented_functions`. Form feeds and
U+2028 end no line (`str.splitlines` says they do). A cut keeps its line ends, so that its text is lines
first..last of the file, byte for byte.

Chance comes from SHA-256 over the policy's random seed and the document's hash, and from nothing else: the
same document gives the same cut in any order, chunk, process or version of Python. (Magicoder seeds once a
chunk of 1,000 rows, so that its cuts change with the chunking.)
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from curation.errors import WrongInput
from curation.syntax_units import units_of

KINDS = ("magicoder", "syntax")
MAX_LINES = 1_000  # a seed is shown to a teacher whole

# How often another span is drawn when it overlaps those of the same document.
TRIES = 32


@dataclass(frozen=True, slots=True)
class Policy:
    """How lines are chosen. The defaults are Magicoder's (section 2.1; src/magicoder/generate_data.py)."""

    kind: str = "magicoder"  # or "syntax"
    min_lines: int = 1
    max_lines: int = 15
    random_seed: int = 976
    per_document: int = 1  # cuts that do not overlap; a short document gives fewer

    def __post_init__(self) -> None:
        """Raise WrongInput for what no document could be cut by."""
        if self.kind not in KINDS:
            raise WrongInput(f"no such policy: {self.kind}; there are {' and '.join(KINDS)}")
        if not 1 <= self.min_lines <= self.max_lines <= MAX_LINES:
            raise WrongInput(
                f"a cut has between 1 and {MAX_LINES} lines, and the least is not above the most; "
                f"got {self.min_lines} to {self.max_lines}"
            )
        if self.per_document < 1:
            raise WrongInput(f"cuts a document are 1 or more, not {self.per_document}")


@dataclass(frozen=True, slots=True)
class Cut:
    """Consecutive lines of a document."""

    first_line: int  # from 1
    last_line: int  # inclusive
    text: str  # these lines with their line ends, the last one's too where the file has it


@dataclass(frozen=True, slots=True)
class NoCut:
    """An empty list of cuts that says why it is empty."""

    reason: str  # "empty", "whitespace", "no_unit_of_this_length", "too_large", "long_line", "too_deep"

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Cut]:
        return iter(())


def cut(document_hash: str, text: str, language: str, policy: Policy) -> list[Cut] | NoCut:
    """Choose the lines of one document, in the order they were drawn: the first of three is the one of one.

    `document_hash` names the document (sha256 of its bytes) and is what chance depends on. `language` is one
    of `languages.NAMES`; only the policy "syntax" asks for it. A result without cuts is a `NoCut`.
    """
    if not text:
        return NoCut("empty")
    if policy.kind == "syntax":
        return _cut_by_syntax(document_hash, text, language, policy)
    return _cut_by_chance(document_hash, text, policy)


# --- Magicoder's rule: the start uniform over all lines, the length uniform, clipped at the end ---


def _cut_by_chance(document_hash: str, text: str, policy: Policy) -> list[Cut] | NoCut:
    lines = _Lines(text)
    lengths = policy.max_lines - policy.min_lines + 1
    spans: list[tuple[int, int]] = []
    for draw in range(1 if policy.per_document == 1 else policy.per_document * TRIES):
        one, other = _draws(policy.random_seed, document_hash, draw)
        first = _below(lines.count, one) + 1
        last = min(first + policy.min_lines - 1 + _below(lengths, other), lines.count)
        if all(last < taken_first or first > taken_last for taken_first, taken_last in spans):
            spans.append((first, last))
            if len(spans) == policy.per_document:
                break
    cuts = (Cut(first, last, lines.slice(first, last)) for first, last in spans)
    return [found for found in cuts if not _is_blank(found.text)] or NoCut("whitespace")


def _draws(random_seed: int, document_hash: str, draw: int) -> tuple[int, int]:
    """Give two independent numbers, uniform below 2**128."""
    state = sha256(f"{random_seed}:{draw}:{document_hash}".encode()).digest()
    return int.from_bytes(state[:16], "big"), int.from_bytes(state[16:], "big")


def _below(limit: int, number: int) -> int:
    """Scale a number uniform below 2**128 to one below `limit`; what that favours is under limit / 2**128."""
    return number * limit >> 128


def _is_blank(text: str) -> bool:
    return not text.removeprefix("\ufeff").strip()


# --- lines without splitting: most of a file is only counted ---

LONE_RETURN = re.compile(r"\r(?!\n)")
BLOCK = 4_096  # characters
FEW = 8  # line ends that are sooner found one by one than counted by halves


class _Lines:
    """Lines of a text by their number. Nothing is split: line ends are counted, a block at a time."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ends = ends = _with_newlines(text)
        self._counts = [ends.count("\n", start, start + BLOCK) for start in range(0, len(ends), BLOCK)]
        self._newlines = sum(self._counts)
        self.count = self._newlines + (not ends.endswith("\n"))

    def slice(self, first: int, last: int) -> str:
        """Give lines first..last, both from 1 and inclusive."""
        start = self._after(first - 1)
        if last > self._newlines:
            return self._text[start:]
        return self._text[start : self._skip(start, last - first + 1)]

    def _after(self, lines: int) -> int:
        """Give the offset where this many lines have ended."""
        start = 0
        for count in self._counts:
            if lines <= count:
                break
            lines, start = lines - count, start + BLOCK
        half = BLOCK // 2
        while lines > FEW:
            before = self._ends.count("\n", start, start + half)
            if before < lines:
                lines, start = lines - before, start + half
            half //= 2
        return self._skip(start, lines)

    def _skip(self, start: int, lines: int) -> int:
        for _ in range(lines):
            start = self._ends.index("\n", start) + 1
        return start


def _with_newlines(text: str) -> str:
    """Give a text of the same length in which every line ends in a newline: lone returns become one."""
    return LONE_RETURN.sub("\n", text) if "\r" in text else text


# --- whole units of the language ---


def _cut_by_syntax(document_hash: str, text: str, language: str, policy: Policy) -> list[Cut] | NoCut:
    """Choose uniformly among all units that fit; a second one is chosen among those that overlap no first."""
    if _is_blank(text):
        return NoCut("whitespace")
    units = units_of(text, language)
    if isinstance(units, str):
        return NoCut(units)
    left = [unit for unit in units if policy.min_lines <= unit[1] - unit[0] + 1 <= policy.max_lines]
    lines = _Lines(text)
    cuts: list[Cut] = []
    while left and len(cuts) < policy.per_document:
        first, last = left[_below(len(left), _draws(policy.random_seed, document_hash, len(cuts))[0])]
        cuts.append(Cut(first, last, lines.slice(first, last)))
        left = [unit for unit in left if unit[1] < first or unit[0] > last]
    return cuts or NoCut("no_unit_of_this_length")
