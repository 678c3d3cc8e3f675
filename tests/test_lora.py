"""Training for real, with a tiny base on CPU: what comes out, what a bad end leaves, what a resume equals."""

import json
import math
import random
import shutil
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from curation.errors import CurationError, StageCancelled, WrongInput
from curation.workspace import Workspace
from tests.lora_workspace import (
    QUICK,
    TINY,
    VERSION,
    difference,
    freeze,
    infilling_rows,
    killable,
    rows,
    trained_workspace,
    weights,
)
from training import base_model, checkpoints, lora, trainer
from training import run as runs
from training.base_model import BaseModel
from training.format import IGNORED, encode, prepare
from training.lora import launch, train
from training.merge import _dtype_of, merge
from training.run import LoraRun, TrainingFailed

EXACT = 1e-6  # of a weight; the same steps in the same order differ by nothing at all
LONGER = {"max_steps": 30, "save_every": 10, "eval_every": 10}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Base and version, made once; every test names its own runs."""
    return trained_workspace(tmp_path_factory.mktemp("lora") / "workspace")


@pytest.fixture
def own(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may break."""
    return Workspace(shutil.copytree(workspace.folder, tmp_path / "workspace"))


@pytest.fixture(scope="module")
def undisturbed(workspace: Workspace) -> LoraRun:
    """A run of eight steps that nothing disturbed; others must come to the same weights."""
    return trained(workspace, "undisturbed")


@pytest.fixture(scope="module")
def finished(workspace: Workspace) -> LoraRun:
    """A run of thirty steps, enough to learn something."""
    return trained(workspace, "finished", **LONGER)


def trained(workspace: Workspace, name: str, **changes: Any) -> LoraRun:
    run = launched(workspace, name, **changes)
    train(workspace, run.name)
    return run


def launched(workspace: Workspace, name: str, **changes: Any) -> LoraRun:
    return launch(workspace, VERSION, changes={**QUICK, **changes}, name=name)


def interrupt_at(step: int) -> Any:
    """Give a `show` that presses Ctrl-C once, in a step."""
    left = iter([step])

    def show(doing: str, done: int, total: int) -> None:
        if doing == "training" and done == step and next(left, None) is not None:
            raise KeyboardInterrupt

    return show


def stop_at(workspace: Workspace, name: str, step: int, discard: bool = False) -> Any:
    """Give a `show` that asks for a stop in a step, as another process would."""

    def show(doing: str, done: int, total: int) -> None:
        if doing == "training" and done == step:
            runs.stop(workspace, name, discard)

    return show


def assert_every_step_once(run: LoraRun, steps: int) -> None:
    assert [one["step"] for one in run.measurements() if "loss" in one] == list(range(1, steps + 1))


def assert_same_end(run: LoraRun, wanted: LoraRun) -> None:
    """Weights, curves and figures of a run that was disturbed equal those of one that was not."""
    assert difference(weights(run), weights(wanted)) <= EXACT
    for key in ("loss", "eval_loss", "tokens"):
        curve = {one["step"]: one[key] for one in run.measurements() if key in one}
        for one in wanted.measurements():
            if key in one:
                assert curve[one["step"]] == pytest.approx(one[key], abs=1e-6), (key, one["step"])
    assert run.result is not None and wanted.result is not None
    for key in ("steps", "eval_loss", "eval_loss_before", "train_loss", "bits_per_byte"):
        assert run.result[key] == pytest.approx(wanted.result[key], abs=1e-6)


# --- what comes out ---


def test_a_run_learns_and_leaves_an_adapter_that_peft_loads(workspace: Workspace, finished: LoraRun) -> None:
    result = finished.result
    assert result is not None and finished.state == runs.FINISHED
    assert result["eval_loss"] < result["eval_loss_before"] - 0.2
    assert result["bits_per_byte"] < result["bits_per_byte_before"]
    # Nats a token and bits a byte are one loss in two units.
    held_out = finished.data["validation"]
    bits = result["eval_loss"] / math.log(2) * held_out["learned_tokens"] / held_out["learned_bytes"]
    assert result["bits_per_byte"] == pytest.approx(bits)
    assert_every_step_once(finished, 30)

    from peft import PeftModel

    model = PeftModel.from_pretrained(base(finished), result["adapter"])
    assert held_out_loss(finished, model) == pytest.approx(result["eval_loss"], abs=1e-5)
    assert held_out_loss(finished, base(finished)) == pytest.approx(result["eval_loss_before"], abs=1e-5)


def base(run: LoraRun) -> Any:
    return base_model.load_model(BaseModel.of(run.frozen["base_model"]), run.settings, "float32")


def examples(run: LoraRun, split: str) -> list[Any]:
    """Read and tokenise the rows of a split anew."""
    file = run.folder.parents[1] / "datasets" / run.frozen["version"] / "rows.jsonl"
    chosen = [one for one in map(json.loads, file.read_text().splitlines()) if one["split"] == split]
    tokenizer = base_model.load_tokenizer(BaseModel.of(run.frozen["base_model"]))
    return prepare(chosen, tokenizer, run.settings.template, run.settings.cutoff).examples


