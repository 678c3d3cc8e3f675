"""A run's settings as a file: written as the page shows them, read again by the page and the command line.

    version: example
    recipe: practice
    base_model: practice
    settings:
      learning_rate: 0.002  # ours: tried on the practice base; a small model takes a higher rate

Settings that are left out are the recipe's. A file may come from a stranger: it is read as plain data, and
nothing in it is taken that `--set` would not take.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from curation.errors import WrongInput
from training.recipes import RECIPES, Settings, changed, settings_of

KNOWN = ("version", "recipe", "base_model", "settings")
LARGEST = 64_000  # characters: a hundred times what a person writes
MOST_VALUES = 100  # of a list


def as_yaml(version: str, recipe: str, base: str, settings: Settings) -> str:
    """Write what will be frozen as the run's settings, each with its source, for `read_yaml`."""
    lines = [f"version: {_scalar(version)}", f"recipe: {_scalar(recipe)}",
             f"base_model: {_scalar(base)}", "settings:"]  # fmt: skip
    named = [(one.name, _scalar(getattr(settings, one.name))) for one in fields(Settings)]
    width = max(len(f"{name}: {value}") for name, value in named if len(value) < 20)
    for name, value in named:
        source = RECIPES[recipe].source_of(name, settings)
        lines.append(f"  {f'{name}: {value}':<{width}}  # {source}")
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    """Write a value so that YAML reads it back: 1e-05 needs its point, or it is a text there."""
    if isinstance(value, float):
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    if isinstance(value, (tuple, list)):
        return json.dumps(list(value))
    return json.dumps(value)


@dataclass(frozen=True)
class Asked:
    """What a file asks for; None or empty: it does not say."""

    version: str | None = None
    recipe: str | None = None
    base: str | None = None
    method: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)  # settings that are not the recipe's own


def read_yaml(text: str) -> Asked:
    """Read a file of settings. Raises WrongInput naming the line or the field that cannot be used."""
    given = _parsed(text)
    if unknown := sorted(str(name) for name in given if name not in KNOWN):
        raise WrongInput(f"These settings have no {', '.join(unknown)[:200]}; they have {', '.join(KNOWN)}")
    named = {name: _name(name, given.get(name)) for name in KNOWN[:3]}
    settings = given.get("settings") or {}
    if not isinstance(settings, dict):
        raise WrongInput("settings: must be lines of NAME: VALUE, indented below it")
    asked = {str(name): _value(str(name), value) for name, value in settings.items()}
    method = asked.pop("method", None)
    recipe = named["recipe"] or "practice"
    whole = settings_of(recipe, None if method is None else str(method), asked)  # raises for what is wrong
    own = RECIPES[recipe].settings.method
    return Asked(
        named["version"], named["recipe"], named["base_model"],
        whole.method if whole.method != own else None, _differing(recipe, whole),
    )  # fmt: skip


def _differing(recipe: str, settings: Settings) -> dict[str, Any]:
    return {name: value for name, value in changed(recipe, settings).items() if name != "method"}


def _parsed(text: str) -> Mapping[Any, Any]:
    import yaml

    if len(text) > LARGEST:
        raise WrongInput(f"These settings have {len(text):,} characters; at most {LARGEST:,} are read")
    try:
        given = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"Line {mark.line + 1} of these settings" if mark is not None else "This"
        what = getattr(error, "problem", None) or "nested too deeply, or a value that is none"
        raise WrongInput(f"{where} is no YAML ({what})") from error
    if not isinstance(given, dict):
        raise WrongInput(f"These are no settings: write {', '.join(KNOWN)}, each with a colon and its value")
    return given


def _name(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, (str, int, float)) or isinstance(value, bool) or len(str(value)) > 1_000:
        raise WrongInput(f"{name}: must be a name")
    return str(value)


def _value(name: str, value: Any) -> Any:
    """Take plain values and short lists of them; all else would only be refused later, and less clearly."""
    if isinstance(value, list) and len(value) <= MOST_VALUES:
        return [_value(name, one) for one in value if not isinstance(one, (list, dict))]
    if isinstance(value, (str, int, float, bool)):
        return value
    raise WrongInput(f"settings, {name}: must be a number, a word, true or false, or a short list of words")
