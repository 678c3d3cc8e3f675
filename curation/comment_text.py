"""What a comment says, without its signs; and which comments say nothing that a function is written from.

Pure text: which comment stands above which function is `syntax_units.commented_functions`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from textwrap import dedent

from curation.documented_functions import MIN_DOCSTRING_WORDS

JUDGED = 10_000  # characters of a comment that are looked at: no one needs a book to be asked by
MIN_WORDS = MIN_DOCSTRING_WORDS  # the same for a comment as for a docstring

# Which signs begin a comment that documents what comes next. "///" names files in TypeScript.
DOC_SLASHES = frozenset({"C++", "C#", "Rust", "Swift"})
BLOCK, HASH, SLASHES, DOC, DOXYGEN = "/*", "#", "//", "///", "//!"


def sign_of(comment: str) -> str:
    """Give the sign that begins a comment: lines that begin with one sign are one comment."""
    if comment.startswith("/*"):
        return BLOCK
    if comment.startswith("#"):
        return HASH
    if comment.startswith(DOXYGEN):
        return DOXYGEN
    return DOC if comment.startswith(DOC) and not comment.startswith("////") else SLASHES


def is_documentation(comment: str, language: str) -> bool:
    """Whether a comment is for those who read documentation: it belongs to what comes next."""
    sign = sign_of(comment)
    if sign == BLOCK:
        doxygen = language == "C++" and comment.startswith("/*!")
        return doxygen or (comment.startswith("/**") and not comment.startswith(("/**/", "/***")))
    return sign in (DOC, DOXYGEN) and language in DOC_SLASHES


def is_about_another(comment: str, language: str) -> bool:
    """Whether a comment says itself that it is about what stands before it or around it, not below."""
    if language == "Rust":
        return comment.startswith(("//!", "/*!"))
    return language == "C++" and comment.startswith(("///<", "//!<", "/**<", "/*!<"))


# --- without signs ---

LINE_SIGN = re.compile(r"(/{2,}[!<]?|#+) ?")
GUTTER = re.compile(r"\s*\* ?")
RULER = re.compile(r"[\W_]*")  # ------, =====, #####, or nothing
SIGNS = "*#/"


def plain(comments: Sequence[str]) -> str:
    """Give what comments of one sign say together: no signs, no frame, no common indentation."""
    if sign_of(comments[0]) == BLOCK:
        first, rest = _of_block(comments[0])
    else:
        first, rest = "", [LINE_SIGN.sub("", comment, count=1) for comment in comments]
    shifted = dedent("\n".join(_without_frame(line.rstrip()) for line in rest).expandtabs())
    lines = [_without_frame(first.strip()), *shifted.split("\n")]
    said = [number for number, line in enumerate(lines) if not RULER.fullmatch(line)]
    return "\n".join(lines[said[0] : said[-1] + 1]) if said else ""


def _of_block(comment: str) -> tuple[str, list[str]]:
    """Give the line that begins beside the sign, and the others without the stars in front of them."""
    text = comment.strip().removeprefix("/*").removesuffix("*/").lstrip("*").removeprefix("!").rstrip("*")
    first, *rest = text.replace("\r\n", "\n").split("\n")
    if all(GUTTER.match(line) for line in rest if line.strip()):  # else a star begins an item of a list
        rest = [GUTTER.sub("", line, count=1) for line in rest]
    return first, rest


def _without_frame(line: str) -> str:
    """Take off the right side of a box around the text; a line of signs alone is its upper or lower one."""
    inside = line.rstrip(SIGNS)
    return inside.rstrip() if inside.endswith("  ") or not inside.strip(SIGNS + " \t") else line


# --- comments that say nothing ---

LICENCE = re.compile(
    r"SPDX-License-Identifier|\bcopyright\b\W*(\(c\)|©|\d{4})|\ball rights reserved\b"
    r"|\blicen[cs]ed (under|to) the\b|\bpermission is hereby granted\b|\bredistribution and use in source\b"
    r"|\bthis (program|library|software|file) is (free software|part of|distributed under)\b"
    r"|\bGNU (lesser |library |affero )?general public licen[cs]e\b",
    re.IGNORECASE,
)
ABOUT_FILE = re.compile(
    r"^[ \t]*[@\\](file|fileoverview|package|module|licen[cs]e|copyright)\b", re.MULTILINE
)
TASK = re.compile(r"\W*(TODO|FIXME|XXX|HACK)\b")
DIRECTIVE = re.compile(
    r"\W*("
    r"NOLINT\w*|clang-(format|tidy)|cppcheck-suppress|coverity\[|PVS-Studio|(LCOV|GCOVR?)_EXCL\w*"  # C++
    r"|eslint-(dis|en)able|eslint +[\w/-]+:|[tj]slint:|jshint +\w+:|biome-ignore|deno-lint-ignore"
    r"|prettier-ignore|(istanbul|c8|v8) ignore|@ts-(ignore|nocheck|check|expect-error)|[#@]__PURE__"
    r"|noqa\b|(pylint|flake8|mypy): |type: *ignore|pragma: |#pragma\b|shellcheck +[\w-]+=|swiftlint:"
    r"|swift-format-ignore|phpcs:|@(phpstan|psalm)-|@codeCoverageIgnore\w*|rustfmt(::|-)|clippy::|NOSONAR"
    r"|CHECKSTYLE\W+(on|off|stop|resume|suppress|ignore)\b|noinspection\b|ReSharper +(disable|restore)"
    r"|@formatter:|spotless:|@SuppressWarnings|@suppress\b|c?spell(-checker|er)?:|codespell:"
    r"|MARK:|#(end)?region\b|language=|vim?: *(set? |\w+=)|-\*-"
    r")",
    re.IGNORECASE,
)
# Tags whose words say what a function does; the words of others say what its arguments are, or who wrote it.
TELLING = frozenset(
    {"brief", "short", "summary", "description", "desc", "details", "remarks", "return", "returns"}
)
TAG = re.compile(r"\s*(?:[@\\](\w+)(?:\s+\{[^{}]*\})?|- *(parameters?|throws|returns)\b)", re.IGNORECASE)
ELEMENT = re.compile(r"<(param|typeparam|exception)\b[^<>]*>.{0,500}?</\1>", re.DOTALL)
MARKUP = re.compile(r"</?[A-Za-z][^<>]*>")
INLINE = re.compile(r"\{@\w+ *([^{}\n]*)\}")  # {@link Shop#sell}, {@inheritDoc}
CODE = re.compile(
    r"\s*("
    r".*[;{}]|[)\]}]+[;,]?|>>> .*"  # ends like a statement or a block, or stands at a prompt
    r"|[\w.$\[\]>:*&-]+ *([-+*/|&]|:)?=[^=]\S*( +\S+){0,5}"  # sets something
    r"|[\w.$:>-]+\([^()]*\)[,.]?"  # calls something, and that is all
    r"|[\w.:<>~ *&]+\(.*\) *(const *)?->.*"  # says what something takes and gives
    r"|#(include|define|if|ifdef|ifndef|endif|else)\b.*"
    r"|(el)?if +\[+ .*|(fi|done|esac|then|else)( *[;#].*)?|(echo|printf|eval) +[\"'$-].*|exit +\d.*"
    r"|(for|while) .*; *do|.* \|\| .*"
    r")\s*"
)
FENCE = re.compile(r"\s*(```|~~~|[@\\](end)?code\b|</?(code|pre|example)>)")


def reason_to_leave_out(text: str, documents: bool = True) -> str | None:
    """Give why a function cannot be asked for with this comment, or None to use it.

    `text` is without signs. `documents`: it is documentation, where code is an example; elsewhere it is code
    that somebody switched off. Reasons: "licence_header", "file_comment", "directive", "commented_out_code",
    "short_comment" (under MIN_WORDS words of prose).
    """
    text = text[:JUDGED]
    if LICENCE.search(text):
        return "licence_header"
    if ABOUT_FILE.search(text):
        return "file_comment"
    lines = INLINE.sub(r"\1", text).split("\n")
    said = list(_without_directives(lines))
    if any(map(str.strip, lines)) and not any(map(str.strip, said)):
        return "directive"
    told = [line for line in _without_tags(said) if line.strip()]
    code = [line for line in _outside_fences(told) if CODE.fullmatch(line)]
    if not documents and 2 * len(code) > len(told):
        return "commented_out_code"
    prose = " ".join(line for line in told if not CODE.fullmatch(line))
    words = [word for word in MARKUP.sub(" ", ELEMENT.sub(" ", prose)).split() if any(map(str.isalpha, word))]
    if len(words) >= MIN_WORDS:
        return None
    return "commented_out_code" if code and not words else "short_comment"


def _without_directives(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines that are neither for a tool nor about work left to do, which ends at a blank line."""
    is_task = False
    for line in lines:
        is_task = bool(line.strip()) and (is_task or TASK.match(line) is not None)
        if not is_task and not DIRECTIVE.match(line):
            yield line


def _outside_fences(lines: Iterable[str]) -> Iterator[str]:
    is_inside = False
    for line in lines:
        if FENCE.match(line):
            is_inside = not is_inside
        elif not is_inside:
            yield line


def _without_tags(lines: Iterable[str]) -> Iterator[str]:
    """Yield what the function does, without tags; what other tags say ends at a blank line."""
    is_other = False
    for line in lines:
        if found := TAG.match(line):
            is_other = (found[1] or found[2]).lower() not in TELLING
            line = line[found.end() :]
        is_other = is_other and bool(line.strip())
        if not is_other:
            yield line
