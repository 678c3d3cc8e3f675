"""Merge: base and adapter become one model that needs no peft."""

import json
import shutil
from pathlib import Path
from typing import Any

from curation.atomic import place_folder
from curation.errors import WrongInput
from curation.stage import silent
from curation.workspace import Workspace
from training import base_model
from training import run as runs
from training.base_model import BaseModel
from training.lora import Show
from training.recipes import FULL

MARK = "winnow-merge.json"  # written into the folder before it gets its name


def merge(workspace: Workspace, name: str, folder: Path, show: Show = silent) -> dict[str, Any]:
    """Write a run's base with its adapter added in, as a transformers model.

    Plain addition of B A alpha / rank to the weights (Platypus merges so). Raises WrongInput when the run has
    no adapter, or the folder holds something else.
    """
    run = runs.find(workspace, name)
    adapter = run.weights
    if adapter is None:
        raise WrongInput(f"The run {run.name} is {run.state}; it has no weights yet")
    if run.settings.method == FULL:
        raise WrongInput(f"{name} trained all weights; its model is {adapter}, there is nothing to merge")
    folder = folder.expanduser().resolve()
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise WrongInput(f"{folder} is not empty and holds no merged model; give --to another folder")
    show("loading base and adapter", 0, 0)
    base = base_model.of_run(workspace, run)
    model = merged(base, adapter, run).to(_dtype_of(base))
    show("writing the model", 0, 0)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(str(partial))
    base_model.load_tokenizer(base).save_pretrained(str(partial))
    shutil.copy(adapter / "README.md", partial / "README.md")
    (partial / MARK).write_text(json.dumps({"run": name, "base_model": base.facts()}, indent=2))
    place_folder(partial, folder)
    parameters = sum(one.numel() for one in model.parameters())
    return {"run": name, "to": str(folder), "parameters": parameters}


def _dtype_of(base: BaseModel) -> Any:
    """Give the numbers that the base itself is kept in; sums are made in float32 before."""
    import torch

    config = base.config() or {}  # that of a hub's model is in the cache by now: its weights were loaded
    name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    found = getattr(torch, name, torch.float32)
    return found if isinstance(found, torch.dtype) and found.is_floating_point else torch.float32


def merged(base: BaseModel, adapter: Path, run: runs.LoraRun) -> Any:
    """Give the model in memory, in float32."""
    from dataclasses import replace

    settings = replace(run.settings, quantize="none")  # 4-bit weights cannot take an addition exactly
    model = base_model.load_model(base, settings, "float32")
    return base_model.with_trained_adapter(model, adapter).merge_and_unload()
