"""Benchmark strings inside training text: every hit, by Aho-Corasick.

Source: Magicoder src/magicoder/decontamination/find_substrings.py (from StarCoder): raw substring, both
sides lower-cased, white space as it is. Ours finds all hits instead of the first, and lets CR LF equal LF.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LONG = (
    50  # non-space characters from which a hit is proof; recipes.md 1.6 lists what shorter ones hit by chance
)


@dataclass(frozen=True, slots=True)
class BenchmarkString:
    """A string to look for."""

    item: int  # number of the benchmark item
    side: str  # problem | solution
    text: str

    @property
    def is_long(self) -> bool:
        return sum(not c.isspace() for c in self.text) >= LONG


@dataclass(frozen=True, slots=True)
class Hit:
    """A benchmark string found in a text."""

    string: BenchmarkString
    start: int  # characters from the start of the lower-cased text
    end: int


def comparable(text: str) -> str:
    """Give the form in which texts are compared."""
    return text.replace("\r\n", "\n").lower()


class SubstringFinder:
    """Finds every occurrence of many strings in one pass over a text."""

    def __init__(self, strings: Sequence[BenchmarkString]) -> None:
        from ahocorasick_rs import AhoCorasick, Implementation

        self._owners: dict[str, list[BenchmarkString]] = {}
        for string in strings:
            text = comparable(string.text).strip()
            if text:
                self._owners.setdefault(text, []).append(string)
        self._patterns = list(self._owners)
        # Quicker to build than a DFA and as quick to scan (performance.md section 4).
        self._machine = AhoCorasick(self._patterns, implementation=Implementation.ContiguousNFA)

    def hits(self, text: str) -> Iterator[Hit]:
        """Give the first occurrence of each string in a text; strings that overlap are all found."""
        seen: set[int] = set()
        for number, start, end in self._machine.find_matches_as_indexes(comparable(text), overlapping=True):
            if number not in seen:
                seen.add(number)
                for string in self._owners[self._patterns[number]]:
                    yield Hit(string, start, end)
