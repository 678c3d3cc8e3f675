"""Chooses the quickest bound on this machine: float32, bytes or bfloat16, by doing tiles of each.

Which it is hangs on the processor: bytes where only VNNI is there, bfloat16 with AMX, float32 else.
"""

import math
import sys
import time

import numpy as np

from curation.pair_screen import Floats, FloatScreen, Screen, float_screen

FEW = 8_192  # rows up to which none takes long
LOADS_FROM = 200_000  # rows from which the others are worth loading torch for, which takes seconds
WIDTH = 128  # numbers a row
ROUNDS = 5
TRIED = 2  # tiles after which a bound far behind is given up; the first may hold a library's preparations
FAR = 3.0  # times the quickest: no further tile makes up for that
RANDOM_SEED = 976


def quickest_screen(vectors: Floats, floor: float, rows: int, columns: int) -> Screen:
    """Make the quickest bound of vectors, (rows, dimensions), for tiles of `rows` and `columns`.

    Those that need torch are looked at where it is loaded, or rows are many.
    """
    if len(vectors) < FEW or ("torch" not in sys.modules and len(vectors) < LOADS_FROM):
        return float_screen(vectors, floor)
    from curation.bf16_screen import half_screen
    from curation.int8_screen import byte_screen

    makers = {"bfloat16": half_screen, "bytes": byte_screen, "float32": float_screen}
    for name in quickest_first(rows, columns):
        if (made := makers[name](vectors, floor)) is not None:  # None: these vectors do not fit it
            return made
    raise AssertionError("float32 fits all vectors")


def quickest_first(rows: int, columns: int) -> list[str]:
    """Order the bounds by the seconds that a tile of made-up rows takes here, one thread each.

    Columns stand first in it, as in `pair_screen.Tile`.
    """
    import torch

    from curation.bf16_screen import HalfScreen
    from curation.int8_screen import ByteScreen

    whole = np.random.default_rng(RANDOM_SEED).integers(-127, 127, (rows + ROUNDS * columns, WIDTH))
    made = torch.from_numpy(whole)
    screens: dict[str, Screen] = {
        "float32": FloatScreen(whole.astype(np.float32), 1.0),  # first: no processor is far slower at it
        "bfloat16": HalfScreen(made.to(torch.bfloat16), 1),
        "bytes": ByteScreen(made.to(torch.int8), 1),
    }
    seconds: dict[str, float] = {}
    for name, screen in screens.items():
        seconds[name] = _seconds(screen, rows, columns, FAR * min(seconds.values(), default=math.inf))
    return sorted(seconds, key=lambda name: seconds[name])


def _seconds(screen: Screen, rows: int, columns: int, far: float) -> float:
    """Time a product and the look at it, at best of some; of few, where they take more than `far` seconds.

    Where a processor knows no bytes or no bfloat16, a tile of them takes 10 to 25 times one of float32.
    """
    out, hits = np.empty((columns, rows), screen.dtype), np.empty((columns, rows), np.bool_)
    taken = []
    with screen.alone():
        for start in range(0, ROUNDS * columns, columns):
            began = time.perf_counter()
            product = screen.product(slice(rows + start, rows + start + columns), slice(0, rows), out)
            np.greater_equal(product, screen.least, out=hits)
            taken.append(time.perf_counter() - began)
            if len(taken) >= TRIED and min(taken) > far:
                break
    return min(taken)
