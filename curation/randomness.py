"""Whether a string looks drawn by chance: what all credentials share and words, names and paths do not.

Entropy alone cannot tell: 20 letters of English have 3.6 bits a character, 20 hexadecimal digits have 3.2.
What sets chance apart is which characters stand side by side, so that is what is counted here.
"""

import itertools
import math
import re
from collections import Counter

# The 240 pairs of neighbouring letters that make up 91 % of those in the words and names of Python 3.11's
# standard library (each distinct word counted by the root of its frequency), first letter: second letters.
COMMON_PAIRS = (
    "a:bcdgiklmnprstuvy b:aeilorsu c:acehiklorstu d:adeilorstu e:acdefgilmnpqrstvwxy f:aefiloru g:aehinrs "
    "h:aeiot i:abcdefglmnoprstvxz k:eis l:adeilostuy m:abeimopsu n:acdefgiklnostuv o:bcdfgklmnoprstuvw "
    "p:aeiloprstuy q:u r:acdegilmnoprstuy s:acehilopstuy t:acdefhilmoprstuy u:abceilmnprst v:aei w:aeior "
    "x:ept y:pst z:e"
)
QUIET = b"_-./:=, \t"  # what joins words in names and paths; beside these nothing is odd

HEX = re.compile(rb"[0-9a-f]+|[0-9A-F]+")
UUID = re.compile(rb"(?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


def _odd_pairs() -> bytes:
    """Give a table over (first byte, second byte): 1 where words seldom have the two side by side."""
    common = {part[0] + second for part in COMMON_PAIRS.split() for second in part[2:]}
    table = bytearray(1 << 16)
    for first in range(33, 127):
        for second in range(33, 127):
            left, right = chr(first), chr(second)
            if (left.isdigit() and right.isdigit()) or first in QUIET or second in QUIET:
                odd = False
            elif left.isalpha() and right.isalpha():
                odd = (left + right).lower() not in common or (left.islower() and right.isupper())
            else:  # a letter beside a digit, or a sign that names do not have beside either
                odd = left.isalnum() or right.isalnum()
            table[first << 8 | second] = odd
    return bytes(table)


ODD = _odd_pairs()


def oddness(value: bytes) -> float:
    """Give the share of neighbouring pairs that words seldom have, 0 to 1.

    Random letters and digits come to 0.7-0.85, random hexadecimal digits to 0.5, words and names to
    0.05-0.35.
    """
    pairs = len(value) - 1
    return sum([ODD[a << 8 | b] for a, b in itertools.pairwise(value)]) / pairs if pairs > 0 else 0.0


def entropy(value: bytes) -> float:
    """Give Shannon's entropy of the bytes of a string, in bits a byte."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values()) if size else 0.0


def is_hex_key(value: bytes, least: int) -> bool:
    """Say whether a string is a UUID or hexadecimal, at least so long, and drawn from many digits."""
    if UUID.fullmatch(value):
        return len(set(value)) >= 8
    return (
        len(value) >= least
        and HEX.fullmatch(value) is not None
        and not value.isdigit()
        and not value.isalpha()
        and entropy(value) >= 2.6
    )


# Too rare in drawn strings to cost one: even six equal hexadecimal digits are 1 in 10,000 strings of 64.
MADE_UP = re.compile(
    rb"(?i:example|placeholder|changeme|change_me|change-me|change_this|dummy|your[_-]|your(?:key|token|pass|api|secret)"
    rb"|redacted|insert[_-]|replace[_-]?(?:me|with|this)|<[a-z]|_here\b|abcdef|123456|qwerty|x{6}|foobar|lorem)"
    rb"|\*{3}|\.\.\.|\$[({]|\{\{|%[({]|<%|\#\{|\bTODO\b"
)
REPEATED = re.compile(rb"([^\s])\1{5,}+")
# What stands for a password in documentation; "password1" and "mysecret" are among them.
PLAIN_WORD = re.compile(
    rb"(?i:(?:my|the|your|some|test|user|db|new|old|admin|root|super|invalid|wrong|bad|good)?[_-]?"
    rb"(?:pass(?:w(?:or)?d|phrase|code)?|pwd?|pw|secret|token|(?:api|secret|access|private)?[_-]?key|credentials?|user"
    rb"(?:name)?|login|auth|test|foo|bar|none|null|true|false|hunter)[_-]?\d{0,2})"
)


def is_made_up(value: bytes) -> bool:
    if MADE_UP.search(value) or PLAIN_WORD.fullmatch(value):
        return True
    return REPEATED.search(value) is not None and len(REPEATED.sub(b"", value)) < 20
