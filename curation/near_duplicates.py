"""Near-duplicates: every pair of like questions, one keeper for each group of them, the gray ones asked.

Source: Platypus section 2.2 (0.8 cosine of all-MiniLM-L6-v2 over instruction and input; the longer
answer stays) and its notebook (0.7, first seen). The band from 0.80 to 0.88, the check of the responses
and the review budget are Winnow's own (design.md, the table of defaults).
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

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
from curation.errors import DamagedWorkspace, WrongInput
from curation.fence_language import language_of
from curation.keep_rules import Standing
from curation.keepers import DROPPED, Decisions, Fate, Graph, Policy, Ruling, Zone, decide
from curation.pair_facts import facts_of
from curation.pair_tables import are_there, write_tables
from curation.pairs import exact_cosines
from curation.records import digest, question_of
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
BYTES_A_PAIR = 260  # of memory, for tables and decisions: measured at 5.1 million pairs of one cluster
RESPONSES_AGREE = 0.8  # cosine of the responses from which they count as saying the same
EDGE = np.dtype([("left", "<i8"), ("right", "<i8"), ("cosine", "<f8"), ("response", "<f8"), ("zone", "<i1")])
Edges = npt.NDArray[np.void]
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
    _require_memory(len(found.pairs))
    vectors = found.vectors
    left, right, cosine = _listed(found.pairs, vectors, settings)
    response = _response_cosines(stage, settings, embedder, rows, left, right, cosine)
    edges = _edges(rows, left, right, cosine, response, settings)
    edges_sha256 = save_edges(stage.workspace, stage.run_id, edges)
    with stage.db.reading() as connection:
        facts = facts_of(connection, rows.seqs.tolist(), best_first(rows, settings), languages)
    write_tables(
        stage.workspace.pairs, stage.run_id, found.folder, found.pairs, vectors, settings.floor,
        rows.seqs, facts,
    )  # fmt: skip

    counted = _opinions(stage, rows, vectors) if settings.opinions else {}
    report = {
        "samples": len(rows.ids),
        **counted,
        **found.report,
        "pairs": int(np.count_nonzero(_reported(edges, settings))),
        "clusters": 0,
        "pairs_at_floor": len(found.pairs),
        "reads": inputs.stage_before,
        "edges_sha256": edges_sha256,
        "pairs_folder": found.folder,
    }
    return _write(stage, settings, rows, edges, report, began)


def _require_memory(pairs: int) -> None:
    """Raises WrongInput when deciding on so many pairs would take more memory than is free."""
    needed, free = pairs * BYTES_A_PAIR, psutil.virtual_memory().available
    if needed > free:
        raise WrongInput(
            f"{pairs:,} pairs need about {needed / 1e9:.1f} GB of memory to decide, and {free / 1e9:.1f} GB "
            "are free; give a higher --floor and --threshold, or drop repeated rows first (`clean`)"
        )


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


def _listed(
    found: npt.NDArray[np.void], vectors: npt.NDArray[np.float32], settings: Settings
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Give the pairs at or above the threshold (or the band, where it begins lower), in float64.

    The list on disk is float32, so pairs within rounding of the threshold are computed again.
    """
    lowest = min(settings.threshold, settings.low)
    near = np.flatnonzero(found["cosine"] >= lowest - 1e-6)
    left, right = found["left"][near], found["right"][near]
    cosine = exact_cosines(vectors, left, right)
    keep = cosine > lowest if settings.preset == "notebook" else cosine >= lowest
    return left[keep], right[keep], cosine[keep]


