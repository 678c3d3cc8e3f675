"""Turn a row of a file into instruction, input and response, whatever its columns are called."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from curation.reading import FileRow, kind_of
from curation.records import BadRow

EXTRA_LIMIT = 2_000  # characters of a column that is kept beside the texts
EXCERPT = 200

# To read one more pair of columns, add it here; the first whose columns are both there is taken.
_PAIRS = (
    ("instruction", ("output", "response")),  # alpaca
    ("prompt", ("completion", "response", "output")),
    ("problem", ("solution",)),  # Magicoder
    ("question", ("answer", "response")),
)
_TURN_FIELDS = ("messages", "conversations")
_ID_FIELDS = ("id", "task_id", "_id", "uuid")
_SPEAKERS = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
}


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The columns a user named; None leaves one to be found."""

    instruction: str | None = None
    input: str | None = None
    response: str | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What one row says, exactly as it stands in the file."""

    instruction: str
    input: str  # "" when there is none
    response: str
    file_id: str | None
    extra: Mapping[str, Any]  # small other columns; the system text under "system"


def parts_of(row: FileRow, fields: FieldMap) -> list[Parts | BadRow]:
    """Read the texts of a row: one Parts, or several where a row has several instances."""
    try:
        return list(_all_parts(row, fields))
    except _Unusable as fault:
        return [_bad(row, fault)]


def _all_parts(row: FileRow, fields: FieldMap) -> Iterator[Parts | BadRow]:
    columns = row.value
    turns = next((name for name in _TURN_FIELDS if name in columns), None)
    if fields.instruction or fields.response or _pair_in(columns):
        yield _from_columns(columns, fields)
    elif turns:
        yield _from_turns(columns, turns, fields)
    elif "instances" in columns:
        yield from _from_instances(row, fields)
    else:
        yield _from_columns(columns, fields)


class _Unusable(Exception):
    """Why a row has no usable texts; becomes a BadRow."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def _bad(row: FileRow, fault: _Unusable) -> BadRow:
    excerpt = json.dumps(row.value, ensure_ascii=False)[:EXCERPT]
    return BadRow(row.position, row.line, fault.reason, fault.message, excerpt)


# --- columns -------------------------------------------------------------------------------------


def _pair_in(columns: Mapping[str, Any]) -> str | None:
    """Find the instruction column of the first pair that is whole."""
    for instruction, responses in _PAIRS:
        if instruction in columns and any(name in columns for name in responses):
            return instruction
    return None


def _from_columns(columns: Mapping[str, Any], fields: FieldMap) -> Parts:
    asked = fields.instruction or _instruction_column(columns, fields)
    answers = (fields.response,) if fields.response else _response_columns(columns, asked)
    instruction = _text(columns, asked)
    answered = _first_filled(columns, answers)
    response = _text(columns, answered)
    given = _input_column(columns, fields, {asked, answered})
    texts = (
        _filled(instruction, "instruction", asked),
        _text(columns, given) if given else "",
        _filled(response, "response", answered),
    )
    return _parts(columns, texts, {asked, answered, given})


def _instruction_column(columns: Mapping[str, Any], fields: FieldMap) -> str:
    named = (name for name, _ in _PAIRS if name in columns and name != fields.response)
    found = next(named, None) if fields.response else _pair_in(columns) or next(named, None)
    if found is None:
        raise _Unusable(
            "missing_field",
            f"no field 'instruction'; the row has {_names(columns)}; name the right one with --instruction",
        )
    return found


def _response_columns(columns: Mapping[str, Any], asked: str) -> tuple[str, ...]:
    """Find the columns that may answer, first the ones that belong to the one that asks."""
    own = [name for instruction, names in _PAIRS if instruction == asked for name in names]
    others = [] if own else [name for _, names in _PAIRS for name in names]
    present = tuple(name for name in own or others if name in columns and name != asked)
    if not present:
        wanted = " or ".join(repr(name) for name in own) or "'response'"
        raise _Unusable(
            "missing_field",
            f"no field {wanted}; the row has {_names(columns)}; name the right one with --response",
        )
    return present


