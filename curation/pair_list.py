"""A list of pairs on the disk: pairs.npy, made of one part for each block of rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.atomic import atomic_write
from curation.errors import DamagedWorkspace

PAIR = np.dtype([("left", "<i4"), ("right", "<i4"), ("cosine", "<f4")])
Pairs = npt.NDArray[np.void]
Numbers = npt.NDArray[np.int32]


def part_file(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.npy"


def length_of(file: Path) -> int | None:
    """Count the pairs of a file; None when there is none or it is not whole."""
    try:
        with file.open("rb") as opened:
            version = np.lib.format.read_magic(opened)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(opened)
            begin = opened.tell()
        whole = dtype == PAIR and file.stat().st_size == begin + shape[0] * PAIR.itemsize
    except (OSError, ValueError):
        return None
    return int(shape[0]) if whole else None


def keep_part(folder: Path, number: int, pairs: Pairs) -> None:
    with atomic_write(part_file(folder, number)) as file:
        np.save(file, pairs, allow_pickle=False)


def keep_whole(folder: Path, pairs: Pairs) -> Pairs:
    """Keep a whole list, sorted by left, then right; gives it as a read-only memory map."""
    with atomic_write(folder / "pairs.npy") as file:
        np.save(file, pairs, allow_pickle=False)
    if not len(pairs):  # a file without pairs cannot be mapped
        return pairs
    kept: Pairs = np.load(folder / "pairs.npy", mmap_mode="r", allow_pickle=False)
    return kept


def join(folder: Path, parts: int) -> None:
    """Write the parts one after another as one file. Raises DamagedWorkspace when one is gone."""
    files = [part_file(folder, number) for number in range(parts)]
    lengths: Sequence[int | None] = [length_of(file) for file in files]
    if None in lengths:
        raise DamagedWorkspace(f"{folder} lost a part of the pair list; run near-duplicates again")
    with atomic_write(folder / "pairs.npy") as out:
        header = {"descr": np.lib.format.dtype_to_descr(PAIR), "fortran_order": False,
                  "shape": (sum(filter(None, lengths)),)}  # fmt: skip
        np.lib.format.write_array_header_1_0(out, header)
        for file in files:
            out.write(np.load(file, allow_pickle=False).tobytes())
