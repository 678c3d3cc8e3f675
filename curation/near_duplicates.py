"""Near-duplicates: every pair of like questions, one keeper for each group of them, the gray ones asked.

Source: Platypus section 2.2 (0.8 cosine of all-MiniLM-L6-v2 over instruction and input; the longer
answer stays) and its notebook (0.7, first seen). The band from 0.80 to 0.88, the check of the responses
and the review budget are Winnow's own (design.md, the table of defaults).
"""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation import keep_rules, second_opinions
from curation.atomic import atomic_write
from curation.compared_texts import Compared, compared, compared_by_drafts
from curation.draft_vectors import Texts
from curation.embedding import (
    BUNDLED,
    SentenceEmbedder,
    TextRef,
    VectorCache,
    Vectors,
    embed_missing,
    key_of,
)
from curation.errors import WrongInput
from curation.fence_language import language_of
from curation.keep_rules import Standing
from curation.keepers import DROPPED, Decisions, Fate, Piece, Policy, Ruling, Zone, decide
from curation.pair_clusters import Clusters
from curation.pair_facts import facts_of
from curation.pair_list import Pairs
from curation.pair_tables import are_there, write_tables
from curation.pairs import ROUNDING, exact_cosines
from curation.records import digest, question_of
from curation.run_edges import EDGE, Edges, RunEdges, save_edges, sha256_of
from curation.stage import Progress, Report, Stage, StageResult, run_stage, silent
from curation.store import decisions as store
from curation.store import reviews, runs, samples
from curation.store.database import Connection, Database
from curation.verdicts import disputed_pairs, settled_pairs
from curation.workspace import Workspace

STAGE = "near-duplicates"
CODE = "2"  # raise when the same input and settings would give another result
SURE = 0.88  # at or above: dropped without asking
ALARM_SHARE, ALARM_ROWS = 0.5, 20  # a source of so many rows that lost such a share is named
MOST_PAIRS = 2**31 - 1  # their numbers are kept in 32 bits
BYTES_A_PAIR = 70  # of disk: what a run keeps of each pair, and what lies beside that meanwhile
AT_ONCE = 1 << 18  # pairs given cosines between two looks whether to stop
RESPONSES_AGREE = 0.8  # cosine of the responses from which they count as saying the same
NAMES = {
    Ruling.KEEP_BOTH: "keep-both",
    Ruling.LEFT: "keep-left",
    Ruling.RIGHT: "keep-right",
    Ruling.DROP_BOTH: "drop-both",
}


@dataclass(frozen=True)
class Settings:
    """What a person may choose."""

    threshold: float = 0.8  # Platypus section 2.2
    floor: float = 0.7  # the notebook's threshold; pairs below are not even listed
    text: str = "instruction"  # or "response", "all"
    keep: str = "longest"  # or another of keep_rules.RULES
    sources: tuple[str, ...] = ()  # with keep "source": the best first
    budget: int = 500  # pairs that people are asked about
    ask_low: float | None = None  # None: the threshold
    ask_high: float = SURE
    model: str = BUNDLED
    preset: str | None = None
    draft: bool = False  # bfloat16 first, float32 where a pair may hang on it (draft_vectors)
    opinions: bool = False  # words and code compared, too (second_opinions)
    judged_to: int | None = None  # with keep "judge": the newest judgement that counts; set by the run itself

    def __post_init__(self) -> None:
        """Raises WrongInput when the numbers do not fit together."""
        if not 0.0 <= self.floor <= self.threshold <= 1.0:
            raise WrongInput(
                f"--floor {self.floor} and --threshold {self.threshold} must satisfy "
                "0 <= floor <= threshold <= 1"
            )
        if not self.floor <= self.low <= 1.0 or self.low > max(self.ask_high, self.threshold):
            raise WrongInput(f"--ask {self.low}:{self.ask_high} must satisfy floor <= LOW <= HIGH")
        if self.budget < 0:
            raise WrongInput(f"--budget {self.budget} must be 0 or more")
        keep_rules.check(self.keep, self.sources)

    @property
    def low(self) -> float:
        return self.threshold if self.ask_low is None else self.ask_low

    @property
    def asks(self) -> bool:
        return self.preset is None and self.budget > 0

    @property
    def checks_responses(self) -> bool:
        return self.preset is None and self.text == "instruction"

    @property
    def middle(self) -> float:
        return (self.low + self.ask_high) / 2


