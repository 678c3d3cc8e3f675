"""What pages read of samples, files and stages: a page at a time, by keys and indexes, never a whole table.

Counts come from one scan of an index, the "cube": how many rows there are of each combination of name,
source, licence, method, trail and reason. It is kept until something changes.
"""

import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, tuple_

from curation.errors import WrongInput
from curation.store import places, runs, sample_words, search
from curation.store.database import Database
from curation.store.tables import (
    benchmark_item,
    dataset_version,
    judgement,
    outcome,
    rejection,
    rescue,
    sample,
    sample_place,
    sample_word,
    source_file,
    stage_run,
    vote,
)

SHOWN = 300  # characters of a text that a list shows
COUNTED = 10_000  # matches of a search that are counted and sorted; beyond, only import order is quick
KEPT = 128  # counts kept in memory: of the whole store and of searches, a few hundred numbers each
FACETS = ("name", "source", "licence", "method", "place", "stage", "reason")
CELL = ("name", "source", "licence", "method", "trail", "reason")  # as in the index; a trail has one place
Cell = tuple[dict[str, str | None], int]  # a combination of facts, and how many rows have it
MOST_CELLS = 60  # combinations that are asked one by one
FEW = 5_000  # rows that are sorted; of more, the page is near in the index of the order
KEY = re.compile(r"(?:(\d{1,15})-)?(\d{1,15})", re.ASCII)

SORTS = {
    "import": "Import order",
    "response-long": "Longest response first",
    "response-short": "Shortest response first",
    "instruction-long": "Longest instruction first",
    "instruction-short": "Shortest instruction first",
}


