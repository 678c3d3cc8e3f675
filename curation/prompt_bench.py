"""The prompt bench: the same seeds under two prompts or models, side by side. Its replies make no samples,
and cost nothing again when the same prompt and model are used for real."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from curation import prompt_shelf
from curation.asking import generation_id
from curation.generate import Settings, generate, settings_of, wanted_seeds
from curation.generation_browser import ReplyStory, reply_story
from curation.prompt import Prompt
from curation.reply import METHOD
from curation.stage import Progress, StageResult, silent
from curation.store import generations
from curation.store.generations import KEPT
from curation.workspace import Workspace

SEEDS = 5  # as many as a person reads


@dataclass(frozen=True)
class Variant:
    """One side of a comparison."""

    prompt: str  # hash
    model: str


@dataclass(frozen=True)
class Summary:
    """What one side came to."""

    generation: str
    prompt: Prompt
    model: str
    asked: int
    usable: int  # replies that would be samples
    tokens_in: float  # mean of a reply
    tokens_out: float
    problem: float  # mean characters of usable ones
    solution: float
    seconds: float


@dataclass(frozen=True)
class Compared:
    """Two sides, and every seed that both were asked about."""

    sides: tuple[Summary, Summary]
    pairs: Sequence[tuple[ReplyStory | None, ReplyStory | None]]  # a seed each


def trial(settings: Settings, variant: Variant) -> Settings:
    return replace(settings, prompt=variant.prompt, model=variant.model, is_trial=True, draws=1)


def run_bench(
    workspace: Workspace, asked: Mapping[str, Any], variants: Sequence[Variant], key: str | None,
    show: Progress = silent,
) -> StageResult:  # fmt: skip
    """Ask both sides about the same seeds. The same call again asks what was not answered.

    Raises WrongInput as `generate` does.
    """
    settings = settings_of(asked)
    results = [generate(workspace, trial(settings, one), key, show) for one in variants]
    last = results[-1]
    last.report = {
        "sides": [one.report for one in results],
        "calls": sum(one.report["calls"] for one in results),
        "paused": next((one.report["paused"] for one in results if one.report["paused"]), None),
    }
    last.warnings = [text for one in results for text in one.warnings]
    return last


def compared(workspace: Workspace, asked: Mapping[str, Any], variants: Sequence[Variant]) -> Compared:
    """Give what both sides came to so far. Raises WrongInput when no seed fits."""
    settings = settings_of(asked)
    wanted = wanted_seeds(workspace, settings)
    found = [_side(workspace, trial(settings, one), wanted) for one in variants]
    pairs = [tuple(stories.get(id) for _, stories in found) for id in wanted]
    return Compared((found[0][0], found[1][0]), pairs)  # type: ignore[arg-type]


def _side(
    workspace: Workspace, settings: Settings, wanted: Sequence[str]
) -> tuple[Summary, dict[str, ReplyStory]]:
    prompt = prompt_shelf.prompt_for(workspace, METHOD, settings.prompt)
    id = generation_id(METHOD, settings.label, settings, prompt)
    with workspace.database.reading() as connection:
        items = generations.items(connection, id, wanted)
    stories = {
        one.subject: story
        for one in items
        if one.state != generations.WAITING and (story := reply_story(workspace, id, one.position))
    }
    usable = [one for one in stories.values() if one.item.state == KEPT and one.parsed]
    texts = [one.parsed for one in usable if one.parsed]
    return Summary(
        id, prompt, settings.model, len(stories), len(usable),
        _mean([one.item.tokens_in or 0 for one in stories.values()]),
        _mean([one.item.tokens_out or 0 for one in stories.values()]),
        _mean([len(one.problem) for one in texts]), _mean([len(one.solution) for one in texts]),
        _mean([one.item.seconds or 0.0 for one in stories.values()]),
    ), stories  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return mean(values) if values else 0.0