PRESETS = {
    "paper": Settings(threshold=0.8, keep="longest", budget=0, preset="paper"),
    # The notebook drops above 0.7, not at it; so does this preset (see `_listed`).
    "notebook": Settings(threshold=0.7, keep="first", budget=0, preset="notebook"),
}
FIXED = frozenset({"threshold", "keep", "sources", "budget", "ask_low", "ask_high"})  # what a preset decides


def settings_from(given: Mapping[str, Any]) -> Settings:
    """Make settings of what a page or a command line was given; None: not given.

    A floor that is not given follows what is looked at: pairs below it are not stored. Raises WrongInput.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if "sources" in said:
        said["sources"] = tuple(said["sources"])
    preset = said.pop("preset", None)
    if preset is not None:
        if preset not in PRESETS:
            raise WrongInput(f"There is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
        if FIXED & said.keys():
            raise WrongInput(
                f"--preset {preset} fixes --threshold, --keep, --sources, --budget and --ask; leave them out"
            )
        return _with_floor(replace(PRESETS[preset], **said), "floor" in said)
    return _with_floor(Settings(**{"floor": 0.0, **said}), "floor" in said)


def _with_floor(settings: Settings, is_given: bool) -> Settings:
    """Choose the floor. A draft run has none below what decides: another edge costs rows embedded twice."""
    if is_given:
        return settings
    lowest = min(settings.threshold, settings.low)
    return replace(settings, floor=lowest if settings.draft else min(Settings.floor, lowest))


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


@dataclass
class Rows:
    """The rows of a run in import order, with what the rules look at."""

    seqs: npt.NDArray[np.int64]
    ids: list[str]
    positions: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]  # characters of the response
    content: list[str]  # content hashes
    standing: Standing  # by the keep rule

    def by_number(self, seqs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Give the place of each seq among these rows."""
        return np.searchsorted(self.seqs, seqs)


def text_to_compare(settings: Settings) -> Callable[[Any], str]:
    """Choose the text whose vectors are compared (design.md, `near-duplicates --text`)."""
    return {
        "instruction": lambda row: question_of(row.instruction, row.input),
        "response": lambda row: row.response,
        "all": lambda row: "\n".join((row.instruction, row.input, row.response)),
    }[settings.text]


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


def best_first(rows: Rows, settings: Settings) -> list[int]:
    """List the places of the rows as the keep rule walks them."""
    if settings.keep == "first":
        return sorted(range(len(rows.ids)), key=lambda n: rows.positions[n])
    rank = rows.standing.rank
    return sorted(range(len(rows.ids)), key=lambda n: (rank[n], -rows.lengths[n], rows.ids[n]))


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
        standing = _standing(connection, settings, seqs)
    rows = Rows(np.array(seqs), ids, np.array(positions), np.array(lengths), content, standing)
    texts = Texts(refs, lambda wanted: [text_of(row) for row in samples.read(db, wanted)])
    return rows, texts, languages


def _standing(connection: Connection, settings: Settings, seqs: Sequence[int]) -> Standing:
    return keep_rules.standing(connection, settings.keep, settings.sources, settings.judged_to, seqs)


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


@dataclass
class Written:
    """A decided case in the form the store keeps."""

    outcomes: list[dict[str, Any]]
    rejections: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    items: list[dict[str, Any]]
    again: set[str]  # items among them that people settled in a way that contradicts other verdicts


@dataclass(frozen=True)
class ById:
    """Pairs of a run for the keep rule: rows numbered by their ids, because ties go to the smaller id."""

    rows: Rows
    edges: RunEdges
    place: npt.NDArray[np.int64]  # of each row

    @property
    def size(self) -> int:
        return len(self.place)

    def pieces(self) -> Iterator[Piece]:
        return (self._piece(*piece) for piece in self.edges.pieces())

    def at(self, numbers: npt.NDArray[np.int64]) -> Piece:
        return self._piece(numbers, self.edges.at(numbers))

    def _piece(self, numbers: npt.NDArray[np.int64], found: Edges) -> Piece:
        left, right = (self.place[self.rows.by_number(found[end])] for end in ("left", "right"))
        return Piece(numbers, left, right, found["cosine"], found["zone"])


@dataclass(frozen=True)
class Said:
    """What people settled that bears on pairs, by content."""

    verdicts: Mapping[frozenset[str], tuple[str, str | None]]
    argued: Collection[frozenset[str]]  # people disagree
    rescued: Mapping[int, str]  # seq -> who put the row back

    @classmethod
    def of(cls, connection: Connection, settings: Settings) -> "Said":
        argued = disputed_pairs(connection) if settings.asks else set()  # presets ask nothing
        return cls(settled_pairs(connection), argued, store.rescued(connection, STAGE))