@dataclass(frozen=True)
class SampleQuery:
    """Which samples a list shows, and in which order. None: any."""

    search: str = ""
    name: str | None = None
    source: str | None = None
    licence: str | None = None
    method: str | None = None
    place: str | None = None
    stage: str | None = None
    reason: str | None = None
    sort: str = "import"

    def __post_init__(self) -> None:
        """Raises WrongInput when the order or the place is unknown."""
        if self.sort not in SORTS:
            raise WrongInput(f"There is no order {self.sort!r}; choose one of {', '.join(SORTS)}")
        if self.place is not None and self.place not in places.PLACES:
            raise WrongInput(f"There is no place {self.place!r}; choose one of {', '.join(places.PLACES)}")

    @property
    def filters(self) -> dict[str, str]:
        return {name: value for name in FACETS if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class SampleLine:
    """A row of a list: where it is from, where it is, and the beginnings of its texts."""

    seq: int
    id: str
    name: str
    source: str
    row: int | None
    licence: str
    method: str
    place: str
    stage: str | None
    reason: str | None
    instruction: str
    input: str
    response: str
    instruction_chars: int
    response_chars: int


@dataclass(frozen=True)
class SamplePage:
    """Some rows of a view, with the keys of the pages beside it (None: there is none)."""

    rows: list[SampleLine]
    after: str | None
    before: str | None
    sorted: bool  # False: too many matches to sort; the rows stand in import order


@dataclass(frozen=True)
class Counted:
    """How many rows a view has; at least so many when not exact."""

    number: int
    exact: bool


@dataclass(frozen=True)
class Funnel:
    """How many samples there are, and what each stage made of them."""

    samples: int
    stages: list[dict[str, Any]]


# --- pages of samples ---


def sample_page(
    db: Database, query: SampleQuery, after: str | None = None, before: str | None = None, size: int = 50
) -> SamplePage:
    """Give the rows after or before a key, in the order of the view. A damaged key gives the first page."""
    with db.reading() as connection:
        view = _View.of(connection, db, query)
        if view is None:
            return SamplePage([], None, None, True)
        start, backward = view.key(after), False
        if start is None and before is not None:
            start = view.key(before)
            backward = start is not None
        found = view.rows(connection, start, backward, size + 1)
        more, found = len(found) > size, found[:size]
        if backward:
            found.reverse()
        lines = _lines(connection, found)
    is_next = bool(found) and (backward or more)
    is_previous = bool(found) and (more if backward else start is not None)
    return SamplePage(
        lines,
        view.key_of(found[-1]) if is_next else None,
        view.key_of(found[0]) if is_previous else None,
        view.sort == query.sort,
    )


def neighbours(db: Database, query: SampleQuery, seq: int) -> tuple[str | None, str | None]:
    """Give the ids of the samples that stand before and after this one in a view."""
    with db.reading() as connection:
        view = _View.of(connection, db, query)
        here = connection.execute(select(sample_place).where(sample_place.c.seq == seq)).first()
        if view is None or here is None:
            return None, None
        beside = [view.rows(connection, view.start_of(here), back, 1) for back in (True, False)]
        ids = [_ids(connection, [row.seq for row in rows]) for rows in beside]
    return next(iter(ids[0]), None), next(iter(ids[1]), None)


@dataclass(frozen=True)
class _View:
    """A query as it can be paged: its order, and where its rows come from."""

    query: SampleQuery
    sort: str
    matching: Select[Any] | None  # numbers of the samples that a search finds
    cells: Sequence["Cell"] = ()  # without a search: the combinations of facts that the filters let through

    @classmethod
    def of(cls, connection: Connection, db: Database, query: SampleQuery) -> "_View | None":
        """Give the view of a query; None when its search can match nothing."""
        if not query.search.strip():
            cells = _cube(connection, db, "").matching(query.filters) if query.filters else []
            return cls(query, query.sort, None, cells)
        matching = search.matching(query.search)
        if matching is None:
            return None
        too_many = query.sort != "import" and _is_cut(connection, db, query.search)
        return cls(query, "import" if too_many else query.sort, matching)

    @property
    def _chars(self) -> ColumnElement[Any] | None:
        kind = self.sort.partition("-")[0]
        return None if kind == "import" else sample_place.c[f"{kind}_chars"]

    def key(self, text: str | None) -> tuple[int, ...] | None:
        """Read a key; None when it is none of this order."""
        read = KEY.fullmatch(text or "")
        if read is None or (read[1] is None) != (self._chars is None):
            return None
        return tuple(int(part) for part in read.groups() if part is not None)

    def start_of(self, row: Row[Any]) -> tuple[int, ...]:
        chars = self._chars
        return (row.seq,) if chars is None else (getattr(row, str(chars.name)), row.seq)

    def key_of(self, row: Row[Any]) -> str:
        return "-".join(str(part) for part in self.start_of(row))

    def rows(
        self, connection: Connection, start: tuple[int, ...] | None, backward: bool, limit: int
    ) -> list[Row[Any]]:
        """Give up to `limit` rows after `start`, or before it and nearest first."""
        down = self.sort.endswith("-long") != backward
        if self.matching is not None:
            return self._matches(connection, start, down, limit)
        cells = [facts for facts, _ in self.cells]
        few = sum(number for _, number in self.cells) <= FEW
        if self.query.filters and len(cells) <= MOST_CELLS and (few or self._chars is None):
            return self._cell_by_cell(connection, cells, start, down, limit)
        statement = select(sample_place.c.seq).where(*_conditions(self.query.filters))
        seqs = connection.execute(self._ordered(statement, sample_place.c.seq, start, down, limit)).scalars()
        return _places(connection, list(seqs))

    def _ordered(
        self, statement: Select[Any], number: ColumnElement[Any], start: tuple[int, ...] | None,
        down: bool, limit: int,
    ) -> Select[Any]:  # fmt: skip
        """Put a query in the order of the view, from a row on."""
        chars = self._chars
        order = [number] if chars is None else [chars, number]
        if start is not None:
            here, there = (order[0], start[0]) if chars is None else (tuple_(*order), tuple_(*start))
            statement = statement.where(here < there if down else here > there)
        return statement.order_by(*(one.desc() if down else one.asc() for one in order)).limit(limit)

    def _matches(
        self, connection: Connection, start: tuple[int, ...] | None, down: bool, limit: int
    ) -> list[Row[Any]]:
        """Walk the matches of the search, each with its place: an outer join keeps this order of work."""
        assert self.matching is not None
        found = self.matching.subquery("found")
        origin = found.outerjoin(sample_place, sample_place.c.seq == found.c.rowid)
        statement = select(sample_place).select_from(origin).where(*_conditions(self.query.filters))
        return list(connection.execute(self._ordered(statement, found.c.rowid, start, down, limit)))

    def _cell_by_cell(
        self, connection: Connection, cells: Sequence[Mapping[str, str | None]],
        start: tuple[int, ...] | None, down: bool, limit: int,
    ) -> list[Row[Any]]:  # fmt: skip
        """Ask each combination of facts for its first rows and merge them.

        All facts given, the index holds the rows of a combination side by side in import order; no row of
        another one is looked at, however rare those wanted are.
        """
        chars = self._chars
        wanted = [sample_place.c.seq] if chars is None else [chars, sample_place.c.seq]
        found: list[tuple[int, ...]] = []
        for facts in cells:
            # IS, because a fact may be absent.
            same = [sample_place.c[name].is_not_distinct_from(facts[name]) for name in CELL]
            statement = select(*wanted).where(*same)
            ordered = self._ordered(statement, sample_place.c.seq, start, down, limit)
            found += [tuple(row) for row in connection.execute(ordered)]
        found.sort(reverse=down)
        return _places(connection, [row[-1] for row in found[:limit]])


def _places(connection: Connection, seqs: Sequence[int]) -> list[Row[Any]]:
    """Give the rows of these numbers, in their order."""
    found = {
        row.seq: row
        for row in connection.execute(select(sample_place).where(sample_place.c.seq.in_(list(seqs))))
    }
    return [found[seq] for seq in seqs]


def _conditions(filters: Mapping[str, str]) -> list[ColumnElement[bool]]:
    # Inside a call a column is no reason to use another index than that of the order: the rows are met
    # in order, each is looked at in the index, and the walk ends with the page.
    return [func.coalesce(sample_place.c[name], "") == value for name, value in filters.items()]


def _lines(connection: Connection, found: Sequence[Row[Any]]) -> list[SampleLine]:
    names = ("seq", "id", "row", "instruction", "input", "response")
    query = select(*(sample.c[name] for name in names)).where(sample.c.seq.in_([row.seq for row in found]))
    texts = {row.seq: row for row in connection.execute(query)}
    lines = []
    for place in found:
        text = texts[place.seq]
        lines.append(SampleLine(
            place.seq, text.id, place.name, place.source, text.row, place.licence, place.method,
            place.place, place.stage, place.reason,
            # Cut here: SQLite's substr() ends at a zero byte.
            text.instruction[:SHOWN], text.input[:SHOWN], text.response[:SHOWN],
            place.instruction_chars, place.response_chars,
        ))  # fmt: skip
    return lines


def _ids(connection: Connection, seqs: Sequence[int]) -> list[str]:
    return list(connection.execute(select(sample.c.id).where(sample.c.seq.in_(seqs))).scalars())


# --- counts ---


@dataclass(frozen=True)
class _Cube:
    """How many rows there are of each combination of facts. `cut`: only the first COUNTED matches."""

    cells: list[Cell]
    cut: bool = False

    def matching(self, filters: Mapping[str, str]) -> list[Cell]:
        return [cell for cell in self.cells if all(cell[0][name] == v for name, v in filters.items())]

    def count(self, filters: Mapping[str, str]) -> int:
        return sum(number for _, number in self.matching(filters))


T = TypeVar("T")
_known: OrderedDict[tuple[str, ...], Any] = OrderedDict()
_known_lock = threading.Lock()


def _kept(connection: Connection, db: Database, what: str, words: str, find: Callable[[], T]) -> T:
    """Give what was found before, as long as nothing has changed since; this connection says what is now."""
    # With the file's number: ids grow anew in a database that was restored from a backup.
    key = (str(db.path), str(db.path.stat().st_ino), _stamp(connection), what, words)
    with _known_lock:
        if key in _known:
            _known.move_to_end(key)
            known: T = _known[key]
            return known
    found = find()
    with _known_lock:
        _known[key] = found
        while len(_known) > KEPT:
            _known.popitem(last=False)
    return found


def _cube(connection: Connection, db: Database, words: str) -> _Cube:
    """Give the cube of the matches of a search ("": of all samples)."""
    return _kept(connection, db, "cube", words, lambda: _count(connection, db, words))


def _is_cut(connection: Connection, db: Database, words: str) -> bool:
    """Say whether a search has more matches than are counted."""

    def find() -> bool:
        matching = search.matching(words)
        if matching is None:
            return False
        total = select(func.count()).select_from(matching.limit(COUNTED + 1).subquery())
        return int(connection.execute(total).scalar_one()) > COUNTED

    return _kept(connection, db, "cut", words, find)


def _count(connection: Connection, db: Database, words: str) -> _Cube:
    columns = [sample_place.c[name] for name in CELL]
    counted = select(*columns, func.count()).group_by(*columns)
    cut = False
    if words.strip():
        matching = search.matching(words)
        if matching is None:
            return _Cube([])
        cut = _is_cut(connection, db, words)
        found = matching.limit(COUNTED).subquery("found")
        counted = counted.select_from(found.outerjoin(sample_place, sample_place.c.seq == found.c.rowid))
    return _Cube([_cell(tuple(row)) for row in connection.execute(counted)], cut)


def _cell(row: Sequence[Any]) -> Cell:
    facts: dict[str, str | None] = dict(zip(CELL, row[:-1], strict=True))
    facts["place"], facts["stage"] = places.of_trail(str(facts["trail"]), runs.ORDER)
    return facts, int(row[-1])


def sample_count(db: Database, query: SampleQuery) -> Counted:
    """Count the rows of a view. With a search, matches beyond the first COUNTED are not counted."""
    with db.reading() as connection:
        cube = _cube(connection, db, query.search)
    return Counted(cube.count(query.filters), not cube.cut)


def sample_facets(db: Database, query: SampleQuery) -> dict[str, dict[str, int]]:
    """Count the rows of a view by each field: the filters of the other fields apply, its own does not.

    With a search: of its first COUNTED matches. Values stand in falling order of their counts.
    """
    with db.reading() as connection:
        cube = _cube(connection, db, query.search)
    found = {}
    for field in FACETS:
        others = {name: value for name, value in query.filters.items() if name != field}
        counts: Counter[str] = Counter()
        for facts, number in cube.cells:
            value = facts[field]
            if value is not None and all(facts[name] == wanted for name, wanted in others.items()):
                counts[value] += number
        found[field] = dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))
    return found


