"""What pages read of seeds and harvested documents: counts by every fact, searches, pages."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, Select, func, select

from curation.errors import WrongInput
from curation.store import search
from curation.store.database import Database
from curation.store.facts import Bar, Facts, Numbers, Order, Range, Rows, View
from curation.store.tables import (
    document,
    document_rescue,
    document_text,
    harvest,
    seed,
    seed_place,
    stage_run,
)

SHOWN = 300  # characters of a text that a list shows
SEARCHES = 32  # whose matches are kept in memory
SEED_FACETS = ("language", "source", "licence", "method")
DOCUMENT_FACETS = ("state", "stage", "reason", "language", "source", "licence", "harvest_id")

SEED_SORTS = {
    "harvest": ("As harvested", Order()),
    "mixed": ("Mixed, always the same way", Order("mixed")),
    "long": ("Most lines first", Order("lines", True)),
    "short": ("Fewest lines first", Order("lines")),
    "wide": ("Most characters first", Order("chars", True)),
}
DOCUMENT_SORTS = {
    "harvest": ("As harvested", Order()),
    "large": ("Largest first", Order("bytes", True)),
    "small": ("Smallest first", Order("bytes")),
}


@dataclass(frozen=True)
class SeedQuery:
    """Which seeds a list shows, and in which order. None: any."""

    search: str = ""
    language: str | None = None
    source: str | None = None
    licence: str | None = None
    method: str | None = None
    lines: Range | None = None
    sort: str = "harvest"

    def __post_init__(self) -> None:
        """Raises WrongInput when the order is unknown."""
        _check_sort(self.sort, SEED_SORTS)

    @property
    def filters(self) -> dict[str, str]:
        return {name: value for name in SEED_FACETS if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class DocumentQuery:
    """Which harvested documents a list shows, and in which order. None: any."""

    search: str = ""  # part of a path
    state: str | None = None
    stage: str | None = None
    reason: str | None = None
    language: str | None = None
    source: str | None = None
    licence: str | None = None
    harvest_id: str | None = None
    sort: str = "harvest"

    def __post_init__(self) -> None:
        """Raises WrongInput when the order is unknown."""
        _check_sort(self.sort, DOCUMENT_SORTS)

    @property
    def filters(self) -> dict[str, str]:
        return {name: value for name in DOCUMENT_FACETS if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class SeedLine:
    """A seed as a list shows it."""

    seq: int
    id: str
    text: str  # its beginning
    language: str
    source: str
    path: str
    first_line: int
    last_line: int
    licence: str
    licence_evidence: str
    method: str
    chars: int


@dataclass(frozen=True)
class Counted:
    """How many rows a view has, by each fact; and the histogram of its one measure."""

    total: int
    facets: Mapping[str, dict[str, int]]
    bars: Sequence[Bar]


def _check_sort(sort: str, known: Mapping[str, Any]) -> None:
    if sort not in known:
        raise WrongInput(f"There is no order {sort!r}; choose one of {', '.join(known)}")


# --- seeds ---


def seed_page(
    db: Database, query: SeedQuery, after: str | None = None, before: str | None = None, size: int = 50
) -> tuple[list[SeedLine], Rows]:
    """Give the seeds after or before a key, in the order of the view. A damaged key gives the first page."""
    with db.reading() as connection:
        view = _seed_view(connection, db, query)
        page = view.facts.page(view.mask(), SEED_SORTS[query.sort][1], after, before, size)
        return _seed_lines(connection, page.seqs), page


def seed_counts(db: Database, query: SeedQuery) -> Counted:
    """Count the seeds of a view by language, source, licence, method and number of lines: the filters of the
    other facts apply, a fact's own does not."""
    with db.reading() as connection:
        view = _seed_view(connection, db, query)
    facets = {name: view.counts(name) for name in SEED_FACETS}
    return Counted(int(view.mask().sum()), facets, view.histogram("lines"))


