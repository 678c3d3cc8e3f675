"""The trainer of transformers, made to survive: whole checkpoints, honest curves, reasons for a bad end."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate.data_loader import SeedableRandomSampler
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)

from training import checkpoints
from training.fit import EVAL_TOKENS, KEPT, MULTIPLE
from training.format import IGNORED, Example
from training.recipes import Settings
from training.run import LoraRun, TrainingFailed
from training.team import Team

Show = Callable[[str, int, int], None]
BLANK = -1  # the index of a row that holds nothing
TRAINER_STATE = "trainer_state.json"
TRAINING_ARGS_NAME = "training_args.bin"  # a pickle of an object: reading one runs code, and nobody reads it


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """The examples of a split, as the trainer wants them."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == BLANK:
            return {"ids": (0,), "labels": (IGNORED,)}
        one = self.examples[index]
        return {"ids": one.ids, "labels": one.labels}


class Share(torch.utils.data.Sampler[list[int]]):
    """One process's micro-batches of an epoch: the rows of every step are those of a single process.

    accelerate's own sharding fills the last step of an epoch with rows of the first one. Here it stays short:
    a process without a row left gets a blank one, which has no token to learn.
    """

    def __init__(self, rows: Rows, settings: Settings, team: Team) -> None:
        self.order = SeedableRandomSampler(rows, data_seed=settings.random_seed)  # as for a single process
        self.size = settings.micro_batch
        self.team = team

    def __len__(self) -> int:
        in_all = -(-len(self.order) // self.size)
        return -(-in_all // self.team.size)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.order)
        for n in range(len(self)):
            begin = (n * self.team.size + self.team.rank) * self.size
            yield order[begin : begin + self.size] or [BLANK]

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)


class ShareLoader(torch.utils.data.DataLoader[Any]):
    """Gives the batches of a Share, and tells it which epoch it is."""

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)