# --- what changed ---


def change_stamp(db: Database) -> str:
    """Give a short text that is another one whenever what a page shows may have changed.

    Samples, unusable rows, files, current runs, votes, rescues, words of people, judgements, benchmarks and
    versions count; how far a running stage is does not.
    """
    with db.reading() as connection:
        return _stamp(connection)


_NEWEST = select(*(
    select(one).scalar_subquery() for one in (
        func.max(sample.c.seq), func.max(rejection.c.id), func.max(vote.c.id), func.max(rescue.c.id),
        func.max(sample_word.c.id), func.max(judgement.c.id), func.max(benchmark_item.c.id),
        func.count(dataset_version.c.name),
    )
))  # fmt: skip
_CURRENT = select(stage_run.c.stage, stage_run.c.id).where(
    stage_run.c.stage.in_(runs.ORDER), stage_run.c.is_current.is_(True)
)
_FILES = select(source_file.c.state, func.count(), func.sum(source_file.c.rows)).group_by(source_file.c.state)


def _stamp(connection: Connection) -> str:
    facts = [sorted(tuple(row) for row in connection.execute(one)) for one in (_NEWEST, _CURRENT, _FILES)]
    return sha256(repr(facts).encode()).hexdigest()[:12]


# --- stages ---


def funnel(db: Database) -> Funnel:
    """Give how many samples there are and, for each stage: stage, ran, and when it ran in, kept, dropped,
    pending, reasons {reason: n}, stale (rows, as in assemble.stale_rows), settings, report, finished_at."""
    with db.reading() as connection:
        trails: Counter[str] = Counter()
        for facts, number in _cube(connection, db, "").cells:
            trails[str(facts["trail"])] += number
        stages = [_stage(connection, stage, trails) for stage in runs.ORDER]
    return Funnel(sum(trails.values()), stages)


