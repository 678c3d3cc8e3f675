"""The store: migrations, one writer at a time, one process that checkpoints, pages that miss no row."""

import multiprocessing
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, select, text, update

from curation import assemble, clean, decontaminate, import_samples, near_duplicates, pair_settings
from curation.cli import main
from curation.errors import CurationError, DamagedWorkspace, WrongInput
from curation.records import Sample
from curation.store import database, runs, samples
from curation.store.database import HEAD, MIGRATIONS, URL_VARIABLE, Database
from curation.store.runs import Request
from curation.store.tables import metadata, stage_run
from curation.workspace import DATABASE, Workspace
from tests.faults import keep_made_up_vectors, make_rows, write_rows

SPAWN = multiprocessing.get_context("spawn")
WAIT = 120.0  # seconds other processes may take on a busy machine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / DATABASE


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


def sample(number: int, **more: Any) -> Sample:
    texts = {"instruction": f"question {number}", "input": "", "response": f"answer {number}"}
    origin = {"source": "a.json", "row": number, "name": "a", "licence": "MIT", "method": "imported"}
    return Sample(**{"id": f"{number:032x}", **texts, **origin, **more})


def add(db: Database, numbers: range) -> int:
    with db.transaction() as connection:
        return samples.add(connection, [sample(number) for number in numbers])


def ask(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


# --- migrations ---


def is_of_the_schema(name: str | None, kind: str, _parents: object) -> bool:
    """The index of words and the tables in which FTS5 keeps it are no tables of the schema."""
    return kind != "table" or not (name or "").startswith(("sample_text", "seed_text"))


def test_migrations_make_the_tables_of_the_schema(db: Database) -> None:
    with db.reading() as connection:
        opts = {"compare_type": True, "include_name": is_of_the_schema}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, metadata) == []


def test_what_alembic_does_not_compare_is_equal_too(db: Database, tmp_path: Path) -> None:
    """Tables without row numbers, defaults, and the columns of primary keys."""
    other = tmp_path / "other.sqlite"
    metadata.create_all(create_engine(f"sqlite:///{other}"))
    statement = (
        "SELECT t.name, t.wr, c.name, c.type, c.[notnull], c.dflt_value, c.pk "
        "FROM pragma_table_list t JOIN pragma_table_xinfo(t.name) c "
        "WHERE t.name NOT LIKE 'sqlite_%' AND t.name <> 'alembic_version' ORDER BY t.name, c.cid"
    )
    assert ask(db.path, statement) == ask(other, statement) != []


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


NEXT = """
from alembic import op
import sqlalchemy as sa

revision, down_revision, branch_labels, depends_on = "next", "{head}", None, None


def upgrade() -> None:
    op.add_column("sample", sa.Column("colour", sa.Text()))
    {then}
"""


def newer_winnow(monkeypatch: pytest.MonkeyPatch, folder: Path, then: str = "") -> None:
    """Make this a Winnow with one more migration."""
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "next.py").write_text(NEXT.format(head=HEAD, then=then))
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    monkeypatch.setattr(database, "HEAD", "next")