def _response_cosines(
    stage: Stage, settings: Settings, embedder: SentenceEmbedder, rows: Rows,
    left: npt.NDArray[np.int32], right: npt.NDArray[np.int32], cosine: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Compare the responses of the pairs that would be dropped at once; NaN for the others."""
    result = np.full(len(cosine), np.nan)
    if not settings.checks_responses:
        return result
    sure = np.flatnonzero(cosine >= settings.ask_high)
    numbers = np.unique(np.concatenate([left[sure], right[sure]]))
    seqs = [int(rows.seqs[number]) for number in numbers]
    refs = response_refs(stage.db, seqs)
    cache = VectorCache(stage.workspace.embeddings / embedder.hash)
    embed_missing(
        cache, embedder, refs, lambda part: [r.response for r in samples.read(stage.db, part)],
        stage.progress, "embedding responses",
    )  # fmt: skip
    vectors = cache.gather([ref.key for ref in refs])
    result[sure] = exact_cosines(
        vectors,
        np.searchsorted(numbers, left[sure]).astype(np.int32),
        np.searchsorted(numbers, right[sure]).astype(np.int32),
    )
    return result


def response_refs(db: Database, seqs: Sequence[int]) -> list[TextRef]:
    """Name the responses of these rows, a page of texts in memory at a time."""
    refs: list[TextRef] = []
    for start in range(0, len(seqs), samples.PAGE):
        for row in samples.read(db, seqs[start : start + samples.PAGE]):
            refs.append(TextRef(key_of(row.response), len(row.response), row.seq))
    return refs


def _edges(
    rows: Rows, left: npt.NDArray[np.int32], right: npt.NDArray[np.int32],
    cosine: npt.NDArray[np.float64], response: npt.NDArray[np.float64], settings: Settings,
) -> Edges:  # fmt: skip
    edges = np.empty(len(left), dtype=EDGE)
    edges["left"], edges["right"] = rows.seqs[left], rows.seqs[right]
    edges["cosine"], edges["response"] = cosine, response
    edges["zone"] = Zone.DROP
    if settings.asks:
        edges["zone"][response < RESPONSES_AGREE] = Zone.RESPONSE
        edges["zone"][cosine < settings.ask_high] = Zone.BAND
    return edges


def _reported(edges: Edges, settings: Settings) -> npt.NDArray[np.bool_]:
    if settings.preset == "notebook":
        return np.asarray(edges["cosine"] > settings.threshold)
    return np.asarray(edges["cosine"] >= settings.threshold)


def _deciding(edges: Edges, settings: Settings) -> Edges:
    """Give the pairs that the keep rule looks at: those the band does not leave below."""
    return edges[edges["cosine"] >= settings.low]


def edges_file(workspace: Workspace, run_id: int) -> Path:
    return workspace.pairs / f"run-{run_id}-edges.npy"


def save_edges(workspace: Workspace, run_id: int, edges: Edges) -> str:
    """Keep the pairs of a run and give the sha256 of the file."""
    with atomic_write(edges_file(workspace, run_id)) as file:
        np.save(file, edges, allow_pickle=False)
    return sha256(edges_file(workspace, run_id).read_bytes()).hexdigest()


def _files_are_whole(workspace: Workspace, run: Any) -> bool:
    if not are_there(workspace.pairs, run.id, run.report.get("pairs_folder")):
        return False
    try:
        found = sha256(edges_file(workspace, run.id).read_bytes()).hexdigest()
    except OSError:
        return False
    return bool(found == run.report.get("edges_sha256"))


def load_edges(workspace: Workspace, run_id: int) -> Edges:
    """Give the pairs of a run at or above its threshold, left before right in import order.

    Raises DamagedWorkspace when the file is missing or cut short.
    """
    try:
        edges: Edges = np.load(edges_file(workspace, run_id), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DamagedWorkspace(
            f"{edges_file(workspace, run_id)} is missing or damaged; run `near-duplicates` again"
        ) from error
    return edges


def _write(
    stage: Stage, settings: Settings, rows: Rows, edges: Edges, report: Report, began: float
) -> Report:
    """Decide, and write everything in one transaction."""
    clusters = _clusters(rows, edges)
    report["clusters"] = int(clusters.max()) + 1 if len(clusters) else 0
    with stage.finishing() as connection:
        rescued = store.rescued(connection, STAGE)
        case = Case.of(connection, settings, rows, _deciding(edges, settings), rescued)
        decisions = case.decide(settings.budget)
        found = case.written(decisions, clusters)
        store.keep_all(connection, stage.run_id, found.outcomes, found.rejections)
        store.keep_pairs(connection, stage.run_id, found.pairs)
        reviews.ask(connection, STAGE, [{**item, "run_id": stage.run_id} for item in found.items])
        reviews.reopen(connection, found.again)
        report["over_budget"] = int(np.count_nonzero(decisions.fate == Fate.OVER_BUDGET))
        report["seconds"] = round(time.monotonic() - began, 2)
        runs.finish(connection, stage.run_id, report)
    return report


def _clusters(rows: Rows, edges: Edges) -> npt.NDArray[np.int64]:
    """Number the groups of rows that pairs connect, in import order; -1 for a row without pairs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = len(rows.ids)
    result = np.full(size, -1, dtype=np.int64)
    if not len(edges):
        return result
    left, right = rows.by_number(edges["left"]), rows.by_number(edges["right"])
    ones = np.ones(len(edges), dtype=np.int8)
    _, label = connected_components(coo_array((ones, (left, right)), shape=(size, size)), directed=False)
    paired = np.zeros(size, dtype=bool)
    paired[left] = paired[right] = True
    _, first, inverse = np.unique(label[paired], return_index=True, return_inverse=True)
    result[paired] = np.argsort(np.argsort(first))[inverse]
    return result


@dataclass
class Written:
    """A decided case in the form the store keeps."""

    outcomes: list[dict[str, Any]]
    rejections: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    items: list[dict[str, Any]]
    again: set[str]  # items among them that people settled in a way that contradicts other verdicts


@dataclass
class Case:
    """Rows and pairs to decide on: a whole run, or the clusters that a verdict touched."""

    settings: Settings
    rows: Rows
    edges: Edges
    rulings: dict[int, Ruling]
    rescued: dict[int, str]  # seq -> who put the row back
    disputed: set[int]  # pairs on which people disagree

    @classmethod
    def of(
        cls, connection: Connection, settings: Settings, rows: Rows, edges: Edges, rescued: dict[int, str]
    ) -> "Case":
        """Bring together what people have settled about any of these pairs, in this run or earlier."""
        verdicts = settled_pairs(connection)
        argued = disputed_pairs(connection) if settings.asks else set()  # presets ask nothing
        rulings: dict[int, Ruling] = {}
        disputed: set[int] = set()
        if verdicts or argued:
            known = {hash for pair in (*verdicts, *argued) for hash in pair}
            is_known = np.array([hash in known for hash in rows.content])
            left, right = rows.by_number(edges["left"]), rows.by_number(edges["right"])
            for number in np.flatnonzero(is_known[left] & is_known[right]):
                hashes = rows.content[left[number]], rows.content[right[number]]
                verdict = verdicts.get(frozenset(hashes))
                if verdict is not None:
                    rulings[int(number)] = _ruling(verdict, hashes[0])
                elif frozenset(hashes) in argued:
                    disputed.add(int(number))
        return cls(settings, rows, edges, rulings, rescued, disputed)

    def decide(
        self, budget: int, open_pairs: str = "ask",
        asked_before: frozenset[tuple[int, int]] = frozenset(), pending: frozenset[int] = frozenset(),
    ) -> Decisions:  # fmt: skip
        """Apply the keep rule. `asked_before` holds pairs of seqs, `pending` seqs."""
        place = self._place_by_id()
        numbers = {int(seq): int(place[n]) for n, seq in enumerate(self.rows.seqs)}
        graph = self._graph(place)
        policy = Policy(
            self.settings.middle,
            budget,
            frozenset((numbers[a], numbers[b]) for a, b in asked_before if a in numbers and b in numbers),
            open_pairs,
            frozenset(numbers[seq] for seq in pending if seq in numbers),
        )
        rescued = {numbers[seq] for seq in self.rescued if seq in numbers}
        decisions = decide(
            graph,
            [int(place[n]) for n in best_first(self.rows, self.settings)],
            policy,
            self.rulings,
            rescued,
            self.disputed,
        )
        decisions.fate = decisions.fate[place]
        decisions.edge = decisions.edge[place]
        return decisions

    def _place_by_id(self) -> npt.NDArray[np.int64]:
        """Number the rows by their ids, because ties go to the smaller id."""
        place = np.empty(len(self.rows.ids), dtype=np.int64)
        place[sorted(range(len(self.rows.ids)), key=self.rows.ids.__getitem__)] = np.arange(len(place))
        return place

    def _graph(self, place: npt.NDArray[np.int64]) -> Graph:
        return Graph(
            len(place),
            place[self.rows.by_number(self.edges["left"])],
            place[self.rows.by_number(self.edges["right"])],
            np.asarray(self.edges["cosine"]),
            self.edges["zone"].astype(np.int64),
        )

    def written(self, decisions: Decisions, clusters: npt.NDArray[np.int64]) -> Written:
        """Put decisions into the form the store keeps."""
        outcomes, rejections, pairs = [], [], {}
        asked = set(decisions.asked)
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
        items = [self._item(edge, priority) for priority, edge in enumerate(decisions.asked)]
        again = {self._item_id(edge) for edge in asked & self.rulings.keys()}
        return Written(outcomes, rejections, list(pairs.values()), _distinct(items), again)

    def _deciding_as(self, fate: Fate) -> str:
        """Say what a pair that was not asked about did to its row."""
        if fate not in DROPPED:
            return "rescued"
        return "over budget" if fate == Fate.OVER_BUDGET and self.settings.asks else "drop"

    def _pair(self, edge: int, decision: str) -> dict[str, Any]:
        one = self.edges[edge]
        return {
            "left_seq": int(one["left"]), "right_seq": int(one["right"]), "cosine": float(one["cosine"]),
            "response_cosine": _number(one["response"]), "decision": decision,
            "item_id": self._item_id(edge),
        }  # fmt: skip

    def _ends(self, edge: int) -> tuple[int, int]:
        one = self.edges[edge]
        left, right = self.rows.by_number(np.array([one["left"], one["right"]]))
        return int(left), int(right)

    def _item_id(self, edge: int) -> str:
        left, right = self._ends(edge)
        return digest(STAGE, *sorted((self.rows.content[left], self.rows.content[right])))[:16]

    def _rejection(self, seq: int, fate: Fate, edge: int) -> dict[str, Any]:
        left, right = self._ends(edge)
        own, other = (left, right) if int(self.rows.seqs[left]) == seq else (right, left)
        one = self.edges[edge]
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

    def _item(self, edge: int, priority: int) -> dict[str, Any]:
        one = self.edges[edge]
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
    edges = _deciding(load_edges(workspace, run.id), settings)
    edges = edges[np.isin(edges["left"], rows.seqs)]
    case = Case.of(connection, settings, rows, edges, store.rescued(connection, STAGE))
    asked = [item for item in reviews.asked_items(connection) if item.kind == STAGE]
    decisions = case.decide(
        max(0, settings.budget - len(asked)),
        asked_before=frozenset((item.left_seq, item.right_seq) for item in asked),
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
    left, right = sorted((one, other))
    edges = _deciding(load_edges(workspace, run.id), settings)
    edges = edges[(edges["left"] == left) & (edges["right"] == right)]
    if not len(edges):
        return None
    members = [row for row in store.outcomes_in(connection, run.id) if row.seq in (left, right)]
    rows = rows_of(connection, settings, members)
    return Case.of(connection, settings, rows, edges, {})._item(0, 0)


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
    edges = _deciding(load_edges(workspace, run.id), settings)
    case = Case.of(connection, settings, rows, edges, store.rescued(connection, STAGE))
    pending = frozenset(int(row.seq) for row in outcomes if row.state == "pending")
    decisions = case.decide(0, "keep", pending=pending)
    found = case.written(decisions, np.full(len(rows.ids), -1))
    return {one["seq"]: one["state"] for one in found.outcomes}, found.rejections


def write_pairs(workspace: Workspace, run_id: int, threshold: float, strict: bool, file: Path) -> int:
    """Write every pair of a run at or above its threshold as JSON lines, and give their number.

    The lines stand in the order of left, then right (import order), whatever was decided on the pair.
    """
    edges = load_edges(workspace, run_id)
    listed = edges[edges["cosine"] > threshold] if strict else edges[edges["cosine"] >= threshold]
    place = {row.seq: (row.id, row.source if row.row is not None else None, row.row)
             for row in samples.stream(workspace.database, ("id", "source", "row"))}  # fmt: skip
    with atomic_write(file) as out:
        for edge in listed:
            left, right = place[int(edge["left"])], place[int(edge["right"])]
            line = {
                "left": left[0], "right": right[0], "left_source": left[1], "left_row": left[2],
                "right_source": right[1], "right_row": right[2], "cosine": float(edge["cosine"]),
            }  # fmt: skip
            out.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return len(listed)
