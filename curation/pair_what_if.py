"""What another threshold or band would do, and which sources repeat one another: told without a new run.

All of it counts the keep rule alone, on the pairs that the run stored; what people settled is left out and
stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.keep_walk import Mask, walk
from curation.pair_browser import PairBrowser
from curation.pair_facts import Facts
from curation.store.database import Row

REST = "all others"
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Change:
    """The rows (their places in the run) that another threshold would give back, or take out."""

    gained: npt.NDArray[np.int64]  # fall at the run's threshold, and would stay
    lost: npt.NDArray[np.int64]  # stay at the run's threshold, and would fall


@dataclass(frozen=True)
class Band:
    """What a band would bring: the rule drops above it, people are asked inside it."""

    pairs: int  # inside it
    clusters: int  # that pairs from its lower edge on connect
    sure_rows: int  # fall without a question
    gray_rows: int  # fall unless a person says otherwise
    questions: int  # pairs of gray rows with rows that stay: what people would be asked without a budget


@dataclass(frozen=True)
class Bands:
    """The same for every band between two steps: [lower edge, upper edge]; nonsense where they are turned."""

    sure: Counts
    gray: Counts
    questions: Counts


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
        self._walked = lru_cache(maxsize=64)(self._walk)

    @cached_property
    def _turned(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Give the pairs, most alike first, each with the row that the keep rule meets first in front."""
        found = self._browser.pairs[self._browser.order]
        rank = self._browser.facts.rows["rank"]
        is_turned = rank[found["left"]] > rank[found["right"]]
        better = np.where(is_turned, found["right"], found["left"])
        return better, np.where(is_turned, found["left"], found["right"])

    def _walk(self, upto: int) -> tuple[Mask, Mask]:
        better, worse = self._turned
        return walk(better[:upto], worse[:upto], len(self._browser.facts.rows))

    def _at(self, threshold: float) -> tuple[Mask, Mask]:
        return self._walked(self._browser.count(threshold))

    def change(self, threshold: float) -> Change:
        """Say which rows another threshold moves. Raises WrongInput below the run's floor and above 1."""
        self._browser.summary(threshold)
        _, now = self._at(self._browser.threshold)
        _, then = self._at(threshold)
        return Change(np.flatnonzero(now & ~then), np.flatnonzero(then & ~now))

    def moved(self, places: Sequence[int], threshold: float) -> list[Moved]:
        """Give rows with the closest row that stays at this threshold and that they resemble."""
        kept, _ = self._at(threshold)
        better, worse = self._turned
        upto = self._browser.count(threshold)
        seqs = self._browser.seqs
        closest: dict[int, tuple[int, float]] = {}
        wanted = np.zeros(len(seqs), dtype=bool)
        wanted[list(places)] = True
        for number in np.flatnonzero(wanted[worse[:upto]] & kept[better[:upto]]):  # the most alike first
            cosine = float(self._browser.pairs[self._browser.order[number]]["cosine"])
            closest.setdefault(int(worse[number]), (int(better[number]), cosine))
        found = [(place, *closest[place]) for place in places if place in closest]
        rows = self._browser.samples([int(seqs[n]) for place, keeper, _ in found for n in (place, keeper)])
        return [Moved(rows[int(seqs[a])], rows[int(seqs[b])], cosine) for a, b, cosine in found]

    def band(self, low: float, high: float) -> Band:
        """Say what a band would bring. Raises WrongInput below the run's floor and above 1.

        Pairs above it whose responses disagree are asked about, too; how many they are only a run tells.
        """
        clusters = self._browser.summary(low).clusters
        upto, sure = self._browser.count(low), self._browser.count(high)
        kept, dropped = self._at(low)
        better, worse = self._turned
        decides = kept[better[:upto]]  # of a pair of a row that stays and one that is not that row's better
        is_sure = np.zeros(len(kept), dtype=bool)
        is_sure[worse[:sure][decides[:sure]]] = True
        gray = decides[sure:] & ~is_sure[worse[sure:upto]]
        return Band(
            upto - sure, clusters, int(is_sure.sum()), int((dropped & ~is_sure).sum()), int(gray.sum())
        )

    @cached_property
    def bands(self) -> Bands:
        """Say what every band between two steps would bring: what a page tells while a handle moves."""
        steps = self._browser.steps
        size = len(steps)
        bands = Bands(*(np.zeros((size, size), dtype=np.int64) for _ in range(3)))
        counts = [self._browser.count(step) for step in steps]
        better, worse = self._turned
        for low, upto in enumerate(counts):
            kept, dropped = self._walked(upto)
            decides = np.flatnonzero(kept[better[:upto]])
            # Of each row that falls, the step of the most alike row that it falls for; pairs lie that way.
            best = np.full(len(kept), -1, dtype=np.int64)
            step_of = np.searchsorted(-np.array(counts), -decides, side="left") - 1
            np.maximum.at(best, worse[decides], step_of)
            rows = np.bincount(best[dropped], minlength=size)
            questions = np.bincount(best[worse[decides]], minlength=size)
            bands.gray[low] = np.cumsum(rows) - rows  # below the upper edge
            bands.sure[low] = rows.sum() - bands.gray[low]
            bands.questions[low] = np.cumsum(questions) - questions
        return bands

    def matrix(self, threshold: float, most: int = 12) -> Matrix:
        """Count pairs between sources. The `most` with the most pairs are named, the others together.

        Raises WrongInput below the run's floor and above 1.
        """
        self._browser.summary(threshold)
        facts = self._browser.facts
        found = self._browser.pairs[self._browser.order[: self._browser.count(threshold)]]
        names, group = _largest(facts, found, most)
        size = len(names)
        source = group[facts.rows["source"]]
        left, right = source[found["left"]], source[found["right"]]
        pairs = np.bincount(left * size + right, minlength=size * size).reshape(size, size)
        both = np.concatenate([found["left"], found["right"]]).astype(np.int64) * size
        meets = np.unique(both + np.concatenate([right, left]))
        repeated = np.bincount(source[meets // size] * size + meets % size, minlength=size * size)
        return Matrix(
            names,
            np.bincount(source, minlength=size),
            pairs + pairs.T - np.diag(np.diag(pairs)),
            repeated.reshape(size, size),
        )


def _largest(facts: Facts, found: npt.NDArray[np.void], most: int) -> tuple[list[str], Counts]:
    """Name the sources with the most pairs; give for every source its place among the names."""
    words = facts.words["source"]
    source = facts.rows["source"]
    both = np.concatenate([source[found["left"]], source[found["right"]]])
    counts = np.bincount(both, minlength=len(words))
    largest = np.argsort(-counts, kind="stable")[:most]
    group = np.full(len(words), len(largest), dtype=np.int64)
    group[largest] = np.arange(len(largest))
    rest = [REST] if len(words) > len(largest) else []
    return [words[number] for number in largest] + rest, group
