"""Reasons to leave a whole file of code out: it is empty, a machine wrote it, or most of it is no code.

The checks come in one fixed order and the first that finds something answers. Sources of the numbers:
StarCoder (2305.06161, section 3; bigcode-dataset, preprocessing/filtering.py), StarCoder2 (2402.19173,
section 2, "basic filters") and linguist (lib/linguist/generated.rb), each named beside its number.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields

from curation.errors import WrongInput

EXCERPT = 200  # characters of a matched line that are kept as evidence
# A mark is looked for in so many characters at most, whatever `generated_lines` says.
HEAD_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a file is left out, and what was seen."""

    reason: str  # one of REASONS
    evidence: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """Where each check draws its line, and which checks are switched off."""

    # StarCoder2 reads 5, linguist up to 40. Marks often stand below a licence notice; ours must stand in a
    # comment, so that more lines cost no code that only speaks of such marks.
    generated_lines: int = 20
    minified_mean_line: float = 110  # characters a line, more is minified (linguist, JavaScript and CSS)
    # Ours, for other languages' sake: bundles have 0.002 to 0.067, long-lined code of people 0.1 and more
    # (12 JavaScript, 12 CSS and 3,000 Python files of installed packages).
    minified_white_space: float = 0.08
    encoded_share: float = 0.5  # of the characters (StarCoder2)
    encoded_run: int = 1_024  # characters of one blob (StarCoder2); lists of numbers count by share only
    longest_line: int = 1_000  # characters (StarCoder)
    mean_line: float = 100  # characters (StarCoder)
    alphanumeric_share: float = 0.25  # of the characters, fewer is no code (StarCoder)
    off: frozenset[str] = frozenset()  # reasons not to look for

    def __post_init__(self) -> None:
        for name in ("minified_white_space", "encoded_share", "alphanumeric_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise WrongInput(f"{name} is a share from 0 to 1, not {getattr(self, name)}")
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name != "off" and not value >= 0:  # NaN is not
                raise WrongInput(f"{one.name} is a number from 0, not {value}")
        unknown = self.off - set(REASONS)
        if unknown:
            raise WrongInput(f"no such filter: {', '.join(sorted(unknown))}; there are {', '.join(REASONS)}")


def reason_to_leave_out(text: str, path: str, language: str, limits: Limits | None = None) -> Finding | None:
    """Give the first reason to leave a file out, with what was seen, or None to use it.

    `language` is a name of curation/languages.py and says which sign begins a comment; one that is not
    known there reads as those with `//`. Time grows with the length of the text, whatever it holds.
    """
    limits = limits or DEFAULT
    for reason, check in CHECKS.items():
        if reason not in limits.off:
            evidence = check(text, path, language, limits)
            if evidence is not None:
                return Finding(reason, evidence)
    return None


Evidence = dict[str, str | int | float]


def _empty(text: str, path: str, language: str, limits: Limits) -> Evidence | None:
    return None if text else {"characters": 0}


def _white_space(text: str, path: str, language: str, limits: Limits) -> Evidence | None:
    seen = text.strip("\ufeff")  # a byte order mark is nothing to see either
    return {"characters": len(text)} if not seen or seen.isspace() else None


# --- generated ---

# Names that a tool gives its output, in lower case. Mostly linguist's, for our languages.
GENERATED_NAME = re.compile(
    r"(package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|go\.sum|package\.resolved|\.pnp\.[cm]?js)"
    r"|(yarn|cargo|composer|poetry|pdm|uv|gemfile|podfile|pipfile|flake|packages|gopkg|glide)\.lock"
    r"|.*[.-]min\.(js|css|mjs|cjs)"  # minified
    r"|.*\.bundle\.js|.*\.(js|css)\.map"
    r"|.*_pb2(_grpc)?\.pyi?|.*\.pb\.(h|cc|go|swift)|.*\.grpc\.(swift|pb\.(h|cc))|.*_pb\.(d\.)?[tj]s"  # protoc
    r"|.*\.(designer|g|g\.i|generated|feature|assemblyattributes|assemblyinfo|globalusings\.g)\.cs"  # .NET
    r"|.*\.(generated|gen)\.(ts|tsx|rs|swift|java|php|h|cpp)"
    r"|.*\.tab\.(c|h|cc|cpp|hpp)|lex\.yy\.(c|cc|cpp)|(moc|qrc)_.*\.(cpp|h)|ui_.*\.h"  # parsers, Qt
    r"|r\.java|buildconfig\.java|r\.generated\.swift"  # Android, R.swift
    r"|autoload_(classmap|files|namespaces|psr4|real|static)\.php|.*\.zep\.(c|h|php)"  # Composer, Zephir
)

TOOL = r"((auto(matically)?|machine)[- ]?)?"
THING = r"(file|code|class|module|script|header|source|program|stub|interface|binding)s?"
# What generators write at the top of their output. It has to be a sentence about this file: "the report
# generated by pytest" and "do not edit the list meanwhile" are none.
MARK = re.compile(
    r"(?<![\w@.])@generated\b"
    r"|<auto-?generated\b"
    r"|\bdo not edit\b(?=\W*$|[!.:;,)]| *-| +(this|the) (file|code|source|class)\b"
    r"| +(manually|by hand|directly|it)\b)"
    r"|\bdo not modify\b(?= +(this|the) (file|code|source)\b| +(manually|by hand|directly)\b)"
    rf"|\b(this|the following) (\w+ ){{0,2}}{THING}( \w+)? (is|was|were|has been|have been|are) "
    rf"(?!not |never |no longer )(\w+ ){{0,2}}{TOOL}generated\b",
    re.IGNORECASE,
)
# "Generated by Django 5.0", "Autogenerated by Thrift": only where the words of a line begin with it.
BEGINS_WITH_MARK = re.compile(
    rf"\W*(note:? )?(this is an? )?((\w+ )?{THING} )?{TOOL}generated (automatically )?"
    r"(by|from|with|using|on|file|code)\b",
    re.IGNORECASE,
)
JAVA_MARK = re.compile(r"\s*@(javax\.annotation\.(processing\.)?|jakarta\.annotation\.)?Generated\b")
COMMENT = re.compile(r"""\s*(//|/\*|\*|<!--|<\?php\s+(//|/\*|#)|'''|[rR]?\"\"\")""")
HASH_COMMENT = re.compile(r"\s*#")
HASH_COMMENTS = frozenset({"Python", "Shell", "PHP"})
CODE_SIGN = re.compile(r"[={}\[\]\"]|\w\(|;\s*$")
# Where a text for another file begins: a long string that is assigned or passed, a here-document.
TEMPLATE = re.compile(
    r"""[=(,]\s*[rRbBfFuU]{0,2}(\"\"\"|''')|[=(,]\s*(`[^`]*|@\"[^\"]*)$|<<[-~]?\s*['\"\\]?[A-Z_]+\b"""
)
LONGEST_HEAD_LINE = 1_000  # of a longer one only the beginning is looked at


def _generated(text: str, path: str, language: str, limits: Limits) -> Evidence | None:
    name = re.split(r"[/\\]", path)[-1].lower()
    if GENERATED_NAME.fullmatch(name):
        return {"name": name[:EXCERPT]}
    head = text[:HEAD_CHARACTERS].split("\n", limits.generated_lines)[: limits.generated_lines]
    for number, whole in enumerate(head, 1):
        line = whole[:LONGEST_HEAD_LINE]
        lower = line.lower()
        if ("generated" in lower or "do not " in lower) and _is_mark(line, language):
            return {"line": number, "text": line.strip()[:EXCERPT]}
        if TEMPLATE.search(line):
            return None
    return None


def _is_mark(line: str, language: str) -> bool:
    """Whether a line of the head says that a tool wrote the file, in a comment or in plain words."""
    if language == "Java" and JAVA_MARK.match(line):
        return True
    commented = COMMENT.match(line) or (language in HASH_COMMENTS and HASH_COMMENT.match(line))
    if not commented and CODE_SIGN.search(line):
        return False  # code that writes such marks into other files
    return bool(BEGINS_WITH_MARK.match(line) or MARK.search(line))


# --- minified, long lines ---


def _minified(text: str, path: str, language: str, limits: Limits) -> Evidence | None:
    mean = _mean_line(text)
    if mean <= limits.minified_mean_line:
        return None
    share = 1 - sum(map(len, text.split())) / len(text)
    if share >= limits.minified_white_space:
        return None
    return {"mean_line": round(mean, 1), "white_space": round(share, 4)}


def _long_lines(text: str, path: str, language: str, limits: Limits) -> Evidence | None:
    lengths = [len(line) for line in text.splitlines()]
    longest, mean = max(lengths, default=0), sum(lengths) / max(1, len(lengths))
    if longest <= limits.longest_line and mean <= limits.mean_line:
        return None
    return {"longest_line": longest, "mean_line": round(mean, 1), "line": lengths.index(longest) + 1}


def _mean_line(text: str) -> float:
    lines = text.count("\n") + 1 - text.endswith("\n")
    return (len(text) - text.count("\n")) / max(1, lines)


# --- encoded ---

# StarCoder2's expressions for blobs, and lists of numbers, which are ours. They are slow and blobs are rare,
# so they are held only against stretches of text that consist of their signs. A base64 blob is such stretches
# with nothing but a line end between; StarCoder2's also takes short lines, and every list of words is one.
HEXADECIMAL = re.compile(r"(?:(?:\\x|\b0x|\b)[0-9a-fA-F]{2}\b[,\s]*+){8,}+")
UNICODE = re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}+")
NUMBERS = re.compile(
    r"(?<![\w.])(?:[-+]?+(?:0[xX][0-9a-fA-F]++|\d++(?:\.\d*+)?+(?:[eE][-+]?+\d++)?+)[fFuUlL]{0,3}+"
    r"[\s,;(){}\[\]]++){16,}+"
)
SHORTEST_BASE64 = 64  # characters (StarCoder2)
SHORTEST_LINE = 40  # of a base64 blob over several lines; encoders cut at 60 to 76
SHORTEST_PAIRS = 8 * 3 - 1  # eight pairs of digits with a sign between (StarCoder2)
SHORTEST_NUMBERS = 16 * 2  # sixteen numbers, each with a sign after it
FEWEST_SIGNS = 8  # different ones in a blob: a ruler of slashes under a comment has one


