"""Kill `evolve` against a loopback teacher in any of its rounds; hold what comes out against a quiet run."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from curation.workspace import Workspace
from tests.browser.driving import wait_for
from tests.evolving import (
    EMPTY,
    EQUAL,
    LEAKS,
    MURMURS,
    SET,
    SORRY,
    EvolvingTeacher,
    add_tasks,
    by_chance,
    draw_of,
)
from tests.faults import KILLED, LIMIT, query
from tests.faults.generation import Chain

TASKS, ROUNDS = 12, 3
SHARES = {LEAKS: 8, EQUAL: 12, SORRY: 8, EMPTY: 4, MURMURS: 15}
# By ids, not by numbers: which of two samples came first is chance.
STEPS = """SELECT s.id, s.round, s.redo, s.heuristic, s.phase, s.state, s.rule, s.evidence, s.task, s.cut,
    s.words_before, s.words, s.answer_words, root.id, parent.id, child.id
    FROM evolution_step s JOIN sample root ON root.seq = s.root
    LEFT JOIN sample parent ON parent.seq = s.parent
    LEFT JOIN sample child ON child.seq = s.child ORDER BY s.id"""


def says() -> EvolvingTeacher:
    return EvolvingTeacher(by_chance(SHARES))


def with_tasks(folder: Path) -> Path:
    """Make a workspace with a set to evolve."""
    workspace = Workspace(folder)
    add_tasks(workspace, TASKS)
    workspace.database.close()
    return folder


class EvolveChain(Chain):
    """Rounds that are killed again and again, and then may finish."""

    OPENING = ("evolve", "--from", SET, "--rounds", str(ROUNDS))

    def kill_in_round(self, round: int, calls: int, seconds: float = 0.0) -> None:
        """Kill it some time after the teacher was asked so often in a round."""
        with self._start(None) as process:
            wait_for(lambda: self._asked_in(round) >= calls or process.poll() is not None, LIMIT)
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait(LIMIT) == KILLED, "it was through too soon"
        self._check()

    def _asked_in(self, round: int) -> int:
        asked = self.teacher.completions[self.first :]
        return sum(draw_of(one.body)[0] == round for one in asked)

    def steps(self) -> list[tuple[Any, ...]]:
        return query(self.workspace, STEPS)
