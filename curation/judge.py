"""Judge: a model gives samples a score, a difficulty and a reason, by a rubric. Optional; it drops nothing.

A reply counts when it is one JSON object as the rubric asks for. Anything else is rejected with its reason,
never a number (faults.md F51). The texts are data between delimiters that they cannot close (S24), and
those that speak to their judge are flagged (S26): their score is worth a second look.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation import prompt_shelf
from curation.asking import API_SEED, Asking, Final, TeacherSettings, said_of
from curation.call_outcome import Completion
from curation.errors import WrongInput
from curation.instruction_flags import flag_counts
from curation.oss_instruct import SURROGATE, repair_messages
from curation.prompt import Prompt, delimiters, messages, tag_for
from curation.reply import ended_badly
from curation.stage import Progress, Report, StageResult, silent
from curation.store import judgements, samples
from curation.store.database import Connection, Database, Row
from curation.store.generations import FAILED, KEPT, REJECTED, Decided
from curation.teacher import Call
from curation.workspace import Workspace

METHOD = "judge"
READER = "1"  # goes up when judgement_in() reads any reply differently
FIELDS = ("score", "difficulty", "reason")
LOWEST, HIGHEST = 1, 5
LONGEST_REASON = 2_000  # characters; the rubric asks for two sentences

# What people are told of each reason why an answer is no judgement (those of reply.FINISHED come on top).
REASONS = {
    "empty_reply": "empty",
    "not_json": "that are no JSON",
    "text_around_json": "with text around the JSON object",
    "not_an_object": "that are JSON, but no object",
    "repeated_field": "that name a field twice, so that they say two things",
    "missing_field": "without score, difficulty or reason",
    "unknown_field": "with more fields than were asked for",
    "bad_score": "whose score is no whole number from 1 to 5",
    "bad_difficulty": "whose difficulty is no whole number from 1 to 5",
    "bad_reason": "whose reason is no text, or too much of it",
}
FENCED = re.compile(
    r"\A(?P<signs>```|~~~)[ \t]*(?:json)?[ \t]*\n(?P<body>.*)\n[ \t]*(?P=signs)\Z", re.S | re.I
)


@dataclass(frozen=True, kw_only=True)
class Settings(TeacherSettings):
    """Whom to ask about which samples. Raises WrongInput for what cannot be."""

    max_tokens: int = 500  # three short fields take some 100
    name: str | None = None  # only samples of this set
    method: str | None = None  # only samples that were made so
    ids: tuple[str, ...] = ()  # these samples, and no others, wherever they are
    limit: int = 0  # of the samples, in import order; 0: all
    repair: bool = True  # ask once more for an answer in the right form (faults.md F21)

    def __post_init__(self) -> None:
        TeacherSettings.__post_init__(self)
        if self.limit < 0:
            raise WrongInput(f"--limit {self.limit} must be 0 (all) or more")


def settings_of(asked: Mapping[str, Any]) -> Settings:
    """Read settings as jobs say them. Raises WrongInput."""
    return Settings(**{**asked, "ids": tuple(asked.get("ids") or ())})


# --- reading an answer ---


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said of a sample."""

    score: int  # 1 to 5
    difficulty: int  # 1 to 5
    reason: str


@dataclass(frozen=True, slots=True)
class Unread:
    """Why an answer gives no judgement."""

    reason: str
    evidence: Mapping[str, Any]


class _Wrong(Exception):
    """Carries the reason why a JSON object is refused."""


def judgement_in(text: str) -> Judgement | Unread:
    """Read one JSON object, in a code fence or without one; nothing may stand around it.

    Never raises for what a reply holds, and never guesses: "4", 4.0, true and two objects are no scores.
    """
    plain = text.strip().lstrip("\ufeff").strip()
    fenced = FENCED.fullmatch(plain)
    try:
        found = _read(fenced["body"].strip() if fenced else plain)
        return _checked(found)
    except _Wrong as wrong:
        return Unread(str(wrong), {"beginning": text[:200], "characters": len(text)})


def _read(text: str) -> Any:
    if not text:
        raise _Wrong("empty_reply")
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)
    try:
        found, end = decoder.raw_decode(text)
        if not text[end:].strip():
            return found
    except (ValueError, RecursionError):
        pass
    raise _Wrong("text_around_json" if _holds_object(decoder, text) else "not_json")


def _holds_object(decoder: json.JSONDecoder, text: str) -> bool:
    try:
        return isinstance(decoder.raw_decode(text, max(0, text.find("{")))[0], dict)
    except (ValueError, RecursionError):
        return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Wrong("repeated_field")
    return found


def _no_number(_: str) -> Any:
    raise ValueError  # NaN and Infinity are not JSON


def _checked(found: Any) -> Judgement:
    if not isinstance(found, dict):
        raise _Wrong("not_an_object")
    if any(name not in found for name in FIELDS):
        raise _Wrong("missing_field")
    if len(found) > len(FIELDS):
        raise _Wrong("unknown_field")
    for name in ("score", "difficulty"):
        value = found[name]
        if type(value) is not int or not LOWEST <= value <= HIGHEST:  # true is an int, too
            raise _Wrong(f"bad_{name}")
    reason = found["reason"]
    if not isinstance(reason, str) or not reason.strip() or len(reason) > LONGEST_REASON:
        raise _Wrong("bad_reason")
    return Judgement(found["score"], found["difficulty"], SURROGATE.sub("\ufffd", reason.strip()))


def _verdict_on(said: Completion) -> Judgement | Unread:
    """Decide on an answer: one that did not end by itself is none, whatever it holds."""
    badly = ended_badly(said)
    return judgement_in(said.content) if badly is None else Unread(*badly)


# --- asking ---


