"""E-mail addresses and public IP addresses in source code, for curation/redaction.py."""

import ipaddress
import re
from collections.abc import Iterator

from curation.randomness import is_made_up
from curation.secret_rules import Span

LOCAL_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.%+"
DOMAIN = re.compile(rb"@((?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24})(?![\w@-])(?!\.\w)(?!\()")
# Generic top-level domains that people have addresses in; of two letters, every one but those of no country.
DOMAINS = frozenset(
    b"com org net edu gov mil int info biz name pro aero coop museum jobs mobi travel cat tel asia post dev "
    b"app tech online site store cloud email arpa xyz club blog wiki news agency academy studio systems "
    b"software network solutions digital world design space live life group university institute "
    b"foundation".split()
)
NO_COUNTRY = frozenset(b"js ts cs hs vb rb go kt mm cc py rs pl sh md so".split())  # also file endings
RESERVED = re.compile(
    rb"(?i:(?:.*\.)?(?:example\.(?:com|org|net|edu)|[\w-]+\.(?:example|test|invalid|localhost|local)"
    rb"|users\.noreply\.github\.com))"
)
NO_PERSON = re.compile(rb"(?i:no-?reply|do-?not-?reply|git|hg|svn|noreply.*)")


def emails(data: bytes) -> Iterator[Span]:
    for domain in DOMAIN.finditer(data):
        at = domain.start()
        before = data[max(0, at - 64) : at]
        local = before[len(before.rstrip(LOCAL_BYTES)) :]
        if local[:1] in (b"n", b"r", b"t") and data[max(0, at - len(local) - 1) : at - len(local)] == b"\\":
            local = local[1:]
        local = local.lstrip(b".-%+")
        if local and _is_email(data, at - len(local), local, domain[1]):
            yield at - len(local), domain.end(), "email"


def _is_email(data: bytes, start: int, local: bytes, domain: bytes) -> bool:
    top = domain.rsplit(b".", 1)[1].lower()
    if top not in DOMAINS and (
        len(top) != 2 or len(local) < 2 or (domain.count(b".") == 1 and top in NO_COUNTRY)
    ):
        return False
    if RESERVED.fullmatch(domain) or NO_PERSON.fullmatch(local):
        return False
    before = data[max(0, start - 100) : start]
    if before[-1:] == b":" and is_made_up(local):
        return False  # user:password@host, a template
    url = before.rfind(b"://")
    return url < 0 or re.search(rb"[\s/\"'<>]", before[url + 3 :]) is not None  # else the user of a URL


IPV4 = re.compile(rb"\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w]|\.\d|-?(?i:rc|alpha|beta|dev|snap|post|final))")
IPV6 = re.compile(rb":[0-9A-Fa-f]{0,4}:")
IPV6_BYTES = b"0123456789abcdefABCDEF:"
VERSION = re.compile(
    rb"(?i:version|\bver\b|release|\bv\.?$|[=<>~^!]=\s*[\"']?$|\brev|build|firmware|\boid|section|clause|chapter"
    rb"|[a-z][\w-]*/\s?$|[a-z]-$)"
)


def addresses(data: bytes) -> Iterator[Span]:
    """Give IPv4 and IPv6 addresses that are public: not private, loopback, reserved or for documentation."""
    for found in IPV4.finditer(data):
        before = data[max(0, found.start() - 4) : found.start()]
        start = found.start() - (len(before) - len(before.rstrip(b"0123456789")))
        if start < found.start() and not re.search(rb"[\w.]$", data[max(0, start - 1) : start]):
            line = data.rfind(b"\n", max(0, start - 40), start) + 1
            is_version = VERSION.search(data, max(line, start - 40), start)
            if not is_version and _is_public(data[start : found.end()]):
                yield start, found.end(), "ip_address"
    done = 0
    for found in IPV6.finditer(data):
        if found.start() < done:
            continue
        before = data[max(0, found.start() - 5) : found.start()]
        start = found.start() - (len(before) - len(before.rstrip(b"0123456789abcdefABCDEF")))
        done = start + len(data[start : start + 46]) - len(data[start : start + 46].lstrip(IPV6_BYTES))
        alone = (
            not re.search(rb"[\w:.]$", data[max(0, start - 1) : start])
            and not data[done : done + 1].isalnum()
        )
        # 2000::/3 holds every public address; it keeps C++ names such as dead::beef out.
        if (
            alone
            and data[start : start + 1] in b"23"
            and found.start() - start == 4
            and _is_public(data[start:done])
        ):
            yield start, done, "ip_address"


def _is_public(address: bytes) -> bool:
    try:
        parsed = ipaddress.ip_address(address.decode())
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast
