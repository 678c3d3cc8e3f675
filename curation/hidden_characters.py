"""Characters that a reader cannot see but that change what a text says ("Trojan Source", CVE-2021-42574)."""

import re
from collections import Counter

# Marks that turn the direction of writing, and letters of no width (faults.md S21). A joiner or a selector
# inside an emoji or an Indic word is innocent, so those two (U+200D, U+FE0F) are left alone.
HIDDEN = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
# Control characters but tab, line feed and carriage return: a page would swallow them.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

HALF = re.compile("[\ud800-\udfff]")  # half a character: JSON can write it, and a page ends at it
MARKED = (HIDDEN, CONTROL, HALF)


def name_of(character: str) -> str:
    """Name a character by its code point, as U+202E."""
    return f"U+{ord(character):04X}"


def hidden_in(text: str) -> dict[str, int]:
    """Count the hidden characters of a text by their code points, in order of first appearance."""
    found = Counter(name_of(match.group()) for kind in MARKED for match in kind.finditer(text))
    return dict(found)


def revealed(text: str) -> str:
    """Give the text with every hidden character replaced by a mark such as ⟦U+202E⟧."""
    for kind in MARKED:
        text = kind.sub(lambda match: f"⟦{name_of(match.group())}⟧", text)
    return text