@dataclass
class Case:
    """Rows and pairs to decide on: a whole run, or the clusters that a verdict touched."""

    settings: Settings
    rows: Rows
    edges: RunEdges
    rulings: dict[int, Ruling]
    rescued: Collection[int]  # seqs
    disputed: set[int]  # pairs on which people disagree
    _read: dict[int, Any] = field(default_factory=dict)  # pairs that are told about, by number

    @classmethod
    def of(cls, settings: Settings, rows: Rows, edges: RunEdges, said: Said) -> "Case":
        """Bring together what people have settled about any of these pairs, in this run or earlier."""
        rulings: dict[int, Ruling] = {}
        disputed: set[int] = set()
        if said.verdicts or said.argued:
            known = {hash for pair in (*said.verdicts, *said.argued) for hash in pair}
            is_known = np.array([hash in known for hash in rows.content])
            for numbers, found in edges.pieces():
                left, right = rows.by_number(found["left"]), rows.by_number(found["right"])
                for at in np.flatnonzero(is_known[left] & is_known[right]):
                    hashes = rows.content[left[at]], rows.content[right[at]]
                    verdict = said.verdicts.get(frozenset(hashes))
                    if verdict is not None:
                        rulings[int(numbers[at])] = _ruling(verdict, hashes[0])
                    elif frozenset(hashes) in said.argued:
                        disputed.add(int(numbers[at]))
        return cls(settings, rows, edges, rulings, said.rescued, disputed)

    def decide(
        self, budget: int, open_pairs: str = "ask",
        asked_before: frozenset[tuple[int, int]] = frozenset(), pending: frozenset[int] = frozenset(),
        spool: Path | None = None,
    ) -> Decisions:  # fmt: skip
        """Apply the keep rule. `asked_before` holds pairs of seqs, `pending` seqs."""
        place = self._place_by_id()
        numbers = {int(seq): int(place[n]) for n, seq in enumerate(self.rows.seqs)}
        policy = Policy(
            self.settings.middle,
            budget,
            frozenset((numbers[a], numbers[b]) for a, b in asked_before if a in numbers and b in numbers),
            open_pairs,
            frozenset(numbers[seq] for seq in pending if seq in numbers),
        )
        rescued = {numbers[seq] for seq in self.rescued if seq in numbers}
        decisions = decide(
            ById(self.rows, self.edges, place),
            [int(place[n]) for n in best_first(self.rows, self.settings)],
            policy,
            self.rulings,
            rescued,
            self.disputed,
            spool,
        )
        decisions.fate = decisions.fate[place]
        decisions.edge = decisions.edge[place]
        return decisions

    def _place_by_id(self) -> npt.NDArray[np.int64]:
        """Number the rows by their ids, because ties go to the smaller id."""
        place = np.empty(len(self.rows.ids), dtype=np.int64)
        place[sorted(range(len(self.rows.ids)), key=self.rows.ids.__getitem__)] = np.arange(len(place))
        return place

    def written(self, decisions: Decisions, clusters: npt.NDArray[np.integer[Any]]) -> Written:
        """Put decisions into the form the store keeps."""
        outcomes, rejections, pairs = [], [], {}
        asked = set(decisions.asked)
        self.read({*asked, *self.rulings, *decisions.edge[decisions.edge >= 0].tolist()})
        for number, seq in enumerate(self.rows.seqs):
            fate = Fate(int(decisions.fate[number]))
            edge = int(decisions.edge[number])
            state = "dropped" if fate in DROPPED else "kept" if fate == Fate.KEPT else "pending"
            cluster = int(clusters[number])
            outcomes.append({
                "seq": int(seq), "state": state, "position": int(self.rows.positions[number]),
                "cluster": cluster if cluster >= 0 else None,
            })  # fmt: skip
            if edge >= 0 and edge not in asked:
                pairs[edge] = self._pair(edge, self._deciding_as(fate))
            if state == "dropped":
                rejections.append(self._rejection(int(seq), fate, edge))
        for edge, ruling in self.rulings.items():
            pairs[edge] = self._pair(edge, NAMES[ruling])
        for edge in asked:  # last: verdicts that contradict each other in a circle are asked again
            pairs[edge] = self._pair(edge, "ask")
        items = [self.item(edge, priority) for priority, edge in enumerate(decisions.asked)]
        again = {self._item_id(edge) for edge in asked & self.rulings.keys()}
        return Written(outcomes, rejections, list(pairs.values()), _distinct(items), again)

    def read(self, numbers: Collection[int]) -> None:
        """Read the pairs that are told about from the disk, all at once."""
        wanted = np.array(sorted(numbers), dtype=np.int64)
        self._read = dict(zip(wanted.tolist(), self.edges.at(wanted), strict=True))

    def _deciding_as(self, fate: Fate) -> str:
        """Say what a pair that was not asked about did to its row."""
        if fate not in DROPPED:
            return "rescued"
        return "over budget" if fate == Fate.OVER_BUDGET and self.settings.asks else "drop"

    def _pair(self, edge: int, decision: str) -> dict[str, Any]:
        one = self._read[edge]
        return {
            "left_seq": int(one["left"]), "right_seq": int(one["right"]), "cosine": float(one["cosine"]),
            "response_cosine": _number(one["response"]), "decision": decision,
            "item_id": self._item_id(edge),
        }  # fmt: skip

    def _ends(self, edge: int) -> tuple[int, int]:
        one = self._read[edge]
        left, right = self.rows.by_number(np.array([one["left"], one["right"]]))
        return int(left), int(right)

    def _item_id(self, edge: int) -> str:
        left, right = self._ends(edge)
        return digest(STAGE, *sorted((self.rows.content[left], self.rows.content[right])))[:16]

    def _rejection(self, seq: int, fate: Fate, edge: int) -> dict[str, Any]:
        left, right = self._ends(edge)
        own, other = (left, right) if int(self.rows.seqs[left]) == seq else (right, left)
        one = self._read[edge]
        evidence = {
            "keeper": self.rows.ids[other],
            "cosine": float(one["cosine"]),
            "response_cosine": _number(one["response"]),
            "rule": f"keep {self.settings.keep}",
            "response_characters": [int(self.rows.lengths[own]), int(self.rows.lengths[other])],
            "text": self.settings.text,
        }
        if self.rows.standing.shown:
            evidence["standing"] = [self.rows.standing.shown[own], self.rows.standing.shown[other]]
        ruling = self.rulings.get(edge)
        if ruling is not None:
            evidence["verdict"] = NAMES[ruling]
            evidence["item"] = self._item_id(edge)
            if ruling == Ruling.DROP_BOTH:
                evidence["keeper"], evidence["other"] = None, self.rows.ids[other]
        reason = {
            Fate.NEAR_DUPLICATE: "near_duplicate",
            Fate.OVER_BUDGET: "near_duplicate_over_budget" if self.settings.asks else "near_duplicate",
            Fate.BY_VERDICT: "verdict",
        }[fate]
        return {"seq": seq, "reason": reason, "evidence": evidence}

    def item(self, edge: int, priority: int) -> dict[str, Any]:
        """Describe the question about a pair that was read."""
        one = self._read[edge]
        left, right = self._ends(edge)
        why = {
            Zone.BAND: f"cosine {one['cosine']:.3f} lies in the gray band",
            Zone.RESPONSE: f"instructions agree ({one['cosine']:.3f}), "
            f"responses do not ({one['response']:.3f})",
            Zone.DROP: "a person kept one of them, and they are alike beyond doubt",
        }[Zone(int(one["zone"]))]
        if edge in self.rulings:
            why = "verdicts on like rows contradict one another in a circle; one of them has to change"
        evidence = {"cosine": float(one["cosine"]), "response_cosine": _number(one["response"]), "why": why}
        return {
            "id": self._item_id(edge),
            "evidence": evidence,
            # Rounded: the same texts embedded in another batch differ in the last bits. The content on
            # the left is part of it: "left" must mean the row that was shown there.
            "evidence_hash": digest(
                f"{one['cosine']:.4f}", f"{one['response']:.4f}", self.settings.text, self.rows.content[left]
            ),
            "subject": {"left": self.rows.content[left], "right": self.rows.content[right]},
            "left_seq": int(one["left"]),
            "right_seq": int(one["right"]),
            "priority": priority,
        }


