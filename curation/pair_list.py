"""A list of pairs on the disk: pairs.npy, made of one part for each block of rows."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation import npy_pieces
from curation.errors import DamagedWorkspace

PAIR = np.dtype([("left", "<i4"), ("right", "<i4"), ("cosine", "<f4")])
Pairs = npt.NDArray[np.void]
Numbers = npt.NDArray[np.int32]


def part_file(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.npy"


def length_of(file: Path) -> int | None:
    """Count the pairs of a file; None when there is none or it is not whole."""
    return npy_pieces.length_of(file, PAIR)


def keep_part(folder: Path, number: int, found: Iterable[Pairs]) -> None:
    npy_pieces.write_pieces(part_file(folder, number), PAIR, found)


def keep_whole(folder: Path, found: Iterable[Pairs]) -> Pairs:
    """Keep a whole list, sorted by left, then right; gives it as a read-only memory map."""
    npy_pieces.write_pieces(folder / "pairs.npy", PAIR, found)
    return mapped(folder)


def mapped(folder: Path) -> Pairs:
    """Give a whole list as a read-only memory map. Raises OSError or ValueError when there is none."""
    whole = folder / "pairs.npy"
    if not length_of(whole):  # a file without pairs cannot be mapped
        return np.empty(0, dtype=PAIR)
    pairs: Pairs = np.load(whole, mmap_mode="r", allow_pickle=False)
    return pairs


def join(folder: Path, parts: int) -> None:
    """Write the parts one after another as one file. Raises DamagedWorkspace when one is gone."""
    files = [part_file(folder, number) for number in range(parts)]
    if None in map(length_of, files):
        raise DamagedWorkspace(f"{folder} lost a part of the pair list; run near-duplicates again")
    found = (piece for file in files for _, piece in npy_pieces.pieces(file, PAIR))
    npy_pieces.write_pieces(folder / "pairs.npy", PAIR, found)
