"""What pages read of seeds: every row once, counts, words, and that a change is seen at once."""

import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from curation.errors import WrongInput
from curation.records import SeedSnippet, digest
from curation.store import documents, seed_browsing, seeds
from curation.store.database import HEAD, MIGRATIONS, Database
from curation.store.seed_browsing import (
    DOCUMENT_FACETS,
    DOCUMENT_SORTS,
    SEED_FACETS,
    SEED_SORTS,
    DocumentQuery,
    SeedQuery,
    document_counts,
    document_page,
    harvest_rows,
    seed_counts,
    seed_ids,
    seed_neighbours,
    seed_page,
)
from curation.workspace import DATABASE, Workspace
from tests.big_seeds import build

SEEDS, LEFT_OUT = 300, 150


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds") / "built"
    build(folder, SEEDS, LEFT_OUT).database.close()
    return folder


@pytest.fixture(scope="module")
def db(built: Path) -> Iterator[Database]:
    """The database itself, for tests that only read."""
    workspace = Workspace(built)
    yield workspace.database
    workspace.database.close()


@pytest.fixture
def own(built: Path, tmp_path: Path) -> Iterator[Database]:
    """A copy to change."""
    shutil.copytree(built, tmp_path / "w")
    workspace = Workspace(tmp_path / "w")
    yield workspace.database
    workspace.database.close()


def rows_of(db: Database, sql: str) -> list[dict[str, Any]]:
    with db.reading() as connection:
        return [dict(row) for row in connection.exec_driver_sql(sql).mappings()]


def all_seeds(db: Database) -> list[dict[str, Any]]:
    return rows_of(
        db, "SELECT seed.*, place.seq, place.lines, place.chars FROM seed_place place "
        "JOIN seed ON seed.id = place.seed_id ORDER BY place.seq",
    )  # fmt: skip


def slow(rows: list[dict[str, Any]], query: SeedQuery | DocumentQuery) -> list[dict[str, Any]]:
    """Give the rows of a view by looking at every row; its search aside."""
    left = [row for row in rows if all(row[name] == value for name, value in query.filters.items())]
    if isinstance(query, SeedQuery) and query.lines:
        left = [row for row in left if query.lines[0] <= row["lines"] <= query.lines[1]]
    keys: dict[str, Any] = {
        "harvest": lambda row: row["seq"], "mixed": lambda row: (row["id"][:7], row["seq"]),
        "long": lambda row: (-row["lines"], row["seq"]), "short": lambda row: (row["lines"], row["seq"]),
        "wide": lambda row: (-row["chars"], row["seq"]), "large": lambda row: (-row["bytes"], row["seq"]),
        "small": lambda row: (row["bytes"], row["seq"]),
    }  # fmt: skip
    return sorted(left, key=keys[query.sort])


def walked(page: Any, db: Database, query: Any, size: int) -> tuple[list[int], list[int]]:
    rows, about = page(db, query, size=size)
    forward = [row.seq for row in rows]
    while about.after is not None:
        rows, about = page(db, query, after=about.after, size=size)
        assert rows
        forward += [row.seq for row in rows]
    back = [row.seq for row in rows]
    while about.before is not None:
        rows, about = page(db, query, before=about.before, size=size)
        assert rows
        back = [row.seq for row in rows] + back
    return forward, back


def seqs_of(rows: list[dict[str, Any]]) -> list[int]:
    return [row["seq"] for row in rows]


# --- what the tests and the timing stand on ---


def test_the_made_up_seeds_are_lines_of_their_documents(db: Database) -> None:
    found = all_seeds(db)
    assert len(found) == SEEDS and len(rows_of(db, "SELECT * FROM document")) == SEEDS + LEFT_OUT
    kept = {row["hash"]: row for row in rows_of(db, "SELECT * FROM document WHERE state = 'kept'")}
    for row in found:
        lines = str(documents.text_of(db, row["document_hash"])).splitlines(keepends=True)
        assert row["text"] == "".join(lines[row["first_line"] - 1 : row["last_line"]])
        assert 20 <= len(lines) <= 400 and row["path"] == kept[row["document_hash"]]["path"]
    assert len({row["language"] for row in found}) == 9 and len({row["licence"] for row in found}) >= 9
    assert {row["lines"] for row in found} == set(range(1, 16))


# --- pages ---

