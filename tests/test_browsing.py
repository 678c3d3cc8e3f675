"""What pages read: the place of each sample stays true, lists miss no row, any text is a search."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from curation import clean, near_duplicates, pair_settings, review
from curation.assemble import open_cases, stale_rows
from curation.errors import WrongInput
from curation.records import Sample
from curation.status import status
from curation.store import browsing, decisions, runs, samples
from curation.store.browsing import (
    FACETS,
    SORTS,
    SampleQuery,
    change_stamp,
    neighbours,
    sample_count,
    sample_facets,
    sample_page,
)
from curation.store.database import Database
from curation.store.tables import sample, sample_place
from curation.workspace import DATABASE, Workspace
from tests.big_workspace import build

ROWS, PAIRS = 400, 1_500


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage ran and questions are open."""
    folder = tmp_path_factory.mktemp("browsing") / "built"
    build(folder, ROWS, PAIRS).database.close()
    return folder


@pytest.fixture(scope="module")
def shared(built: Path) -> Iterator[Workspace]:
    """The workspace itself, for tests that only read."""
    workspace = Workspace(built)
    yield workspace
    workspace.database.close()


@pytest.fixture
def workspace(built: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy to change."""
    shutil.copytree(built, tmp_path / "w")
    opened = Workspace(tmp_path / "w")
    yield opened
    opened.database.close()


def made(number: int, **more: Any) -> Sample:
    texts = {"instruction": f"question {number}", "input": "", "response": f"answer {number}"}
    origin = {"source": "a.json", "row": number, "name": "a", "licence": "MIT", "method": "imported"}
    return Sample(**{"id": f"{number:032x}", **texts, **origin, **more})


def add(db: Database, *rows: Sample) -> int:
    with db.transaction() as connection:
        return samples.add(connection, rows)


# --- places ---


def slow_places(db: Database) -> dict[int, tuple[Any, ...]]:
    """Work out place, stage and reason of every sample row by row, from outcomes and rejections alone."""
    current = [(stage, run) for stage in runs.ORDER if (run := runs.current(db, stage)) is not None]
    states = {run.id: {one.seq: one.state for one in decisions.outcomes(db, run.id)} for _, run in current}
    found: dict[int, tuple[Any, ...]] = {}
    for row in samples.stream(db, ("instruction", "response", "name", "source", "licence", "method")):
        place, where, reason = ("kept" if current else "new"), None, None
        for number, (stage, run) in enumerate(current):
            state = states[run.id].get(row.seq)
            if state is None:
                place, where = "new", stage if number else None
                break
            if state == "dropped":
                place, where = state, stage
                reason = decisions.rejections_of(db, run.id, row.seq)[0].reason
                break
            if state == "pending" and place != "pending":
                place, where = state, stage
        found[row.seq] = (row.name, row.source, row.licence, row.method, len(row.instruction),
                          len(row.response), place, where, reason)  # fmt: skip
    return found


def stored_places(db: Database) -> dict[int, tuple[Any, ...]]:
    names = ("name", "source", "licence", "method", "instruction_chars", "response_chars", "place", "stage",
             "reason")  # fmt: skip
    with db.reading() as connection:
        return {
            row.seq: tuple(getattr(row, n) for n in names) for row in connection.execute(select(sample_place))
        }


def assert_true(workspace: Workspace) -> None:
    """The places and the funnel say what the slow ways of finding out say."""
    db = workspace.database
    assert stored_places(db) == slow_places(db)
    told = status(workspace)["stages"]
    for stage in browsing.funnel(db).stages:
        slow = told[stage["stage"]]
        assert {key: stage[key] for key in slow} == slow
        assert stage.get("stale") == stale_rows(workspace, stage["stage"])


def test_a_dispute_that_is_no_longer_asked_is_not_counted_as_a_question(workspace: Workspace) -> None:
    """Else pages would hold a freeze up for a question that the review page cannot show."""
    item = next(q["item"] for q in review.items(workspace) if q["kind"] == pair_settings.STAGE)
    review.vote(workspace, item, "keep-left", "ann")
    review.vote(workspace, item, "keep-both", "bob")
    assert review.counts(workspace)["disputed"] == 1
    near_duplicates.near_duplicates(workspace, pair_settings.PRESETS["paper"])  # asks nothing
    assert review.case(workspace, None, pair_settings.STAGE) is None
    counts = review.counts(workspace)
    assert (counts["disputed"], counts["open"]) == (0, open_cases(workspace))


def first_dropped(db: Database, stage: str, reason: str | None = None) -> str:
    return sample_page(db, SampleQuery(place="dropped", stage=stage, reason=reason)).rows[0].id


def test_places_stay_true_through_votes_and_undo(workspace: Workspace) -> None:
    for number, verdict in enumerate(("keep-left", "keep-right", "drop-both", "keep-both")):
        question = [q for q in review.items(workspace, "open") if q["kind"] == pair_settings.STAGE][number]
        review.vote(workspace, question["item"], verdict)
        assert_true(workspace)
    for _ in range(2):
        review.undo(workspace)
        assert_true(workspace)
    asked = [q["item"] for q in review.items(workspace, "open") if q["kind"] == "decontaminate"]
    for item, verdict in zip(asked, ("duplicate:drop", "idiom:keep"), strict=False):
        review.vote(workspace, item, verdict)
        assert_true(workspace)
    assert sample_count(workspace.database, SampleQuery(reason="verdict")).number > 0


@pytest.mark.parametrize(
    ("stage", "reason"),
    [("clean", None), ("near-duplicates", "near_duplicate"), ("decontaminate", "contaminated_substring")],
)
def test_places_stay_true_through_a_rescue(workspace: Workspace, stage: str, reason: str | None) -> None:
    id = first_dropped(workspace.database, stage, reason)
    review.rescue(workspace, id)
    assert_true(workspace)
    row = samples.find(workspace.database, id)
    assert row is not None
    place = stored_places(workspace.database)[row.seq]
    last = stage == runs.ORDER[-1]
    assert place[6:8] == (("pending", stage) if last else ("new", runs.ORDER[runs.ORDER.index(stage) + 1]))
    review.rescue(workspace, id, undo=True)
    assert_true(workspace)
    assert stored_places(workspace.database)[row.seq][6:8] == ("dropped", stage)


def test_places_stay_true_when_rows_come_and_stages_run_again(workspace: Workspace) -> None:
    db = workspace.database
    new = [made(n) for n in range(5)]
    add(db, *new, made(9, instruction="question 1", response="a longer answer 9"))
    assert_true(workspace)
    assert sample_count(db, SampleQuery(place="new")).number == 6
    clean.clean(workspace)
    assert_true(workspace)
    assert stored_places(db)[ROWS + 1][6:8] == ("new", "near-duplicates")
    assert stored_places(db)[ROWS + 2][6:9] == ("dropped", "clean", "exact_duplicate")
    clean.clean(workspace, "magicoder")  # drops rows that later stages have seen
    assert_true(workspace)
    assert add(db, *new) == 0
    assert_true(workspace)


def test_an_older_database_gets_the_places_and_words_of_its_rows(workspace: Workspace) -> None:
    db = workspace.database
    add(db, made(1, instruction="nul\0inside", response="zebra"))
    wanted = stored_places(db)
    page = sample_page(db, SampleQuery("zebra"))
    with db.reading() as connection:
        trails = connection.execute(select(sample_place.c.seq, sample_place.c.trail)).all()
    db.close()
    with closing(sqlite3.connect(db.path)) as connection:
        for statement in (
            "DROP TABLE sample_place", "DROP TABLE sample_text", "DROP INDEX ix_rejection_run_id_reason",
            "DROP INDEX ix_rejection_file_hash_row", "DROP INDEX ix_rejection_file_hash_reason",
            "DROP INDEX ix_near_duplicate_pair_run_id_decision_cosine",
            "DROP INDEX ix_contamination_match_run_id_detector_score",
            "DROP TABLE evolution_score", "DROP TABLE evolution_step", "DROP TABLE evolution",
            "DROP TABLE teacher_batch_call", "DROP TABLE teacher_batch", "DROP TABLE generation_item",
            "DROP TABLE judgement", "DROP TABLE sample_word", "DROP TABLE prompt_choice",
            "DROP TABLE teacher_call", "DROP TABLE generation", "DROP TABLE prompt",
            "CREATE TABLE teacher_call (id TEXT)",  # migration 0005 makes it anew
            "DROP TABLE seed_place", "DROP TABLE seed_text", "DROP TABLE document_rescue",
            "DROP TABLE document_signature",
            "DROP TABLE document", "DROP TABLE document_text", "DROP TABLE harvest",
            "ALTER TABLE seed DROP COLUMN method",
            "UPDATE alembic_version SET version_num = '0001'",
        ):  # fmt: skip
            connection.execute(statement)
        connection.commit()

    newer = Database(db.path)

    assert stored_places(newer) == wanted == slow_places(newer)
    with newer.reading() as again:
        assert again.execute(select(sample_place.c.seq, sample_place.c.trail)).all() == trails
    assert sample_page(newer, SampleQuery("zebra")) == page
    assert len(page.rows) == 1
    newer.close()


# --- pages ---


def brute(db: Database, query: SampleQuery) -> list[int]:
    """List the seqs of a view by looking at every row."""
    places = stored_places(db)
    facts = {
        seq: dict(zip((*FACETS[:4], "i", "r", *FACETS[4:]), row, strict=True)) for seq, row in places.items()
    }
    found = [seq for seq, row in facts.items() if all(row[n] == v for n, v in query.filters.items())]
    kind, _, end = query.sort.partition("-")
    found.sort(key=lambda seq: (facts[seq][kind[0]], seq) if end else seq, reverse=end == "long")
    return found


def walk(db: Database, query: SampleQuery, size: int) -> tuple[list[int], list[int]]:
    """Go through all pages forward, and from the last page back."""
    page = sample_page(db, query, size=size)
    forward = [row.seq for row in page.rows]
    while page.after is not None:
        page = sample_page(db, query, after=page.after, size=size)
        assert page.rows
        forward += [row.seq for row in page.rows]
    back = [row.seq for row in page.rows]
    while page.before is not None:
        page = sample_page(db, query, before=page.before, size=size)
        assert page.rows
        back = [row.seq for row in page.rows] + back
    return forward, back


FILTERS: list[dict[str, Any]] = [
    {}, {"place": "kept"}, {"place": "dropped", "stage": "near-duplicates"}, {"name": "evol"},
    {"reason": "exact_duplicate", "licence": "MIT"}, {"method": "no such"},
]  # fmt: skip


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("few", [0, 5_000], ids=["by the order", "by combination"])
def test_pages_hold_every_row_once_in_order(
    shared: Workspace, sort: str, filters: dict[str, Any], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "FEW", few)  # the two ways to find a page
    monkeypatch.setattr(browsing, "MOST_CELLS", few)
    query = SampleQuery(**filters, sort=sort)
    wanted = brute(shared.database, query)
    forward, back = walk(shared.database, query, 37)
    assert forward == back == wanted
    assert sample_count(shared.database, query) == browsing.Counted(len(wanted), True)


def test_a_row_shows_the_beginnings_of_its_texts(workspace: Workspace) -> None:
    add(workspace.database, made(7, instruction="a\0b" + "é" * 400, response="r" * 301, name="own"))
    (row,) = sample_page(workspace.database, SampleQuery(name="own")).rows
    assert row.instruction == "a\0b" + "é" * 297
    assert (row.instruction_chars, row.response_chars, len(row.response)) == (403, 301, 300)
    assert (row.id, row.row, row.place, row.stage) == (made(7).id, 7, "new", None)


@pytest.mark.parametrize("key", ["", "x", "7-", "-7", "1-2-3", "9" * 40, "1 OR 1=1", "٣", "12", "\0"])
@pytest.mark.parametrize("sort", ["import", "response-long"])
def test_a_damaged_key_gives_the_first_page(shared: Workspace, key: str, sort: str) -> None:
    query = SampleQuery(sort=sort)
    if (key, sort) == ("12", "import"):
        return  # a sound one
    first = sample_page(shared.database, query)
    assert sample_page(shared.database, query, after=key) == first
    assert sample_page(shared.database, query, before=key) == first


def test_an_unknown_order_or_place_is_told() -> None:
    with pytest.raises(WrongInput, match=r"'newest'.*response-long"):
        SampleQuery(sort="newest")
    with pytest.raises(WrongInput, match=r"'lost'.*dropped"):
        SampleQuery(place="lost")


@pytest.mark.parametrize("sort", SORTS)
def test_neighbours_are_the_rows_beside_in_the_view(shared: Workspace, sort: str) -> None:
    query = SampleQuery(place="kept", sort=sort)
    seqs = brute(shared.database, query)
    ids = [row.id for row in samples.read(shared.database, seqs)]
    for at in (0, 1, len(seqs) // 2, len(seqs) - 1):
        wanted = (ids[at - 1] if at else None), (ids[at + 1] if at + 1 < len(ids) else None)
        assert neighbours(shared.database, query, seqs[at]) == wanted
    assert neighbours(shared.database, query, 10**9) == (None, None)


# --- counts ---


@pytest.mark.parametrize(
    "filters",
    [{}, {"place": "dropped"}, {"stage": "clean", "name": "oss"}, {"reason": "near_duplicate"}],
    ids=str,
)
def test_a_field_counts_under_the_filters_of_the_others(shared: Workspace, filters: dict[str, str]) -> None:
    db = shared.database
    facets = sample_facets(db, SampleQuery(**filters))  # type: ignore[arg-type]
    places = stored_places(db)
    for field in FACETS:
        others = {name: value for name, value in filters.items() if name != field}
        seqs = brute(db, SampleQuery(**others))  # type: ignore[arg-type]
        at = (*FACETS[:4], "", "", *FACETS[4:]).index(field)
        assert facets[field] == Counter(v for seq in seqs if (v := places[seq][at]) is not None)
        assert list(facets[field].values()) == sorted(facets[field].values(), reverse=True)


# --- search ---


@pytest.fixture
def texts(tmp_path: Path) -> Iterator[Database]:
    db = Database(tmp_path / DATABASE)
    add(
        db,
        made(1, instruction="Reverse a linked list", response="def reverse(head): return head"),
        made(2, instruction="Sort a list of names", input="Zoë, Ann", response="sorted(names)"),
        made(3, instruction="A list that is linked", response="snake_case_name = 1"),
        made(4, instruction="before\0behind", response='say "AND" OR NOT near'),
    )
    yield db
    db.close()


@pytest.mark.parametrize(
    ("search", "rows"),
    [
        ("list", [1, 2, 3]),
        ("linked list", [1, 3]),  # every word, anywhere
        ('"linked list"', [1]),
        ('"linked list', [1]),  # the closing mark is not typed yet
        ("list LINK", [1, 3]),  # the last word as a beginning, capitals alike
        ("link list", []),  # only the last
        ("na", []),  # two letters are a word, not a beginning
        ("nam", [2, 3]),
        ('"nam"', []),
        ("zoe", [2]),  # accents do not count
        ("snake_case", [3]),
        ("head): return", [1]),
        ("AND", [4]),  # no operator
        ("say NOT near", [4]),
        ("behind", [4]),
        ("sorted(names)", [2]),
        ("list 😀", [1, 2, 3]),
        ("", [1, 2, 3, 4]),
        ("   ", [1, 2, 3, 4]),
    ],
)
def test_a_search_finds_the_rows_with_these_words(texts: Database, search: str, rows: list[int]) -> None:
    query = SampleQuery(search)
    assert [row.row for row in sample_page(texts, query).rows] == rows
    assert sample_count(texts, query) == browsing.Counted(len(rows), True)
    assert sum(sample_facets(texts, query)["place"].values()) == len(rows)


HOSTILE = [
    *('"', '""', '"""', "'", "*", "list*", "a* OR b", "(", ")", "NEAR(a b, 2)", "-list", "^list", "col:x"),
    *(
        "instruction:list",
        "\0",
        "a\0b",
        "😀",
        "!!! ???",
        "\ud800",
        "list \ud800",
        "%_",
        "{a b}",
        "+",
        "a + b",
    ),
    *("x" * 5_000, "a " * 5_000, "NOT", "AND OR", ";DROP TABLE sample", "\u202e", "\uff4c\uff49", "\u180e"),
]


