"""What another threshold or band would do, and which sources repeat one another: told without a new run.

All of it counts the keep rule alone, on the pairs that the run stored; what people settled is left out and
stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.pair_browser import PairBrowser
from curation.store.database import Row

REST = "all others"
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Change:
    """The rows (their places in the run) that another threshold would give back, or take out."""

    gained: npt.NDArray[np.int64]  # fall at the run's threshold, and would stay
    lost: npt.NDArray[np.int64]  # stay at the run's threshold, and would fall


@dataclass(frozen=True)
class Bands:
    """What every band between two steps would bring, [lower edge, upper edge]: the rule drops above it, and
    people are asked inside it. Nonsense where the edges are turned.

    Pairs above it whose responses disagree are asked about, too; how many they are only a run tells.
    """

    sure: Counts  # rows that fall without a question
    gray: Counts  # rows that fall unless a person says otherwise
    questions: Counts  # pairs of gray rows with rows that stay: what people are asked without a budget


@dataclass(frozen=True)
class Moved:
    """A row that would be gained or lost, with the row that it falls for."""

    sample: Row[Any]
    keeper: Row[Any]
    cosine: float


@dataclass(frozen=True)
class Matrix:
    """How much sources repeat one another."""

    sources: Sequence[str]
    rows: Counts  # rows that each source has
    pairs: Counts  # (source, source): pairs between the two; symmetric
    repeated: Counts  # (source, other): rows of the source that resemble a row of the other


class WhatIf:
    """Asks the pairs of a run what other settings would do. Safe to share between threads."""

    def __init__(self, browser: PairBrowser) -> None:
        self._browser = browser

    def change(self, threshold: float) -> Change:
        """Say which rows another threshold moves. Raises WrongInput below the run's floor and above 1.

        Between two steps the rows are those of the lower one.
        """
        now, then = self._browser.falls(self._browser.threshold), self._browser.falls(threshold)
        return Change(np.flatnonzero(now & ~then), np.flatnonzero(then & ~now))

    def moved(self, places: Sequence[int], threshold: float) -> list[Moved]:
        """Give rows with the closest row that stays at this threshold and that they resemble."""
        falls, rank = self._browser.falls(threshold), self._browser.facts.rows["rank"]
        seqs = self._browser.seqs
        closest: dict[int, tuple[int, float]] = {}
        wanted = np.zeros(len(seqs), dtype=bool)
        wanted[list(places)] = True
        for found in self._browser.at_least(threshold):
            found = found[wanted[found["left"]] | wanted[found["right"]]]
            is_turned = rank[found["left"]] > rank[found["right"]]
            better = np.where(is_turned, found["right"], found["left"])
            worse = np.where(is_turned, found["left"], found["right"])
            for number in np.flatnonzero(wanted[worse] & ~falls[better]):
                cosine = float(found["cosine"][number])
                if cosine > closest.get(int(worse[number]), (0, -2.0))[1]:
                    closest[int(worse[number])] = (int(better[number]), cosine)
        moved = [(place, *closest[place]) for place in places if place in closest]
        rows = self._browser.samples([int(seqs[n]) for place, keeper, _ in moved for n in (place, keeper)])
        return [Moved(rows[int(seqs[a])], rows[int(seqs[b])], cosine) for a, b, cosine in moved]

    @property
    def bands(self) -> Bands:
        """Say what every band between two steps would bring: what a page tells while a handle moves."""
        return Bands(*(self._browser.bands[name] for name in ("sure", "gray", "questions")))

    def matrix(self, threshold: float, most: int = 12) -> Matrix:
        """Count pairs between sources. The `most` with the most pairs are named, the others together.

        Raises WrongInput below the run's floor and above 1.
        """
        facts = self._browser.facts
        names, group = self._largest(threshold, most)
        size, own = len(names), group[facts.rows["source"]]
        pairs = np.zeros((size, size), dtype=np.int64)
        meets = np.zeros((len(own), size), dtype=bool)
        for found in self._browser.at_least(threshold):
            left, right = own[found["left"]], own[found["right"]]
            pairs += np.bincount(left * size + right, minlength=size**2).reshape(size, size)
            meets[found["left"], right] = meets[found["right"], left] = True
        return Matrix(
            names,
            np.bincount(own, minlength=size),
            pairs + pairs.T - np.diag(np.diag(pairs)),
            np.stack([meets[own == one].sum(axis=0, dtype=np.int64) for one in range(size)]),
        )

    def _largest(self, threshold: float, most: int) -> tuple[list[str], Counts]:
        """Name the sources with the most pairs; give for every source its place among the names."""
        words = self._browser.facts.words["source"]
        source = self._browser.facts.rows["source"]
        counts = np.zeros(len(words), dtype=np.int64)
        for found in self._browser.at_least(threshold):
            for end in ("left", "right"):
                counts += np.bincount(source[found[end]], minlength=len(words))
        largest = np.argsort(-counts, kind="stable")[:most]
        group = np.full(len(words), len(largest), dtype=np.int64)
        group[largest] = np.arange(len(largest))
        rest = [REST] if len(words) > len(largest) else []
        return [words[number] for number in largest] + rest, group
