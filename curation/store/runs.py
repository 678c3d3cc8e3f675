"""Stage runs: who runs a stage now, what it was asked to do, what came of it."""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import psutil
from sqlalchemy import Connection, Row, delete, insert, select, update

from curation.store import places
from curation.store.database import Database, now
from curation.store.tables import outcome, sample, stage_lock, stage_run

ORDER = ("clean", "near-duplicates", "decontaminate")  # stages that judge rows, in the order data flows


@dataclass(frozen=True, slots=True)
class Request:
    """What a stage is asked to do; two equal requests have the same result."""

    stage: str
    settings: Mapping[str, Any]
    input_hash: str
    code_version: str


@dataclass(frozen=True, slots=True)
class Start:
    """What came of asking to start: exactly one of the three is given."""

    run_id: int | None = None  # ours to run
    unchanged: Row[Any] | None = None  # the current run did exactly this
    busy: Row[Any] | None = None  # the lock of another process that is alive


def start(db: Database, request: Request, again: bool = False) -> Start:
    """Take the stage's lock and open a run, or say why not.

    A lock whose process is gone (killed, rebooted) is taken over and its run marked interrupted.
    With `again` an equal current run does not count.
    """
    with db.transaction() as connection:
        lock = connection.execute(select(stage_lock).where(stage_lock.c.stage == request.stage)).first()
        if lock is not None and _is_alive(lock):
            return Start(busy=lock)
        if lock is not None:
            _release(connection, lock.run_id, "interrupted", "the process was killed")
        same = current_in(connection, request.stage)
        if same is not None and not again and _does(same, request):
            return Start(unchanged=same)
        run_id = _open(connection, request)
    return Start(run_id=run_id)


def release_dead(db: Database, stage: str) -> None:
    """Close the run that a killed process left of a stage in which nothing is left to do."""
    with db.reading() as connection:
        lock = connection.execute(select(stage_lock).where(stage_lock.c.stage == stage)).first()
    if lock is None or _is_alive(lock):
        return
    with db.transaction() as connection:
        again = connection.execute(select(stage_lock).where(stage_lock.c.stage == stage)).first()
        if again is not None and not _is_alive(again):
            _release(connection, again.run_id, "interrupted", "the process was killed")


def _does(run: Row[Any], request: Request) -> bool:
    return bool(
        run.settings == dict(request.settings)
        and run.input_hash == request.input_hash
        and run.code_version == request.code_version
    )


def _open(connection: Connection, request: Request) -> int:
    key = connection.execute(
        insert(stage_run).values(
            stage=request.stage,
            settings=dict(request.settings),
            input_hash=request.input_hash,
            code_version=request.code_version,
            state="running",
            is_current=False,
            report={},
            started_at=now(),
        )
    ).inserted_primary_key
    assert key is not None  # one row was inserted
    run_id = int(key[0])
    connection.execute(
        insert(stage_lock).values(
            stage=request.stage,
            run_id=run_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
        )
    )
    return run_id


def _is_alive(lock: Row[Any]) -> bool:
    if lock.host != socket.gethostname():
        return False  # a database file is used from one machine; the name changed with a copy or a reboot
    try:
        # Rounded: the start time is computed from the clock at boot and may wobble by hundredths.
        process = psutil.Process(lock.pid)
        is_same = abs(process.create_time() - lock.process_started) < 2.0
        return bool(is_same and process.status() != psutil.STATUS_ZOMBIE)  # killed, but not yet waited for
    except psutil.NoSuchProcess:
        return False


def report_progress(db: Database, run_id: int, what: str, done: int, total: int) -> None:
    """Say how far a run is, for whoever watches it from elsewhere."""
    with db.transaction() as connection:
        connection.execute(
            update(stage_run)
            .where(stage_run.c.id == run_id)
            .values(progress_what=what, progress_done=done, progress_total=total)
        )


def finish(connection: Connection, run_id: int, report: Mapping[str, Any]) -> None:
    """Make a run the current one of its stage and release the lock, all in the transaction given."""
    stage = connection.execute(select(stage_run.c.stage).where(stage_run.c.id == run_id)).scalar_one()
    connection.execute(update(stage_run).where(stage_run.c.stage == stage).values(is_current=False))
    connection.execute(
        update(stage_run).where(stage_run.c.id == run_id).values(is_current=True, report=dict(report))
    )
    _release(connection, run_id, "done", None)
    if stage in ORDER:
        refresh_places(connection)