@pytest.mark.parametrize("search", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_any_text_is_a_search(texts: Database, search: str) -> None:
    for sort in SORTS:
        query = SampleQuery(search, sort=sort)
        assert len(sample_page(texts, query).rows) == sample_count(texts, query).number
    if not any(letter.isalnum() for letter in search):
        assert sample_page(texts, SampleQuery(search)) == browsing.SamplePage([], None, None, True)


def test_a_search_is_filtered_and_sorted(shared: Workspace) -> None:
    db = shared.database
    word = "parser"
    with db.reading() as connection:
        rows = connection.execute(select(sample.c.seq, sample.c.instruction, sample.c.response)).all()
    holds = {row.seq for row in rows if word in (row.instruction + row.response).lower()}
    assert len(holds) > 20
    for sort in SORTS:
        query = SampleQuery(word, place="kept", sort=sort)
        wanted = [seq for seq in brute(db, SampleQuery(place="kept", sort=sort)) if seq in holds]
        assert walk(db, query, 7) == (wanted, wanted)
        assert sample_page(db, query).sorted


def test_a_search_with_too_many_matches_is_paged_in_import_order_and_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "COUNTED", 10)
    db = workspace.database
    query = SampleQuery("def", sort="response-long")
    page = sample_page(db, query, size=20)
    assert not page.sorted
    assert [row.seq for row in page.rows] == list(range(1, 21))
    assert walk(db, query, 90) == (list(range(1, ROWS + 1)),) * 2
    assert sample_count(db, query) == browsing.Counted(10, False)
    assert sum(sample_facets(db, query)["name"].values()) == 10
    assert sample_page(db, SampleQuery("def")).sorted


