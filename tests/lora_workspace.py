"""A workspace to train in: a practice base of seconds, and a frozen version made by the stages themselves."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curation.assemble import Settings as AssembleSettings
from curation.assemble import assemble
from curation.import_samples import import_samples
from curation.workspace import Workspace
from training.checkpoints import MANIFEST, PREFIX
from training.practice_base import Settings as BaseSettings
from training.practice_base import practice_base
from training.run import LoraRun, last_step

TINY = BaseSettings(
    bytes=60_000, vocabulary=400, hidden=32, inner=64, layers=2, heads=2, positions=256, length=64,
    batch=4, steps=4,
)  # fmt: skip
VERSION, MIXED = "v1", "mixed"
VERBS = ("sort", "reverse", "count", "merge", "filter", "parse", "encode", "sum")
THINGS = ("a list", "a string", "a tree", "two queues", "log lines", "dates", "a heap")
# What a test changes of the recipe so that a step takes a tenth of a second. Dropout stays on.
QUICK: dict[str, Any] = {
    "batch": 4, "micro_batch": 2, "cutoff": 192, "max_steps": 8, "save_every": 3, "eval_every": 4,
    "warm_up_steps": 2, "rank": 4, "alpha": 8, "dropout": 0.1, "learning_rate": 0.01,
}  # fmt: skip


def rows(number: int) -> list[dict[str, Any]]:
    """Give rows that resemble each other enough for a tiny model to learn something."""
    made = []
    for n in range(number):
        verb, thing = VERBS[n % len(VERBS)], THINGS[n // len(VERBS) % len(THINGS)]
        body = f"def {verb}_{n}(x):\n" + "    x = step(x)\n" * (n % 4) + f"    return {verb}(x)"
        made.append({"instruction": f"{verb} {thing} ({n})", "input": "", "output": body})
    return made


def infilling_rows(number: int) -> list[dict[str, Any]]:
    return [
        {
            "instruction": f"Fill in the middle of function {n}", "input": "",
            "output": f"def f_{n}(x):\n    return {n}",
            "prefix": f"def f_{n}(x):\n", "middle": f"    return {n}", "suffix": f"\n\nprint(f_{n}(1))\n",
        }
        for n in range(number)
    ]  # fmt: skip


def freeze(folder: Path, given: Sequence[Mapping[str, Any]], name: str, validation: float = 0.2) -> Workspace:
    """Import rows into a new workspace and freeze all of them as a version."""
    workspace = Workspace(folder)
    file = folder.parent / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in given))
    import_samples(workspace, str(file))
    assemble(workspace, name, AssembleSettings(validation=validation))
    return workspace


def trained_workspace(folder: Path, number: int = 60) -> Workspace:
    """Give a workspace with the practice base and the version VERSION."""
    workspace = freeze(folder, rows(number), VERSION)
    practice_base(workspace, TINY)
    return workspace


def weights(run: LoraRun) -> dict[str, Any]:
    """Give the tensors of a run's result."""
    from safetensors.torch import load_file

    name = "adapter_model" if run.output.name == "adapter" else "model"
    return dict(load_file(run.output / f"{name}.safetensors"))


def difference(left: Mapping[str, Any], right: Mapping[str, Any]) -> float:
    """Give the largest absolute difference of two sets of tensors that must have the same names."""
    assert left.keys() == right.keys()
    return max(float((left[name].float() - right[name].float()).abs().max()) for name in left)


# --- a process to kill ---

# Loaded once by the server that processes are forked from: imports take longer than these runs. The server
# itself never computes, because torch cannot go backward in a process forked from one that did.
LOADED = ("training.trainer", "training.lora", "peft", "transformers.models.llama.modeling_llama")


def train_in_child(folder: Path, name: str, pause: float | None, fault: str | None) -> None:
    """Train, a little slower if asked, in a process that may be killed."""
    import torch

    from training.lora import train

    torch.set_num_threads(1)
    os.environ.pop("WINNOW_FAULT", None)
    if fault:
        os.environ["WINNOW_FAULT"] = fault
    train(Workspace(folder), name, lambda doing, done, total: time.sleep(pause or 0.0))


class Child:
    """A process that trains a run."""

    def __init__(self, folder: Path, name: str, pause: float | None, fault: str | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(LOADED))
        self.run = LoraRun(folder / "runs" / name)
        self.process = context.Process(target=train_in_child, args=(folder, name, pause, fault), daemon=True)
        self.process.start()

    def step(self) -> int:
        return last_step(self.run)

    def unfinished_checkpoints(self) -> list[Path]:
        """Name the folders of checkpoints that are being written."""
        found = self.run.checkpoints.glob(f"{PREFIX}*")
        return [one for one in found if not (one / MANIFEST).exists()]

    def wait_for(self, sign: Callable[[], bool], limit: float = 60.0) -> bool:
        """Look often; gives False when the process ended first."""
        end = time.monotonic() + limit
        while not sign():
            if not self.process.is_alive():
                return False
            assert time.monotonic() < end, "nothing came of it"
            time.sleep(0.0005)
        return True

    def kill(self) -> bool:
        """Kill it. Gives whether it was still alive."""
        self.process.kill()
        return self.ended() == -signal.SIGKILL

    def ended(self, limit: float = 120.0) -> int | None:
        self.process.join(limit)
        return self.process.exitcode


@contextmanager
def killable(folder: Path, name: str, pause: float | None, fault: str | None = None) -> Iterator[Child]:
    child = Child(folder, name, pause, fault)
    try:
        yield child
    finally:
        child.process.kill()
        child.process.join()