def _marking(signs: str) -> bytes:
    """Give the table that turns these signs into "x" and all others into a blank."""
    return bytes(ord("x" if chr(code) in signs else " ") for code in range(256))


DIGITS = "0123456789abcdefABCDEF"
WHITE = " \t\r\n\f\v"
BASE64_SIGNS = _marking("".join(chr(code) for code in range(128) if chr(code).isalnum()) + "+/")
PAIR_SIGNS = _marking(DIGITS + "\\x," + WHITE)
NUMBER_SIGNS = _marking(DIGITS + "xXuUlL.+-,;(){}[]" + WHITE)


def _encoded(text: str, path: str, language: str, limits: Limits) -> Evidence | None:
    total, longest, kind = 0, 0, ""
    for name, start, end in _blobs(text):
        total += end - start
        if end - start > longest:
            longest = end - start
            kind = "data URI" if text[max(0, start - 8) : start] == ";base64," else name
    if longest <= limits.encoded_run and total <= limits.encoded_share * len(text):
        total, kind = _matched(text, NUMBERS, NUMBER_SIGNS, SHORTEST_NUMBERS), "numbers"
        if total <= limits.encoded_share * len(text):
            return None
    return {"kind": kind, "share": round(total / len(text), 4), "longest_run": longest}


def _blobs(text: str) -> Iterator[tuple[str, int, int]]:
    """Give the kind, start and end of every blob in a text."""
    yield from _base64(text)
    for start, end in _stretches(text, PAIR_SIGNS, SHORTEST_PAIRS):
        yield from (("hexadecimal", *found.span()) for found in HEXADECIMAL.finditer(text, start, end))
    if "\\u" in text:
        yield from (("unicode", *found.span()) for found in UNICODE.finditer(text))


