"""All pairs >= 0.8 of 110,000 real vectors, and the rows that a greedy rule keeps: ours beside peers.

Same vectors, same run, each in a process of its own, its imports done before the clock starts. Goals: a tenth
of FAISS' flat range search; 0.45 of a float32 triangle at the best rate of this machine with torch, 0.8
without; a fifth of SemHash. Set WINNOW_BENCH_ROWS for fewer rows, WINNOW_BENCH_PEERS=few for the goals only.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench import corpus
from bench.pair_peers import PEERS, SLICE

GOALS = (
    "ours_quickest",
    "ours_float32",
    "ours_keep_list",
    "blocked_product",
    "faiss_range",
    "semhash_keep_list",
)
SIZES = ((4096, 384, 4096), (1024, 384, 4096), (512, 384, 2048))  # of products whose best rate counts
LIMIT = 1_800  # seconds for one peer


def run() -> list[str]:
    rows = int(os.environ.get("WINNOW_BENCH_ROWS", corpus.ROWS))
    x = corpus.vectors(rows)
    names = GOALS if os.environ.get("WINNOW_BENCH_PEERS") == "few" else tuple(PEERS)
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", x, allow_pickle=False)
        found = {name: _measured(name, Path(folder)) for name in names}
        exact = np.load(Path(folder) / "ours_quickest.json.npy")
        lines = [_line(name, one, exact, Path(folder)) for name, one in found.items()]
    return [f"{len(x):,} rows, {len(exact):,} pairs", *lines, *_ratios(found, len(x))]


def _measured(name: str, folder: Path) -> dict[str, Any]:
    out = folder / f"{name}.json"
    words = [sys.executable, "-W", "ignore", "-m", "bench.pair_peers", name, str(folder / "x.npy"), str(out)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {LIMIT} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no word"])[-1][:90]}
    facts: dict[str, Any] = json.loads(out.read_text())
    return facts


def _line(name: str, facts: dict[str, Any], exact: np.ndarray, folder: Path) -> str:
    if "error" in facts:
        return f"{name:22} not measured: {facts['error']}"
    told = f"{name:22} {facts['seconds']:8.2f} s  {facts['megabytes']:7,.0f} MB"
    if name == "platypus_loop":
        return f"{told}  of {SLICE:,} rows; all of them are extrapolated below"
    if facts["kept"] is not None:
        return f"{told}  keeps {facts['kept']:,}"
    pairs = np.load(folder / f"{name}.json.npy")
    there = len(np.intersect1d(pairs, exact, assume_unique=True))
    return f"{told}  recall {there / max(1, len(exact)):.4f}, {len(pairs) - there:,} beyond"


def _ratios(found: dict[str, dict[str, Any]], rows: int) -> list[str]:
    seconds = {name: one["seconds"] for name, one in found.items() if "error" not in one}
    rate = _best_rate()
    triangle = rows * (rows - 1) / 2 * 2 * 384 / rate
    told = [f"float32 triangle at the best rate here, {rate / 1e9:.0f} GFLOP/s: {triangle:.2f} s"]
    for mine, goal in (("ours_quickest", 0.45), ("ours_float32", 0.8)):
        if mine in seconds:
            told.append(f"{mine}: {seconds[mine] / triangle:.2f} of it (goal: {goal} at most)")
    for mine, peer, goal in (
        ("ours_quickest", "faiss_range", "10"), ("ours_float32", "faiss_range", ""),
        ("ours_quickest", "blocked_product", ""), ("ours_quickest", "sklearn_radius", ""),
        ("ours_quickest", "hnswlib_graph", ""), ("ours_keep_list", "semhash_keep_list", "5"),
    ):  # fmt: skip
        if mine in seconds and peer in seconds:
            wanted = f" (goal: {goal} at least)" if goal else ""
            told.append(f"{peer}: {seconds[peer] / seconds[mine]:.1f} x {mine}{wanted}")
    if "platypus_loop" in seconds and "ours_keep_list" in seconds:
        whole = seconds["platypus_loop"] * (rows / min(SLICE, rows)) ** 2
        told.append(
            f"platypus_loop: {whole:,.0f} s extrapolated, {whole / seconds['ours_keep_list']:,.0f} x "
            "ours_keep_list"
        )
    return told


def _best_rate() -> float:
    """Measure the most operations a second of a float32 product, by numpy or torch, all threads."""
    import torch

    best = 0.0
    for rows, inner, columns in SIZES:
        a = np.random.default_rng(1).random((rows, inner), np.float32)
        b = np.random.default_rng(2).random((columns, inner), np.float32)
        out = np.empty((rows, columns), np.float32)
        of_torch = torch.from_numpy(a), torch.from_numpy(b).t(), torch.from_numpy(out)
        for product in (
            lambda a=a, b=b, out=out: np.matmul(a, b.T, out=out),
            lambda of=of_torch: torch.mm(of[0], of[1], out=of[2]),
        ):
            for _ in range(20):
                began = time.perf_counter()
                product()
                best = max(best, 2.0 * rows * inner * columns / (time.perf_counter() - began))
    return best