def test_new_rows_are_found_at_once(texts: Database) -> None:
    assert sample_count(texts, SampleQuery("zebra")).number == 0
    add(texts, made(5, response="a zebra"))
    add(texts, made(5, response="a zebra"))
    assert [row.row for row in sample_page(texts, SampleQuery("zebra")).rows] == [5]


# --- the stamp ---


def test_the_stamp_changes_with_what_pages_show_and_only_then(workspace: Workspace) -> None:
    db = workspace.database
    changes: list[Callable[[], object]] = [
        lambda: add(db, made(1)),
        lambda: clean.clean(workspace),
        lambda: review.vote(workspace, review.items(workspace, "open")[0]["item"], "keep-both"),
        lambda: review.undo(workspace),
        lambda: review.rescue(workspace, first_dropped(db, "clean")),
        lambda: review.rescue(workspace, first_dropped(db, "near-duplicates", "near_duplicate")),
    ]
    seen = [change_stamp(db)]
    for change in changes:
        change()
        assert change_stamp(db) not in seen
        seen.append(change_stamp(db))
    start = runs.start(db, runs.Request("clean", {}, "other", "1"))
    assert start.run_id is not None
    runs.report_progress(db, start.run_id, "reading rows", 1, 2)
    assert change_stamp(db) == seen[-1]
    with db.transaction() as connection:
        samples.open_file(connection, {"hash": "h", "source": "s", "name": "n", "settings": {}})
    assert change_stamp(db) not in seen
    seen.append(change_stamp(db))
    with db.transaction() as connection:
        samples.close_file(connection, "h", 0, [])
    assert change_stamp(db) not in seen