def _stage(connection: Connection, stage: str, trails: Counter[str]) -> dict[str, Any]:
    run = runs.current_in(connection, stage)
    if run is None:
        return {"stage": stage, "ran": False}
    at = runs.ORDER.index(stage)
    states = {
        state: sum(number for trail, number in trails.items() if trail[at] == letter)
        for state, letter in places.LETTERS.items()
    }
    return {
        "stage": stage,
        "ran": True,
        "in": sum(states.values()),
        **states,
        "reasons": _reasons(connection, run.id),
        "stale": _stale(at, trails) + (0 if at else sample_words.changed_since(connection, run.id)),
        "settings": run.settings,
        "report": run.report,
        "finished_at": run.finished_at,
    }


def _stale(at: int, trails: Counter[str]) -> int:
    """Count the rows that entered or left a stage's input since it ran (see assemble.stale_rows)."""
    total = 0
    for trail, number in trails.items():
        before = next((letter for letter in reversed(trail[:at]) if letter != places.NEVER_RAN), "k")
        enters, seen = before in "kp", trail[at] != places.UNSEEN
        # The last stage judges each row by itself: a row that left changes nothing for the others.
        total += number * ((enters and not seen) or (seen and not enters and at + 1 < len(runs.ORDER)))
    return total


def _reasons(connection: Connection, run_id: int) -> dict[str, int]:
    """Count the dropped rows of a run by reason: all its rejections but those of rescued rows."""
    by_reason = select(rejection.c.reason, func.count()).where(rejection.c.run_id == run_id)
    counts = Counter(
        {str(reason): int(n) for reason, n in connection.execute(by_reason.group_by(rejection.c.reason))}
    )
    # From the few pending rows to their rejections; `+ 0` keeps SQLite from going the other way.
    rescued = (
        select(rejection.c.reason)
        .select_from(outcome)
        .join(rejection, (rejection.c.seq == outcome.c.seq) & (rejection.c.run_id + 0 == run_id))
        .where(outcome.c.run_id == run_id, outcome.c.state == "pending")
    )
    counts.subtract(connection.execute(rescued).scalars().all())
    return {reason: counts[reason] for reason in sorted(counts) if counts[reason]}