def collate(rows: Sequence[dict[str, Any]], pad: int) -> dict[str, torch.Tensor]:
    """Pad on the right to the longest row; padding is neither attended to nor learned."""
    longest = max(len(row["ids"]) for row in rows)
    width = -(-longest // MULTIPLE) * MULTIPLE
    shape = (len(rows), width)
    ids = torch.full(shape, pad)
    labels, mask = torch.full(shape, IGNORED), torch.zeros(shape, dtype=torch.long)
    for n, row in enumerate(rows):
        length = len(row["ids"])
        ids[n, :length] = torch.tensor(row["ids"])
        labels[n, :length] = torch.tensor(row["labels"])
        mask[n, :length] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def losses(model: Any, examples: Sequence[Example], pad: int) -> list[float]:
    """Give the summed loss (in nats) of every example, in their order. The random state is not touched."""
    found = [0.0] * len(examples)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for batch in _by_length(examples):
            rows = [{"ids": examples[n].ids, "labels": examples[n].labels} for n in batch]
            one = {key: value.to(device) for key, value in collate(rows, pad).items()}
            logits = model(input_ids=one["input_ids"], attention_mask=one["attention_mask"]).logits[:, :-1]
            each = torch.nn.functional.cross_entropy(
                logits.float().transpose(1, 2), one["labels"][:, 1:], ignore_index=IGNORED, reduction="none"
            )
            for n, value in zip(batch, each.double().sum(dim=1).tolist(), strict=True):
                found[n] = value
    model.train(was_training)
    return found


def _by_length(examples: Sequence[Example]) -> list[list[int]]:
    """Put rows of like length together, so that little is padded."""
    batches: list[list[int]] = []
    for n in sorted(range(len(examples)), key=lambda n: len(examples[n].ids)):
        if not batches or (len(batches[-1]) + 1) * len(examples[n].ids) > EVAL_TOKENS:
            batches.append([])
        batches[-1].append(n)
    return batches


class RunTrainer(Trainer):
    """transformers' Trainer, with whole checkpoints and an evaluation row by row."""

    control: Any

    def __init__(
        self, run: LoraRun, validation: Sequence[Example], pad: int, team: Team, **options: Any
    ) -> None:
        super().__init__(data_collator=lambda rows: collate(rows, pad), **options)
        self.team = team
        self.run = run
        self.validation = validation
        self.pad = pad

    def evaluate(self, *_given: Any, **_options: Any) -> dict[str, float]:
        """Measure the loss of the validation rows: a mean over tokens, and bits a byte of the same text."""
        step = self.state.global_step
        each = self._losses()
        tokens = sum(one.learned for one in self.validation)
        size = sum(one.learned_bytes for one in self.validation)
        mean = sum(each) / max(1, tokens)
        bits = sum(each) / math.log(2) / max(1, size)
        if not math.isfinite(mean):
            raise TrainingFailed(f"The loss of the validation rows is {mean} at step {step}")
        rows = {
            one.id: round(value / one.learned, 5) for one, value in zip(self.validation, each, strict=True)
        }
        self.run.write(f"evaluations/step-{step}.json", {"step": step, "loss": rows})
        metrics = {"eval_loss": mean, "eval_bits_per_byte": bits}
        self.run.measure(step=step, epoch=self.state.epoch, **metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _losses(self) -> list[float]:
        """Give the loss of every validation row; each process computes its share."""
        share = self.team.share(len(self.validation))
        found = [0.0] * len(self.validation)
        ours = losses(self.model, [self.validation[n] for n in share], self.pad)
        for n, value in zip(share, ours, strict=True):
            found[n] = value
        return self.team.gathered(found)

    def get_train_dataloader(self) -> Any:
        if self.team.size == 1:
            return super().get_train_dataloader()
        share = Share(self.train_dataset, self.run.settings, self.team)
        return ShareLoader(
            self.train_dataset, batch_sampler=share, collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )  # fmt: skip

    def _track_num_input_tokens(self, inputs: Any) -> None:
        """Count the tokens of rows; a blank row has none."""
        if self.team.size > 1:
            is_row = (inputs["labels"] != IGNORED).any(dim=1, keepdim=True)
            inputs = {**inputs, "attention_mask": inputs["attention_mask"] * is_row}
        super()._track_num_input_tokens(inputs)

    def is_over_at(self, checkpoint: Path) -> bool:
        """Tell whether training was over with this checkpoint; transformers would take one step more."""
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE))
        if state.global_step >= state.max_steps:
            return True
        early = state.stateful_callbacks.get(EarlyStoppingCallback.__name__)
        if not isinstance(early, dict):
            return False
        patience = early["args"]["early_stopping_patience"]
        return bool(early["attributes"]["early_stopping_patience_counter"] >= patience)

    def take(self, checkpoint: Path) -> None:
        """Take over the weights and the count of a checkpoint, without training on."""
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE))
        self._load_from_checkpoint(str(checkpoint))
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()

    def refuse_broken_weights(self) -> None:
        """Raise TrainingFailed when a trained weight is no number: such weights are never kept.

        Without clipping a gradient can break them in a step whose loss was fine.
        """
        for name, weight in self.model.named_parameters():
            if weight.requires_grad and not bool(torch.isfinite(weight).all()):
                raise TrainingFailed(
                    f"{name} holds weights that are no numbers at step {self.state.global_step}"
                )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.refuse_broken_weights()
        super()._save_checkpoint(model, trial)
        self.team.wait()  # for every process's random state, which the manifest must name
        if self.team.is_first:
            folder = Path(self.args.output_dir)
            checkpoint = folder / f"{checkpoints.PREFIX}{self.state.global_step}"
            (checkpoint / TRAINING_ARGS_NAME).unlink(missing_ok=True)
            checkpoints.complete(checkpoint)
            best = self.state.best_model_checkpoint
            checkpoints.prune(folder, KEPT, Path(best) if best else None)
        self.team.wait()