def held_out_loss(run: LoraRun, model: Any) -> float:
    """Compute the loss with transformers' own, row by row, weighted by tokens: no code of ours."""
    total, tokens = 0.0, 0
    model.eval()
    for one in examples(run, "validation"):
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([one.ids]), labels=torch.tensor([one.labels])).loss
        learned = sum(label != IGNORED for label in one.labels[1:])
        total, tokens = total + float(loss) * learned, tokens + learned
    return total / tokens


def test_every_held_out_row_has_its_loss(workspace: Workspace, finished: LoraRun) -> None:
    kept = json.loads((finished.folder / "evaluations" / "step-30.json").read_text())

    assert kept["loss"].keys() == {one.id for one in examples(finished, "validation")}
    assert finished.result is not None
    learned = {one.id: one.learned for one in examples(finished, "validation")}
    mean = sum(kept["loss"][id] * number for id, number in learned.items()) / sum(learned.values())
    assert mean == pytest.approx(finished.result["eval_loss"], abs=1e-4)


def test_a_moved_workspace_keeps_its_runs(workspace: Workspace, finished: LoraRun, tmp_path: Path) -> None:
    """Its runs name folders as they were; the base is looked for where the workspace lies now."""
    moved = Workspace(tmp_path / "moved")
    shutil.copytree(workspace.folder / "models", moved.folder / "models", dirs_exist_ok=True)
    shutil.copytree(finished.folder, moved.folder / "runs" / finished.name)
    found = base_model.of_run(moved, runs.find(moved, finished.name))
    assert Path(found.location).is_relative_to(moved.folder)
    later = base_model.look_up(moved, finished.name)
    assert Path(later.location).is_relative_to(moved.folder)
    assert later.identity == base_model.look_up(workspace, finished.name).identity


