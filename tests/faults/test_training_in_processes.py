"""Several processes by `accelerate launch`, each killed in its turn: who dies, what is left, how it goes on.

Every start of launcher and ranks takes some ten seconds: they load torch anew.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from curation.errors import StageCancelled, WrongInput
from curation.workspace import Workspace
from tests.lora_workspace import QUICK, VERSION, difference, trained_workspace, weights
from tests.workspaces import ROOT
from training import checkpoints, processes
from training import run as runs
from training.lora import launch, train
from training.run import LoraRun, TrainingFailed

pytestmark = pytest.mark.faults

CLOSE = 1e-5  # of a weight: sums of two processes come in another order
# Steps enough to be caught in the midst of them, and dropout on: random states must come back, too.
CHANGES = {**QUICK, "max_steps": 60, "save_every": 5, "eval_every": 20, "learning_rate": 0.001}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    yield trained_workspace(tmp_path_factory.mktemp("processes") / "workspace")
    del os.environ["OMP_NUM_THREADS"]
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def undisturbed(workspace: Workspace) -> LoraRun:
    run = launched(workspace, "undisturbed")
    train(workspace, run.name, number=2)
    return run


def launched(workspace: Workspace, name: str, **changes: Any) -> LoraRun:
    return launch(workspace, VERSION, changes={**CHANGES, **changes}, name=name)


def processes_of(run: LoraRun) -> list[psutil.Process]:
    """Find launcher and ranks of a run, whoever their parent is now."""
    found = []
    for one in psutil.process_iter(["cmdline", "status"]):
        words = one.info["cmdline"] or []
        if "training.rank" in words and run.name in words and str(run.folder.parents[1]) in words:
            found.append(one)
    return found


def ranks_of(run: LoraRun) -> list[psutil.Process]:
    return [one for one in processes_of(run) if "accelerate.commands.launch" not in one.cmdline()]


def wait_until(sign: Callable[[], bool], limit: float = 90.0) -> None:
    end = time.monotonic() + limit
    while not sign():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.01)


def assert_same_end(run: LoraRun, wanted: LoraRun) -> None:
    assert difference(weights(run), weights(wanted)) <= CLOSE
    assert [one["step"] for one in run.measurements() if "loss" in one] == list(range(1, 61))
    assert run.result is not None and run.result["machine"]["notes"] == []
    assert not processes_of(run)


def test_ctrl_c_ends_all_and_resume_goes_on(workspace: Workspace, undisturbed: LoraRun) -> None:
    run = launched(workspace, "ctrl-c")

    def press(doing: str, done: int, total: int) -> None:
        if doing == "training" and done == 12:
            raise KeyboardInterrupt

    with pytest.raises(StageCancelled, match=f"resume {run.name}` goes on from step"):
        train(workspace, run.name, press, 2)
    assert not processes_of(run) and run.state == runs.WAITING

    train(workspace, run.name, number=2)
    assert_same_end(run, undisturbed)


def test_kill_9_of_the_parent_leaves_no_orphan(workspace: Workspace, undisturbed: LoraRun) -> None:
    run = launched(workspace, "parent")
    parent = subprocess.Popen(
        [sys.executable, "-m", "training", "resume", run.name, "--processes", "2", "--workspace",
         str(workspace.folder)],
        cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: runs.last_step(run) >= 8)
    assert len(ranks_of(run)) == 2

    parent.kill()
    parent.wait()

    wait_until(lambda: not processes_of(run), 15)
    step = checkpoints.steps(run.checkpoints)[-1]
    assert 5 <= step < 60 and run.state == runs.WAITING
    train(workspace, run.name, number=2)
    assert_same_end(run, undisturbed)


@pytest.mark.parametrize("victim", ["launcher", 0, 1])
def test_kill_9_of_one_ends_all_with_a_reason(
    workspace: Workspace, undisturbed: LoraRun, victim: int | str
) -> None:
    run = launched(workspace, f"victim-{victim}")
    killed: list[int] = []

    def kill(doing: str, done: int, total: int) -> None:
        if doing == "training" and done == 12 and not killed:
            for one in processes_of(run):
                is_launcher = "accelerate.commands.launch" in one.cmdline()
                if (is_launcher and victim == "launcher") or (
                    not is_launcher and int(one.environ()["RANK"]) == victim
                ):
                    killed.append(one.pid)
                    one.kill()

    began = time.monotonic()
    with pytest.raises(TrainingFailed, match=r"One of the 2 processes ended without a word.*resume"):
        train(workspace, run.name, kill, 2)

    assert len(killed) == 1 and not processes_of(run)
    assert time.monotonic() - began < 90
    assert run.state == runs.FAILED and run.failure is not None
    runs.reopen(workspace, run.name)
    train(workspace, run.name, number=2)
    assert_same_end(run, undisturbed)


def test_what_a_rank_refuses_is_told_as_by_a_single_process(workspace: Workspace) -> None:
    run = launched(workspace, "no-targets", targets="nope")
    with pytest.raises(WrongInput, match="targets nope: this model has no such modules"):
        train(workspace, run.name, number=2)
    assert run.state == runs.FAILED and not processes_of(run)

    # Decay so strong that weights leave what a float holds.
    run = launched(workspace, "nan", method="full", weight_decay=1e30, max_grad_norm=0.0, warm_up_steps=0)
    with pytest.raises(
        TrainingFailed, match=r"at step \d+\. The last good weights are those of.*lower learning"
    ):
        train(workspace, run.name, number=2)
    assert run.state == runs.FAILED and not run.output.exists() and not processes_of(run)


def test_a_stop_is_obeyed_by_all_at_the_same_step(workspace: Workspace) -> None:
    run = launched(workspace, "stop")

    def stop(doing: str, done: int, total: int) -> None:
        if doing == "training" and done == 12:
            runs.stop(workspace, run.name)

    result = train(workspace, run.name, stop, 2)

    assert result["state"] == runs.STOPPED and 12 <= result["steps"] < 60
    newest = checkpoints.newest(run.checkpoints)
    assert newest is not None and checkpoints.step_of(newest) == result["steps"]
    assert checkpoints.processes_of(newest) == 2


def test_a_parent_killed_while_its_ranks_load_leaves_none(workspace: Workspace, tmp_path: Path) -> None:
    run = launched(workspace, "early")
    parent = subprocess.Popen(
        [sys.executable, "-m", "training", "resume", run.name, "--processes", "2", "--workspace",
         str(workspace.folder)],
        cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: bool(processes_of(run)))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not processes_of(run), 30)
    processes.wait_for_dying(run, lambda *said: None)
