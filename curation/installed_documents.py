"""The source `installed`: files of the packages installed in this Python, in every language we know.

The standard library is left out: it belongs to no package. Unlike `example`, tests and files that are no
modules count, as they do in the corpora that others harvest.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath
from typing import Any

from curation.code_sources import CodeSource, Position
from curation.installed_code import MAX_FILE_BYTES, VENDOR_FOLDERS, PackageLicence, packages
from curation.languages import language_of
from curation.records import Document, Skipped

GIVEN = "installed"


class InstalledSource(CodeSource):
    """Packages by name, their files by path; a position names both."""

    kind = "installed"
    name = "installed packages"

    def __init__(self, folders: Sequence[str] | None = None) -> None:
        """`folders`: where packages are; None: wherever Python looks."""
        found = sorted(packages(folders), key=lambda one: one[1].package.lower())
        self._packages = found
        told = " ".join(f"{one.package}=={one.version} {one.licence}" for _, one in found)
        self.revision = sha256(told.encode()).hexdigest()

    def documents(self, after: Position | None = None) -> Iterator[tuple[Position, Document | Skipped]]:
        last = (after["package"], after["file"]) if after else ("", "")
        for distribution, about in self._packages:
            if about.package.lower() < last[0]:
                continue
            for path, item in _files(distribution, about):
                place = (about.package.lower(), path)
                if place > last:
                    yield {"package": place[0], "file": path}, item


def _files(distribution: Distribution, about: PackageLicence) -> Iterator[tuple[str, Document | Skipped]]:
    """Give the files that a package lists, by path; what is listed outside of its folder is not its code."""
    listed = {entry.as_posix(): entry for entry in distribution.files or ()}
    for path in sorted(listed):
        entry = listed[path]
        if entry.is_absolute() or ".." in entry.parts or path.endswith((".pyc", ".so")):
            continue
        yield path, _read(Path(str(distribution.locate_file(entry))), entry, path, about)


def _read(file: Path, entry: PurePosixPath, path: str, about: PackageLicence) -> Document | Skipped:
    language = language_of(path)
    if language is None:
        return Skipped(path, "unknown_language", entry.suffix)
    if set(entry.parts[:-1]) & VENDOR_FOLDERS:
        return Skipped(path, "vendored_file", "somebody else's code, under a licence the package does not tell")
    try:
        data = _bytes(file)
    except OSError as error:
        return Skipped(path, "unreadable_file", str(error.strerror or error))
    fault = _fault(data)
    if fault is not None:
        return Skipped(path, *fault)
    source = f"{about.package}=={about.version}"
    return Document(source, path, language, about.licence, about.evidence, data)


def _bytes(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_FILE_BYTES + 1)


def _fault(data: bytes) -> tuple[str, str] | None:
    if len(data) > MAX_FILE_BYTES:
        return "large_file", f"over {MAX_FILE_BYTES:,} bytes"
    if b"\0" in data:
        return "binary_file", "it holds zero bytes"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return "bad_encoding", f"not UTF-8 at byte {error.start:,}"
    return None