def test_the_merged_model_computes_what_base_and_adapter_compute(
    workspace: Workspace, finished: LoraRun, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    report = merge(workspace, finished.name, tmp_path / "merged")

    ids = torch.tensor([examples(finished, "validation")[0].ids])
    plain = base(finished).eval()
    with torch.no_grad():
        before = plain(input_ids=ids).logits
        wanted = PeftModel.from_pretrained(plain, str(finished.output)).eval()(input_ids=ids).logits
        found = AutoModelForCausalLM.from_pretrained(report["to"]).eval()(input_ids=ids).logits
    assert float((found - wanted).abs().max()) <= 1e-5
    assert float((found - before).abs().max()) > 1e-2  # and the adapter does something
    assert report["parameters"] == sum(one.numel() for one in base(finished).parameters())
    with pytest.raises(WrongInput, match="is not empty and holds no merged model"):
        merge(workspace, finished.name, workspace.folder)
    merge(workspace, finished.name, tmp_path / "merged")  # a merged model may be written anew


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "bfloat16"}, torch.bfloat16),
        ({"torch_dtype": "float16"}, torch.float16),  # as transformers wrote it before version 5
        ({}, torch.float32),
        ({"dtype": "int8"}, torch.float32),
        ({"dtype": "save"}, torch.float32),
    ],
)
def test_a_merged_model_is_kept_as_its_base_is(
    config: dict[str, str], dtype: torch.dtype, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    assert _dtype_of(BaseModel("x", "folder", str(tmp_path))) == dtype


def test_the_card_names_rows_recipe_and_curve(workspace: Workspace, finished: LoraRun) -> None:
    card = (finished.output / "README.md").read_text()

    rows_file = workspace.folder / "datasets" / VERSION / "rows.jsonl"
    assert f"`{sha256(rows_file.read_bytes()).hexdigest()}`" in card
    assert "## Recipe: practice" in card and "| max_steps | `30` | changed here |" in card
    assert "| targets | `gate_proj, up_proj, down_proj` | Platypus" in card
    result = finished.result
    assert result is not None
    assert f"{result['eval_loss_before']:.4f} -> {result['eval_loss']:.4f}" in card
    assert "training loss, step 1 to 30:" in card and "held-out loss after step 20:" in card
    assert "too small to solve tasks" in card
    assert f"{result['trainable_parameters']:,} of {result['parameters']:,}" in card


def test_trained_parameters_are_those_of_the_formula(workspace: Workspace, finished: LoraRun) -> None:
    """A LoRA of rank r beside a matrix of n x m has r (n + m) numbers."""
    result = finished.result
    assert result is not None
    rank, wide, inner = 4, TINY.hidden, TINY.inner

    assert result["trainable_parameters"] == TINY.layers * 3 * rank * (wide + inner)
    plain = sum(one.numel() for one in base(finished).parameters())
    assert result["parameters"] == plain + result["trainable_parameters"]


def test_rows_are_trained_on_or_counted_as_unusable(own: Workspace) -> None:
    """A cutoff within the prompts' lengths: some rows have no token left to learn."""
    lengths = [
        sum(label == IGNORED for label in one.labels)
        for split in ("train", "validation")
        for one in examples(launched(own, "long-enough"), split)
    ]
    run = launched(own, "short", cutoff=sorted(lengths)[30], max_steps=1)
    train(own, run.name)

    data = run.data
    train_rows, held_out = data["train"], data["validation"]
    lost = sum(train_rows["unusable"].values()) + sum(held_out["unusable"].values())
    assert lost == len(data["unusable"]) > 0
    assert train_rows["rows"] + held_out["rows"] + lost == 60
    assert set(data["unusable"].values()) == {"prompt longer than the cutoff"}
    with pytest.raises(WrongInput, match="No row of v1 has a response within 20 tokens; raise cutoff"):
        train(own, launched(own, "none", cutoff=20).name)


def test_padding_does_not_change_the_loss_of_a_row(finished: LoraRun) -> None:
    """Rows are padded, never packed: a row's loss is the same in any company, in training's batches too."""
    some = sorted(examples(finished, "train"), key=lambda one: len(one.ids))
    model, short, long = base(finished).eval(), some[0], some[-1]
    assert len(long.ids) > len(short.ids) + 16

    together = trainer.losses(model, [short, long, *some[5:9]], pad=0)
    alone = [trainer.losses(model, [one], pad=0)[0] for one in (short, long, *some[5:9])]
    assert together == pytest.approx(alone, abs=1e-5 * max(alone))

    batch = trainer.collate([{"ids": one.ids, "labels": one.labels} for one in (short, long)], 2)
    with torch.no_grad():
        padded = float(model(**batch).loss) * (short.learned + long.learned)
    assert padded == pytest.approx(alone[0] + alone[1], rel=1e-5)


def test_the_micro_batch_changes_memory_and_not_the_result(workspace: Workspace) -> None:
    """Accumulated gradients are weighted by tokens, so that rows of any length count alike."""
    one, all_at_once = (
        trained(workspace, f"micro-{size}", micro_batch=size, dropout=0.0, max_steps=6) for size in (1, 4)
    )

    assert difference(weights(one), weights(all_at_once)) < 1e-4
    curves = [[m["loss"] for m in run.measurements() if "loss" in m] for run in (one, all_at_once)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)


# --- interrupted, stopped, killed ---


@pytest.mark.parametrize("step", [5, 6, 8])
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    workspace: Workspace, undisturbed: LoraRun, step: int
) -> None:
    """Ctrl-C between, at and after checkpoints; dropout is on, so the random state must come back, too."""
    run = launched(workspace, f"interrupted-{step}")
    assert run.settings.dropout > 0

    with pytest.raises(StageCancelled, match=f"resume {run.name}` goes on from step 3"):
        train(workspace, run.name, interrupt_at(step if step != 8 else 4))
    if step == 8:
        with pytest.raises(StageCancelled, match="goes on from step 6"):
            train(workspace, run.name, interrupt_at(8))
    assert run.state == runs.WAITING
    train(workspace, run.name)

    assert_same_end(run, undisturbed)
    assert_every_step_once(run, 8)


def test_an_interruption_before_the_first_checkpoint_begins_anew(
    workspace: Workspace, undisturbed: LoraRun
) -> None:
    run = launched(workspace, "early")

    with pytest.raises(StageCancelled, match="no checkpoint was written yet"):
        train(workspace, run.name, interrupt_at(2))
    train(workspace, run.name)

    assert_same_end(run, undisturbed)
    assert [one["step"] for one in run.measurements() if "eval_loss" in one] == [0, 4, 8]


def test_a_run_that_lost_only_its_last_word_ends_the_same(own: Workspace) -> None:
    """As after a kill between the last checkpoint and result.json."""
    run = trained(own, "last-word", scheduler="constant")  # so that one step more would be seen
    before = weights(run)
    said = run.result
    (run.folder / runs.RESULT).unlink()

    result = train(own, run.name)

    assert difference(weights(run), before) == 0.0
    assert said is not None and {**result, "seconds": 0} == {**said, "seconds": 0}
    assert_every_step_once(run, 8)


def test_a_stopped_run_keeps_its_weights_and_can_go_on(workspace: Workspace, undisturbed: LoraRun) -> None:
    run = launched(workspace, "stopped")

    result = train(workspace, run.name, stop_at(workspace, run.name, 4))

    assert result["state"] == runs.STOPPED == run.state and result["steps"] == 4
    assert checkpoints.steps(run.checkpoints)[-1] == 4
    from peft import PeftModel

    assert held_out_loss(run, PeftModel.from_pretrained(base(run), str(run.output))) == pytest.approx(
        result["eval_loss"], abs=1e-5
    )
    assert train(workspace, run.name)["unchanged"]  # a stopped run is not trained unless it is reopened
    runs.reopen(workspace, run.name)
    assert train(workspace, run.name)["state"] == runs.FINISHED
    assert_same_end(run, undisturbed)


