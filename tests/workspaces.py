"""What several tests need: the shared data, a small set with a known answer, the command line."""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from curation.cli import main

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real data sets of ../shared are not beside this checkout"
)


@dataclass(frozen=True)
class Ran:
    """What one command came to."""

    status: int
    report: dict[str, Any]
    out: str
    err: str


class CommandLine:
    """Runs `python -m curation ... --json` on one workspace, in this process so that torch loads once."""

    def __init__(self, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.workspace = workspace
        self._capsys = capsys

    def __call__(self, *words: object, json_wanted: bool = True) -> Ran:
        self._capsys.readouterr()
        last = ["--workspace", str(self.workspace), *(["--json"] if json_wanted else [])]
        try:
            status = main([*map(str, words), *last])
        except SystemExit as left:  # argparse
            status = int(left.code or 0)
        out, err = self._capsys.readouterr()
        lines = out.strip().splitlines()
        report = json.loads(lines[-1]) if json_wanted and lines and status == 0 else {}
        return Ran(status, report, out, err)

    def done(self, *words: object) -> dict[str, Any]:
        """Run a command that must end well and give its report."""
        ran = self(*words)
        assert ran.status == 0, ran.err
        return ran.report


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_json_gz(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_bytes(gzip.compress(json.dumps(rows).encode(), mtime=0))
    return path


def row(instruction: str, response: str, input: str = "", **more: Any) -> dict[str, Any]:
    return {"instruction": instruction, "input": input, "output": response, **more}


TASKS = (
    "Write a Python function that reverses a string",
    "Write an SQL query that lists all employees hired after 2015",
    "Explain what a hash table is and when to use one",
    "Create a regular expression that matches an e-mail address",
    "Implement binary search in Java",
    "Convert this temperature from Celsius to Fahrenheit",
    "Design a CSS rule that centres a box on the page",
    "Sort a list of tuples by their second element",
    "Open a file in C and count its lines",
    "Write a shell script that removes files older than a week",
)


def small_set() -> list[dict[str, Any]]:
    """Give 24 rows: ten tasks, look-alikes of some, an exact repeat, and two rows that cannot be used."""
    rows = [row(task, f"Answer to task {n}: " + "x = compute(y)\n" * (n + 1)) for n, task in enumerate(TASKS)]
    rows += [
        row(f"{task}.", f"Answer to task {n}: " + "x = compute(y)\n" * n) for n, task in enumerate(TASKS[:6])
    ]
    rows += [row(task.replace("Write", "Please write"), "z") for task in TASKS[:2]]
    rows += [
        row(
            TASKS[4],
            "public static int search(int[] a, int key) { return 0; } // the longer answer" + ", by far" * 5,
        )
    ]
    rows += [
        row(TASKS[7], "short", input="[(1, 2), (0, 1)]"),
        row(TASKS[7], "short too", input="[(3, 4), (5, 1)]"),
    ]
    rows += [row("", "no instruction"), row("no response", ""), row(TASKS[9], "rm")]
    return rows
