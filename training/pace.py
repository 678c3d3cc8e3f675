"""How long a run will take, by what runs on this machine took: never by a number from elsewhere.

No torch. The speed of an earlier run is carried over by the floating-point operations of a token: 2 a weight
forward, 2 more backward through it, 2 more where the weight itself is trained (Kaplan et al. 2020, "Scaling
Laws for Neural Language Models", section 2.1). Attention's own operations are left out, which are few below
some thousand tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from curation.errors import WrongInput
from curation.workspace import Workspace
from training import fit
from training import run as runs
from training.base_model import BaseModel
from training.recipes import FULL, Settings
from training.run import LoraRun

ENOUGH = 5  # steps whose speed was measured
LOOKED_AT = 20  # runs, the newest


@dataclass(frozen=True)
class Pace:
    """How long, and by which run it is known."""

    seconds: float  # of steps and evaluations; loading comes before
    tokens_per_second: float
    by: str  # name of the run
    same_base: bool


def expected(
    workspace: Workspace, base: BaseModel, settings: Settings, tokens: float, held_out: float
) -> Pace | None:
    """Say how long `tokens` of training and, at every evaluation, `held_out` tokens take; None: not known.

    Both are counts of tokens, `tokens` over all steps, `held_out` over all evaluations.
    """
    cost = operations(base.config() or {}, settings)
    gpus = fit.machine_memory()["gpus"]
    if cost is None:
        return None
    found = [one for one in map(_speed, runs.runs(workspace)[:LOOKED_AT]) if one is not None]
    found = [one for one in found if one.on_gpu == bool(gpus)]
    if not found:
        return None
    best = max(found, key=lambda one: (one.identity == base.identity, one.method == settings.method))
    speed = best.operations_per_second / cost  # tokens a second
    share = 2 / _a_weight(settings)  # an evaluation only goes forward
    return Pace((tokens + held_out * share) / speed, speed, best.name, best.identity == base.identity)


def operations(config: Mapping[str, Any], settings: Settings) -> float | None:
    """Give the floating-point operations that training on a token takes; None: the model is not known."""
    try:
        shape = fit.Shape.read(config)
    except WrongInput:
        return None
    return float(_a_weight(settings) * (shape.in_linears + shape.vocabulary * shape.hidden))


def _a_weight(settings: Settings) -> int:
    again = 2 if settings.activation_checkpointing else 0
    return (6 if settings.method == FULL else 4) + again


@dataclass(frozen=True)
class _Speed:
    name: str
    identity: str
    method: str
    on_gpu: bool
    operations_per_second: float


def _speed(run: LoraRun) -> _Speed | None:
    """Read how fast a run was: the middle of its steps, so that neither evaluations nor hiccups count."""
    measured = run.measurements()
    speeds = [one["tokens_per_second"] for one in measured if one.get("tokens_per_second")]
    base = BaseModel.of(run.frozen["base_model"])
    cost = operations(base.config() or {}, run.settings)
    if len(speeds) < ENOUGH or cost is None:
        return None
    on_gpu = any("gpu_memory" in one for one in measured)
    return _Speed(run.name, base.identity, run.settings.method, on_gpu, median(speeds) * cost)
