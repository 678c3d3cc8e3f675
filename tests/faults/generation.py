"""Kill `generate` against a loopback teacher, and hold its records against the teacher's own count.

It writes no file beside the database, so that its edges are `store.commit` and `teacher.send`.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from curation.store.calls import unpack
from tests.browser.driving import wait_for
from tests.faults import KILLED, LIMIT, ROOT, assert_clean, command, environment, query, run
from tests.loopback_teacher import LoopbackTeacher, prompt_hash
from tests.made_up_seeds import in_sections

AT_ONCE = 6
DELAY = 0.02  # seconds that the teacher takes
STEP = 8  # calls between two kills, about
OURS = """SELECT sum(tokens_in + tokens_out + lost_in + lost_out + (state = 'sent') * (worst_in + worst_out))
    FROM teacher_call"""
SAMPLES = "SELECT id, instruction, response, seed_id, name, licence, method, extra FROM sample ORDER BY id"


def reply(body: dict[str, Any]) -> str:
    """Answer as asked, but for every sixth prompt, which must be asked for its sections once more."""
    is_odd = int(prompt_hash(body["messages"][:2]), 16) % 6 == 0
    return in_sections(body) if len(body["messages"]) > 2 or not is_odd else "[Problem Description]\nNo more."


class Chain:
    """A generation that is killed again and again, and then may finish."""

    OPENING = ("generate", "--sort", "harvest")

    def __init__(self, seeded: Path, folder: Path, teacher: LoopbackTeacher, *words: str) -> None:
        shutil.copytree(seeded, folder)
        self.workspace = folder
        self.teacher = teacher
        asked = ["--model", "loopback", "--base-url", teacher.base_url, "--concurrency", str(AT_ONCE)]
        self.words = [*self.OPENING, *asked, "--max-tokens", "60", *words]
        self.first = teacher.hits
        self.billed_before = teacher.billed
        self.kills = 0
        self.at_once = AT_ONCE
        self.flew = 0  # calls in flight, of all kills together
        self._answered: set[str] = set()  # prompts of calls that were on record as answered
        self._count: Counter[str] = Counter()  # hits when they were

    @property
    def hits(self) -> Counter[str]:
        """Count the server's requests by prompt."""
        return Counter(str(one.prompt_hash) for one in self.teacher.completions[self.first :])

    @property
    def billed(self) -> int:
        return self.teacher.billed - self.billed_before

    @property
    def repeated(self) -> int:
        return self.hits.total() - len(self.hits)

    def kill_at(self, fault: str) -> None:
        """Kill it at a failpoint."""
        with self._start(fault) as process:
            assert process.wait(LIMIT) == KILLED, f"{fault}: it was through too soon"
        self._check()

    def kill_after(self, hits: int, seconds: float) -> None:
        """Kill it some time after the server was asked so often."""
        wanted = self.teacher.hits + hits
        with self._start(None) as process:
            wait_for(lambda: self.teacher.hits >= wanted or process.poll() is not None, LIMIT)
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait(LIMIT) == KILLED, "it was through too soon"
        self._check()

    def kill_somewhere(self, chance: random.Random, step: int = STEP) -> None:
        """Kill it at one of its edges, or at any moment, before it comes further than so many calls."""
        nth = chance.randint(1, step)
        where = chance.randrange(3)
        if where == 0:
            self.kill_at(f"store.commit:kill:{4 + nth}")  # the first four open the run
        elif where == 1:
            self.kill_at(f"teacher.send:kill:{nth}")
        else:
            self.kill_after(nth, chance.uniform(0.0, 2 * DELAY))

    def _start(self, fault: str | None) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command(self.workspace, *self.words), cwd=ROOT, env=environment(fault),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def finish(self, *more: str) -> dict[str, Any]:
        """Let it end, and check that it repeated no more than what flew at the kills."""
        done = run(self.workspace, *self.words, *more)
        assert done.returncode == 0, done.stderr
        self._check_answered()
        assert self.repeated <= self.flew <= self.at_once * self.kills
        assert query(self.workspace, "SELECT count(*) FROM teacher_call WHERE state = 'sent'") == [(0,)]
        assert_clean(self.workspace)
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return report

    def _check(self) -> None:
        """Look at what a kill left, before anybody recovers it."""
        self.kills += 1
        self._check_answered()
        states = self._states()
        flying = {prompt for prompt, state in states.items() if state == "sent"}
        assert len(flying) <= self.at_once
        assert set(self.hits) <= set(states)  # nothing was sent that is not on record
        assert self.billed <= (query(self.workspace, OURS)[0][0] or 0)  # nor billed that is not counted
        self._answered = {prompt for prompt, state in states.items() if state == "done"}
        self._count = self.hits
        self.flew += len(flying)

    def _check_answered(self) -> None:
        """What was on record as answered at the kill before was not asked again."""
        hits = self.hits
        assert all(hits[prompt] == self._count[prompt] for prompt in self._answered)

    def _states(self) -> dict[str, str]:
        """Give the state of each call by its prompt."""
        rows = query(self.workspace, "SELECT state, request FROM teacher_call")
        return {prompt_hash(json.loads(unpack(request))["messages"]): state for state, request in rows}

    def samples(self) -> list[tuple[Any, ...]]:
        return query(self.workspace, SAMPLES)
