"""Where code comes from: a folder, an archive, a git repository, a file of rows, a set of the hub.

Every source gives its documents in an order that does not change, each with a position. Whoever hands
the last position back gets what comes behind it, and no document twice.

To add a kind of source: subclass CodeSource, and name it in `open_source`.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from curation.archives import FILE_LIMIT, ArchiveFile, read_archive, shown_name
from curation.code_documents import (
    Licences,
    document_of,
    folder_left_out,
    left_out_by_path,
    tells_a_licence,
)
from curation.code_tables import (
    Position,
    TableFile,
    check_columns,
    document_of_row,
    skipped_of,
)
from curation.errors import WrongInput
from curation.git_repository import GitFile, GitRepository, is_address, repository_name
from curation.hub import PREFIX, HubStream
from curation.languages import language_of
from curation.reading import FileRow, sha256_of
from curation.records import Document, Skipped

__all__ = ["CodeSource", "Document", "Position", "Skipped", "open_source"]

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
TABLES = (".parquet", ".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz")

_LINK, _SUBMODULE = "120000", "160000"
_DEEPEST = 200  # folders inside each other; deeper than any code, and no stack of Python's is near


class CodeSource:
    """Documents of one place. Use it in a `with` block: closing removes what was fetched."""

    kind = ""  # "folder", "archive", "git", "table", "hub"
    name = ""  # what `Document.source` says, except where a row names its repository itself
    revision = ""  # commit, revision of the hub or sha256; "" where files are not named by their content

    def documents(self, after: Position | None = None) -> Iterator[tuple[Position, Document | Skipped]]:
        """Yield everything behind a position (None: everything), in the source's order.

        Raises WrongInput for a position of another source, or of this one before it changed;
        SourceUnavailable when the source cannot be read on.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Remove what was fetched to read this source."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_source(given: str, scratch: Path, revision: str | None = None) -> CodeSource:
    """Open what a person names: a path, the address of a repository, or `hf:NAME[:FOLDER_IN_IT]`.

    `scratch` is a folder of the workspace for what has to be fetched. With the `revision` of an
    earlier source, the same commit or revision is read again; a file that has another one by now is
    refused. Raises WrongInput and SourceUnavailable with one line.
    """
    if given.startswith(PREFIX):
        return HubSource(given, revision)
    path = Path(os.path.expanduser(given))
    exists = os.path.lexists(path)
    if not exists and is_address(given):
        return GitSource(given, scratch, revision)
    if exists and path.is_dir():
        tables = _parquet_files(path)
        return TableSource(path, tables, given) if tables else FolderSource(path)
    if not exists or not path.is_file():
        what = "is no file or folder" if exists else "is not there"
        raise WrongInput(
            f"{shown_name(given)} {what}; give a path, https://HOST/OWNER/NAME or {PREFIX}OWNER/NAME"
        )
    name = path.name.lower()
    if name.endswith(ARCHIVES):
        return ArchiveSource(path, revision)
    if name.endswith(TABLES):
        return TableSource(path, [path], given)
    endings = ", ".join((*ARCHIVES, *TABLES))
    raise WrongInput(f"{shown_name(given)} is no source of code; give a folder or one of {endings}")


def _after(position: Position | None, key: str) -> Any:
    """Take what a position says; raise WrongInput for one of another kind of source."""
    if position is None:
        return None
    if key not in position:
        raise WrongInput("the place to go on from belongs to another kind of source; harvest it anew")
    return position[key]


# --- a folder ------------------------------------------------------------------------------------------


class FolderSource(CodeSource):
    """The files of a folder, sorted name by name; links are not followed."""

    kind = "folder"

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.name = self._folder.name or "folder"
        try:
            os.scandir(self._folder).close()
        except OSError as error:
            raise WrongInput(f"{folder} cannot be read ({error.strerror}); check its permissions") from error

    def documents(self, after: Position | None = None) -> Iterator[tuple[Position, Document | Skipped]]:
        last = _after(after, "path")
        licences = Licences(lambda inside: _licence_texts(self._folder / inside))
        for path, skipped in _walk(self._folder, last):
            item = skipped or self._read(path, licences)
            yield {"path": path}, item

    def _read(self, path: str, licences: Licences) -> Document | Skipped:
        file = self._folder / path
        try:
            size = file.lstat().st_size
            skipped = left_out_by_path(path, size)
            if skipped:
                return skipped
            data = _bytes_of(file)
        except OSError as error:
            return Skipped(shown_name(path), "unreadable_file", error.strerror or type(error).__name__)
        return document_of(self.name, path, data, licences.of(path))


