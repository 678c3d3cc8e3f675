"""Documented functions of the packages installed in this Python, for comment-function samples.

Source of the idea: Magicoder section 4, where the docstring is the instruction and the function the
response; it is the baseline there, not the recipe.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath

from curation.documented_functions import DocumentedFunction, functions_of, module_name
from curation.records import SeedSnippet, digest

# Licences that let anyone copy the code if the notice is kept: faults.md "Security S4", and four more
# of that kind which Python packages use.
ALLOWED_LICENCES = frozenset(
    {
        *("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "CC0-1.0", "0BSD", "Zlib"),
        *("BSL-1.0", "PSF-2.0", "MIT-CMU", "Apache-2.0 WITH LLVM-exception"),
    }
)
UNKNOWN = "unknown"

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

HEADER_LINES = 50  # where a file's own licence notice stands (faults.md "Security S4")
SPDX_HEADER = re.compile(r"SPDX-License-Identifier:[ \t]*([^\n]*?)[ \t]*(?:\*/|-->|$)", re.MULTILINE)
COPYLEFT_HEADER = re.compile(
    r"GNU (Lesser |Library |Affero )?General Public Licen[cs]e|\b[AL]?GPL(v?\d|-)|Mozilla Public Licen[cs]e"
)

# The endings of "License ::" classifiers that name one licence, and the SPDX id of each.
CLASSIFIERS = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "The Unlicense (Unlicense)": "Unlicense",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "Zero-Clause BSD (0BSD)": "0BSD",
    "zlib/libpng License": "Zlib",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "Python Software Foundation License": "PSF-2.0",
    "CMU License (MIT-CMU)": "MIT-CMU",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
# "MPL-2.0 AND MIT", to exclude it by its name; the digit tells an SPDX id from a word such as "BSD".
LIKE_AN_EXPRESSION = re.compile(r"[\w.+-]*\d[\w.+-]*( (AND|OR|WITH) [\w.+-]+)*")
VAGUE_CLASSIFIER = "BSD License"  # does not say how many clauses

# What authors write in the free "License" field when they do not write an SPDX id.
WELL_KNOWN_NAMES = {
    "mit license": "MIT",
    "the mit license": "MIT",
    "expat license": "MIT",
    "apache 2.0": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "modified bsd license": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "isc license": "ISC",
    "zlib license": "Zlib",
    "psf": "PSF-2.0",
    "psf license": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
}


@dataclass(frozen=True, slots=True)
class PackageLicence:
    """What the metadata of an installed package says about its licence."""

    package: str
    version: str
    licence: str  # SPDX expression; the classifier's own words where it has none; "unknown"
    evidence: str  # "expression", "classifier", "vague classifier", "field", "none"

    @property
    def reason_to_exclude(self) -> str | None:
        """Give the reason to leave this package out, or None to use it."""
        if self.licence == UNKNOWN:
            return "licence_unknown"
        return None if is_allowed(self.licence) else "licence_not_allowed"


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
        file
        for distribution, licence in _packages(folders)
        for file in _files(distribution, licence, skipped)
    ]


def package_licences(folders: Sequence[str] | None = None) -> list[PackageLicence]:
    """List every installed package with its licence, the excluded ones too."""
    return [licence for _, licence in _packages(folders)]


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


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression lets us use the code; what is no such expression does not."""
    try:
        return _Expression(expression).is_allowed()
    except ValueError:
        return False


def licence_of(expression: str, classifiers: Iterable[str], field: str) -> tuple[str, str]:
    """Give the licence and how it is known, from the three places of a package's metadata.

    Several classifiers may mean "both" or "either"; we take the stricter reading.
    """
    if expression.strip():
        return expression.strip(), "expression"
    endings = {c.split(" :: ")[-1] for c in classifiers if c.startswith("License :: ")} - {"OSI Approved"}
    from_field = _licence_in_field(field)
    if endings == {VAGUE_CLASSIFIER}:
        return (from_field, "field") if from_field else ("BSD-3-Clause", "vague classifier")
    if endings:
        ids = {CLASSIFIERS.get(e, "BSD-3-Clause" if e == VAGUE_CLASSIFIER else e) for e in endings}
        return " AND ".join(sorted(ids)), "vague classifier" if VAGUE_CLASSIFIER in endings else "classifier"
    return (from_field, "field") if from_field else (UNKNOWN, "none")


def licence_reason_to_skip(text: str) -> str | None:
    """Give the reason to leave a file out for what its first lines say of its licence, or None."""
    header = "\n".join(text.split("\n", HEADER_LINES)[:HEADER_LINES])
    if not all(is_allowed(found) for found in SPDX_HEADER.findall(header)):
        return "licence_header"
    prose = re.sub(r"[\s#*]+", " ", SPDX_HEADER.sub("", header))  # notices run over several comment lines
    return "licence_header" if COPYLEFT_HEADER.search(prose) else None


class _Expression:
    """Reads an SPDX licence expression: OR binds loosest, then AND, then WITH (SPDX 2.3, annex D)."""

    def __init__(self, text: str) -> None:
        self._words: list[str] = re.findall(r"[()]|[^\s()]+", text)

    def is_allowed(self) -> bool:
        allowed = self._either()
        if self._words:
            raise ValueError("text after the end of the expression")
        return allowed

    def _either(self) -> bool:
        allowed = self._both()
        while self._take("OR"):
            allowed = self._both() or allowed  # read on even when the answer is known
        return allowed

    def _both(self) -> bool:
        allowed = self._one()
        while self._take("AND"):
            allowed = self._one() and allowed
        return allowed

    def _one(self) -> bool:
        if self._take("("):
            allowed = self._either()
            if not self._take(")"):
                raise ValueError("a parenthesis is not closed")
            return allowed
        name = self._name()
        if self._take("WITH"):
            name = f"{name} WITH {self._name()}"
        return name.lower() in ALLOWED_LOWER  # SPDX ids do not depend on case

    def _name(self) -> str:
        if not self._words or self._words[0].upper() in {"AND", "OR", "WITH", "(", ")"}:
            raise ValueError("a licence is missing")
        return self._words.pop(0)

    def _take(self, word: str) -> bool:
        found = bool(self._words) and self._words[0].upper() == word
        if found:
            self._words.pop(0)
        return found


ALLOWED_LOWER = frozenset(licence.lower() for licence in ALLOWED_LICENCES)


def _licence_in_field(field: str) -> str:
    """Give the licence a short "License" field names, or "": long ones hold a whole licence text."""
    plain = " ".join(field.split()).rstrip(".")
    if plain.lower() in WELL_KNOWN_NAMES:
        return WELL_KNOWN_NAMES[plain.lower()]
    return plain if is_allowed(plain) or LIKE_AN_EXPRESSION.fullmatch(plain) else ""


def _packages(folders: Sequence[str] | None) -> Iterator[tuple[Distribution, PackageLicence]]:
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
    reason = licence_reason_to_skip(data[: 200 * HEADER_LINES].decode(errors="replace"))
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
