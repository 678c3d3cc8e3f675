"""What a run's files say, made ready for a screen: state, curves, worst rows, what differs from another run.

No torch and no screen: pages draw it, tests read it. Everything comes from the run's own folder, so that a
page shows a run of another process, or of last month, in the same way.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.recipes import RECIPES
from training.run import FAILED, RUNNING, STOPPED, WAITING, LoraRun

AXES = ("step", "epoch", "tokens")
SMOOTHING = 0.9
POINTS = 600  # of a curve on a screen; more cannot be seen, and a browser has to draw them all
GOES_ON = ("queued", "starting", "running", "stopping", "interrupted")  # states in which something happens


def shown_state(run: LoraRun, job: str | None) -> str:
    """Tell a run's state as a person sees it. `job` is the state of its newest job; None: it has none.

    The folder knows what was trained, the queue what waits for its turn; a job that ended badly before
    training began leaves no mark in the folder.
    """
    state = run.state
    if state == RUNNING:
        return "stopping" if run.asked_to_stop() is not None or job == "cancelling" else RUNNING
    if state == STOPPED and job in ("running", "cancelling"):
        return "stopping"  # its process is not gone yet, and a new start would be taken for it
    if state not in (WAITING, FAILED):
        return state
    if job in ("queued", "interrupted"):
        return job
    if job == "running":
        return "starting"
    if job == "failed":
        return FAILED
    if job in ("cancelled", "cancelling"):
        return "cancelled"
    return state


@dataclass(frozen=True)
class Summary:
    """A run in one line."""

    name: str
    version: str
    recipe: str
    method: str
    base: str
    created_at: str
    step: int
    steps: int | None  # None: not known before its rows are read
    loss_before: float | None  # held out
    loss: float | None
    losses: list[float]  # of training, thinned


def summary(run: LoraRun, measured: Sequence[Mapping[str, Any]]) -> Summary:
    frozen = run.frozen
    evaluated = [one["eval_loss"] for one in measured if "eval_loss" in one]
    losses = [one["loss"] for one in measured if "loss" in one]
    return Summary(
        name=run.name,
        version=str(frozen["version"]),
        recipe=str(frozen["recipe"]),
        method=str(frozen["settings"]["method"]),
        base=str(frozen["base_model"]["name"]),
        created_at=str(frozen.get("created_at", "")),
        step=max((one["step"] for one in measured), default=0),
        steps=run.data.get("steps"),
        loss_before=evaluated[0] if evaluated else None,
        loss=evaluated[-1] if len(evaluated) > 1 else None,
        losses=means(losses, 40),
    )


def means(values: Sequence[float], most: int) -> list[float]:
    """Give at most so many values, each the mean of its neighbours."""
    size = max(1, -(-len(values) // most))
    return [sum(values[n : n + size]) / len(values[n : n + size]) for n in range(0, len(values), size)]


def curve(measured: Sequence[Mapping[str, Any]], name: str, axis: str = "step") -> list[dict[str, float]]:
    """Give the points {"x", "y", "step"} of one measure; `axis` is step, epoch or tokens.

    Evaluations do not count tokens themselves: they stand where the training step before them ended.
    """
    points = []
    tokens = 0
    for one in measured:
        tokens = one.get("tokens", tokens)
        value = one.get(name)
        if value is None:
            continue
        x = {"step": one["step"], "epoch": one.get("epoch") or 0.0, "tokens": tokens}[axis]
        points.append({"x": float(x), "y": float(value), "step": float(one["step"])})
    return thinned(points)


def thinned(points: list[dict[str, float]], most: int = POINTS) -> list[dict[str, float]]:
    """Give at most so many points, each the mean of its neighbours, so that no peak is picked by chance."""
    size = -(-len(points) // most)
    if size <= 1:
        return points
    groups = [points[n : n + size] for n in range(0, len(points), size)]
    return [{key: sum(p[key] for p in group) / len(group) for key in group[0]} for group in groups]


def smoothed(points: list[dict[str, float]], weight: float = SMOOTHING) -> list[dict[str, float]]:
    """Add "smooth" to each point: a running mean that forgets, its beginning not drawn towards zero.

    As TensorBoard's: the last mean counts `weight`, and the sum is divided by 1 - weight^n.
    """
    mean, found = 0.0, []
    for n, point in enumerate(points, 1):
        mean = weight * mean + (1 - weight) * point["y"]
        found.append({**point, "smooth": mean / (1 - weight**n)})
    return found


def newest(measured: Sequence[Mapping[str, Any]], name: str) -> Any:
    """Give the last value of a measure; None: it was never measured."""
    return next((one[name] for one in reversed(measured) if one.get(name) is not None), None)


def oldest(measured: Sequence[Mapping[str, Any]], name: str) -> Any:
    return next((one[name] for one in measured if one.get(name) is not None), None)


@dataclass(frozen=True)
class WorstRow:
    """A held-out row on which the model is worst: its loss a token at the first evaluation and the last."""

    id: str
    loss: float
    before: float | None


def worst_rows(run: LoraRun, most: int = 12) -> tuple[int | None, list[WorstRow]]:
    """Give the step of the last evaluation, and the held-out rows with the highest loss in it."""
    found = {
        int(number): file
        for file in (run.folder / "evaluations").glob("step-*.json")
        if (number := file.stem.removeprefix("step-")).isdigit()
    }
    if not found:
        return None, []
    last, first = max(found), min(found)
    now = _losses(found[last])
    before = _losses(found[first]) if first != last else {}
    ordered = sorted(now.items(), key=lambda one: (-one[1], one[0]))[:most]
    return last, [WorstRow(id, loss, before.get(id)) for id, loss in ordered]


def _losses(file: Any) -> dict[str, float]:
    try:
        return {str(id): float(loss) for id, loss in json.loads(file.read_bytes())["loss"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # gone or damaged: nothing to show
        return {}


def settings_rows(run: LoraRun) -> list[tuple[str, str, str]]:
    """Give each setting of a run with its value and its source."""
    settings, recipe = run.settings, RECIPES[run.frozen["recipe"]]
    return [
        (name, said(value), recipe.source_of(name, settings))
        for name, value in run.frozen["settings"].items()
    ]


def said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def differences(one: LoraRun, other: LoraRun) -> list[tuple[str, str, str]]:
    """Give what two runs were told differently: name, value of the first, value of the second."""
    left, right = _told(one), _told(other)
    names: Iterable[str] = dict.fromkeys([*left, *right])
    return [
        (name, left.get(name, "-"), right.get(name, "-"))
        for name in names
        if left.get(name) != right.get(name)
    ]


def _told(run: LoraRun) -> dict[str, str]:
    frozen = run.frozen
    base = frozen["base_model"]
    return {
        "version": str(frozen["version"]),
        "rows (sha256)": str(frozen["sha256"])[:12],
        "recipe": str(frozen["recipe"]),
        "base model": f"{base['name']} {str(base['identity'])[:12]}".strip(),
        **{name: said(value) for name, value in frozen["settings"].items()},
        **{f"{name} (library)": str(value) for name, value in frozen["versions"].items()},
    }
