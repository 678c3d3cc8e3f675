"""Pairs that an earlier search found, so that rows which met then need not meet again.

A search leaves the keys of its rows beside its list (keys.npy, about.json). A later one, of rows added, rows
gone, or another floor, takes over what holds still: vectors belong to keys, so the cosine of two keys is what
it was, to the last bit.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.atomic import atomic_write
from curation.pair_list import PAIR, Numbers, Pairs, length_of, mapped

KEY = "V16"  # what `embedding.key_of` gives
LEAST = 0.1  # share of the rows that a list must know to be worth taking over
MOST = 8  # lists that are looked at, the newest: reading the keys of 110,000 rows takes a fifth of a second
AT_ONCE = 1 << 20  # pairs looked at between two reads of the disk: 12 MB


@dataclass(frozen=True)
class Known:
    """A finished list of pairs, in the numbers that its rows have now."""

    floor: float
    now: Numbers  # (rows then,): number that a row has now; -1: it is gone. Those that are there ascend
    was: Numbers  # (rows now,): number that it had then; -1: it is new
    pairs: Pairs  # in the numbers of then
    begins: npt.NDArray[np.int64]  # (rows then + 1,): where the pairs of each left row begin

    def covers(self, floor: float) -> bool:
        """Say whether nothing is left to compute for a list down to `floor`."""
        return self.floor <= floor and not self.has_new(slice(0, len(self.was)))

    def has_new(self, rows: slice) -> bool:
        """Say whether some of these rows are new."""
        return bool((self.was[rows] < 0).any())

    def new_within(self, rows: slice) -> slice:
        """Give the shortest slice that holds the new ones of these rows; an empty one when there are none."""
        at = np.flatnonzero(self.was[rows] < 0)
        return slice(rows.start + int(at[0]), rows.start + int(at[-1]) + 1) if len(at) else slice(0, 0)

    def count(self, rows: slice) -> int:
        """Count the pairs to look through for these rows."""
        there = self.was[rows][self.was[rows] >= 0]
        return int(self.begins[there[-1] + 1] - self.begins[there[0]]) if len(there) else 0

    def of(self, rows: slice) -> Pairs:
        """Give the known pairs whose left row is one of these, in the numbers of now, sorted as ever."""
        there = self.was[rows][self.was[rows] >= 0]
        if not len(there):
            return np.empty(0, PAIR)
        found = np.array(self.pairs[self.begins[there[0]] : self.begins[there[-1] + 1]])
        found["left"], found["right"] = self.now[found["left"]], self.now[found["right"]]
        whole: Pairs = found[(found["left"] >= 0) & (found["right"] >= 0)]
        return whole


def note(folder: Path, model_hash: str, floor: float, keys: Sequence[bytes]) -> None:
    """Write beside a list of pairs what it is of."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "keys.npy") as file:
        np.save(file, np.array(keys, KEY), allow_pickle=False)
    with atomic_write(folder / "about.json") as file:
        file.write(json.dumps({"model_hash": model_hash, "floor": floor}).encode())


def find_known(
    pairs_folder: Path, model_hash: str, floor: float, keys: Sequence[bytes], but: str = ""
) -> Known | None:
    """Choose the list that spares most of a search of these keys down to `floor`; None: none does.

    Lists down to this floor or lower come first, then those that know more of the rows. `but` names a folder
    that is not looked at.
    """
    best: tuple[bool, int] = (False, 0)
    chosen: tuple[Path, float, Numbers, Numbers] | None = None
    wanted = np.array(keys, KEY)
    for folder, theirs in _finished(pairs_folder, model_hash, but)[:MOST]:
        if (old := _keys_of(folder)) is None:
            continue
        now, was = _matched(old, wanted)
        worth = (theirs <= floor, int((was >= 0).sum()))
        if worth[1] >= max(1, LEAST * len(keys)) and worth > best:
            best, chosen = worth, (folder, theirs, now, was)
    return None if chosen is None else _opened(*chosen)


def _finished(pairs_folder: Path, model_hash: str, but: str) -> list[tuple[Path, float]]:
    """Give the folders of finished lists of a model, and their floors, the newest first."""
    found = []
    for about in pairs_folder.glob("*/about.json"):
        whole = about.parent / "pairs.npy"
        theirs = _floor_of(about, model_hash)
        if about.parent.name != but and theirs is not None and length_of(whole) is not None:
            found.append((whole.stat().st_mtime, about.parent, theirs))
    return [(folder, theirs) for _, folder, theirs in sorted(found, reverse=True)]


def _floor_of(about: Path, model_hash: str) -> float | None:
    try:
        said = json.loads(about.read_text())
        return float(said["floor"]) if said["model_hash"] == model_hash else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keys_of(folder: Path) -> npt.NDArray[np.void] | None:
    try:
        found: npt.NDArray[np.void] = np.load(folder / "keys.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == np.dtype(KEY) and found.ndim == 1 else None


def _matched(old: npt.NDArray[np.void], new: npt.NDArray[np.void]) -> tuple[Numbers, Numbers]:
    """Match rows of then and now by key, the nth of a key with the nth; gives (now, was) of `Known`.

    Rows that changed places are taken for new ones: the list stays sorted only while rows keep their order.
    """
    places: dict[tuple[bytes, int], int] = {}
    for number, named in enumerate(_counted(old)):
        places[named] = number
    was = np.array([places.get(named, -1) for named in _counted(new)], np.int32)
    highest = np.maximum.accumulate(np.concatenate([[-1], was[:-1]])) if len(was) else was
    was[(was >= 0) & (was < highest)] = -1
    now = np.full(len(old), -1, np.int32)
    there = np.flatnonzero(was >= 0)
    now[was[there]] = there
    return now, was


def _counted(keys: npt.NDArray[np.void]) -> list[tuple[bytes, int]]:
    """Give each key with how often it came before."""
    seen: dict[bytes, int] = {}
    found = []
    for key in keys.tolist():
        nth = seen.get(key, 0)
        seen[key] = nth + 1
        found.append((key, nth))
    return found


def _opened(folder: Path, floor: float, now: Numbers, was: Numbers) -> Known:
    pairs = mapped(folder)
    counts = np.zeros(len(now) + 1, np.int64)
    for start in range(0, len(pairs), AT_ONCE):
        counts[1:] += np.bincount(pairs["left"][start : start + AT_ONCE], minlength=len(now))
    return Known(floor, now, was, pairs, np.cumsum(counts))
