"""A workspace as big as WizardCoder's: 20,000 tasks evolved in three rounds to 78,000 samples, every call on
record. No teacher is asked: rows are written as the steps write them."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.elimination import EQUAL, LEAK, SORRY
from curation.evolve import Settings, evolution_id, prompts_of
from curation.evolve_calls import CALLS, METHOD, words_of
from curation.heuristics import chosen, said
from curation.prompt_shelf import keep
from curation.records import Sample, digest
from curation.store import calls, evolutions, generations, samples
from curation.store.evolutions import ANSWER, COMPARE, KEPT, REJECTED, REWRITE
from curation.workspace import Workspace

TASKS, ROUNDS = 20_000, 3
PAGE = 1_000
LOST = {LEAK: 0.01, EQUAL: 0.015, SORRY: 0.008}  # shares of attempts: 78,000 rows come out of 20,000
PHASE_OF = {LEAK: REWRITE, EQUAL: COMPARE, SORRY: ANSWER}
VERBS = ("Write", "Implement", "Explain", "Refactor", "Test", "Parse", "Sort", "Merge", "Count", "Profile")
THINGS = ("a queue", "a tree", "log lines", "a matrix", "dates", "a graph", "tokens", "a cache", "bytes")
MORE = (
    "It has to run in linear time.", "Use no library.", "Handle an empty input, too.", "Explain each step.",
    "Beware: this has a mistake.\n\n```python\ndef f(x):\n    return x[1]\n```",
)  # fmt: skip
SAID = {"role": "assistant", "content": "Not Equal"}
REPLY = json.dumps({
    "choices": [{"index": 0, "finish_reason": "stop", "message": SAID}],
    "usage": {"prompt_tokens": 180, "completion_tokens": 60},
})  # fmt: skip
ENDPOINT = "http://127.0.0.1/v1"


@dataclass
class _Building:
    """One workspace on its way."""

    workspace: Workspace
    id: str
    settings: Settings
    chance: random.Random
    generations: dict[str, str]
    positions: dict[str, int]

    def round(
        self, round: int, roots: Sequence[tuple[int, str]], now: dict[int, tuple[int, str, str]]
    ) -> None:
        """Evolve every task once; `now`: seq, id and text of each root's newest task."""
        for start in range(0, len(roots), PAGE):
            page = roots[start : start + PAGE]
            with self.workspace.database.transaction() as connection:
                made, steps = [], []
                for root, id in page:
                    sample, step = self._attempt(round, root, id, now)
                    made += [sample] if sample else []
                    steps.append(step)
                samples.add(connection, made)
                seqs = {
                    row.id: row.seq for row in samples.by_id(connection, [one.id for one in made]).values()
                }
                for step in steps:
                    child = step.pop("made")
                    step["child"] = seqs[child.id] if child else None
                    if child:
                        now[step["root"]] = (step["child"], child.id, child.instruction)
                evolutions.add_steps(connection, steps)
                for step in steps:
                    self._calls(connection, step)

    def _attempt(
        self, round: int, root: int, id: str, now: dict[int, tuple[int, str, str]]
    ) -> tuple[Sample | None, dict[str, Any]]:
        parent, parent_id, text = now[root]
        drawn = chosen(self.settings.weights, 976, id, f"{round}.0")
        task = f"{text} {self.chance.choice(MORE)}"
        answer = f"```python\ndef solve_{self.chance.randrange(10**9)}(x):\n    return x\n```\n" * 3
        step_id = digest("step", self.id, id, str(round), "0", "")
        rule = self._rule()
        child = None
        if rule is None:
            child = Sample(
                id=digest("child", step_id), instruction=task, input="", response=answer,
                source="tasks.jsonl", row=None, name=METHOD, licence="CC-BY-NC-4.0", method=METHOD,
                extra={"parent": parent_id, "round": round, "heuristic": drawn, "evolution": self.id},
            )  # fmt: skip
        step = {
            "id": step_id, "evolution_id": self.id, "root": root, "parent": parent, "round": round, "redo": 0,
            "heuristic": drawn, "task": task, "phase": PHASE_OF.get(rule or "", ANSWER),
            "state": REJECTED if rule else KEPT, "rule": rule, "evidence": {}, "made": child,
            **words_of(text, task, answer), "tokens_in": 540, "tokens_out": 180, "replies": 3,
        }  # fmt: skip
        return child, step

    def _rule(self) -> str | None:
        at = self.chance.random()
        for rule, share in LOST.items():
            at -= share
            if at < 0:
                return rule
        return None

    def _calls(self, connection: Any, step: dict[str, Any]) -> None:
        phases = (REWRITE, COMPARE, ANSWER)
        for phase in phases[: phases.index(step["phase"]) + 1]:
            id, generation = digest("call", step["id"], phase), self.generations[phase]
            self._sent.setdefault(generation, []).append((id, step["id"]))
        if sum(map(len, self._sent.values())) >= 3 * PAGE:
            self.flush(connection)

    def __post_init__(self) -> None:
        self._sent: dict[str, list[tuple[str, str]]] = {}

    def flush(self, connection: Any) -> None:
        """Write calls and items down."""
        for generation, sent in self._sent.items():
            calls.write_sent(connection, generation, [
                calls.SentCall(id, "1.0", "made up", ENDPOINT, "p", "{}", 300, 300) for id, _ in sent
            ])  # fmt: skip
            calls.write_answered(connection, [
                calls.AnsweredCall(id, calls.DONE, REPLY, finish_reason="stop", tokens_in=180, tokens_out=60,
                                   seconds=1.5) for id, _ in sent
            ])  # fmt: skip
            before = self.positions.get(generation, 0)
            generations.want(connection, generation, [generations.Wanted(step, 0, id) for id, step in sent])
            generations.decide(connection, generation, [
                generations.Decided(before + at, generations.KEPT) for at in range(len(sent))
            ])  # fmt: skip
            self.positions[generation] = before + len(sent)
        self._sent = {}