SEED_FILTERS: list[dict[str, Any]] = [
    {}, {"language": "Python"}, {"licence": "MIT", "method": "magicoder"}, {"lines": (3, 9)},
    {"lines": (15, 2)}, {"language": "Klingon"}, {"method": "syntax", "lines": (1, 1)},
]  # fmt: skip
DOCUMENT_FILTERS: list[dict[str, Any]] = [
    {}, {"state": "kept"}, {"state": "dropped", "stage": "comparing"}, {"reason": "generated"},
    {"language": "Java", "licence": "MIT"}, {"harvest_id": "none"},
]  # fmt: skip


@pytest.mark.parametrize("sort", SEED_SORTS)
@pytest.mark.parametrize("filters", SEED_FILTERS, ids=str)
def test_pages_hold_every_seed_once_in_order(db: Database, sort: str, filters: dict[str, Any]) -> None:
    query = SeedQuery(**filters, sort=sort)
    wanted = slow(all_seeds(db), query)
    assert walked(seed_page, db, query, 37) == (seqs_of(wanted), seqs_of(wanted))
    ids = [row["id"] for row in wanted]
    assert seed_ids(db, query) == ids and seed_counts(db, query).total == len(ids)
    for at in sorted({0, 1, len(ids) // 2, len(ids) - 1} & set(range(len(ids)))):
        beside = (ids[at - 1] if at else None, ids[at + 1] if at + 1 < len(ids) else None)
        assert seed_neighbours(db, query, ids[at]) == beside
    assert seed_neighbours(db, query, "none") == (None, None)


@pytest.mark.parametrize("sort", DOCUMENT_SORTS)
@pytest.mark.parametrize("filters", DOCUMENT_FILTERS, ids=str)
def test_pages_hold_every_document_once_in_order(db: Database, sort: str, filters: dict[str, Any]) -> None:
    query = DocumentQuery(**filters, sort=sort)
    wanted = seqs_of(slow(rows_of(db, "SELECT * FROM document"), query))
    assert walked(document_page, db, query, 37) == (wanted, wanted)


def test_a_line_of_a_list_shows_the_beginning_and_what_the_seed_is(own: Database) -> None:
    one = snippet(text="a\0b" + "é" * 400)
    with own.transaction() as connection:
        seeds.add(connection, [one])
    (line,), about = seed_page(own, SeedQuery(language="Test"))
    assert line.text == "a\0b" + "é" * 297 and line.chars == 403 and about.total == 1
    for name in ("id", "source", "path", "first_line", "last_line", "licence", "licence_evidence", "method"):
        assert getattr(line, name) == getattr(one, name)


@pytest.mark.parametrize("key", ["x", "-1", "9" * 19, "9" * 30, "\0"])
def test_a_damaged_key_gives_the_first_page(db: Database, key: str) -> None:
    for page, query in ((seed_page, SeedQuery(sort="mixed")), (document_page, DocumentQuery(sort="large"))):
        assert page(db, query, after=key) == page(db, query)  # type: ignore[operator]


def test_an_unknown_order_is_told() -> None:
    with pytest.raises(WrongInput, match=r"'newest'.*mixed"):
        SeedQuery(sort="newest")
    with pytest.raises(WrongInput, match=r"'mixed'.*large"):
        DocumentQuery(sort="mixed")


# --- counts ---


@pytest.mark.parametrize("filters", SEED_FILTERS, ids=str)
def test_a_fact_of_seeds_is_counted_under_the_filters_of_the_others(
    db: Database, filters: dict[str, Any]
) -> None:
    rows, found = all_seeds(db), seed_counts(db, SeedQuery(**filters))
    for name in SEED_FACETS:
        others = SeedQuery(**{key: value for key, value in filters.items() if key != name})
        assert found.facets[name] == Counter(row[name] for row in slow(rows, others))
    others = SeedQuery(**{key: value for key, value in filters.items() if key != "lines"})
    counted = Counter(row["lines"] for row in slow(rows, others))
    assert [(bar.low, bar.high, bar.rows) for bar in found.bars] == [(n, n, counted[n]) for n in range(1, 16)]


@pytest.mark.parametrize("filters", DOCUMENT_FILTERS, ids=str)
def test_a_fact_of_documents_is_counted_under_the_filters_of_the_others(
    db: Database, filters: dict[str, Any]
) -> None:
    rows, found = rows_of(db, "SELECT * FROM document"), document_counts(db, DocumentQuery(**filters))
    for name in DOCUMENT_FACETS:
        others = DocumentQuery(**{key: value for key, value in filters.items() if key != name})
        assert found.facets[name] == Counter(row[name] for row in slow(rows, others) if row[name])


def test_harvests_are_counted_each_by_itself(db: Database) -> None:
    found = harvest_rows(db)
    assert len(found) == 6 and sum(one["documents"] for one in found) == SEEDS + LEFT_OUT
    for one in found:
        wanted = documents.counts(db, one["id"])
        assert {name: one[name] for name in ("documents", "kept", "dropped")} == {
            name: wanted[name] for name in ("documents", "kept", "dropped")
        }
        assert one["state"] == "complete" and one["skipped"]["unknown_language"] > 0


# --- words ---


def snippet(number: int = 1, text: str = "x = 1\n", **more: Any) -> SeedSnippet:
    facts = {"language": "Test", "source": "ann/tools@0f3c", "path": "lib/a.py", "licence": "MIT",
             "licence_evidence": "field", "method": "magicoder", **more}  # fmt: skip
    return SeedSnippet(digest(str(number)), digest("d", str(number)), 1, 3, text, **facts)


TEXTS = (
    "def reverse_list(head):\n    return head\n",
    'names = sorted("Zoë, Ann")  # a list that is linked\n',
    "class LinkedList { int count; }\n",
    "before\0behind AND OR NOT near(a, b)\n",
    "linked list of readFileSync\n",
)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    db = Database(tmp_path_factory.mktemp("words") / DATABASE)
    with db.transaction() as connection:
        made = [snippet(n, text, path=f"lib/part_{n}.rs") for n, text in enumerate(TEXTS, 1)]
        assert seeds.add(connection, made) == 5 and seeds.add(connection, made) == 0
    yield db
    db.close()


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("list", [1, 2, 5]),
        ("linked list", [2, 5]),
        ('"linked list"', [5]),
        ('"linked list', [5]),
        ("list LINK", [2, 5]),  # only the last word is a beginning
        ("reverse_list", [1]),
        ("reverse list", [1]),
        ("linkedlist", [3]),
        ("readFile", [5]),  # a beginning, capitals alike
        ("Sync", []),  # no beginning
        ("li", []),
        ("zoe", [2]),
        ("AND", [4]),
        ("near(a, b)", [4]),
        ("NOT near", [4]),
        ("behind", [4]),
        ("part_3", [3]),  # of a path
        ("0f3c", [1, 2, 3, 4, 5]),  # of a source
        ("  ", [1, 2, 3, 4, 5]),
        ("!!!", []),
        ('"', []),
    ],
)
def test_a_search_finds_the_seeds_with_these_words(words: Database, search: str, found: list[int]) -> None:
    for sort in SEED_SORTS:
        lines, about = seed_page(words, SeedQuery(search, sort=sort))
        assert sorted(line.seq for line in lines) == found and about.total == len(found)
    assert seed_counts(words, SeedQuery(search)).facets["language"] == ({"Test": len(found)} if found else {})


