"""Backup and restore: one archive that holds a workspace at one moment."""

import json
import shutil
import tarfile
import zlib
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

from curation.atomic import PARTIAL, atomic_write
from curation.errors import DamagedWorkspace, WrongInput
from curation.workspace import DATABASE, FOLDERS, Workspace

MANIFEST = "manifest.json"
PASSING = ("logs", "part-")  # what others may be writing now and nobody needs back
BOMB_BYTES, BOMB_RATIO = 1 << 30, 100  # more than both once unpacked: refused (faults.md S36)


def backup(workspace: Workspace, file: Path) -> dict[str, Any]:
    """Write the workspace to a .tar.gz, the database as one consistent copy, and give what it holds.

    Others may go on working: what they write meanwhile is either whole in the archive or absent.
    """
    database = workspace.database
    workspace.require_space(2 * database.path.stat().st_size, "A backup")
    hashes: dict[str, str] = {}
    with TemporaryDirectory(dir=workspace.folder) as scratch:
        copy = Path(scratch) / DATABASE
        database.copy_to(copy)
        with (
            atomic_write(file.expanduser().resolve()) as out,
            tarfile.open(fileobj=out, mode="w:gz") as archive,
        ):
            for name, path in ({DATABASE: copy} | _files(workspace.folder)).items():
                try:
                    hashes[name] = _add(archive, name, path)
                except FileNotFoundError:
                    continue  # its stage replaced it since the folder was listed
            manifest = json.dumps({"files": hashes}, indent=1, sort_keys=True).encode()
            about = tarfile.TarInfo(MANIFEST)
            about.size = len(manifest)
            archive.addfile(about, BytesIO(manifest))
    return {"file": str(file), "files": len(hashes)}


class _Hashing:
    """Hands a file on and hashes what was really read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.state = sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.state.update(data)
        return data


def _add(archive: tarfile.TarFile, name: str, path: Path) -> str:
    with path.open("rb") as file:
        hashing = _Hashing(file)
        archive.addfile(archive.gettarinfo(arcname=name, fileobj=file), hashing)
    return hashing.state.hexdigest()


def _files(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for name in FOLDERS
        if name not in PASSING
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and not path.name.endswith(PARTIAL) and not path.name.startswith(PASSING)
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
    if folder.exists() and (not folder.is_dir() or any(p.is_file() for p in folder.rglob("*"))):
        raise WrongInput(f"{folder} is not an empty folder; restore into a new one with --workspace")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".restore-") as scratch:
        where = Path(scratch) / "workspace"
        where.mkdir()
        try:
            files = _unpack(file.expanduser(), where)
        except FileNotFoundError as error:
            raise WrongInput(f"{file} does not exist; give a file that `backup` wrote") from error
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise WrongInput(
                f"{file} is not a whole backup ({error}); give a file that `backup` wrote"
            ) from error
        _check(where, files, file)
        if folder.exists():
            shutil.rmtree(folder)  # empty folders only, as checked above
        where.rename(folder)
    return {"workspace": str(folder), "files": len(files) - 1}


def _unpack(file: Path, where: Path) -> set[str]:
    """Unpack an archive of plain files and give their names. Nothing gets out of `where`."""
    limit = max(BOMB_BYTES, BOMB_RATIO * file.stat().st_size)
    names: set[str] = set()
    unpacked = 0
    with tarfile.open(file, "r:gz") as archive:
        for member in archive:
            unpacked += member.size
            if not member.isfile() or unpacked > limit:
                raise tarfile.TarError(f"{member.name[:80]!r} is no plain file of a workspace, or too large")
            _write_member(archive, member, where)
            names.add(member.name)
    return names


def _write_member(archive: tarfile.TarFile, member: tarfile.TarInfo, where: Path) -> None:
    # By hand: tarfile's own filter of such paths is in Python 3.11.4 and later only.
    parts = PurePosixPath(member.name).parts
    target = where.joinpath(*parts)
    if not parts or ".." in parts or "\0" in member.name or not target.is_relative_to(where):
        raise tarfile.TarError(f"{member.name[:80]!r} lies outside of the folder")
    content = archive.extractfile(member)
    assert content is not None  # it is a plain file
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(content, file)


def _check(where: Path, names: set[str], file: Path) -> None:
    try:
        hashes = dict(json.loads((where / MANIFEST).read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongInput(f"{file} is not a backup of a workspace ({error})") from error
    if set(hashes) | {MANIFEST} != names or DATABASE not in hashes:
        raise WrongInput(f"{file} is not a backup of a workspace: it holds other files than it lists")
    wrong = [name for name, wanted in hashes.items() if _sha256(where / name) != wanted]
    if wrong:
        raise DamagedWorkspace(f"{file} is damaged: {wrong[0]} does not hold what was backed up")
    (where / MANIFEST).unlink()
    for name in FOLDERS:
        (where / name).mkdir(exist_ok=True)