def test_an_older_database_is_copied_whole_and_then_brought_up_to_date(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Database(path)
    add(old, range(3))
    log = path.with_name(f"{path.name}-wal")
    assert log.stat().st_size, "the rows stand in the log still: copying the file alone would lose them"

    newer_winnow(monkeypatch, tmp_path / "migrations")
    new = Database(path)

    assert ask(path, "SELECT version_num FROM alembic_version") == [("next",)]
    assert ask(path, "SELECT count(*), count(colour) FROM sample") == [(3, 0)]
    copy = path.with_name(f"before-next-{path.name}")
    assert ask(copy, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert ask(copy, "SELECT count(*) FROM sample") == [(3,)]
    assert ask(copy, "PRAGMA integrity_check") == [("ok",)]
    for one in (old, new):
        one.close()


def test_a_new_database_needs_no_copy(db: Database) -> None:
    assert list(db.path.parent.glob("before-*")) == []


def test_a_migration_that_fails_changes_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Database(path).close()
    newer_winnow(monkeypatch, tmp_path / "migrations", then='raise RuntimeError("half way")')

    with pytest.raises(RuntimeError, match="half way"):
        Database(path)

    assert ask(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert "colour" not in [row[1] for row in ask(path, "PRAGMA table_info(sample)")]


def refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command and give its exit status and the one line that it says."""
    status = main(["status", "--workspace", str(workspace)])
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1 and "Traceback" not in told.err
    return status, told.err


def test_a_database_of_a_newer_winnow_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Database(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    with pytest.raises(WrongInput, match="9999"):
        Database(path)
    status, line = refused(path.parent, capsys)
    assert status == 2
    assert "schema 9999" in line and HEAD in line and "newer Winnow" in line
    assert ask(path, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_another_server_is_refused_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(URL_VARIABLE, "postgresql://team:secret@host/winnow")
    status, line = refused(tmp_path, capsys)
    assert status == 2
    assert URL_VARIABLE in line and "--workspace" in line and "secret" not in line
    assert not (tmp_path / DATABASE).exists()


@pytest.mark.parametrize("content", [b"hello", b"SQLite format 3\0" + b"\xff" * 4096, b"\x1f\x8b" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(content)
    with pytest.raises(DamagedWorkspace):
        Database(path)
    status, line = refused(path.parent, capsys)
    assert status == 1
    assert str(path) in line and "restore" in line
    assert path.read_bytes() == content


# --- transactions ---


def test_what_is_committed_survives_a_power_cut(db: Database) -> None:
    with db.reading() as connection:
        found = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1], "2 is FULL"


def test_a_transaction_that_fails_leaves_nothing(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), db.transaction() as connection:
        samples.add(connection, [sample(1)])
        _ = 1 / 0
    assert samples.count(db) == 0


def test_a_reader_sees_one_moment_and_does_not_stop_writers(db: Database) -> None:
    add(db, range(2))
    with db.reading() as connection:
        before = samples.all_seqs(connection)
        add(db, range(2, 5))
        assert samples.all_seqs(connection) == before == [1, 2]
    assert samples.count(db) == 5


def write_often(path: Path, together: Barrier, told: Any) -> None:
    """In another process: read a number and write it back one greater, 50 times."""
    db = Database(path)
    together.wait(WAIT)
    errors = []
    for _ in range(50):
        try:
            with db.transaction() as connection:
                done = connection.execute(select(stage_run.c.progress_done)).scalar_one()
                connection.execute(update(stage_run).values(progress_done=done + 1))
        except CurationError as error:
            errors.append(str(error))
    told.put(errors)
    db.close()


def test_eight_writers_never_meet_a_locked_database(db: Database) -> None:
    run = runs.start(db, Request("any", {}, "", "")).run_id
    assert run is not None
    runs.report_progress(db, run, "", 0, 0)
    together, told = SPAWN.Barrier(8), SPAWN.Queue()
    processes = [SPAWN.Process(target=write_often, args=(db.path, together, told)) for _ in range(8)]
    for process in processes:
        process.start()
    errors = [told.get(timeout=WAIT) for _ in processes]
    for process in processes:
        process.join(WAIT)

    assert errors == [[]] * 8
    assert runs.read(db, run).progress_done == 8 * 50, "no write was lost"


def open_together(path: Path, together: Barrier, told: Any) -> None:
    together.wait(WAIT)
    try:
        Database(path).close()
    except Exception as error:
        told.put(repr(error))
    else:
        told.put(None)


def test_six_processes_may_make_the_database_at_once(path: Path) -> None:
    together, told = SPAWN.Barrier(6), SPAWN.Queue()
    processes = [SPAWN.Process(target=open_together, args=(path, together, told)) for _ in range(6)]
    for process in processes:
        process.start()
    assert [told.get(timeout=WAIT) for _ in processes] == [None] * 6
    for process in processes:
        process.join(WAIT)
    assert ask(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]


# --- checkpoints ---


def checkpoint_pages(db: Database) -> int:
    with db.reading() as connection:
        return int(connection.execute(text("PRAGMA wal_autocheckpoint")).scalar_one())


def hold_open(path: Path, told: Any, end: Event) -> None:
    db = Database(path)
    told.put(checkpoint_pages(db))
    end.wait(WAIT)
    db.close()


def test_one_process_checkpoints_and_another_takes_over_when_it_is_gone(path: Path) -> None:
    told, end = SPAWN.Queue(), SPAWN.Event()
    first = SPAWN.Process(target=hold_open, args=(path, told, end))
    first.start()
    assert told.get(timeout=WAIT) > 0

    here = [Database(path), Database(path)]
    assert [checkpoint_pages(db) for db in here] == [0, 0]
    for db in here:
        db.close()

    end.set()
    first.join(WAIT)
    after = Database(path)
    assert checkpoint_pages(after) > 0
    after.close()


# --- pages ---


def test_streaming_gives_every_row_once_in_import_order(db: Database) -> None:
    number = 2 * samples.PAGE + 7
    add(db, range(number))
    rows = list(samples.stream(db, ("id", "response")))

    assert [row.seq for row in rows] == list(range(1, number + 1))
    assert [row.id for row in rows] == [f"{n:032x}" for n in range(number)]
    assert rows[-1].response == f"answer {number - 1}"


def test_a_whole_last_page_is_not_given_twice(db: Database) -> None:
    add(db, range(2 * samples.PAGE))
    assert len(list(samples.stream(db, ("id",)))) == 2 * samples.PAGE


def test_rows_that_arrive_while_streaming_come_last_and_hold_nobody_up(db: Database) -> None:
    add(db, range(samples.PAGE + 1))
    stream = samples.stream(db, ("id",))
    first = next(stream)
    add(db, range(samples.PAGE, samples.PAGE + 3))  # two of them new
    seqs = [first.seq, *(row.seq for row in stream)]
    assert seqs == list(range(1, samples.PAGE + 4))


def test_adding_a_row_again_changes_nothing(db: Database) -> None:
    assert add(db, range(3)) == 3
    assert add(db, range(1, 5)) == 2
    assert samples.count(db) == 5


# --- conservation (R14) ---

BALANCE = """
SELECT stage, count(*), sum(state = 'kept'), sum(state = 'dropped'), sum(state = 'pending'),
  sum(state = 'dropped' AND reasons <> 1), sum(state <> 'dropped' AND reasons <> 0), count(DISTINCT position)
FROM (
  SELECT stage, o.state, o.position,
    (SELECT count(*) FROM rejection r WHERE r.run_id = o.run_id AND r.seq = o.seq) AS reasons
  FROM outcome o JOIN stage_run ON stage_run.id = o.run_id AND is_current
) GROUP BY stage
"""


def test_in_every_stage_rows_in_are_kept_dropped_or_pending(tmp_path: Path) -> None:
    rows = make_rows(1500, 14)
    solution = "def total(numbers):\n    return sum(number for number in numbers if number is not None)"
    rows += [{"instruction": f"Sum {n} numbers", "input": "", "output": solution} for n in range(2)]
    file = write_rows(rows, tmp_path / "rows.jsonl")
    task = {"task_id": "t/1", "text": "Sum numbers.", "code": solution}
    benchmark = write_rows([task], tmp_path / "tasks.jsonl")
    keep_made_up_vectors(rows, tmp_path / "w", 14)
    workspace = Workspace(tmp_path / "w")
    db = workspace.database

    imported = import_samples.import_samples(workspace, str(file)).report
    assert imported["rows"] == len(rows) == imported["imported"] + sum(imported["rejected"].values())
    assert imported["rejected"]

    entered = {}
    for stage, start in {
        "clean": lambda: clean.clean(workspace),
        "near-duplicates": lambda: near_duplicates.near_duplicates(
            workspace, pair_settings.Settings(budget=20)
        ),
        "decontaminate": lambda: decontaminate.decontaminate(
            workspace, decontaminate.Settings((f"tiny={benchmark}",), ("substring",))
        ),
    }.items():
        entered[stage] = len(runs.input_rows(db, stage).seqs)
        start()
    entered["assemble:v1"] = len(runs.input_rows(db, "assemble").seqs)
    frozen = assemble.assemble(workspace, "v1", assemble.Settings(size=500, open_cases="drop")).report

    left = imported["imported"]
    balance = {row[0]: row[1:] for row in ask(db.path, BALANCE)}
    assert list(entered) == sorted(balance, key=list(entered).index)
    for stage, number in entered.items():
        into, kept, dropped, pending, without_one_reason, needless_reasons, positions = balance[stage]
        assert into == number == left == kept + dropped + pending, stage
        assert dropped and not without_one_reason, f"{stage}: each dropped row has exactly one rejection"
        assert not needless_reasons and positions == into, stage
        left -= dropped
    assert left == frozen["rows"] == 500
    assert frozen["samples"] == frozen["rows"] + sum(frozen["dropped"].values())
    assert balance["near-duplicates"][3], "some rows were asked about"
    db.close()