@pytest.mark.parametrize(
    "search",
    ["*", "list*", "(", "NEAR(a b, 2)", "-list", "^list", "text:list", "\0", "\ud800", "%_", "{a b}", "+",
     "x" * 5_000, "a " * 5_000, "NOT", ";DROP TABLE seed", "'", '"""'],
    ids=lambda text: ascii(text[:12]),
)  # fmt: skip
def test_any_text_is_a_search(words: Database, search: str) -> None:
    for page, query in ((seed_page, SeedQuery(search)), (document_page, DocumentQuery(search))):
        rows, about = page(words, query)  # type: ignore[operator]
        assert len(rows) == about.total


def test_a_search_is_filtered_and_sorted(db: Database) -> None:
    rows = all_seeds(db)
    holds = {row["seq"] for row in rows if "return" in row["text"].replace("_", " ").split()}
    assert len(holds) > SEEDS / 3
    for sort in SEED_SORTS:
        wanted = [n for n in seqs_of(slow(rows, SeedQuery(language="Python", sort=sort))) if n in holds]
        query = SeedQuery('"return"', language="Python", sort=sort)
        assert walked(seed_page, db, query, 7) == (wanted, wanted)


@pytest.mark.parametrize("part", ["src/", ".PY", "_1", "o", "%", "/lo", "nowhere"])
def test_documents_are_found_by_any_part_of_a_path(db: Database, part: str) -> None:
    rows = rows_of(db, "SELECT * FROM document")
    wanted = [row["seq"] for row in slow(rows, DocumentQuery(state="dropped"))]
    paths = {row["seq"]: row["path"].lower() for row in rows}
    wanted = [seq for seq in wanted if part.lower() in paths[seq]]
    assert walked(document_page, db, DocumentQuery(part, state="dropped"), 30) == (wanted, wanted)


