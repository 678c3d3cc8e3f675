"""A run as a folder: what it says of itself, two clicks, stopping, broken checkpoints."""

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation.errors import WrongInput
from curation.workspace import Workspace
from training import checkpoints
from training import run as runs

FROZEN: dict[str, Any] = {
    "version": "v1", "sha256": "00", "recipe": "practice", "settings": {"method": "lora"},
    "base_model": {"name": "practice", "kind": "practice", "location": "x", "adapters": [], "identity": ""},
    "versions": {},
}  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_two_clicks_make_one_run_until_it_is_over(workspace: Workspace) -> None:
    first, second = runs.create(workspace, FROZEN), runs.create(workspace, FROZEN)
    assert first.name == second.name == "v1-practice-1"

    other = runs.create(workspace, {**FROZEN, "settings": {"method": "full"}})
    assert other.name == "v1-practice-2"

    first.write(runs.RESULT, {"state": runs.FINISHED})
    assert runs.create(workspace, FROZEN).name == "v1-practice-3"
    assert [one.name for one in runs.runs(workspace)] == ["v1-practice-3", "v1-practice-2", "v1-practice-1"]


def test_a_run_that_was_asked_to_stop_is_nobodys_next_one(workspace: Workspace) -> None:
    first = runs.create(workspace, FROZEN)
    runs.stop(workspace, first.name)
    assert runs.create(workspace, FROZEN).name != first.name


def test_clicks_at_once_make_one_run(workspace: Workspace) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        names = pool.starmap(_created, [(workspace.folder,)] * 16)

    assert set(names) == {"v1-practice-1"}


def _created(folder: Path) -> str:
    return runs.create(Workspace(folder), FROZEN).name


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 90, "a b"])
def test_a_name_that_cannot_be_a_folder_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(WrongInput):
        runs.create(workspace, FROZEN, name or "/")
    with pytest.raises(WrongInput, match="There is no run"):
        runs.find(workspace, name)
    assert not list(workspace.folder.parent.glob("x/settings.json"))


def test_a_taken_name_is_refused(workspace: Workspace) -> None:
    runs.create(workspace, FROZEN, "mine").write(runs.RESULT, {"state": runs.FINISHED})

    with pytest.raises(WrongInput, match="a run 'mine' already"):
        runs.create(workspace, FROZEN, "mine")


def _hold(folder: Path, started: Any, go: Any) -> None:
    with runs.LoraRun(folder).locked() as ours:
        assert ours
        started.set()
        go.wait(30)


@pytest.fixture
def held(workspace: Workspace) -> Iterator[runs.LoraRun]:
    """A run that another process trains."""
    run = runs.create(workspace, FROZEN)
    context = multiprocessing.get_context("fork")
    started, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(run.folder, started, go))
    process.start()
    assert started.wait(30)
    yield run
    process.kill()
    process.join()


def test_the_state_follows_the_lock_and_the_files(workspace: Workspace, held: runs.LoraRun) -> None:
    assert held.state == runs.RUNNING
    with held.locked() as ours:
        assert not ours
    with pytest.raises(WrongInput, match="is running; only a stopped"):
        runs.reopen(workspace, held.name)


def test_a_killed_process_leaves_a_waiting_run(workspace: Workspace) -> None:
    run = runs.create(workspace, FROZEN)
    context = multiprocessing.get_context("fork")
    started, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(run.folder, started, go))
    process.start()
    assert started.wait(30) and run.state == runs.RUNNING
    process.kill()
    process.join()

    assert run.state == runs.WAITING
    run.write(runs.FAILURE, {"reason": "memory"})
    assert run.state == runs.FAILED
    assert runs.reopen(workspace, run.name).state == runs.WAITING


def test_stop_asks_a_running_run_and_ends_one_that_nobody_trains(
    workspace: Workspace, held: runs.LoraRun
) -> None:
    runs.stop(workspace, held.name, discard=True)
    assert held.asked_to_stop() is not None and held.state == runs.RUNNING

    idle = runs.create(workspace, {**FROZEN, "recipe": "magicoder"})
    idle.checkpoints.mkdir()
    idle.measure(step=3, loss=1.0)
    runs.stop(workspace, idle.name, discard=True)
    assert idle.state == runs.DISCARDED and not idle.checkpoints.exists()
    assert idle.measurements()[0]["loss"] == 1.0  # curves stay
    with pytest.raises(WrongInput, match="is over"):
        runs.stop(workspace, idle.name)


def test_steps_only_rise_after_a_return_to_a_checkpoint(workspace: Workspace) -> None:
    run = runs.create(workspace, FROZEN)
    for step in range(1, 8):
        run.measure(step=step, loss=float(step))
        if step % 2 == 0:
            run.write(f"evaluations/step-{step}.json", {"step": step})
    with (run.folder / runs.MEASUREMENTS).open("a") as out:
        out.write('{"step": 8, "lo')  # a kill cut it off

    run.forget_after(4)
    run.measure(step=5, loss=50.0)

    assert [(one["step"], one["loss"]) for one in run.measurements()] == [
        (1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 50.0),
    ]  # fmt: skip
    assert sorted(one.name for one in (run.folder / "evaluations").iterdir()) == [
        "step-2.json",
        "step-4.json",
    ]


