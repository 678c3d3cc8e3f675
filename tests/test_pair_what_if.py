"""What another threshold or band would do, held against the keep rule walked row by row."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pytest

from curation.errors import WrongInput
from curation.keepers import Graph, Policy, Zone, decide
from curation.pair_browser import Only, PairBrowser
from curation.pair_what_if import REST, WhatIf
from curation.workspace import Workspace
from tests.big_workspace import build

ROWS, PAIRS = 400, 1_500


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PairBrowser]:
    workspace: Workspace = build(tmp_path_factory.mktemp("what-if") / "built", ROWS, PAIRS)
    opened = PairBrowser.open(workspace)
    assert opened is not None
    yield opened
    workspace.database.close()


def edges(browser: PairBrowser, low: float, high: float = 2.0) -> list[tuple[int, int, float]]:
    found = browser.pairs[(browser.pairs["cosine"] >= np.float32(low)) & (browser.pairs["cosine"] < high)]
    return [(int(p["left"]), int(p["right"]), float(p["cosine"])) for p in found]


def walked(browser: PairBrowser, threshold: float) -> tuple[set[int], set[int]]:
    """Walk the rows one by one. Gives those that stay and those that fall."""
    near = defaultdict(set)
    for left, right, _ in edges(browser, threshold):
        near[left].add(right)
        near[right].add(left)
    kept: set[int] = set()
    for place in np.argsort(browser.facts.rows["rank"]).tolist():
        if not near[place] & kept:
            kept.add(place)
    return kept, set(range(len(browser.seqs))) - kept


@pytest.mark.parametrize("threshold", [0.7, 0.75, 0.8, 0.85, 0.9, 0.99])
def test_rows_gained_and_lost_are_those_that_the_rule_decides_otherwise(
    browser: PairBrowser, threshold: float
) -> None:
    _, now = walked(browser, browser.threshold)
    _, then = walked(browser, threshold)
    change = WhatIf(browser).change(threshold)
    assert set(change.gained.tolist()) == now - then
    assert set(change.lost.tolist()) == then - now
    # A higher threshold takes rows out, too: a row that comes back may be the keeper of another one.
    assert len(change.gained) + len(change.lost) > 0 or threshold == 0.8


def test_a_row_that_would_fall_is_shown_with_the_closest_row_that_stays(browser: PairBrowser) -> None:
    what_if, rank = WhatIf(browser), browser.facts.rows["rank"]
    lost = what_if.change(0.7).lost
    kept, _ = walked(browser, 0.7)
    place = {int(seq): n for n, seq in enumerate(browser.seqs)}
    moved = what_if.moved(lost.tolist(), 0.7)
    assert [place[one.sample.seq] for one in moved] == lost.tolist()
    for one in moved:
        own, keeper = place[one.sample.seq], place[one.keeper.seq]
        near = [
            c for a, b, c in edges(browser, 0.7)
            if own in (a, b) and (other := b if a == own else a) in kept and rank[other] < rank[own]
        ]  # fmt: skip
        assert keeper in kept and one.cosine == pytest.approx(max(near), abs=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.8), (0.8, 0.88), (0.75, 0.75), (0.7, 1.0)])
def test_a_band_asks_what_the_stage_would_ask(browser: PairBrowser, low: float, high: float) -> None:
    found = edges(browser, low)
    graph = Graph(
        len(browser.seqs),
        np.array([a for a, _, _ in found]), np.array([b for _, b, _ in found]),
        np.array([c for *_, c in found]),
        np.array([Zone.DROP if c >= np.float32(high) else Zone.BAND for *_, c in found]),
    )  # fmt: skip
    order = np.argsort(browser.facts.rows["rank"]).tolist()
    decided = decide(graph, order, Policy((low + high) / 2, 10**9), {})
    bands, steps = WhatIf(browser).bands, browser.steps
    at = steps.index(low), steps.index(high)
    fates = Counter(decided.fate.tolist())
    assert (bands.sure[at], bands.gray[at]) == (fates[1], fates[4])
    assert bands.questions[at] == len(decided.asked)


@pytest.mark.parametrize("most", [2, 12])
def test_the_matrix_counts_every_pair_and_every_row_that_repeats_another_source(
    browser: PairBrowser, most: int
) -> None:
    words = browser.facts.words["source"]
    source = [words[code] for code in browser.facts.rows["source"]]
    matrix = WhatIf(browser).matrix(0.8, most)
    assert (REST in matrix.sources) == (len(words) > most)
    name = {word: word if word in matrix.sources else REST for word in words}
    pairs: Counter[tuple[str, str]] = Counter()
    repeats = defaultdict(set)
    for left, right, _ in edges(browser, 0.8):
        one, other = name[source[left]], name[source[right]]
        pairs[one, other] += 1
        if one != other:
            pairs[other, one] += 1
        repeats[one, other].add(left)
        repeats[other, one].add(right)
    for a, one in enumerate(matrix.sources):
        assert matrix.rows[a] == sum(name[word] == one for word in source)
        for b, other in enumerate(matrix.sources):
            assert matrix.pairs[a, b] == pairs[one, other]
            assert matrix.repeated[a, b] == len(repeats[one, other])


def test_below_the_floor_nothing_is_known(browser: PairBrowser) -> None:
    for ask in (WhatIf(browser).change, WhatIf(browser).matrix):
        with pytest.raises(WrongInput, match="floor"):
            ask(0.6)


# --- filters ---


def is_wanted(browser: PairBrowser, ends: tuple[int, int], only: Only) -> bool:
    def word(place: int, kind: str) -> str:
        return browser.facts.words[kind][browser.facts.rows[kind][place]]

    sources = [word(place, "source") for place in ends]
    for kind in ("method", "language"):
        wanted = getattr(only, kind)
        if wanted and wanted not in [word(place, kind) for place in ends]:
            return False
    if only.source and only.against:
        return sorted(sources) == sorted([only.source, only.against])
    return all(not wanted or wanted in sources for wanted in (only.source, only.against))


FILTERS = [
    Only(source="evol_instruct_80k.jsonl"),
    Only(source="evol_instruct_80k.jsonl", against="oss_instruct_75k.jsonl.gz"),
    Only(source="evol_instruct_80k.jsonl", against="evol_instruct_80k.jsonl"),
    Only(method="oss-instruct"),
    Only(method="comment-function", against="installed packages"),
    Only(language="unknown", source="open_platypus.parquet"),
    Only(source="nowhere"),
]


@pytest.mark.parametrize("only", FILTERS, ids=str)
@pytest.mark.parametrize("order", ["most", "least"])
def test_filters_give_the_pairs_of_such_rows_page_by_page(
    browser: PairBrowser, only: Only, order: str
) -> None:
    wanted = {(a, b) for a, b, _ in edges(browser, 0.75) if is_wanted(browser, (a, b), only)}
    place = {int(seq): n for n, seq in enumerate(browser.seqs)}
    assert browser.count(0.75, only=only) == len(wanted)
    lines = []
    for offset in range(0, len(wanted), 50):
        lines += browser.page(0.75, 1.0, order, offset, 50, only=only)
    assert {(place[line.left.seq], place[line.right.seq]) for line in lines} == wanted
    assert len(lines) == len(wanted)
    cosines = [line.cosine for line in lines]
    assert cosines == pytest.approx(sorted(cosines, reverse=order == "most"), abs=1e-6)
    assert bool(wanted) == (only.source != "nowhere")


@pytest.mark.parametrize("decision", ["ask", "drop", "over budget"])
def test_filters_and_decisions_go_together(browser: PairBrowser, decision: str) -> None:
    only = Only(source="evol_instruct_80k.jsonl")
    everything = browser.page(0.7, 1.0, "most", 0, 10_000, decision)
    place = {int(seq): n for n, seq in enumerate(browser.seqs)}
    ends = [(place[line.left.seq], place[line.right.seq]) for line in everything]
    wanted = [pair for pair in ends if is_wanted(browser, pair, only)]
    found = browser.page(0.7, 1.0, "most", 0, 10_000, decision, only)
    assert sorted((place[line.left.seq], place[line.right.seq]) for line in found) == sorted(wanted)
    assert {line.decision for line in found} <= {decision}
    assert browser.count(0.7, 1.0, decision, only) == len(wanted) < len(everything) or not everything