def assert_index_true(db: Database) -> None:
    """The index is sound and holds words of exactly the seeds that are there."""
    with closing(sqlite3.connect(db.path)) as connection:
        connection.execute("INSERT INTO seed_text(seed_text) VALUES ('integrity-check')")
        connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, seed_text, instance)")
        indexed = {row[0] for row in connection.execute("SELECT DISTINCT doc FROM temp.words")}
        places = {row[0] for row in connection.execute("SELECT seq FROM seed_place")}
        ids = connection.execute(
            "SELECT count(*) FROM seed s, seed_place p WHERE s.id = p.seed_id"
        ).fetchone()
        total = connection.execute("SELECT count(*) FROM seed").fetchone()
        assert indexed == places and ids == total == (len(places),)
        connection.rollback()


def test_a_seed_that_went_or_changed_is_found_by_its_new_words_only(own: Database) -> None:
    made = [snippet(n, f"pangolin_{n} = wombat\n", path=f"zoo/{n}.py") for n in range(1, 4)]
    with own.transaction() as connection:
        seeds.add(connection, made)
    assert_index_true(own)
    changed = snippet(1, "capybara = 1\n", path="pond/1.py")
    with own.transaction() as connection:
        seeds.replace(connection, [changed])
        seeds.remove(connection, [made[1].id, "unknown"])
    assert_index_true(own)
    found = {
        word: seed_ids(own, SeedQuery(word)) for word in ("wombat", "capybara", "pangolin_1", "pond", "zoo")
    }
    assert found == {"wombat": [made[2].id], "capybara": [changed.id], "pangolin_1": [], "pond": [changed.id],
                     "zoo": [made[2].id]}  # fmt: skip
    assert seeds.count(own) == SEEDS + 2


def test_a_seed_that_a_sample_was_made_from_stays_with_its_words(own: Database) -> None:
    one, two = snippet(1, "wombat\n"), snippet(2, "wombat\n")
    with own.transaction() as connection:
        seeds.add(connection, [one, two])
        connection.exec_driver_sql(
            "INSERT INTO sample (id, content_hash, instruction, input, response, source, name, licence, "
            "method, seed_id, extra) VALUES ('s', 'h', 'i', '', 'r', 'x', 'x', 'MIT', 'oss', ?, '{}')",
            (one.id,),
        )
        seeds.remove(connection, [one.id, two.id])
        seeds.replace(connection, [snippet(1, "capybara\n")])
    assert seed_ids(own, SeedQuery("wombat")) == [one.id] and seed_ids(own, SeedQuery("capybara")) == []
    assert seeds.samples_of(own, one.id) == ["s"]
    assert_index_true(own)


def test_many_random_changes_leave_the_index_true(own: Database) -> None:
    chance = random.Random(5)
    for _ in range(12):
        with own.transaction() as connection:
            picked = [
                snippet(n, f"animal_{chance.randrange(5)} = {n}\n") for n in chance.sample(range(40), 12)
            ]
            chance.choice((seeds.add, seeds.replace))(connection, picked)
            seeds.remove(connection, [digest(str(n)) for n in chance.sample(range(40), 8)])
        assert_index_true(own)
    rows = all_seeds(own)
    for n in range(5):
        wanted = [row["id"] for row in rows if row["text"].startswith(f"animal_{n} ")]
        assert seed_ids(own, SeedQuery(f'"animal_{n}"')) == wanted


# --- changes ---


def stamp(db: Database) -> str:
    with db.reading() as connection:
        return seed_browsing.seed_stamp(connection)


