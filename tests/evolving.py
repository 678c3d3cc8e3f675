"""What tests of Evol-Instruct share: a teacher that is told what shall live, and a workspace to evolve."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from curation.asking import API_SEED
from curation.evolve import Evolving, Settings
from curation.evolve_calls import REDO_SHIFT, task_of
from curation.heuristics import heuristics
from curation.records import Sample, digest
from curation.stage import Progress, StageResult, silent
from curation.store import evolutions, samples
from curation.store.database import Row
from curation.workspace import Workspace
from tests.generating import QUICK, Near
from tests.loopback_teacher import LoopbackTeacher

SET = "tasks"
STEP = "\n\n[step "  # what every rewriting adds, so that a task tells its root
LIVES, LEAKS, EQUAL, SORRY, EMPTY, MURMURS = "lives", "leaks", "equal", "sorry", "empty", "murmurs"
RULES = {LEAKS: "prompt_leak", EQUAL: "equal", SORRY: "sorry", EMPTY: "empty_answer"}
TASK = re.compile(r"<(?:exercise|task)-([0-9a-f]{12})>\n(.*?)\n</(?:exercise|task)-\1>", re.S)

Fate = Callable[[str, int, int], str]  # of a root's text, a round and a redo


def everything_lives(root: str, round: int, redo: int) -> str:
    return LIVES


def by_chance(shares: Mapping[str, int]) -> Fate:
    """Draw fates by a hash: so many of a hundred for each, the others live."""

    def fate(root: str, round: int, redo: int) -> str:
        at = int(sha256(f"{root}|{round}|{redo}".encode()).hexdigest(), 16) % 100
        for name, share in shares.items():
            at -= share
            if at < 0:
                return name
        return LIVES

    return fate


def kind_of(body: Mapping[str, Any]) -> str:
    """Say which of the three calls this is."""
    text = body["messages"][-1]["content"]
    if "Answer with Equal or Not Equal" in text or "Equal or Not Equal" in text:
        return "equality"
    return "evolve" if text.startswith("You write exercises") else "evolve-answer"


def root_of(body: Mapping[str, Any]) -> str:
    """Give the text that the tree of a call's task grew from."""
    found = TASK.search(next(one for one in body["messages"] if one["role"] == "user")["content"])
    assert found is not None
    return found[2].split(STEP)[0]


def draw_of(body: Mapping[str, Any]) -> tuple[int, int]:
    """Give round and redo, which the seed tells."""
    redo, round = divmod(body["seed"] - API_SEED, REDO_SHIFT)
    return round, redo


@dataclass
class EvolvingTeacher:
    """What a loopback teacher replies. Told a fate for each root, round and redo."""

    fate: Fate = everything_lives
    counted: Counter[tuple[str, int]] = field(default_factory=Counter)  # of rewritings, by fate and round

    def __call__(self, body: dict[str, Any]) -> str:
        kind, root, (round, redo) = kind_of(body), root_of(body), draw_of(body)
        fate = self.fate(root, round, redo)
        if kind == "evolve":
            self.counted[fate, round] += 1
            task = TASK.search(body["messages"][-1]["content"])
            assert task is not None
            new = f"{task[2]}{STEP}{round}.{redo}] It has to handle one case more than before."
            return f"#Rewritten Prompt#\n{new}" if fate == LEAKS else new
        if kind == "equality":
            if fate == MURMURS and len(body["messages"]) < 3:
                return "Hard to say."  # read when it is asked once more
            return "Equal" if fate == EQUAL else "Not Equal"
        mark = sha256(f"{root}{round}{redo}".encode()).hexdigest()[:8]
        answers = {SORRY: "I'm sorry, but I can't solve this one.", EMPTY: "It is what it is."}
        return answers.get(fate, f"```python\ndef answer_{mark}() -> int:\n    return {round}\n```")


def add_tasks(workspace: Workspace, number: int = 12, name: str = SET) -> list[str]:
    """Put tasks into a workspace. Gives their ids, in order."""
    made = [
        Sample(
            id=digest("task", name, str(at)), instruction=f"Sort list number {at} by its {at + 2}th element.",
            input=f"list_{at} = [{at}, {at + 1}]" if at % 3 == 0 else "", response=f"sorted(list_{at})",
            source="tasks.jsonl", row=at, name=name, licence="CC-BY-NC-4.0", method="imported",
        )
        for at in range(number)
    ]  # fmt: skip
    with workspace.database.transaction() as connection:
        samples.add(connection, made)
    return [one.id for one in made]


@dataclass
class EvolvingSet:
    """A workspace with a set, and the teacher that evolves it."""

    workspace: Workspace
    teacher: LoopbackTeacher
    says: EvolvingTeacher
    ids: Sequence[str]

    def settings(self, **given: Any) -> Settings:
        asked = {
            "model": "loopback", "base_url": self.teacher.base_url, "parents": SET, "rounds": 1,
            "concurrency": 2, "budget_tokens": 10**9,
        }  # fmt: skip
        return Settings(**{**asked, **given})

    def evolve(self, show: Progress = silent, **given: Any) -> StageResult:
        """Run rounds, and check what must hold after every run."""
        result = self.evolving(**given).run(show)
        for line in result.report["rounds"]:
            parts = line["evolved"] + sum(line["rejected"].values()) + sum(line["failed"].values())
            assert line["parents"] == parts + line["waiting"], line
        assert self.query("SELECT count(*) FROM teacher_call WHERE state = 'sent'") == [(0,)]
        assert self.query(
            "SELECT count(*) FROM evolution_step WHERE state = 'kept' AND child IS NULL AND evolution_id IN"
            " (SELECT id FROM evolution WHERE kind = 'evolved')"
        ) == [(0,)]  # fmt: skip
        return result

    def evolving(self, kind: str = evolutions.EVOLVED, **given: Any) -> Evolving:
        return Evolving(self.workspace, self.settings(**given), None, kind, limits=QUICK, open_teacher=Near)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.workspace.database.reading() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def steps(self, id: str) -> list[Row[Any]]:
        """Give the steps of an evolution, in order."""
        found = [row[0] for row in self.query(f"SELECT id FROM evolution_step WHERE evolution_id = '{id}' "
                                              "ORDER BY round, root, redo")]  # fmt: skip
        with self.workspace.database.reading() as connection:
            known = evolutions.by_ids(connection, found)
        return [known[one] for one in found]

    def calls(self) -> Counter[str]:
        """Count what the teacher was asked, by kind."""
        return Counter(kind_of(one.body) for one in self.teacher.completions)

    def texts(self) -> list[str]:
        """Give the tasks of the set, as the teacher reads them."""
        with self.workspace.database.reading() as connection:
            return [task_of(row) for row in samples.of_set(connection, SET)]

    def sample(self, seq: int) -> Row[Any]:
        return samples.read(self.workspace.database, [seq])[0]


def evolving_set(
    folder: Path, teacher: LoopbackTeacher, says: EvolvingTeacher, number: int = 12
) -> EvolvingSet:
    workspace = Workspace(folder)
    return EvolvingSet(workspace, teacher, says, add_tasks(workspace, number))


def method_in(body: Mapping[str, Any]) -> str:
    """Name the heuristic that a rewriting was asked by."""
    text = body["messages"][-1]["content"]
    (found,) = [one.name for one in heuristics().values() if one.method in text]
    return found
