"""How a task may be rewritten: the heuristics, and which of them an attempt gets.

The five for code are Code Evol-Instruct's (WizardCoder, arXiv 2306.08568, section 3.1; recipes 2.3), the
others Evol-Instruct's (WizardLM, arXiv 2304.12244, section 3.1; recipes 2.1). Their words: heuristics.toml.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

from curation.errors import WrongInput
from curation.records import digest

TEXTS = Path(__file__).with_name("heuristics.toml")
CODE = "code"  # the family that is used unless another is asked for


@dataclass(frozen=True, slots=True)
class Heuristic:
    """One way to rewrite a task."""

    name: str
    title: str  # for people
    family: str  # code | depth | breadth
    method: str  # what stands for {method}: the aim of the family, then the way


@cache
def heuristics() -> Mapping[str, Heuristic]:
    """Give every heuristic by its name, those for code first."""
    told = tomllib.loads(TEXTS.read_text(encoding="utf-8"))
    goals = {name: one["goal"].strip() for name, one in told["family"].items()}
    return {
        one["name"]: Heuristic(
            one["name"], one["title"], one["family"], f"{goals[one['family']]}\n\n{one['text'].strip()}"
        )
        for one in told["heuristic"]
    }


def title_of(name: str | None) -> str:
    """Give what people call a heuristic; of an imported row nobody knows it."""
    if name is None:
        return "unknown"
    known = heuristics().get(name)
    return known.title if known else name


def weights_in(text: str) -> dict[str, float]:
    """Read "constraints,rarer" or "constraints=2,complexity=0.5": a weight each, 1 unless it is said.

    "": the five for code, alike, as published. Raises WrongInput for what is none, and for no weight above 0.
    """
    if not text.strip():
        return {name: 1.0 for name, one in heuristics().items() if one.family == CODE}
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if name not in heuristics():
            raise WrongInput(f"There is no heuristic {name!r}; there are {', '.join(heuristics())}")
        if name in weights:
            raise WrongInput(f"--heuristics names {name} twice; give it one weight, such as {name}=2")
        weights[name] = _weight(name, number) if equals else 1.0
    if not any(weights.values()):
        raise WrongInput("--heuristics leaves none: give one of them a weight above 0")
    return {name: weight for name, weight in weights.items() if weight}


def _weight(name: str, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= 1_000_000:
        raise WrongInput(f"The weight {number!r} of {name} must be a number from 0 to 1,000,000")
    return weight


def said(weights: Mapping[str, float]) -> str:
    """Say weights in one form, whatever their order: what names a way of evolving."""
    return ",".join(f"{name}={weights[name]:g}" for name in heuristics() if name in weights)


def chosen(weights: Mapping[str, float], random_seed: int, *parts: str) -> str:
    """Draw a heuristic for an attempt, which `parts` name: always the same one for the same parts."""
    names = [name for name in heuristics() if name in weights]
    bounds = list(accumulate(weights[name] for name in names))
    at = int(digest(str(random_seed), "heuristic", *parts), 16) / 16**32 * bounds[-1]
    return next((name for name, bound in zip(names, bounds, strict=True) if at < bound), names[-1])
