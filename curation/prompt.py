"""Prompts for a teacher: their texts, what a text must hold, and how strangers' text is set into it.

A prompt is a system text and a user text with placeholders in braces; `{{` and `}}` stand for one brace. What
comes from strangers (`{seed}`, `{problem}`, `{solution}`) stands between `{begin}` and `{end}`, delimiters
with a tag that this text does not hold, so that it cannot end its own quotation (faults.md S23). System and
repair texts are sent as they stand. The prompts that Winnow brings are files beside this one.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from curation.errors import WrongInput
from curation.hidden_characters import HIDDEN
from curation.records import digest

SHIPPED = Path(__file__).with_name("prompts")
LONGEST = 20_000  # characters of one text; what is sent with every call costs with every call
EXCERPT = 40  # characters of what is shown as no placeholder: it may be half a program
TAG_DIGITS = 12  # hex


@dataclass(frozen=True, slots=True)
class Placeholders:
    """What a user text of one method may hold in braces."""

    data: tuple[str, ...]  # text of strangers: needed, and between {begin} and {end} wherever it stands
    other: tuple[str, ...] = ()  # may be left out
    ours: tuple[str, ...] = ()  # needed, too, wherever it stands

    @property
    def needed(self) -> tuple[str, ...]:
        return (*self.ours, *self.data, "begin", "end")

    @property
    def known(self) -> tuple[str, ...]:
        return (*self.needed, *self.other)


# Each method's file in prompts/ is named after it, with _ for -.
METHODS: Mapping[str, Placeholders] = {
    "oss-instruct": Placeholders(data=("seed",), other=("language",)),
    "judge": Placeholders(data=("problem", "solution")),
    "evolve": Placeholders(data=("instruction",), ours=("method",)),
    "equality": Placeholders(data=("first", "second")),
    "evolve-answer": Placeholders(data=("instruction",)),
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is said to a teacher, under a name that people know it by."""

    name: str
    method: str  # a key of METHODS
    system: str  # "" for models that know no such role
    user: str  # with placeholders
    repair: str = ""  # what is asked after a reply that could not be read; "" for no second try

    @property
    def hash(self) -> str:
        """Name the texts, whatever the prompt is called: calls are keyed by what was sent."""
        return digest(self.method, self.system, self.user, self.repair)


def check(prompt: Prompt) -> None:
    """Raise WrongInput with one line about the first thing that would make calls with this prompt useless."""
    _check_method(prompt.method)
    for one in fields(prompt):
        _check_text(one.name, getattr(prompt, one.name))
    for name in ("name", "user"):
        if not getattr(prompt, name).strip():
            raise WrongInput(f"the {name} of a prompt is empty; write one")
    placeholders = METHODS[prompt.method]
    found = [name for _, name in _pieces(prompt.user) if name is not None]
    for name in found:
        if name not in placeholders.known:
            shown = re.sub(r"\s+", " ", name[:EXCERPT]) + ("..." if len(name) > EXCERPT else "")
            raise WrongInput(
                f"no such placeholder: {{{shown}}}; there are {_in_braces(placeholders.known)}, "
                "and {{ }} for braces that are meant"
            )
    if missing := [name for name in placeholders.needed if name not in found]:
        raise WrongInput(f"the user text lacks {_in_braces(missing)}; add what is missing")
    _check_order(found, placeholders)


def _check_method(method: str) -> None:
    if method not in METHODS:
        *others, last = METHODS
        raise WrongInput(f"no such method: {method}; prompts are for {', '.join(others)} and {last}")


def _check_text(name: str, text: str) -> None:
    if len(text) > LONGEST:
        raise WrongInput(f"the {name} text has {len(text):,} characters; {LONGEST:,} are the most")
    for at, character in enumerate(text):
        if "\ud800" <= character <= "\udfff":
            raise WrongInput(
                f"the {name} text cannot be sent: character {at + 1} is half of one "
                f"(U+{ord(character):04X}); delete it"
            )


def _check_order(found: list[str], placeholders: Placeholders) -> None:
    """Refuse text of strangers without an open delimiter before it and the closing one behind it."""
    for at, name in enumerate(found):
        if name in placeholders.data:
            before = [one for one in found[:at] if one in ("begin", "end")]
            after = [one for one in found[at:] if one in ("begin", "end")]
            if before[-1:] != ["begin"] or after[:1] != ["end"]:
                raise WrongInput(f"{{{name}}} must stand between {{begin}} and {{end}}: strangers wrote it")


def _in_braces(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def _pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """Split a text into (literal text, name of the placeholder behind it); the last name is None.

    Raises WrongInput at a brace that belongs to nothing.
    """
    literal, at = "", 0
    for found in PIECE.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        if found.group() in ("{{", "}}"):
            literal += found.group()[0]
        elif found.group(1) is None:
            line = text.count("\n", 0, found.start()) + 1
            raise WrongInput(f"line {line} has a lone {found.group()}; write it twice where it is meant")
        else:
            yield literal, found.group(1)
            literal = ""
    yield literal + text[at:], None


def filled(prompt: Prompt, **values: str) -> str:
    """Give the user text with each placeholder replaced by its value.

    A value is set in as it is: braces inside it are never read as placeholders, and a name is only looked up,
    never followed to attributes or items. Raises WrongInput when the text asks for what was not given.
    """
    parts: list[str] = []
    for literal, name in _pieces(prompt.user):
        parts.append(literal)
        if name is not None:
            if name not in values:
                raise WrongInput(f"prompt {prompt.name} asks for {{{name}}}, which nothing stands for here")
            parts.append(values[name])
    return "".join(parts)


def messages(prompt: Prompt, **values: str) -> list[dict[str, str]]:
    """Give what is sent: a system message, where the prompt has one, and the user text, filled."""
    user = {"role": "user", "content": filled(prompt, **values)}
    return [{"role": "system", "content": prompt.system}, user] if prompt.system else [user]


# --- delimiters ---


def tag_for(text: str, *parts: str) -> str:
    """Give the tag of the delimiters around a text: 12 hex digits that the text does not hold.

    They come from a hash of the parts (a random seed, the seed's id, the draw) and a number that counts up
    until the text is free of them, in either case of letters and in look-alikes that NFKC knows, hidden
    characters left out. So the same call is made again after a kill, and no text can close its delimiter.
    """
    held = text.casefold()
    if not text.isascii():
        held += "\n" + unicodedata.normalize("NFKC", HIDDEN.sub("", text)).casefold()
    number = 0
    while (tag := digest(*parts, str(number))[:TAG_DIGITS]) in held:
        number += 1
    return tag


def delimiters(tag: str, word: str = "seed") -> tuple[str, str]:
    """Give what stands for {begin} and {end}: `<seed-TAG>` and `</seed-TAG>`."""
    return f"<{word}-{tag}>", f"</{word}-{tag}>"


# --- the prompts that come with Winnow ---


def shipped(method: str) -> list[Prompt]:
    """List the prompts that come with Winnow for a method, the default first; WrongInput for another one."""
    _check_method(method)
    file = SHIPPED / f"{method.replace('-', '_')}.toml"
    texts = tomllib.loads(file.read_text(encoding="utf-8"))["prompt"]
    return [
        Prompt(
            name=one["name"],
            method=method,
            system=one["system"].strip(),
            user=one["user"].strip(),
            repair=one.get("repair", "").strip(),
        )
        for one in texts
    ]
