"""Generate: seeds -> a teacher's replies -> samples, with every reply on record.

OSS-Instruct as published (Magicoder, arXiv 2312.02120, section 2.1 and appendix B.1; recipes 1.3-1.4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation import prompt_shelf
from curation.asking import API_SEED, Asking, Final, TeacherSettings, said_of
from curation.errors import WrongInput
from curation.oss_instruct import PARSER, messages, repair_messages
from curation.prompt import Prompt, tag_for
from curation.reply import METHOD, REPAIRABLE, sample_of, verdict_on
from curation.stage import Progress, StageResult, silent
from curation.store import generations, samples, seeds
from curation.store.database import Connection, Row
from curation.store.generations import FAILED, KEPT, REJECTED, REPAIR, Decided
from curation.store.seed_browsing import SeedQuery, seed_ids
from curation.teacher import Call
from curation.workspace import Workspace

TRIAL = "prompt bench"  # label of replies that are compared and make no samples
MOST_DRAWS = 100
ALARM_SHARE, ALARM_LEAST = 0.2, 20  # identical replies that somebody should look at (faults.md F24)


@dataclass(frozen=True, kw_only=True)
class Settings(TeacherSettings):
    """What a person may choose. Raises WrongInput for what cannot be."""

    name: str = METHOD  # label of the samples
    seeds: SeedQuery = field(default_factory=lambda: SeedQuery(sort="mixed"))
    ids: tuple[str, ...] = ()  # these seeds, and no others
    limit: int = 0  # of the seeds, in the order of the view; 0: all
    draws: int = 1  # replies for each seed
    repair: bool = True  # ask once more for a reply in the right form (faults.md F21)
    is_trial: bool = False  # make no samples

    def __post_init__(self) -> None:
        TeacherSettings.__post_init__(self)
        if self.limit < 0:
            raise WrongInput(f"--limit {self.limit} must be 0 (all) or more")
        if not 1 <= self.draws <= MOST_DRAWS:
            raise WrongInput(f"--draws {self.draws} must be between 1 and {MOST_DRAWS}")
        if not self.name.strip():
            raise WrongInput("The samples need a name: give one with --name")
        if self.name == TRIAL:
            raise WrongInput(f"The name {TRIAL!r} belongs to replies that make no samples; give another one")

    @property
    def label(self) -> str:
        return TRIAL if self.is_trial else self.name


def settings_of(asked: Mapping[str, Any]) -> Settings:
    """Read settings as jobs say them: `seeds` is a mapping of SeedQuery's fields. Raises WrongInput."""
    given = dict(asked)
    query = dict(given.pop("seeds", None) or {})
    if query.get("lines") is not None:
        query["lines"] = tuple(query["lines"])
    query.setdefault("sort", "mixed")
    if "ids" in given:
        given["ids"] = tuple(given["ids"])
    return Settings(seeds=SeedQuery(**query), **given)


def generate(
    workspace: Workspace, settings: Settings, key: str | None, show: Progress = silent
) -> StageResult:
    """Ask a teacher about seeds. The same call again asks only what was not answered; a larger limit goes on.

    `key`: the endpoint's API key, held in memory; None where it needs none. Raises WrongInput when there is
    no seed or the endpoint cannot be; a teacher that cannot be used pauses the generation instead, which the
    report says.
    """
    return carry_out(prepare(workspace, settings, key), settings, show)


def prepare(workspace: Workspace, settings: Settings, key: str | None) -> Asking:
    """Say what is to be asked, and of whom. Raises WrongInput when there is no seed or no such prompt."""
    prompt = prompt_shelf.prompt_for(workspace, METHOD, settings.prompt)
    method = OssInstruct(prompt, settings)
    wanted = wanted_seeds(workspace, settings)
    return Asking(workspace, method, settings, prompt, settings.label, wanted, settings.draws, key)


def carry_out(asking: Asking, settings: Settings, show: Progress = silent) -> StageResult:
    result = asking.run_stage(said_of(settings), show)
    result.warnings = [*result.warnings, *_alarms(asking.workspace, asking.id)]
    return result


def wanted_seeds(workspace: Workspace, settings: Settings) -> list[str]:
    """Give the ids of the seeds that are asked about, in order. Raises WrongInput when there is none."""
    db = workspace.database
    if settings.ids:
        ids = [row.id for row in seeds.read(db, list(dict.fromkeys(settings.ids)))]
    else:
        ids = seed_ids(db, settings.seeds)
    if not ids:
        raise WrongInput("No seed fits; take a filter away, or harvest some with `seeds add`")
    return ids[: settings.limit] if settings.limit else ids


def _alarms(workspace: Workspace, id: str) -> list[str]:
    with workspace.database.reading() as connection:
        kept, most = generations.alike(connection, id)
        others = generations.of_other_names(connection, id)
    told = [
        f"{number:,} samples stay in the set {name!r}: the same calls were made under that name before"
        for name, number in others.items()
    ]
    if kept >= ALARM_LEAST and most > ALARM_SHARE * kept:
        told.append(
            f"{most:,} of {kept:,} samples are one and the same text: look at the prompt and the teacher"
        )
    return told


@dataclass(frozen=True)
class OssInstruct:
    """The method: a seed inspires a problem and its solution."""

    prompt: Prompt
    settings: Settings
    name: str = METHOD

    def subjects(self, connection: Connection, ids: Sequence[str]) -> Mapping[str, Row[Any]]:
        return generations.seeds_of(connection, ids)

    def call(self, subject: Row[Any], draw: int) -> Call:
        return self.settings.call(self.prompt, self._messages(subject, draw), f"{draw}")

    def _messages(self, seed: Row[Any], draw: int) -> list[dict[str, str]]:
        tag = tag_for(seed.text, str(API_SEED), seed.id, str(draw))
        return messages(self.prompt, seed.text, seed.language, tag)

    def may_be_repaired(self, reason: str | None) -> bool:
        return self.settings.repair and bool(self.prompt.repair) and reason in REPAIRABLE

    def repair(self, subject: Row[Any], draw: int, reply: str) -> Call | None:
        again = repair_messages(self.prompt, self._messages(subject, draw), reply)
        return self.settings.call(self.prompt, again, f"{draw} repair")

    def keep(self, connection: Connection, finals: Sequence[Final]) -> Sequence[Decided]:
        made, decided = [], []
        for one in finals:
            verdict = verdict_on(one.outcome)
            if one.is_repair and verdict.state == FAILED:  # what the first reply said still holds
                told = {**one.item.evidence, REPAIR: one.outcome.message}
                decided.append(Decided(one.item.position, REJECTED, one.item.reason, told, parser=PARSER))
                continue
            if one.is_repair and verdict.state != KEPT:
                verdict = verdict.after_repair()
            sample = None
            if verdict.state == KEPT and not self.settings.is_trial:
                sample = sample_of(verdict, one.call, one.subject, self.settings.name, one.item.draw)
                made.append(sample)
            decided.append(
                Decided(
                    one.item.position, verdict.state, verdict.reason, verdict.evidence, verdict.flags,
                    None if sample is None else sample.id, verdict.parser,
                    one.call.id if one.is_repair else None,
                )
            )  # fmt: skip
        samples.add(connection, made)
        return decided
