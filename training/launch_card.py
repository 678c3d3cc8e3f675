"""The card beside Train: what a run will do, with what and how long, before anything starts.

No torch and no screen: the page draws it, tests read it.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.errors import WrongInput
from curation.workspace import RESERVE
from training import fit, processes, recipes
from training.base_model import BaseModel
from training.pace import Pace
from training.preflight import FEW, RowCheck
from training.recipes import FULL, LORA, RECIPES, Recipe, Settings, changed, settings_of, value_of
from training.run import WITH_WEIGHTS

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MODULES = ("gate_proj", "up_proj", "down_proj", *ATTENTION)  # of a Llama, and those built like it
LLAMAS = ("llama", "mistral")  # whose weights `all_parameters` can count: no biases, one shape a layer
PRACTICE_NOTE = (
    "The practice base is too small to solve tasks. It is good for seeing that training learns: held-out "
    "loss falls. It says nothing about how good the data is."
)

# How the settings are grouped on the page; `method` stands beside the recipe.
GROUPS: dict[str, tuple[str, ...]] = {
    "How long, and on what": ("epochs", "max_steps", "batch", "micro_batch", "cutoff", "template"),
    "Learning rate": (
        "learning_rate", "scheduler", "warm_up_steps", "warm_up_share",
        "optimizer", "beta_2", "weight_decay", "max_grad_norm",
    ),
    "LoRA": ("rank", "alpha", "dropout", "targets"),
    "Memory and length": ("quantize", "activation_checkpointing", "rope_theta", "positions"),
    "Measuring and keeping": ("eval_every", "eval_rows", "save_every", "early_stop", "random_seed"),
}  # fmt: skip
LEAST: dict[str, float] = {
    **dict.fromkeys(("batch", "micro_batch", "rank", "alpha", "eval_every", "save_every"), 1),
    "cutoff": 8,
}
MOST: dict[str, float] = {"dropout": 0.99, "beta_2": 1.0, "warm_up_share": 1.0, "learning_rate": 1.0}


Fact = tuple[str, str, str]  # label, value, more


@dataclass(frozen=True)
class Card:
    """What the page says before Train is pressed: facts (label, value, more) and notes."""

    facts: list[Fact] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # each by itself would end the run at its start


def card(
    manifest: Mapping[str, Any],
    recipe: Recipe,
    settings: Settings,
    base: BaseModel,
    open_cases: int,
    looked: RowCheck | None = None,
    pace: Pace | None = None,
) -> Card:
    """Say what training a version with these settings comes to. `open_cases` are those of now.

    `looked` is what a sample of its rows came to, `pace` how long it takes; None: not known before it begins.
    """
    counts = Counts.of(manifest, settings, looked)
    config = base.config()
    needs = memory(config, settings)
    facts = [
        _rows_fact(counts, settings),
        _steps_fact(counts, settings),
        _tokens_fact(counts, looked),
        _time_fact(pace),
        _memory_fact(needs),
        _disk_fact(needs),
        _parameters_fact(config, settings),
        _rate_fact(recipe, settings),
        _benchmarks_fact(manifest),
    ]
    warnings = [
        *_memory_warnings(needs),
        *_warnings(manifest, settings, counts, open_cases),
        *_length_warnings(config, settings),
        *(looked.warnings if looked else ()),
    ]
    notes = [*_notes(recipe, settings, base), *_row_notes(looked, settings)]
    return Card(facts, warnings, notes, _problems(config, settings, looked))


@dataclass(frozen=True)
class Counts:
    """How much there is to train on; tokens are those of a sample of rows, carried over to all."""

    rows: int  # of the training split
    usable: int  # of them, those with a token to learn from, as far as is known
    held_out: int
    measured: int  # held-out rows that are looked at
    steps: int
    tokens: float | None = None  # of all steps; None: the tokenizer is not here
    measured_tokens: float | None = None  # of all evaluations

    @classmethod
    def of(cls, manifest: Mapping[str, Any], settings: Settings, looked: RowCheck | None) -> "Counts":
        report = manifest["report"]
        held_out = int(report["validation"])
        rows = int(report["rows"]) - held_out
        usable = round(rows * (1 - looked.unusable)) if looked else rows
        measured = min(held_out, settings.eval_rows or held_out)
        steps = settings.steps_of(usable)
        if looked is None or not looked.tokens:
            return cls(rows, usable, held_out, measured, steps)
        evaluations = 2 + (steps - 1) // settings.eval_every  # before the first step, and after the last
        return cls(
            rows, usable, held_out, measured, steps,
            tokens=looked.tokens * min(steps * settings.batch, usable * _passes(steps, usable, settings)),
            measured_tokens=looked.tokens * measured * evaluations,
        )  # fmt: skip


def _passes(steps: int, rows: int, settings: Settings) -> float:
    return steps / max(1, -(-rows // settings.batch))


def _rows_fact(counts: Counts, settings: Settings) -> Fact:
    more = f"{counts.held_out:,} held out" if counts.held_out else "none held out"
    more += f", {counts.measured:,} of them measured" if counts.measured < counts.held_out else ""
    about = "" if counts.usable == counts.rows else f"about {counts.usable:,} of "
    return "Rows to train on", f"{about}{counts.rows:,}", more


def _steps_fact(counts: Counts, settings: Settings) -> Fact:
    warm_up = settings.warm_up_of(counts.steps)
    passes = counts.steps * settings.batch / max(1, counts.usable)
    more = f"{warm_up:,} warm up · {settings.batch:,} rows a step · {passes:.2f} passes"
    return "Steps", f"{counts.steps:,}", more


def _tokens_fact(counts: Counts, looked: RowCheck | None) -> Fact:
    if counts.tokens is None or looked is None:
        return "Tokens", "not known yet", "counted when the run begins: the tokenizer is not here"
    more = (
        f"{looked.tokens:,.0f} a row · loss on {looked.learned:.0%} · by {looked.looked_at:,} rows looked at"
    )
    return "Tokens", f"about {_short(counts.tokens)}", more


def _short(number: float) -> str:
    """Write a large number as a person says it: 1.2 million."""
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.3g}{word}"
    return f"{float(f'{number:.3g}'):,.0f}"


def _time_fact(pace: Pace | None) -> Fact:
    if pace is None:
        return "Time", "not known yet", "no run on this machine tells; told after the first steps"
    by = f"by run {pace.by}" if pace.same_base else f"roughly, by run {pace.by} on another base"
    return "Time", f"about {_duration(pace.seconds)}", f"{by}: {pace.tokens_per_second:,.0f} tokens a second"


def _duration(seconds: float) -> str:
    """Write a duration no finer than it is known."""
    for size, word in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{float(f'{seconds / size:.2g}'):g} {word}"
    return f"{max(1, round(seconds, -1)):.0f} seconds"


def _memory_fact(needs: "Memory | None") -> Fact:
    if needs is None:
        return "Memory", "not known yet", "its config.json is not here, or of a family not known"
    return "Memory", f"about {needs.needed}", needs.more


def _disk_fact(needs: "Memory | None") -> Fact:
    if needs is None:
        return "Disk", "not known yet", "checkpoints and the result"
    more = f"checkpoints and the result; {fit.told(RESERVE)} more must stay free"
    return "Disk", f"up to {needs.disk}", more


def _memory_warnings(needs: "Memory | None") -> list[str]:
    if needs is None or not needs.advice:
        return []
    told = f"It will not fit: it takes about {needs.needed}, and {needs.available} are free."
    return [f"{told} What helps: {'; '.join(needs.advice)}."]


def _row_notes(looked: RowCheck | None, settings: Settings) -> list[str]:
    if looked is None:
        return []
    found = []
    if looked.cut >= FEW:
        found.append(
            f"About {looked.cut:.0%} of the rows are cut at {settings.cutoff:,} tokens: they do not learn "
            "to end."
        )
    if looked.joined:
        found.append(_joined_note(looked))
    return found


def _joined_note(looked: RowCheck) -> str:
    return (
        f"In about {looked.joined:.0%} of the rows this tokenizer would join the template's last newline "
        "with the answer; there both are tokenised apart, as they will be at generation."
    )


def _problems(config: Mapping[str, Any] | None, settings: Settings, looked: RowCheck | None) -> list[str]:
    found = [looked.problem] if looked and looked.problem else []
    missing = fit.missing_targets(config, settings)
    return [*found, missing] if missing else found


def _parameters_fact(config: Mapping[str, Any] | None, settings: Settings) -> Fact:
    if config is None:
        return "Trained parameters", "not known yet", "the base is fetched when the run begins"
    trained = trainable_parameters(config, settings)
    if trained is None:
        return "Trained parameters", "not known yet", "counted when the run begins: no Llama by its config"
    if settings.method == FULL:
        return "Trained parameters", f"{trained:,}", "all weights"
    total = all_parameters(config)
    share = f"{trained / total:.2%} of {total:,}" if total else "beside frozen weights"
    return "Trained parameters", f"{trained:,}", f"LoRA of rank {settings.rank} · {share}"


def _rate_fact(recipe: Recipe, settings: Settings) -> Fact:
    source = recipe.source_of("learning_rate", settings)
    return "Learning rate", f"{settings.learning_rate:g}", f"{settings.scheduler} · {source}"


def _benchmarks_fact(manifest: Mapping[str, Any]) -> Fact:
    """Say against which benchmarks its rows were checked; a warning says so, too, when against none."""
    named = [_tasks(name, int(facts["items"])) for name, facts in sorted(manifest["benchmarks"].items())]
    return "Benchmarks checked", f"{len(named):,}" if named else "none", " · ".join(named)


def _tasks(name: str, number: int) -> str:
    return f"{name}, {number:,} {'task' if number == 1 else 'tasks'}"


def _warnings(manifest: Mapping[str, Any], settings: Settings, counts: Counts, open_cases: int) -> list[str]:
    found = []
    if not manifest["report"]["contamination_checked"]:
        found.append(
            "Contamination was not checked: a model trained on this may know the tasks it is measured by."
        )
    if open_cases:
        cases = "1 review case is open" if open_cases == 1 else f"{open_cases:,} review cases are open"
        found.append(f"{cases} now. This version stays as it was frozen: answers count in the next one.")
    if not counts.held_out:
        found.append("No row is held out: nobody will see whether it learns or only remembers.")
    if settings.warm_up_of(counts.steps) >= counts.steps > 1:
        found.append("All steps warm up: the learning rate never reaches its peak. Lower warm_up_steps.")
    if counts.rows < settings.batch:
        found.append(f"A step takes {settings.batch:,} rows, and there are {counts.rows:,}: fewer a step.")
    return found


def _length_warnings(config: Mapping[str, Any] | None, settings: Settings) -> list[str]:
    positions = int((config or {}).get("max_position_embeddings") or 0)
    if not positions or settings.positions or settings.cutoff <= positions:
        return []
    return [
        f"The base knows {positions:,} positions, and rows are cut only at {settings.cutoff:,} tokens: "
        f"lower cutoff, or set positions."
    ]


# --- memory ---


@dataclass(frozen=True)
class Memory:
    """What a run takes at the moment that takes most, what there is, and what to turn when it is too much."""

    needed: str
    available: str
    more: str
    disk: str  # of its folder, checkpoints and result
    advice: list[str]


def memory(config: Mapping[str, Any] | None, settings: Settings) -> Memory | None:
    """Hold a run's memory against this machine's; None: it cannot be known before the base is there.

    The first GPU counts where there is one, else the memory of the machine.
    """
    if config is None:
        return None
    machine = fit.machine_memory()
    gpus = machine["gpus"]
    free, device = (gpus[0]["free"], fit.CUDA) if gpus else (machine["available"], fit.CPU)
    try:
        found = fit.estimate(config, settings, device)
    except WrongInput:  # of a family whose layers are not known, or without these targets
        return None
    where = f"on {gpus[0]['name']}" if gpus else "on this machine, no GPU"
    return Memory(
        fit.told(found.total),
        fit.told(free),
        f"{fit.told(free)} free {where} · most: {found.moment}",
        fit.told(fit.disk_needed(found, settings)),
        fit.advice(found, settings, free, config),
    )


def _notes(recipe: Recipe, settings: Settings, base: BaseModel) -> list[str]:
    found = []
    if settings.method != recipe.published_as:
        found.append(
            f"{recipe.name} was published as {_method_words(recipe.published_as)}; "
            f"this trains {_method_words(settings.method)}."
        )
    if base.name != recipe.base and base.kind != "run":
        found.append(f"Its paper trained {recipe.base}." if recipe.base != "practice" else
                     "This recipe is made for the practice base.")  # fmt: skip
    found += _processes_notes(processes.planned(settings))
    if base.kind == "practice":
        found.append(PRACTICE_NOTE)
    if base.kind == "run":
        found.append("Goes on from the weights of an earlier run, which are merged into its base first.")
    if base.kind == "hub":
        found.append(
            "The base model is fetched from the hub when the run begins."
            if base.folder is None
            else "The base model was fetched before; the hub is asked once more when the run begins."
        )
    return found


def _processes_notes(plan: processes.Plan) -> list[str]:
    notes = [f"{plan.note}."] if plan.note else []
    if plan.number > 1:
        where = f"on {plan.number} GPUs" if plan.on_gpus else f"in {plan.number} processes"
        notes.insert(0, f"Trains {where} at once by accelerate launch.")
    return notes


def _method_words(method: str) -> str:
    return "a LoRA" if method == LORA else "a full fine-tune"


# --- parameters ---


def trainable_parameters(config: Mapping[str, Any], settings: Settings) -> int | None:
    """Count what will be trained, by the base's config.json; None: it is no Llama by its config."""
    if settings.method == FULL:
        return all_parameters(config)
    shape = _shape(config)
    if shape is None or any(target not in shape.linears for target in settings.targets):
        return None
    return fit.trainable_parameters(shape, settings)


