"""Files that are either whole or absent: write beside, flush to disk, rename, flush the folder."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

from curation.failpoints import failpoint

PARTIAL = ".partial"


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name only when the block ends well.

    A kill leaves at most a `*.partial` file, which `sweep_partial` removes. Raises OSError when
    the disk is full or failing; the earlier content of `path` is then untouched. A device or a pipe
    is refused: it would be replaced by a file.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "It is no regular file, so it is not replaced", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # gone with this process; a sweep leaves what is locked
            yield file
            file.flush()
            os.fsync(file.fileno())
            failpoint("file.write")
            os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def place_folder(partial: Path, folder: Path) -> None:
    """Give a folder that is whole its name, in place of what has it; its files are on disk before.

    A kill between leaves no folder of that name, and a power cut never half of one.
    """
    for file in partial.rglob("*"):
        if file.is_file():
            sync_file(file)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    sync_folder(folder.parent)


def sync_file(file: Path) -> None:
    """Make what another library wrote to a file survive a power cut."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_partial(folder: Path) -> list[Path]:
    """Remove what killed writers left behind in this folder (not below it) and name it.

    Files of living processes stay: another stage may be writing beside us.
    """
    left = []
    for file in sorted(folder.glob(f"*{PARTIAL}")) if folder.is_dir() else []:
        writer = file.name.removesuffix(PARTIAL).rpartition(".")[2]
        if writer.isdecimal() and int(writer) != os.getpid() and psutil.pid_exists(int(writer)):
            continue
        if not _is_being_written(file):  # by another thread of this process
            file.unlink(missing_ok=True)
            left.append(file)
    return left


def _is_being_written(partial: Path) -> bool:
    try:
        with partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):  # it is locked, or has its name by now
        return True
    return False
