"""The pairs that a run decides on: run-N-edges.npy, in order of left, then right, read a piece at a time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation import npy_pieces
from curation.errors import DamagedWorkspace
from curation.workspace import Workspace

EDGE = np.dtype([("left", "<i8"), ("right", "<i8"), ("cosine", "<f8"), ("response", "<f8"), ("zone", "<i1")])
Edges = npt.NDArray[np.void]
Numbers = npt.NDArray[np.int64]


def edges_file(workspace: Workspace, run_id: int) -> Path:
    return workspace.pairs / f"run-{run_id}-edges.npy"


def save_edges(workspace: Workspace, run_id: int, found: Iterable[Edges]) -> str:
    """Keep the pairs of a run and give the sha256 of the file. Raises OSError when the disk is full."""
    npy_pieces.write_pieces(edges_file(workspace, run_id), EDGE, found)
    return sha256_of(workspace, run_id)


def sha256_of(workspace: Workspace, run_id: int) -> str:
    """Name the content of the file. Raises OSError when there is none."""
    with edges_file(workspace, run_id).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class RunEdges:
    """The pairs of a run from a cosine on, of all of its rows or of some. Numbers are places in the file.

    Reading raises DamagedWorkspace when the file is missing or cut short.
    """

    file: Path
    lowest: float = -1.0
    seqs: Numbers | None = None  # only pairs of two of these rows

    @classmethod
    def of(
        cls, workspace: Workspace, run_id: int, lowest: float = -1.0, seqs: Numbers | None = None
    ) -> "RunEdges":
        return cls(edges_file(workspace, run_id), lowest, seqs)

    def pieces(self) -> Iterator[tuple[Numbers, Edges]]:
        """Give the pairs with their numbers, ascending."""
        with self._told():
            for start, found in npy_pieces.pieces(self.file, EDGE):
                wanted = found["cosine"] >= self.lowest
                if self.seqs is not None:
                    wanted &= np.isin(found["left"], self.seqs) & np.isin(found["right"], self.seqs)
                numbers = np.flatnonzero(wanted)
                yield numbers + start, found[numbers]

    def at(self, numbers: Numbers) -> Edges:
        """Give single pairs, by ascending numbers."""
        with self._told():
            return npy_pieces.at(self.file, EDGE, numbers)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise DamagedWorkspace(
                f"{self.file} is missing or damaged; run `near-duplicates` again"
            ) from error
