"""What a run's files say on a screen: states, curves, worst rows, differences."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from curation.workspace import Workspace
from training import run as runs
from training.recipes import settings_of
from training.run_report import (
    POINTS,
    curve,
    differences,
    means,
    newest,
    oldest,
    settings_rows,
    shown_state,
    smoothed,
    summary,
    worst_rows,
)


def frozen(**changes: Any) -> dict[str, Any]:
    return {
        "version": "v1", "sha256": "ab" * 32, "recipe": "practice",
        "settings": asdict(settings_of("practice", None, changes)),
        "base_model": {"name": "practice", "kind": "practice", "location": "x", "adapters": [],
                       "identity": "cd" * 32},
        "versions": {"torch": "2"},
    }  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def run(workspace: Workspace) -> runs.LoraRun:
    return runs.create(workspace, frozen())


MEASURED = [
    {"step": 0, "epoch": 0, "eval_loss": 5.0, "eval_bits_per_byte": 2.5},
    {"step": 1, "epoch": 0.5, "loss": 4.9, "tokens": 100},
    {"step": 2, "epoch": 1.0, "loss": 4.7, "tokens": 210},
    {"step": 2, "epoch": 1.0, "eval_loss": 4.0, "eval_bits_per_byte": 2.0},
]


def test_a_smoothed_curve_follows_and_does_not_begin_at_zero() -> None:
    level = smoothed([{"x": float(n), "y": 5.0} for n in range(20)])
    assert [one["smooth"] for one in level] == pytest.approx([5.0] * 20)
    two = smoothed([{"y": 4.0}, {"y": 2.0}], weight=0.5)
    assert [one["smooth"] for one in two] == pytest.approx([4.0, (0.5 * 0.5 * 4 + 0.5 * 2) / 0.75])
    assert smoothed([]) == []


# --- state ---


def test_a_stopped_run_whose_process_still_ends_offers_no_new_start(run: runs.LoraRun) -> None:
    """A job started now would be taken for the one that ends, and the run would wait for nobody."""
    run.write(runs.RESULT, {"state": runs.STOPPED})
    assert [shown_state(run, job) for job in ("running", "cancelling", "done", None)] == [
        "stopping", "stopping", "stopped", "stopped",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("job", "state"),
    [
        (None, "waiting"), ("queued", "queued"), ("running", "starting"), ("interrupted", "interrupted"),
        ("failed", "failed"), ("cancelled", "cancelled"), ("done", "waiting"),
    ],
)  # fmt: skip
def test_the_job_says_what_becomes_of_a_run_that_nobody_trains(
    run: runs.LoraRun, job: str | None, state: str
) -> None:
    assert shown_state(run, job) == state


def test_the_folder_says_what_became_of_a_run(run: runs.LoraRun) -> None:
    with run.locked():
        assert shown_state(run, "running") == "running"
        run.write(runs.STOP, {"discard": False})
        assert shown_state(run, "running") == "stopping"
    run.write(runs.FAILURE, {"reason": "memory"})
    assert [shown_state(run, job) for job in ("failed", None, "queued")] == ["failed", "failed", "queued"]
    run.write(runs.RESULT, {"state": "finished"})
    assert [shown_state(run, job) for job in ("failed", None, "cancelled")] == ["finished"] * 3


# --- curves ---


def test_a_summary_holds_the_losses_before_and_after(run: runs.LoraRun) -> None:
    told = summary(run, MEASURED)
    assert (told.loss_before, told.loss, told.losses, told.step) == (5.0, 4.0, [4.9, 4.7], 2)
    assert (told.version, told.recipe, told.method, told.base) == ("v1", "practice", "lora", "practice")
    only_base = summary(run, MEASURED[:1])
    assert (only_base.loss_before, only_base.loss, only_base.steps) == (5.0, None, None)


@pytest.mark.parametrize(
    ("axis", "train", "held_out"), [("step", [1, 2], [0, 2]), ("epoch", [0.5, 1], [0, 1]),
                                    ("tokens", [100, 210], [0, 210])]
)  # fmt: skip
def test_curves_lie_on_the_axis_that_was_chosen(axis: str, train: list[float], held_out: list[float]) -> None:
    assert [point["x"] for point in curve(MEASURED, "loss", axis)] == train
    assert [point["x"] for point in curve(MEASURED, "eval_loss", axis)] == held_out
    assert curve(MEASURED, "gpu_memory", axis) == []


def test_a_long_curve_is_drawn_with_few_points_that_keep_its_mean() -> None:
    measured = [{"step": n, "epoch": n / 10, "loss": float(n % 7), "tokens": n} for n in range(7 * POINTS)]
    points = curve(measured, "loss")
    assert len(points) == POINTS
    assert {round(point["y"], 9) for point in points} == {3.0}
    assert means([1.0, 3.0, 5.0], 2) == [2.0, 5.0] and means([], 9) == []


def test_the_first_and_the_last_of_a_measure() -> None:
    assert (oldest(MEASURED, "eval_loss"), newest(MEASURED, "eval_loss")) == (5.0, 4.0)
    assert newest(MEASURED, "nope") is None and oldest([], "loss") is None


# --- rows and settings ---


def test_the_worst_rows_are_those_of_the_last_evaluation(run: runs.LoraRun) -> None:
    assert worst_rows(run) == (None, [])
    (run.folder / "evaluations").mkdir()
    run.write("evaluations/step-0.json", {"step": 0, "loss": {"a": 5.0, "b": 6.0}})
    run.write("evaluations/step-9.json", {"step": 9, "loss": {"a": 4.0, "b": 3.0}})
    run.write("evaluations/step-10.json", {"step": 10, "loss": {"a": 1.0, "b": 2.0, "c": 9.0}})
    step, rows = worst_rows(run, most=2)
    assert step == 10
    assert [(one.id, one.loss, one.before) for one in rows] == [("c", 9.0, None), ("b", 2.0, 6.0)]
    (run.folder / "evaluations/step-10.json").write_text("{")
    assert worst_rows(run) == (10, [])


def test_settings_name_their_source_or_that_they_were_changed(workspace: Workspace) -> None:
    run = runs.create(workspace, frozen(rank=8))
    told = {name: (value, source) for name, value, source in settings_rows(run)}
    assert told["rank"] == ("8", "changed here")
    assert told["alpha"][1].startswith("Platypus") and told["targets"][0] == "gate_proj, up_proj, down_proj"


def test_only_what_differs_is_listed(workspace: Workspace) -> None:
    one = runs.create(workspace, frozen(rank=8))
    other = runs.create(workspace, {**frozen(dropout=0.1), "version": "v2"})
    assert differences(one, other) == [
        ("version", "v1", "v2"), ("rank", "8", "16"), ("dropout", "0.05", "0.1")]  # fmt: skip
    assert differences(one, one) == []