def judge(workspace: Workspace, settings: Settings, key: str | None, show: Progress = silent) -> StageResult:
    """Ask a judge about samples. The same call again asks only what was not answered.

    `key`: the endpoint's API key, held in memory; None where it needs none. The report has requested, judged,
    rejected {reason: n}, failed {reason: n}, waiting, calls (of this run), tokens (of all), flagged, scores
    {score: n} and, when anything was judged, mean_score. Raises WrongInput when there is no sample, or the
    endpoint cannot be asked.
    """
    prompt = prompt_shelf.prompt_for(workspace, METHOD, settings.prompt)
    wanted = wanted_samples(workspace, settings)
    asking = Asking(workspace, Judging(prompt, settings), settings, prompt, METHOD, wanted, 1, key)
    result = asking.run_stage(said_of(settings), show)
    result.report = _report(workspace, asking.id, wanted, result.report)
    return result


def wanted_samples(workspace: Workspace, settings: Settings) -> list[str]:
    """Give the ids of the samples that are judged, in order. Raises WrongInput when there is none."""
    db = workspace.database
    if settings.ids:
        ids = _checked_ids(db, settings.ids)
    else:
        ids = judgements.candidates(db, settings.name, settings.method)
    if not ids:
        raise WrongInput(
            "No sample fits; take a filter away, or make some with `generate` or `samples import`. "
            "Rows that were dropped or rejected are judged by --id only"
        )
    return ids[: settings.limit] if settings.limit else ids


def _checked_ids(db: Database, ids: Sequence[str]) -> list[str]:
    with db.reading() as connection:
        known = samples.by_id(connection, ids)
    for id in ids:
        if id not in known:
            raise WrongInput(f"No sample has the id {id!r}; give it in full, as `explain` tells it")
    return list(dict.fromkeys(ids))


def _report(workspace: Workspace, id: str, wanted: Sequence[str], said: Report) -> Report:
    chosen = set(wanted)
    with workspace.database.reading() as connection:
        found = judgements.scores_of(connection, id)
        flagged = judgements.flagged(connection, id)
    scores = [score for subject, score in found.items() if subject in chosen]
    told = {name: value for name, value in said.items() if name != "kept"}
    return {
        **told,
        "judged": said["kept"],
        "flagged": len(chosen & flagged),
        "scores": {f"{score:g}": number for score, number in sorted(Counter(scores).items())},
        # Absent where nothing was judged: no score is not a score of 0.
        **({"mean_score": round(sum(scores) / len(scores), 4)} if scores else {}),
    }


def texts_of(sample: Row[Any]) -> tuple[str, str]:
    """Give problem and solution of a sample as a judge reads them."""
    problem = f"{sample.instruction}\n\n{sample.input}" if sample.input else sample.instruction
    return problem, sample.response


@dataclass(frozen=True)
class Judging:
    """The method: a rubric and a sample make a question."""

    prompt: Prompt
    settings: Settings
    name: str = METHOD

    def subjects(self, connection: Connection, ids: Sequence[str]) -> Mapping[str, Row[Any]]:
        return samples.by_id(connection, ids)

    def call(self, subject: Row[Any], draw: int) -> Call:
        return self.settings.call(self.prompt, self._messages(subject, draw), f"{draw}")

    def _messages(self, sample: Row[Any], draw: int) -> list[dict[str, str]]:
        problem, solution = texts_of(sample)
        # The id is part of the tag, so that two equal samples are two calls, each with its own judgement.
        tag = tag_for(f"{problem}\n{solution}", str(API_SEED), METHOD, sample.id, str(draw))
        begin, end = delimiters(tag, "sample")
        return messages(self.prompt, problem=problem, solution=solution, begin=begin, end=end)

    def may_be_repaired(self, reason: str | None) -> bool:
        return self.settings.repair and bool(self.prompt.repair) and reason in REASONS

    def repair(self, subject: Row[Any], draw: int, reply: str) -> Call | None:
        again = repair_messages(self.prompt, self._messages(subject, draw), reply)
        return self.settings.call(self.prompt, again, f"{draw} repair")

    def keep(self, connection: Connection, finals: Sequence[Final]) -> Sequence[Decided]:
        said, decided = [], []
        for one in finals:
            flags = flag_counts(*texts_of(one.subject))
            read = None if one.outcome.completion is None else _verdict_on(one.outcome.completion)
            if isinstance(read, Judgement):
                said.append(_row(one, read))
            decided.append(_decided(one, read, flags))
        judgements.add(connection, said)
        return decided


def _row(one: Final, read: Judgement) -> dict[str, Any]:
    return {
        "seq": one.subject.seq, "call_id": one.call.id, "model": one.call.model,
        "prompt_hash": one.call.prompt_hash, "score": read.score, "difficulty": read.difficulty,
        "reason": read.reason,
    }  # fmt: skip


def _decided(one: Final, read: Judgement | Unread | None, flags: Mapping[str, int]) -> Decided:
    at, repair_id = one.item.position, one.call.id if one.is_repair else None
    if isinstance(read, Judgement):
        return Decided(at, KEPT, flags=flags, parser=READER, repair_id=repair_id)
    if read is None:
        return _unanswered(one, flags)
    evidence = {**read.evidence, **({"repair": "asked once more, in vain"} if one.is_repair else {})}
    return Decided(at, REJECTED, read.reason, evidence, flags, parser=READER, repair_id=repair_id)


def _unanswered(one: Final, flags: Mapping[str, int]) -> Decided:
    at, outcome = one.item.position, one.outcome
    if one.is_repair:  # what the first reply said still holds
        evidence = {**one.item.evidence, "repair": outcome.message}
        return Decided(at, REJECTED, one.item.reason, evidence, flags, parser=READER)
    return Decided(at, FAILED, outcome.reason, {"said": outcome.message}, flags)
