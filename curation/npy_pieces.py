"""One-dimensional .npy files, read and written a piece at a time: they may hold more than memory does.

Read with plain reads, not mapped: pages of a mapped file count as memory of the process that looked at them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from curation.atomic import atomic_write

AT_ONCE = 1 << 19  # records in memory at a time: 6 to 17 MB


def length_of(file: Path, dtype: np.dtype[Any]) -> int | None:
    """Count the records of a file; None when there is none, or it is not whole, or of another kind."""
    try:
        with file.open("rb") as opened:
            length, begin = _header(opened, dtype)
            whole = file.stat().st_size == begin + length * dtype.itemsize
    except (OSError, ValueError):
        return None
    return length if whole else None


def _header(opened: IO[bytes], dtype: np.dtype[Any]) -> tuple[int, int]:
    """Give the number of records and where they begin. Raises ValueError when they are of another kind."""
    version = np.lib.format.read_magic(opened)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, found = read(opened)
    if found != dtype or len(shape) != 1:
        raise ValueError(f"{opened.name} holds {shape} of {found}, not a list of {dtype}")
    return int(shape[0]), opened.tell()


def pieces(
    file: Path, dtype: np.dtype[Any], at_once: int | None = None
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Read a file: (number of the first record, records), in order. Raises OSError or ValueError when it is
    missing, cut short or of another kind."""
    with file.open("rb") as opened:
        length, begin = _header(opened, dtype)
        opened.seek(begin)
        size = at_once or AT_ONCE
        for start in range(0, length, size):
            yield start, _read(opened, dtype, min(size, length - start))


def _read(opened: IO[bytes], dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.fromfile(opened, dtype, count)
    if len(found) != count:
        raise ValueError(f"{opened.name} is cut short")
    return found


def at(file: Path, dtype: np.dtype[Any], numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Read single records, by ascending numbers. Raises what `pieces` raises."""
    found = np.empty(len(numbers), dtype)
    with file.open("rb") as opened:
        _, begin = _header(opened, dtype)
        for place, first in _stretches(numbers):
            opened.seek(begin + int(first) * dtype.itemsize)
            last = int(numbers[place.stop - 1])
            found[place] = _read(opened, dtype, last - int(first) + 1)[numbers[place] - first]
    return found


def _stretches(numbers: npt.NDArray[np.int64], near: int = 4096) -> Iterator[tuple[slice, np.int64]]:
    """Cut ascending numbers where a block of the disk ends: records of one block are read at once."""
    cuts = np.flatnonzero(np.diff(numbers // near)) + 1
    begins, ends = [0, *cuts.tolist()], [*cuts.tolist(), len(numbers)]
    for begin, end in zip(begins, ends, strict=True):
        if end > begin:
            yield slice(begin, end), numbers[begin]


def write_pieces(file: Path, dtype: np.dtype[Any], found: Iterable[npt.NDArray[Any]]) -> int:
    """Write records as they come and give their number. The file is whole or absent (`atomic_write`)."""
    count = 0
    with atomic_write(file) as out:
        _write_header(out, dtype, 0)
        for piece in found:
            out.write(np.ascontiguousarray(piece, dtype).tobytes())
            count += len(piece)
        out.seek(0)
        _write_header(out, dtype, count)  # as long as before: numpy leaves room for the number to grow
    return count


def _write_header(out: IO[bytes], dtype: np.dtype[Any], count: int) -> None:
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(out, about)