def test_a_source_that_is_read_anew_is_seen_at_every_step(own: Database) -> None:
    """The oldest documents go first: the newest number says nothing of that."""
    oldest = rows_of(own, "SELECT harvest_id FROM document ORDER BY seq LIMIT 1")[0]["harvest_id"]
    asked = documents.find_harvest(own, oldest)
    assert asked is not None
    seen = {stamp(own)}

    def look(number: int) -> None:
        rows, about = document_page(own, DocumentQuery(harvest_id=oldest), size=10_000)
        assert len(rows) == about.total == number and stamp(own) not in seen
        seen.add(stamp(own))

    before = document_page(own, DocumentQuery(harvest_id=oldest))[1].total
    assert before > 0
    with own.transaction() as connection:
        documents.open_harvest(connection, oldest, asked.given, asked.settings)
        documents.forget_documents(connection, oldest)
    look(0)
    one = documents.JudgedDocument("s", "a.py", "h", "Python", "MIT", "field", 3, 1, [(1, 1)])
    with own.transaction() as connection:
        documents.add(connection, oldest, [one])
        documents.note_position(connection, oldest, 1, {})
    look(1)
    with own.transaction() as connection:
        documents.finish_harvest(connection, oldest)
    look(1)


def test_equal_numbers_of_other_documents_are_seen(own: Database) -> None:
    """SQLite gives the numbers of deleted documents again: the same number is another document then."""
    id = rows_of(own, "SELECT harvest_id FROM document ORDER BY seq DESC LIMIT 1")[0]["harvest_id"]
    asked = documents.find_harvest(own, id)
    assert asked is not None
    rows = document_page(own, DocumentQuery(harvest_id=id), size=10_000)[0]
    with own.transaction() as connection:
        documents.open_harvest(connection, id, asked.given, {**asked.settings, "random_seed": 5})
        documents.forget_documents(connection, id)
        documents.add(connection, id, [
            documents.JudgedDocument("s", f"{n}.py", str(n), "Klingon", "MIT", "field", 3, 1, [(1, 1)])
            for n in range(len(rows))
        ])  # fmt: skip
        documents.note_position(connection, id, asked.position, {})
    assert document_counts(own, DocumentQuery(language="Klingon")).total == len(rows)


def test_another_database_file_at_the_same_place_is_seen(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    shutil.copytree(built, folder)
    first = Workspace(folder)
    ids = seed_ids(first.database, SeedQuery())
    assert seed_ids(first.database, SeedQuery('"return"')) and len(ids) == SEEDS
    assert seed_counts(first.database, SeedQuery()).total == SEEDS
    first.database.close()
    build(tmp_path / "other", SEEDS, LEFT_OUT, random_seed=7).database.close()
    os.replace(tmp_path / "other" / DATABASE, folder / DATABASE)
    for end in ("-wal", "-shm"):
        (folder / f"{DATABASE}{end}").unlink(missing_ok=True)
    second = Workspace(folder)
    found = seed_ids(second.database, SeedQuery())
    assert len(found) == SEEDS and not set(found) & set(ids)
    rows = all_seeds(second.database)
    counted = seed_counts(second.database, SeedQuery())
    assert counted.facets["language"] == Counter(row["language"] for row in rows)
    wanted = [row["id"] for row in rows if "return" in row["text"].replace("_", " ").split()]
    assert seed_ids(second.database, SeedQuery('"return"')) == wanted
    second.database.close()


# --- older databases ---


def test_an_older_database_gets_the_places_and_words_of_its_seeds(tmp_path: Path) -> None:
    path = tmp_path / DATABASE
    made = [snippet(n, f"wombat_{n}\0 = {'é' * n}\n") for n in range(1, 1_203)]
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        names = SeedSnippet.__slots__
        connection.exec_driver_sql(
            f"INSERT INTO seed ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
            [tuple(getattr(one, name) for name in names) for one in made],
        )
    engine.dispose()

    db = Database(path)

    assert seed_ids(db, SeedQuery()) == [one.id for one in made], "in the order in which they came"
    assert {(row["lines"], row["chars"]) for row in all_seeds(db)} == {(3, len(one.text)) for one in made}
    assert seed_ids(db, SeedQuery('"wombat_1202"')) == [made[-1].id]
    assert_index_true(db)
    with db.transaction() as connection:
        seeds.remove(connection, [made[0].id])
        seeds.add(connection, [snippet(2_000)])
    assert_index_true(db)
    assert seed_ids(db, SeedQuery())[-1] == snippet(2_000).id and seeds.count(db) == len(made)
    assert path.with_name(f"before-{HEAD}-{DATABASE}").exists()
    db.close()
