"""Reading the insights: counts of every chart, and the rows behind each bar a page at a time.

The arrays of the current result are held as numbers (some 15 MB for 110,000 rows), so any filter, count and
page is arithmetic. Where rows stand (kept, dropped, ...) is read from the store, as it is now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.errors import DamagedWorkspace, WrongInput
from curation.insight_tables import Tables, read_tables
from curation.insights import STAGE, hundredths
from curation.store import insight_rows, matches, runs, samples
from curation.store.browsing import change_stamp
from curation.store.database import Database, Row
from curation.store.facts import Bar, Facts, Mask, Order, Range, Rows, View
from curation.workspace import Workspace

FACETS = ("name", "place", "category", "language")
MEASURES = ("score", "problem", "solution")  # score: in hundredths; the others: tokens
MILLIONTHS = 1_000_000  # of a score, when rows are ordered by it
LONGEST = 999_999  # tokens: what an address can say
TOKEN_STARTS = range(0, 701, 20)  # Magicoder's bins of 20 tokens up to 700, and one for the rest
SCORE_AXIS = 50  # hundredths that the chart of scores reaches at least, as Magicoder's
PANELS = 5  # sets of which the chart of scores shows one below the other

SORTS = {
    "similar": ("Most like the benchmark first", Order("fine", True)),
    "import": ("Import order", Order()),
    "long": ("Longest solution first", Order("solution", True)),
    "short": ("Shortest solution first", Order("solution")),
}


@dataclass(frozen=True)
class InsightQuery:
    """Which rows are looked at, and in which order. None: any. Ranges take in both their ends."""

    name: str | None = None  # of the set
    place: str | None = None
    category: str | None = None
    language: str | None = None
    score: Range | None = None  # hundredths
    problem: Range | None = None  # tokens
    solution: Range | None = None  # tokens
    sort: str = "similar"

    def __post_init__(self) -> None:
        """Raises WrongInput when the order is unknown."""
        if self.sort not in SORTS:
            raise WrongInput(f"There is no order {self.sort!r}; choose one of {', '.join(SORTS)}")

    @property
    def filters(self) -> dict[str, str]:
        return {name: value for name in FACETS if (value := getattr(self, name)) is not None}

    @property
    def ranges(self) -> dict[str, Range]:
        return {name: value for name in MEASURES if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class SetScores:
    """The scores of one set: how many of its rows are in the view, their mean, and a bar a hundredth."""

    name: str
    rows: int
    mean: float
    bars: list[Bar]


@dataclass(frozen=True)
class Lengths:
    """The tokens of one side of the rows: their mean, and bars of 20, the last open to above."""

    mean: float
    bars: list[Bar]


@dataclass(frozen=True)
class InsightCounts:
    """What the charts show of a view. Each leaves its own filter aside; that of scores the set's, too."""

    total: int  # rows that all filters let through
    facets: dict[str, dict[str, int]]
    scores: list[SetScores]  # the sets with the most rows, the chosen one among them
    sets: int  # how many sets there are
    problem: Lengths
    solution: Lengths


@dataclass(frozen=True)
class InsightLine:
    """A row with what was measured of it, and the task that it resembles most by its words."""

    sample: Row[Any]  # the whole row
    task: Row[Any] | None  # the whole benchmark item
    score: float
    problem: int
    solution: int
    language: str
    category: str | None


