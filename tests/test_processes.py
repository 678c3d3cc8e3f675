"""Several processes as one: the rows of a step, what comes out, stops and resumes; who may be how many.

Ranks are forked from a server that has torch loaded, so that a pair takes two seconds; one test goes through
`accelerate launch` itself. `make faults` kills parent, launcher and ranks (tests/faults).
"""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from curation.errors import SourceUnavailable, WrongInput
from curation.workspace import Workspace
from tests.lora_workspace import LOADED, QUICK, VERSION, difference, trained_workspace, weights
from training import checkpoints, processes, rank
from training import run as runs
from training.launch_card import card
from training.lora import launch, train, train_in_team
from training.processes import Plan, planned
from training.recipes import RECIPES, Settings, settings_of
from training.run import LoraRun, TrainingFailed
from training.team import Onlooker, Team
from training.trainer import BLANK, Rows, Share

CLOSE = 1e-5  # of a weight: gradients of two processes are summed in another order


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """55 rows, 44 to train on: the epoch of batch 6 ends with a step of 2 rows."""
    return trained_workspace(tmp_path_factory.mktemp("processes") / "workspace", 55)


def launched(workspace: Workspace, name: str, **changes: Any) -> LoraRun:
    return launch(workspace, VERSION, changes={**QUICK, **changes}, name=name)


# --- how many ---


@pytest.mark.parametrize(
    ("batch", "micro_batch", "given", "gpus", "number", "note"),
    [
        (16, 1, None, 0, 1, None),  # no GPU: one, as ever
        (16, 1, None, 1, 1, None),
        (16, 1, None, 8, 8, None),
        (16, 1, 2, 8, 2, None),
        (
            16,
            4,
            None,
            8,
            4,
            "Trains in 4 processes, not 8: a step of batch 16 is 4 times micro_batch 4, which 8",
        ),
        (12, 1, None, 8, 6, "a step of batch 12 is 12 times micro_batch 1, which 8 cannot share evenly"),
        (4, 4, 2, 0, 1, "Trains in 1 process, not 2: a step of batch 4 is 1 times micro_batch 4, which 2"),
        (16, 1, 4, 2, 2, "Trains in 2 processes, not 4: there are 2 GPUs"),
        (16, 1, 4, 0, 4, None),  # without a GPU as many as a person wants
        (16, 1, 10**12, 0, 16, "not 1000000000000"),
    ],
)
def test_the_number_shares_a_batch_evenly_or_says_why_it_is_less(
    batch: int, micro_batch: int, given: int | None, gpus: int, number: int, note: str | None
) -> None:
    plan = planned(Settings(batch=batch, micro_batch=micro_batch), given, gpus)

    assert (plan.number, plan.on_gpus) == (number, gpus > 0)
    assert batch % (micro_batch * number) == 0
    assert plan.note is None if note is None else note in str(plan.note)


def test_the_environment_names_the_number_and_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes.VARIABLE, "4")
    assert planned(Settings(), None, 0).number == 4
    assert planned(Settings(), 2, 0).number == 2
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv(processes.VARIABLE, wrong)
        with pytest.raises(WrongInput, match=f"WINNOW_PROCESSES '{wrong}' is no number of processes"):
            planned(Settings(), None, 0)
    with pytest.raises(WrongInput, match="processes 0 must be at least 1"):
        planned(Settings(), 0, 0)


@pytest.mark.parametrize(
    ("visible", "number"), [(None, 3), ("0,2", 2), ("", 0), ("-1", 0), ("1,-1,2", 1), ("0,1,2,3,4", 3)]
)
def test_gpus_are_those_of_nvidia_smi_that_cuda_may_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, number: int
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nfor n in 1 2 3; do echo 'A GPU, 81559, 80000'; done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert processes.visible_gpus() == number


