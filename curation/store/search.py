"""Finding samples by their words. The one place that knows how this database indexes text.

SQLite: an FTS5 table over instruction, input and response that takes the texts from `sample`. Another
server needs the same two verbs: `add` and `matching`.
"""

import re
import unicodedata
from typing import Any

from sqlalchemy import Connection, Select, select, text

from curation.store.tables import sample_text

LONGEST = 1_000  # characters of a search that are read
MOST_PARTS = 32  # words and phrases of a search that are read
PREFIX = 3  # letters from which the last word stands for all words that begin so

PART = re.compile(r'"([^"]*)"?|([^\s"]+)')


def add(connection: Connection, after: int) -> None:
    """Index the samples numbered above `after`."""
    connection.execute(
        text(
            "INSERT INTO sample_text(rowid, instruction, input, response) "
            "SELECT seq, instruction, input, response FROM sample WHERE seq > :after"
        ),
        {"after": after},
    )


def matching(search: str) -> Select[Any] | None:
    """Give the query for the numbers of the samples that hold what was typed; None: it holds no word.

    Every word must occur, a "quoted phrase" word for word, the last word also as a beginning. Capitals
    and accents do not count. Any text is a search.
    """
    expression = _expression(search)
    if expression is None:
        return None
    return select(sample_text.c.rowid).where(sample_text.c.sample_text.op("MATCH")(expression))


def _expression(search: str) -> str | None:
    """Write the search in FTS5's language: each part a quoted string, in which nothing is an operator."""
    sound = search[:LONGEST].encode("utf-8", "replace").decode().replace("\0", " ")
    parts = []
    for phrase, word in PART.findall(sound):
        wanted = "".join(letter if _is_letter(letter) else " " for letter in phrase or word).split()
        if wanted:
            last = not phrase and len(wanted[-1]) >= PREFIX
            parts.append((" ".join(wanted), last))
    if not parts:
        return None
    parts = parts[:MOST_PARTS]
    strings = [f'"{words}"' for words, _ in parts]
    return " AND ".join(strings) + (" *" if parts[-1][1] else "")


def _is_letter(letter: str) -> bool:
    """Say whether FTS5's unicode61 takes this for a part of a word: letters, numbers, private use; marks
    go with the letter before them."""
    return unicodedata.category(letter)[0] in "LNM" or unicodedata.category(letter) == "Co"
