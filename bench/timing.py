"""How a thing is timed: the best of a few rounds, peers in turn, so that drift hits all alike."""

import time
from collections.abc import Callable, Mapping
from typing import Any


def best_times(things: Mapping[str, Callable[[], Any]], rounds: int = 3) -> dict[str, tuple[float, Any]]:
    """Run each thing `rounds` times, in turn. Gives its least wall seconds and its last result."""
    best: dict[str, tuple[float, Any]] = {}
    for _ in range(rounds):
        for name, thing in things.items():
            began = time.perf_counter()
            result = thing()
            seconds = time.perf_counter() - began
            best[name] = (min(seconds, best.get(name, (seconds, None))[0]), result)
    return best


def compared(best: Mapping[str, tuple[float, Any]], ours: str) -> list[str]:
    """Say each time, and how many times as long as ours the others took."""
    mine = best[ours][0]
    return [
        f"{name:44} {seconds:9.3f} s" + ("" if name == ours else f"   {seconds / mine:6.1f} x ours")
        for name, (seconds, _) in best.items()
    ]