def _first_filled(columns: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Take the first column that is not empty; sets with two may fill either."""
    return next((name for name in names if not _is_blank(columns.get(name))), names[0])


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _input_column(columns: Mapping[str, Any], fields: FieldMap, used: set[str]) -> str | None:
    if fields.input:
        return fields.input
    return "input" if "input" in columns and "input" not in used else None


def _text(columns: Mapping[str, Any], name: str, label: str = "") -> str:
    label = repr(label or name)
    if name not in columns:
        raise _Unusable("missing_field", f"no field {label}; the row has {_names(columns)}")
    value = columns[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Unusable("wrong_type", f"{label} must be text and is {kind_of(value)}")
    return value


def _filled(text: str, part: str, label: str) -> str:
    if not text.strip():
        raise _Unusable(f"empty_{part}", f"{label!r}, the {part}, is empty")
    return text


def _names(columns: Mapping[str, Any]) -> str:
    """List the columns of a row for a message, however many and however long they are."""
    names = [name if len(name) <= 40 else f"{name[:37]}..." for name in list(columns)[:12]]
    more = f" and {len(columns) - 12} more" if len(columns) > 12 else ""
    return (", ".join(names) or "no fields") + more


# --- turns and instances -------------------------------------------------------------------------


def _from_turns(columns: Mapping[str, Any], field: str, fields: FieldMap) -> Parts:
    turns = [_turn(turn, f"{field}[{index}]") for index, turn in enumerate(_list(columns, field))]
    system = "\n\n".join(text for speaker, text in turns if speaker == "system")
    spoken = [(speaker, text) for speaker, text in turns if speaker != "system"]
    if len(spoken) > 2:
        raise _Unusable(
            "several_turns", f"{field!r} has {len(spoken)} turns; only a question and its answer fit"
        )
    if [speaker for speaker, _ in spoken] != ["user", "assistant"]:
        heard = ", ".join(speaker for speaker, _ in spoken) or "none"
        raise _Unusable(
            "missing_field", f"{field!r} needs a user's turn, then an assistant's; it has: {heard}"
        )
    texts = (
        _filled(spoken[0][1], "instruction", f"{field}: user"),
        _text(columns, fields.input) if fields.input else "",
        _filled(spoken[1][1], "response", f"{field}: assistant"),
    )
    return _parts(columns, texts, {field, fields.input}, system)


def _list(columns: Mapping[str, Any], field: str) -> list[Any]:
    value = columns[field]
    if not isinstance(value, list):
        raise _Unusable("wrong_type", f"{field!r} must be a list and is {kind_of(value)}")
    return value


def _turn(turn: object, label: str) -> tuple[str, str]:
    """Read who speaks and what, in the words of either kind of conversation."""
    if not isinstance(turn, dict):
        raise _Unusable("wrong_type", f"{label!r} must be an object and is {kind_of(turn)}")
    who, what = ("role", "content") if "role" in turn or "content" in turn else ("from", "value")
    speaker = _text(turn, who, f"{label}.{who}")
    return _SPEAKERS.get(speaker.lower(), speaker[:40]), _text(turn, what, f"{label}.{what}")


def _from_instances(row: FileRow, fields: FieldMap) -> Iterator[Parts | BadRow]:
    columns = row.value
    instruction = _filled(_text(columns, "instruction"), "instruction", "instruction")
    instances = _list(columns, "instances")
    if not instances:
        raise _Unusable("missing_field", "'instances' is an empty list, so the row has no response")
    for index, instance in enumerate(instances):
        try:
            yield _from_instance(columns, instruction, instance, f"instances[{index}]", fields)
        except _Unusable as fault:
            yield _bad(row, fault)


def _from_instance(
    columns: Mapping[str, Any], instruction: str, instance: object, label: str, fields: FieldMap
) -> Parts:
    if not isinstance(instance, dict):
        raise _Unusable("wrong_type", f"{label!r} must be an object and is {kind_of(instance)}")
    answered = _first_filled(
        instance, tuple(n for n in ("output", "response") if n in instance) or ("output",)
    )
    response = _text(instance, answered, f"{label}.{answered}")
    if fields.input:
        given = _text(columns, fields.input)
    else:
        given = _text(instance, "input", f"{label}.input") if "input" in instance else ""
    texts = (instruction, given, _filled(response, "response", f"{label}.{answered}"))
    return _parts(columns, texts, {"instruction", "instances", fields.input})


# --- what is kept beside the texts ---------------------------------------------------------------


INFILLING = ("prefix", "middle", "suffix")  # the columns of a ready-made infilling row


def _parts(
    columns: Mapping[str, Any], texts: tuple[str, str, str], used: set[str | None], system: str = ""
) -> Parts:
    id_field = next((name for name in _ID_FIELDS if name not in used and _is_id(columns.get(name))), None)
    extra = {
        name: value
        for name, value in columns.items()
        if name not in used and name != id_field and _is_worth_keeping(value, texts)
    }
    if all(isinstance(columns.get(part), str) for part in INFILLING):
        # Infilling rows are trained from their parts: all of each, also when one repeats the response.
        extra |= {part: columns[part] for part in INFILLING}
    if system:  # whatever its length: it is part of what the student is told
        extra["system"] = system
    file_id = None if id_field is None else str(columns[id_field])
    return Parts(*texts, file_id, extra)


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= EXTRA_LIMIT
    return isinstance(value, int) and not isinstance(value, bool)


def _is_worth_keeping(value: object, texts: tuple[str, str, str]) -> bool:
    if isinstance(value, str):
        instruction, _, response = texts
        # alpaca's `text` is the whole prompt once more
        repeats = value in texts or (instruction in value and response in value)
        return len(value) <= EXTRA_LIMIT and not repeats
    return isinstance(value, int | float)