# --- files ---


def test_files_and_their_unusable_rows(shared: Workspace) -> None:
    files = browsing.file_rows(shared.database)
    told = {file["hash"]: file for file in status(shared)["files"]}
    assert [file["name"] for file in files] == sorted(file["name"] for file in told.values())
    for file in files:
        slow = told[file["hash"]]
        assert {key: file[key] for key in ("name", "source", "state", "imported", "rejected")} == {
            key: slow[key] for key in ("name", "source", "state", "imported", "rejected")
        }
        first = browsing.rejected_rows(shared.database, file["hash"], size=15)
        rest = browsing.rejected_rows(shared.database, file["hash"], after=first[-1]["row"], size=15)
        rows = [row["row"] for row in first + rest]
        assert rows == list(range(file["imported"], file["imported"] + 20))
        assert first[0] | {"row": 0, "line": 0} == {
            "row": 0, "line": 0, "reason": "empty_response", "message": "output is empty", "excerpt": "",
        }  # fmt: skip


# --- the log ---


def log_size(db: Database) -> int:
    return db.path.with_name(f"{db.path.name}-wal").stat().st_size


def test_a_checkpoint_empties_a_long_log_once_its_owner_has_gone(tmp_path: Path) -> None:
    owner, other = Database(tmp_path / DATABASE), Database(tmp_path / DATABASE)
    add(other, *(made(n, response="x" * 20_000) for n in range(600)))
    long = log_size(other)
    assert long > 8 << 20
    other.checkpoint()  # not its turn
    assert log_size(other) == long
    with owner.reading() as connection:
        connection.execute(select(sample.c.seq).limit(1)).all()
        owner.checkpoint()  # a reader stands in the way: no error
    owner.checkpoint()
    assert log_size(other) == 0
    add(other, *(made(n, response="x" * 20_000) for n in range(600, 1200)))
    owner.close()
    assert log_size(other) > 8 << 20
    other.checkpoint()
    assert log_size(other) == 0
    add(other, made(5000))
    other.checkpoint()
    assert 0 < log_size(other) < 1 << 20  # short: left in place
    other.close()
