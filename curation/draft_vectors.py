"""Vectors in bfloat16 first, in float32 only where a decision may hang on them: the same pairs, sooner.

Drafts propose pairs down to an error band below the floor. Rows of pairs within the band of an edge (the
floor, or a cosine that decides something else) are embedded again in float32 before such a pair counts. The
other pairs lie beyond doubt on one side of each edge; their cosines are right to within the band. The band is
the greatest difference that drafts made to a cosine among a sample of the rows, doubled (performance.md
section 2: 0.0019 at most on 700 texts). What the pairs embedded again show is held against it: drafts that
were worse widen it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.embedding import Embedder, TextRef, VectorCache, Vectors, embed_missing
from curation.npy_pieces import pieces
from curation.pair_list import PAIR, Pairs
from curation.pairs import exact_cosines
from curation.stage import Progress

SAMPLE, LEAST_SAMPLE = 256, 64  # rows whose drafts are held against float32: 32,640 cosines, or 2,016
SHARE = 64  # of so many rows one is in the sample: in a small set it must not cost what drafts save
DOUBLED = 2.0
LEAST = 5e-4  # a band is at least so wide: a sample of a few rows shows little

Search = Callable[[Vectors, float], Path]  # lists every pair of these vectors from a cosine on


@dataclass(frozen=True)
class Drafted:
    """What came of drafts."""

    pairs: Iterator[Pairs]  # in order, a piece at a time
    vectors: Vectors  # float32 for the rows of pairs near an edge, drafts for the others
    band: float  # error of a cosine that was allowed for
    rechecked: int  # rows embedded in float32


@dataclass(frozen=True)
class Texts:
    """The texts to compare, one a row."""

    refs: Sequence[TextRef]
    read: Callable[[Sequence[int]], list[str]]  # of refs' numbers

    @property
    def keys(self) -> list[bytes]:
        return [ref.key for ref in self.refs]


def drafted(
    texts: Texts, draft: Embedder, exact: Embedder, caches: tuple[VectorCache, VectorCache],
    edges: Sequence[float], search: Search, progress: Progress,
) -> Drafted:  # fmt: skip
    """Find the pairs that float32 vectors have from the lowest edge on, on the same side of each edge.

    `caches`: of drafts, of float32.
    """
    floor = min(edges)
    cache, exact_cache = caches
    embed_missing(cache, draft, texts.refs, texts.read, progress, "embedding drafts")
    vectors = cache.gather(texts.keys)
    band = _measured(texts, exact, exact_cache, vectors, progress)
    while True:
        proposed = search(vectors, max(0.0, floor - band))
        rows = _rows(_near(proposed, edges, band), len(vectors))
        mixed = _with_exact(texts, exact, exact_cache, vectors, rows, progress)
        seen = max(
            (float(np.abs(_cosines(mixed, near) - near["cosine"]).max(initial=0.0))
             for near in _near(proposed, edges, band)), default=0.0,
        )  # fmt: skip
        if seen <= band:
            return Drafted(_from(proposed, mixed, floor), mixed, band, len(rows))
        band = DOUBLED * seen  # the sample was too kind


def _near(proposed: Path, edges: Sequence[float], band: float) -> Iterator[Pairs]:
    """Give the pairs within the band of an edge."""
    for _, found in pieces(proposed, PAIR):
        near = np.zeros(len(found), dtype=bool)
        for edge in edges:
            near |= np.abs(found["cosine"] - edge) <= band
        yield found[near]


def _rows(found: Iterable[Pairs], size: int) -> npt.NDArray[np.int64]:
    is_there = np.zeros(size, dtype=bool)
    for pairs in found:
        is_there[pairs["left"]] = is_there[pairs["right"]] = True
    return np.flatnonzero(is_there)


def _cosines(vectors: Vectors, pairs: Pairs) -> npt.NDArray[np.float64]:
    return exact_cosines(vectors, pairs["left"], pairs["right"])


def _from(proposed: Path, vectors: Vectors, floor: float) -> Iterator[Pairs]:
    """Give the pairs that these vectors have from a floor on, a piece at a time."""
    for _, found in pieces(proposed, PAIR):
        cosines = _cosines(vectors, found)
        keep = cosines >= floor
        pairs: Pairs = found[keep]
        pairs["cosine"] = cosines[keep]
        yield pairs


def _measured(
    texts: Texts, exact: Embedder, cache: VectorCache, vectors: Vectors, progress: Progress
) -> float:
    """Give the error band: of rows chosen by the hash of their texts, so that it is the same each time."""
    size = min(SAMPLE, max(LEAST_SAMPLE, len(texts.refs) // SHARE))
    chosen = np.array(sorted(range(len(texts.refs)), key=lambda row: texts.refs[row].key)[:size])
    refs = [texts.refs[row] for row in chosen]
    embed_missing(cache, exact, refs, texts.read, progress, "measuring the error band")
    true, drafts = cache.gather([ref.key for ref in refs]), vectors[chosen]
    error = float(np.abs(true @ true.T - drafts @ drafts.T).max(initial=0.0))
    return max(LEAST, DOUBLED * error)


def _with_exact(
    texts: Texts, exact: Embedder, cache: VectorCache, vectors: Vectors, rows: npt.NDArray[np.int64],
    progress: Progress,
) -> Vectors:  # fmt: skip
    refs = [texts.refs[row] for row in rows.tolist()]
    embed_missing(cache, exact, refs, texts.read, progress, "embedding in float32")
    mixed = vectors.copy()
    if len(rows):
        mixed[rows] = cache.gather([ref.key for ref in refs])
    return mixed