def test_a_discarded_run_keeps_its_curves_only(workspace: Workspace) -> None:
    run = launched(workspace, "discarded")

    result = train(workspace, run.name, stop_at(workspace, run.name, 5, discard=True))

    assert result["state"] == runs.DISCARDED == run.state
    assert not run.checkpoints.exists() and not run.output.exists()
    assert_every_step_once(run, 5)
    with pytest.raises(WrongInput, match="is discarded; only a stopped"):
        runs.reopen(workspace, run.name)
    with pytest.raises(WrongInput, match="it has no weights"):
        merge(workspace, run.name, workspace.folder / "nowhere")
    with pytest.raises(WrongInput, match="has no weights to go on from"):
        base_model.look_up(workspace, run.name)


@pytest.mark.parametrize("discard", [False, True])
def test_a_stop_before_it_began_trains_nothing(workspace: Workspace, discard: bool) -> None:
    run = launched(workspace, f"stop-first-{discard}")
    runs.stop(workspace, run.name, discard)

    result = train(workspace, run.name)

    assert result["state"] == (runs.DISCARDED if discard else runs.STOPPED)
    assert result["steps"] == 0 and run.weights is None and not run.measurements()
    with pytest.raises(WrongInput, match="has no weights"):
        base_model.look_up(workspace, run.name)


def test_a_stop_while_it_loads_is_obeyed_and_it_can_begin_later(
    workspace: Workspace, undisturbed: LoraRun
) -> None:
    run = launched(workspace, "stop-loading")

    def stop_while_loading(what: str, done: int, total: int) -> None:
        if what == "loading the base model":
            runs.stop(workspace, run.name)

    assert train(workspace, run.name, stop_while_loading)["steps"] == 0 and run.state == runs.STOPPED
    train(workspace, runs.reopen(workspace, run.name).name)
    assert difference(weights(run), weights(undisturbed)) <= 1e-6