def _walk(top: Path, after: str | None) -> Iterator[tuple[str, Skipped | None]]:
    """Yield the path of every file, and of what is not gone into with its reason, in order of their parts."""
    done = tuple(after.rstrip("/").split("/")) if after is not None else ()
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        parts = waiting.pop()
        if parts[: len(done)] < done[: len(parts)]:  # it and all below it were seen
            continue
        path = "/".join(parts)
        skipped, below = _look_at(top, parts)
        if below is not None:
            waiting += [(*parts, name) for name in reversed(below)]
        if (below is None or skipped) and parts > done:
            yield (path, skipped)


def _look_at(top: Path, parts: tuple[str, ...]) -> tuple[Skipped | None, list[str] | None]:
    """Tell a file (None, None), a folder (None, its names) and what is left out (why, None) apart."""
    path = "/".join(parts)
    place = top / path
    try:
        mode = place.lstat().st_mode
        if stat.S_ISLNK(mode) and parts:
            target = shown_name(os.readlink(place))
            return Skipped(shown_name(path), "link", f"it leads to {target}; links are not followed"), None
        if not stat.S_ISDIR(mode):
            regular = stat.S_ISREG(mode)
            return (None if regular else Skipped(shown_name(path), "device", "it is no regular file")), None
        fault = folder_left_out(parts[-1]) if parts else None
        if len(parts) > _DEEPEST:
            fault = "deep_folder", f"it lies more than {_DEEPEST} folders deep"
        return (Skipped(shown_name(f"{path}/"), *fault), None) if fault else (None, sorted(os.listdir(place)))
    except OSError as error:
        return Skipped(shown_name(path), "unreadable_file", error.strerror or type(error).__name__), None


def _bytes_of(file: Path) -> bytes:
    """Read a regular file, and no link that has taken its place since the folder was listed."""
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(0, "it is no regular file any more")
        return opened.read(FILE_LIMIT + 1)


def _licence_texts(folder: Path) -> Iterator[tuple[str, str]]:
    try:
        names = sorted(name for name in os.listdir(folder) if tells_a_licence(name))
    except OSError:
        return
    for name in names:
        file = folder / name
        try:
            if stat.S_ISREG(file.lstat().st_mode):
                yield name, _bytes_of(file).decode(errors="replace")
        except OSError:
            yield name, ""  # a licence that cannot be read is not recognised


# --- an archive -----------------------------------------------------------------------------------------


class ArchiveSource(CodeSource):
    """The files of an archive, in its own order."""

    kind = "archive"

    def __init__(self, path: Path, revision: str | None = None) -> None:
        self._path = path
        self.name = path.name
        self._licences = _licences_of_archive(path)  # refuses a bomb before it is read for its hash
        self.revision = sha256_of(path)
        if revision is not None and revision != self.revision:
            raise WrongInput(f"{path} has changed since it was read up to here; harvest it anew")

    def documents(self, after: Position | None = None) -> Iterator[tuple[Position, Document | Skipped]]:
        last = _after(after, "entry")
        if after is not None and _after(after, "sha256") != self.revision:
            raise WrongInput(f"{self._path} has changed since it was read up to here; harvest it anew")
        for number, entry in read_archive(self._path, -1 if last is None else int(last)):
            item: Document | Skipped
            if isinstance(entry, ArchiveFile):
                skipped = left_out_by_path(entry.path, len(entry.data))
                item = skipped or document_of(
                    self.name, entry.path, entry.data, self._licences.of(entry.path)
                )
            else:
                item = entry
            yield {"entry": number, "sha256": self.revision}, item


def _licences_of_archive(path: Path) -> Licences:
    """Read the licence files first: in an archive they may stand behind the code."""
    texts: dict[str, list[tuple[str, str]]] = {}
    for _, entry in read_archive(path):
        if isinstance(entry, ArchiveFile):
            folder, _, name = entry.path.rpartition("/")
            if tells_a_licence(name):
                texts.setdefault(folder, []).append((name, entry.data.decode(errors="replace")))
    return Licences(lambda folder: texts.get(folder, ()))


# --- a repository -----------------------------------------------------------------------------------------