class Watch(TrainerCallback):
    """Writes the curves, says how far it is, and ends the run when it must end."""

    def __init__(self, run: LoraRun, show: Show, team: Team) -> None:
        self.run = run
        self.show = show
        self.team = team
        self.stopped_by: dict[str, Any] | None = None
        self._since = (time.monotonic(), 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_given: Any) -> None:
        self._since = (time.monotonic(), int(state.num_input_tokens_seen))
        self.show("training", state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_given: Any) -> Any:
        self.show("training", state.global_step, state.max_steps)
        discard = self._asked_to_stop()
        if discard is not None:
            self.stopped_by = {"discard": discard}
            control.should_training_stop = True
            control.should_save = not discard
        return control

    def _asked_to_stop(self) -> bool | None:
        """Tell whether to stop after this step, and then to discard: the first process looks, all obey."""
        asked = self.run.asked_to_stop() if self.team.is_first else None
        word = self.team.agreed(0 if asked is None else 2 if asked["discard"] else 1)
        return word == 2 if word else None

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_given: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not math.isfinite(loss) or not math.isfinite(norm):
            what = f"The loss is {loss}" if not math.isfinite(loss) else f"The gradient's norm is {norm}"
            raise TrainingFailed(f"{what} at step {state.global_step}")
        now, tokens = time.monotonic(), int(state.num_input_tokens_seen)
        seconds, before = now - self._since[0], self._since[1]
        self._since = (now, tokens)
        self.run.measure(
            step=state.global_step, epoch=state.epoch, loss=loss, grad_norm=norm,
            learning_rate=float(logs["learning_rate"]), tokens=tokens,
            tokens_per_second=round((tokens - before) / seconds, 1) if seconds > 0 else None, **memory(),
        )  # fmt: skip


def memory() -> dict[str, Any]:
    """Give the bytes in use: of this process, and of the GPU and how busy it is where there is one."""
    used: dict[str, Any] = {"memory": psutil.Process().memory_info().rss}
    if torch.cuda.is_available():
        used["gpu_memory"] = torch.cuda.max_memory_allocated()
        # Without NVIDIA's library nobody can say how busy and how warm it is.
        with suppress(RuntimeError, ModuleNotFoundError):
            used["gpu_use"] = torch.cuda.utilization()
            used["gpu_temperature"] = torch.cuda.temperature()
    return used


def arguments(
    folder: Path, settings: Settings, rows: int, processes: int, has_validation: bool = True
) -> TrainingArguments:
    """Say a run's settings in transformers' words. A batch is shared by the processes."""
    cuda = torch.cuda.is_available()
    steps = settings.steps_of(rows)
    accumulate = max(1, settings.batch // (settings.micro_batch * processes))
    early = settings.early_stop > 0
    said = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        lr_scheduler_kwargs={"min_lr_rate": 1 / 30} if settings.scheduler == "cosine_with_min_lr" else {},
        warmup_steps=settings.warm_up_of(steps),
        num_train_epochs=settings.epochs,
        max_steps=steps,
        weight_decay=settings.weight_decay,
        optim=settings.optimizer,
        adam_beta2=settings.beta_2,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.random_seed,
        data_seed=settings.random_seed,
        use_cpu=not cuda,
        bf16=cuda,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would hide the very thing a person must be told
        eval_strategy="steps" if has_validation else "no",
        eval_steps=settings.eval_every,
        save_strategy="steps",
        save_steps=settings.eval_every if early else settings.save_every,
        load_best_model_at_end=early,
        metric_for_best_model="eval_loss" if early else None,
        greater_is_better=False if early else None,
        restore_callback_states_from_checkpoint=True,
        include_num_input_tokens_seen="non_padding",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],  # our own files, and TensorBoard's by a callback
        dataloader_pin_memory=cuda,
        ddp_find_unused_parameters=False,  # every trained weight has its part in every row's loss
    )
    if processes == 1 and cuda:
        said._n_gpu = 1  # of several GPUs, too: else the trainer wraps the model in torch's DataParallel
    return said


def explain_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on the GPU or beside it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)
