"""The language of a response: what its fences say, else the language of the seed that it came from."""

import re
from typing import NamedTuple

UNKNOWN = "unknown"
RULES = ("fence", "seed", "none")  # what named the language; "none": nothing did

# The words that stand behind the three marks of a fence: aliases and extensions of GitHub's linguist that
# people write there. A language not among them counts as not named: a fence may say anything.
LABELS: dict[str, tuple[str, ...]] = {
    "Python": ("python", "py", "python2", "python3", "py3", "ipython"),
    "C++": ("c++", "cpp", "cc", "cxx", "hpp"),
    "Java": ("java",),
    "TypeScript": ("typescript", "ts", "tsx"),
    "Shell": ("shell", "sh", "bash", "zsh", "ksh", "console"),
    "C#": ("c#", "csharp", "cs"),
    "Rust": ("rust", "rs"),
    "PHP": ("php",),
    "Swift": ("swift",),
    "JavaScript": ("javascript", "js", "jsx", "node", "mjs"),
    "C": ("c", "h"),
    "Go": ("go", "golang"),
    "Ruby": ("ruby", "rb"),
    "SQL": ("sql", "mysql", "postgresql", "postgres", "sqlite", "plsql", "tsql"),
    "HTML": ("html", "htm", "xhtml", "vue"),
    "CSS": ("css", "scss", "sass", "less"),
    "Kotlin": ("kotlin", "kt", "kts"),
    "Scala": ("scala",),
    "R": ("r",),
    "Perl": ("perl", "pl"),
    "Lua": ("lua",),
    "Haskell": ("haskell", "hs"),
    "Julia": ("julia", "jl"),
    "Dart": ("dart",),
    "Objective-C": ("objective-c", "objectivec", "objc"),
    "Visual Basic": ("vb", "vbnet", "vb.net", "vba"),
    "PowerShell": ("powershell", "ps1", "pwsh"),
    "MATLAB": ("matlab",),
    "Assembly": ("assembly", "asm", "nasm"),
    "Solidity": ("solidity", "sol"),
    "JSON": ("json",),
    "YAML": ("yaml", "yml"),
    "XML": ("xml",),
    "Dockerfile": ("dockerfile", "docker"),
    "Makefile": ("makefile", "make"),
}
_BY_LABEL = {label: name for name, labels in LABELS.items() for label in labels}
# Only an opening fence has a word behind it. Indented, because lists hold fences, too.
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[ \t]*([A-Za-z][\w+#.-]{0,19})", re.ASCII | re.MULTILINE)


class Named(NamedTuple):
    """A language, and which of RULES named it."""

    language: str
    rule: str


def language_of(response: str, seed_language: str | None = None) -> Named:
    """Name the language of a response.

    The first fence that names a language counts; where none does, that of the seed; else "unknown".
    """
    for fence in _FENCE.finditer(response):
        language = _BY_LABEL.get(fence[1].lower())
        if language is not None:
            return Named(language, "fence")
    return Named(seed_language, "seed") if seed_language else Named(UNKNOWN, "none")