def test_gpus_that_torch_cannot_use_are_not_counted(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's CPU build beside two GPUs: one process, as without them."""
    if torch.cuda.is_available():
        pytest.skip("torch has CUDA here")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nfor n in 1 2; do echo 'A GPU, 81559, 80000'; done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    result = train(workspace, launched(workspace, "no-cuda", max_steps=1).name)

    assert result["machine"]["processes"] == 1 and result["machine"]["notes"] == []


def test_a_single_process_says_that_it_is_fewer(workspace: Workspace) -> None:
    shown: list[str] = []
    run = launched(workspace, "fewer", micro_batch=4, max_steps=1)

    result = train(workspace, run.name, lambda what, done, total: shown.append(what), 2)

    (note,) = result["machine"]["notes"]
    assert note.startswith("Trains in 1 process, not 2") and note in shown
    assert result["machine"]["processes"] == 1 and not (run.folder / processes.LOG).exists()


def test_the_launch_card_tells_of_several(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    from training.base_model import look_up
    from training.launch_card import _processes_notes

    assert _processes_notes(Plan(2, True)) == ["Trains on 2 GPUs at once by accelerate launch."]
    assert _processes_notes(Plan(1, True)) == _processes_notes(Plan(1, False)) == []

    manifest = {"report": {"rows": 50, "validation": 5, "contamination_checked": True}, "benchmarks": {}}
    base = look_up(workspace, "practice")
    monkeypatch.setenv(processes.VARIABLE, "2")
    notes = card(manifest, RECIPES["practice"], settings_of("practice"), base, 0).notes
    assert "Trains in 2 processes at once by accelerate launch." in notes
    monkeypatch.delenv(processes.VARIABLE)
    if not processes.visible_gpus():
        notes = card(manifest, RECIPES["practice"], settings_of("practice"), base, 0).notes
        assert not [note for note in notes if "accelerate" in note]


# --- which rows ---


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("rows", [1, 5, 44, 48])
def test_a_step_sees_the_rows_of_a_single_process(rows: int, size: int) -> None:
    """In every epoch, the last, shorter step included; and every process has as many micro-batches."""
    settings = Settings(batch=12, micro_batch=2, random_seed=5)

    def steps(team: Team, epoch: int) -> list[list[list[int]]]:
        share = Share(Rows([None] * rows), settings, team)  # type: ignore[list-item]
        share.set_epoch(epoch)
        batches, each = list(share), settings.batch // settings.micro_batch // team.size
        assert len(batches) == len(share)
        return [batches[n : n + each] for n in range(0, len(batches), each)]

    for epoch in (0, 1):
        wanted = [[row for batch in step for row in batch] for step in steps(Team(), epoch)]
        ranks = [steps(Team(rank, size), epoch) for rank in range(size)]
        assert len({sum(map(len, one)) for one in ranks}) == 1
        found = [[row for one in ranks for batch in one[n] for row in batch] for n in range(len(ranks[0]))]
        blanks = [[row for row in step if row == BLANK] for step in found]
        assert [sorted(set(step) - {BLANK}) for step in found] == [sorted(step) for step in wanted]
        assert not any(blanks[:-1])  # only the last step may be short of rows
    assert steps(Team(), 0) != steps(Team(), 1) or rows == 1


def test_an_onlooker_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"a": 1}')
    run = Onlooker(tmp_path)

    run.write("result.json", {})
    run.measure(step=1)
    run.forget_after(0)

    assert [one.name for one in tmp_path.iterdir()] == ["settings.json"] and run.frozen == {"a": 1}


# --- two processes for real ---


def as_rank(
    folder: Path, name: str, number: int, size: int, port: int, stop_at: int, break_at: int, said: Any
) -> None:
    """Train as one of several, without the launcher: what `training.rank` does after it has begun."""
    from training import trainer

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    compute = trainer.RunTrainer.compute_loss

    def compute_loss(self: Any, *given: Any, **options: Any) -> Any:
        loss = compute(self, *given, **options)
        if number == size - 1 and self.state.global_step + 1 == break_at:  # in one of them only
            return loss * float("nan")
        return loss

    def show(what: str, done: int, total: int) -> None:
        if number == 0 and what == "training" and done == stop_at:
            runs.stop(Workspace(folder), name)

    trainer.RunTrainer.compute_loss = compute_loss
    try:
        train_in_team(Workspace(folder), name, Team.of_environment(), show, [])
        torch.distributed.destroy_process_group()
    except BaseException as error:
        said.put(rank._failure(error))
        said.close()
        said.join_thread()
        os._exit(1)


def together(run: LoraRun, size: int = 2, stop_at: int = -1, break_at: int = -1) -> list[dict[str, Any]]:
    """Train a run in several processes. Gives what they refused for."""
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = context.Queue()
    given = (run.folder.parents[1], run.name)
    ranks = [
        context.Process(target=as_rank, args=(*given, n, size, port, stop_at, break_at, said), daemon=True)
        for n in range(size)
    ]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(120)
        assert one.exitcode is not None, "it hangs"
    refused = []
    for one in ranks:
        if one.exitcode:
            refused.append(said.get(timeout=10))
    return refused


def assert_curves_agree(run: LoraRun, wanted: LoraRun) -> None:
    """Each step once, and like those of the other; a stop measured held-out rows once more."""
    for key in ("loss", "eval_loss", "tokens", "grad_norm", "learning_rate"):
        found = [(one["step"], one[key]) for one in run.measurements() if key in one]
        curve = {one["step"]: one[key] for one in wanted.measurements() if key in one}
        steps = [step for step, _ in found]
        assert steps == sorted(set(steps)) and set(curve) <= set(steps), key
        assert key == "eval_loss" or set(curve) == set(steps), key
        for step, value in found:
            assert step not in curve or value == pytest.approx(curve[step], abs=1e-5), (key, step)


def test_two_processes_come_to_the_weights_of_one(workspace: Workspace) -> None:
    """Nine steps: an epoch of eight, whose last has fewer rows, and one of the next."""
    changes = {"dropout": 0.0, "batch": 6, "micro_batch": 1, "max_steps": 9, "eval_every": 3}
    alone, pair = (launched(workspace, name, **changes) for name in ("alone", "pair"))
    train(workspace, alone.name, number=1)

    assert together(pair) == []

    assert pair.result is not None and alone.result is not None
    assert pair.result["machine"]["processes"] == 2
    assert difference(weights(pair), weights(alone)) <= CLOSE
    assert_curves_agree(pair, alone)
    assert pair.result["eval_loss"] == pytest.approx(alone.result["eval_loss"], abs=1e-6)
    newest = checkpoints.newest(pair.checkpoints)
    assert newest is not None and checkpoints.processes_of(newest) == 2
    manifest = (newest / checkpoints.MANIFEST).read_text()
    assert "rng_state_0.pth" in manifest and "rng_state_1.pth" in manifest
    assert not list(pair.folder.rglob("training_args.bin"))


@pytest.fixture(scope="module")
def stopped(workspace: Workspace) -> LoraRun:
    """A run with dropout that two processes stopped after its fifth step."""
    run = launched(workspace, "stopped")
    assert together(run, stop_at=5) == []
    return run


def test_a_stop_is_obeyed_and_two_go_on_as_if_nothing_had_been(
    workspace: Workspace, stopped: LoraRun
) -> None:
    assert stopped.result is not None and stopped.result["steps"] == 5
    assert stopped.state == runs.STOPPED and checkpoints.steps(stopped.checkpoints)[-1] == 5
    undisturbed = launched(workspace, "undisturbed")
    assert together(undisturbed) == []
    again = copied(stopped, "again")
    runs.reopen(workspace, again.name)

    assert together(again) == []

    # Dropout is on: both random states came back.
    assert difference(weights(again), weights(undisturbed)) <= CLOSE
    assert_curves_agree(again, undisturbed)
    assert again.result is not None and again.result["machine"]["notes"] == []
    assert again.settings.dropout > 0


def test_processes_do_not_drop_the_same_of_their_rows() -> None:
    drawn = []
    with torch.random.fork_rng():
        for number in (0, 1):
            Team(number, 2).spread_chance(5)
            drawn.append(torch.rand(4).tolist())
    assert drawn[0] != drawn[1]


def copied(run: LoraRun, name: str) -> LoraRun:
    import shutil

    return LoraRun(Path(shutil.copytree(run.folder, run.folder.with_name(name))))


def test_another_number_goes_on_and_says_so(workspace: Workspace, stopped: LoraRun) -> None:
    one = copied(stopped, "as-one")
    runs.reopen(workspace, one.name)

    result = train(workspace, one.name, number=1)

    assert result["state"] == runs.FINISHED and result["steps"] == 8
    (note,) = result["machine"]["notes"]
    assert note.startswith("Goes on in 1 process from a checkpoint written by 2")
    assert [m["step"] for m in one.measurements() if "loss" in m] == list(range(1, 9))


def test_a_loss_that_is_no_number_in_one_process_ends_all(workspace: Workspace) -> None:
    run = launched(workspace, "nan")

    refused = together(run, break_at=5)

    kinds = {one["kind"] for one in refused}
    assert len(refused) == 2 and "TrainingFailed" in kinds and kinds <= {"TrainingFailed", processes.LOST}
    (message, *_) = [one["message"] for one in refused if one["kind"] == "TrainingFailed"]
    assert "is nan at step 5" in message and "those of step 3" in message
    assert checkpoints.steps(run.checkpoints) == [3] and not run.output.exists()


# --- what is passed on ---


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TrainingFailed("Memory ran out at step 4"), TrainingFailed),
        (WrongInput("targets nope"), WrongInput),
        (SourceUnavailable("no hub"), SourceUnavailable),
        (ValueError("a mistake"), RuntimeError),
    ],
)
def test_the_parent_raises_what_a_rank_raised(
    error: Exception, again: type[Exception], tmp_path: Path
) -> None:
    found = processes._raised(rank._failure(error), tmp_path / "processes.log")

    assert type(found) is again and str(error) in str(found)


def test_a_full_disk_is_told_with_its_file() -> None:
    found = processes._raised(rank._failure(OSError(28, "No space left on device", "/x")), Path("log"))
    assert isinstance(found, OSError) and (found.errno, found.filename) == (28, "/x")
    lost = rank._failure(
        RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]")
    )
    assert lost["kind"] == processes.LOST


@pytest.mark.faults  # half a minute, nearly all of it torch being loaded four times
def test_accelerate_launch_trains_a_run_to_its_end(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real thing: launcher, two ranks, and what they say; nothing of them is left."""
    import psutil

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = launched(workspace, "launched")
    steps: list[int] = []

    def show(what: str, done: int, total: int) -> None:
        if what == "training":
            steps.append(done)

    result = train(workspace, run.name, show, 2)

    assert result["state"] == runs.FINISHED and result["machine"]["processes"] == 2
    assert steps == list(range(9))
    assert [m["step"] for m in run.measurements() if "loss" in m] == list(range(1, 9))
    with suppress(psutil.Error):
        left = [one for one in psutil.Process().children(recursive=True) if "training.rank" in one.cmdline()]
        assert not left
    assert "Traceback" not in (run.folder / processes.LOG).read_text()
