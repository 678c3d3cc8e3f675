"""What the tests of kills share: rows by a seed, a command line to kill, and what must be equal after."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from curation.atomic import PARTIAL
from curation.embedding import SentenceEmbedder, VectorCache, key_of
from curation.records import question_of
from curation.workspace import DATABASE

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 600.0  # seconds a command may take on a busy machine
LOOK = 0.002  # seconds between two looks for a sign
KILLED = -signal.SIGKILL

VERBS = ("sort", "reverse", "count", "merge", "filter", "parse", "encode", "rotate", "sum", "join")
THINGS = ("a list", "a string", "a tree", "two queues", "a matrix", "log lines", "a graph", "dates", "a heap")
WAYS = ("in place", "by length", "without loops", "recursively", "in linear time", "by first letter")
PLACES = ("Python", "Rust", "Java", "Go", "SQL", "Haskell", "C", "Lua", "Perl", "Ruby")
BAD = ({"instruction": "No answer", "output": ""}, {"instruction": "  ", "output": "x"}, {"note": "neither"})


def make_rows(number: int, random_seed: int, alike: float = 0.3) -> list[dict[str, Any]]:
    """Give rows of which a share resembles the row before, a few equal it, and a few are unusable."""
    chance = random.Random(random_seed)
    rows: list[dict[str, Any]] = []
    for position in range(number):
        draw = chance.random()
        good = rows[-1] if rows and "input" in rows[-1] else None
        if draw < 0.005:
            rows.append(dict(chance.choice(BAD)))
        elif draw < 0.03 and good is not None:
            rows.append({**good, "output": good["output"] + chance.choice(("", " # the longer answer"))})
        elif draw < 0.03 + alike and good is not None:
            rows.append({**good, "instruction": f"Please {good['instruction']}"})
        else:
            rows.append(_new_row(position, chance))
    return rows


def _new_row(position: int, chance: random.Random) -> dict[str, Any]:
    words = [chance.choice(options) for options in (VERBS, THINGS, WAYS, PLACES)]
    name = "".join(chance.choice("aeioklmnrst") for _ in range(6))
    return {
        "id": f"row-{position}",
        "instruction": "{} {} {} in {}".format(*words),
        "input": f"{name} = {chance.randrange(10**6)}" if chance.random() < 0.7 else "",
        "output": f"def {name}(x):\n    return {words[0]}(x, {chance.randrange(10**6)})",
    }


def write_rows(rows: Sequence[dict[str, Any]], file: Path) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def keep_made_up_vectors(rows: Sequence[dict[str, Any]], workspace: Path, random_seed: int) -> None:
    """Fill the vector cache so that no model is needed; a row that resembles the row before lies near it."""
    noise = np.random.default_rng(random_seed)
    vectors: dict[bytes, Any] = {}
    last = None
    for row in rows:
        if "input" not in row:
            continue
        like = last is not None and row["instruction"].startswith("Please")
        for text in (question_of(row["instruction"], row["input"]), row["output"]):
            fresh = noise.standard_normal(384)
            fresh /= np.linalg.norm(fresh)
            vector = last + noise.uniform(0.2, 0.7) * fresh if like and text != row["output"] else fresh
            vectors.setdefault(key_of(text), vector / np.linalg.norm(vector))
        last = vectors[key_of(question_of(row["instruction"], row["input"]))]
    cache = VectorCache(workspace / "embeddings" / SentenceEmbedder().hash)
    cache.add(list(vectors), np.array(list(vectors.values()), dtype=np.float32), [9] * len(vectors))


# --- the command line as a process ---


@dataclass(frozen=True)
class Kill:
    """When to kill: at a failpoint, or some seconds after a file that fits a pattern was made or changed."""

    fault: str | None = None  # WINNOW_FAULT
    after: str = ""  # pattern below the workspace
    delay: float = 0.0

    def earlier(self) -> "Kill":
        """Give a plan for when the command was done before this one."""
        if self.fault is None:
            return replace(self, delay=self.delay / 2)
        point, action, nth = self.fault.split(":")
        return replace(self, fault=f"{point}:{action}:{max(1, int(nth) // 2)}")

    def __str__(self) -> str:
        return self.fault or f"{self.delay:.2f} s after {self.after}"


def environment(fault: str | None = None) -> dict[str, str]:
    """Give this process's environment with no setting of Winnow but the fault asked for.

    And drafts wherever they are asked for, also where the processor has no bfloat16.
    """
    ours = {key: value for key, value in os.environ.items() if not key.startswith("WINNOW_")}
    # One thread: on a busy machine several threads of torch wait for each other five times as long.
    return (
        ours
        | {"OMP_NUM_THREADS": "1", "WINNOW_DRAFTS": "always"}
        | ({"WINNOW_FAULT": fault} if fault else {})
    )


def command(workspace: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "curation", *words, "--workspace", str(workspace), "--json"]


def run(workspace: Path, *words: str, fault: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, however it ends."""
    return subprocess.run(
        command(workspace, *words), cwd=ROOT, env=environment(fault), capture_output=True, text=True,
        timeout=LIMIT,
    )  # fmt: skip


def finish(workspace: Path, *words: str) -> dict[str, Any]:
    """Run a command that must succeed and give its report."""
    done = run(workspace, *words)
    assert done.returncode == 0, f"{words}: exit {done.returncode}: {done.stderr}"
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def signs(workspace: Path, pattern: str) -> set[tuple[Path, int]]:
    """Give the files of a pattern with their times: what an earlier kill left counts when written again."""
    found = set()
    for file in workspace.glob(pattern):
        with suppress(FileNotFoundError):  # just renamed
            found.add((file, file.stat().st_mtime_ns))
    return found


