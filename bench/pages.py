"""What pages ask of a workspace of 110,000 samples and 450,000 pairs: p50, p95 and maximum in ms.

Random filters, searches, orders and next pages, threshold moves and pages of pairs, beside what tables of
other tools do: LIMIT with OFFSET, and LIKE '%word%'. The first counts after a change are timed apart.
"""

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import func, select

from curation.pair_browser import PairBrowser
from curation.store import browsing
from curation.store.browsing import FACETS, SORTS, SampleQuery
from curation.store.tables import sample, sample_place
from curation.workspace import Workspace
from tests.big_workspace import build

DRAWS = 300
RANDOM_SEED = 976
FOLDER = "WINNOW_BENCH_WORKSPACE"  # a workspace that tests.big_workspace built, to save its minute

Times = dict[str, list[tuple[float, float]]]  # ms on the clock, ms of processor


def run() -> list[str]:
    with TemporaryDirectory() as folder:
        known = os.environ.get(FOLDER)
        began = time.perf_counter()
        workspace = Workspace(Path(known)) if known else build(Path(folder) / "w")
        lines = [] if known else [f"built in {time.perf_counter() - began:.0f} s"]
        times: Times = defaultdict(list)
        chance = random.Random(RANDOM_SEED)
        _samples(workspace, chance, times)
        _counts(workspace, times)
        _pairs(workspace, chance, times)
        _peers(workspace, chance, times)
        workspace.database.close()
    return lines + [line_of(name, taken) for name, taken in times.items()]


def line_of(name: str, taken: list[tuple[float, float]]) -> str:
    clock, cpu = (sorted(column) for column in zip(*taken, strict=True))
    p50, p95, busy = clock[len(clock) // 2], clock[int(len(clock) * 0.95)], cpu[int(len(cpu) * 0.95)]
    return (
        f"{name:40} p50 {p50:7.2f}   p95 {p95:7.2f}   max {clock[-1]:7.2f} ms, "
        f"processor p95 {busy:7.2f} ms, of {len(taken)}"
    )


def timed(times: Times, name: str, thing: Callable[[], Any]) -> Any:
    began, cpu = time.perf_counter(), time.process_time()
    result = thing()
    times[name].append((1000 * (time.perf_counter() - began), 1000 * (time.process_time() - cpu)))
    return result


def _words(workspace: Workspace, chance: random.Random) -> list[str]:
    """Draw words as often as they stand in the texts: common ones mostly, rare ones, too."""
    with workspace.database.reading() as connection:
        seqs = [chance.randrange(1, 110_000) for _ in range(DRAWS)]
        texts = connection.execute(select(sample.c.response).where(sample.c.seq.in_(seqs))).scalars()
        return [chance.choice(text.split()[2:-2] or ["return"]) for text in texts]


def _query(chance: random.Random, values: dict[str, dict[str, int]], words: list[str]) -> SampleQuery:
    filters = {
        field: chance.choice(list(values[field]))
        for field in FACETS
        if values[field] and chance.random() < 0.2
    }
    search = chance.choice(words) if chance.random() < 0.5 else ""
    return SampleQuery(search, **filters, sort=chance.choice(list(SORTS)))  # type: ignore[arg-type]


def _samples(workspace: Workspace, chance: random.Random, times: Times) -> None:
    db = workspace.database
    values = browsing.sample_facets(db, SampleQuery())
    words = _words(workspace, chance)
    for _ in range(DRAWS):
        query = _query(chance, values, words)
        kind = "search" if query.search else "filters"
        page = timed(times, f"page, {kind}", lambda q=query: browsing.sample_page(db, q))
        for _ in range(2):
            if page.after:
                after = page.after
                page = timed(
                    times, f"next page, {kind}", lambda q=query, a=after: browsing.sample_page(db, q, after=a)
                )
        timed(times, f"count, {kind}", lambda q=query: browsing.sample_count(db, q))
        timed(times, f"facets, {kind}", lambda q=query: browsing.sample_facets(db, q))
        if page.rows:
            seq = page.rows[len(page.rows) // 2].seq
            timed(times, f"neighbours, {kind}", lambda q=query, s=seq: browsing.neighbours(db, q, s))


def _counts(workspace: Workspace, times: Times) -> None:
    db = workspace.database
    for _ in range(40):
        browsing._known.clear()
        timed(times, "facets, after a change", lambda: browsing.sample_facets(db, SampleQuery()))
        timed(times, "funnel", lambda: browsing.funnel(db))
        browsing._known.clear()
        timed(times, "funnel, after a change", lambda: browsing.funnel(db))
        timed(times, "change stamp", lambda: browsing.change_stamp(db))
        file = timed(times, "files", lambda: browsing.file_rows(db))[0]
        timed(times, "unusable rows", lambda f=file: browsing.rejected_rows(db, f["hash"]))


def _pairs(workspace: Workspace, chance: random.Random, times: Times) -> None:
    for _ in range(20):
        browser = timed(times, "pairs: open", lambda: PairBrowser.open(workspace))
    for _ in range(DRAWS):
        low = round(chance.uniform(browser.floor, 1.0), chance.choice((2, 4)))
        order = chance.choice(("most", "least"))
        timed(times, "pairs: threshold moved", lambda t=low: browser.summary(t))
        number = browser.count(low)
        offset = chance.randrange(max(1, number))
        timed(times, "pairs: page", lambda t=low, o=order, a=offset: browser.page(t, order=o, offset=a))
        decision = chance.choice(("drop", "ask", "over budget"))
        timed(times, "pairs: count by decision", lambda d=decision: browser.count(browser.floor, 1.0, d))
        offset = chance.randrange(max(1, browser.count(browser.floor, 1.0, decision)))
        timed(times, "pairs: page by decision",
               lambda d=decision, a=offset: browser.page(browser.floor, offset=a, decision=d))  # fmt: skip
        number = browser.summary(low).clusters
        offset = chance.randrange(max(1, number))
        groups = timed(times, "pairs: clusters", lambda t=low, a=offset: browser.clusters(t, a))
        if groups:
            timed(times, "pairs: one cluster", lambda t=low, s=groups[0].seq: browser.cluster(t, s))
    for _ in range(40):
        timed(times, "pairs: histogram", browser.histogram)
        browser._states = None
        timed(times, "pairs: clusters, after a change", lambda: browser.clusters(0.8))


def _peers(workspace: Workspace, chance: random.Random, times: Times) -> None:
    words = _words(workspace, chance)
    with workspace.database.reading() as connection:
        for _ in range(60):
            offset = select(sample).order_by(sample.c.seq).offset(chance.randrange(110_000)).limit(50)
            timed(times, "peer: OFFSET in import order", lambda q=offset: connection.execute(q).all())
            wide = select(sample).join(sample_place, sample_place.c.seq == sample.c.seq)
            by_length = (
                wide.order_by(func.length(sample.c.response)).offset(chance.randrange(110_000)).limit(50)
            )
            if len(times["peer: OFFSET by length of response"]) < 12:
                timed(times, "peer: OFFSET by length of response",
                       lambda q=by_length: connection.execute(q).all())  # fmt: skip
            like = select(func.count()).where(sample.c.response.like(f"%{chance.choice(words)}%"))
            if len(times["peer: LIKE '%word%' count"]) < 12:
                timed(times, "peer: LIKE '%word%' count", lambda q=like: connection.execute(q).all())
