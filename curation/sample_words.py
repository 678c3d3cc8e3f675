"""A person's word on a sample before any stage: accept it, reject it, take that back, or edit it.

Words are only ever added, and the newest of a sample counts. `clean`, the first stage, drops what is rejected
and says who did. An edit never changes a row: it is a new one, and its parent is rejected for it.
"""

from dataclasses import dataclass
from typing import Any

from curation import clean
from curation.errors import WrongInput
from curation.formats import INFILLING
from curation.records import Sample, digest
from curation.store import decisions, sample_words, samples
from curation.store.database import Connection, Row
from curation.store.sample_words import ACCEPT, EDITED, NONE, REJECT, WORDS
from curation.workspace import Workspace

LONGEST_NOTE = 2_000  # characters
LONGEST_TEXT = 1_000_000  # characters; an imported row may have a megabyte
TOLD = {ACCEPT: "accepted", REJECT: "rejected"}


@dataclass(frozen=True, slots=True)
class Said:
    """What a word or an edit came to."""

    sample: str  # id of the row it is about; of an edit the new one
    changed: bool  # False when it said nothing new
    message: str


def say(workspace: Workspace, id: str, word: str, person: str = "me", note: str = "") -> Said:
    """Accept or reject a sample, or take back what was said ("none"). The same word again changes nothing.

    Raises WrongInput when there is no such sample or word.
    """
    if word not in WORDS:
        raise WrongInput(f"There is no word {word!r}; say {', '.join(WORDS)}")
    _check_person(person, note)
    row = _find(workspace, id)
    with workspace.database.transaction() as connection:
        changed = _say(connection, row.seq, word, person, note)
        newest = sample_words.newest(connection, row.seq)
    if newest is None or newest.word == NONE:
        told = f"{row.id} has no word of a person" + (" any more" if changed else "")
    else:
        told = f"{row.id} is {TOLD[newest.word]} by {newest.person}" + ("" if changed else " already")
    return Said(row.id, changed, told)


def _say(connection: Connection, seq: int, word: str, person: str, note: str) -> bool:
    """Add a word unless it says nothing new. Gives whether anything changed."""
    newest = sample_words.newest(connection, seq)
    before, known = (NONE, "") if newest is None else (newest.word, newest.note)
    # A row that was put back after it was rejected stands against that word: saying it again counts anew.
    is_back = word == REJECT and seq in decisions.rescued(connection, clean.STAGE)
    if word == before and note in ("", known) and not is_back:
        return False
    sample_words.add(connection, seq, word, person, note)
    if is_back:
        decisions.set_rescue(connection, seq, clean.STAGE, person, False)
        clean.redecide(connection, seq, False)
    return True


def edit(
    workspace: Workspace,
    id: str,
    instruction: str | None = None,
    response: str | None = None,
    person: str = "me",
    input: str | None = None,
) -> Said:
    """Make a new sample with other texts (None: as they are) and reject its parent, both or neither.

    The new one has seed, source, licence and set of its parent, which its `extra` names. The same edit again
    changes nothing. Raises WrongInput when there is no such sample, or a text cannot be one.
    """
    _check_person(person, "")
    row = _find(workspace, id)
    if all(isinstance(row.extra.get(part), str) for part in INFILLING):
        raise WrongInput(
            f"{row.id} is trained from its columns {', '.join(INFILLING)}: edit its file instead"
        )
    given = {"instruction": instruction, "input": input, "response": response}
    texts = {name: getattr(row, name) if text is None else text for name, text in given.items()}
    for name, text in texts.items():
        _check_text(name, text)
    if all(texts[name] == getattr(row, name) for name in texts):
        return Said(row.id, False, f"{row.id} says that already: nothing was edited")
    made = _edited(row, texts, person)
    with workspace.database.transaction() as connection:
        is_new = samples.add(connection, [made]) > 0
        changed = _say(connection, row.seq, REJECT, person, EDITED) or is_new
        seq = samples.seq_of(connection, made.id)
        assert seq is not None  # it was added, or was there
        word = sample_words.newest(connection, seq)
        if word is not None and word.word == REJECT:  # an edit that was rejected is wanted again
            changed = _say(connection, seq, NONE, person, EDITED) or changed
    told = (
        f"{made.id} stands in for {row.id}, which is rejected" if changed else f"{made.id} is there already"
    )
    return Said(made.id, changed, told)


def _edited(parent: Row[Any], texts: dict[str, str], person: str) -> Sample:
    # What the student is told before the row belongs to its text; the rest of `extra` speaks of its origin.
    system = {"system": parent.extra["system"]} if "system" in parent.extra else {}
    return Sample(
        id=digest(parent.id, "edit", *texts.values()),
        **texts,
        source=parent.source,
        row=None,
        name=parent.name,
        licence=parent.licence,
        method=EDITED,
        seed_id=parent.seed_id,
        extra={"parent": parent.id, "person": person, **system},
    )


def _find(workspace: Workspace, id: str) -> Row[Any]:
    row = samples.find(workspace.database, id)
    if row is None:
        raise WrongInput(f"No sample, or more than one, has an id that begins with {id!r}")
    return row


def _check_person(person: str, note: str) -> None:
    if not person.strip():
        raise WrongInput("Say who it is with --as NAME")
    if len(note) > LONGEST_NOTE:
        raise WrongInput(f"The note has {len(note):,} characters; {LONGEST_NOTE:,} are the most")
    for name, text in (("name", person), ("note", note)):
        _check_storable(name, text)


def _check_text(name: str, text: str) -> None:
    if name != "input" and not text.strip():
        raise WrongInput(f"The {name} is empty; to take the row out, reject it")
    if len(text) > LONGEST_TEXT:
        raise WrongInput(f"The {name} has {len(text):,} characters; {LONGEST_TEXT:,} are the most")
    _check_storable(name, text)


def _check_storable(name: str, text: str) -> None:
    """Refuse what an import refuses, too (curation/reading.py)."""
    if "\0" in text:
        raise WrongInput(f"The {name} holds a NUL character; delete it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise WrongInput(f"Character {error.start + 1} of the {name} is half of one; delete it") from error
