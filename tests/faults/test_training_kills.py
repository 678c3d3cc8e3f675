"""kill -9 at any moment of training, then on again: weights and curves of an undisturbed run (F55).

30 kills by a seed: while a checkpoint has no manifest yet, at the edge where its manifest gets its name, at
random steps and random moments, and while the result is written. Two or three follow each other before a run
may finish. The stock trainer, killed like this, could not go on in 3 of 12 cases.
"""

import random
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from curation.workspace import Workspace
from tests.lora_workspace import QUICK, VERSION, difference, killable, trained_workspace, weights
from training import checkpoints
from training import run as runs
from training.lora import launch, train
from training.run import LoraRun

pytestmark = pytest.mark.faults

RANDOM_SEED = 55
STEPS = 40
CHANGES = {**QUICK, "max_steps": STEPS, "save_every": 3, "eval_every": 10}
# What each run has to bear, one kill after the other: 30 in 12 runs.
CHAINS = (
    ("unfinished", "unfinished", "unfinished"), ("manifest", "manifest", "manifest"),
    ("moment", "moment", "moment"), ("unfinished", "moment", "manifest"), ("step", "unfinished", "step"),
    ("moment", "manifest", "result"), ("unfinished", "unfinished"), ("manifest", "result"),
    ("moment", "unfinished"), ("step", "moment"), ("moment", "moment"), ("unfinished", "moment"),
)  # fmt: skip
KILLS: list[str] = []
MIDST: list[bool] = []


@pytest.fixture(scope="module")
def workspace(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_workspace(tmp_path_factory.mktemp("kills") / "workspace")


@pytest.fixture(scope="module")
def undisturbed(workspace: Workspace) -> LoraRun:
    run = launch(workspace, VERSION, changes=CHANGES, name="undisturbed")
    train(workspace, run.name)
    return run


def test_there_are_thirty_kills() -> None:
    assert sum(map(len, CHAINS)) == 30


@pytest.mark.parametrize("chain", range(len(CHAINS)))
def test_a_killed_run_comes_to_the_same_end(
    chain: int, workspace: Workspace, undisturbed: LoraRun, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(RANDOM_SEED * 1_000 + chain)
    run = launch(workspace, VERSION, changes=CHANGES, name=f"killed-{chain}")
    told = []
    for kind in CHAINS[chain]:
        before = newest_step(run)
        told.append(kill(workspace, run, kind, chance))
        assert run.state == runs.WAITING
        assert_only_whole_checkpoints_count(run)
        assert newest_step(run) >= before, "a complete checkpoint was lost"

    from_step = newest_step(run)
    result = train(workspace, run.name)

    assert result["state"] == runs.FINISHED and result["steps"] == STEPS
    assert difference(weights(run), weights(undisturbed)) <= 1e-6
    assert curve(run, "loss") == pytest.approx(curve(undisturbed, "loss"), abs=1e-6)
    assert curve(run, "eval_loss") == pytest.approx(curve(undisturbed, "eval_loss"), abs=1e-6)
    assert_steps_rise(run)
    assert not list(run.folder.rglob("*.partial")) and not list(run.folder.glob("result.partial"))
    with capsys.disabled():
        sys.stdout.write(f"\nrun {chain}: killed {', '.join(told)}; last went on from {from_step}\n")


def kill(workspace: Workspace, run: LoraRun, kind: str, chance: random.Random) -> str:
    """Train in a process and kill it as planned. Gives where it was."""
    start, began = newest_step(run), time.time()
    nth = chance.randrange(1, 5)
    fault = f"file.write:kill:{3 + 2 * nth}" if kind == "manifest" else None
    with killable(workspace.folder, run.name, 0.01, fault) as child:
        if kind == "manifest":
            child.ended()
        elif kind == "unfinished":
            wanted = start + chance.randrange(1, 12)
            child.wait_for(lambda: bool(child.unfinished_checkpoints()) and child.step() >= wanted)
        elif kind == "step":
            wanted = min(STEPS - 2, start + chance.randrange(1, 15))
            child.wait_for(lambda: child.step() >= wanted)
        elif kind == "result":
            child.wait_for(lambda: (run.folder / "result.partial").exists() or run.output.exists())
        else:
            child.wait_for(lambda: went_on(run, began))
            time.sleep(chance.uniform(0.0, 0.015 * (STEPS - start)))
        assert child.kill(), f"{kind}: it was done (exit {child.process.exitcode}) before the kill came"
        unfinished = [one.name for one in child.unfinished_checkpoints()]
    KILLS.append(kind)
    MIDST.append(bool(unfinished))
    return f"{kind} at step {child.step()}" + (f" within {unfinished[0]}" if unfinished else "")


def went_on(run: LoraRun, began: float) -> bool:
    """Tell whether the curves were cut at the checkpoint: it is about to train."""
    file = run.folder / runs.MEASUREMENTS
    return file.exists() and file.stat().st_mtime > began


def newest_step(run: LoraRun) -> int:
    newest = checkpoints.newest(run.checkpoints)
    return checkpoints.step_of(newest) if newest else 0


def assert_only_whole_checkpoints_count(run: LoraRun) -> None:
    """Whatever has a manifest is whole: the manifest is written when everything else is on disk."""
    for folder in run.checkpoints.glob(f"{checkpoints.PREFIX}*"):
        assert checkpoints.is_complete(folder) == (folder / checkpoints.MANIFEST).exists(), folder.name


def curve(run: LoraRun, key: str) -> dict[int, Any]:
    return {one["step"]: one[key] for one in run.measurements() if key in one}


def assert_steps_rise(run: LoraRun) -> None:
    lines = (run.folder / runs.MEASUREMENTS).read_text().splitlines()
    assert len(lines) == len(run.measurements())  # no line is cut off
    steps = [one["step"] for one in run.measurements() if "loss" in one]
    assert steps == list(range(1, STEPS + 1))
    assert all(left["step"] <= right["step"] for left, right in pairwise(run.measurements()))


def test_enough_kills_came_within_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    if len(KILLS) < 30:
        pytest.skip("counts the kills of the other tests of this file")
    with capsys.disabled():
        sys.stdout.write(f"\n{len(KILLS)} kills, {sum(MIDST)} of them within a checkpoint without manifest\n")
    assert sum(MIDST) >= 6


def test_a_checkpoint_folder_is_never_taken_by_its_name(
    workspace: Workspace, undisturbed: LoraRun, tmp_path: Path
) -> None:
    """A newer folder that is broken: swept away, and training goes on from the whole one before it."""
    run = launch(workspace, VERSION, changes=CHANGES, name="broken-newest")
    with killable(workspace.folder, run.name, 0.01) as child:
        child.wait_for(lambda: newest_step(run) >= 12)
        child.kill()
    newest = checkpoints.newest(run.checkpoints)
    assert newest is not None
    file = newest / "optimizer.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))

    train(workspace, run.name)

    assert difference(weights(run), weights(undisturbed)) <= 1e-6
    assert_steps_rise(run)
