"""The standard library's code searched for secrets: MB/s on one core, and false alarms a MB by kind."""

import sysconfig
from collections import Counter
from functools import cache
from pathlib import Path

from bench.timing import best_times, compared
from curation.redaction import redact
from curation.secret_rules import SHAPE

# The standard library holds hundreds of real ones (authors, tests of email and ipaddress) and a few times and
# section numbers that look like them. Nobody told them apart one by one: they are counted beside the alarms.
ADDRESSES = ("email", "ip_address")


@cache
def standard_library() -> tuple[str, ...]:
    """Give the text of every Python file of the standard library, its tests included."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [file for file in sorted(root.rglob("*.py")) if "site-packages" not in file.parts]
    return tuple(file.read_text(encoding="utf-8", errors="replace") for file in files)


def alarms(texts: tuple[str, ...]) -> Counter[str]:
    """Count what is found, by kind."""
    found: Counter[str] = Counter()
    for text in texts:
        found += redact(text).found
    return found


def run() -> list[str]:
    texts = standard_library()
    size = sum(map(len, texts)) / 1e6
    tenth = texts[::10]
    best = best_times({
        "ours, all rules": lambda: alarms(texts),
        "UTF-8 and lower case only": lambda: [text.encode("utf-8", "replace").lower() for text in texts],
    })  # fmt: skip
    scale = size / (sum(map(len, tenth)) / 1e6)
    naive = best_times({
        "naive": lambda: [1 for text in tenth for _ in SHAPE.finditer(text.encode("latin-1", "replace"))]
    })  # fmt: skip
    best |= {"shapes alone, no filter (from a tenth)": (scale * naive["naive"][0], None)}
    found = best["ours, all rules"][1]
    false = sum(found.values()) - sum(found[kind] for kind in ADDRESSES)
    return [
        *compared(best, "ours, all rules"),
        f"{size:.1f} MB in {len(texts)} files, ours {size / best['ours, all rules'][0]:.1f} MB/s",
        f"found: {dict(found)}",
        f"false alarms (all but addresses): {false}, {false / size:.2f} a MB",
        f"e-mail and IP addresses, most of them real: {(sum(found.values()) - false) / size:.1f} a MB",
    ]
