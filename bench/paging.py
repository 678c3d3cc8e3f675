"""A page of 50 samples of 110,000: by key, as the store does, and by offset. p50 and p95 in ms."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import select

from curation.records import Sample, digest
from curation.store import samples
from curation.store.database import Database
from curation.store.tables import sample

ROWS, DRAWS, PAGE = 110_000, 60, 50


def run() -> list[str]:
    with TemporaryDirectory() as folder:
        db = Database(Path(folder) / "w.sqlite")
        began = time.perf_counter()
        for start in range(0, ROWS, 5_000):
            with db.transaction() as connection:
                samples.add(connection, [_sample(n) for n in range(start, start + 5_000)])
        insert = time.perf_counter() - began
        draw = random.Random(976)
        by_key = _timed(lambda: _page(db, select(sample).where(sample.c.seq > draw.randrange(ROWS))))
        by_offset = _timed(lambda: _page(db, select(sample).offset(draw.randrange(ROWS))))
        db.close()
    return [f"insert {ROWS:,} rows: {insert:.1f} s", f"by key:    {by_key}", f"by offset: {by_offset}"]


def _page(db: Database, query: object) -> None:
    with db.reading() as connection:
        connection.execute(query.order_by(sample.c.seq).limit(PAGE)).all()  # type: ignore[attr-defined]


def _timed(thing: Callable[[], None]) -> str:
    times = []
    for _ in range(DRAWS):
        began = time.perf_counter()
        thing()
        times.append(1000 * (time.perf_counter() - began))
    times.sort()
    return f"p50 {times[DRAWS // 2]:.2f} ms, p95 {times[int(DRAWS * 0.95)]:.2f} ms"


def _sample(n: int) -> Sample:
    return Sample(digest(str(n)), f"Task {n}", "", "x = 1\n" * 250, "set", n, "set", "MIT", "imported")
