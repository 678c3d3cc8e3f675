"""kill -9 at any moment, then the same command again: the result of an undisturbed run (F29, F30, F35, F36).

20 kills each of import, embedding, drafts, pair search and assembly, through the real command line. Some come
at exact edges (WINNOW_FAULT), the others at random moments counted from a file that the command makes. Up to
three kills follow each other before a command may finish.
"""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from curation.embedding import BLOCK
from curation.import_samples import BATCH
from curation.pairs import ROWS
from tests.faults import (
    Kill,
    assert_clean,
    assert_equal_facts,
    copy_of,
    facts,
    files,
    finish,
    keep_made_up_vectors,
    kill,
    lock_left,
    make_rows,
    watch,
    write_rows,
)

pytestmark = pytest.mark.faults

RANDOM_SEED = 29
CHAINS = (1, 1, 1, 1, 2, 2, 3, 3, 3, 3)  # kills before a command may finish; 20 in all
STAGES = ("import", "embedding", "drafts", "pair search", "assembly")
LOG = "winnow.sqlite-wal"  # appears when a command opens the database
PASSING = ("seconds", "unchanged", "attached", "new")  # what a report says of one run only


@dataclass
class Trial:
    """One stage: where its kills start, when they come, and what they must lead to."""

    prepared: Path
    words: list[str]  # of the command; LIST stands for a file beside the workspace
    kept: tuple[str, ...]  # folders whose files must be equal
    is_hit: Callable[[Path, int], bool]  # of a workspace and the run that lost its process
    plans: list[Kill] = field(default_factory=list)
    wanted: dict[str, Any] = field(default_factory=dict)
    kills: int = 0
    hits: int = 0
    edges: int = 0  # kills at failpoints

    def command(self, workspace: Path) -> list[str]:
        return [str(workspace.with_suffix(".list")) if word == "LIST" else word for word in self.words]

    def result(self, workspace: Path) -> dict[str, Any]:
        """Finish, and give all that must be equal to an undisturbed run."""
        report = finish(workspace, *self.command(workspace))
        list_file = workspace.with_suffix(".list")
        told = {key: value for key, value in report.items() if key not in (*PASSING, "file")}
        return {
            **facts(workspace),
            "files": list(files(workspace, *self.kept).items()),
            "list": list_file.read_text().splitlines() if list_file.exists() else [],
            "report": sorted(told.items(), key=str),
        }


def at(point: str, *arrivals: int) -> list[Kill]:
    return [Kill(fault=f"{point}:kill:{nth}") for nth in arrivals]


def _import(folder: Path, chance: random.Random) -> Trial:
    rows = make_rows(20 * BATCH, RANDOM_SEED)
    file = write_rows(rows, folder / "rows.jsonl")
    trial = Trial(folder / "start", ["samples", "import", str(file)], (), lambda workspace, run: True)
    finish(trial.prepared, "status")
    opened, end = watch(copy_of(trial.prepared, folder / "timed"), trial.words, [LOG])
    trial.plans = at("store.commit", 1, 2, 3, *chance.sample(range(4, 20), 5)) + [
        Kill(after=LOG, delay=chance.uniform(0, end - opened)) for _ in range(12)
    ]
    return trial


def _embedding(folder: Path, chance: random.Random) -> Trial:
    blocks = 3
    rows = make_rows((blocks - 1) * BLOCK + 300, RANDOM_SEED + 1, alike=0.02)
    trial = Trial(
        folder / "start", ["near-duplicates", "--pairs", "LIST"], ("embeddings", "pairs"),
        lambda workspace, run: not any(workspace.glob("pairs/*/*")),
    )  # fmt: skip
    finish(trial.prepared, "samples", "import", str(write_rows(rows, folder / "rows.jsonl")))
    timed = copy_of(trial.prepared, folder / "timed")
    opened, first, searched, _ = watch(timed, trial.command(timed), [LOG, "embeddings/*/*", "pairs/*"])
    trial.plans = (
        at("file.write", *range(1, 2 * blocks + 1))
        + at("store.commit", 1, 2)
        + [Kill(after=LOG, delay=chance.uniform(0, first - opened)) for _ in range(4)]
        + [
            Kill(after="embeddings/*/*", delay=chance.uniform(0, (searched - first) / blocks))
            for _ in range(8)
        ]
    )
    return trial


def _drafts(folder: Path, chance: random.Random) -> Trial:
    rows = make_rows(BLOCK + 300, RANDOM_SEED + 4, alike=0.1)
    trial = Trial(
        folder / "start", ["near-duplicates", "--draft", "--opinions", "--pairs", "LIST"],
        ("embeddings", "pairs"), lambda workspace, run: not any(workspace.glob(f"pairs/run-{run}-*")),
    )  # fmt: skip
    finish(trial.prepared, "samples", "import", str(write_rows(rows, folder / "rows.jsonl")))
    timed = copy_of(trial.prepared, folder / "timed")
    opened, first, decided, _ = watch(timed, trial.command(timed), [LOG, "embeddings/*/*", "pairs/run-*"])
    trial.plans = (
        at("file.write", *range(1, 9))
        + at("store.commit", 1, 2)
        + [Kill(after=LOG, delay=chance.uniform(0, first - opened)) for _ in range(2)]
        + [Kill(after="embeddings/*/*", delay=chance.uniform(0, decided - first)) for _ in range(8)]
    )
    return trial