def seed_ids(db: Database, query: SeedQuery) -> list[str]:
    """Give the ids of all seeds of a view, in its order."""
    with db.reading() as connection:
        view = _seed_view(connection, db, query)
        rows = view.facts.page(view.mask(), SEED_SORTS[query.sort][1], size=len(view.facts))
        return [line.id for line in _seed_lines(connection, rows.seqs)]


def seed_neighbours(db: Database, query: SeedQuery, id: str) -> tuple[str | None, str | None]:
    """Give the ids of the seeds that stand before and after this one in a view."""
    with db.reading() as connection:
        view = _seed_view(connection, db, query)
        seq = connection.execute(select(seed_place.c.seq).where(seed_place.c.seed_id == id)).scalar()
        order, mask = SEED_SORTS[query.sort][1], view.mask()
        place = None if seq is None else view.facts.place_of(mask, order, int(seq))
        if place is None:
            return None, None
        around = view.facts.beside(mask, order, place)
        ids = {
            line.seq: line.id for line in _seed_lines(connection, [one for one in around if one is not None])
        }
    before, after = around
    return (None if before is None else ids[before]), (None if after is None else ids[after])


def _seed_view(connection: Connection, db: Database, query: SeedQuery) -> View:
    def read() -> Facts:
        mixed = func.substr(seed_place.c.seed_id, 1, 7)  # 28 bits of a hash: an order that nothing explains
        columns = [seed_place.c[name] for name in ("seq", *SEED_FACETS, "lines", "chars")]
        rows = connection.execute(select(*columns, mixed)).all()
        numbered = ((*row[:-1], int(row[-1], 16)) for row in rows)
        return Facts(numbered, SEED_FACETS, ("lines", "chars", "mixed"))

    stamp = seed_stamp(connection)
    facts = _facts(db, "seeds", stamp, read)
    found = None
    if words := query.search.strip():
        found = _found(db, "seeds", stamp, words, lambda: search.seeds_matching(connection, words))
    ranges = {} if query.lines is None else {"lines": query.lines}
    return View(facts, query.filters, ranges, found)


def _seed_lines(connection: Connection, seqs: Sequence[int]) -> list[SeedLine]:
    names = ("id", "text", "language", "source", "path", "first_line", "last_line", "licence",
             "licence_evidence", "method")  # fmt: skip
    wanted = [seed_place.c.seq, seed_place.c.chars, *(seed.c[name] for name in names)]
    query = select(*wanted).join(seed_place, seed_place.c.seed_id == seed.c.id)
    found = {}
    for row in _in_pages(connection, query, seed_place.c.seq, seqs):
        facts: dict[str, Any] = dict(row._mapping)
        facts["text"] = facts["text"][:SHOWN]  # cut here: SQLite's substr() ends at a zero byte
        found[row.seq] = SeedLine(**facts)
    return [found[seq] for seq in seqs]


# --- documents ---


def document_page(
    db: Database, query: DocumentQuery, after: str | None = None, before: str | None = None, size: int = 50
) -> tuple[list[Row[Any]], Rows]:
    """Give rows of documents after or before a key, in the order of the view."""
    with db.reading() as connection:
        view = _document_view(connection, db, query)
        page = view.facts.page(view.mask(), DOCUMENT_SORTS[query.sort][1], after, before, size)
        rows = {row.seq: row for row in _in_pages(connection, select(document), document.c.seq, page.seqs)}
    return [rows[seq] for seq in page.seqs], page


def document_counts(db: Database, query: DocumentQuery) -> Counted:
    """Count documents by each fact: the filters of the other facts apply, a fact's own does not."""
    with db.reading() as connection:
        view = _document_view(connection, db, query)
    facets = {name: view.counts(name) for name in DOCUMENT_FACETS}
    return Counted(int(view.mask().sum()), facets, ())


