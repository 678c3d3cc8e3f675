"""Exact duplicates: rows that ask the same thing keep one answer.

Rule `platypus` (data_pipeline/merged_largest_keep.py): equal instruction and input, nothing normalised but a
missing input, which counts as ""; the row with the longest response in characters stays, ties keep the first,
and the survivor takes the position of the first. Rule `magicoder` (clean_data.py): with all white space
removed, the seed's text, problem and solution are each compared with those of kept rows; any repeat drops a
row, and two replies to one seed are repeats. Rows come in the order in which they were made; the published
script shuffles them first. A row that was evolved has its parent's seed and does not repeat it. Before either
rule, rows that a person rejected are dropped.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from curation.errors import WrongInput
from curation.records import digest
from curation.stage import Progress, Report, Stage, StageResult, run_stage, silent
from curation.store import clean_report, decisions, evolutions, runs, sample_words, samples
from curation.store.database import Connection
from curation.store.database import Row as StoredRow
from curation.workspace import Workspace

STAGE = "clean"
CODE = "3"  # what was evolved repeats no seed
RULES = ("platypus", "magicoder")
Words = Mapping[int, StoredRow[Any]]  # rows that people reject, by their numbers, with the word that counts


@dataclass(frozen=True, slots=True)
class Row:
    """What the rules look at, as hashes: constant memory a row."""

    seq: int
    id: str
    position: int
    keys: tuple[tuple[str, str], ...]  # (reason to reject, hash); equal hashes collide
    length: int  # characters of the response


@dataclass(frozen=True, slots=True)
class Repeat:
    """A row that repeats a kept one."""

    row: Row
    keeper: Row
    reason: str


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The survivors with their positions, and the repeats."""

    kept: list[tuple[Row, int]]
    repeats: list[Repeat]


