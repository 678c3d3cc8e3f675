"""What a reply is worth: a sample, or a reason why not; of a fresh reply and of one that is parsed again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from curation.call_outcome import Completion, Outcome
from curation.instruction_flags import flag_counts
from curation.oss_instruct import PARSER, Parsed, parse
from curation.records import Sample
from curation.store.database import Row
from curation.store.generations import FAILED, KEPT, REJECTED, REPAIR
from curation.teacher import Call

# A second request for the same answer may mend these; a refusal or an answer cut off it would not.
REPAIRABLE = frozenset(
    {"missing_problem_marker", "missing_solution_marker", "missing_both_markers", "reversed_markers",
     "empty_problem", "empty_solution"}
)  # fmt: skip
FINISHED = {"length": "cut_off", "content_filter": "content_filter", None: "no_finish_reason"}
METHOD = "oss-instruct"

# What people are told of each reason.
REASONS = {
    "missing_problem_marker": "without the marker of the problem",
    "missing_solution_marker": "without the marker of the solution",
    "missing_both_markers": "without both markers",
    "reversed_markers": "with the solution before the problem",
    "empty_problem": "with an empty problem",
    "empty_solution": "with an empty solution",
    "empty_reply": "empty",
    "cut_off": "cut off at the longest length allowed",
    "content_filter": "stopped by the teacher's content filter",
    "no_finish_reason": "that do not say how they ended",
    "other_finish_reason": "that ended in another way",
    "refusal": "refused by the teacher",
    "prompt_too_long": "not asked: the seed leaves no room for an answer",
    "seed_gone": "not asked: the seed is gone",
    "bad_response": "not in the form of a completion",
    "refused_request": "refused as a request",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a reply."""

    state: str  # kept | rejected | failed
    reason: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    solution: str = ""
    parser: str | None = None

    def after_repair(self) -> "Verdict":
        """Say that it was asked for once more, in vain."""
        return replace(self, evidence={**self.evidence, REPAIR: "asked once more, in vain"})


def verdict_on(outcome: Outcome) -> Verdict:
    """Decide on a final answer. Rejected when it did not end by itself, or lacks a section (recipes 1.3)."""
    if outcome.completion is None:
        return Verdict(FAILED, outcome.reason, {"said": outcome.message})
    return _verdict_on(outcome.completion)


def ended_badly(said: Completion) -> tuple[str, dict[str, Any]] | None:
    """Say why a reply is none, whatever it holds: it was refused, or did not end by itself. Gives reason and
    evidence."""
    if said.refusal:
        return "refusal", {"said": said.refusal[:500]}
    if said.finish_reason != "stop":
        reason = FINISHED.get(said.finish_reason, "other_finish_reason")
        return reason, {"finish_reason": said.finish_reason, "characters": len(said.content)}
    return None


def _verdict_on(said: Completion) -> Verdict:
    if badly := ended_badly(said):
        return Verdict(REJECTED, *badly, parser=PARSER)
    found = parse(said.content)
    if not isinstance(found, Parsed):
        return Verdict(REJECTED, found.reason, dict(found.evidence), parser=PARSER)
    flags = flag_counts(found.problem, found.solution)
    return Verdict(KEPT, None, {}, flags, found.problem, found.solution, PARSER)


def sample_of(verdict: Verdict, call: Call, seed: Row[Any], name: str, draw: int) -> Sample:
    """Make the sample of a reply that is kept. Its id is its call's (design, "Ids")."""
    return made_of(verdict, call.id, call.model, call.endpoint, call.prompt_hash, seed, name, draw)


def made_of(
    verdict: Verdict, call_id: str, model: str, endpoint: str, prompt_hash: str, seed: Row[Any], name: str,
    draw: int,
) -> Sample:  # fmt: skip
    return Sample(
        id=call_id,
        instruction=verdict.problem,
        input="",
        response=verdict.solution,
        source=seed.source,
        row=None,
        name=name,
        licence=seed.licence,
        method=METHOD,
        seed_id=seed.id,
        extra={
            "model": model, "endpoint": endpoint, "prompt": prompt_hash, "draw": draw,
            **({"flags": dict(verdict.flags)} if verdict.flags else {}),
        },
    )  # fmt: skip
