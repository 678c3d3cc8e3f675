"""The queue's database: DBOS, opened late and without its pickles, one client a process and workspace."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import DamagedWorkspace, SourceUnavailable
from curation.file_lock import locked
from jobs.alive import module_lock
from jobs.keys import without_secrets

if TYPE_CHECKING:
    from dbos import DBOSClient

DATABASE = "jobs.sqlite"
SETUP_LOCK = "jobs.setup-lock"  # held while the database is made

# Fixed, so that any later worker takes over what an earlier one left (a new value would orphan its jobs).
APPLICATION, VERSION, EXECUTOR = "winnow", "1", "worker"
WORKFLOW, EVENT = "run_job", "progress"


def _refuse_pickle(_serializer: Any, _text: str) -> Any:
    raise ValueError("a pickle could run code when read; this row is not one of Winnow's")


def import_dbos() -> Any:
    """Import DBOS with its pickle reader switched off.

    DBOS reads a row as a pickle whenever the row says it is one, whatever serializer we give it; and a
    workspace may come from somebody else.
    """
    import dbos
    from dbos._serialization import DefaultSerializer

    DefaultSerializer.deserialize = _refuse_pickle  # type: ignore[method-assign, assignment]
    return dbos


def json_serializer() -> Any:
    """Make the serializer that client and worker share: JSON, errors as their words."""
    dbos = import_dbos()

    class JsonSerializer(dbos.Serializer):  # type: ignore[misc, name-defined]
        def serialize(self, data: Any) -> str:
            if isinstance(data, BaseException):
                data = {"__error__": without_secrets(f"{type(data).__name__}: {data}")}
            return json.dumps(data, ensure_ascii=False)

        def deserialize(self, serialized_data: str) -> Any:
            data = json.loads(serialized_data)
            return RuntimeError(data["__error__"]) if isinstance(data, dict) and "__error__" in data else data

        def name(self) -> str:
            return "winnow_json"

    return JsonSerializer()


@dataclass(frozen=True)
class _Opened:
    client: "DBOSClient"
    file: int  # inode: a workspace that was restored is another file under the same name


_clients: dict[Path, _Opened] = {}


def inode_of(path: Path) -> int | None:
    """Give what tells a file from another one under its name; None when it is not there."""
    with suppress(FileNotFoundError):
        return path.stat().st_ino
    return None


def client_of(folder: Path, make: bool = False) -> "DBOSClient | None":
    """Give this process's client of a workspace; None when it has no jobs yet and `make` is false."""
    path = folder / DATABASE
    with module_lock:
        known = _clients.get(folder)
        now = inode_of(path)
        if known is not None and now == known.file:
            return known.client
        if known is not None:
            del _clients[folder]
            with suppress(Exception):
                known.client.destroy()
        if now is None and not make:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / SETUP_LOCK):
            client = _open(path)
        _clients[folder] = _Opened(client, path.stat().st_ino)
        return client


def _open(path: Path) -> "DBOSClient":
    """Open the queue's database, make it when there is none, and bring its tables up to date.

    DBOS's own client makes no tables (a job enqueued before the first worker started would fail), and
    its default journal is several times slower than WAL. Only the worker moves the log into the database
    (the WAL-reset bug of SQLite before 3.51.3): the client has one connection, and that never does.
    """
    client: DBOSClient = import_dbos().DBOSClient(
        system_database_url=f"sqlite:///{path}",
        serializer=json_serializer(),
        system_database_pool_size=1,
        system_database_polling_concurrency=0,
        lazy=True,
    )
    system = client._sys_db  # DBOS has no public way to migrate without a worker
    with plain_errors(path):
        with system.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
        system.run_migrations()
    return client


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a queue that is damaged or has no room into a line for people."""
    try:
        yield
    except Exception as error:  # SQLAlchemy's own type is known to the store alone
        if "not a database" in str(error) or "malformed" in str(error):
            raise DamagedWorkspace(
                f"{path} is not a sound database. It holds the list of jobs and nothing else: "
                "move it away, and start again what was left to do"
            ) from error
        if (
            type(error).__name__ == "OperationalError"
        ):  # a full disk, one that may not be written, a long wait
            reason = str(getattr(error, "orig", error))
            raise SourceUnavailable(
                f"{path} could not be used: {reason}; nothing acknowledged was lost. Mend it and try again"
            ) from error
        raise


def made_client(folder: Path) -> "DBOSClient":
    client = client_of(folder, make=True)
    assert client is not None  # it was made
    return client


def read_progress(client: "DBOSClient", job_id: str) -> dict[str, Any]:
    try:
        told = client.get_event(job_id, EVENT, timeout_seconds=0)
    except ValueError:  # not ours (see _refuse_pickle)
        return {}
    return told if isinstance(told, dict) else {}
