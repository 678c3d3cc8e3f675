"""Documented functions of the packages installed in this Python, for comment-function samples.

Source of the idea: Magicoder section 4, where the docstring is the instruction and the function the
response; it is the baseline there, not the recipe.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath

from curation.documented_functions import DocumentedFunction, functions_of, module_name
from curation.licences import HEADER_CHARACTERS, decide, licence_of, licence_reason_to_skip
from curation.records import SeedSnippet, digest

ORDER_SEED = 976  # the random seed of Magicoder's snippets, used here to mix the files
MAX_FILE_BYTES = 1_000_000
# Files of one pattern (wrappers, generated tables) hold hundreds of look-alikes. With 20 a file, 3,000
# functions come from some 390 files instead of 280, and no file gives more than 0.7 % of them.
MAX_FUNCTIONS_PER_FILE = 20

TEST_FOLDERS = frozenset({"test", "tests", "_test", "_tests", "idle_test", "test-data", "__pycache__"})
TEST_FILE = re.compile(r"(test_.*|.*_test|conftest)\.py")
# Somebody else's code under a licence the package's own metadata does not speak for: pip, which says
# MIT, carries LGPL and MPL code.
VENDOR_FOLDERS = frozenset({"_vendor", "_vendored", "vendor", "vendored", "extern", "externals", "_extern"})


@dataclass(frozen=True, slots=True)
class PackageLicence:
    """What the metadata of an installed package says about its licence."""

    package: str
    version: str
    licence: str  # SPDX expression; the classifier's own words where it has none; "unknown"
    evidence: str  # see curation/licences.py

    @property
    def reason_to_exclude(self) -> str | None:
        """Give the reason to leave this package out, or None to use it."""
        return decide(self.licence, self.evidence)


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A Python file that an installed package brought, under a licence that lets us use it."""

    package: str
    version: str
    licence: str  # SPDX expression
    licence_evidence: str
    path: Path
    relative: str  # inside the folder of installed packages, with "/"
    module: str


def package_files(skipped: Counter[str], folders: Sequence[str] | None = None) -> list[PackageFile]:
    """List the usable files of every package installed in these folders (None: wherever Python looks).

    Counts in `skipped` the Python files left out, by reason; a package that does not list its files
    counts one, as "no_file_list".
    """
    return [
        file for distribution, licence in packages(folders) for file in _files(distribution, licence, skipped)
    ]


def package_licences(folders: Sequence[str] | None = None) -> list[PackageLicence]:
    """List every installed package with its licence, the excluded ones too."""
    return [licence for _, licence in packages(folders)]


def harvest(
    rows: int, files: Sequence[PackageFile], skipped: Counter[str] | None = None
) -> Iterator[tuple[SeedSnippet, DocumentedFunction, PackageFile]]:
    """Yield the first `rows` functions of the files.

    Files come in the order of a hash of their name, so that a prefix of any length is a fair mixture and
    does not depend on the order given. `skipped` counts what was passed over on the way, by reason.
    """
    skipped = Counter() if skipped is None else skipped
    seen: set[str] = set()
    left = rows
    for file in sorted(files, key=_order):
        if left <= 0:
            return
        functions = _functions(file, seen, skipped)[:left]
        for function in functions:
            yield _snippet(function, file), function, file
        left -= len(functions)


def packages(folders: Sequence[str] | None) -> Iterator[tuple[Distribution, PackageLicence]]:
    """Pair each package with its licence; of two with one name, the first is the one Python imports."""
    seen: set[str] = set()
    for distribution in distributions() if folders is None else distributions(path=list(folders)):
        name = _said(distribution, "Name")
        if not name or name.lower() in seen:  # a half-removed package leaves a folder without a name
            continue
        seen.add(name.lower())
        licence, evidence = licence_of(
            _said(distribution, "License-Expression"),
            distribution.metadata.get_all("Classifier") or (),
            _said(distribution, "License"),
        )
        yield distribution, PackageLicence(name, distribution.version, licence, evidence)


def _said(distribution: Distribution, key: str) -> str:
    return str((distribution.metadata.get_all(key) or [""])[0])


def _files(distribution: Distribution, about: PackageLicence, skipped: Counter[str]) -> Iterator[PackageFile]:
    listed = distribution.files
    if listed is None:
        skipped["no_file_list"] += 1
        return
    for entry in sorted(listed, key=str):
        if entry.suffix != ".py":
            continue
        path = Path(str(distribution.locate_file(entry)))
        reason = about.reason_to_exclude or _reason_to_skip(entry, path)
        if reason:
            skipped[reason] += 1
        else:
            yield PackageFile(
                about.package,
                about.version,
                about.licence,
                about.evidence,
                path,
                entry.as_posix(),
                module_name(Path(entry)),
            )


def _reason_to_skip(relative: PurePosixPath, path: Path) -> str | None:
    """Give the reason to leave a file out that needs no look inside, or None to use it."""
    folders = set(relative.parts[:-1])
    if ".." in folders or relative.is_absolute():
        return "not_a_module"  # a command, put into bin/
    if folders & TEST_FOLDERS or TEST_FILE.fullmatch(relative.name):
        return "test_file"
    if folders & VENDOR_FOLDERS:
        return "vendored_file"
    try:
        return "large_file" if path.stat().st_size > MAX_FILE_BYTES else None
    except OSError:
        return "unreadable_file"


def _order(file: PackageFile) -> str:
    return sha256(f"{ORDER_SEED}:{file.package}/{file.relative}".encode()).hexdigest()


def _functions(file: PackageFile, seen: set[str], skipped: Counter[str]) -> list[DocumentedFunction]:
    """List the functions to take from a file that is read for the first time."""
    try:
        data = file.path.read_bytes()
    except OSError:
        skipped["unreadable_file"] += 1
        return []
    document_hash = sha256(data).hexdigest()
    reason = licence_reason_to_skip(data[:HEADER_CHARACTERS].decode(errors="replace"))
    if document_hash in seen:
        reason = "same_document"
    seen.add(document_hash)
    if reason:
        skipped[reason] += 1
        return []
    functions = functions_of(data, file.relative, file.module)
    if len(functions) > MAX_FUNCTIONS_PER_FILE:
        skipped["function_over_limit_of_file"] += len(functions) - MAX_FUNCTIONS_PER_FILE
    return functions[:MAX_FUNCTIONS_PER_FILE]


def _snippet(function: DocumentedFunction, file: PackageFile) -> SeedSnippet:
    lines = (str(function.first_line), str(function.last_line))
    return SeedSnippet(
        id=digest(function.document_hash, *lines),
        document_hash=function.document_hash,
        first_line=function.first_line,
        last_line=function.last_line,
        text=function.source_text,
        language="Python",
        source=f"{file.package}=={file.version}",
        path=file.relative,
        licence=file.licence,
        licence_evidence=file.licence_evidence,
    )
