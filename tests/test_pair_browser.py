"""The page of pairs: any threshold, any page and any cluster say what a slow look at every pair says."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from curation import near_duplicates, pair_settings, review
from curation.errors import DamagedWorkspace, WrongInput
from curation.keep_walk import MET, walk
from curation.pair_browser import BELOW, NOT_DECIDING, PairBrowser
from curation.pair_tables import steps_from
from curation.store import decisions, runs, samples
from curation.store.tables import stage_run
from curation.workspace import Workspace
from tests.big_workspace import build

ROWS, PAIRS = 400, 1_500
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "built"
    build(folder, ROWS, PAIRS).database.close()
    return folder


@pytest.fixture(scope="module")
def shared(built: Path) -> Iterator[Workspace]:
    workspace = Workspace(built)
    yield workspace
    workspace.database.close()


@pytest.fixture
def workspace(built: Path, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(built, tmp_path / "w")
    opened = Workspace(tmp_path / "w")
    yield opened
    opened.database.close()


def opened(workspace: Workspace) -> PairBrowser:
    browser = PairBrowser.open(workspace)
    assert browser is not None
    return browser


class Slow:
    """Every pair of the run in memory, looked at one by one."""

    def __init__(self, workspace: Workspace) -> None:
        (file,) = workspace.pairs.glob("*/pairs.npy")
        browser = opened(workspace)
        self.run_id = browser.run_id
        self.outcomes = {o.seq: o for o in decisions.outcomes(workspace.database, browser.run_id)}
        seqs = sorted(self.outcomes)
        self.pairs = [
            (seqs[left], seqs[right], float(cosine)) for left, right, cosine in np.load(file).tolist()
        ]
        self.rows = {row.seq: row for row in samples.read(workspace.database, seqs)}

    def at_least(self, threshold: float) -> list[tuple[int, int, float]]:
        return [pair for pair in self.pairs if pair[2] >= np.float32(threshold)]

    def groups(self, threshold: float) -> list[list[int]]:
        group_of: dict[int, set[int]] = {}
        for left, right, _ in self.at_least(threshold):
            merged = group_of.get(left, {left}) | group_of.get(right, {right})
            group_of.update(dict.fromkeys(merged, merged))
        found = {id(group): sorted(group) for group in group_of.values()}
        return sorted(found.values(), key=lambda group: (-len(group), group[0]))

    def dropped(self, threshold: float) -> int:
        """Walk the rows, longest response first, and drop each that resembles a kept one."""
        near: dict[int, set[int]] = {}
        for left, right, _ in self.at_least(threshold):
            near.setdefault(left, set()).add(right)
            near.setdefault(right, set()).add(left)
        kept: set[int] = set()
        for row in sorted(self.rows.values(), key=lambda row: (-len(row.response), row.id)):
            if not near.get(row.seq, set()) & kept:
                kept.add(row.seq)
        return len(self.rows) - len(kept)


# --- thresholds ---


@pytest.mark.parametrize("threshold", [0.7, 0.75, 0.8, 0.88, 0.93, 1.0])
def test_a_threshold_gives_what_a_slow_walk_gives(shared: Workspace, threshold: float) -> None:
    slow, found = Slow(shared), opened(shared).summary(threshold)
    groups = slow.groups(threshold)
    assert found.pairs == len(slow.at_least(threshold))
    assert (found.clusters, found.rows_in_clusters) == (len(groups), sum(map(len, groups)))
    assert found.largest_cluster == max(map(len, groups), default=0)
    assert found.dropped_by_paper_rule == slow.dropped(threshold)


def test_the_run_s_own_threshold_gives_its_report(shared: Workspace) -> None:
    result = near_duplicates.near_duplicates(shared, pair_settings.Settings())
    assert result.unchanged
    found = opened(shared).summary(0.8)
    assert (found.pairs, found.clusters) == (result.report["pairs"], result.report["clusters"])
    assert (
        opened(shared).pairs_at_floor
        == result.report["pairs_at_floor"]
        == found.pairs + opened(shared).count(0.7, 0.8)
    )


def test_between_two_steps_the_pairs_are_exact_and_the_groups_of_the_lower_one(shared: Workspace) -> None:
    browser, slow = opened(shared), Slow(shared)
    found = browser.summary(0.8049)
    assert found.pairs == len(slow.at_least(0.8049)) < browser.summary(0.8).pairs
    assert found.clusters == browser.summary(0.8).clusters


@pytest.mark.parametrize("threshold", [0.69, 1.01, -1.0, float("nan")])
def test_a_threshold_that_was_not_looked_at_is_told(shared: Workspace, threshold: float) -> None:
    with pytest.raises(WrongInput, match=f"{threshold}.*0.7"):
        opened(shared).summary(threshold)


def test_the_histogram_counts_every_pair_once(shared: Workspace) -> None:
    browser, slow = opened(shared), Slow(shared)
    bins = browser.histogram()
    assert sum(number for _, _, number in bins) == browser.pairs_at_floor
    assert [low for low, _, _ in bins] == steps_from(0.7)[:-1]
    assert all(high == low for (_, high, _), (low, _, _) in pairwise(bins))
    low, high, number = bins[10]
    assert number == len(slow.at_least(low)) - len(slow.at_least(high)) > 0


def test_rows_are_dropped_as_one_by_one_in_random_graphs() -> None:
    noise = np.random.default_rng(976)
    for _ in range(50):
        size = int(noise.integers(2, 30))
        better, worse = np.sort(noise.integers(0, size, (2, int(noise.integers(1, 60)))), axis=0)
        better, worse = better[better != worse], worse[better != worse]
        kept: set[int] = set()
        for row in range(size):  # a smaller number is the better row
            if not kept & {int(b) for b, w in zip(better, worse, strict=True) if w == row}:
                kept.add(row)
        walked = walk(_met(better, worse), size, levels=1)
        assert set(np.flatnonzero(~walked.falls[:, 0]).tolist()) == kept


def _met(better: np.ndarray, worse: np.ndarray) -> Callable[[], list[np.ndarray]]:
    met = np.zeros(len(better), MET)
    met["earlier"], met["later"] = better, worse
    return lambda: [met]


# --- pages ---


@pytest.mark.parametrize("order", ["most", "least"])
@pytest.mark.parametrize(("low", "high"), [(0.7, 1.0), (0.75, 0.85), (0.0, 0.72), (0.9, 0.8)])
def test_pages_hold_every_pair_once_by_cosine(shared: Workspace, order: str, low: float, high: float) -> None:
    browser, slow = opened(shared), Slow(shared)
    wanted = (
        slow.at_least(low) if high == 1.0 else [p for p in slow.at_least(low) if p not in slow.at_least(high)]
    )
    found = []
    while page := browser.page(low, high, order, offset=len(found), size=300):
        found += page
    assert browser.count(low, high) == len(found)
    assert browser.page(low, high, order, offset=5, size=10) == found[5:15]
    assert Counter((line.left.seq, line.right.seq) for line in found) == Counter(pair[:2] for pair in wanted)
    cosines = [line.cosine for line in found]
    rounded = [round(cosine, 6) for cosine in cosines]
    assert rounded == sorted(rounded, reverse=order == "most")


def test_a_line_says_what_was_decided(shared: Workspace) -> None:
    browser, slow = opened(shared), Slow(shared)
    asked = {item["item"] for item in review.items(shared) if item["kind"] == pair_settings.STAGE}
    lines = browser.page(0.7, size=PAIRS * 2)
    assert {line.decision for line in lines} >= {BELOW, NOT_DECIDING, "drop", "ask"}
    for line in lines:
        (row,) = [
            pair for pair in decisions.pairs_of(shared.database, browser.run_id, line.left.seq)
            if pair.right_seq == line.right.seq and pair.left_seq == line.left.seq
        ] or [None]  # fmt: skip
        if row is None:
            assert line.decision == (BELOW if line.cosine < np.float32(0.8) else NOT_DECIDING)
        else:
            assert line.decision == row.decision
            assert (line.cosine, line.response_cosine) == (row.cosine, row.response_cosine)
        if line.decision == "ask":
            assert line.item in asked
        assert line.left.response == slow.rows[line.left.seq].response


def test_decisions_are_paged_apart_and_follow_votes(workspace: Workspace) -> None:
    near_duplicates.near_duplicates(workspace, pair_settings.Settings(budget=20))
    browser = opened(workspace)
    everything = browser.page(browser.floor, size=PAIRS * 2)
    told = Counter(line.decision for line in everything)
    assert told["over budget"] > 0 and told["drop"] > 0 and told["ask"] > 0
    for decision in ("drop", "ask", "over budget"):
        for order in ("most", "least"):
            lines = browser.page(0.7, order=order, size=PAIRS, decision=decision)
            assert {line.decision for line in lines} == {decision}
            assert len(lines) == browser.count(0.7, 1.0, decision) == told[decision]
            cosines = [line.cosine for line in lines]
            assert cosines == sorted(cosines, reverse=order == "most")
        assert (
            browser.page(0.7, offset=1, size=2, decision=decision)
            == browser.page(0.7, size=3, decision=decision)[1:]
        )
    assert browser.count(0.7, 1.0, BELOW) == told[BELOW] == len(browser.page(0.7, size=PAIRS, decision=BELOW))

    item = browser.page(0.7, size=1, decision="ask")[0].item
    assert item is not None
    review.vote(workspace, item, "keep-both")
    (voted,) = browser.page(0.7, decision="keep-both")
    assert voted.item == item
    assert browser.count(0.7, 1.0, "ask") == len(browser.page(0.7, size=PAIRS, decision="ask"))


def test_an_unknown_order_and_a_decision_without_a_list_are_told(shared: Workspace) -> None:
    with pytest.raises(WrongInput, match="'best'"):
        opened(shared).page(0.7, order="best")
    with pytest.raises(WrongInput, match=NOT_DECIDING):
        opened(shared).page(0.7, decision=NOT_DECIDING)


# --- clusters ---


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.9])
def test_clusters_are_those_of_a_slow_walk(shared: Workspace, threshold: float) -> None:
    browser, slow = opened(shared), Slow(shared)
    groups = slow.groups(threshold)
    found = [*browser.clusters(threshold, 0, 7), *browser.clusters(threshold, 7, 10_000)]
    assert [(one.number, one.rows, one.seq) for one in found] == [
        (number, len(group), group[0]) for number, group in enumerate(groups)
    ]
    for one, group in zip(found, groups, strict=True):
        states = Counter(slow.outcomes[seq].state for seq in group)
        assert one.states == {state: states[state] for state in ("kept", "pending", "dropped")}
        assert one.example == slow.rows[group[0]].instruction
    assert browser.clusters(threshold, len(groups), 20) == []


def test_the_members_of_a_cluster_name_their_keepers(shared: Workspace) -> None:
    browser, slow = opened(shared), Slow(shared)
    group = slow.groups(0.8)[0]
    members = browser.cluster(0.8, group[-1], limit=1_000)
    assert sorted(member.sample.seq for member in members) == group
    order = [("kept", "pending", "dropped").index(member.state) for member in members]
    assert order == sorted(order)
    assert len(browser.cluster(0.8, group[0], limit=3)) == 3
    cosine = {(a, b): c for left, right, c in slow.at_least(0.8) for a, b in ((left, right), (right, left))}
    for member in members:
        seq = member.sample.seq
        kept = [
            (slow.rows[b].id, c)
            for (a, b), c in cosine.items()
            if a == seq and slow.outcomes[b].state == "kept"
        ]
        assert set(member.keepers) <= set(kept) and len(member.keepers) == min(5, len(kept))
        assert (member.reason is not None) == (member.state == "dropped")
        assert member.state != "dropped" or member.keepers


def test_a_row_without_a_pair_has_no_cluster(shared: Workspace) -> None:
    slow = Slow(shared)
    alone = set(slow.outcomes) - {seq for group in slow.groups(0.9) for seq in group}
    assert opened(shared).cluster(0.9, min(alone)) == []
    assert opened(shared).cluster(0.7, 10**9) == []


def test_a_vote_shows_in_the_states_of_a_cluster_at_once(workspace: Workspace) -> None:
    browser = opened(workspace)
    line = browser.page(0.7, size=1, decision="ask")[0]
    assert line.item is not None
    before = {member.sample.seq: member.state for member in browser.cluster(0.8, line.left.seq, 500)}
    review.vote(workspace, line.item, "drop-both")
    after = {member.sample.seq: member for member in browser.cluster(0.8, line.left.seq, 500)}
    assert {"kept", "pending"} == {before[line.left.seq], before[line.right.seq]}
    for seq in (line.left.seq, line.right.seq):
        assert (after[seq].state, after[seq].reason) == ("dropped", "verdict")


# --- files ---


def test_there_is_no_browser_before_the_stage_ran(tmp_path: Path) -> None:
    assert PairBrowser.open(Workspace(tmp_path)) is None


@pytest.mark.parametrize(
    "pattern",
    [
        "*/pairs.npy",
        "*/order.npy",
        "*/paired.npy",
        "*/clusters.npy",
        "run-*-rows.npy",
        "run-*-thresholds.json",
    ],
)
@pytest.mark.parametrize("harm", ["missing", "cut short", "empty"])
def test_a_damaged_file_is_named_and_the_stage_mends_it(
    workspace: Workspace, pattern: str, harm: str
) -> None:
    wanted = opened(workspace).summary(0.8)
    (file,) = workspace.pairs.glob(pattern)
    data = file.read_bytes()
    file.unlink() if harm == "missing" else file.write_bytes(
        data[: len(data) // 2] if harm == "cut short" else b""
    )
    with pytest.raises(DamagedWorkspace, match=f"{file.name}.*near-duplicates"):
        PairBrowser.open(workspace)
    file.unlink(missing_ok=True)  # as the message says
    near_duplicates.near_duplicates(workspace, pair_settings.Settings())
    assert opened(workspace).summary(0.8) == wanted


def test_a_run_of_an_older_winnow_is_told_to_run_again(workspace: Workspace) -> None:
    with workspace.database.transaction() as connection:
        run = runs.current_in(connection, pair_settings.STAGE)
        assert run is not None
        report = {key: value for key, value in run.report.items() if key != "pairs_folder"}
        connection.execute(update(stage_run).where(stage_run.c.id == run.id).values(report=report))
    with pytest.raises(DamagedWorkspace, match="near-duplicates"):
        PairBrowser.open(workspace)
    near_duplicates.near_duplicates(workspace, pair_settings.Settings())
    assert opened(workspace).run_id > run.id


def test_no_pairs_at_all(tmp_path: Path) -> None:
    workspace = build(tmp_path / "w", 40, 0)
    browser = opened(workspace)
    assert (browser.pairs_at_floor, browser.page(0.7), browser.clusters(0.8)) == (0, [], [])
    assert browser.summary(0.8).pairs == 0
    assert sum(number for _, _, number in browser.histogram()) == 0


def test_opening_loads_no_torch(built: Path) -> None:
    program = (
        "import sys, pathlib; from curation.pair_browser import PairBrowser; "
        "from curation.workspace import Workspace; "
        f"b = PairBrowser.open(Workspace(pathlib.Path({json.dumps(str(built))}))); "
        "b.clusters(0.8); b.page(0.7); "
        "print([name for name in ('torch', 'sentence_transformers', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
