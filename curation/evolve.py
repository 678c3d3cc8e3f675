"""Evolve: rounds of Code Evol-Instruct over a set of samples, each attempt on record with what became of it.

Every round rewrites the newest living task of every tree once. One that is eliminated leaves its parent in
its place, which is tried again in the next round (WizardLM, arXiv 2304.12244, section 3.2). The seed set and
the children of all rounds together are the set (WizardCoder, arXiv 2306.08568, section 3.1; recipes 2.2-2.4).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from curation import prompt_shelf
from curation.asking import (
    API_SEED,
    Asking,
    Method,
    TeacherSettings,
    generation_id,
    said_of,
    stage_of,
)
from curation.call_round import Limits
from curation.elimination import CHECKS, UNREAD
from curation.endpoint import addresses, check_addresses
from curation.errors import StageCancelled, WrongInput
from curation.evolution_report import report_of
from curation.evolve_calls import CALLS, METHOD, SAMPLING, Answering, Comparing, Making, Rewriting
from curation.heuristics import chosen, said, weights_in
from curation.prompt import Prompt
from curation.records import digest
from curation.stage import Progress, Report, StageResult, silent
from curation.store import evolutions, judgements, runs, sample_words, samples
from curation.store.database import Connection
from curation.store.evolutions import ANSWER, COMPARE, FAILED, REWRITE, WAITING
from curation.teacher import Teacher
from curation.workspace import Workspace

ROUNDS = 3  # WizardCoder's best of four (recipes 2.4)
MOST_ROUNDS = 20
PAGE = 500  # attempts written down at a time
# Tokens of a comparison's answer. It is two words; a model that thinks aloud first needs room for that.
COMPARE_TOKENS = 500
PREVIEW = "evolution preview"  # label of what is looked at before a round, and makes no samples
OneOf = type[Rewriting] | type[Comparing] | type[Answering]
METHODS: Mapping[str, OneOf] = {REWRITE: Rewriting, COMPARE: Comparing, ANSWER: Answering}
DOING = {REWRITE: "rewriting tasks", COMPARE: "comparing them with their parents", ANSWER: "answering them"}


@dataclass(frozen=True, kw_only=True)
class Settings(TeacherSettings):
    """What a person may choose. Raises WrongInput for what cannot be."""

    temperature: float | None = 1.0  # recipes 2.1, 2.9
    top_p: float | None = SAMPLING
    max_tokens: int = 2_048  # recipes 2.1, 2.9
    name: str = METHOD  # label of the samples
    parents: str | None = None  # the set that is evolved; None: every sample that no evolution made
    ids: tuple[str, ...] = ()  # these samples, and no others
    limit: int = 0  # of the samples, in import order; 0: all
    rounds: int = ROUNDS  # in all, those that were run before included
    heuristics: str = ""  # "constraints=2,rarer"; "": the five for code, alike
    compares: bool = True  # rule 1 by a model; WizardCoder publishes none
    checks: tuple[str, ...] = ()  # of the reproductions (recipes 2.9)
    random_seed: int = API_SEED

    def __post_init__(self) -> None:
        TeacherSettings.__post_init__(self)
        if self.limit < 0:
            raise WrongInput(f"--limit {self.limit} must be 0 (all) or more")
        if not 1 <= self.rounds <= MOST_ROUNDS:
            raise WrongInput(f"--rounds {self.rounds} must be between 1 and {MOST_ROUNDS}")
        if not self.name.strip() or self.name == PREVIEW:
            raise WrongInput("The samples need a name of their own: give one with --name")
        if self.name == self.parents:
            raise WrongInput(f"The samples need another name than the set {self.parents!r} that is evolved")
        for check in self.checks:
            if check not in CHECKS:
                raise WrongInput(f"There is no check {check!r}; there are {', '.join(CHECKS)}")
        weights_in(self.heuristics)

    @cached_property
    def weights(self) -> Mapping[str, float]:
        return weights_in(self.heuristics)


def settings_of(asked: Mapping[str, Any]) -> Settings:
    """Read settings as jobs say them. Raises WrongInput."""
    given = {name: tuple(asked.get(name) or ()) for name in ("ids", "checks")}
    return Settings(**{**asked, **given})


@dataclass(frozen=True)
class Prompts:
    """What the three calls are made with."""

    rewrite: Prompt
    compare: Prompt
    answer: Prompt


def prompts_of(workspace: Workspace, settings: Settings) -> Prompts:
    """Find the prompts: that of rewriting by its name or hash, the others as they are in use."""
    rewrite = prompt_shelf.prompt_for(workspace, CALLS[REWRITE], settings.prompt)
    others = [prompt_shelf.in_use(workspace, CALLS[phase]) for phase in (COMPARE, ANSWER)]
    return Prompts(rewrite, *others)


def evolution_id(settings: Settings, prompts: Prompts, kind: str = evolutions.EVOLVED) -> str:
    """Name a way of evolving: what changes it grows other trees."""
    compare = prompts.compare.hash if settings.compares else ""
    return digest(
        kind, settings.name, settings.parents or "", settings.model, settings.endpoint.base_url,
        str(sorted(settings.parameters(0).items())), prompts.rewrite.hash, compare, prompts.answer.hash,
        said(settings.weights), ",".join(sorted(set(settings.checks))), str(settings.random_seed),
    )  # fmt: skip


def wanted_roots(workspace: Workspace, settings: Settings) -> dict[int, str]:
    """Give seq and id of the samples that trees grow from, in import order. Raises WrongInput for none.

    Those that a stage has dropped or a person rejects are left out; so are, unless a set is named, those that
    an evolution made.
    """
    db = workspace.database
    with db.reading() as connection:
        if settings.ids:
            known = samples.by_id(connection, settings.ids)
            if missing := [id for id in settings.ids if id not in known]:
                raise WrongInput(
                    f"No sample has the id {missing[0]!r}; give it in full, as `explain` tells it"
                )
            found = {int(known[id].seq): id for id in dict.fromkeys(settings.ids)}
        else:
            found = judgements.candidate_seqs(
                connection, settings.parents, without=None if settings.parents else METHOD
            )
    if not found:
        raise WrongInput(
            "No sample fits; name another set with --from, or make some with `generate` or `samples import`"
        )
    return dict(list(found.items())[: settings.limit or None])


def evolve(workspace: Workspace, settings: Settings, key: str | None, show: Progress = silent) -> StageResult:
    """Run rounds. The same call again asks only what was not answered; more rounds or more samples go on.

    `key`: the endpoint's API key, held in memory; None where it needs none. Raises WrongInput when there is
    no sample or the endpoint cannot be; a teacher that cannot be used pauses the evolution, as the report
    says.
    """
    return Evolving(workspace, settings, key).run(show)


def preview(
    workspace: Workspace, settings: Settings, key: str | None, show: Progress = silent
) -> StageResult:
    """Rewrite each of `settings.ids` once by each heuristic, before a round is paid for. Makes no samples.

    A round that draws the same heuristic for the same sample takes the reply that is there.
    """
    return Evolving(workspace, settings, key, evolutions.PREVIEW).run(show)


@dataclass
class Evolving:
    """One attempt at the rounds of an evolution."""

    workspace: Workspace
    settings: Settings
    key: str | None
    kind: str = evolutions.EVOLVED
    # A branch that is redone names its root (seq and id), its rounds and the prompts of its evolution.
    only: Mapping[int, str] | None = None
    rounds: Sequence[int] | None = None
    prompts: Prompts | None = None
    limits: Limits = field(default_factory=Limits)
    open_teacher: Callable[[str, str | None, float, int], Teacher] = Teacher

    def __post_init__(self) -> None:
        self.db = self.workspace.database
        self.used = self.prompts or prompts_of(self.workspace, self.settings)
        self.id = evolution_id(self.settings, self.used, self.kind)
        self._calls, self._asked = 0, False

    @property
    def label(self) -> str:
        return PREVIEW if self.kind == evolutions.PREVIEW else self.settings.name

    def run(self, show: Progress = silent) -> StageResult:
        endpoint = self.settings.endpoint
        check_addresses(endpoint, addresses(endpoint))  # before anything is written down for it
        roots = self.only or wanted_roots(self.workspace, self.settings)
        with self.db.transaction() as connection:
            for prompt in (self.used.rewrite, self.used.compare, self.used.answer):
                prompt_shelf.keep(connection, prompt)
            evolutions.open_evolution(connection, self.id, self._facts())
        try:
            paused, run_id, warnings = self._rounds(roots, show)
        except StageCancelled:
            with self.db.transaction() as connection:
                evolutions.pause(connection, self.id, "Stopped by a person; go on whenever you like")
            raise
        with self.db.transaction() as connection:
            evolutions.pause(connection, self.id, paused)
        report: Report = {**report_of(self.db, self.id), "calls": self._calls, "paused": paused}
        return StageResult(report, run_id, unchanged=not self._asked, warnings=warnings)

    def _facts(self) -> dict[str, Any]:
        asked = self.settings
        return {
            "name": self.label, "parents": asked.parents, "kind": self.kind, "model": asked.model,
            "settings": {
                **said_of(asked), "heuristics": said(asked.weights),
                "prompts": {CALLS[REWRITE]: self.used.rewrite.hash, CALLS[COMPARE]: self.used.compare.hash,
                            CALLS[ANSWER]: self.used.answer.hash},
            },
        }  # fmt: skip

    def _rounds(self, roots: Mapping[int, str], show: Progress) -> tuple[str | None, int, list[str]]:
        """Run what is left of every round, until one cannot be ended. Gives why, the last run, warnings."""
        run_id = 0
        warnings: list[str] = []
        is_preview = self.kind == evolutions.PREVIEW
        rounds = self.rounds or range(1, 2 if is_preview else self.settings.rounds + 1)
        for round in rounds:
            if is_preview:
                self._want_each(roots)
            else:
                self._want(roots, round)
            for phase in (REWRITE,) if is_preview else (REWRITE, COMPARE, ANSWER):
                result = self._ask(roots, round, phase, show)
                if result is None:
                    continue
                run_id, warnings = result.run_id, [*warnings, *result.warnings]
                self._calls += 0 if result.attached else int(result.report["calls"])
                if result.report["paused"] or result.report["waiting"]:
                    return result.report["paused"] or "Some calls wait still", run_id, warnings
        return None, run_id, warnings

    # --- what is wanted ---

    def _want(self, roots: Mapping[int, str], round: int) -> None:
        """Write an attempt down for every tree that has none in this round, or whose attempt is redone."""
        with self.db.reading() as connection:
            there = evolutions.attempts(connection, self.id, round)
            new = [seq for seq in roots if not there.get(seq, (0, False))[1]]
            parents = current_tasks(connection, self.id, round, new)
        rows = []
        for seq in new:
            redo = there.get(seq, (0, False))[0]
            drawn = chosen(self.settings.weights, self.settings.random_seed, roots[seq], f"{round}.{redo}")
            rows.append(self._step(seq, roots[seq], parents[seq], round, redo, drawn))
        self._write(rows)

    def _want_each(self, roots: Mapping[int, str]) -> None:
        """Write an attempt by each heuristic down for every sample."""
        with self.db.reading() as connection:
            known = samples.by_id(connection, list(roots.values()))
        self._write([
            self._step(seq, id, seq, int(known[id].extra.get("round") or 0) + 1, 0, name)
            for seq, id in roots.items() for name in self.settings.weights
        ])  # fmt: skip

    def _step(self, root: int, id: str, parent: int, round: int, redo: int, heuristic: str) -> dict[str, Any]:
        which = heuristic if self.kind == evolutions.PREVIEW else ""
        return {
            "id": digest("step", self.id, id, str(round), str(redo), which), "evolution_id": self.id,
            "root": root, "parent": parent, "round": round, "redo": redo, "heuristic": heuristic,
        }  # fmt: skip

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for start in range(0, len(rows), PAGE):
            with self.db.transaction() as connection:
                evolutions.add_steps(connection, rows[start : start + PAGE])

    # --- asking ---

    def _ask(self, roots: Mapping[int, str], round: int, phase: str, show: Progress) -> StageResult | None:
        """Ask what waits in a phase of a round, of these trees; None: nothing does."""
        states = (WAITING, FAILED) if self.settings.retry_failed else (WAITING,)
        with self.db.reading() as connection:
            rounds = evolutions.rounds_of(connection, self.id) if self.kind == evolutions.PREVIEW else [round]
            wanted = [
                id for one in rounds
                for id, root in evolutions.to_do(connection, self.id, one, phase, states) if root in roots
            ]  # fmt: skip
            if phase == COMPARE and self.used.compare.repair:
                again = evolutions.unread(connection, self.id, round, UNREAD)
                wanted += [id for id, root in again if root in roots]
        if not wanted:
            runs.release_dead(self.db, stage_of(CALLS[phase], self.generation(phase)))
            return None
        self._asked = True
        asking = self._asking(phase, wanted)
        about = DOING[phase] if self.kind == evolutions.PREVIEW else f"round {round}: {DOING[phase]}"

        def showing(what: str, done: int, total: int) -> None:
            show(about if what == "asking the teacher" else f"{about} ({what})", done, total)

        return asking.run_stage(said_of(asking.settings), showing)

    def _asking(self, phase: str, wanted: Sequence[str]) -> Asking:
        method, settings = self._method(phase), self._settings(phase)
        beside = [self.generation(one) for one in (REWRITE, COMPARE, ANSWER)]
        return Asking(
            self.workspace, method, settings, self._prompt(phase), self.label, wanted, 1, self.key, beside,
            self.limits, self.open_teacher,
        )  # fmt: skip

    def generation(self, phase: str) -> str:
        """Name the generation that the calls of a phase belong to."""
        return generation_id(CALLS[phase], self.label, self._settings(phase), self._prompt(phase))

    def _prompt(self, phase: str) -> Prompt:
        used = self.used
        return {REWRITE: used.rewrite, COMPARE: used.compare, ANSWER: used.answer}[phase]

    def _settings(self, phase: str) -> TeacherSettings:
        """Give what a phase asks with: a comparison wants the likeliest answer, not a new one."""
        if phase != COMPARE:
            return self.settings
        return replace(self.settings, temperature=0.0, top_p=None, max_tokens=COMPARE_TOKENS)

    def _method(self, phase: str) -> Method:
        asked, makes = self.settings, self.kind != evolutions.PREVIEW
        making = Making(self.id, asked.name, asked.compares, asked.checks, makes, self.used.rewrite.hash)
        return METHODS[phase](self._prompt(phase), self._settings(phase), making)


def current_tasks(connection: Connection, id: str, round: int, roots: Sequence[int]) -> dict[int, int]:
    """Give the sample that a round rewrites, of each root: the newest child of the rounds before that lives
    and that nobody rejects, else the root itself."""
    children = evolutions.newest_children(connection, id, round)
    rejected = sample_words.rejected(connection)
    return {
        root: next((child for child in children.get(root, ()) if child not in rejected), root)
        for root in roots
    }