def all_parameters(config: Mapping[str, Any]) -> int | None:
    """Count a Llama's weights by its config; None: it is built otherwise."""
    shape = _shape(config)
    if shape is None or config.get("model_type") not in LLAMAS or shape.biased:
        return None
    return shape.parameters


def _shape(config: Mapping[str, Any]) -> fit.Shape | None:
    try:
        return fit.Shape.read(config)
    except WrongInput:
        return None


# --- settings that a person changes ---


def bounds(name: str) -> tuple[float, float]:
    """Give the least and the most that a number box lets a person choose."""
    return LEAST.get(name, 0), MOST.get(name, recipes.MOST.get(name, recipes.MOST_NUMBER))


def read_changes(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Read settings from an address: what can be used, and one line for each that cannot."""
    clean: dict[str, Any] = {}
    wrong = []
    for name, text in given.items():
        try:
            clean[name] = _checked(name, value_of(name, text))
        except WrongInput as error:
            wrong.append(str(error))
    return clean, wrong


def _checked(name: str, value: Any) -> Any:
    if name == "method":
        raise WrongInput("method is chosen beside the recipe")
    if value == ():
        raise WrongInput(f"{name} must name at least one module")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        least, most = bounds(name)
        if not least <= value <= most:  # NaN is neither; an int may be too long for a float
            told = f"{value:g}" if isinstance(value, float) else str(value)[:40]
            raise WrongInput(f"{name} {told} must lie between {least:g} and {most:g}")
    return value


def text_of(value: Any) -> str:
    """Write a setting's value as `--set NAME=VALUE` and an address take it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, (tuple, list)) else str(value)


# --- the same in other words ---


def command(
    version: str,
    recipe: str,
    base: str,
    method: str | None,
    changes: Mapping[str, Any],
    run_name: str = "",
) -> str:
    """Write the command line that does what the button does. Only what was changed is named."""
    settings = settings_of(recipe, method, changes)
    words: list[str] = ["train", version, "--recipe", recipe, "--base-model", base]
    if settings.method != RECIPES[recipe].settings.method:
        words += ["--method", settings.method]
    for name, value in changed(recipe, settings).items():
        words += ["--set", f"{name}={text_of(value)}"]
    words += ["--name", run_name] if run_name else []
    return "python -m training " + shlex.join(words)


def base_choices(runs: Sequence[tuple[str, str]]) -> list[str]:
    """Name the bases a select box offers: practice, then runs (name, state) that have weights."""
    return ["practice", *(name for name, state in runs if state in WITH_WEIGHTS)]
