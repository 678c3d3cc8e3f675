"""The source `installed`: files of the packages installed in this Python, in every language we know.

The standard library is left out: it belongs to no package. Unlike `example`, tests and files that are no
modules count, as they do in the corpora that others harvest.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import Distribution
from pathlib import Path

from curation.archives import shown_name
from curation.code_documents import document_of, left_out_by_path
from curation.code_sources import CodeSource, Position
from curation.installed_code import PackageLicence, packages
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
        yield path, _read(Path(str(distribution.locate_file(entry))), path, about)


def _read(file: Path, path: str, about: PackageLicence) -> Document | Skipped:
    try:
        skipped = left_out_by_path(path, file.stat().st_size)
        if skipped is not None:
            return skipped
        data = file.read_bytes()
    except OSError as error:
        return Skipped(shown_name(path), "unreadable_file", str(error.strerror or error))
    source = f"{about.package}=={about.version}"
    return document_of(source, path, data, (about.licence, about.evidence))
