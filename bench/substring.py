"""Every benchmark string in 5,000 training rows: ours beside Magicoder's loop and a joined `in`."""

import random

from bench.timing import best_times, compared
from curation.substring import BenchmarkString, SubstringFinder

ROWS, STRINGS = 5_000, 2_000
WORDS = [f"word{n}" for n in range(4_000)]


def run() -> list[str]:
    draw = random.Random(976)
    strings = [" ".join(draw.choices(WORDS, k=draw.randint(5, 30))) for _ in range(STRINGS)]
    rows = [" ".join(draw.choices(WORDS, k=80)) for _ in range(ROWS)]
    for n in range(0, ROWS, 250):
        rows[n] += " " + strings[n % STRINGS].upper()

    def ours() -> int:
        finder = SubstringFinder([BenchmarkString(n, "problem", text) for n, text in enumerate(strings)])
        return sum(1 for row in rows for _ in finder.hits(row))

    def magicoder() -> int:
        """Lowers in the inner loop, stops at the first hit (find_substrings.py); a tenth of the rows."""
        return sum(any(text.lower() in row.lower() for text in strings) for row in rows[: ROWS // 10])

    def lowered_once() -> int:
        lowered = [text.lower() for text in strings]
        return sum(text in row for row in map(str.lower, rows) for text in lowered)

    best = best_times({"ours, all hits": ours, "in, lowered once, all hits": lowered_once}, 2)
    best |= {"Magicoder's loop (x 10 from a tenth)": (10 * best_times({"m": magicoder}, 1)["m"][0], None)}
    found = {name: result for name, (_, result) in best.items() if result is not None}
    return [*compared(best, "ours, all hits"), f"hits found: {found}"]
