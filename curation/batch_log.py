"""What is on record of a generation's batches: each step before it is taken, each answer when it came."""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from curation.batch_lines import Clean, read_line
from curation.call_log import Answered, Keep, put_answers, put_sent
from curation.call_outcome import Outcome
from curation.store import batches, calls
from curation.store.batches import Ending, Released
from curation.store.database import Connection, Database, Row
from curation.teacher import Call


class BatchLog:
    """The batches of one generation."""

    def __init__(
        self, db: Database, generation_id: str, keep: Keep, position_of: Callable[[Call], int]
    ) -> None:
        """`keep` makes what comes of final answers, in the transaction that writes them down; `position_of`
        gives the item that a call answers, once."""
        self._db = db
        self._generation_id = generation_id
        self._keep = keep
        self._position_of = position_of

    def begin(self) -> str:
        """Write down that there will be a batch; gives its name."""
        name = f"winnow-{secrets.token_hex(12)}"
        with self._db.transaction() as connection:
            batches.begin(connection, name, self._generation_id)
        return name

    def add(self, name: str, page: Sequence[Call]) -> None:
        """Write down that calls are about to be sent in a batch."""
        with self._db.transaction() as connection:
            put_sent(connection, self._generation_id, page)
            batches.add_calls(connection, name, [(one.id, self._position_of(one)) for one in page])

    def uploaded(self, name: str, file_id: str) -> None:
        with self._db.transaction() as connection:
            batches.note(connection, name, batches.UPLOADED, file_id=file_id)

    def created(self, name: str, id: str) -> None:
        with self._db.transaction() as connection:
            batches.note(connection, name, batches.CREATED, id=id)

    def living(self) -> list[Row[Any]]:
        with self._db.reading() as connection:
            return batches.living(connection, self._generation_id)

    def calls(self, name: str) -> Iterator[Call]:
        """Give the calls of a batch."""
        return map(call_in, batches.stream_calls(self._db, name))

    def answer(
        self, name: str, lines: Sequence[str], clean: Clean, seen: set[str], told: Counter[str]
    ) -> list[tuple[Call, Outcome]]:
        """Keep what lines of a batch's files say; gives what was new. `seen` holds the calls that had a line
        before; `told` counts the lines by what they were."""
        read = [one for line in lines if line.strip() for one in (read_line(line, clean),)]
        told.update({"unreadable": read.count(None)})
        found = [one for one in read if one is not None]
        with self._db.transaction() as connection:
            first = self._first(connection, name, found, seen, told)
            owed = batches.unanswered(connection, name, list(first))
            new = [(call_in(owed[id]), outcome) for id, outcome in first.items() if id in owed]
            put_answers(connection, [Answered(call, outcome, None) for call, outcome in new], self._keep)
        told.update(outcome.kind for _, outcome in new)
        told.update({"read_before": len(first) - len(new)})  # by a process that was stopped
        return new

    def _first(
        self,
        connection: Connection,
        name: str,
        found: Sequence[tuple[str, Outcome]],
        seen: set[str],
        told: Counter[str],
    ) -> dict[str, Outcome]:
        """Take the first line of each call of this batch; count the others."""
        homes = batches.batches_of(connection, [id for id, _ in found])
        first: dict[str, Outcome] = {}
        for id, outcome in found:
            if name not in homes.get(id, ()):
                told["of_another_batch" if id in homes else "unknown"] += 1
            elif id in seen:
                told["doubled"] += 1
            else:
                first[id] = outcome
                seen.add(id)
        return first

    def end(self, name: str, ending: Ending, told: Counter[str]) -> Released:
        """Close a batch; its calls without an answer wait again."""
        with self._db.transaction() as connection:
            return batches.end(connection, name, ending, +told)


def call_in(row: Row[Any]) -> Call:
    """Read a call out of its row."""
    asked = json.loads(calls.unpack(row.request))
    messages = asked.pop("messages")
    return Call(row.id, row.draw, row.model, row.endpoint, row.prompt_hash, messages, asked)
