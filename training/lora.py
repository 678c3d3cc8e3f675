"""Train: a frozen version and a base model become an adapter, or a model when all weights are trained."""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from curation import __version__
from curation.assemble import read_rows
from curation.atomic import place_folder, sweep_partial
from curation.errors import CurationError, StageCancelled, WrongInput
from curation.stage import silent
from curation.workspace import Workspace
from training import base_model, checkpoints, fit, processes
from training import run as runs
from training.base_model import BaseModel
from training.format import Prepared, prepare
from training.processes import Plan
from training.recipes import FULL, LORA, Settings, settings_of
from training.run import LoraRun, TrainingFailed
from training.team import Onlooker, Team

Show = Callable[[str, int, int], None]
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")
WATCH_SECONDS = 0.5
PARTIAL_RESULT = "result.partial"  # a folder until it gets its name


def launch(
    workspace: Workspace,
    version: str,
    recipe: str = "practice",
    base: str = base_model.PRACTICE,
    method: str | None = None,
    changes: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> LoraRun:
    """Freeze what a run will train, and make its folder. Nothing is trained yet.

    Raises WrongInput when version, recipe, base model or a setting does not exist, or the version changed.
    """
    settings = settings_of(recipe, method, changes)
    manifest, _ = read_rows(workspace, version)
    found = base_model.look_up(workspace, base)
    missing = fit.missing_targets(found.config(), settings)
    if missing:
        raise WrongInput(missing)
    workspace.require_space(fit.disk_of(found.config(), settings), "This run")
    frozen = {
        "winnow": __version__,
        "version": version,
        "sha256": manifest["report"]["sha256"],
        "recipe": recipe,
        "settings": asdict(settings),
        "base_model": found.facts(),
        "versions": {library: version_of(library) for library in LIBRARIES},
    }
    return runs.create(workspace, frozen, name)


def train(workspace: Workspace, name: str, show: Show = silent, number: int | None = None) -> dict[str, Any]:
    """Train a run to its end, from its newest complete checkpoint when it has one. Gives its report.

    It trains in `number` processes (None: WINNOW_PROCESSES, else one a GPU, see `processes.planned`): one is
    this process, several are started by `accelerate launch`. A run that another process trains is watched
    instead. A finished one is not trained again. Raises TrainingFailed when memory runs out, the loss is no
    number or one of several processes was killed, WrongInput, SourceUnavailable when the base model cannot be
    read, StageCancelled after Ctrl-C.
    """
    run = runs.find(workspace, name)
    plan = _plan(run.settings, number)
    while True:
        with run.locked() as ours:
            if run.result is not None:
                return {**run.result, "unchanged": True}
            if ours:
                (run.folder / runs.FAILURE).unlink(missing_ok=True)
                return _attempt(workspace, run, show, plan)
        _watch(run, show)


def _watch(run: LoraRun, show: Show) -> None:
    """Wait until the other process is done. Raises TrainingFailed when it failed: it would fail here, too."""
    while run.is_locked():
        total = run.data.get("steps", 0)
        show("attached: another process trains", runs.last_step(run), total)
        time.sleep(WATCH_SECONDS)
    failure = run.failure
    if failure is not None and run.result is None:
        raise TrainingFailed(str(failure["reason"]))


def _attempt(workspace: Workspace, run: LoraRun, show: Show, plan: Plan) -> dict[str, Any]:
    try:
        processes.wait_for_dying(run, show)
        asked = run.asked_to_stop()
        if asked is not None and asked["discard"]:
            return runs.finish_discarded(run)
        if plan.note:
            show(plan.note, 0, 0)
        if plan.number > 1:
            processes.train(run, plan, show)
            return run.result or {}
        with _reasons(run):
            return _Training(workspace, run, show, notes=[plan.note] if plan.note else []).train()
    except KeyboardInterrupt:
        raise StageCancelled(
            f"Stopped; `python -m training resume {run.name}` goes on from {_last_good(run)}"
        ) from None
    except Exception as error:  # whoever looks at the run is told why, whichever door it came through
        with suppress(OSError):  # a full disk has no room for that either
            run.write(runs.FAILURE, {"reason": _reason(error), "step": runs.last_step(run), "at": runs.now()})
        raise


def _reason(error: Exception) -> str:
    if isinstance(error, CurationError):
        return str(error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{where}; mend it, then resume"
    first = " ".join(str(error).split())[:300]
    return f"Something unexpected went wrong ({type(error).__name__}: {first}); the log says where"


def _plan(settings: Settings, number: int | None) -> Plan:
    """Say how many processes train. Where it matters torch has the last word on GPUs: it may know no CUDA."""
    plan = processes.planned(settings, number)
    if plan.number == 1 and not plan.on_gpus:
        return plan
    import torch

    return processes.planned(settings, number, torch.cuda.device_count())


def train_in_team(workspace: Workspace, name: str, team: Team, show: Show, notes: Sequence[str]) -> None:
    """Train a run as one of several processes; their parent holds its lock. Raises what `train` raises."""
    run = runs.find(workspace, name)
    with _reasons(run):
        _Training(workspace, run if team.is_first else Onlooker(run.folder), show, team, notes).train()


@contextmanager
def _reasons(run: LoraRun) -> Any:
    """Turn what a library raises when memory runs out or numbers break into a reason and what to try."""
    from training.trainer import explain_memory

    try:
        yield
    except TrainingFailed as error:
        raise TrainingFailed(
            f"{error}. The last good weights are those of {_last_good(run)}; "
            "a lower learning rate or a longer warm-up is the first thing to try"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not explain_memory(error):
            raise
        raise TrainingFailed(
            f"Memory ran out at step {runs.last_step(run)}. The last good weights are those of "
            f"{_last_good(run)}; start it with a smaller micro_batch or cutoff, "
            "or with activation_checkpointing"
        ) from error


def _last_good(run: LoraRun) -> str:
    steps = checkpoints.steps(run.checkpoints)
    return f"step {steps[-1]}" if steps else "the base model: no checkpoint was written yet"


class _Training:
    """One attempt at a run, or one process's part of it. It reads the run's frozen settings only."""

    def __init__(
        self,
        workspace: Workspace,
        run: LoraRun,
        show: Show,
        team: Team | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.workspace = workspace
        self.run = run
        self.show = show
        self.team = team or Team()
        self.notes = list(notes)
        self.settings: Settings = run.settings
        self.began = time.monotonic()

    def train(self) -> dict[str, Any]:
        self.show("loading the base model", 0, 0)
        base = base_model.of_run(self.workspace, self.run)
        tokenizer = base_model.load_tokenizer(base)
        rows, validation = self._rows(tokenizer)
        model = self._model(base)
        if self._is_stopped_before_a_step():
            return runs.finish_unbegun(self.run)
        trainer, watch = self._trainer(model, tokenizer, rows, validation)
        trainer_state = self._go(trainer)
        if watch.stopped_by is not None and watch.stopped_by["discard"]:
            return runs.finish_discarded(self.run) if self.team.is_first else {}
        return self._finish(trainer, tokenizer, trainer_state, watch)

    def _is_stopped_before_a_step(self) -> bool:
        """Tell whether somebody stopped it while it was loading, with nothing trained yet.

        Several processes would have to agree on it; they stop after a step.
        """
        asked = self.run.asked_to_stop()
        is_new = not checkpoints.steps(self.run.checkpoints) and not runs.last_step(self.run)
        return self.team.size == 1 and asked is not None and not asked["discard"] and is_new

    def _rows(self, tokenizer: Any) -> tuple[Prepared, Prepared]:
        """Read the version, checked against its hash, and write down what became of its rows."""
        frozen, settings = self.run.frozen, self.settings
        manifest, file = read_rows(self.workspace, frozen["version"])
        if manifest["report"]["sha256"] != frozen["sha256"]:
            raise WrongInput(f"The version {frozen['version']} is not the one this run began with")
        self.show("reading rows", 0, manifest["report"]["rows"])
        splits: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
        with file.open(encoding="utf-8", newline="\n") as lines:
            for row in map(json.loads, lines):
                splits[row["split"]].append(row)
        if settings.eval_rows:
            splits["validation"] = splits["validation"][: settings.eval_rows]
        train, validation = (
            prepare(splits[split], tokenizer, settings.template, settings.cutoff) for split in splits
        )
        if not train.examples:
            raise WrongInput(
                f"No row of {frozen['version']} has a response within {settings.cutoff} tokens; "
                "raise cutoff or choose another version"
            )
        steps = settings.steps_of(len(train.examples))
        self.run.write(
            runs.DATA,
            {
                "steps": steps, "warm_up": settings.warm_up_of(steps),
                "train": train.report(), "validation": validation.report(),
                "unusable": {**train.unusable, **validation.unusable},
                "tried": self.run.data.get("tried"),
            },
        )  # fmt: skip
        return train, validation

    def _model(self, base: BaseModel) -> Any:
        import torch
        from transformers import set_seed

        set_seed(self.settings.random_seed)  # the adapter's first weights are drawn from it
        dtype = "bfloat16" if torch.cuda.is_available() and self.settings.method == LORA else "float32"
        model = base_model.load_model(base, self.settings, dtype)
        model.config.use_cache = False
        return with_adapter(model, self.settings)

    def _trainer(self, model: Any, tokenizer: Any, rows: Prepared, validation: Prepared) -> tuple[Any, Any]:
        from torch.utils.tensorboard import SummaryWriter
        from transformers import PrinterCallback
        from transformers.integrations import TensorBoardCallback

        from training.trainer import Rows, RunTrainer, Watch, arguments

        watch = Watch(self.run, self.show, self.team)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        callbacks: list[Any] = [watch]
        if self.team.is_first:
            callbacks.append(TensorBoardCallback(SummaryWriter(str(self.run.folder / "tensorboard"))))
        settings = self.settings
        if settings.early_stop and not validation.examples:
            raise WrongInput(
                f"early_stop needs held-out rows and {self.run.frozen['version']} has none that can be used; "
                "set early_stop to 0, or freeze a version with --validation"
            )
        if settings.early_stop:
            from transformers import EarlyStoppingCallback

            callbacks.append(EarlyStoppingCallback(early_stopping_patience=settings.early_stop))
        trainer = RunTrainer(
            self.run,
            validation.examples,
            pad,
            self.team,
            model=model,
            args=arguments(
                self.run.checkpoints,
                settings,
                len(rows.examples),
                self.team.size,
                bool(validation.examples),
            ),
            train_dataset=Rows(rows.examples),
            eval_dataset=Rows(validation.examples) if validation.examples else None,
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)  # the curves are kept; standard output is for the report
        return trainer, watch

    def _go(self, trainer: Any) -> Any:
        """Train from the newest complete checkpoint, or from the start."""
        self.show("looking for a checkpoint", 0, 0)
        newest = self._newest()
        self.team.spread_chance(self.settings.random_seed)
        fit.spare_memory(trainer.model.config.to_dict(), self.settings)
        if newest is None:
            self.show("trying one step on the longest rows", 0, 0)
            tried = fit.try_step(trainer.model, trainer.train_dataset.examples, trainer.pad, self.settings)
            self.run.write(runs.DATA, {**self.run.data, "tried": tried})
        if newest is None and trainer.validation:
            self.show("measuring the base model", 0, 0)
            trainer.evaluate()
        if newest is not None and trainer.is_over_at(newest):
            trainer.take(newest)  # killed between its last checkpoint and its result
        else:
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        return trainer.state

    def _newest(self) -> Path | None:
        """Clear away what a kill left and give the checkpoint to go on from; the first process decides."""
        step = -1
        if self.team.is_first:
            self.run.checkpoints.mkdir(exist_ok=True)
            checkpoints.sweep(self.run.checkpoints)
            shutil.rmtree(self.run.folder / PARTIAL_RESULT, ignore_errors=True)
            for folder in (self.run.folder, self.run.folder / "evaluations"):
                sweep_partial(folder)
            newest = checkpoints.newest(self.run.checkpoints)
            checkpoints.drop_after(self.run.checkpoints, newest)
            step = checkpoints.step_of(newest) if newest else -1
            self.run.forget_after(step)
        step = self.team.agreed(step)
        if step < 0:
            return None
        checkpoint = self.run.checkpoints / f"{checkpoints.PREFIX}{step}"
        self._say_if_another_number_wrote(checkpoint)
        return checkpoint

    def _say_if_another_number_wrote(self, checkpoint: Path) -> None:
        before, now = checkpoints.processes_of(checkpoint), self.team.size
        if before and before != now:
            self.notes.append(
                f"Goes on in {processes.counted(now)} from a checkpoint written by {before}: with the same "
                "rows a step, but dropout draws other numbers than it would have"
            )
            self.show(self.notes[-1], 0, 0)

    def _finish(self, trainer: Any, tokenizer: Any, state: Any, watch: Any) -> dict[str, Any]:
        self.show("writing the result", state.global_step, state.max_steps)
        trainer.refuse_broken_weights()
        measured = any(
            "eval_loss" in one and one["step"] == state.global_step for one in self.run.measurements()
        )
        if trainer.validation and not self.team.agreed(measured):
            trainer.evaluate()
        if not self.team.is_first:
            return {}
        result = self._result(trainer, state, watch)
        _write_weights(self.run, trainer.model, tokenizer, result)
        self.run.write(runs.RESULT, result)  # last: a run with it is over
        return result

    def _result(self, trainer: Any, state: Any, watch: Any) -> dict[str, Any]:
        measured = self.run.measurements()
        evaluated = [one for one in measured if "eval_loss" in one]
        kept = self._kept(evaluated, state)
        losses = [one["loss"] for one in measured if "loss" in one]
        trainable, total = count_parameters(trainer.model)
        is_lora = self.settings.method == LORA
        return {
            "run": self.run.name,
            "state": runs.STOPPED if watch.stopped_by is not None else runs.FINISHED,
            "adapter": str(self.run.output) if is_lora else None,
            "model": None if is_lora else str(self.run.output),
            "steps": state.global_step,
            "train_loss": _mean(losses[-10:]),
            "eval_loss": kept.get("eval_loss"),
            "eval_loss_before": evaluated[0]["eval_loss"] if evaluated else None,
            "bits_per_byte": kept.get("eval_bits_per_byte"),
            "bits_per_byte_before": evaluated[0]["eval_bits_per_byte"] if evaluated else None,
            "trainable_parameters": trainable,
            "parameters": total,
            "seconds": round(time.monotonic() - self.began, 1),
            "machine": {**machine(), "processes": self.team.size, "notes": self.notes},
        }

    def _kept(self, evaluated: list[dict[str, Any]], state: Any) -> dict[str, Any]:
        """Give the evaluation of the weights that are kept: the last one; with early_stop, the best."""
        if self.settings.early_stop and state.best_global_step:
            return next((one for one in evaluated if one["step"] == state.best_global_step), {})
        return evaluated[-1] if evaluated else {}


def with_adapter(model: Any, settings: Settings) -> Any:
    """Put a LoRA beside the targets of a model, or leave all weights trainable.

    Raises WrongInput when the model has no module of these names.
    """
    if settings.activation_checkpointing:
        model.gradient_checkpointing_enable()
        if settings.method == LORA:
            model.enable_input_require_grads()
    if settings.method == FULL:
        return model
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if settings.quantize != "none":
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=settings.activation_checkpointing
        )
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, bias="none",
        target_modules=list(settings.targets), task_type="CAUSAL_LM",
    )  # fmt: skip
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise WrongInput(
            f"targets {', '.join(settings.targets)}: this model has no such modules ({error}); "
            "name modules of the model"
        ) from error


def count_parameters(model: Any) -> tuple[int, int]:
    """Give how many parameters are trained, and how many there are."""
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    return trained, sum(one.numel() for one in model.parameters())


def machine() -> dict[str, Any]:
    """Say on what it was trained."""
    import torch

    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {"system": platform.platform(), "processors": os.cpu_count(), "gpus": gpus}


def _write_weights(run: LoraRun, model: Any, tokenizer: Any, result: Mapping[str, Any]) -> None:
    """Write the adapter (or model), its tokenizer and card into a folder that appears whole."""
    from training.model_card import card

    partial = run.folder / PARTIAL_RESULT
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(str(partial))
    tokenizer.save_pretrained(str(partial))
    (partial / "README.md").write_text(card(run, result), encoding="utf-8")
    place_folder(partial, run.output)  # where that of an earlier stop may be


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
