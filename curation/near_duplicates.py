"""Near-duplicates: every pair of like questions, one keeper for each group of them, the gray ones asked.

Source: Platypus section 2.2 (0.8 cosine of all-MiniLM-L6-v2 over instruction and input; the longer
answer stays) and its notebook (0.7, first seen). What may be chosen: pair_settings; how a run is decided:
pair_case. The check of the responses is Winnow's own (design.md, the table of defaults).
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation import keep_rules, second_opinions
from curation.atomic import atomic_write
from curation.compared_texts import Compared, compared, compared_by_drafts
from curation.draft_vectors import Texts
from curation.embedding import (
    SentenceEmbedder,
    TextRef,
    VectorCache,
    Vectors,
    embed_missing,
    key_of,
)
from curation.errors import WrongInput
from curation.fence_language import language_of
from curation.keepers import Fate, Zone
from curation.pair_case import Case, Said
from curation.pair_clusters import Clusters
from curation.pair_facts import facts_of
from curation.pair_list import Pairs
from curation.pair_rows import Rows, best_first, standing_of
from curation.pair_settings import STAGE, Settings, text_to_compare
from curation.pair_tables import are_there, write_tables
from curation.pairs import ROUNDING, exact_cosines
from curation.run_edges import EDGE, Edges, RunEdges, save_edges, sha256_of
from curation.stage import Progress, Report, Stage, StageResult, run_stage, silent
from curation.store import decisions as store
from curation.store import reviews, runs, samples
from curation.store.database import Connection, Database
from curation.workspace import Workspace

CODE = "2"  # raise when the same input and settings would give another result
ALARM_SHARE, ALARM_ROWS = 0.5, 20  # a source of so many rows that lost such a share is named
MOST_PAIRS = 2**31 - 1  # their numbers are kept in 32 bits
BYTES_A_PAIR = 70  # of disk: what a run keeps of each pair, and what lies beside that meanwhile
AT_ONCE = 1 << 18  # pairs given cosines between two looks whether to stop
RESPONSES_AGREE = 0.8  # cosine of the responses from which they count as saying the same


def near_duplicates(
    workspace: Workspace, settings: Settings, show: Progress = silent, again: bool = False
) -> StageResult:
    """Find near-duplicates among the rows the stage before left, and decide on each.

    Raises WrongInput when there are no rows, and what embedding raises.
    """
    embedder = SentenceEmbedder(settings.model)
    rows = runs.input_rows(workspace.database, STAGE)
    if not rows.seqs:
        raise WrongInput("There are no samples to compare; import some with `samples import FILE`")
    settings = _fixed(workspace, settings)
    request = runs.Request(
        STAGE,
        {**asdict(settings), "sources": list(settings.sources), "model_hash": embedder.hash},
        rows.hash,
        CODE,
    )
    current = runs.current(workspace.database, STAGE)
    again = again or (current is not None and not _files_are_whole(workspace, current))
    result = run_stage(workspace, request, lambda stage: _run(stage, settings, embedder, rows), show, again)
    with workspace.database.reading() as connection:
        result.report |= live_counts(connection, result.run_id)
    return result


def _fixed(workspace: Workspace, settings: Settings) -> Settings:
    """Hold the settings against what is in the store, and fix what a later judgement must not change."""
    with workspace.database.reading() as connection:
        if settings.keep == "source":
            keep_rules.check_sources(connection, settings.sources)
        judged_to = keep_rules.newest_judgement(connection) if settings.keep == "judge" else None
    return replace(settings, judged_to=judged_to)


def live_counts(connection: Connection, run_id: int) -> Report:
    """Count what verdicts may have changed since the run."""
    by_source = removal_by_source(connection, run_id)
    return {
        **store.live_counts(connection, run_id),
        "asked": store.asked_pairs(connection, run_id),
        "by_source": by_source,
        "alarms": alarms_of(by_source),
    }


def removal_by_source(connection: Connection, run_id: int) -> list[dict[str, Any]]:
    """Say for each source how many of its rows the stage saw, how many it dropped, and that share."""
    return [
        {"source": row.source, "seen": row.seen, "dropped": row.dropped, "share": row.dropped / row.seen}
        for row in store.counts_by_source(connection, run_id)
    ]


def alarms_of(by_source: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the sources of which so much went that a rule, and not their rows, may be at fault.

    Others saw whole sources vanish unnoticed (peers.md, what users ask for); the numbers are ours.
    """
    return [
        f"{one['source']} lost {one['dropped']:,} of {one['seen']:,} rows ({one['share']:.0%}); "
        "read some of its pairs before you go on"
        for one in by_source
        if one["seen"] >= ALARM_ROWS and one["share"] >= ALARM_SHARE
    ]