def test_an_end_that_nobody_expected_is_on_record(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the run would wait for ever, and nobody would know why."""
    for name, error, told in (
        (
            "odd",
            RuntimeError("a library\nbroke"),
            "Something unexpected went wrong (RuntimeError: a library broke)",
        ),
        ("disk", OSError(28, "No space left on device", "/x"), "No space left on device (/x); mend it"),
    ):
        run = launched(workspace, f"unexpected-{name}")
        with monkeypatch.context() as patch:
            patch.setattr(lora._Training, "_rows", lambda self, tokenizer, error=error: raised(error))
            with pytest.raises(type(error)):
                train(workspace, run.name)
        assert run.state == runs.FAILED and run.failure is not None
        assert told in run.failure["reason"] and "\n" not in run.failure["reason"]


def raised(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("damage", ["emptied", "cut"])
def test_a_damaged_adapter_is_one_line(
    damage: str, workspace: Workspace, finished: LoraRun, tmp_path: Path
) -> None:
    kept = shutil.copytree(finished.output, tmp_path / "kept")
    file = finished.output / "adapter_model.safetensors"
    if damage == "emptied":
        for one in finished.output.iterdir():
            one.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100])
    try:
        with pytest.raises(WrongInput, match=r"The adapter in .* cannot be loaded"):
            merge(workspace, finished.name, tmp_path / "merged")
    finally:
        shutil.rmtree(finished.output)
        shutil.copytree(kept, finished.output)


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_a_damaged_config_of_a_base_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WrongInput, match=r"config\.json .* is the base model whole"):
        BaseModel("x", "folder", str(tmp_path)).config()


@pytest.fixture(scope="module")
def long_run(workspace: Workspace) -> LoraRun:
    return trained(workspace, "long", max_steps=24)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_run_ends_as_an_undisturbed_one(workspace: Workspace, long_run: LoraRun, seed: int) -> None:
    """kill -9 in the midst of training, of a checkpoint, of its manifest; `make faults` does it 30 times."""
    chance = random.Random(976 + seed)
    run = launched(workspace, f"killed-{seed}", max_steps=24)
    with killable(workspace.folder, run.name, None) as child:
        if seed == 1:  # in a checkpoint that has no manifest yet
            child.wait_for(lambda: bool(child.unfinished_checkpoints()))
        else:
            child.wait_for(lambda: child.step() >= chance.randrange(4, 20))
        assert child.kill(), "it was done before the kill came"

    assert run.state == runs.WAITING
    train(workspace, run.name)
    assert_same_end(run, long_run)
    assert_every_step_once(run, 24)


# --- bad ends ---


def breaks_at(monkeypatch: pytest.MonkeyPatch, step: int, do: Any) -> None:
    """Let the computation of the loss go wrong in a step."""
    compute = trainer.RunTrainer.compute_loss

    def compute_loss(self: Any, model: Any, inputs: Any, *given: Any, **options: Any) -> Any:
        loss = compute(self, model, inputs, *given, **options)
        return do(loss, model) if self.state.global_step + 1 == step else loss

    monkeypatch.setattr(trainer.RunTrainer, "compute_loss", compute_loss)


def assert_last_checkpoint_is_sound(run: LoraRun, step: int) -> None:
    from safetensors.torch import load_file

    newest = checkpoints.newest(run.checkpoints)
    assert newest is not None and checkpoints.step_of(newest) == step
    for name, tensor in load_file(newest / "adapter_model.safetensors").items():
        assert bool(torch.isfinite(tensor).all()), name


@pytest.mark.parametrize("clip", [1.0, 0.0])
def test_a_loss_that_is_no_number_ends_the_run_at_once(
    workspace: Workspace, undisturbed: LoraRun, clip: float
) -> None:
    run = launched(workspace, f"nan-{clip}", max_grad_norm=clip)

    with pytest.MonkeyPatch.context() as patch:
        breaks_at(patch, 5, lambda loss, model: loss * float("nan"))
        with pytest.raises(TrainingFailed, match=r"is nan at step 5.*those of step 3;.*learning rate"):
            train(workspace, run.name)

    assert run.state == runs.FAILED and run.failure is not None
    assert "step 5" in run.failure["reason"]
    assert_last_checkpoint_is_sound(run, 3)
    if clip:
        runs.reopen(workspace, run.name)
        train(workspace, run.name)
        assert_same_end(run, undisturbed)


@pytest.mark.parametrize("step", [3, 8])
def test_weights_that_are_no_numbers_are_never_kept(workspace: Workspace, step: int) -> None:
    """Unclipped, a gradient may break the weights while the loss of that step was still fine."""
    run = launched(workspace, f"broken-weights-{step}", max_grad_norm=0.0, save_every=step if step < 8 else 5)

    def spoil(loss: Any, model: Any) -> Any:
        loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        breaks_at(patch, step, spoil)
        with pytest.raises(TrainingFailed, match=f"at step {step}"):
            train(workspace, run.name)

    assert run.state == runs.FAILED and not run.output.exists()
    if step == 8:
        assert_last_checkpoint_is_sound(run, 5)
    else:
        assert checkpoints.newest(run.checkpoints) is None


def test_a_learning_rate_that_is_too_high_does_not_end_in_a_result_of_nonsense(workspace: Workspace) -> None:
    run = launched(
        workspace,
        "too-high",
        learning_rate=0.9,
        max_grad_norm=0,
        method="full",
        max_steps=15,
        warm_up_steps=0,
    )
    try:
        result = train(workspace, run.name)
    except TrainingFailed as error:
        assert "step" in str(error)
        return
    assert math.isfinite(result["eval_loss"])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        MemoryError(),
    ],
)
def test_out_of_memory_names_what_to_turn(workspace: Workspace, error: Exception) -> None:
    run = launched(workspace, f"memory-{type(error).__name__}")

    def fail(loss: Any, model: Any) -> Any:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        breaks_at(patch, 5, fail)
        with pytest.raises(TrainingFailed, match=r"Memory ran out at step 4.*step 3;.*micro_batch or cutoff"):
            train(workspace, run.name)

    assert run.state == runs.FAILED
    assert_last_checkpoint_is_sound(run, 3)


def test_another_error_is_not_taken_for_memory(workspace: Workspace) -> None:
    run = launched(workspace, "other-error")

    def fail(loss: Any, model: Any) -> Any:
        raise RuntimeError("a size mismatch")

    with pytest.MonkeyPatch.context() as patch:
        breaks_at(patch, 5, fail)
        with pytest.raises(RuntimeError, match="a size mismatch"):
            train(workspace, run.name)
    assert run.state == runs.FAILED and not run.is_locked()  # neither locked for ever nor without a reason
    assert run.failure is not None and "RuntimeError: a size mismatch" in run.failure["reason"]


# --- other ways to train ---


def test_all_weights_can_be_trained(workspace: Workspace, tmp_path: Path) -> None:
    run = launched(workspace, "full", method="full", learning_rate=2e-3, max_steps=12)
    with pytest.raises(StageCancelled):
        train(workspace, run.name, interrupt_at(7))
    result = train(workspace, run.name)

    assert result["trainable_parameters"] == result["parameters"]
    assert result["adapter"] is None and Path(result["model"]) == run.output
    assert result["eval_loss"] < result["eval_loss_before"]
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(result["model"])
    assert held_out_loss(run, model) == pytest.approx(result["eval_loss"], abs=1e-5)
    whole = trained(workspace, "full-undisturbed", method="full", learning_rate=2e-3, max_steps=12)
    assert_same_end(run, whole)
    with pytest.raises(WrongInput, match="there is nothing to merge"):
        merge(workspace, run.name, tmp_path / "merged")
    upon = launch(workspace, VERSION, base="full", changes={**QUICK, "max_steps": 2}, name="upon-full")
    assert train(workspace, upon.name)["eval_loss_before"] == pytest.approx(result["eval_loss"], abs=1e-5)


def test_a_second_run_goes_on_from_the_first(own: Workspace, finished: LoraRun, tmp_path: Path) -> None:
    """As Magicoder-S: the first run's adapter is part of the base, and a new one is trained beside it."""
    first = runs.find(own, "finished") if (own.folder / "runs" / "finished").exists() else None
    first = first or trained(own, "first", **LONGER)
    assert first.result is not None
    second = launch(own, VERSION, base=first.name, changes={**QUICK, "max_steps": 6}, name="second")
    with pytest.raises(StageCancelled):
        train(own, second.name, interrupt_at(5))
    result = train(own, second.name)
    assert result["eval_loss_before"] == pytest.approx(first.result["eval_loss"], abs=1e-5)

    from transformers import AutoModelForCausalLM

    merged = merge(own, second.name, tmp_path / "merged")
    model = AutoModelForCausalLM.from_pretrained(merged["to"])
    assert held_out_loss(second, model) == pytest.approx(result["eval_loss"], abs=1e-5)

    third = launch(own, VERSION, base=first.name, changes=QUICK, name="third")
    file = first.output / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(WrongInput, match=r"is not the one the run .* began with"):
        train(own, third.name)


def test_rope_base_and_length_reach_the_model_and_the_next_run(workspace: Workspace, tmp_path: Path) -> None:
    changes = {"rope_theta": 1_000_000.0, "positions": 512, "max_steps": 4}
    run = trained(workspace, "long-context", **changes)
    assert run.result is not None
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    config = base(run).config
    assert config.rope_parameters["rope_theta"] == 1_000_000.0 and config.max_position_embeddings == 512
    as_trained = PeftModel.from_pretrained(base(run), str(run.output))
    assert held_out_loss(run, as_trained) == pytest.approx(run.result["eval_loss"], abs=1e-5)
    with_old = base_model.load_model(
        BaseModel.of(run.frozen["base_model"]), replace(run.settings, rope_theta=0.0), "float32"
    )
    assert abs(held_out_loss(run, with_old) - held_out_loss(run, base(run))) > 1e-5

    merged = merge(workspace, run.name, tmp_path / "merged")["to"]
    config = json.loads((Path(merged) / "config.json").read_text())
    assert config["max_position_embeddings"] == 512
    assert held_out_loss(run, AutoModelForCausalLM.from_pretrained(merged)) == pytest.approx(
        run.result["eval_loss"], abs=1e-5
    )
    # A run on top of it reads its positions as it did, without being told again.
    upon = launch(workspace, VERSION, base=run.name, changes={**QUICK, "max_steps": 1}, name="upon-long")
    train(workspace, upon.name)
    assert upon.result is not None
    assert upon.result["eval_loss_before"] == pytest.approx(run.result["eval_loss"], abs=1e-5)
    assert base(upon).config.max_position_embeddings == 512


def test_early_stop_ends_when_nothing_gets_better_and_gives_the_best(workspace: Workspace) -> None:
    """A rate so high that held-out loss rises again: the best evaluation's weights are the result."""
    changes = {
        "early_stop": 2, "method": "full", "learning_rate": 0.3, "max_steps": 40, "eval_every": 2,
        "scheduler": "constant", "warm_up_steps": 0, "max_grad_norm": 0.0,
    }  # fmt: skip
    run = trained(workspace, "early-stop", **changes)
    result = run.result
    assert result is not None and result["state"] == runs.FINISHED and result["steps"] < 40

    curve = {one["step"]: one["eval_loss"] for one in run.measurements() if "eval_loss" in one}
    best = min((step for step in curve if step), key=lambda step: curve[step])
    assert result["steps"] == best + 4  # two evaluations later
    from transformers import AutoModelForCausalLM

    loss = held_out_loss(run, AutoModelForCausalLM.from_pretrained(result["model"]))
    assert loss == pytest.approx(curve[best], abs=1e-4)
    assert result["eval_loss"] == pytest.approx(loss, abs=1e-4)  # what is reported is what is kept
    assert f"-> {curve[best]:.4f}" in (run.output / "README.md").read_text()

    again = launched(workspace, "early-stop-interrupted", **changes)
    with pytest.raises(StageCancelled):
        train(workspace, again.name, interrupt_at(result["steps"] - 1))
    train(workspace, again.name)
    assert_same_end(again, run)
    (again.folder / runs.RESULT).unlink()  # as after a kill just before the end
    train(workspace, again.name)
    assert_same_end(again, run)


def test_a_version_without_held_out_rows_can_be_trained(own: Workspace, tmp_path: Path) -> None:
    space = freeze(tmp_path / "bare", rows(12), VERSION, validation=0.0)
    shutil.copytree(own.folder / "models", space.folder / "models", dirs_exist_ok=True)
    run = launched(space, "bare")

    result = train(space, run.name)

    assert result["eval_loss"] is None and result["state"] == runs.FINISHED
    assert_every_step_once(run, 8)
    with pytest.raises(WrongInput, match="early_stop"):
        train(space, launched(space, "bare-early", early_stop=2).name)


def test_infilling_rows_learn_every_part_in_a_mixture(own: Workspace, tmp_path: Path) -> None:
    space = freeze(tmp_path / "mixed", [*rows(20), *infilling_rows(20)], "mixed")
    shutil.copytree(own.folder / "models", space.folder / "models", dirs_exist_ok=True)
    quick = {**QUICK, "max_steps": 8}
    run = launch(space, "mixed", "code-llama-fim", changes=quick, name="fim")

    result = train(space, run.name)

    data = run.data
    assert data["train"]["infilling"] + data["validation"]["infilling"] == 20
    assert data["train"]["rows"] + data["validation"]["rows"] == 40
    assert result["eval_loss"] < result["eval_loss_before"]
    learned = examples(run, "train")
    whole = [one for one in learned if IGNORED not in one.labels]
    assert len(whole) == data["train"]["infilling"] and len(learned) == data["train"]["rows"]
    assert data["train"]["learned_tokens"] == sum(one.learned for one in learned)
    plain = BaseModel.of(run.frozen["base_model"])
    tokenizer = base_model.load_tokenizer(plain)
    assert all(tokenizer.convert_ids_to_tokens(list(one.ids))[1] == "<PRE>" for one in whole)
    assert run.settings.beta_2 == 0.95
    rates = [one["learning_rate"] for one in run.measurements() if "loss" in one]
    assert min(rates[2:]) >= 0.01 / 30 - 1e-9  # never below a thirtieth of the peak


def test_special_tokens_in_rows_stay_text_after_the_tokenizer_was_saved(workspace: Workspace) -> None:
    """What the saved and loaded tokenizer does, not the one in memory."""
    tokenizer = base_model.load_tokenizer(base_model.look_up(workspace, "practice"))
    text = "</s><s><PRE><SUF><MID><EOT><pad>"
    row = {"id": "a", "instruction": text, "input": text, "response": text}

    example = encode(row, tokenizer, "alpaca", 4_096)

    special = {tokenizer.convert_tokens_to_ids(one) for one in ("</s>", "<s>", "<PRE>", "<EOT>", "<pad>")}
    assert [one for one in example.ids if one in special] == [tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert tokenizer.decode(example.ids).count(text) == 3


# --- one run at a time, and what it may be ---


def test_two_launches_of_the_same_are_one_run(own: Workspace) -> None:
    first = launch(own, VERSION, changes=QUICK)
    again = launch(own, VERSION, changes=QUICK)
    other = launch(own, VERSION, changes={**QUICK, "rank": 8})

    assert again.name == first.name != other.name
    assert first.frozen["sha256"] and first.frozen["versions"].keys() == set(lora.LIBRARIES)


def test_train_watches_a_run_that_another_process_trains(workspace: Workspace, undisturbed: LoraRun) -> None:
    run = launched(workspace, "watched")
    shown: list[str] = []
    with killable(workspace.folder, run.name, 0.05) as child:
        child.wait_for(run.is_locked)
        result = train(workspace, run.name, lambda doing, done, total: shown.append(doing))

    assert result["unchanged"] and result["steps"] == 8
    assert set(shown) == {"attached: another process trains"}
    assert_same_end(run, undisturbed)
    assert_every_step_once(run, 8)  # one of them trained


def test_who_watches_takes_over_after_a_kill(workspace: Workspace, undisturbed: LoraRun) -> None:
    run = launched(workspace, "taken-over")
    with killable(workspace.folder, run.name, 0.1) as child:
        child.wait_for(lambda: child.step() >= 4)

        def kill(doing: str, done: int, total: int) -> None:
            if doing.startswith("attached"):
                child.kill()

        result = train(workspace, run.name, kill)

    assert result["state"] == runs.FINISHED and "unchanged" not in result
    assert_same_end(run, undisturbed)


def test_who_watches_a_run_that_fails_is_told_why(workspace: Workspace) -> None:
    """Not: trains it again to fail again."""
    run = launched(workspace, "watched-failure")
    with run.locked() as ours:
        assert ours

        def fail(doing: str, done: int, total: int) -> None:
            run.write(runs.FAILURE, {"reason": "Memory ran out at step 7", "step": 7, "at": runs.now()})

        watching = pytest.MonkeyPatch()
        watching.setattr(LoraRun, "is_locked", _once_locked())
        with watching.context() as patch:
            patch.setattr(lora, "WATCH_SECONDS", 0.0)
            with pytest.raises(TrainingFailed, match="Memory ran out at step 7"):
                train(workspace, run.name, fail)
        watching.undo()


def _once_locked() -> Any:
    answers = iter([True])
    return lambda self: next(answers, False)


def test_a_version_that_was_changed_on_disk_is_refused(own: Workspace) -> None:
    run = launched(own, "before-the-change")
    file = own.folder / "datasets" / VERSION / "rows.jsonl"
    file.chmod(0o644)
    file.write_text(file.read_text().replace("def ", "DEF ", 1))

    for begin in (lambda: launched(own, "after"), lambda: train(own, run.name)):
        with pytest.raises(CurationError, match=VERSION):
            begin()
    assert not (own.folder / "runs" / "after").exists() and not run.measurements()


def test_a_base_that_was_changed_after_the_launch_is_refused(own: Workspace) -> None:
    run = launched(own, "base-changes")
    file = base_model.practice_folder(own) / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))

    with pytest.raises(WrongInput, match=r"The base model practice is not the one the run .* began with"):
        train(own, run.name)
    assert not run.measurements()


