"""Worker and child of each kind of job killed at random moments: the same result, once (F29, F30, F57).

Ten kills a step. After each the job goes on: by itself when its worker died, by `resume` when its child did.
What comes out is compared with the command line's work on the same rows.
"""

import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import jobs
from curation.embedding import SentenceEmbedder
from curation.workspace import DATABASE, Workspace
from tests.faults import (
    assert_clean,
    assert_equal_facts,
    facts,
    files,
    finish,
    keep_made_up_vectors,
    make_rows,
    write_rows,
)

pytestmark = pytest.mark.faults

RANDOM_SEED = 57
KILLS = 10
ROWS = 6_000
PATIENCE = 300.0
STEPS = ("import", "clean", "near-duplicates", "decontaminate", "assemble", "export", "example")


@dataclass
class Trial:
    """A workspace prepared up to a step, the job, and what must come of it."""

    prepared: Path
    settings: dict[str, Any]
    wanted: dict[str, Any]
    seconds: float  # an undisturbed job took


def commands(file: Path, benchmark: str, to: Path) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Give each step's settings for a job and its words for the command line, in the order data flows."""
    return {
        "import": ({"file": str(file)}, ["samples", "import", str(file)]),
        "clean": ({}, ["clean"]),
        "near-duplicates": ({}, ["near-duplicates"]),
        "decontaminate": ({"benchmarks": [benchmark]}, ["decontaminate", "--benchmark", benchmark]),
        "assemble": ({"name": "v1", "open_cases": "drop"}, ["assemble", "v1", "--open", "drop"]),
        "export": (
            {"name": "v1", "format": "messages", "to": str(to)},
            ["export", "v1", "--format", "messages", "--to", str(to)],
        ),
    }


def outcome(workspace: Path, to: Path) -> dict[str, Any]:
    exported = sorted((f.name, f.read_bytes()) for f in to.iterdir()) if to.exists() else []
    return {**facts(workspace), "files": list(files(workspace, "datasets").items()), "exported": exported}


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trial]:
    """Run every step once by the command line, and keep the workspace before it and the outcome."""
    place = tmp_path_factory.mktemp("trials")
    rows = make_rows(ROWS, RANDOM_SEED)
    file = write_rows(rows, place / "rows.jsonl")
    items = [
        {"task_id": n, "prompt": row["instruction"], "canonical_solution": row["output"]}
        for n, row in enumerate([row for row in rows if row.get("input") == ""][:5])
    ]
    benchmark = f"humaneval={write_rows(items, place / 'items.jsonl')}"
    workspace, to = place / "workspace", place / "export"
    keep_made_up_vectors(rows, workspace, RANDOM_SEED)
    finish(workspace, "status")
    found = {}
    for step, (settings, words) in commands(file, benchmark, to).items():
        prepared = place / f"before-{step}"
        shutil.copytree(workspace, prepared)
        began = time.monotonic()
        finish(workspace, *words)
        found[step] = Trial(prepared, settings, outcome(workspace, to), time.monotonic() - began)
        shutil.rmtree(to, ignore_errors=True)
    found["example"] = example(place, benchmark)
    return found


def example(place: Path, benchmark: str) -> Trial:
    """Make a small example with vectors drawn at random, so that no model is needed."""
    import numpy as np

    from curation.example import example as make

    noise = np.random.default_rng(RANDOM_SEED)

    def embed_batch(self: SentenceEmbedder, texts: list[str]) -> Any:
        drawn = noise.standard_normal((len(texts), 384)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    workspace = Workspace(place / "example")
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SentenceEmbedder, "embed_batch", embed_batch)
        patch.setattr(SentenceEmbedder, "pieces", lambda self, texts: [9] * len(texts))
        make(workspace, 300, benchmark=benchmark)
    prepared = place / "before-example"
    shutil.copytree(workspace.embeddings, prepared / "embeddings")
    wanted = outcome(workspace.folder, place / "none")
    settings = {"rows": 300, "benchmark": benchmark}
    return Trial(prepared, settings, wanted, time.monotonic() - began)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "workspace"
    jobs.stop(tmp_path / "workspace")


def follow(workspace: Path, job_id: str, seconds: float) -> jobs.Job:
    """Watch a job for so long, or to its end."""
    end = time.monotonic() + seconds
    while True:
        found = jobs.job(workspace, job_id)
        assert found is not None
        if found.state in ("done", "failed", "cancelled") or time.monotonic() > end:
            return found
        time.sleep(0.02)


def kill(workspace: Path, victim: str) -> None:
    """Kill the worker or its child; a worker may have none at this moment."""
    try:
        worker = psutil.Process(int((workspace / jobs.WORKER_LOCK).read_text().split()[0]))
        for process in [worker] if victim == "worker" else worker.children():
            process.kill()
    except (psutil.NoSuchProcess, IndexError, FileNotFoundError):
        return
    if victim == "worker":
        end = time.monotonic() + PATIENCE
        while jobs.worker_alive(workspace):
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.parametrize("step", STEPS)
def test_ten_kills_of_each_step(step: str, folder: Path, trials: dict[str, Trial], tmp_path: Path) -> None:
    trial, chance = trials[step], random.Random(f"{RANDOM_SEED} {step}")
    shutil.copytree(trial.prepared, folder)
    to = tmp_path / "export"
    settings = {**trial.settings, **({"to": str(to)} if "to" in trial.settings else {})}
    current = jobs.start(folder, step, settings)
    for _ in range(KILLS):
        victim = chance.choice(("worker", "child"))
        before = follow(folder, current.id, 3.0 + chance.uniform(0, trial.seconds))
        if before.state == "done":  # the kill of a job that is through; then the same work once more
            kill(folder, "worker")
            current = jobs.start(folder, step, settings)
            continue
        kill(folder, victim)
        found = jobs.job(folder, current.id)
        assert found is not None and (victim == "child" or found.state != "running")
        if follow(folder, current.id, 0.5 if victim == "child" else 0).state == "failed":
            current = jobs.resume(folder, current.id)
        else:
            jobs.ensure_worker(folder)
    done = follow(folder, current.id, PATIENCE)
    if done.state == "failed":  # by the last kill, or given up after three without progress
        assert "killed by signal 9" in done.message or "died 3 times" in done.message
        done = follow(folder, jobs.resume(folder, done.id).id, PATIENCE)
    assert done.state == "done", (done, jobs.log_tail(folder, done.id))
    assert_equal_facts(outcome(folder, to), trial.wanted)
    assert_clean(folder)


def test_a_job_that_kills_its_worker_again_and_again_is_given_up(folder: Path, tmp_path: Path) -> None:
    """Three workers in a row die before any row is imported: the fourth says so rather than try.

    The test holds the lock that the import needs, so that it stands still until it is killed.
    """
    file = write_rows(make_rows(50, RANDOM_SEED), tmp_path / "rows.jsonl")
    Workspace(folder).database.close()
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        started = jobs.start(folder, "import", {"file": str(file)})
        for _ in range(jobs.STARTS):
            end = time.monotonic() + PATIENCE
            while (found := follow(folder, started.id, 0)).state != "running" or found.what != "starting":
                assert time.monotonic() < end, found
            kill(folder, "worker")
            jobs.ensure_worker(folder)
        failed = follow(folder, started.id, PATIENCE)
    assert failed.state == "failed" and "died 3 times in a row" in failed.message
    assert follow(folder, jobs.resume(folder, started.id).id, PATIENCE).state == "done"