def _base64(text: str) -> Iterator[tuple[str, int, int]]:
    blobs: list[tuple[int, int]] = []
    for start, end in _stretches(text, BASE64_SIGNS, SHORTEST_LINE):
        if blobs and text[blobs[-1][1] : start].isspace():
            blobs[-1] = (blobs[-1][0], end)
        else:
            blobs.append((start, end))
    for start, end in blobs:
        if end - start >= SHORTEST_BASE64 and len(set(text[start : min(end, start + 1_000)])) >= FEWEST_SIGNS:
            yield "base64", start, end


def _matched(text: str, expression: re.Pattern[str], signs: bytes, shortest: int) -> int:
    """Count the characters that an expression matches in stretches of its signs."""
    return sum(
        found.end() - found.start()
        for start, end in _stretches(text, signs, shortest)
        for found in expression.finditer(text, start, end)
    )


def _stretches(text: str, signs: bytes, shortest: int) -> Iterator[tuple[int, int]]:
    """Give start and end of every stretch of so many of these signs, at the speed of a search for bytes."""
    data = text.encode("ascii", "replace").translate(signs)  # a character a byte: places stay the same
    sought = b"x" * shortest
    start = data.find(sought)
    while start >= 0:
        end = data.find(b" ", start)
        end = len(data) if end < 0 else end
        yield start, end
        start = data.find(sought, end)


# --- alphanumeric ---

ALPHANUMERIC = bytes(code for code in range(128) if chr(code).isalnum())
NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def _low_alphanumeric(text: str, path: str, language: str, limits: Limits) -> Evidence | None:
    share = _alphanumeric(text) / max(1, len(text))
    return {"alphanumeric": round(share, 4)} if share < limits.alphanumeric_share else None


def _alphanumeric(text: str) -> int:
    """Count letters and digits of any alphabet, as str.isalnum does; ASCII at the speed of memory."""
    data = text.encode("ascii", "ignore")
    count = len(data) - len(data.translate(None, ALPHANUMERIC))
    if len(data) < len(text):
        count += sum(sum(map(str.isalnum, found)) for found in NOT_ASCII.findall(text))
    return count


Check = Callable[[str, str, str, Limits], Evidence | None]
CHECKS: dict[str, Check] = {
    "empty": _empty,
    "whitespace": _white_space,
    "generated": _generated,
    "minified": _minified,
    "encoded": _encoded,
    "long_lines": _long_lines,
    "low_alphanumeric": _low_alphanumeric,
}
REASONS = tuple(CHECKS)
DEFAULT = Limits()
