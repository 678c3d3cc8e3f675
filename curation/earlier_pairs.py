"""Pairs by the row that the keep rule meets later, in the order of its walk, whatever their number.

The rule asks of each row which rows before it stay: so it needs, a row at a time, the pairs with rows before
it. More pairs than memory should hold lie in spool files meanwhile, which have no name and vanish with the
process.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[np.void]
IN_MEMORY = 1 << 20  # pairs; a file of the spool holds as many
MOST_FILES = 128  # open at once; macOS allows a process 256


def by_later(
    records: Callable[[], Iterable[Records]], size: int, spool: Path | None = None
) -> Iterator[tuple[int, Records]]:
    """Give each place that is the later one of a pair, ascending, with its pairs in the order they came.

    `records`: the pairs, asked for twice; their field "later" is a place in 0..size-1. `spool`: a folder on
    the disk; None: that of the system. Raises OSError when it is full.
    """
    counts = np.zeros(size, np.int64)
    for part in records():
        counts += np.bincount(part["later"], minlength=size)
    total = int(counts.sum())
    if total <= IN_MEMORY:
        parts = list(records())
        yield from _grouped(np.concatenate(parts)) if total else ()
        return
    file_of = (np.cumsum(counts) - 1) // max(IN_MEMORY, -(-total // MOST_FILES))
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile(dir=spool)) for _ in range(int(file_of[-1]) + 1)]
        dtype = _spread(records(), file_of, files)
        for file in files:
            file.seek(0)
            found: Records = np.fromfile(file, dtype)
            yield from _grouped(found)
            file.close()


def _spread(
    records: Iterable[Records], file_of: npt.NDArray[np.int64], files: Sequence[IO[bytes]]
) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype([])
    for part in records:
        dtype = part.dtype
        number = file_of[part["later"]]
        order = np.argsort(number, kind="stable")
        ends = np.cumsum(np.bincount(number, minlength=len(files)))
        for file, found in zip(files, np.split(part[order], ends[:-1]), strict=True):
            file.write(found.tobytes())
    for file in files:
        file.flush()
    return dtype


def _grouped(found: Records) -> Iterator[tuple[int, Records]]:
    found = found[np.argsort(found["later"], kind="stable")]
    later = found["later"]
    begins = np.flatnonzero(np.diff(later, prepend=-1))
    for begin, end in pairwise([*begins.tolist(), len(found)]):
        yield int(later[begin]), found[begin:end]
