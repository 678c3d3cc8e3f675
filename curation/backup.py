"""Backup and restore: one archive that holds a workspace at one moment."""

import json
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from curation.atomic import PARTIAL, atomic_write
from curation.errors import DamagedWorkspace, WrongInput
from curation.workspace import DATABASE, FOLDERS, Workspace

MANIFEST = "manifest.json"


def backup(workspace: Workspace, file: Path) -> dict[str, Any]:
    """Write the workspace to a .tar.gz, the database as one consistent copy, and give what it holds.

    Others may go on working: files that appear meanwhile are either whole in it or absent.
    """
    workspace.require_space(
        2 * (workspace.folder / DATABASE).stat().st_size if (workspace.folder / DATABASE).exists() else 0,
        "A backup",
    )
    with TemporaryDirectory(dir=workspace.folder) as scratch:
        copy = Path(scratch) / DATABASE
        workspace.database.copy_to(copy)
        members = {DATABASE: copy} | _files(workspace.folder)
        hashes = {name: _sha256(path) for name, path in members.items()}
        manifest = Path(scratch) / MANIFEST
        manifest.write_text(json.dumps({"files": hashes}, indent=1, sort_keys=True))
        with (
            atomic_write(file.expanduser().resolve()) as out,
            tarfile.open(fileobj=out, mode="w:gz") as archive,
        ):
            archive.add(manifest, MANIFEST)
            for name, path in members.items():
                archive.add(path, name)
    return {"file": str(file), "files": len(hashes)}


def _files(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for name in FOLDERS
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and not path.name.endswith(PARTIAL)
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        state = sha256()
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def restore(folder: Path, file: Path) -> dict[str, Any]:
    """Unpack a backup into a workspace that does not exist yet, after every hash was checked.

    Raises WrongInput when the folder is in use or the file is no backup, DamagedWorkspace when the
    archive does not hold what it says.
    """
    folder = folder.expanduser().resolve()
    if (folder / DATABASE).exists() or (folder.exists() and any(p.is_file() for p in folder.rglob("*"))):
        raise WrongInput(f"{folder} is not empty; restore into a new folder with --workspace")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".restore-") as scratch:
        where = Path(scratch) / "workspace"
        _unpack(file, where)
        files = _checked(where, file)
        if folder.exists():
            shutil.rmtree(folder)  # empty folders only, as checked above
        where.rename(folder)
    return {"workspace": str(folder), "files": files}


def _unpack(file: Path, where: Path) -> None:
    try:
        with tarfile.open(file.expanduser(), "r:gz") as archive:
            archive.extractall(where, filter="data")  # no links out, no devices, no absolute paths
    except FileNotFoundError as error:
        raise WrongInput(f"{file} does not exist; give a file that `backup` wrote") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise WrongInput(
            f"{file} is not a whole backup ({error}); give a file that `backup` wrote"
        ) from error


def _checked(where: Path, file: Path) -> int:
    try:
        hashes = json.loads((where / MANIFEST).read_text())["files"]
        wrong = [name for name, wanted in hashes.items() if _sha256(where / name) != wanted]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongInput(f"{file} is not a backup of a workspace ({error})") from error
    if wrong:
        raise DamagedWorkspace(f"{file} is damaged: {wrong[0]} does not hold what was backed up")
    (where / MANIFEST).unlink()
    for name in FOLDERS:
        (where / name).mkdir(exist_ok=True)
    return len(hashes)