def test_a_folder_as_base_is_found_from_anywhere(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker does not stand where the person stood who named the folder."""
    shutil.copytree(base_model.practice_folder(workspace), tmp_path / "here" / "base")
    monkeypatch.chdir(tmp_path / "here")
    run = launch(workspace, VERSION, base="base", changes={**QUICK, "max_steps": 1}, name="from-folder")
    monkeypatch.chdir(tmp_path)

    assert train(workspace, run.name)["state"] == runs.FINISHED


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"version": "nope"}, "nope"),
        ({"recipe": "nope"}, "There is no recipe 'nope'"),
        ({"base": "nope"}, "There is no base model 'nope'"),
        ({"base": "."}, "holds no config.json"),
        ({"method": "nope"}, "There is no method 'nope'"),
        ({"changes": {"nope": 1}}, "There is no setting 'nope'"),
        ({"changes": {"rank": "many"}}, "rank 'many' is no whole number"),
        ({"changes": {"dropout": "nan"}}, "dropout nan"),
        ({"changes": {"learning_rate": "inf"}}, "learning_rate inf"),
        ({"changes": {"epochs": "nan"}}, "epochs nan"),
        ({"changes": {"max_grad_norm": "nan"}}, "max_grad_norm nan"),
        ({"changes": {"max_steps": -1}}, "max_steps -1"),
        ({"changes": {"warm_up_steps": -1}}, "warm_up_steps -1"),
        ({"changes": {"targets": ""}}, "targets"),
        ({"changes": {"rope_theta": -1}}, "rope_theta -1"),
    ],
)
def test_what_does_not_exist_is_refused_before_there_is_a_run(
    workspace: Workspace, given: dict[str, Any], says: str
) -> None:
    before = {one.name for one in runs.runs(workspace)}

    with pytest.raises(CurationError, match=says):
        launch(workspace, **{"version": VERSION, "name": "refused", **given})
    assert {one.name for one in runs.runs(workspace)} == before


def test_targets_that_the_model_does_not_have_are_named(finished: LoraRun) -> None:
    """Of a family whose modules are known `launch` says so; else whoever loads the model."""
    with pytest.raises(WrongInput, match="targets nope: this model has no such modules"):
        lora.with_adapter(base(finished), replace(finished.settings, targets=("nope",)))


# --- what lies in a checkpoint ---


def test_no_pickle_of_objects_is_kept_and_none_is_trusted(own: Workspace) -> None:
    """`training_args.bin` is a pickle of a Python object, which runs code when it is read: it is not kept.

    What is left with torch.save holds tensors and numbers; it must load where nothing else may.
    """
    from transformers.trainer_pt_utils import safe_globals

    run = launched(own, "pickles")
    with pytest.raises(StageCancelled):
        train(own, run.name, interrupt_at(5))
    newest = checkpoints.newest(run.checkpoints)
    assert newest is not None
    assert not list(run.folder.rglob("training_args.bin"))
    for file in (*newest.glob("*.pt"), *newest.glob("*.pth")):
        with safe_globals():
            torch.load(file, weights_only=True)

    loaded: list[bool] = []
    load = torch.load

    def watched(*given: Any, **options: Any) -> Any:
        loaded.append(options.get("weights_only") is True)
        return load(*given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", watched)
        train(own, run.name)
    assert loaded and all(loaded)


def test_two_checkpoints_are_kept_and_partial_ones_swept(workspace: Workspace, long_run: LoraRun) -> None:
    assert checkpoints.steps(long_run.checkpoints) == [21, 24]
    names = {one.name for one in long_run.folder.iterdir()}
    assert not [name for name in names if "partial" in name], names
    steps = [one["step"] for one in long_run.measurements()]
    assert all(left <= right for left, right in pairwise(steps))


def test_a_full_disk_at_a_checkpoint_leaves_the_one_before(
    workspace: Workspace, undisturbed: LoraRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launched(workspace, "full-disk")
    complete = checkpoints.complete

    def full(folder: Path) -> None:
        if checkpoints.step_of(folder) == 6:
            raise OSError(28, "No space left on device")
        complete(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "complete", full)
        with pytest.raises(OSError, match="No space left"):
            train(workspace, run.name)
    assert checkpoints.steps(run.checkpoints) == [3]
    train(workspace, run.name)
    assert_same_end(run, undisturbed)