def watch(workspace: Path, words: Sequence[str], patterns: Sequence[str]) -> list[float]:
    """Run a command undisturbed. Gives the seconds until a file of each pattern changes, and to its end."""
    began = time.monotonic()
    known = {pattern: signs(workspace, pattern) for pattern in patterns}
    seen: dict[str, float] = {}
    with subprocess.Popen(
        command(workspace, *words), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            for pattern in set(patterns) - set(seen):
                if signs(workspace, pattern) - known[pattern]:
                    seen[pattern] = time.monotonic() - began
            time.sleep(LOOK)
    assert process.returncode == 0
    return [*(seen[pattern] for pattern in patterns), time.monotonic() - began]


def kill(workspace: Path, words: Sequence[str], plan: Kill) -> bool:
    """Run a command and kill it as planned. Gives whether it died by that; else it was done before."""
    known = signs(workspace, plan.after) if plan.after else set()
    with subprocess.Popen(
        command(workspace, *words), cwd=ROOT, env=environment(plan.fault),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        if plan.fault is None:
            while process.poll() is None and not signs(workspace, plan.after) - known:
                time.sleep(LOOK)
            with suppress(subprocess.TimeoutExpired):
                process.wait(plan.delay)
            process.kill()
        status = process.wait(LIMIT)
    assert status in (0, KILLED), f"{words} with {plan}: exit {status}"
    return status == KILLED


def lock_left(workspace: Path) -> int | None:
    """Give the run whose process was killed while it held the lock of its stage."""
    left = query(workspace, "SELECT run_id FROM stage_lock")
    return left[0][0] if left else None


def copy_of(workspace: Path, folder: Path) -> Path:
    """Copy a prepared workspace, so that each kill starts from the same state."""
    shutil.copytree(workspace, folder)
    return folder


# --- what must be equal ---


@contextmanager
def database_copy(workspace: Path) -> Iterator[sqlite3.Connection]:
    """Open a copy: looking at the database itself would do the recovery that the next command must do."""
    with tempfile.TemporaryDirectory() as folder:
        for file in workspace.glob(f"{DATABASE}*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / DATABASE)) as connection:
            yield connection


def query(workspace: Path, statement: str) -> list[tuple[Any, ...]]:
    with database_copy(workspace) as connection:
        return connection.execute(statement).fetchall()


# Rows are named by the ids of samples, never by run numbers: an interrupted run takes a number.
CURRENT = "JOIN stage_run ON stage_run.id = run_id AND stage_run.is_current"
FACTS = {
    "samples": "SELECT seq, id, content_hash, instruction, input, response, source, row, name, licence, "
    "file_hash, file_id, extra FROM sample ORDER BY seq",
    "files": "SELECT hash, source, name, settings, state, rows, warnings FROM source_file ORDER BY hash",
    "bad rows": "SELECT file_hash, row, line, reason, evidence FROM rejection WHERE seq IS NULL ORDER BY id",
    "outcomes": "SELECT stage, sample.id, outcome.state, position, cluster FROM outcome "
    f"{CURRENT} JOIN sample USING (seq) ORDER BY stage, sample.id",
    "rejections": "SELECT stage, sample.id, reason, evidence FROM rejection "
    f"{CURRENT} JOIN sample USING (seq) ORDER BY stage, sample.id",
    "decided pairs": "SELECT l.id, r.id, cosine, response_cosine, decision, item_id "
    f"FROM near_duplicate_pair {CURRENT} JOIN sample l ON l.seq = left_seq "
    "JOIN sample r ON r.seq = right_seq ORDER BY l.id, r.id",
    "questions": "SELECT id, version, subject, evidence, evidence_hash, priority, asked FROM review_item "
    "ORDER BY id",
    "seeds": "SELECT id, document_hash, first_line, last_line, text, language, source, path, licence, "
    "licence_evidence, method FROM seed ORDER BY id",
    "harvested documents": "SELECT harvest_id, source, path, hash, language, licence, licence_evidence, "
    "bytes, state, stage, reason, evidence FROM document ORDER BY harvest_id, source, path",
    "versions": "SELECT name, sha256, rows, manifest FROM dataset_version ORDER BY name",
}


def facts(workspace: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Give everything that a stage decided, in an order of its own."""
    with database_copy(workspace) as connection:
        return {name: connection.execute(statement).fetchall() for name, statement in FACTS.items()}


def files(workspace: Path, *folders: str) -> dict[str, str]:
    """Give the hashes of the files of some folders; those named after a run without its number."""
    found = {}
    for file in sorted(
        file for folder in folders for file in (workspace / folder).rglob("*") if file.is_file()
    ):
        name = file.relative_to(workspace).as_posix()
        if name.startswith("pairs/run-"):
            continue  # numbered by run, and checked through the pairs that were decided
        found[name] = sha256(file.read_bytes()).hexdigest()
    return found


def assert_equal_facts(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare part by part: a difference of 10,000 rows would be hard to read."""
    for name, rows in wanted.items():
        if found[name] != rows:
            different = [pair for pair in zip(found[name], rows, strict=False) if pair[0] != pair[1]]
            raise AssertionError(
                f"{name}: {len(found[name])} instead of {len(rows)} rows, first difference {different[:1]}"
            )


def assert_clean(workspace: Path) -> None:
    """Nothing half-done is left: no partial file, no lock, no run that claims to run, a sound database."""
    assert [file.name for file in workspace.rglob(f"*{PARTIAL}")] == []
    with database_copy(workspace) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("SELECT * FROM stage_lock").fetchall() == []
        assert connection.execute("SELECT * FROM stage_run WHERE state = 'running'").fetchall() == []
