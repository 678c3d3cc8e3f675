"""What a page filters pairs by: of each row of a run its source, origin, language, and its rank by the rule.

Written by the near-duplicates stage as run-N-facts.npy, one line a row in import order, with the words that
its numbers stand for in run-N-facts.json.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.atomic import atomic_write
from curation.store import places
from curation.store.database import Connection

KINDS = ("source", "method", "language")
FACT = np.dtype([("rank", "<i4"), *((kind, "<i4") for kind in KINDS)])


@dataclass(frozen=True)
class Facts:
    """Of each row its rank (0: the keep rule meets it first), and for each kind a place among `words`."""

    rows: npt.NDArray[np.void]
    words: Mapping[str, Sequence[str]]  # kind -> what its numbers stand for, in order of the alphabet

    def counts(self, kind: str) -> npt.NDArray[np.int64]:
        """Count the rows of each word."""
        return np.bincount(self.rows[kind], minlength=len(self.words[kind]))


def facts_of(
    connection: Connection, seqs: Sequence[int], best_first: Sequence[int], languages: Sequence[str]
) -> Facts:
    """Bring together what the store says of these rows; `best_first`: as the keep rule walks them."""
    rows = np.empty(len(seqs), dtype=FACT)
    rows["rank"][np.asarray(best_first, dtype=np.int64)] = np.arange(len(seqs))
    origins = places.origins(connection, seqs)
    columns = {
        "source": [origins[seq].source for seq in seqs],
        "method": [origins[seq].method for seq in seqs],
        "language": list(languages),
    }
    words: dict[str, list[str]] = {}
    for kind, column in columns.items():
        words[kind] = sorted(set(column))
        place = {word: number for number, word in enumerate(words[kind])}
        rows[kind] = [place[word] for word in column]
    return Facts(rows, words)


def files(pairs: Path, run_id: int) -> tuple[Path, Path]:
    return pairs / f"run-{run_id}-facts.npy", pairs / f"run-{run_id}-facts.json"


def write(pairs: Path, run_id: int, facts: Facts) -> None:
    numbers, words = files(pairs, run_id)
    with atomic_write(numbers) as file:
        np.save(file, facts.rows, allow_pickle=False)
    with atomic_write(words) as file:
        file.write(json.dumps(facts.words, ensure_ascii=False).encode())


def read(pairs: Path, run_id: int) -> Facts:
    """Read the facts of a run. Raises OSError, ValueError, KeyError or EOFError when they are not whole."""
    numbers, words = files(pairs, run_id)
    rows = (
        np.load(numbers, mmap_mode="r", allow_pickle=False) if numbers.stat().st_size else np.empty(0, FACT)
    )
    named = json.loads(words.read_bytes())
    if rows.dtype != FACT:
        raise ValueError(f"{numbers} holds other numbers")
    return Facts(rows, {kind: list(named[kind]) for kind in KINDS})
