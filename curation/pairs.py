"""Every pair of rows at or above a cosine, exactly.

Exact means: the set that a float64 computation over the same float32 vectors gives. A float32 product
proposes with a margin, and every proposal is computed again in float64 before it counts.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.atomic import atomic_write
from curation.embedding import Vectors
from curation.errors import DamagedWorkspace
from curation.stage import Progress

PAIR = np.dtype([("left", "<i4"), ("right", "<i4"), ("cosine", "<f4")])
Pairs = npt.NDArray[np.void]

ROWS = 1024  # rows of a block; its result is saved before the next block starts
COLUMNS = 4096  # rows met at a time: a tile of 16 MB stays in the processor's cache
MARGIN = 1e-4  # a float32 product of unit vectors of d numbers errs by at most d x 2^-24: 2.3e-5 for d = 384
CHUNK = 1 << 15  # pairs verified at a time: 2 x 100 MB in float64


def exact_cosines(
    vectors: Vectors, left: npt.NDArray[np.int32], right: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """Compute the cosine of each (left, right) in float64, norms included."""
    result = np.empty(len(left), dtype=np.float64)
    for start in range(0, len(left), CHUNK):
        part = slice(start, start + CHUNK)
        a = vectors[left[part]].astype(np.float64)
        b = vectors[right[part]].astype(np.float64)
        dots = np.einsum("ij,ij->i", a, b)
        result[part] = dots / np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    return result


def pairs_of_block(vectors: Vectors, start: int, floor: float) -> Pairs:
    """Give the pairs whose left row is in [start, start + ROWS), sorted by left, then right."""
    rows = vectors[start : start + ROWS]
    lefts, rights = [], []
    for column in range(start, len(vectors), COLUMNS):
        product = rows @ vectors[column : column + COLUMNS].T
        row, other = np.nonzero(product >= floor - MARGIN)
        later = other + column > row + start  # the upper triangle only
        lefts.append((row[later] + start).astype(np.int32))
        rights.append((other[later] + column).astype(np.int32))
    left, right = np.concatenate(lefts), np.concatenate(rights)
    cosine = exact_cosines(vectors, left, right)
    keep = cosine >= floor
    block = np.empty(int(keep.sum()), dtype=PAIR)
    block["left"], block["right"], block["cosine"] = left[keep], right[keep], cosine[keep]
    return block[np.lexsort((block["right"], block["left"]))]


def search_pairs(vectors: Vectors, floor: float, folder: Path, progress: Progress) -> Pairs:
    """Find every pair with cosine >= floor and keep the list in `folder`; resumes by block.

    The folder must belong to exactly these vectors in this order and this floor. Gives a read-only
    memory map of PAIR, sorted by left, then right (row numbers of `vectors`).
    """
    whole = folder / "pairs.npy"
    if _length(whole) is None:  # missing, or cut short by something other than us
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(vectors), ROWS)
        for done, start in enumerate(starts):
            progress("comparing rows", start, len(vectors))
            part = _part(folder, done)
            if _length(part) is None:
                with atomic_write(part) as file:
                    np.save(file, pairs_of_block(vectors, start, floor), allow_pickle=False)
        _join(folder, len(starts))
        progress("comparing rows", len(vectors), len(vectors))
    for part in folder.glob("part-*.npy"):  # joined; here rather than in _join, so that a kill leaves none
        part.unlink()
    if not _length(whole):  # a file without pairs cannot be mapped
        return np.empty(0, dtype=PAIR)
    pairs: Pairs = np.load(whole, mmap_mode="r", allow_pickle=False)
    return pairs


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.npy"


def _length(file: Path) -> int | None:
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


def _join(folder: Path, parts: int) -> None:
    """Write the parts one after another as one file."""
    files = [_part(folder, number) for number in range(parts)]
    lengths = [_length(file) for file in files]
    if None in lengths:
        raise DamagedWorkspace(f"{folder} lost a part of the pair list; run near-duplicates again")
    with atomic_write(folder / "pairs.npy") as out:
        header = {"descr": np.lib.format.dtype_to_descr(PAIR), "fortran_order": False,
                  "shape": (sum(filter(None, lengths)),)}  # fmt: skip
        np.lib.format.write_array_header_1_0(out, header)
        for file in files:
            out.write(np.load(file, allow_pickle=False).tobytes())