# --- files ---


def file_rows(db: Database) -> list[dict[str, Any]]:
    """Give every imported file: hash, name, source, state, imported, rejected {reason: n}, warnings,
    settings."""
    with db.reading() as connection:
        files = connection.execute(select(source_file).order_by(source_file.c.name, source_file.c.hash)).all()
        by_file = select(sample.c.file_hash, func.count()).group_by(sample.c.file_hash)
        imported = {file_hash: int(number) for file_hash, number in connection.execute(by_file)}
        by_reason = select(rejection.c.file_hash, rejection.c.reason, func.count()).where(
            rejection.c.file_hash.is_not(None)
        )
        rejected: dict[str, dict[str, int]] = {}
        for file_hash, reason, number in connection.execute(
            by_reason.group_by(rejection.c.file_hash, rejection.c.reason)
        ):
            rejected.setdefault(file_hash, {})[reason] = int(number)
    return [
        {
            "hash": file.hash, "name": file.name, "source": file.source, "state": file.state,
            "imported": imported.get(file.hash, 0), "rejected": rejected.get(file.hash, {}),
            "warnings": file.warnings, "settings": file.settings,
        }
        for file in files
    ]  # fmt: skip


def rejected_rows(
    db: Database, file_hash: str, after: int | None = None, size: int = 50
) -> list[dict[str, Any]]:
    """Give the unusable rows of a file after this row: row, line, reason, message, excerpt."""
    query = select(rejection).where(rejection.c.file_hash == file_hash)
    if after is not None:
        query = query.where(rejection.c.row > after)
    with db.reading() as connection:
        found = connection.execute(query.order_by(rejection.c.row).limit(size)).all()
    return [
        {"row": one.row, "line": one.line, "reason": one.reason,
         "message": one.evidence.get("message", ""), "excerpt": one.evidence.get("excerpt", "")}
        for one in found
    ]  # fmt: skip
