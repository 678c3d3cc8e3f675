"""More pairs than memory should hold: going through them a piece at a time says what a look at all says."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from curation import earlier_pairs, npy_pieces, pair_order, pair_settings
from curation import near_duplicates as step
from curation.earlier_pairs import by_later
from curation.embedding import SentenceEmbedder, VectorCache, key_of
from curation.keepers import Graph, Policy, decide
from curation.near_duplicates import near_duplicates
from curation.pair_clusters import Clusters
from curation.pair_order import Sorter
from curation.pair_settings import Settings
from curation.records import Sample
from curation.store import runs, samples
from curation.store.tables import outcome, rejection, review_item
from curation.workspace import Workspace
from tests.big_workspace import build
from tests.test_keepers import Case, cases

THREE = np.dtype([("later", "<i4"), ("earlier", "<i4"), ("number", "<i8")])
MOST_KB = 350 * 1024
MANY = settings(deadline=None, max_examples=60)


# --- files ---


def test_a_file_written_in_pieces_is_what_numpy_reads_and_reads_back_in_pieces(tmp_path: Path) -> None:
    whole = np.arange(10_007, dtype=np.int64)
    file = tmp_path / "numbers.npy"
    assert npy_pieces.write_pieces(file, whole.dtype, np.split(whole, [1, 1, 5_000])) == len(whole)
    assert np.array_equal(np.load(file), whole)
    assert npy_pieces.length_of(file, whole.dtype) == len(whole)
    read = list(npy_pieces.pieces(file, whole.dtype, at_once=999))
    assert [start for start, _ in read] == list(range(0, 10_007, 999))
    assert np.array_equal(np.concatenate([part for _, part in read]), whole)
    chosen = np.array([0, 1, 4_095, 4_096, 9_000, 10_006])
    assert npy_pieces.at(file, whole.dtype, chosen).tolist() == chosen.tolist()
    assert not len(npy_pieces.at(file, whole.dtype, chosen[:0]))


def test_a_file_without_records_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "numbers.npy"
    assert npy_pieces.write_pieces(file, THREE, []) == 0
    assert list(npy_pieces.pieces(file, THREE)) == [] and len(np.load(file)) == 0


@pytest.mark.parametrize("harm", ["lost", "cut short", "empty", "another kind"])
def test_a_file_that_is_not_whole_is_told(tmp_path: Path, harm: str) -> None:
    file = tmp_path / "numbers.npy"
    npy_pieces.write_pieces(file, np.dtype(np.int64), [np.arange(100)])
    kind = np.dtype(np.float32 if harm == "another kind" else np.int64)
    if harm == "lost":
        file.unlink()
    elif harm != "another kind":
        file.write_bytes(file.read_bytes()[:-3] if harm == "cut short" else b"")
    assert npy_pieces.length_of(file, kind) is None
    with pytest.raises((OSError, ValueError)):
        list(npy_pieces.pieces(file, kind))
    with pytest.raises((OSError, ValueError)):
        npy_pieces.at(file, kind, np.array([99]))


# --- sorting, grouping, connecting ---


@MANY
@given(
    st.lists(st.lists(st.sampled_from([0.7, 0.75, 0.8, 0.8, 0.9, 1.0]), max_size=40), max_size=8),
    st.integers(1, 9),
    st.integers(1, 30),
)
def test_pairs_are_sorted_as_one_stable_sort_would(parts: list[list[float]], step: int, share: int) -> None:
    whole = np.array([cosine for part in parts for cosine in part])
    with pytest.MonkeyPatch.context() as patch, TemporaryFile() as one, TemporaryFile() as other:
        patch.setattr(pair_order, "STEP", step)
        patch.setattr(pair_order, "SHARE", share)
        sorter = Sorter(one, other)
        for part in parts:
            sorter.add(np.array(part))
        found = [number for piece in sorter.numbers() for number in piece.tolist()]
    assert found == np.argsort(-whole, kind="stable").tolist()


def test_no_more_pairs_are_merged_at_once_than_memory_should_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_order, "STEP", 10)
    monkeypatch.setattr(pair_order, "SHARE", 100)
    noise = np.random.default_rng(976)
    with TemporaryFile() as one, TemporaryFile() as other:
        sorter = Sorter(one, other)
        for _ in range(20):
            sorter.add(np.where(noise.random(500) < 0.5, 1.0, noise.random(500)))
        assert max(map(len, sorter.numbers())) <= 100 + 20 * 10


@MANY
@given(st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=30), max_size=6))
def test_pairs_on_the_disk_are_grouped_as_in_memory(parts: list[list[tuple[int, int]]]) -> None:
    records, number = [], 0
    for part in parts:
        found = np.zeros(len(part), THREE)
        found["later"], found["earlier"] = ([pair[at] for pair in part] for at in (0, 1))
        found["number"] = np.arange(number, number + len(part))
        number += len(part)
        records.append(found)
    told = []
    for most in (1 << 21, 4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(earlier_pairs, "IN_MEMORY", most)
            told.append([(later, group.tolist()) for later, group in by_later(lambda: records, 31)])
    assert told[0] == told[1]
    assert [later for later, _ in told[0]] == sorted({pair[0] for part in parts for pair in part})
    assert sum(len(group) for _, group in told[0]) == number


LEVELS = 4
ENDS = st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(lambda ends: ends[0] < ends[1])
LEVELLED = st.tuples(ENDS, st.integers(0, LEVELS - 1))


@MANY
@given(st.lists(LEVELLED, unique_by=lambda pair: pair[0]), st.integers(1, 10))
def test_what_pairs_connect_is_the_same_however_they_come(
    pairs: list[tuple[tuple[int, int], int]], at_once: int
) -> None:
    clusters = Clusters(15, LEVELS)
    for start in range(0, len(pairs), at_once):
        part = [(*ends, level) for ends, level in pairs[start : start + at_once]]
        clusters.add(*(np.array(column, np.int32) for column in zip(*part, strict=True)))
    for level in range(LEVELS):
        groups = groups_of([ends for ends, own in pairs if own >= level])
        for found, order in (
            (clusters.first_seen(level), sorted(groups, key=min)),
            (clusters.largest_first(level), sorted(groups, key=lambda group: (-len(group), min(group)))),
        ):
            place = {row: number for number, group in enumerate(order) for row in group}
            assert found.tolist() == [place.get(row, -1) for row in range(15)]


def groups_of(pairs: list[tuple[int, int]]) -> list[set[int]]:
    groups: list[set[int]] = []
    for ends in pairs:
        meeting = [group for group in groups if group & set(ends)]
        groups = [group for group in groups if group not in meeting] + [set(ends).union(*meeting)]
    return groups


# --- the keep rule, and the whole stage ---


class InParts(Graph):
    """A graph that hands out its pairs three at a time."""

    def pieces(self) -> Any:
        return (self.at(np.arange(n, min(n + 3, len(self.left)))) for n in range(0, len(self.left), 3))


@MANY
@given(cases())
def test_the_rule_decides_alike_on_pairs_that_lie_on_the_disk(case: Case) -> None:
    number = {(left, right): n for n, (left, right, _, _) in enumerate(case.edges)}
    rulings = {number[pair]: ruling for pair, ruling in case.rulings.items()}
    disputed = {number[pair] for pair in case.disputed}
    whole = case.graph
    parts = InParts(whole.size, whole.left, whole.right, whole.cosine, whole.zone)
    policy = Policy(0.84, case.budget, case.asked_before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(earlier_pairs, "IN_MEMORY", 2)
        found = decide(parts, case.order, policy, rulings, case.rescued, disputed)
    plain = case.decide()
    assert found.fate.tolist() == plain.fate.tolist()
    assert (found.edge.tolist(), found.asked) == (plain.edge.tolist(), plain.asked)


def told(workspace: Workspace) -> dict[str, Any]:
    """Give all that a run left: what it decided and asked, and every file that its page reads."""
    run = runs.current(workspace.database, pair_settings.STAGE)
    assert run is not None
    out, lost, asked = outcome.c, rejection.c, review_item.c
    queries = {
        "outcomes": select(out.seq, out.state, out.cluster).where(out.run_id == run.id),
        "reasons": select(lost.seq, lost.reason, lost.evidence).where(lost.run_id == run.id),
        "questions": select(asked.id, asked.priority),
    }
    with workspace.database.reading() as connection:
        rows = {name: sorted(map(repr, connection.execute(query))) for name, query in queries.items()}
    own = workspace.pairs.glob(f"run-{run.id}-*")
    shared = (workspace.pairs / run.report["pairs_folder"]).glob("*.npy")
    files = {file.name.split("-", 2)[-1]: file.read_bytes() for file in [*own, *shared]}
    counted = {name: value for name, value in run.report.items() if name != "seconds"}
    return {**rows, "report": counted, **files}


@pytest.mark.parametrize("preset", ["paper", "notebook", None])
def test_a_run_a_few_pairs_at_a_time_leaves_the_same_to_the_last_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str | None
) -> None:
    workspace = build(tmp_path / "workspace", samples=400, pairs=1_500)
    asked = pair_settings.PRESETS[preset] if preset else Settings(budget=40)
    near_duplicates(workspace, asked, again=True)
    whole = told(workspace)
    monkeypatch.setattr(npy_pieces, "AT_ONCE", 97)
    monkeypatch.setattr(step, "AT_ONCE", 89)
    monkeypatch.setattr(earlier_pairs, "IN_MEMORY", 50)
    monkeypatch.setattr(pair_order, "STEP", 5)
    monkeypatch.setattr(pair_order, "SHARE", 60)
    near_duplicates(workspace, asked, again=True)
    again = told(workspace)
    assert again.keys() == whole.keys() and len(whole["reasons"]) > 20
    for name in whole:
        assert again[name] == whole[name], name


CHILD = """
import resource, sys
from tests.test_many_pairs import all_alike
from curation.near_duplicates import near_duplicates
from curation.pair_settings import PRESETS
workspace = all_alike(sys.argv[1], int(sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = near_duplicates(workspace, PRESETS["paper"]).report
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(report["pairs_at_floor"], report["dropped"], after - before)
"""


def all_alike(folder: str, rows: int) -> Workspace:
    """Make a workspace of rows that all resemble each other."""
    workspace = Workspace(Path(folder))
    found = [Sample(f"r{n:06}", f"task {n}", "", "x" * (n % 50 + 1), "a.json", n, "a", "MIT", "imported")
             for n in range(rows)]  # fmt: skip
    with workspace.database.transaction() as connection:
        samples.add(connection, found)
    vectors = np.full((rows, 384), 384**-0.5) + 0.6e-3 * np.random.default_rng(1).standard_normal((rows, 384))
    keys = [key_of(row.instruction) for row in found]
    cache = VectorCache(workspace.embeddings / SentenceEmbedder().hash)
    cache.add(keys, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), [5] * rows)
    return workspace


def test_five_million_pairs_take_no_more_memory_than_few(tmp_path: Path) -> None:
    """Held at once they took 1.2 GB."""
    assert_no_more_memory(tmp_path, 3_200)


@pytest.mark.faults
def test_fifty_million_pairs_take_no_more_memory_than_few(tmp_path: Path) -> None:
    assert_no_more_memory(tmp_path, 10_001)


def assert_no_more_memory(folder: Path, rows: int) -> None:
    """Decide on `rows` rows that are all alike, in a process of its own."""
    command = [sys.executable, "-c", CHILD, str(folder / "workspace"), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pairs, dropped, grew = map(int, done.stdout.split())
    assert (pairs, dropped) == (rows * (rows - 1) // 2, rows - 1)
    assert grew < MOST_KB, f"{grew // 1024} MB more for {pairs:,} pairs"
