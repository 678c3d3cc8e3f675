"""What pages read of seeds and harvested documents: counts by every fact, searches, pages."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, func, select

from curation.errors import WrongInput
from curation.store import search
from curation.store.database import Database
from curation.store.documents import DROPPED, KEPT
from curation.store.facts import Bar, Facts, Mask, Order, Range, Rows, Texts, View
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
        ids = dict(_plain(connection, select(seed_place.c.seq, seed_place.c.seed_id)))
    return [ids[seq] for seq in rows.seqs]


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
        rows = _plain(connection, select(*columns, mixed))
        numbered = ((*row[:-1], int(row[-1], 16)) for row in rows)
        return Facts(numbered, SEED_FACETS, ("lines", "chars", "mixed"))

    stamp = seed_stamp(connection)
    facts = _kept(_tables, db, "seeds", stamp, read)
    found = None
    if words := query.search.strip():
        found = _found(
            db, "seeds", stamp, words, lambda: facts.numbered(search.seeds_matching(connection, words))
        )
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
        facts = _document_view(connection, db, DocumentQuery()).facts
    everything = facts.pairs("harvest_id", "state")
    reasons = facts.pairs("harvest_id", "reason", facts.holding("state", DROPPED))
    return [
        {
            "id": one.id, "given": one.given, "settings": one.settings, "state": one.state,
            "skipped": one.skipped, "documents": sum(everything.get(one.id, {}).values()),
            "kept": everything.get(one.id, {}).get(KEPT, 0), "dropped": reasons.get(one.id, {}),
        }
        for one in known
    ]  # fmt: skip


def has_text(db: Database, hash: str) -> bool:
    """Say whether a document's text was kept."""
    with db.reading() as connection:
        found = connection.execute(select(document_text.c.hash).where(document_text.c.hash == hash))
        return found.first() is not None


def _document_view(connection: Connection, db: Database, query: DocumentQuery) -> View:
    def read() -> Facts:
        columns = [document.c[name] for name in ("seq", *DOCUMENT_FACETS, "bytes")]
        return Facts(_plain(connection, select(*columns)), DOCUMENT_FACETS, ("bytes",))

    def read_paths() -> Texts:
        return Texts(_plain(connection, select(document.c.seq, document.c.path)))

    stamp = seed_stamp(connection)
    facts = _kept(_tables, db, "documents", stamp, read)
    found = None
    if words := query.search.strip():
        paths = _kept(_paths, db, "paths", stamp, read_paths)
        found = _found(db, "documents", stamp, words, lambda: facts.numbered(paths.holding(words)))
    return View(facts, query.filters, {}, found)


def _plain(connection: Connection, query: Select[Any]) -> list[Any]:
    """Read many rows by the driver alone: three times as quick."""
    sql = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
    rows: list[Any] = connection.connection.cursor().execute(sql).fetchall()
    return rows


# --- what is kept in memory ---

_lock = threading.Lock()
_tables: dict[tuple[str, str], tuple[str, Facts]] = {}  # the newest of each database and table
_paths: dict[tuple[str, str], tuple[str, Texts]] = {}
_searches: OrderedDict[tuple[str, ...], Mask] = OrderedDict()
Kept = TypeVar("Kept")


def seed_stamp(connection: Connection) -> str:
    """Give a text that is another one whenever seeds or documents may have changed."""
    query = select(*(select(one).scalar_subquery() for one in (
        func.max(seed_place.c.seq), func.max(document.c.seq), func.max(document_rescue.c.id),
    )))  # fmt: skip
    runs = select(func.count(), func.max(stage_run.c.id)).where(
        stage_run.c.stage.startswith("seeds:"), stage_run.c.state != "running"
    )
    # A source that is read anew first loses its documents, which need not be the newest ones, and gets others
    # that may have the same numbers: where its harvest is says so.
    state = hashlib.sha256()
    for row in _plain(
        connection, select(harvest.c.id, harvest.c.state, harvest.c.position, harvest.c.settings)
    ):
        state.update(repr(row).encode())
    return repr([
        tuple(connection.execute(query).one()), tuple(connection.execute(runs).one()), state.hexdigest()
    ])  # fmt: skip


def _name(db: Database) -> str:
    """Name a database file: a restored one is another one."""
    return f"{db.path}:{db.path.stat().st_ino}"


def _kept(
    known: dict[tuple[str, str], tuple[str, Kept]], db: Database, what: str, stamp: str,
    read: Callable[[], Kept],
) -> Kept:  # fmt: skip
    """Give what was read at this stamp, or read it."""
    key = (_name(db), what)
    with _lock:  # one reads, the others wait for it
        found = known.get(key)
        if found is None or found[0] != stamp:
            found = known[key] = (stamp, read())
        return found[1]


def _found(db: Database, what: str, stamp: str, words: str, find: Callable[[], Mask]) -> Mask:
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
