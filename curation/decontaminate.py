"""Contamination: training rows that give away a benchmark's tasks.

Detectors: `substring` (Magicoder, substring.py) and `cosine` (Platypus section 2.3: all-MiniLM-L6-v2, 0.8;
question with problem, response with solution, the greater counts; unlike the notebook every row at or above
counts, not only the best match of a task). `joint` is 1 for a long substring hit, else the cosine.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.atomic import atomic_write
from curation.benchmarks import KNOWN_SHA256, LoadedBenchmark, load_benchmark, parse_benchmark
from curation.embedding import BUNDLED, SentenceEmbedder, TextRef, VectorCache, Vectors, embed_missing, key_of
from curation.errors import WrongInput
from curation.pairs import MARGIN
from curation.records import digest, question_of
from curation.stage import Progress, Report, Stage, StageResult, run_stage, silent
from curation.store import benchmarks as pinned
from curation.store import decisions as store
from curation.store import reviews, runs, samples
from curation.store.database import Connection, Database, Row
from curation.substring import BenchmarkString, SubstringFinder
from curation.verdicts import ContaminationMemory, settled_contamination, standings
from curation.workspace import Workspace

STAGE = "decontaminate"
CODE = "1"
DETECTORS = ("substring", "cosine")
THRESHOLD = 0.8  # Platypus notebook, second cell, inclusive
ROWS = 2048  # training rows met with all items at a time
SHOWN_ITEMS = 20  # benchmark items a question shows; its verdict covers these and no others
SHOWN = 300  # characters of matched text kept as evidence


@dataclass(frozen=True)
class Settings:
    """What a person may choose."""

    benchmarks: tuple[str, ...]  # NAME or NAME=FILE
    detectors: tuple[str, ...] = DETECTORS
    low: float = THRESHOLD  # band of the joint score that is asked about
    high: float = 1.0  # at 1 only a long substring hit is dropped without asking
    budget: int = 500  # rows that people are asked about
    model: str = BUNDLED

    def __post_init__(self) -> None:
        """Raises WrongInput when the settings do not fit together."""
        if not self.benchmarks:
            raise WrongInput(
                "Name at least one benchmark: --benchmark humaneval=FILE, or --benchmark pystdlib"
            )
        unknown = set(self.detectors) - set(DETECTORS)
        if unknown or not self.detectors:
            raise WrongInput(f"--detectors must name some of {','.join(DETECTORS)}")
        if not 0.0 <= self.low <= self.high <= 1.0:
            raise WrongInput(f"--band {self.low}:{self.high} must satisfy 0 <= LOW <= HIGH <= 1")
        if self.budget < 0:
            raise WrongInput(f"--budget {self.budget} must be 0 or more")

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


def decontaminate(
    workspace: Workspace, settings: Settings, show: Progress = silent, again: bool = False
) -> StageResult:
    """Compare every row not dropped so far with every benchmark item.

    Raises WrongInput when there are no rows, a benchmark file is bad or is not the one that was
    pinned, SourceUnavailable when a benchmark must come from a hub that cannot be reached.
    """
    db = workspace.database
    rows = runs.input_rows(db, STAGE)
    if not rows.seqs:
        raise WrongInput("There are no samples to check; import some with `samples import FILE`")
    names = pin_benchmarks(db, settings.benchmarks)
    embedder = SentenceEmbedder(settings.model)
    request = runs.Request(
        STAGE,
        {
            **asdict(settings),
            "benchmarks": {name: _pinned(db, name).sha256 for name in names},
            "detectors": list(settings.detectors),
            "model_hash": embedder.hash,
        },
        rows.hash,
        CODE,
    )
    result = run_stage(
        workspace, request, lambda stage: _run(stage, settings, names, embedder, rows), show, again
    )
    with db.reading() as connection:
        result.report |= live_counts(connection, result.run_id)
    result.warnings = [
        f"{name} is not the published file that Winnow knows (its sha256 differs)"
        for name in names
        if name in KNOWN_SHA256 and not _pinned(db, name).verified
    ]
    return result


def pin_benchmarks(db: Database, specs: Sequence[str]) -> list[str]:
    """Load benchmarks and record their hashes the first time; refuse any other content later. Give the names.

    All are loaded before one is recorded, so that a mistyped command pins nothing.
    """
    loaded: dict[str, LoadedBenchmark] = {}
    names = []
    for spec in specs:
        # A name that was loaded before needs no file, also one of a person's own.
        name, file = (spec, None) if pinned.pinned(db, spec) is not None else parse_benchmark(spec)
        names.append(name)
        known = pinned.pinned(db, name)
        if known is not None and file is None:
            continue
        one = load_benchmark(spec)
        if name in loaded or (known is not None and known.sha256 != one.sha256):
            other = loaded[name].sha256 if name in loaded else known.sha256  # type: ignore[union-attr]
            _refuse_other_content(name, file, one.sha256, other)
        loaded[name] = one
    for name, one in loaded.items():
        pinned.pin(db, name, one.sha256, one.revision, one.origin, one.verified, one.items)
        if _pinned(db, name).sha256 != one.sha256:  # another process pinned it meanwhile
            _refuse_other_content(name, None, one.sha256, _pinned(db, name).sha256)
    return list(dict.fromkeys(names))


def _refuse_other_content(name: str, file: Path | None, found: str, known: str) -> None:
    if found != known:
        raise WrongInput(
            f"{file or name} is not the {name} used so far (sha256 {found[:12]}…, pinned {known[:12]}…); "
            f"restore that file, or give the new one another name: --benchmark {name}-2={file or 'FILE'}"
        )


def _pinned(db: Database, name: str) -> Row[Any]:
    known = pinned.pinned(db, name)
    assert known is not None
    return known


def live_counts(connection: Connection, run_id: int) -> Report:
    """Count what verdicts may have changed since the run."""
    return {**store.live_counts(connection, run_id), "asked": store.asked_rows(connection, run_id)}


@dataclass(frozen=True, slots=True)
class Match:
    """One training row and one benchmark item, with what the detectors say of them."""

    seq: int
    item: int  # number of the item in the store
    cosine: float | None
    cosine_side: str
    hits: tuple[Mapping[str, Any], ...]  # substring evidence: side, field, matched, characters, long, span

    @property
    def is_long_hit(self) -> bool:
        return any(hit["long"] for hit in self.hits)

    @property
    def joint(self) -> float:
        return 1.0 if self.is_long_hit else (self.cosine or 0.0)

    @property
    def side(self) -> str:
        return str(self.hits[0]["side"]) if self.hits else self.cosine_side


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of a row that matched something."""

    state: str  # kept | dropped | pending
    decision: str  # drop | ask | over budget | keep
    matches: tuple[Match, ...]  # the strongest first
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What judging needs to know of a row."""

    id: str
    content: str  # content hash


def judge(
    settings: Settings, matches: Mapping[int, Sequence[Match]], facts: Mapping[int, RowFacts],
    item_content: Mapping[int, str], memory: ContaminationMemory,
    asked_before: frozenset[int] = frozenset(), rescued: Iterable[int] = (),
) -> tuple[dict[int, Judged], list[int]]:  # fmt: skip
    """Decide on each row that matched something. Gives also the rows to ask about, most uncertain first.

    `asked_before` are rows whose question already counts against the budget.
    """
    judged: dict[int, Judged] = {}
    gray: list[tuple[tuple[bool, float, str], int]] = []
    back = set(rescued)
    for seq, found in matches.items():
        strongest = tuple(sorted(found, key=lambda m: (-m.joint, -(m.cosine or 0.0), m.item)))
        verdict = _without_asking(settings, seq, strongest, facts[seq], item_content, memory, back)
        if verdict is not None:
            judged[seq] = verdict
        else:
            judged[seq] = Judged("kept", "over budget", strongest)
            gray.append((_uncertainty(settings, strongest, facts[seq].id), seq))
    left = settings.budget - len(asked_before & matches.keys())
    asked = []
    for _, seq in sorted(gray):
        free = seq in asked_before
        if free or left > 0:
            left -= not free
            asked.append(seq)
            judged[seq] = Judged("pending", "ask", judged[seq].matches)
    return judged, asked


def _without_asking(
    settings: Settings, seq: int, found: tuple[Match, ...], facts: RowFacts,
    item_content: Mapping[int, str], memory: ContaminationMemory, rescued: set[int],
) -> Judged | None:  # fmt: skip
    """Give the decision that needs no person now; None when one is to be asked."""
    if facts.content in memory.drop:
        return Judged("dropped", "drop", found, "verdict")
    counting = [
        _without_idioms(m, item_content[m.item], memory)
        for m in found
        if (facts.content, item_content[m.item]) not in memory.keep
    ]
    if seq in rescued:
        return Judged("pending", "keep", found)
    if any(m.is_long_hit for m in counting):
        return Judged("dropped", "drop", found, "substring")
    top = max((m.joint for m in counting), default=0.0)
    if settings.high < 1.0 and top >= settings.high:
        return Judged("dropped", "drop", found, "cosine")
    seen_by_cosine = any(m.cosine is not None and m.joint >= settings.low for m in counting)
    if any(m.hits for m in counting) or seen_by_cosine:
        return None
    return Judged("kept", "keep", found)


def _without_idioms(match: Match, content: str, memory: ContaminationMemory) -> Match:
    """Leave out what people called a common idiom: it is evidence of nothing."""
    hits = tuple(hit for hit in match.hits if (content, hit["side"]) not in memory.idioms)
    cosine = None if (content, match.cosine_side) in memory.idioms else match.cosine
    return dataclasses.replace(match, hits=hits, cosine=cosine)


def _uncertainty(settings: Settings, found: Sequence[Match], id: str) -> tuple[bool, float, str]:
    """Order questions like near-duplicates' ones: nearest the middle of the band first, then those that
    only a weaker detector flagged; ties by id."""
    top = max(m.joint for m in found)
    return (top < settings.low, abs(top - settings.middle), id)


def _run(
    stage: Stage, settings: Settings, names: Sequence[str], embedder: SentenceEmbedder, inputs: runs.InputRows
) -> Report:
    items = pinned.items(stage.db, names)
    stage.workspace.require_space(len(inputs.seqs) * 2 * 384 * 4, "Checking these rows")
    stage.workspace.sweep()
    seqs = sorted(inputs.seqs)
    cosines: dict[tuple[int, int], tuple[float, str]] = {}
    if "cosine" in settings.detectors:
        meeting = Meeting(stage, settings, embedder, items, seqs)
        cosines = meeting.listed()
    hits = _substring_hits(stage, items, seqs) if "substring" in settings.detectors else {}
    if "cosine" in settings.detectors:
        cosines |= meeting.of([pair for pair in hits if pair not in cosines])
    matches = _matches(cosines, hits)
    return _write(stage, settings, inputs, items, matches)


class Meeting:
    """The vectors of rows and items, and their cosines."""

    def __init__(
        self, stage: Stage, settings: Settings, embedder: SentenceEmbedder,
        items: Sequence[Row[Any]], seqs: Sequence[int],
    ) -> None:  # fmt: skip
        self._stage, self._settings = stage, settings
        self._seqs = np.array(seqs)
        self._item_ids = np.array([item.id for item in items])
        self._item_names = np.array([item.benchmark for item in items])
        cache = VectorCache(stage.workspace.embeddings / embedder.hash)
        db = stage.db

        def embed(column: str, of: Sequence[int]) -> Vectors:
            refs = [TextRef(key_of(text), len(text), seq) for seq, text in _texts(db, of, column)]
            embed_missing(
                cache, embedder, refs, lambda part: [text for _, text in _texts(db, part, column)],
                stage.progress, f"embedding {column}s",
            )  # fmt: skip
            return cache.gather([ref.key for ref in refs])

        def embed_items(column: str) -> Vectors:
            texts = [getattr(item, column) for item in items]
            refs = [TextRef(key_of(text), len(text), number) for number, text in enumerate(texts)]
            embed_missing(
                cache, embedder, refs, lambda part: [texts[n] for n in part], stage.progress,
                f"embedding benchmark {column}s",
            )  # fmt: skip
            return cache.gather([ref.key for ref in refs])

        self._question, self._response = embed("question", seqs), embed("response", seqs)
        self._problem, self._solution = embed_items("problem"), embed_items("solution")

    def listed(self) -> dict[tuple[int, int], tuple[float, str]]:
        """Give the cosines worth listing: all at or above the threshold (or the band's lower edge when
        that is higher), and, when the band begins lower, also each row's nearest item of each
        benchmark and each item's nearest row. (seq, item id) -> cosine, side."""
        floor = max(self._settings.low, THRESHOLD)
        rows_, items_ = [], []
        best = np.full(len(self._item_ids), -2.0, dtype=np.float32)
        best_row = np.zeros(len(self._item_ids), dtype=np.int64)
        for start in range(0, len(self._seqs), ROWS):
            self._stage.progress("comparing with benchmarks", start, len(self._seqs))
            product = np.maximum(
                self._question[start : start + ROWS] @ self._problem.T,
                self._response[start : start + ROWS] @ self._solution.T,
            )
            row, item = np.nonzero(product >= floor - MARGIN)
            if self._settings.low < THRESHOLD:
                nearest = self._nearest(product)
                row, item = np.concatenate([row, nearest[0]]), np.concatenate([item, nearest[1]])
                top = product.argmax(axis=0)
                better = product[top, np.arange(len(top))] > best
                best[better] = product[top, np.arange(len(top))][better]
                best_row[better] = top[better] + start
            rows_.append(row + start)
            items_.append(item)
        row, item = np.concatenate(rows_), np.concatenate(items_)
        if self._settings.low < THRESHOLD:
            row, item = np.concatenate([row, best_row]), np.concatenate([item, np.arange(len(best_row))])
        found = self._exact(*np.unique(np.stack([row, item]), axis=1))
        return {pair: value for pair, value in found.items() if value[0] >= min(floor, self._settings.low)}

    def _nearest(
        self, product: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Give each row's nearest item of each benchmark."""
        rows, items = [], []
        for name in np.unique(self._item_names):
            columns = np.flatnonzero(self._item_names == name)
            rows.append(np.arange(len(product)))
            items.append(columns[product[:, columns].argmax(axis=1)])
        return np.concatenate(rows), np.concatenate(items)

    def of(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[float, str]]:
        """Give the cosines of some (seq, item id)."""
        if not pairs:
            return {}
        seqs, ids = np.array(pairs).T
        return self._exact(np.searchsorted(self._seqs, seqs), np.searchsorted(self._item_ids, ids))

    def _exact(
        self, row: npt.NDArray[np.int64], item: npt.NDArray[np.int64]
    ) -> dict[tuple[int, int], tuple[float, str]]:
        """Compute cosines in float64, a slice at a time."""
        result: dict[tuple[int, int], tuple[float, str]] = {}
        for start in range(0, len(row), ROWS):
            r, i = row[start : start + ROWS], item[start : start + ROWS]
            question = _cosines(self._question[r], self._problem[i])
            response = _cosines(self._response[r], self._solution[i])
            for seq, id, q, s in zip(self._seqs[r], self._item_ids[i], question, response, strict=True):
                result[int(seq), int(id)] = (float(q), "problem") if q >= s else (float(s), "solution")
        return result


def _cosines(a: Vectors, b: Vectors) -> npt.NDArray[np.float64]:
    x, y = a.astype(np.float64), b.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", x, x) * np.einsum("ij,ij->i", y, y))
    return np.asarray(np.einsum("ij,ij->i", x, y) / norms)


def _texts(db: Database, seqs: Sequence[int], column: str) -> Iterable[tuple[int, str]]:
    for start in range(0, len(seqs), samples.PAGE):
        for row in samples.read(db, seqs[start : start + samples.PAGE]):
            yield row.seq, row.response if column == "response" else question_of(row.instruction, row.input)


def _substring_hits(
    stage: Stage, items: Sequence[Row[Any]], seqs: Sequence[int]
) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Look for every benchmark string in the question and the response of every row."""
    finder = SubstringFinder(
        [BenchmarkString(item.id, "problem", item.problem_string) for item in items]
        + [BenchmarkString(item.id, "solution", item.solution_string) for item in items]
    )
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for column in ("question", "response"):
        for number, (seq, text) in enumerate(_texts(stage.db, seqs, column)):
            if number % samples.PAGE == 0:
                stage.progress(f"looking for benchmark strings in {column}s", number, len(seqs))
            for hit in finder.hits(text):
                evidence = {
                    "side": hit.string.side,
                    "field": column,
                    "matched": hit.string.text[:SHOWN],
                    "characters": hit.end - hit.start,
                    "long": hit.string.is_long,
                    "span": [hit.start, hit.end],
                }
                found.setdefault((seq, hit.string.item), []).append(evidence)
    return found


def _matches(
    cosines: Mapping[tuple[int, int], tuple[float, str]],
    hits: Mapping[tuple[int, int], Sequence[Mapping[str, Any]]],
) -> dict[int, list[Match]]:
    matches: dict[int, list[Match]] = {}
    for seq, item in sorted(cosines.keys() | hits.keys()):
        cosine, side = cosines.get((seq, item), (None, "problem"))
        matches.setdefault(seq, []).append(Match(seq, item, cosine, side, tuple(hits.get((seq, item), ()))))
    return matches


def _write(
    stage: Stage, settings: Settings, inputs: runs.InputRows, items: Sequence[Row[Any]],
    matches: Mapping[int, Sequence[Match]],
) -> Report:  # fmt: skip
    """Decide, and write everything in one transaction."""
    by_id = {item.id: item for item in items}
    content = {item.id: item.content_hash for item in items}
    facts = _facts(stage.db, list(matches))
    with stage.finishing() as connection:
        memory = settled_contamination(connection)
        rescued = store.rescued(connection, STAGE)
        judged, asked = judge(settings, matches, facts, content, memory, rescued=rescued)
        outcomes = [
            {"seq": seq, "position": position, "cluster": None,
             "state": judged[seq].state if seq in judged else "kept"}
            for seq, position in zip(inputs.seqs, inputs.positions, strict=True)
        ]  # fmt: skip
        rejections = [
            _rejection(seq, one, by_id, memory, facts)
            for seq, one in judged.items()
            if one.state == "dropped"
        ]
        store.keep_all(connection, stage.run_id, outcomes, rejections)
        lines = [line for one in judged.values() for line in match_rows(settings, one)]
        store.keep_matches(connection, stage.run_id, lines)
        reviews.ask(connection, STAGE, _questions(stage.run_id, judged, asked, facts, by_id))
        report = _report(settings, judged, lines, len(inputs.seqs), items)
        report["reads"] = inputs.stage_before
        runs.finish(connection, stage.run_id, report)
    return report


def _facts(db: Database, seqs: Sequence[int]) -> dict[int, RowFacts]:
    return {
        row.seq: RowFacts(row.id, row.content_hash)
        for start in range(0, len(seqs), samples.PAGE)
        for row in samples.read(db, seqs[start : start + samples.PAGE])
    }


def _report(
    settings: Settings, judged: Mapping[int, Judged], lines: Sequence[Mapping[str, Any]], rows: int,
    items: Sequence[Row[Any]],
) -> Report:  # fmt: skip
    flagged = {m.item for one in judged.values() if one.decision != "keep" for m in one.matches
               if m.hits or m.joint >= settings.low}  # fmt: skip
    by_benchmark: dict[str, int] = {}
    for item in items:
        by_benchmark[item.benchmark] = by_benchmark.get(item.benchmark, 0) + (item.id in flagged)
    detectors = (*settings.detectors, "joint")
    return {
        "samples": rows,
        "items": len(items),
        "matches": {d: sum(line["detector"] == d for line in lines) for d in detectors},
        "contaminated_items": len(flagged),
        "contaminated_items_by_benchmark": by_benchmark,
        "over_budget": sum(one.decision == "over budget" for one in judged.values()),
    }


def match_rows(settings: Settings, judged: Judged) -> list[dict[str, Any]]:
    """Put the matches of a row into the form the store keeps: a line a detector that found something."""
    rows = []
    for match in judged.matches:
        base = {"seq": match.seq, "benchmark_item_id": match.item, "decision": judged.decision}
        evidence = {"hits": list(match.hits), "cosine": match.cosine, "cosine_side": match.cosine_side}
        if match.hits:
            rows.append(
                {
                    **base,
                    "detector": "substring",
                    "score": 1.0,
                    "side": match.side,
                    "evidence": {"hits": list(match.hits)},
                }
            )
        if match.cosine is not None and match.cosine >= settings.low:
            rows.append(
                {
                    **base,
                    "detector": "cosine",
                    "score": match.cosine,
                    "side": match.cosine_side,
                    "evidence": {},
                }
            )
        rows.append(
            {**base, "detector": "joint", "score": match.joint, "side": match.side, "evidence": evidence}
        )
    return rows


def _rejection(
    seq: int, judged: Judged, items: Mapping[int, Row[Any]], memory: ContaminationMemory,
    facts: Mapping[int, RowFacts],
) -> dict[str, Any]:  # fmt: skip
    top = judged.matches[0]
    evidence: dict[str, Any] = {**_evidence(top, items[top.item]), "matches": len(judged.matches)}
    if judged.reason == "verdict":
        evidence["verdict"], evidence["item_id"] = memory.drop[facts[seq].content]
    return {"seq": seq, "reason": f"contaminated_{judged.reason}", "evidence": evidence}


def _evidence(match: Match, item: Row[Any]) -> dict[str, Any]:
    return {
        "benchmark": item.benchmark,
        "item": item.item,
        "joint": match.joint,
        "cosine": match.cosine,
        "side": match.side,
        "hits": [dict(hit) for hit in match.hits],
    }


def _questions(
    run_id: int, judged: Mapping[int, Judged], asked: Sequence[int], facts: Mapping[int, RowFacts],
    items: Mapping[int, Row[Any]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Put the rows to ask about into the form of the review queue."""
    rows: dict[str, dict[str, Any]] = {}
    for priority, seq in enumerate(asked):
        matches = judged[seq].matches[:SHOWN_ITEMS]
        one = [_evidence(m, items[m.item]) for m in matches]
        id = item_id(facts[seq].content, items[matches[0].item].content_hash)
        rows.setdefault(id, {
            "id": id,
            "run_id": run_id,
            "evidence": {"matches": one, "why": _why(matches[0])},
            "evidence_hash": digest(*(f"{e['benchmark']}/{e['item']}/{e['joint']:.4f}" for e in one)),
            "subject": {
                "sample": facts[seq].content,
                "matches": [{"item": items[m.item].content_hash, "side": m.side} for m in matches],
            },
            "left_seq": seq,
            "right_seq": None,
            "priority": priority,
        })  # fmt: skip
    return list(rows.values())


def item_id(sample_content: str, benchmark_content: str) -> str:
    return digest(STAGE, sample_content, benchmark_content)[:16]


def _why(match: Match) -> str:
    if match.hits:
        return (
            f"holds a benchmark string of fewer than 50 non-space characters; cosine {match.cosine or 0:.3f}"
        )
    return f"cosine {match.cosine or 0:.3f} with the {match.cosine_side} lies in the gray band"


def redecide(connection: Connection) -> None:
    """Judge the rows of the current run again, in the transaction of the vote."""
    run = runs.current_in(connection, STAGE)
    if run is None:
        return
    settings = settings_of(run)
    matches, facts, before = _stored(connection, run.id)
    items = {row.id: row for row in pinned.items_in(connection, list(run.settings["benchmarks"]))}
    content = {id: item.content_hash for id, item in items.items()}
    memory = settled_contamination(connection)
    asked = [item for item in reviews.asked_items(connection) if item.kind == STAGE]
    judged, now_asked = judge(
        settings, matches, facts, content, memory,
        frozenset(item.left_seq for item in asked), store.rescued(connection, STAGE),
    )  # fmt: skip
    changed = {seq: one for seq, one in judged.items() if one.decision != before[seq]}
    rejections = [
        _rejection(s, one, items, memory, facts) for s, one in changed.items() if one.state == "dropped"
    ]
    store.replace(connection, run.id, {seq: one.state for seq, one in changed.items()}, rejections, [])
    for seq, one in changed.items():
        store.set_match_decision(connection, run.id, seq, one.decision)
    known = {item.left_seq for item in asked}
    new = [seq for seq in now_asked if seq not in known]
    reviews.ask_also(connection, STAGE, _questions(run.id, judged, new, facts, items))
    voted = {id for id, standing in standings(reviews.votes(connection)).items() if standing.latest}
    still = {seq for seq, one in judged.items() if one.decision == "ask"}
    moot = [one.id for one in asked if one.left_seq not in still and one.id not in voted]
    reviews.stop_asking(connection, moot)  # an idiom settled them on the way


def settings_of(run: Any) -> Settings:
    """Read the settings of a run back."""
    values = {key: value for key, value in run.settings.items() if key != "model_hash"}
    return Settings(
        **{**values, "benchmarks": tuple(values["benchmarks"]), "detectors": tuple(values["detectors"])}
    )


def _stored(
    connection: Connection, run_id: int
) -> tuple[dict[int, list[Match]], dict[int, RowFacts], dict[int, str]]:
    """Read the matches of a run back, with the rows' facts and the decisions so far."""
    matches: dict[int, list[Match]] = {}
    facts: dict[int, RowFacts] = {}
    decisions: dict[int, str] = {}
    for row in store.all_matches_in(connection, run_id):
        if row.detector == "joint":
            found = Match(row.seq, row.benchmark_item_id, row.evidence["cosine"], row.evidence["cosine_side"],
                          tuple(row.evidence["hits"]))  # fmt: skip
            matches.setdefault(row.seq, []).append(found)
            facts[row.seq] = RowFacts(row.sample_id, row.content_hash)
            decisions[row.seq] = row.decision
    return matches, facts, decisions


def write_matches(workspace: Workspace, run_id: int, file: Path) -> int:
    """Write the matches of a run as JSON lines, in import order of the rows, and give their number."""
    db = workspace.database
    number = 0
    with atomic_write(file) as out:
        for match in store.all_matches(db, run_id):
            line = {
                "sample": match.sample_id,
                "source": match.source if match.row is not None else None, "row": match.row,
                "benchmark": match.benchmark, "item": match.item, "detector": match.detector,
                "score": match.score, "decision": match.decision, "side": match.side,
            }  # fmt: skip
            out.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            number += 1
    return number