class InsightBrowser:
    """The current result as numbers."""

    def __init__(self, db: Database, run: Row[Any], tables: Tables) -> None:
        self._db, self.run, self._tables = db, run, tables
        self.report: Mapping[str, Any] = run.report
        self._scores = tables.arrays["scores"]
        self._hundredths = hundredths(self._scores)
        self._facts: tuple[str, Facts] | None = None
        top = int(self._hundredths.max(initial=0))
        self.score_axis = max(SCORE_AXIS, -(-top // 10) * 10)  # to the next tenth

    @classmethod
    def open(cls, workspace: Workspace) -> "InsightBrowser | None":
        """Open the current result; None when the insights never ran.

        Raises DamagedWorkspace when its files are gone or are not what their manifest says.
        """
        run = runs.current(workspace.database, STAGE)
        if run is None:
            return None
        folder = workspace.insights / run.report["folder"]
        tables = read_tables(folder)
        if tables is None:
            raise DamagedWorkspace(
                f"{folder} is missing or damaged; remove it and run `python -m curation insights` again"
            )
        return cls(workspace.database, run, tables)

    @property
    def has_categories(self) -> bool:
        return "categories" in self._tables.arrays

    def came_since(self) -> int:
        """Count the rows that came to the measured sets since."""
        seqs = self._tables.arrays["seqs"]
        return insight_rows.count_after(self._db, int(seqs[-1]), self.run.settings["sets"])

    # --- counts ---

    def counts(self, query: InsightQuery) -> InsightCounts:
        """Count the rows of a view as every chart shows them."""
        facts = self._current()
        view = View(facts, query.filters, query.ranges)
        facets = {name: view.counts(name) for name in FACETS}
        return InsightCounts(
            int(view.mask().sum()),
            facets,
            self._score_panels(facts, query),
            len(facts.values["name"]),
            self._lengths_of(view, "problem"),
            self._lengths_of(view, "solution"),
        )

    def _lengths_of(self, view: View, side: str) -> Lengths:
        tokens = self._tables.arrays[f"{side}_tokens"][view.mask(without=side)]
        return Lengths(float(tokens.mean()) if len(tokens) else 0.0, view.histogram(side, TOKEN_STARTS))

    def _score_panels(self, facts: Facts, query: InsightQuery) -> list[SetScores]:
        others = View(
            facts,
            {name: value for name, value in query.filters.items() if name != "name"},
            {name: value for name, value in query.ranges.items() if name != "score"},
        ).mask()
        largest = list(facts.counts("name", others))
        shown = largest[:PANELS]
        if query.name in largest[PANELS:]:
            shown = [*shown[:-1], str(query.name)]
        return [self._scores_of(facts, name, others & facts.holding("name", name)) for name in shown]

    def _scores_of(self, facts: Facts, name: str, mask: Mask) -> SetScores:
        bars = facts.histogram("score", mask, range(self.score_axis + 1))
        scores = self._scores[mask].astype(np.float64)
        return SetScores(name, len(scores), float(scores.mean()), bars)

    # --- rows ---

    def rows_of(
        self, query: InsightQuery, after: str | None = None, before: str | None = None, size: int = 25
    ) -> tuple[list[InsightLine], Rows]:
        """Give the rows of a view after or before a key, in its order. A damaged key gives the first page."""
        facts = self._current()
        mask = View(facts, query.filters, query.ranges).mask()
        page = facts.page(mask, SORTS[query.sort][1], after, before, size)
        return self._lines(page.seqs), page

    def line(self, id: str) -> InsightLine | None:
        """Give one row; None when it was not measured."""
        row = samples.find(self._db, id)
        seqs = self._tables.arrays["seqs"]
        if row is None or seqs[min(int(np.searchsorted(seqs, row.seq)), len(seqs) - 1)] != row.seq:
            return None
        return self._lines([row.seq])[0]

    def _lines(self, seqs: Sequence[int]) -> list[InsightLine]:
        arrays, about = self._tables.arrays, self._tables.manifest
        places = np.searchsorted(arrays["seqs"], np.array(seqs, dtype=np.int64))
        tasks = matches.tasks(self._db, {int(arrays["items"][place]) for place in places})
        return [
            InsightLine(
                row,
                tasks.get(int(arrays["items"][place])),
                float(arrays["scores"][place]),
                int(arrays["problem_tokens"][place]),
                int(arrays["solution_tokens"][place]),
                about["languages"][arrays["languages"][place]],
                about["categories"][arrays["categories"][place]] if self.has_categories else None,
            )
            for row, place in zip(samples.read(self._db, seqs), places, strict=True)
        ]

    # --- numbers ---

    def _current(self) -> Facts:
        """Give the facts of all rows, read anew when a row may stand elsewhere."""
        stamp = change_stamp(self._db)
        known = self._facts
        if known is not None and known[0] == stamp:
            return known[1]
        facts = self._read()
        self._facts = (stamp, facts)
        return facts

    def _read(self) -> Facts:
        arrays, about = self._tables.arrays, self._tables.manifest
        now = insight_rows.places(self._db)
        seqs = arrays["seqs"].tolist()
        none = [""] * len(seqs)
        fine = np.rint(self._scores.astype(np.float64) * MILLIONTHS).astype(np.int64)
        categories = _named(arrays["categories"], about["categories"]) if self.has_categories else none
        rows = zip(
            seqs,
            _named(arrays["sets"], about["sets"]),
            [now.get(seq, "") for seq in seqs],
            categories,
            _named(arrays["languages"], about["languages"]),
            self._hundredths.tolist(),
            np.minimum(arrays["problem_tokens"], LONGEST).tolist(),
            np.minimum(arrays["solution_tokens"], LONGEST).tolist(),
            fine.tolist(),
            strict=True,
        )
        return Facts(rows, FACETS, (*MEASURES, "fine"))


def _named(codes: npt.NDArray[Any], names: Sequence[str]) -> list[str]:
    return [names[code] for code in codes.tolist()]