def build(folder: Path, tasks: int = TASKS, rounds: int = ROUNDS) -> Workspace:
    """Make the workspace."""
    workspace = Workspace(folder)
    db = workspace.database
    settings = Settings(model="made up", base_url=ENDPOINT, parents="tasks", rounds=rounds)
    prompts = prompts_of(workspace, settings)
    id = evolution_id(settings, prompts)
    roots: list[tuple[int, str]] = []
    chance = random.Random(976)
    for page in _pages(_seeds(tasks, chance)):
        with db.transaction() as connection:
            samples.add(connection, page)
            known = samples.by_id(connection, [one.id for one in page])
            roots += [(known[one.id].seq, one.id) for one in page]
    hashes = {
        CALLS[REWRITE]: prompts.rewrite.hash, CALLS[COMPARE]: prompts.compare.hash,
        CALLS[ANSWER]: prompts.answer.hash,
    }  # fmt: skip
    facts = {
        "name": METHOD, "parents": "tasks", "kind": evolutions.EVOLVED, "model": "made up",
        "settings": {"model": "made up", "base_url": ENDPOINT, "parents": "tasks",
                     "rounds": rounds, "heuristics": said(settings.weights), "prompts": hashes},
    }  # fmt: skip
    names = {phase: digest("generation", phase) for phase in CALLS}
    with db.transaction() as connection:
        for prompt in (prompts.rewrite, prompts.compare, prompts.answer):
            keep(connection, prompt)
        evolutions.open_evolution(connection, id, facts)
        for phase, name in names.items():
            generations.open_generation(connection, name, {
                "method": CALLS[phase], "name": METHOD, "model": "made up", "endpoint": ENDPOINT,
                "prompt_hash": hashes[CALLS[phase]], "settings": {},
            })  # fmt: skip
    texts = {row.seq: row.instruction for row in samples.stream(db, ("instruction",))}
    now = {seq: (seq, id_of, texts[seq]) for seq, id_of in roots}
    building = _Building(workspace, id, settings, chance, names, {})
    for round in range(1, rounds + 1):
        building.round(round, roots, now)
    with db.transaction() as connection:
        building.flush(connection)
    return workspace


def _seeds(number: int, chance: random.Random) -> Iterator[Sample]:
    for at in range(number):
        language = chance.choice(("Python", "Rust"))
        text = f"{chance.choice(VERBS)} {chance.choice(THINGS)} number {at} in {language}."
        yield Sample(
            id=digest("task", str(at)), instruction=text, input="", response=f"solve({at})",
            source="tasks.jsonl", row=at, name="tasks", licence="CC-BY-NC-4.0", method="imported",
        )  # fmt: skip


def _pages(made: Iterator[Sample]) -> Iterator[list[Sample]]:
    page: list[Sample] = []
    for one in made:
        page.append(one)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page
