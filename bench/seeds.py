"""Magicoder's cut of installed Python files: ours beside a plain loop; then read, hash and cut by 1 and 2
processes. Goal (performance.md): 500 MB/s of text a core. Whole functions are timed on some of the files."""

import random
import sysconfig
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

from bench.timing import best_times, compared
from curation.cutting import NoCut, Policy, cut

FILES = 6_000
PARSED = 600
ROUNDS = 3


def run() -> list[str]:
    files = _files()
    texts = [data.decode() for data in (file.read_bytes() for file in files) if _is_utf8(data)]
    names = [sha256(text.encode()).hexdigest() for text in texts]
    policy = Policy()
    draw = random.Random(policy.random_seed)

    def ours() -> int:
        return sum(len(cut(name, text, "Python", policy)) for name, text in zip(names, texts, strict=True))

    def plain_loop() -> int:
        return sum(_plain_cut(text, draw) for text in texts)

    best = best_times({"ours": ours, "plain loop: splitlines, random, slice": plain_loop}, ROUNDS)
    megabytes = sum(map(len, texts)) / 1e6
    speeds = ", ".join(f"{name.split(':')[0]} {megabytes / best[name][0]:.0f} MB/s" for name in best)
    counts = ", ".join(f"{name.split(':')[0]} {best[name][1]}" for name in best)
    return [
        f"{len(texts)} files, {megabytes:.0f} MB",
        *compared(best, "ours"),
        f"{speeds}; snippets: {counts}",
        *_whole_path(files),
        *_whole_functions(names, texts),
    ]


def _whole_path(files: Sequence[Path]) -> list[str]:
    """Time reading, decoding, hashing and cutting; the files lie in the page cache."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as two:
        list(two.map(_cut_files, [files[:1], files[-1:]]))  # start both before the clock does
        best = best_times(
            {
                "read, hash, cut: 1 process": lambda: _cut_files(files),
                "read, hash, cut: 2 processes": lambda: sum(two.map(_cut_files, [files[::2], files[1::2]])),
                "plain loop: read, hash, splitlines, slice": lambda: _cut_plainly(files),
                "read and hash alone: 1 process": lambda: sum(len(_named(file)[0]) > 0 for file in files),
            },
            ROUNDS,
        )
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    one, two_processes = (best[f"read, hash, cut: {n}"][0] for n in ("1 process", "2 processes"))
    return [
        *compared(best, "read, hash, cut: 1 process"),
        f"{megabytes / one:.0f} MB/s by one, {megabytes / two_processes:.0f} MB/s by two",
    ]


def _whole_functions(names: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Time the policy that parses, on a part of the files; what it gives each is counted."""
    part = list(zip(names, texts, strict=True))[:PARSED]
    policy = Policy("syntax")

    def parsed() -> Counter[str]:
        results = (cut(name, text, "Python", policy) for name, text in part)
        return Counter(found.reason if isinstance(found, NoCut) else "cut" for found in results)

    seconds, results = best_times({"parsed": parsed}, 1)["parsed"]
    speed = sum(len(text) for _, text in part) / 1e6 / seconds
    counts = ", ".join(f"{reason} {count}" for reason, count in results.most_common())
    return [f"whole functions: {speed:.1f} MB/s; of {len(part)} files: {counts}"]


def _cut_files(files: Sequence[Path]) -> int:
    policy, found = Policy(), 0
    for file in files:
        data, name = _named(file)
        if _is_utf8(data):
            found += len(cut(name, data.decode(), "Python", policy))
    return found


def _plain_cut(text: str, draw: random.Random) -> bool:
    """Split every line, as generate_data.py does, and take some."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return False
    start = draw.randrange(len(lines))
    return bool("".join(lines[start : start + draw.randint(1, 15)]).strip())


def _cut_plainly(files: Sequence[Path]) -> int:
    draw, found = random.Random(Policy().random_seed), 0
    for file in files:
        data, _ = _named(file)
        if _is_utf8(data):
            found += _plain_cut(data.decode(), draw)
    return found


def _named(file: Path) -> tuple[bytes, str]:
    data = file.read_bytes()
    return data, sha256(data).hexdigest()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _files() -> list[Path]:
    """List files of the installed packages, mixed, so that a part of them is like the whole."""
    found = sorted(Path(sysconfig.get_path("purelib")).rglob("*.py"))
    random.Random(976).shuffle(found)
    return found[:FILES]