def _run(stage: Stage, settings: Settings, embedder: SentenceEmbedder, inputs: runs.InputRows) -> Report:
    began = time.monotonic()
    stage.workspace.require_space(len(inputs.seqs) * 3 * 384 * 4, "Comparing these rows")
    stage.workspace.sweep()
    rows, texts, languages = _read_rows(stage.db, settings, inputs)
    found = _compared(stage, settings, embedder, texts)
    _require_room(stage.workspace, len(found.pairs))
    counted = Counted()
    responses = _responses(stage, settings, embedder, rows, found)
    edges_sha256 = save_edges(
        stage.workspace, stage.run_id, _edges(rows, found, responses, settings, counted, stage.progress)
    )
    with stage.db.reading() as connection:
        facts = facts_of(connection, rows.seqs.tolist(), best_first(rows, settings), languages)
    write_tables(
        stage.workspace.pairs, stage.run_id, found.folder, found.vectors, settings.floor, settings.threshold,
        rows.seqs, facts, stage.progress,
    )  # fmt: skip

    opinions = _opinions(stage, rows, found.vectors) if settings.opinions else {}
    report = {
        "samples": len(rows.ids),
        **opinions,
        **found.report,
        "pairs": counted.pairs,
        "clusters": 0,
        "pairs_at_floor": len(found.pairs),
        "reads": inputs.stage_before,
        "edges_sha256": edges_sha256,
        "pairs_folder": found.folder,
    }
    return _write(stage, settings, rows, report, began)


def _require_room(workspace: Workspace, pairs: int) -> None:
    """Raises WrongInput when there are more pairs than a run can number, SourceUnavailable when the disk has
    no room for what it keeps of them."""
    if pairs > MOST_PAIRS:
        raise WrongInput(
            f"{pairs:,} pairs are more than a run can number ({MOST_PAIRS:,}); give a higher --floor and "
            "--threshold, or drop repeated rows first (`clean`)"
        )
    workspace.require_space(pairs * BYTES_A_PAIR, f"Deciding on {pairs:,} pairs")


def _compared(stage: Stage, settings: Settings, embedder: SentenceEmbedder, texts: Texts) -> Compared:
    workspace, floor, progress = stage.workspace, settings.floor, stage.progress
    if not settings.draft:
        return compared(workspace, texts, embedder, floor, progress)
    draft = SentenceEmbedder(settings.model, is_draft=True)
    edges = (floor, settings.threshold, settings.low, settings.ask_high)
    return compared_by_drafts(workspace, texts, draft, embedder, edges, progress)


def _opinions(stage: Stage, rows: Rows, vectors: Vectors) -> Report:
    """Ask words and code about the same rows, and count those that repeat another one."""
    seq_of = dict(zip(rows.ids, rows.seqs.tolist(), strict=True))
    inputs = set(seq_of.values())
    texts = ("id", "instruction", "input", "response")
    found = second_opinions.second_opinions(
        rows.ids,
        lambda: (row for row in samples.stream(stage.db, texts) if row.seq in inputs),
        lambda id: samples.read(stage.db, [seq_of[id]])[0],
        vectors,
        stage.progress,
    )
    second_opinions.write(stage.workspace.pairs, stage.run_id, found)
    return {
        f"repeat_{kind}": int((found["kind"] == number).sum())
        for number, kind in enumerate(second_opinions.KINDS)
    }


