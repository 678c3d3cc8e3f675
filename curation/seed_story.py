"""A seed in its surroundings: the file it was cut from, and where all of that came from."""

from dataclasses import dataclass
from typing import Any

from curation.seed_comparison import lines_of
from curation.store import documents, seeds
from curation.store.database import Row
from curation.workspace import Workspace

AROUND = 400  # lines before and after a seed that are shown: a file may have a hundred thousand


@dataclass(frozen=True)
class SeedStory:
    """A seed and its file. Lines are counted from 1."""

    seed: Row[Any]
    lines: list[str]  # of the file, secrets replaced; only the seed's own where its file was not kept
    first: int  # number of the first of these lines
    of: int | None  # lines of the whole file; None: it was not kept
    document: Row[Any] | None  # that brings it, as the harvest has it on record
    samples: list[str]  # ids of samples made from it


def seed_story(workspace: Workspace, id: str) -> SeedStory | None:
    """Tell where a seed comes from; None when there is none of this id."""
    db = workspace.database
    seed = seeds.find(db, id)
    if seed is None:
        return None
    document = documents.used_with(db, seed.document_hash)
    text = documents.text_of(db, seed.document_hash)
    samples = seeds.samples_of(db, id)
    if text is None:
        return SeedStory(seed, plain_lines(seed.text), seed.first_line, None, document, samples)
    lines = plain_lines(text)
    start = max(0, seed.first_line - 1 - AROUND)
    shown = lines[start : seed.last_line + AROUND]
    return SeedStory(seed, shown, start + 1, len(lines), document, samples)


def plain_lines(text: str) -> list[str]:
    """Give the lines of a text without their ends, as they are numbered where seeds are cut."""
    return [line.rstrip(b"\r\n").decode(errors="replace") for line in lines_of(text)]