def _pair_search(folder: Path, chance: random.Random) -> Trial:
    blocks = 16
    rows = make_rows(blocks * ROWS, RANDOM_SEED + 2)
    trial = Trial(
        folder / "start", ["near-duplicates", "--pairs", "LIST"], ("embeddings", "pairs"),
        lambda workspace, run: any(workspace.glob("pairs/*/*"))
        and not (workspace / f"pairs/run-{run}-edges.npy").exists(),
    )  # fmt: skip
    finish(trial.prepared, "samples", "import", str(write_rows(rows, folder / "rows.jsonl")))
    keep_made_up_vectors(rows, trial.prepared, RANDOM_SEED)
    timed = copy_of(trial.prepared, folder / "timed")
    parts, edges, _ = watch(timed, trial.command(timed), ["pairs/*/*", "pairs/run-*"])
    trial.plans = (
        at("file.write", 1, *chance.sample(range(2, blocks + 1), 3), blocks + 1, blocks + 2)
        + at("store.commit", 1, 2)
        + [Kill(after="pairs/*/*", delay=chance.uniform(0, edges - parts)) for _ in range(12)]
    )
    return trial


def _assembly(folder: Path, chance: random.Random) -> Trial:
    rows = make_rows(8 * BATCH, RANDOM_SEED + 3)
    trial = Trial(
        folder / "start", ["assemble", "v1", "--open", "keep", "--size", str(4 * BATCH)], ("datasets",),
        lambda workspace, run: True,
    )  # fmt: skip
    finish(trial.prepared, "samples", "import", str(write_rows(rows, folder / "rows.jsonl")))
    keep_made_up_vectors(rows, trial.prepared, RANDOM_SEED)
    finish(trial.prepared, "clean")
    finish(trial.prepared, "near-duplicates")
    opened, end = watch(copy_of(trial.prepared, folder / "timed"), trial.words, [LOG])
    trial.plans = (
        at("file.write", 1, 2, 2)
        + at("store.commit", 1, 2, 3, 4, 5)  # how many there are depends on how often progress is written
        + [Kill(after=LOG, delay=chance.uniform(0, end - opened)) for _ in range(12)]
    )
    return trial


PREPARE = dict(zip(STAGES, (_import, _embedding, _drafts, _pair_search, _assembly), strict=True))


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trial]:
    """Give the trial of a stage, prepared once, with the result of an undisturbed run."""
    made: dict[str, Trial] = {}

    def of(stage: str) -> Trial:
        if stage not in made:
            folder = tmp_path_factory.mktemp(stage.replace(" ", "-"))
            chance = random.Random(f"{RANDOM_SEED} {stage}")
            trial = made[stage] = PREPARE[stage](folder, chance)
            assert len(trial.plans) == sum(CHAINS)
            trial.wanted = trial.result(copy_of(trial.prepared, folder / "undisturbed"))
            chance.shuffle(trial.plans)
        return made[stage]

    return of


@pytest.mark.parametrize("chain", range(len(CHAINS)))
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_comes_to_the_same_end(
    stage: str, chain: int, trials: Callable[[str], Trial], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = trials(stage)
    first = sum(CHAINS[:chain])
    workspace = copy_of(trial.prepared, tmp_path / "w0")
    told = []
    for number, planned in enumerate(trial.plans[first : first + CHAINS[chain]]):
        plan, before = planned, lock_left(workspace)
        tries = iter(range(10))
        while not kill(workspace, trial.command(workspace), plan):  # done before the kill came
            attempt = next(tries, None)
            assert attempt is not None, f"{planned} never came in time"
            plan, before = plan.earlier(), None
            workspace = copy_of(trial.prepared, tmp_path / f"w{number}-{attempt}")
        trial.kills += 1
        trial.edges += plan.fault is not None
        run = lock_left(workspace)
        hit = run not in (None, before) and trial.is_hit(workspace, run)
        trial.hits += hit
        told.append(f"{plan}{' (hit)' if hit else ''}")

    found = trial.result(workspace)

    assert_equal_facts(found, trial.wanted)
    assert_clean(workspace)
    with capsys.disabled():
        sys.stdout.write(f"\n{stage} {chain}: killed {', then '.join(told)}\n")


@pytest.mark.parametrize("stage", STAGES)
def test_most_kills_came_during_the_stage(
    stage: str, trials: Callable[[str], Trial], capsys: pytest.CaptureFixture[str]
) -> None:
    trial = trials(stage)
    if trial.kills < sum(CHAINS):
        pytest.skip("counts the kills of the other tests of this file")
    with capsys.disabled():
        sys.stdout.write(f"\n{stage}: {trial.kills} kills, {trial.edges} at failpoints, {trial.hits} hits\n")
    assert trial.hits >= trial.kills / 2
