"""Checkpoints that are whole or do not count.

The stock trainer takes the newest folder by name; a kill while it was written breaks it (faults.md F55: 3 of
12). Here a manifest with the size and sha256 of every file is written last, after all of them are on disk,
and only a folder that holds what its manifest says is ever resumed from.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.atomic import atomic_write, sync_file, sync_folder
from curation.reading import sha256_of

MANIFEST = "winnow-checkpoint.json"
PREFIX = "checkpoint-"


def complete(checkpoint: Path) -> None:
    """Say that a checkpoint is whole: its files go to disk first, the manifest last.

    Raises OSError when the disk is full or failing; the checkpoint then does not count.
    """
    files = {}
    for file in sorted(one for one in checkpoint.rglob("*") if one.is_file()):
        sync_file(file)
        name = file.relative_to(checkpoint).as_posix()
        files[name] = {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
    sync_folder(checkpoint)
    with atomic_write(checkpoint / MANIFEST) as out:
        out.write(json.dumps({"step": step_of(checkpoint), "files": files}, indent=2).encode())
    sync_folder(checkpoint.parent)


def is_complete(checkpoint: Path) -> bool:
    """Tell whether a checkpoint holds what its manifest says, byte by byte."""
    manifest = _manifest(checkpoint)
    if manifest is None:
        return False
    for name, wanted in manifest["files"].items():
        file = checkpoint / name
        if not file.is_file() or file.stat().st_size != wanted["bytes"]:
            return False
        if sha256_of(file) != wanted["sha256"]:
            return False
    return True


def newest(folder: Path) -> Path | None:
    """Give the newest complete checkpoint of a run; None: there is none, training begins anew."""
    return next((one for one in _newest_first(folder) if is_complete(one)), None)


def steps(folder: Path) -> list[int]:
    """Name the steps that have a manifest, the oldest first; their files are not read."""
    return sorted(step_of(one) for one in _newest_first(folder) if (one / MANIFEST).is_file())


def prune(folder: Path, keep: int, besides: Path | None = None) -> None:
    """Remove what is older than the newest `keep` complete checkpoints, `besides` one (the best).

    Only to be called just after a checkpoint was completed: the newest are taken by their manifests.
    """
    whole = [one for one in _newest_first(folder) if (one / MANIFEST).is_file()]
    for old in whole[keep:]:
        if besides is None or old.name != besides.name:
            (old / MANIFEST).unlink(missing_ok=True)  # first: half removed, it must not count
            shutil.rmtree(old, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove the folders that a kill left without a manifest, so that the trainer cannot mistake them."""
    for one in _newest_first(folder):
        if not (one / MANIFEST).is_file():
            shutil.rmtree(one, ignore_errors=True)


def drop_after(folder: Path, checkpoint: Path | None) -> None:
    """Remove what is newer than the checkpoint from which training goes on: it was found broken."""
    for one in _newest_first(folder):
        if checkpoint is None or step_of(one) > step_of(checkpoint):
            shutil.rmtree(one, ignore_errors=True)


def processes_of(checkpoint: Path) -> int:
    """Count the processes that wrote a checkpoint, by the random states it holds; 0: it holds none."""
    alone = (checkpoint / "rng_state.pth").is_file()
    return 1 if alone else len(list(checkpoint.glob("rng_state_*.pth")))


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(PREFIX))


def _newest_first(folder: Path) -> Iterator[Path]:
    found = [one for one in folder.glob(f"{PREFIX}*") if one.name.removeprefix(PREFIX).isdecimal()]
    yield from sorted(found, key=step_of, reverse=True)


def _manifest(checkpoint: Path) -> dict[str, Any] | None:
    try:
        value = json.loads((checkpoint / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("files"), dict) else None
