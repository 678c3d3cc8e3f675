"""A 40 MB JSON array of rows: ours (each row checked, constant memory) beside json.load."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.timing import best_times, compared
from curation.reading import read_rows

ROWS = 60_000


def run() -> list[str]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "set.json"
        rows = [
            {"instruction": f"Task {n}: " + "do it " * 20, "input": "", "output": "x = 1\n" * 60}
            for n in range(ROWS)
        ]
        file.write_text(json.dumps(rows))
        size = file.stat().st_size / 1e6
        best = best_times({
            "ours, streamed": lambda: sum(1 for _ in read_rows(file)),
            "json.load, all in memory": lambda: len(json.loads(file.read_text())),
        })  # fmt: skip
    return [
        *compared(best, "ours, streamed"),
        f"{size:.0f} MB, ours {size / best['ours, streamed'][0]:.0f} MB/s",
    ]