def test_a_damaged_settings_file_is_named(workspace: Workspace) -> None:
    run = runs.create(workspace, FROZEN)
    (run.folder / runs.SETTINGS).write_bytes(b"{")

    with pytest.raises(WrongInput, match=r"settings\.json cannot be read"):
        _ = run.frozen


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "cannot be read"),
        (b"[]", "lacks version, sha256"),
        (json.dumps({**FROZEN, "settings": {}}).encode(), "lacks 'method'"),
        (json.dumps({**FROZEN, "recipe": "of-tomorrow"}).encode(), "There is no recipe 'of-tomorrow'"),
        (json.dumps({**FROZEN, "settings": {"method": "lora", "x": 1}}).encode(), "no setting 'x'"),
    ],
)
def test_one_damaged_run_does_not_hide_the_others(workspace: Workspace, content: bytes, told: str) -> None:
    sound, broken = runs.create(workspace, FROZEN), runs.create(workspace, FROZEN, "broken")
    (broken.folder / runs.SETTINGS).write_bytes(content)

    assert [one.name for one in runs.runs(workspace)] == [sound.name]
    (line,) = runs.damaged(workspace)
    assert told in line and "\n" not in line
    with pytest.raises(WrongInput) as refused:
        runs.find(workspace, "broken")
    assert str(refused.value) == line
    assert runs.create(workspace, FROZEN).name == sound.name  # and a click still gives the same run


WHOLE: dict[str, Any] = {
    split: dict.fromkeys(("rows", "tokens", "learned_tokens", "cut", "infilling", "median", "longest"), 1)
    | {"unusable": {}}
    for split in ("train", "validation")
} | {"steps": 3}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (runs.DATA, b"{"), (runs.DATA, b"{}"), (runs.DATA, b"[1]"), (runs.DATA, b"[" * 100_000),
        (runs.DATA, json.dumps({**WHOLE, "steps": "many"}).encode()),
        (runs.RESULT, b'{"x": 1}'), (runs.RESULT, b'{"state": "odd"}'), (runs.RESULT, b'{"state'),
        (runs.FAILURE, b"{}"), (runs.FAILURE, b"\xff"), (runs.STOP, b"{}"),
        (runs.SETTINGS, json.dumps({**FROZEN, "base_model": "x"}).encode()),
        (runs.SETTINGS, json.dumps({**FROZEN, "base_model": {}}).encode()),
        (runs.SETTINGS, json.dumps({**FROZEN, "versions": 3}).encode()),
        (runs.SETTINGS, b"[" * 100_000),
    ],
)  # fmt: skip
def test_any_damaged_file_of_a_run_is_named_and_hides_no_other(
    workspace: Workspace, name: str, content: bytes
) -> None:
    sound, broken = runs.create(workspace, FROZEN, "sound"), runs.create(workspace, FROZEN, "broken")
    sound.write(runs.DATA, WHOLE)
    (broken.folder / name).write_bytes(content)
    assert [one.name for one in runs.runs(workspace)] == ["sound"]
    (line,) = runs.damaged(workspace)
    assert f"broken/{name}" in line and "\n" not in line


def test_measurements_of_another_kind_are_passed_over(workspace: Workspace) -> None:
    run = runs.create(workspace, FROZEN)
    run.measure(step=1, loss=4.0)
    with (run.folder / runs.MEASUREMENTS).open("ab") as out:
        out.write(b'5\n[]\n{"loss": 1}\n{"step": 2, "loss": "x"}\n\xff\xfe\n' + b"[" * 100_000 + b"\n")
    run.measure(step=2, loss=3.0)
    assert [(one["step"], one["loss"]) for one in run.measurements()] == [(1, 4.0), (2, 3.0)]


@pytest.mark.parametrize("name", ["a b", "<b>x", "bad\udcff", "\x1b[31m"])
def test_a_folder_that_no_run_can_have_is_told_of(workspace: Workspace, name: str) -> None:
    sound = runs.create(workspace, FROZEN)
    folder = workspace.folder / "runs" / name
    folder.mkdir()
    (folder / runs.SETTINGS).write_text(json.dumps(FROZEN))
    assert [one.name for one in runs.runs(workspace)] == [sound.name]
    (line,) = runs.damaged(workspace)
    assert "rename the folder" in line and line.isprintable()


# --- checkpoints ---


def checkpoint(folder: Path, step: int, whole: bool = True) -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "adapter_model.safetensors").write_bytes(bytes([step]) * 500)
    (made / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    if whole:
        checkpoints.complete(made)
    return made


def test_only_a_whole_checkpoint_counts(tmp_path: Path) -> None:
    checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 20)
    checkpoint(tmp_path, 30, whole=False)

    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-20"
    assert checkpoints.steps(tmp_path) == [10, 20]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    checkpoint(tmp_path, 5)
    file = checkpoint(tmp_path, 10) / "adapter_model.safetensors"
    if damage == "flip":
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "remove":
        file.unlink()
    else:
        (file.parent / checkpoints.MANIFEST).write_text("{")

    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-5"


def test_steps_are_ordered_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        checkpoint(tmp_path, step)

    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-100"


def test_prune_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    made = {step: checkpoint(tmp_path, step) for step in (10, 20, 30, 40)}

    checkpoints.prune(tmp_path, 2, besides=made[10])

    assert checkpoints.steps(tmp_path) == [10, 30, 40]


def test_broken_ones_are_swept_away(tmp_path: Path) -> None:
    checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 20, whole=False)
    broken = checkpoint(tmp_path, 30)
    (broken / "adapter_model.safetensors").write_bytes(b"")

    checkpoints.sweep(tmp_path)
    checkpoints.drop_after(tmp_path, checkpoints.newest(tmp_path))

    assert sorted(one.name for one in tmp_path.iterdir()) == ["checkpoint-10"]
