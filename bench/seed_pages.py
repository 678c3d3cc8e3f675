"""What pages ask of 100,000 seeds and 150,000 documents: p50, p95 and maximum in ms.

Goal (performance.md): p95 under 30 ms for any filter, search, order and next page. The first look after a
change is timed apart. Beside it what tables of other tools do: LIMIT with OFFSET, and LIKE '%word%'.
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

from bench.pages import Times, line_of, timed
from curation.store import seed_browsing as browsing
from curation.store.seed_browsing import DocumentQuery, SeedQuery
from curation.store.tables import document, seed, seed_place
from curation.workspace import Workspace
from tests.big_seeds import build

DRAWS = int(os.environ.get("WINNOW_BENCH_DRAWS", 300))
RANDOM_SEED = 976
FOLDER = "WINNOW_BENCH_SEEDS"  # a workspace that tests.big_seeds built, to save its minute

Query = SeedQuery | DocumentQuery


def run() -> list[str]:
    with TemporaryDirectory() as folder:
        known = os.environ.get(FOLDER)
        began = time.perf_counter()
        workspace = Workspace(Path(known)) if known else build(Path(folder) / "w")
        lines = [] if known else [f"built in {time.perf_counter() - began:.0f} s"]
        times: Times = defaultdict(list)
        chance = random.Random(RANDOM_SEED)
        _changed(workspace, times)
        _seeds(workspace, chance, times)
        _documents(workspace, chance, times)
        _whole(workspace, times)
        _peers(workspace, chance, times)
        workspace.database.close()
    return lines + [line_of(name, taken) for name, taken in times.items()]


def _changed(workspace: Workspace, times: Times) -> None:
    """Time what the first look after a change costs: all facts are read anew."""
    db = workspace.database
    for _ in range(7):
        browsing._tables.clear()
        timed(times, "seeds: first look after a change", lambda: browsing.seed_page(db, SeedQuery()))
        timed(
            times, "documents: first look after a change", lambda: browsing.document_page(db, DocumentQuery())
        )


def _seeds(workspace: Workspace, chance: random.Random, times: Times) -> None:
    db = workspace.database
    values = browsing.seed_counts(db, SeedQuery()).facets
    words = _words(workspace, chance)
    for _ in range(DRAWS):
        search = _search(chance, words)
        low = chance.randrange(1, 15)
        query = SeedQuery(
            search, **_filters(chance, values), sort=chance.choice(list(browsing.SEED_SORTS)),
            lines=(low, chance.randrange(low, 16)) if chance.random() < 0.3 else None,
        )  # fmt: skip
        kind = "search" if search else "filters"
        page = _pages(times, f"seeds, {kind}", lambda q=query, **k: browsing.seed_page(db, q, **k))
        timed(times, f"seeds, {kind}: counts", lambda q=query: browsing.seed_counts(db, q))
        if page:
            id = chance.choice(page).id
            timed(
                times, f"seeds, {kind}: neighbours", lambda q=query, i=id: browsing.seed_neighbours(db, q, i)
            )
        _again(times, f"seeds, {kind}", lambda q=query: browsing.seed_counts(db, q), bool(search))


def _documents(workspace: Workspace, chance: random.Random, times: Times) -> None:
    db = workspace.database
    values = browsing.document_counts(db, DocumentQuery()).facets
    paths = [row.path for row in browsing.document_page(db, DocumentQuery(), size=20_000)[0]]
    for _ in range(DRAWS):
        search = ""
        if chance.random() < 0.5:
            path = chance.choice(paths)
            at = chance.randrange(len(path))
            search = path[at : at + chance.randrange(1, 12)].strip()
        query = DocumentQuery(
            search, **_filters(chance, values), sort=chance.choice(list(browsing.DOCUMENT_SORTS))
        )
        kind = "search" if search else "filters"
        _pages(times, f"documents, {kind}", lambda q=query, **k: browsing.document_page(db, q, **k))
        timed(times, f"documents, {kind}: counts", lambda q=query: browsing.document_counts(db, q))
        _again(times, f"documents, {kind}", lambda q=query: browsing.document_counts(db, q), bool(search))


def _filters(chance: random.Random, values: Any) -> dict[str, Any]:
    return {name: chance.choice(list(found)) for name, found in values.items() if chance.random() < 0.2}


def _pages(times: Times, name: str, page: Callable[..., Any]) -> Any:
    """Go to the first page, two on, and one back; each is a visit of its own."""
    rows, about = timed(times, f"{name}: page", page)
    for _ in range(2):
        if about.after:
            rows, about = timed(times, f"{name}: next page", lambda a=about.after: page(after=a))
    if about.before:
        timed(times, f"{name}: previous page", lambda b=about.before: page(before=b))
    return rows


def _again(times: Times, name: str, counts: Callable[[], Any], is_search: bool) -> None:
    """Time the counts when nobody has looked for these words before."""
    if is_search:
        browsing._searches.clear()
        timed(times, f"{name}: counts, words not in memory", counts)


def _words(workspace: Workspace, chance: random.Random) -> list[str]:
    """Draw words as often as they stand in seeds: common ones mostly, rare ones, too."""
    with workspace.database.reading() as connection:
        seqs = [chance.randrange(1, 100_000) for _ in range(DRAWS)]
        query = select(seed.c.text).join(seed_place, seed_place.c.seed_id == seed.c.id)
        texts = connection.execute(query.where(seed_place.c.seq.in_(seqs))).scalars()
        return [chance.choice(text.split() or ["return"]) for text in texts]


def _search(chance: random.Random, words: list[str]) -> str:
    """Draw a search: none, a word, two, a phrase, or the beginning of a word."""
    kind = chance.random()
    if kind < 0.5:
        return ""
    one, two = chance.choices(words, k=2)
    if kind < 0.7:
        return one
    if kind < 0.8:
        return f"{one} {two}"
    return f'"{one}"' if kind < 0.9 else one[: chance.randrange(3, 6)]


def _whole(workspace: Workspace, times: Times) -> None:
    db = workspace.database
    with db.reading() as connection:
        for _ in range(40):
            timed(times, "stamp", lambda: browsing.seed_stamp(connection))
    for _ in range(20):
        timed(times, "harvests with their counts", lambda: browsing.harvest_rows(db))
        for word in ("return", "self", "ret", "is not None", '"return self"'):
            browsing._searches.clear()
            timed(times, f"seeds, search for {word}", lambda w=word: browsing.seed_page(db, SeedQuery(w)))
        for word in ("s", "src", ".py"):
            browsing._searches.clear()
            timed(
                times, f"documents, search for {word}",
                lambda w=word: browsing.document_page(db, DocumentQuery(w)),
            )  # fmt: skip
    for _ in range(5):
        timed(times, "ids of all seeds", lambda: browsing.seed_ids(db, SeedQuery(sort="mixed")))


def _peers(workspace: Workspace, chance: random.Random, times: Times) -> None:
    words = _words(workspace, chance)
    with workspace.database.reading() as connection:
        for _ in range(8):
            place, like = chance.randrange(100_000), f"%{chance.choice(words)}%"
            for name, query in {
                "OFFSET by language": select(seed).order_by(seed.c.language).offset(place).limit(50),
                "LIKE '%word%', 50 seeds": select(seed).where(seed.c.text.like(like)).limit(50),
                "LIKE '%word%', count of seeds": select(func.count()).where(seed.c.text.like(like)),
                "GROUP BY source": select(seed.c.source, func.count()).group_by(seed.c.source),
                "OFFSET of documents by size": select(document)
                .order_by(document.c.bytes)
                .offset(place)
                .limit(50),
                "LIKE '%word%', count of documents": select(func.count()).where(document.c.path.like(like)),
            }.items():
                timed(times, f"peer: {name}", lambda q=query: connection.execute(q).all())