def refresh_places(connection: Connection, seqs: Sequence[int] | None = None) -> None:
    """Bring what lists show of these rows (None: of all) in line with what the current runs decided."""
    places.refresh(connection, _current_ids(connection), seqs)


def trail_of_new_rows(connection: Connection) -> str:
    """Give the trail of a row that no stage has seen."""
    return "".join(
        places.NEVER_RAN if run_id is None else places.UNSEEN for _, run_id in _current_ids(connection)
    )


def _current_ids(connection: Connection) -> list[tuple[str, int | None]]:
    """Give every stage that judges rows with its current run."""
    query = select(stage_run.c.stage, stage_run.c.id)
    found = connection.execute(query.where(stage_run.c.stage.in_(ORDER), stage_run.c.is_current.is_(True)))
    ids = {stage: int(run_id) for stage, run_id in found}
    return [(stage, ids.get(stage)) for stage in ORDER]


def stop(db: Database, run_id: int, state: str, message: str) -> None:
    """Close a run that did not finish ("failed" or "cancelled") and release the lock."""
    with db.transaction() as connection:
        _release(connection, run_id, state, message)


def _release(connection: Connection, run_id: int, state: str, message: str | None) -> None:
    connection.execute(
        update(stage_run)
        .where(stage_run.c.id == run_id)
        .values(state=state, message=message, finished_at=now())
    )
    connection.execute(delete(stage_lock).where(stage_lock.c.run_id == run_id))


def current_in(connection: Connection, stage: str) -> Row[Any] | None:
    return connection.execute(
        select(stage_run).where(stage_run.c.stage == stage, stage_run.c.is_current.is_(True))
    ).first()


def current(db: Database, stage: str) -> Row[Any] | None:
    """Give the run of this stage that counts, if there is one."""
    with db.reading() as connection:
        return current_in(connection, stage)


def read(db: Database, run_id: int) -> Row[Any]:
    with db.reading() as connection:
        return connection.execute(select(stage_run).where(stage_run.c.id == run_id)).one()


def running(db: Database) -> list[Row[Any]]:
    """Give the runs whose process is alive."""
    with db.reading() as connection:
        locks = connection.execute(select(stage_lock)).all()
        alive = [lock.run_id for lock in locks if _is_alive(lock)]
        return list(connection.execute(select(stage_run).where(stage_run.c.id.in_(alive))))


@dataclass(frozen=True, slots=True)
class InputRows:
    """The rows a stage reads, in order: those the stage before it kept or left pending."""

    stage_before: str  # "samples" when no stage ran before
    seqs: list[int]
    ids: list[str]
    positions: list[int]

    @property
    def hash(self) -> str:
        """Name these rows, their order included."""
        state = sha256(self.stage_before.encode())
        for id, position in zip(self.ids, self.positions, strict=True):
            state.update(f"{id}{position};".encode())
        return state.hexdigest()[:32]


def input_rows(db: Database, stage: str) -> InputRows:
    """Give the rows that enter a stage. Stages that never ran are passed over."""
    before = ORDER[: ORDER.index(stage)] if stage in ORDER else ORDER
    with db.reading() as connection:
        for name in reversed(before):
            run = current_in(connection, name)
            if run is not None:
                return _rows_left_by(connection, run)
        rows = connection.execute(select(sample.c.seq, sample.c.id).order_by(sample.c.seq)).all()
    seqs = [row.seq for row in rows]
    return InputRows("samples", seqs, [row.id for row in rows], list(seqs))


def _rows_left_by(connection: Connection, run: Row[Any]) -> InputRows:
    rows = connection.execute(
        select(outcome.c.seq, sample.c.id, outcome.c.position)
        .join(sample, sample.c.seq == outcome.c.seq)
        .where(outcome.c.run_id == run.id, outcome.c.state != "dropped")
        .order_by(outcome.c.position)
    ).all()
    return InputRows(run.stage, [r.seq for r in rows], [r.id for r in rows], [r.position for r in rows])
