"""The nine languages of Magicoder's seeds: how a file shows which it is in, and how many seeds each gives.

Extensions and file names follow GitHub's linguist, which The Stack was sorted by, less those that several
languages share (.inc, .cgi). Two extensions do mislead: Qt's translations and Hack, see `NOT_THE_LANGUAGE`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from curation.errors import WrongInput


@dataclass(frozen=True, slots=True)
class Language:
    """A language, and what tells that a file is written in it."""

    name: str  # as records and pages show it
    directory: str  # in bigcode/starcoderdata; Swift's is in bigcode/the-stack
    quota: int  # seeds out of 80,000: Magicoder section 2.1
    extensions: tuple[str, ...]  # lower case, with the dot
    file_names: tuple[str, ...] = ()  # well known without one
    interpreters: tuple[str, ...] = ()  # what a #! line names, without version


LANGUAGES = (
    Language(
        "Python",
        "python",
        40_000,
        (".py", ".pyi", ".pyw", ".py3"),
        ("SConstruct", "SConscript", "wscript"),
        ("python", "pypy"),
    ),
    Language(
        "C++",
        "cpp",
        5_000,
        (
            *(".cpp", ".cc", ".cxx", ".c++", ".cppm", ".ixx"),
            *(".h", ".hpp", ".hh", ".hxx", ".h++"),  # .h: also C's; read as C++, which all but contains it
            *(".inl", ".ipp", ".tpp", ".tcc", ".txx"),
        ),
    ),
    Language("Java", "java", 5_000, (".java",)),
    Language(
        "TypeScript", "typescript", 5_000, (".ts", ".tsx", ".mts", ".cts"), (), ("ts-node", "tsx", "deno")
    ),
    Language(
        "Shell",
        "shell",
        5_000,
        (".sh", ".bash", ".zsh", ".ksh", ".command"),
        (
            *(".bashrc", ".bash_profile", ".bash_aliases", ".bash_login", ".bash_logout", ".profile"),
            *(".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", ".kshrc", "PKGBUILD", "APKBUILD"),
        ),
        ("sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"),
    ),
    Language("C#", "c-sharp", 5_000, (".cs", ".csx")),
    Language("Rust", "rust", 5_000, (".rs",), (), ("rust-script",)),
    Language(
        "PHP",
        "php",
        5_000,
        (".php", ".phtml", ".php3", ".php4", ".php5", ".php7", ".php8", ".phps"),
        (),
        ("php",),
    ),
    Language("Swift", "swift", 5_000, (".swift",), (), ("swift",)),
)
NAMES = tuple(language.name for language in LANGUAGES)
QUOTAS: Mapping[str, int] = MappingProxyType({language.name: language.quota for language in LANGUAGES})
DIRECTORIES: Mapping[str, str] = MappingProxyType({lang.directory: lang.name for lang in LANGUAGES})

_BY_EXTENSION = {extension: lang.name for lang in LANGUAGES for extension in lang.extensions}
_BY_FILE_NAME = {file_name: lang.name for lang in LANGUAGES for file_name in lang.file_names}
_BY_INTERPRETER = {interpreter: lang.name for lang in LANGUAGES for interpreter in lang.interpreters}

# A file's extension says one thing and its first line another: Qt Linguist's translations end in .ts,
# Hack's sources in .php.
NOT_THE_LANGUAGE = {"TypeScript": ("<?xml", "<!DOCTYPE TS"), "PHP": ("<?hh",)}

# What follows the last dot of a name and starts with a letter; "tool-1.2" and ".profile" have none.
_EXTENSION = re.compile(r"(?<=.)\.[A-Za-z][\w+]*$", re.ASCII)
SHEBANG_CHARACTERS = 256  # what Linux reads of such a line; a minified first line may be megabytes
# #!/usr/bin/env -S NAME=value python3.11 -u: the first word after env that is neither option nor setting.
_SHEBANG = re.compile(
    r"#![ \t]*(?:\S*/)?(?:env(?:[ \t]+(?:-\S*|\w+=\S*))*[ \t]+(?:\S*/)?)?([\w.+-]+)", re.ASCII
)
_VERSION = re.compile(r"[\d.]+$")


def language_of(path: str, first_line: str = "") -> str | None:
    """Name the language of a file, or give None for one in none of the nine.

    `path` is inside its source, with "/". `first_line` is asked where the name has no extension (a #! line)
    and where an extension is shared with something that is no code; without it the name alone decides.
    """
    file_name = path.rpartition("/")[2]
    if file_name in _BY_FILE_NAME:
        return _BY_FILE_NAME[file_name]
    first_line = first_line.removeprefix("\ufeff")
    extension = _EXTENSION.search(file_name)
    if extension is None:
        return _language_of_shebang(first_line)
    name = _BY_EXTENSION.get(extension[0].lower())
    return None if name and first_line.startswith(NOT_THE_LANGUAGE.get(name, ())) else name


def _language_of_shebang(first_line: str) -> str | None:
    shebang = _SHEBANG.match(first_line[:SHEBANG_CHARACTERS])
    return _BY_INTERPRETER.get(_VERSION.sub("", shebang[1])) if shebang else None


def quotas(total: int) -> dict[str, int]:
    """Share `total` seeds among the nine as Magicoder shares 80,000; the numbers add up to `total`.

    Largest remainder: each language gets its share rounded down, and what is left goes one by one to those
    that lost most by it (ties: in the order of `LANGUAGES`). Raises WrongInput for a total below 0.
    """
    if total < 0:
        raise WrongInput(f"a number of seeds is 0 or more, not {total}")
    whole = sum(QUOTAS.values())
    shares = {name: total * quota // whole for name, quota in QUOTAS.items()}
    lost_most = sorted(QUOTAS, key=lambda name: -(total * QUOTAS[name] % whole))
    for name in lost_most[: total - sum(shares.values())]:
        shares[name] += 1
    return shares