def _read_rows(db: Database, settings: Settings, inputs: runs.InputRows) -> tuple[Rows, Texts, list[str]]:
    """Read the rows in import order. Gives the texts to compare, and the language of each row, too."""
    text_of = text_to_compare(settings)
    position_of = dict(zip(inputs.seqs, inputs.positions, strict=True))
    columns = ("id", "instruction", "input", "response", "content_hash")
    of_seeds = samples.seed_languages(db)
    facts: list[tuple[int, str, int, int, str]] = []
    languages: list[str] = []
    refs: list[TextRef] = []
    for row in samples.stream(db, columns):
        if row.seq in position_of:
            text = text_of(row)
            refs.append(TextRef(key_of(text), len(text), row.seq))
            facts.append((row.seq, row.id, position_of[row.seq], len(row.response), row.content_hash))
            languages.append(language_of(row.response, of_seeds.get(row.seq)).language)
    seqs, ids, positions, lengths, content = (list(column) for column in zip(*facts, strict=True))
    with db.reading() as connection:
        standing = standing_of(connection, settings, seqs)
    rows = Rows(np.array(seqs), ids, np.array(positions), np.array(lengths), content, standing)
    texts = Texts(refs, lambda wanted: [text_of(row) for row in samples.read(db, wanted)])
    return rows, texts, languages


@dataclass
class Counted:
    """What is counted of pairs while they are written."""

    pairs: int = 0  # at or above the threshold


