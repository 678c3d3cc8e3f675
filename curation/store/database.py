"""Opens the database of a workspace: connections, transactions, migrations, consistent copies."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection as Connection
from sqlalchemy import Row as Row  # steps may name these two types; they never build a query
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from curation.errors import DamagedWorkspace, SourceUnavailable, WrongInput
from curation.failpoints import failpoint

HEAD = "0007"  # newest migration; a test holds it against curation/migrations
MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
URL_VARIABLE = "WINNOW_DATABASE_URL"
BUSY_SECONDS = 60.0  # how long a writer waits for another one
CHECKPOINT_SECONDS = 0.2  # how long a checkpoint waits for readers before it leaves the rest for later
LONG_LOG = 8 << 20  # bytes of log from which a checkpoint also empties it


def now() -> str:
    """Give the time as UTC text. Nothing is ordered by it: row numbers are (faults.md F10)."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Database:
    """A workspace's database. Safe to share between threads: it hands out connections, one a unit of work."""

    def __init__(self, path: Path) -> None:
        """Open the database, make it when there is none, and bring its schema up to date.

        Raises WrongInput when WINNOW_DATABASE_URL asks for another server or the file is newer
        than this Winnow, DamagedWorkspace when the file is no database.
        """
        if os.environ.get(URL_VARIABLE):
            raise WrongInput(
                f"{URL_VARIABLE} is set, but this version keeps its data in SQLite only; "
                "unset it and use --workspace"
            )
        self.path = path.resolve()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._checkpointer: IO[bytes] | None = None
        self._engine = create_engine(
            f"sqlite:///{self.path}", connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
        )
        event.listen(self._engine, "connect", self._configure)
        event.listen(self._engine, "begin", _begin)
        event.listen(self._engine, "invalidate", _give_up)
        self._own_checkpoints()
        self._migrate()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give a connection whose changes are kept together when the block ends well, else not at all.

        Takes SQLite's write lock at the start, so that a reader never has to become a writer
        (faults.md: deferred transactions gave 275,113 lock errors, immediate ones none).
        """
        with _plain_errors(self.path), self._engine.begin() as connection:
            yield connection
            failpoint("store.commit")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one moment of the database and changes nothing."""
        with (
            _plain_errors(self.path),
            self._engine.connect().execution_options(winnow_reading=True) as connection,
        ):
            yield connection

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of the database to a new file, while others may be writing."""
        path.unlink(missing_ok=True)
        with _plain_errors(self.path), sqlite3.connect(self.path, timeout=BUSY_SECONDS) as connection:
            connection.execute("VACUUM INTO ?", (str(path),))
        connection.close()

    def checkpoint(self) -> None:
        """Move the log into the database if this process may; a timer calls it (faults.md F09).

        Takes over the right to do so when the process that had it has died. A database in use is left for
        the next call. A log over LONG_LOG is emptied, a shorter one stays in place to be written again.
        """
        if self._checkpointer is None:
            self._own_checkpoints()
        if self._checkpointer is None:
            return
        log = self.path.with_name(f"{self.path.name}-wal")
        with suppress(OSError, sqlite3.Error):
            mode = "TRUNCATE" if log.stat().st_size > LONG_LOG else "PASSIVE"
            # A connection of its own, which waits briefly: writers stand still while a log is emptied.
            with closing(sqlite3.connect(self.path, timeout=CHECKPOINT_SECONDS)) as connection:
                connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()

    def close(self) -> None:
        self._engine.dispose()
        if self._checkpointer is not None:
            self._checkpointer.close()
            self._checkpointer = None

    def _configure(self, connection: Any, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions begin where we say (see _begin)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an acknowledged vote survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        pages = 1000 if self._checkpointer is not None else 0
        connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")

    def _own_checkpoints(self) -> None:
        """Let one process at a time move the log into the database (the WAL-reset bug of SQLite < 3.51.3)."""
        file = self.path.with_suffix(".checkpoint-lock").open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            self._checkpointer = file

    def _migrate(self) -> None:
        if self._revision() == HEAD:
            return
        with self.path.with_suffix(".migration-lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two first starts at once: the second waits, then finds it done
            revision = self._revision()
            if revision == HEAD:
                return
            if revision is not None:
                self.copy_to(self.path.with_name(f"before-{HEAD}-{self.path.name}"))
            self._upgrade(revision)

    def _upgrade(self, revision: str | None) -> None:
        from alembic import command  # slow to import, and only needed when there is something to do
        from alembic.config import Config
        from alembic.util.exc import CommandError

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.transaction() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise WrongInput(
                    f"{self.path} has schema {revision}, which this Winnow (schema {HEAD}) does not know; "
                    "use the newer Winnow that wrote it"
                ) from error

    def _revision(self) -> str | None:
        with self.reading() as connection:
            known = connection.execute(
                text("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'")
            ).scalar_one()
            if not known:
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("winnow_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _give_up(connection: Any, _entry: ConnectionPoolEntry, _error: BaseException | None) -> None:
    """Give the write lock back when Ctrl-C arrives inside a statement and the connection is thrown away.

    Closing it is not enough: SQLite keeps a closed connection, with its open transaction, as long as a cursor
    of it lives, and one lives in the traceback of the very interrupt. The stage would wait for itself.
    """
    with suppress(sqlite3.Error):
        connection.rollback()


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Turn what the database driver says into a line for people."""
    try:
        yield
    except (OperationalError, sqlite3.OperationalError) as error:
        reason = str(getattr(error, "orig", error))
        if "disk is full" in reason:
            raise SourceUnavailable(
                f"The disk of {path.parent} is full; nothing acknowledged was lost. "
                "Free some room and run the command again"
            ) from error
        if "locked" in reason:
            raise SourceUnavailable(
                f"{path} was busy for {BUSY_SECONDS:.0f} s; run the command again"
            ) from error
        raise SourceUnavailable(f"{path} could not be used: {reason}") from error
    except OSError as error:
        raise SourceUnavailable(
            f"{error.filename or path} could not be used: {error.strerror or error}; "
            "nothing acknowledged was lost. Mend it and run the command again"
        ) from error
    except (DatabaseError, sqlite3.DatabaseError) as error:
        if "not a database" in str(error) or "malformed" in str(error):
            raise DamagedWorkspace(
                f"{path} is not a sound database; move it away and use `restore` on a backup"
            ) from error
        raise
