"""The programming languages that seeds are harvested from, by the name of a file."""

from pathlib import PurePosixPath

_ENDINGS = {
    "Python": ".py .pyi .pyw",
    "C++": ".cpp .cc .cxx .c++ .hpp .hh .hxx .h++ .h .ipp .tpp",
    "Java": ".java",
    "TypeScript": ".ts .tsx .mts .cts",
    "Shell": ".sh .bash .zsh .ksh",
    "C#": ".cs",
    "Rust": ".rs",
    "PHP": ".php",
    "Swift": ".swift",
}
LANGUAGES = tuple(_ENDINGS)
_BY_ENDING = {ending: language for language, endings in _ENDINGS.items() for ending in endings.split()}


def language_of(path: str) -> str | None:
    """Name the language of a file by the ending of its name; None for all others."""
    return _BY_ENDING.get(PurePosixPath(path).suffix.lower())