class GitSource(CodeSource):
    """The files of one commit, in git's order."""

    kind = "git"

    def __init__(self, address: str, scratch: Path, revision: str | None = None) -> None:
        self._repository = GitRepository(address, scratch, revision)
        self.revision = self._repository.commit
        self.name = f"{repository_name(address)}@{self.revision}"

    def close(self) -> None:
        self._repository.close()

    def documents(self, after: Position | None = None) -> Iterator[tuple[Position, Document | Skipped]]:
        last = _after(after, "file")
        if after is not None and _after(after, "commit") != self.revision:
            raise WrongInput(f"the place to go on from is of another commit than {self.revision}")
        licences = self._licences()
        rest = list(enumerate(self._repository.files))[0 if last is None else int(last) + 1 :]
        left_out = {number: _left_out_of_git(file) for number, file in rest}
        contents = self._repository.contents(file for number, file in rest if left_out[number] is None)
        for number, file in rest:
            item: Document | Skipped | None = left_out[number]
            if item is None:
                _, data = next(contents)
                item = document_of(self.name, file.path, data, licences.of(file.path))
            yield {"file": number, "commit": self.revision}, item

    def _licences(self) -> Licences:
        files = (
            file
            for file in self._repository.files
            if file.mode not in (_LINK, _SUBMODULE)
            and file.size <= FILE_LIMIT
            and tells_a_licence(file.path.rpartition("/")[2])
        )
        texts: dict[str, list[tuple[str, str]]] = {}
        for file, data in self._repository.contents(files):
            folder, _, name = file.path.rpartition("/")
            texts.setdefault(folder, []).append((name, data.decode(errors="replace")))
        return Licences(lambda folder: texts.get(folder, ()))


def _left_out_of_git(file: GitFile) -> Skipped | None:
    if file.mode == _LINK:
        return Skipped(shown_name(file.path), "link", "it is a link, which is not followed")
    if file.mode == _SUBMODULE:
        return Skipped(shown_name(file.path), "submodule", "it is another repository; give its address")
    return left_out_by_path(file.path, file.size)


# --- files of rows, and the hub -----------------------------------------------------------------------------


class TableSource(CodeSource):
    """The rows of one file, or of the Parquet files of a folder, sorted by name."""

    kind = "table"

    def __init__(self, place: Path, files: Iterable[Path], given: str) -> None:
        self.name = place.resolve().name
        self._files: dict[str, TableFile] = {}
        for file in files:
            name = file.name if file == place else file.relative_to(place).as_posix()
            self._files[name] = TableFile(file, name, given)

    def documents(self, after: Position | None = None) -> Iterator[tuple[Position, Document | Skipped]]:
        last = _after(after, "file")
        names = list(self._files)
        if after is not None:
            if last not in self._files:
                raise WrongInput(f"{shown_name(str(last))} is no longer in {self.name}; harvest it anew")
            self._files[last].check(after)
            names = names[names.index(last) :]
        for name in names:
            yield from self._files[name].documents(self.name, after if name == last else None)


def _parquet_files(folder: Path) -> list[Path]:
    """List the Parquet files of a folder that holds a set and no code; none of any other."""
    found: list[Path] = []
    for path, skipped in _walk(folder.resolve(), None):
        if skipped is None and language_of(path) is not None:
            return []
        if skipped is None and path.endswith(".parquet"):
            found.append(folder / path)
    return found


class HubSource(CodeSource):
    """The rows of a set, as they come over the network."""

    kind = "hub"

    def __init__(self, given: str, revision: str | None = None) -> None:
        self._given = given
        self._stream = HubStream(given, revision)
        self.revision = self._stream.revision
        if revision is not None and revision != self.revision:
            raise WrongInput(f"{given} has changed since it was read up to here; harvest it anew")
        place = Path(self._stream.source).expanduser()
        self.name = place.resolve().name if place.is_dir() else self._stream.source
        if self._stream.columns is not None:
            check_columns(given, self._stream.columns)

    def documents(self, after: Position | None = None) -> Iterator[tuple[Position, Document | Skipped]]:
        state = _after(after, "state")
        if after is not None and _after(after, "revision") != self.revision:
            raise WrongInput(f"the place to go on from is of another revision than {self.revision}")
        checked = self._stream.columns is not None
        for seen, row in self._stream.rows(state):
            position = {"state": seen, "revision": self.revision}
            if not isinstance(row, FileRow):
                yield position, skipped_of(row, self.name)
                continue
            if not checked:
                check_columns(self._given, list(row.value))
                checked = True
            yield position, document_of_row(self.name, row.value, f"row {row.position}")
