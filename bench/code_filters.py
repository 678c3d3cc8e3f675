"""Each filter of code by itself, over the Python files of this machine's packages: megabytes a second."""

import sysconfig
from collections import Counter
from pathlib import Path

from bench.timing import best_times
from curation.code_filters import CHECKS, DEFAULT, reason_to_leave_out

BYTES = 40_000_000


def files() -> list[tuple[str, str]]:
    """Read every nth file, in the order of their names, until there are enough."""
    root = Path(sysconfig.get_path("purelib"))
    found = sorted(root.rglob("*.py"))
    texts, left = [], BYTES
    for file in found[:: max(1, len(found) // 4_000)]:
        text = file.read_text(encoding="utf-8", errors="replace")
        if left > 0 and len(text) <= 1_000_000:
            texts.append((text, file.relative_to(root).as_posix()))
            left -= len(text.encode())
    return texts


def run() -> list[str]:
    texts = files()
    megabytes = sum(len(text.encode()) for text, _ in texts) / 1e6

    def one(reason: str) -> int:
        check = CHECKS[reason]
        return sum(check(text, path, "Python", DEFAULT) is not None for text, path in texts)

    def everything() -> Counter[str]:
        found = (reason_to_leave_out(text, path, "Python") for text, path in texts)
        return Counter(finding.reason for finding in found if finding)

    best = best_times({reason: (lambda reason=reason: one(reason)) for reason in CHECKS}, 3)
    seconds, left_out = best_times({"all": everything}, 3)["all"]
    return [
        f"{len(texts):,} files, {megabytes:.1f} MB",
        *(
            f"{reason:18} {megabytes / took:9.1f} MB/s   {count:5} files by itself"
            for reason, (took, count) in best.items()
        ),
        f"{'all, in order':18} {megabytes / seconds:9.1f} MB/s   left out: {dict(left_out)}",
    ]
