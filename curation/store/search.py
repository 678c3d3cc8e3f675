"""Finding samples and seeds by their words. The one place that knows how this database indexes text.

SQLite: an FTS5 table over instruction, input and response that takes the texts from `sample`, and one over
text, path and source of seeds. Another server needs the same verbs: `add` and `matching` for samples,
`add_seeds`, `forget_seeds` and `seeds_matching` for seeds.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Select, func, select, text

from curation.store.tables import sample_text, seed_text

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


def add_seeds(connection: Connection, rows: Sequence[Any]) -> None:
    """Index seeds: rows of seq, text, path and source."""
    _seed_words(connection, "INSERT INTO seed_text(rowid, text, path, source) VALUES (:a, :b, :c, :d)", rows)


def forget_seeds(connection: Connection, rows: Sequence[Any]) -> None:
    """Take seeds out of the index. The texts must be those that were indexed: it knows no others."""
    statement = (
        "INSERT INTO seed_text(seed_text, rowid, text, path, source) VALUES ('delete', :a, :b, :c, :d)"
    )
    _seed_words(connection, statement, rows)


def _seed_words(connection: Connection, statement: str, rows: Sequence[Any]) -> None:
    if rows:
        connection.execute(text(statement), [dict(zip("abcd", row, strict=True)) for row in rows])


def seeds_matching(connection: Connection, search: str) -> npt.NDArray[np.int64]:
    """Give the numbers of all seeds that hold what was typed (see `matching`); none without a word."""
    expression = _expression(search)
    if expression is None:
        return np.empty(0, np.int64)
    # As one text: a row each would take five times as long, of which most is making the rows.
    query = select(func.group_concat(seed_text.c.rowid)).where(seed_text.c.seed_text.op("MATCH")(expression))
    found = connection.execute(query).scalar() or ""
    return np.fromstring(found, np.int64, sep=",")


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