@dataclass(frozen=True)
class Responses:
    """The vectors of the responses that are compared."""

    numbers: npt.NDArray[np.int64]  # places of their rows, ascending
    vectors: Vectors

    def cosines(self, left: npt.NDArray[np.int32], right: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        ends = (np.searchsorted(self.numbers, end).astype(np.int32) for end in (left, right))
        return exact_cosines(self.vectors, *ends)


def _responses(
    stage: Stage, settings: Settings, embedder: SentenceEmbedder, rows: Rows, found: Compared
) -> Responses | None:
    """Embed the responses of the pairs that would be dropped at once; None: they are not compared."""
    if not settings.checks_responses:
        return None
    is_sure = np.zeros(len(rows.ids), dtype=bool)
    for pairs in found.pieces():
        sure = pairs["cosine"] >= settings.ask_high - ROUNDING
        is_sure[pairs["left"][sure]] = is_sure[pairs["right"][sure]] = True
    numbers = np.flatnonzero(is_sure)
    refs = response_refs(stage.db, rows.seqs[numbers].tolist())
    cache = VectorCache(stage.workspace.embeddings / embedder.hash)
    embed_missing(
        cache, embedder, refs, lambda part: [r.response for r in samples.read(stage.db, part)],
        stage.progress, "embedding responses",
    )  # fmt: skip
    return Responses(numbers, cache.gather([ref.key for ref in refs]))


def response_refs(db: Database, seqs: Sequence[int]) -> list[TextRef]:
    """Name the responses of these rows, a page of texts in memory at a time."""
    refs: list[TextRef] = []
    for start in range(0, len(seqs), samples.PAGE):
        for row in samples.read(db, seqs[start : start + samples.PAGE]):
            refs.append(TextRef(key_of(row.response), len(row.response), row.seq))
    return refs


def _edges(
    rows: Rows, found: Compared, responses: Responses | None, settings: Settings, counted: Counted,
    progress: Progress,
) -> Iterator[Edges]:  # fmt: skip
    """Give the pairs at or above the threshold (or the band, where it begins lower), with float64 cosines.

    The list on disk is float32, so pairs within rounding of the threshold are computed again.
    """
    lowest = min(settings.threshold, settings.low)
    done = 0
    for pairs in found.pieces(AT_ONCE):
        progress("comparing pairs closely", done, len(found.pairs))
        done += len(pairs)
        near = pairs[pairs["cosine"] >= lowest - ROUNDING]
        cosine = exact_cosines(found.vectors, near["left"], near["right"])
        keep = cosine > lowest if settings.preset == "notebook" else cosine >= lowest
        edges = _edges_of(rows, near[keep], cosine[keep], responses, settings)
        counted.pairs += int(np.count_nonzero(_reported(edges, settings)))
        yield edges


def _edges_of(
    rows: Rows, pairs: Pairs, cosine: npt.NDArray[np.float64], responses: Responses | None, settings: Settings
) -> Edges:
    edges = np.empty(len(pairs), dtype=EDGE)
    edges["left"], edges["right"] = rows.seqs[pairs["left"]], rows.seqs[pairs["right"]]
    edges["cosine"], edges["response"] = cosine, np.nan
    if responses is not None:
        sure = np.flatnonzero(cosine >= settings.ask_high)
        edges["response"][sure] = responses.cosines(pairs["left"][sure], pairs["right"][sure])
    edges["zone"] = Zone.DROP
    if settings.asks:
        edges["zone"][edges["response"] < RESPONSES_AGREE] = Zone.RESPONSE
        edges["zone"][cosine < settings.ask_high] = Zone.BAND
    return edges


def _reported(edges: Edges, settings: Settings) -> npt.NDArray[np.bool_]:
    if settings.preset == "notebook":
        return np.asarray(edges["cosine"] > settings.threshold)
    return np.asarray(edges["cosine"] >= settings.threshold)


def _files_are_whole(workspace: Workspace, run: Any) -> bool:
    if not are_there(workspace.pairs, run.id, run.report.get("pairs_folder")):
        return False
    try:
        found = sha256_of(workspace, run.id)
    except OSError:
        return False
    return bool(found == run.report.get("edges_sha256"))


def _write(stage: Stage, settings: Settings, rows: Rows, report: Report, began: float) -> Report:
    """Decide, and write everything in one transaction."""
    stage.progress("deciding", 0, 0)
    clusters = _clusters(rows, RunEdges.of(stage.workspace, stage.run_id))
    report["clusters"] = int(clusters.max()) + 1 if len(clusters) else 0
    edges = RunEdges.of(stage.workspace, stage.run_id, settings.low)
    with stage.db.reading() as connection:
        said = Said.of(connection, settings)
    case = Case.of(settings, rows, edges, said)
    decisions = case.decide(settings.budget, spool=stage.workspace.pairs)
    with stage.finishing() as connection:
        now = Said.of(connection, settings)
        if now != said:  # somebody voted meanwhile; decided before, so that a vote need not wait for long
            case = Case.of(settings, rows, edges, now)
            decisions = case.decide(settings.budget, spool=stage.workspace.pairs)
        found = case.written(decisions, clusters)
        store.keep_all(connection, stage.run_id, found.outcomes, found.rejections)
        store.keep_pairs(connection, stage.run_id, found.pairs)
        reviews.ask(connection, STAGE, [{**item, "run_id": stage.run_id} for item in found.items])
        reviews.reopen(connection, found.again)
        report["over_budget"] = int(np.count_nonzero(decisions.fate == Fate.OVER_BUDGET))
        report["seconds"] = round(time.monotonic() - began, 2)
        runs.finish(connection, stage.run_id, report)
    return report


def _clusters(rows: Rows, edges: RunEdges) -> npt.NDArray[np.int32]:
    """Number the groups of rows that pairs connect, in import order; -1 for a row without pairs."""
    clusters = Clusters(len(rows.ids), levels=1)
    for _, found in edges.pieces():
        left, right = (rows.by_number(found[end]).astype(np.int32) for end in ("left", "right"))
        clusters.add(left, right, np.zeros(len(found), np.int32))
    return clusters.first_seen(0)


def write_pairs(workspace: Workspace, run_id: int, threshold: float, strict: bool, file: Path) -> int:
    """Write every pair of a run at or above its threshold as JSON lines, and give their number.

    The lines stand in the order of left, then right (import order), whatever was decided on the pair.
    """
    place = {row.seq: (row.id, row.source if row.row is not None else None, row.row)
             for row in samples.stream(workspace.database, ("id", "source", "row"))}  # fmt: skip
    count = 0
    with atomic_write(file) as out:
        for _, edges in RunEdges.of(workspace, run_id, threshold).pieces():
            for edge in edges[edges["cosine"] > threshold] if strict else edges:
                left, right = place[int(edge["left"])], place[int(edge["right"])]
                line = {
                    "left": left[0], "right": right[0], "left_source": left[1], "left_row": left[2],
                    "right_source": right[1], "right_row": right[2], "cosine": float(edge["cosine"]),
                }  # fmt: skip
                out.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                count += 1
    return count