def _ruling(verdict: tuple[str, str | None], left_hash: str) -> Ruling:
    name, winner = verdict
    if name == "keep-both":
        return Ruling.KEEP_BOTH
    if name == "drop-both":
        return Ruling.DROP_BOTH
    return Ruling.LEFT if winner == left_hash else Ruling.RIGHT


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _distinct(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask once where several pairs have the same contents."""
    return list({item["id"]: item for item in reversed(items)}.values())[::-1]


def redecide(connection: Connection, workspace: Workspace, seqs: Sequence[int]) -> None:
    """Apply the keep rule again to the clusters of these rows, in the transaction of the vote."""
    run = runs.current_in(connection, STAGE)
    if run is None:
        return
    members = store.cluster_members(connection, run.id, seqs)
    if not members:
        return
    settings = settings_of(run)
    rows = rows_of(connection, settings, members)
    edges = RunEdges.of(workspace, run.id, settings.low, rows.seqs)
    case = Case.of(settings, rows, edges, Said.of(connection, settings))
    asked = [item for item in reviews.asked_items(connection) if item.kind == STAGE]
    decisions = case.decide(
        max(0, settings.budget - len(asked)),
        asked_before=frozenset((item.left_seq, item.right_seq) for item in asked),
        spool=workspace.pairs,
    )
    found = case.written(decisions, np.array([row.cluster for row in members_in_order(members)]))
    states = {one["seq"]: one["state"] for one in found.outcomes}
    store.replace(connection, run.id, states, found.rejections, found.pairs)
    _ask_again(connection, run.id, case, found, asked, states)


def item_of_pair(
    connection: Connection, workspace: Workspace, run: Any, one: int, other: int
) -> dict[str, Any] | None:
    """Describe the question of two rows (seqs) as a run would ask it; None: the run does not compare them."""
    settings = settings_of(run)
    edges = RunEdges.of(workspace, run.id, settings.low, np.array([one, other]))
    found = [number for numbers, _ in edges.pieces() for number in numbers.tolist()]
    if not found:
        return None
    members = [row for row in store.outcomes_in(connection, run.id) if row.seq in (one, other)]
    rows = rows_of(connection, settings, members)
    case = Case.of(settings, rows, edges, Said.of(connection, settings))
    case.read(found)
    return case.item(found[0], 0)


def _ask_again(
    connection: Connection,
    run_id: int,
    case: Case,
    found: Written,
    asked: Sequence[Any],
    states: dict[int, str],
) -> None:
    """Ask what a verdict made matter, and no longer ask what it settled on the way."""
    wanted = {item["id"] for item in found.items}
    settled = {case._item_id(edge) for edge in case.rulings}
    known = {item.id for item in asked}
    reviews.ask_also(
        connection,
        STAGE,
        [{**i, "run_id": run_id} for i in found.items if i["id"] not in known or i["id"] in found.again],
    )
    reviews.reopen(connection, found.again)
    moot = [i.id for i in asked if i.left_seq in states and i.id not in wanted and i.id not in settled]
    reviews.stop_asking(connection, moot)


def settings_of(run: Any) -> Settings:
    """Read the settings of a run back."""
    given = {key: value for key, value in run.settings.items() if key != "model_hash"}
    return Settings(**{**given, "sources": tuple(given.get("sources", ()))})


def members_in_order(outcomes: Sequence[Any]) -> list[Any]:
    return sorted(outcomes, key=lambda row: row.seq)


def rows_of(connection: Connection, settings: Settings, outcomes: Sequence[Any]) -> Rows:
    """Read what the rules look at for rows that are already part of a run."""
    found = members_in_order(outcomes)
    facts = samples.rule_facts(connection, [row.seq for row in found])
    return Rows(
        np.array([row.seq for row in found]),
        [facts[row.seq].id for row in found],
        np.array([row.position for row in found]),
        np.array([facts[row.seq].length for row in found]),
        [facts[row.seq].content_hash for row in found],
        _standing(connection, settings, [row.seq for row in found]),
    )


def fates_with_open_kept(
    connection: Connection, workspace: Workspace, run: Any, outcomes: Sequence[Any]
) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """Decide a whole run again as if every open question were answered with keep-both.

    Gives the state of each row, and the rejections. Pending rows are kept unless another kept row
    resembles them beyond doubt.
    """
    settings = settings_of(run)
    rows = rows_of(connection, settings, outcomes)
    edges = RunEdges.of(workspace, run.id, settings.low)
    case = Case.of(settings, rows, edges, Said.of(connection, settings))
    pending = frozenset(int(row.seq) for row in outcomes if row.state == "pending")
    decisions = case.decide(0, "keep", pending=pending, spool=workspace.pairs)
    found = case.written(decisions, np.full(len(rows.ids), -1))
    return {one["seq"]: one["state"] for one in found.outcomes}, found.rejections


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