def keep_longest(rows: Iterable[Row]) -> Cleaned:
    """Keep one row of each key: the one with the longest response, at the position of the first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.keys[0][1], []).append(row)
    kept, repeats = [], []
    for group in groups.values():
        keeper = max(group, key=lambda row: row.length)  # max gives the first of equals
        kept.append((keeper, group[0].position))
        repeats += [Repeat(row, keeper, row.keys[0][0]) for row in group if row is not keeper]
    return Cleaned(kept, repeats)


def keep_first(rows: Iterable[Row]) -> Cleaned:
    """Keep a row when none of its keys was seen among the rows kept so far."""
    seen: dict[tuple[str, str], Row] = {}
    kept, repeats = [], []
    for row in rows:
        hit = next((key for key in row.keys if key in seen), None)
        if hit is not None:
            repeats.append(Repeat(row, seen[hit], hit[0]))
        else:
            kept.append((row, row.position))
            seen.update(dict.fromkeys(row.keys, row))
    return Cleaned(kept, repeats)


def clean(
    workspace: Workspace, rule: str = "platypus", show: Progress = silent, again: bool = False
) -> StageResult:
    """Drop exact duplicates among all samples, and what people rejected.

    With rule `magicoder` the report has `languages` (see `clean_report.by_language`; recipes 1.5).
    Raises WrongInput when there are no samples or the rule is unknown.
    """
    if rule not in RULES:
        raise WrongInput(f"There is no rule {rule!r}; choose one of {', '.join(RULES)}")
    rows = runs.input_rows(workspace.database, STAGE)
    if not rows.seqs:
        raise WrongInput("There are no samples to clean; import some with `samples import FILE`")
    with workspace.database.reading() as connection:
        rejected = sample_words.rejected(connection)
    request = runs.Request(STAGE, {"rule": rule}, _input_hash(rows, rejected), CODE)
    total = len(rows.seqs)
    result = run_stage(workspace, request, lambda stage: _run(stage, rule, total, rejected), show, again)
    with workspace.database.reading() as connection:  # a rescue may have changed the counts since
        result.report |= _report(connection, result.run_id)
        if rule == "magicoder":  # not kept with the run: it would be out of date after a rescue
            result.report["languages"] = clean_report.by_language(connection, result.run_id)
    return result


def _input_hash(rows: runs.InputRows, rejected: Words) -> str:
    """Name the rows and the words of people that drop some of them."""
    if not rejected:
        return rows.hash
    return digest(rows.hash, *(str(word.id) for word in rejected.values()))  # a word never changes


def _run(stage: Stage, rule: str, total: int, rejected: Words) -> Report:
    rows = (row for row in _rows(stage, rule, total) if row.seq not in rejected)
    cleaned = keep_longest(rows) if rule == "platypus" else keep_first(rows)
    with stage.finishing() as connection:
        rescued = decisions.rescued(connection, STAGE)
        outcomes = [
            {"seq": row.seq, "state": "kept", "position": at, "cluster": None} for row, at in cleaned.kept
        ]
        rejections = []
        for repeat in cleaned.repeats:
            row = repeat.row
            state = "pending" if row.seq in rescued else "dropped"
            outcomes.append({"seq": row.seq, "state": state, "position": row.position, "cluster": None})
            # A rescued row keeps its rejection, too: it says what the person overruled.
            rejections.append({"seq": row.seq, "reason": repeat.reason, "evidence": _evidence(repeat, rule)})
        for seq, word in rejected.items():
            state = "pending" if seq in rescued else "dropped"
            outcomes.append({"seq": seq, "state": state, "position": seq, "cluster": None})
            told = {"person": word.person, "at": word.at, "note": word.note}
            rejections.append({"seq": seq, "reason": sample_words.REJECTED, "evidence": told})
        _make_positions_distinct(outcomes)
        decisions.keep_all(connection, stage.run_id, outcomes, rejections)
        report = _report(connection, stage.run_id)
        runs.finish(connection, stage.run_id, report)
    return report


def redecide(connection: Connection, seq: int, is_rescued: bool) -> None:
    """Put one dropped row back as pending, or take that back, in the current run."""
    run = runs.current_in(connection, STAGE)
    if run is not None and decisions.rejections_in(connection, run.id, seq):  # else this run kept the row
        decisions.set_state(connection, run.id, seq, "pending" if is_rescued else "dropped")


def _make_positions_distinct(outcomes: list[dict[str, Any]]) -> None:
    """Let a dropped first row swap places with its survivor, so that no two rows share a position."""
    taken = {one["position"]: one["seq"] for one in outcomes if one["state"] == "kept"}
    for one in outcomes:
        if one["state"] != "kept" and one["position"] in taken:
            one["position"] = taken[one["position"]]  # the survivor's own place, which is free now


def _report(connection: Connection, run_id: int) -> Report:
    counts = decisions.state_counts_of(connection, run_id)
    return {
        **{name: counts[name] for name in ("in", "kept", "pending")},
        "dropped": decisions.rejection_counts(connection, run_id),
    }


def _evidence(repeat: Repeat, rule: str) -> dict[str, Any]:
    return {
        "keeper": repeat.keeper.id,
        "rule": rule,
        "response_characters": [repeat.row.length, repeat.keeper.length],
    }


def _rows(stage: Stage, rule: str, total: int) -> Iterator[Row]:
    columns = ("id", "instruction", "input", "response", "method")
    stream = samples.stream if rule == "platypus" else samples.stream_with_seeds
    for number, row in enumerate(stream(stage.db, columns)):
        if number % samples.PAGE == 0:
            stage.progress("reading rows", number, total)
        yield Row(row.seq, row.id, row.seq, _keys(row, rule), len(row.response))


def _keys(row: Any, rule: str) -> tuple[tuple[str, str], ...]:
    if rule == "platypus":
        return (("exact_duplicate", digest(row.instruction, row.input)),)
    texts = [
        ("duplicate_seed", "" if row.method == evolutions.METHOD else row.seed_text or ""),
        ("duplicate_problem", row.instruction + row.input),
        ("duplicate_solution", row.response),
    ]
    parts = ((reason, "".join(text.split())) for reason, text in texts)
    return tuple((reason, digest(text)) for reason, text in parts if text)
