"""Which licences let us use somebody's code, and how a licence is known: SPDX expressions, names, headers."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from curation.errors import WrongInput

# Licences that let anyone copy the code if the notice is kept: faults.md "Security S4", and four more
# of that kind which Python packages use.
ALLOWED_LICENCES = frozenset(
    {
        *("MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "CC0-1.0", "0BSD", "Zlib"),
        *("BSL-1.0", "PSF-2.0", "MIT-CMU", "Apache-2.0 WITH LLVM-exception"),
    }
)
UNKNOWN = "unknown"

# How a licence is known.
EXPRESSION = "expression"  # the source gives an SPDX expression
CLASSIFIER = "classifier"  # a word of a fixed list that means one licence
VAGUE_CLASSIFIER = "vague classifier"  # a word that means one of several, such as "BSD"; see BSD_MEANS
FIELD = "field"  # a free field of metadata, or a column of a data set
LICENCE_FILE = "licence file"  # the text of a LICENSE file beside the code
HEADER = "header"  # the first lines of the file itself
CORPUS = "corpus"  # whoever collected the data set says so of all of it, and of no single document
NONE = "none"  # nobody says anything
EVIDENCE = (EXPRESSION, CLASSIFIER, VAGUE_CLASSIFIER, FIELD, LICENCE_FILE, HEADER, CORPUS, NONE)

LICENCE_UNKNOWN = "licence_unknown"
LICENCE_NOT_ALLOWED = "licence_not_allowed"

BSD_MEANS = "BSD-3-Clause"  # "BSD" alone: the form with the most conditions of those in use today
BSD_CLASSIFIER = "BSD License"  # does not say how many clauses
BSD_WORDS = frozenset({"bsd", "bsd license", "bsd licence", "bsd-style", "bsd style"})
# What hubs and code hosts write when they do not know either.
NO_ANSWER = frozenset({"", UNKNOWN, "noassertion", "none", "other", "n/a"})

DEEPEST = 50  # parentheses inside one another; a longer nest is nobody's licence

HEADER_LINES = 50  # where a file's own licence notice stands (faults.md "Security S4")
HEADER_CHARACTERS = 200 * HEADER_LINES  # a "line" of a minified file has a million
SPDX_HEADER = re.compile(r"SPDX-License-Identifier:(.*?)(?=\*/|-->|$)", re.MULTILINE)
COMMENT_SIGNS = re.compile(r"[\s#*/;!]+")
# Notices in words, by the letters that ids of their family begin with.
COPYLEFT_HEADERS = {
    "GPL-": re.compile(r"GNU General Public Licen[cs]e|\bGPL(v?\d|-)"),
    "LGPL-": re.compile(r"GNU (Lesser|Library) General Public Licen[cs]e|\bLGPL(v?\d|-)"),
    "AGPL-": re.compile(r"GNU Affero General Public Licen[cs]e|\bAGPL(v?\d|-)"),
    "MPL-": re.compile(r"Mozilla Public Licen[cs]e"),
}

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

# What authors write in a free "License" field when they do not write an SPDX id.
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


def decide(
    expression: str,
    evidence: str,
    allow: frozenset[str] = ALLOWED_LICENCES,
    allow_unknown: bool = False,
    allow_corpus: bool = True,
) -> str | None:
    """Give the reason to leave code out for its licence, or None to use it.

    `A AND B` needs both on the list, `A OR B` one. A licence known only of a whole corpus counts as known
    where `allow_corpus` says so; if a row names its licence all the same, the list decides as ever.
    Raises ValueError for evidence that is not one of EVIDENCE.
    """
    if evidence not in EVIDENCE:
        raise ValueError(f"no such evidence of a licence: {evidence!r}; there are {', '.join(EVIDENCE)}")
    if evidence == CORPUS and not allow_corpus:
        return LICENCE_UNKNOWN
    if evidence == NONE or expression.strip().lower() in NO_ANSWER:
        return None if allow_unknown or evidence == CORPUS else LICENCE_UNKNOWN
    return None if is_allowed(expression, allow) else LICENCE_NOT_ALLOWED


def is_allowed(expression: str, allow: frozenset[str] = ALLOWED_LICENCES) -> bool:
    """Whether an SPDX expression lets us use the code; what is no such expression does not."""
    try:
        return _Expression(expression, allow).is_allowed()
    except ValueError:
        return False


def allow_list(names: Iterable[str], base: frozenset[str] = ALLOWED_LICENCES) -> frozenset[str]:
    """Give a list with more licences on it, as `--licences MPL-2.0,EPL-2.0` names them.

    Raises WrongInput for what is no SPDX id (a `LicenseRef-` of your own is one) or names more than one.
    """
    wanted = (name.strip() for several in names for name in several.split(","))
    return base | {_one_licence(name, base) for name in wanted if name}


def as_spdx(said: str, evidence: str) -> tuple[str, str]:
    """Give the SPDX form of what a hub, a column or a manifest says, and how the licence is known then.

    "BSD" alone counts as its strictest common form and is marked as vague. What has no SPDX form stays as
    it was said, and no list allows it.
    """
    plain = " ".join(said.split()).rstrip(".")
    word = plain.lower()
    if word in NO_ANSWER:
        return UNKNOWN, CORPUS if evidence == CORPUS else NONE
    if word in BSD_WORDS:
        return BSD_MEANS, VAGUE_CLASSIFIER
    if word in WELL_KNOWN_NAMES:
        return WELL_KNOWN_NAMES[word], evidence
    try:
        return str(canonicalize_license_expression(plain)), evidence
    except InvalidLicenseExpression:
        return plain, evidence


def licence_of(expression: str, classifiers: Iterable[str], field: str) -> tuple[str, str]:
    """Give the licence and how it is known, from the three places of a package's metadata.

    Several classifiers may mean "both" or "either"; we take the stricter reading.
    """
    if expression.strip():
        return expression.strip(), EXPRESSION
    endings = {c.split(" :: ")[-1] for c in classifiers if c.startswith("License :: ")} - {"OSI Approved"}
    from_field = _licence_in_field(field)
    if endings == {BSD_CLASSIFIER}:
        return (from_field, FIELD) if from_field else (BSD_MEANS, VAGUE_CLASSIFIER)
    if endings:
        ids = {CLASSIFIERS.get(e, BSD_MEANS if e == BSD_CLASSIFIER else e) for e in endings}
        return " AND ".join(sorted(ids)), VAGUE_CLASSIFIER if BSD_CLASSIFIER in endings else CLASSIFIER
    return (from_field, FIELD) if from_field else (UNKNOWN, NONE)


def licence_in_header(text: str) -> str:
    """Give what the SPDX tags in the first lines of a file say, or "" where there is none.

    Several tags are read as "all of them".
    """
    found = sorted(set(_tags(_header(text))))
    return found[0] if len(found) == 1 else " AND ".join(f"({tag})" for tag in found)


def licence_reason_to_skip(text: str, allow: frozenset[str] = ALLOWED_LICENCES) -> str | None:
    """Give the reason to leave a file out for what its first lines say of its licence, or None."""
    header = _header(text)
    if not all(is_allowed(found, allow) for found in _tags(header)):
        return "licence_header"
    prose = COMMENT_SIGNS.sub(" ", SPDX_HEADER.sub("", header))  # notices run over several comment lines
    refused = (
        notice
        for family, notice in COPYLEFT_HEADERS.items()
        if not any(licence.upper().startswith(family) for licence in allow)
    )
    return "licence_header" if any(notice.search(prose) for notice in refused) else None


class _Expression:
    """Reads an SPDX licence expression: OR binds loosest, then AND, then WITH (SPDX 2.3, annex D)."""

    def __init__(self, text: str, allow: frozenset[str]) -> None:
        self._words: list[str] = re.findall(r"[()]|[^\s()]+", text)[::-1]  # the next one is the last
        self._allow = {licence.lower() for licence in allow}  # SPDX ids do not depend on case
        self._depth = 0

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
            self._depth += 1
            if self._depth > DEEPEST:
                raise ValueError("too many parentheses inside one another")
            allowed = self._either()
            if not self._take(")"):
                raise ValueError("a parenthesis is not closed")
            self._depth -= 1
            return allowed
        name = self._name()
        if self._take("WITH"):
            return f"{name} WITH {self._name()}".lower() in self._allow
        # "X+" is X or any later version, as we like (SPDX 2.3, annex D.3).
        return name.lower() in self._allow or (name[-1] == "+" and name[:-1].lower() in self._allow)

    def _name(self) -> str:
        if not self._words or self._words[-1].upper() in {"AND", "OR", "WITH", "(", ")"}:
            raise ValueError("a licence is missing")
        return self._words.pop()

    def _take(self, word: str) -> bool:
        found = bool(self._words) and self._words[-1].upper() == word
        if found:
            self._words.pop()
        return found


def _one_licence(name: str, base: frozenset[str]) -> str:
    words = name.split()
    if {word.upper() for word in words} & {"AND", "OR"}:
        raise WrongInput(f"{name!r} names more than one licence; give each by itself, with commas between")
    try:
        return str(canonicalize_license_expression(name))
    except InvalidLicenseExpression:
        known = {licence.lower(): licence for licence in {*base, *CLASSIFIERS.values()}}
        like = WELL_KNOWN_NAMES.get(name.lower()) or next(
            (known[word] for word in get_close_matches(name.lower(), known, n=1, cutoff=0.75)), None
        )
        hint = f"; do you mean {like}?" if like else "; ids are listed at https://spdx.org/licenses"
        raise WrongInput(f"{name!r} is not the id of a licence in SPDX{hint}") from None


def _licence_in_field(field: str) -> str:
    """Give the licence a short "License" field names, or "": long ones hold a whole licence text."""
    plain = " ".join(field.split()).rstrip(".")
    if plain.lower() in WELL_KNOWN_NAMES:
        return WELL_KNOWN_NAMES[plain.lower()]
    return plain if is_allowed(plain) or LIKE_AN_EXPRESSION.fullmatch(plain) else ""


def _header(text: str) -> str:
    return "\n".join(text[:HEADER_CHARACTERS].split("\n", HEADER_LINES)[:HEADER_LINES])


def _tags(header: str) -> list[str]:
    return [found.strip() for found in SPDX_HEADER.findall(header)]
