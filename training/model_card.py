"""The card of a trained adapter or model: what it was made of, how, and what it came to."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.recipes import LORA, find
from training.run import LoraRun
from training.run_report import means

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60


def card(run: LoraRun, result: Mapping[str, Any], public: bool = False, merged: bool = False) -> str:
    """Write README.md for the folder with the weights.

    With `public` for others: folders of this machine are named by their last part only. With `merged` it is
    the card of base and adapter as one model.
    """
    frozen, settings = run.frozen, run.settings
    base = public_base(frozen["base_model"]) if public else frozen["base_model"]
    is_adapter = settings.method == LORA and not merged
    kind = "LoRA adapter" if is_adapter else "model"
    parts = [
        _front_matter(base, is_adapter),
        f"# {run.name}\n",
        f"A {kind} trained by Winnow {frozen['winnow']} on the frozen version `{frozen['version']}` "
        f"(sha256 of its rows: `{frozen['sha256']}`).\n",
        "Base and LoRA adapter, added into one model.\n" if merged else "",
        _practice_note(frozen["base_model"]),
        _earlier_note(base) if is_adapter and public else "",
        _table("Result", _result(result)),
        _curve(run),
        _table("Data", _data(run)),
        _recipe(run),
        _table("Base model", {key: value for key, value in base.items() if value}),
        _table("Versions", frozen["versions"]),
    ]
    return "\n".join(part for part in parts if part)


def public_base(base: Mapping[str, Any]) -> dict[str, Any]:
    """Give the facts of a base model without the folders that it has on this machine."""
    location = str(base["location"])
    name = _last_part(location) if base["kind"] == "folder" else str(base["name"])
    return {
        **base,
        "name": name,
        "location": _last_part(location) if Path(location).is_absolute() else location,
        "adapters": [_last_part(one) for one in base["adapters"]],
    }


def _last_part(folder: str) -> str:
    """Name a folder; a run's `adapter` or `model` by its run."""
    path = Path(folder)
    of_run = path.name in ("adapter", "model") and path.parent.parent.name == "runs"
    return path.parent.name if of_run else path.name


def _front_matter(base: Mapping[str, Any], is_adapter: bool) -> str:
    """Say what the hub reads. What nobody knows, a licence say, is left out rather than made up."""
    lines = ["---", "tags:", "- code", "- winnow"]
    lines += [f"library_name: {'peft' if is_adapter else 'transformers'}", "pipeline_tag: text-generation"]
    if base["kind"] == "hub":
        lines.insert(1, f"base_model: {json.dumps(base['location'])}")
    return "\n".join([*lines, "---\n"])


def _practice_note(base: Mapping[str, Any]) -> str:
    if base["kind"] != "practice" and not str(base["location"]).endswith("models/practice"):
        return ""
    return (
        "**The base is the practice base**: too small to solve tasks. What this shows is that training "
        "learns (held-out loss below), not that the data is good.\n"
    )


def _earlier_note(base: Mapping[str, Any]) -> str:
    if not base["adapters"]:
        return ""
    needed = ", then ".join(f"`{_cell(one)}`" for one in base["adapters"])
    return (
        f"**This adapter needs others**: it was trained on `{_cell(base['location'])}` with {needed} "
        "merged in. Without them it gives another model than the one measured here.\n"
    )


def _result(result: Mapping[str, Any]) -> dict[str, Any]:
    shown = {
        "state": result["state"],
        "steps": f"{result['steps']:,}",
        "training loss, mean of the last ten steps": _number(result["train_loss"]),
        "held-out loss, before and after": _change(result["eval_loss_before"], result["eval_loss"]),
        "held-out bits a byte, before and after": _change(
            result["bits_per_byte_before"], result["bits_per_byte"]
        ),
        "trained parameters": f"{result['trainable_parameters']:,} of {result['parameters']:,}",
        "seconds (last attempt)": result["seconds"],
    }
    return {key: value for key, value in shown.items() if value is not None}


def _curve(run: LoraRun) -> str:
    measured = run.measurements()
    losses = [one["loss"] for one in measured if "loss" in one]
    if not losses:
        return ""
    lines = [f"training loss, step 1 to {len(losses):,}:  {sparkline(losses)}  "
             f"{losses[0]:.3f} -> {losses[-1]:.3f}"]  # fmt: skip
    lines += [f"held-out loss after step {one['step']:,}: {one['eval_loss']:.4f}"
              for one in measured if "eval_loss" in one]  # fmt: skip
    return "## Curves\n\n```text\n" + "\n".join(lines) + "\n```\n"


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Draw values as bars, a mean each when there are more than fit."""
    if not values:
        return ""
    shown = means(values, width)
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((one - low) * scale)] for one in shown)


def _data(run: LoraRun) -> dict[str, Any]:
    train, validation = run.data["train"], run.data["validation"]
    return {
        "rows trained on": f"{train['rows']:,}",
        "of them infilling (loss on every part)": f"{train['infilling']:,}",
        "rows without a response within the cutoff": f"{sum(train['unusable'].values()):,}",
        "rows cut at the cutoff": f"{train['cut']:,}",
        "tokens, and those that carry loss": f"{train['tokens']:,}; {train['learned_tokens']:,}",
        "held-out rows": f"{validation['rows']:,}",
    }


def _recipe(run: LoraRun) -> str:
    settings, recipe = run.settings, find(run.frozen["recipe"])
    lines = [
        f"## Recipe: {recipe.name}\n",
        f"{recipe.about}.\n",
        "| setting | value | source |",
        "|---|---|---|",
    ]
    for name, value in run.frozen["settings"].items():
        source = recipe.source_of(name, settings)
        shown = ", ".join(value) if isinstance(value, (list, tuple)) else value
        lines.append(f"| {name} | `{shown}` | {source} |")
    return "\n".join(lines) + "\n"


def _table(title: str, rows: Mapping[str, Any]) -> str:
    lines = [f"## {title}\n", "| | |", "|---|---|"]
    lines += [f"| {key} | `{_cell(value)}` |" for key, value in rows.items()]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return "".join(c if c.isprintable() else " " for c in text).replace("`", "'").replace("|", "/")[:200]


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _change(before: float | None, after: float | None) -> str | None:
    return None if before is None or after is None else f"{before:.4f} -> {after:.4f}"