def harvest_rows(db: Database) -> list[dict[str, Any]]:
    """Give every harvest with its counts: id, given, settings, state, skipped, documents, kept, dropped."""
    with db.reading() as connection:
        known = connection.execute(select(harvest).order_by(harvest.c.given)).all()
    rows = []
    for one in known:
        counted = document_counts(db, DocumentQuery(harvest_id=one.id))
        states = counted.facets["state"]
        dropped = document_counts(db, DocumentQuery(harvest_id=one.id, state="dropped"))
        rows.append({
            "id": one.id, "given": one.given, "settings": one.settings, "state": one.state,
            "skipped": one.skipped, "documents": counted.total, "kept": states.get("kept", 0),
            "dropped": dropped.facets["reason"],
        })  # fmt: skip
    return rows


def has_text(db: Database, hash: str) -> bool:
    """Say whether a document's text was kept."""
    with db.reading() as connection:
        found = connection.execute(select(document_text.c.hash).where(document_text.c.hash == hash))
        return found.first() is not None


def _document_view(connection: Connection, db: Database, query: DocumentQuery) -> View:
    def read() -> Facts:
        columns = [document.c[name] for name in ("seq", *DOCUMENT_FACETS, "bytes")]
        return Facts(connection.execute(select(*columns)).all(), DOCUMENT_FACETS, ("bytes",))

    stamp = seed_stamp(connection)
    facts = _facts(db, "documents", stamp, read)
    found = None
    if words := query.search.strip():
        found = _found(db, "documents", stamp, words, lambda: _paths_with(connection, words))
    return View(facts, query.filters, {}, found)


def _paths_with(connection: Connection, words: str) -> Numbers:
    """Give the numbers of the documents whose path holds a text, capitals aside."""
    query = select(func.group_concat(document.c.seq)).where(document.c.path.icontains(words, autoescape=True))
    return np.fromstring(connection.execute(query).scalar() or "", np.int64, sep=",")


# --- what is kept in memory ---

_lock = threading.Lock()
_tables: dict[tuple[str, str], tuple[str, Facts]] = {}  # the newest of each database and table
_searches: OrderedDict[tuple[str, ...], Numbers] = OrderedDict()


def seed_stamp(connection: Connection) -> str:
    """Give a text that is another one whenever seeds or documents may have changed."""
    query = select(*(select(one).scalar_subquery() for one in (
        func.max(seed_place.c.seq), func.max(document.c.seq), func.max(document_rescue.c.id),
    )))  # fmt: skip
    runs = select(func.count(), func.max(stage_run.c.id)).where(
        stage_run.c.stage.startswith("seeds:"), stage_run.c.state != "running"
    )
    return repr([tuple(connection.execute(query).one()), tuple(connection.execute(runs).one())])


def _name(db: Database) -> str:
    """Name a database file: a restored one is another one."""
    return f"{db.path}:{db.path.stat().st_ino}"


def _facts(db: Database, what: str, stamp: str, read: Callable[[], Facts]) -> Facts:
    key = (_name(db), what)
    with _lock:  # one reads, the others wait for it
        known = _tables.get(key)
        if known is None or known[0] != stamp:
            known = _tables[key] = (stamp, read())
        return known[1]


def _found(db: Database, what: str, stamp: str, words: str, find: Callable[[], Numbers]) -> Numbers:
    key = (_name(db), what, stamp, words)
    with _lock:
        if key in _searches:
            _searches.move_to_end(key)
            return _searches[key]
    found = find()
    with _lock:
        _searches[key] = found
        while len(_searches) > SEARCHES:
            _searches.popitem(last=False)
    return found


PAGE = 500  # numbers that a query names


def _in_pages(connection: Connection, query: Select[Any], column: Any, seqs: Sequence[int]) -> list[Row[Any]]:
    rows: list[Row[Any]] = []
    for start in range(0, len(seqs), PAGE):
        rows += connection.execute(query.where(column.in_(seqs[start : start + PAGE])))
    return rows
