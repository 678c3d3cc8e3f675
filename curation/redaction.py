"""Secrets and personal data in source code, replaced by tags and counted by kind (faults.md "Security S4").

Four ways to find, from sure to likely: shapes that issuers document (a GitHub token begins with ghp_),
places that hold a secret by their grammar (user:password@ in a URL, a private key block, a Basic header),
values beside a word such as `password` or `api_key`, and strings that no person would write
(curation/randomness.py), so that kinds without a rule of their own are mostly found, too. The tags are those
of StarCoder (Li et al. 2023, section 4.2); names of people are left, because no rule tells them from words.

Everything works on one copy of the text with one byte a character, so that positions hold for both, and
begins with `bytes.find`, which reads more than 1 GB/s: plain code is passed over quickly.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from curation.personal_data import addresses, emails
from curation.secret_rules import SECRET_RULES, Span

KEY, PASSWORD, EMAIL, IP_ADDRESS = "<KEY>", "<PASSWORD>", "<EMAIL>", "<IP_ADDRESS>"

# The kinds that do not become <KEY>.
TAGS = {
    "password": PASSWORD,
    "url_password": PASSWORD,
    "basic_auth": PASSWORD,
    "email": EMAIL,
    "ip_address": IP_ADDRESS,
}

LINE_BREAK = re.compile("\r\n|[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")  # as str.splitlines
A_TAG = re.compile(rb"<(?:KEY|PASSWORD|EMAIL|NAME|IP_ADDRESS)>")
LONGEST_TAG = len(IP_ADDRESS)


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without its secrets, and what they were."""

    text: str
    found: Counter[str]  # kind -> number
    spans: list[Span]  # in the original, in order, none overlapping


def tag_of(kind: str) -> str:
    """Give the tag that replaces a kind."""
    return TAGS.get(kind, KEY)


def redact(text: str) -> Redacted:
    """Replace secrets, e-mail and public IP addresses by tags; line breaks inside them stay.

    Redacting the result again changes nothing.
    """
    spans: list[Span] = []
    current = text
    while new := _merged(current):  # a tag may show what its neighbour hid; each round leaves less text
        spans = _together(text, spans, new)
        current = _replaced(text, spans)
    return Redacted(current, Counter(kind for _, _, kind in spans), spans)


def _replaced(text: str, spans: list[Span]) -> str:
    parts, at = [], 0
    for start, end, kind in spans:
        parts += [text[at:start], _replacement(text[start:end], kind)]
        at = end
    return "".join([*parts, text[at:]])


def _replacement(secret: str, kind: str) -> str:
    breaks = LINE_BREAK.findall(secret)
    apart = " " if "\r" in breaks else ""  # else two breaks, "\r" and "\n", would become one
    return tag_of(kind) + apart.join([*breaks, ""])


def _together(text: str, old: list[Span], new: list[Span]) -> list[Span]:
    """Join spans of the original with spans found after those were replaced; no two overlap."""
    joined, shift, rest = [], 0, iter(old)
    coming = next(rest, None)
    for start, end, kind in new:
        while coming and coming[0] + shift < start:
            joined.append(coming)
            shift += len(_replacement(text[coming[0] : coming[1]], coming[2])) - (coming[1] - coming[0])
            coming = next(rest, None)
        joined.append((start - shift, end - shift, kind))
    return [*joined, *([coming] if coming else []), *rest]


def _merged(text: str) -> list[Span]:
    """Find everything once; where finds overlap, their union counts once, as the surest of them."""
    data = text.encode("latin-1", "replace")  # one byte a character; a lone surrogate becomes "?"
    finds = list(_finds(data))  # "high_entropy" is what is said where no rule says more
    finds.sort(key=lambda span: span[2] == "high_entropy")
    found = [(start, end, rank, kind) for rank, (start, end, kind) in enumerate(finds)]
    merged: list[tuple[int, int, int, str]] = []
    for start, end, rank, kind in sorted(found):
        if _touches_a_tag(data, start, end):
            continue
        if merged and start < merged[-1][1]:
            first, last, best, known = merged[-1]
            merged[-1] = (first, max(last, end), min(best, rank), known if best < rank else kind)
        else:
            merged.append((start, end, rank, kind))
    return [(start, end, kind) for start, end, _, kind in merged]


def _touches_a_tag(data: bytes, start: int, end: int) -> bool:
    around = A_TAG.finditer(data, max(0, start - LONGEST_TAG), end + LONGEST_TAG)
    return any(tag.start() < end and tag.end() > start for tag in around)


def _finds(data: bytes) -> Iterator[Span]:
    """Give all finds, the surest ways first."""
    lower = data.lower()
    for rule in SECRET_RULES:
        yield from rule(data, lower)
    yield from emails(data)
    yield from addresses(data)
