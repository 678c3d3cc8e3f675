"""What a file of code needs to become a Document: a place of its own, a language, text and a licence."""

import re
from collections.abc import Callable, Iterable

from curation.archives import FILE_LIMIT, bad_name, shown_name
from curation.languages import language_of
from curation.licence_manifests import is_manifest_name, licence_of_manifest
from curation.licence_texts import licence_of_text
from curation.licences import EXPRESSION, LICENCE_FILE
from curation.records import Document, Skipped

UNKNOWN = "unknown"
NO_LICENCE = (UNKNOWN, "none")

# Somebody else's code, under a licence that the project's own file does not speak for.
VENDORED = frozenset(
    {
        *("node_modules", "bower_components", "jspm_packages", "site-packages", "Pods", "Carthage"),
        *("vendor", "vendored", "_vendor", "_vendored", "extern", "externals", "external", "_extern"),
        *("third_party", "third-party", "thirdparty", "3rdparty", "venv", "virtualenv"),
    }
)
# What compilers and packagers write. "bin" is not among them: shell scripts live there.
BUILT = frozenset(
    {
        *("build", "_build", "dist", "out", "target", "obj", "__pycache__", "DerivedData"),
        *("cmake-build-debug", "cmake-build-release", "bazel-bin", "bazel-out"),
    }
)

_LICENCE_NAME = re.compile(
    r"(un)?licen[cs]es?|copying(\.lesser)?|(un)?licen[cs]es?[._-].*|copying[._-].*|.*[._-]licen[cs]e(\.(txt|md|rst))?",
    re.IGNORECASE,
)
_NO_TEXT = (".json", ".html", ".htm", ".js", ".xml", ".yml", ".yaml", ".toml", ".png", ".svg", ".pdf")

# A folder ("" is the top) -> name and text of its licence files and manifests.
TextsIn = Callable[[str], Iterable[tuple[str, str]]]


def is_licence_name(name: str) -> bool:
    """Whether a file of this name is where projects put their licence."""
    fits = _LICENCE_NAME.fullmatch(name) is not None
    return fits and language_of(name) is None and not name.lower().endswith(_NO_TEXT)


def tells_a_licence(name: str) -> bool:
    """Whether a file of this name may say which licence holds: a licence file, or a project's manifest."""
    return is_licence_name(name) or is_manifest_name(name)


class Licences:
    """The licence of each file of a project: of the nearest licence file or manifest, upward from it."""

    def __init__(self, texts_in: TextsIn) -> None:
        self._texts_in = texts_in
        self._known: dict[str, tuple[str, str]] = {"": self._of_texts("") or NO_LICENCE}

    def of(self, path: str) -> tuple[str, str]:
        """Give the SPDX expression (or "unknown"), and how it is known: one of licences.EVIDENCE."""
        above: list[str] = []
        folder = path.rpartition("/")[0]
        while folder not in self._known:
            above.append(folder)
            folder = folder.rpartition("/")[0]
        found = self._known[folder]
        for folder in reversed(above):
            found = self._known[folder] = self._of_texts(folder) or found
        return found

    def _of_texts(self, folder: str) -> tuple[str, str] | None:
        """Join the licences of a folder with AND; one that is not recognised makes all unknown.

        A manifest beside them says how they combine, when it names all of them; else both hold.
        """
        found: list[str | None] = []
        said: set[str] = set()
        for name, text in self._texts_in(folder):
            if is_licence_name(name):
                found.append(licence_of_text(text))
            elif expression := licence_of_manifest(name, text):
                said.add(expression)
        if None in found:
            return UNKNOWN, LICENCE_FILE
        names = {name for licence in found if licence for name in licence.split(" AND ")}
        if len(said) == 1 and names <= set(re.findall(r"[\w.+-]+", next(iter(said)))):
            return said.pop(), EXPRESSION
        if not found and not said:
            return None
        joined = sorted({*names, *(f"({one})" if " OR " in one else one for one in said)})
        return " AND ".join(joined), LICENCE_FILE if found else EXPRESSION


def folder_left_out(name: str) -> tuple[str, str] | None:
    """Say why a folder of this name is not gone into, as reason and evidence; None to go in."""
    if name.startswith("."):
        return "hidden_file", f"{shown_name(name)} is hidden"
    if name in VENDORED:
        return "vendored_file", f"{name} holds code of others"
    if name in BUILT or name.endswith(".egg-info"):
        return "build_output", f"{shown_name(name)} holds what a build wrote"
    return None


def left_out_by_path(path: str, size: int) -> Skipped | None:
    """Give what keeps a file out that needs no look inside, or None to read it."""
    fault = bad_name(path)
    *folders, name = path.split("/")
    for folder in folders:
        fault = fault or folder_left_out(folder)
    if fault is None and name.startswith("."):
        fault = "hidden_file", "its name begins with a dot"
    if fault is None and language_of(path) is None:
        fault = "unknown_language", "the ending of its name is none of a language that seeds are made of"
    if fault is None and size > FILE_LIMIT:
        fault = "large_file", f"it has {size:,} bytes; {FILE_LIMIT:,} are allowed"
    return Skipped(shown_name(path), *fault) if fault else None


def document_of(
    source: str, path: str, data: bytes, licence: tuple[str, str], language: str | None = None
) -> Document | Skipped:
    """Make a document of a file that was read; a byte order mark of UTF-8 stays where it is."""
    fault = _no_text(data)
    language = language_of(path) or language
    if language is None:
        fault = "unknown_language", "neither its name nor a column tells a language that seeds are made of"
    if fault or language is None:
        return Skipped(shown_name(path), *(fault or ("unknown_language", "")))
    return Document(source, path, language, licence[0], licence[1], data)


def _no_text(data: bytes) -> tuple[str, str] | None:
    if len(data) > FILE_LIMIT:
        return "large_file", f"it has {len(data):,} bytes; {FILE_LIMIT:,} are allowed"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "bad_encoding", "it begins as UTF-16 does"
    if b"\0" in data:
        return "binary_file", f"byte {data.index(0):,} is a NUL"
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return "bad_encoding", f"byte {error.start:,} is not UTF-8 ({error.reason})"
    return None
