"""What tests of generation share: a workspace of seeds, a teacher on loopback, and what must hold after
every run, however it ended."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.call_outcome import Outcome
from curation.call_round import Limits
from curation.generate import Settings, carry_out, prepare
from curation.reply import METHOD
from curation.stage import Progress, StageResult, silent
from curation.store import calls, generations, samples, seeds
from curation.store.database import Row
from curation.store.seed_browsing import SeedQuery
from curation.teacher import Call, Teacher, body_of
from curation.teacher_process import Client
from curation.workspace import Workspace
from tests.loopback_teacher import LoopbackTeacher
from tests.made_up_seeds import made_up_seeds

SEEDS = 60
# Tests wait for nothing: a second try comes after hundredths of a second.
QUICK = Limits(first_wait=0.02, patience=5.0, drain=2.0)
HARVEST = SeedQuery(sort="harvest")  # in the order of their numbers


class Near(Teacher):
    """The same client without a process of its own, which takes a second to start."""

    def start(self) -> None:
        pass

    async def __aenter__(self) -> "Near":
        self._client = Client(**self._about)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def ask(self, call: Call) -> Outcome:
        return await self._client.ask(body_of(call))


def seeded(folder: Path, number: int = SEEDS) -> Workspace:
    """Make a workspace with so many seeds and nothing else."""
    workspace = Workspace(folder)
    with workspace.database.transaction() as connection:
        seeds.add(connection, made_up_seeds(number))
    return workspace


@dataclass
class Generating:
    """A workspace of seeds and the teacher that it asks."""

    workspace: Workspace
    teacher: LoopbackTeacher

    def settings(self, **given: Any) -> Settings:
        asked: dict[str, Any] = {
            "model": "loopback", "base_url": self.teacher.base_url, "seeds": HARVEST, "concurrency": 1,
        }  # fmt: skip
        return Settings(**{**asked, **given})

    def ask(
        self, key: str | None = None, show: Progress = silent, limits: Limits = QUICK, **given: Any
    ) -> StageResult:
        """Generate, and check what must hold after every run."""
        settings = self.settings(**given)
        asking = prepare(self.workspace, settings, key)
        asking.limits, asking.open_teacher = limits, Near
        result = carry_out(asking, settings, show)
        self.check(result.report)
        return result

    def check(self, report: dict[str, Any]) -> None:
        """Requested = kept + rejected + failed + waiting; no call flies; all that was billed is known."""
        made = report["kept"] + sum(report["rejected"].values()) + sum(report["failed"].values())
        assert report["requested"] == made + report["waiting"]
        found = Counter(row.state for row in self.items(report["generation"]))
        assert sum(found.values()) >= report["requested"]
        self.check_store()

    def check_store(self) -> None:
        """What must hold whether or not a run came to an end."""
        assert self.query("SELECT count(*) FROM teacher_call WHERE state = 'sent'") == [(0,)]
        kept = "SELECT count(*) FROM generation_item WHERE state = 'kept' AND sample_id IS NOT NULL"
        lone = f"{kept} AND sample_id NOT IN (SELECT id FROM sample)"
        assert self.query(lone) == [(0,)]
        orphan = "SELECT count(*) FROM sample WHERE id NOT IN (SELECT sample_id FROM generation_item)"
        assert self.query(orphan) == [(0,)]
        assert self.tokens >= self.teacher.billed

    @property
    def tokens(self) -> int:
        """Give the tokens of all generations, those of lost replies too."""
        found = self.query(
            "SELECT coalesce(sum(tokens_in + tokens_out + lost_in + lost_out), 0) FROM teacher_call"
        )
        return int(found[0][0])

    @property
    def lost(self) -> int:
        found = self.query("SELECT coalesce(sum(lost_in + lost_out), 0) FROM teacher_call")
        return int(found[0][0])

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.workspace.database.reading() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def items(self, id: str) -> list[Row[Any]]:
        """Give a generation's items in their order, each with its call."""
        found = [generations.item_at(self.workspace.database, id, at) for at in range(self.count_items(id))]
        return [one for one in found if one is not None]

    def count_items(self, id: str) -> int:
        with self.workspace.database.reading() as connection:
            return len(generations.items(connection, id))

    def samples(self) -> list[Row[Any]]:
        columns = ("id", "instruction", "response", "seed_id", "name", "method", "extra")
        return list(samples.stream(self.workspace.database, columns))

    def call(self, id: str) -> Row[Any]:
        found = calls.find(self.workspace.database, id)
        assert found is not None
        return found

    def request(self, id: str) -> dict[str, Any]:
        """Give the messages and parameters of a call as they were written down."""
        found: dict[str, Any] = json.loads(calls.unpack(self.call(id).request))
        return found

    def hits_of(self, id: str) -> int:
        """Count how often the server saw a call, by its messages."""
        messages = self.request(id)["messages"]
        return sum(one.body["messages"] == messages for one in self.teacher.completions)


__all__ = ["HARVEST", "METHOD", "QUICK", "SEEDS", "Generating", "seeded"]
