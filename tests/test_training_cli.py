"""`python -m training`: exit codes, one JSON object on the last line, one clear line for what is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curation.workspace import Workspace
from tests.lora_workspace import QUICK, VERSION, trained_workspace
from tests.workspaces import ROOT
from training import run as runs
from training.cli import main


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_workspace(tmp_path_factory.mktemp("training-cli") / "workspace", 30)


def training(workspace: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run it as a person does, in a process of its own."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("WINNOW_")}
    return subprocess.run(
        [sys.executable, "-m", "training", *words, "--workspace", str(workspace), "--json"],
        cwd=ROOT, env=ours | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def test_a_run_from_the_terminal(workspace: Workspace) -> None:
    changes = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    done = training(workspace.folder, "train", VERSION, "--name", "mine", *changes)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    for key in ("train_loss", "eval_loss"):
        assert isinstance(report[key], float)
    assert report["run"] == "mine" and report["steps"] == 8 and report["trainable_parameters"] == 2_304
    assert (Path(report["adapter"]) / "adapter_model.safetensors").is_file()
    assert "Traceback" not in done.stderr
    assert runs.find(workspace, "mine").state == runs.FINISHED


def in_process(workspace: Workspace, capsys: Any, *words: str) -> tuple[int, dict[str, Any], str]:
    """Run it here, so that torch is loaded once."""
    capsys.readouterr()
    try:
        status = main([*words, "--workspace", str(workspace.folder), "--json"])
    except SystemExit as left:  # argparse
        status = int(left.code or 0)
    out, err = capsys.readouterr()
    return status, json.loads(out.splitlines()[-1]) if status == 0 else {}, err


def test_stop_resume_merge_runs_and_base(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from training.lora import launch

    launch(workspace, VERSION, changes=QUICK, name="second")
    assert in_process(workspace, capsys, "stop", "second")[0] == 0
    status, report, _ = in_process(workspace, capsys, "resume", "second")
    assert (
        status == 0 and report["state"] == runs.FINISHED and report["steps"] == 8
    )  # resume took the stop back

    status, report, _ = in_process(workspace, capsys, "merge", "second", "--to", str(tmp_path / "merged"))
    assert status == 0 and (Path(report["to"]) / "model.safetensors").is_file()

    launch(workspace, VERSION, changes=QUICK, name="third")
    assert in_process(workspace, capsys, "stop", "third", "--discard")[1]["state"] == runs.DISCARDED
    status, report, _ = in_process(workspace, capsys, "runs")
    states = {one["run"]: one["state"] for one in report["runs"]}
    assert status == 0 and states["second"] == runs.FINISHED and states["third"] == runs.DISCARDED

    status, report, _ = in_process(workspace, capsys, "practice-base")
    assert status == 0 and report["unchanged"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "nope"), "nope"),
        (("train", VERSION, "--base-model", "nope"), "There is no base model 'nope'"),
        (("train", VERSION, "--set", "nope=1"), "There is no setting 'nope'"),
        (("train", VERSION, "--set", "rank=x"), "rank 'x' is no whole number"),
        (("train", VERSION, "--set", "rank"), "rank is not SETTING=VALUE"),
        (("train", VERSION, "--recipe", "nope"), "invalid choice"),
        (("resume", "nope"), "There is no run 'nope'"),
        (("train", VERSION, "--processes", "0"), "0 is no number of processes"),
        (("resume", "nope", "--processes", "two"), "two is no number of processes"),
        (("stop", "../nope"), "There is no run"),
        (("merge", "nope", "--to", "x"), "There is no run 'nope'"),
    ],
)
def test_what_does_not_exist_is_told_in_one_line(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    status, _, err = in_process(workspace, capsys, *words)

    assert status == 2 and says in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("winnow:") or "error:" in line]) == 1


def test_a_failure_ends_with_one(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import trainer

    def fail(*given: Any, **options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(trainer.RunTrainer, "compute_loss", fail)
    changes = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    status, _, err = in_process(workspace, capsys, "train", VERSION, "--name", "fails", *changes)

    assert status == 1 and "Memory ran out" in err and "micro_batch" in err
    assert runs.find(workspace, "fails").state == runs.FAILED
