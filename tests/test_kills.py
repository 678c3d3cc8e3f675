"""A few kills and full disks; tests/faults holds the long list (F29, F30, F35, F36, F42-F44, F53)."""

import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from curation.assemble import Settings as AssembleSettings
from curation.assemble import assemble
from curation.atomic import PARTIAL, atomic_write, sweep_partial
from curation.export import export
from curation.import_samples import BATCH
from curation.pairs import search_pairs
from curation.stage import silent
from curation.workspace import Workspace
from tests.faults import (
    Kill,
    assert_clean,
    assert_equal_facts,
    copy_of,
    facts,
    files,
    finish,
    keep_made_up_vectors,
    kill,
    lock_left,
    make_rows,
    query,
    run,
    write_rows,
)
from tests.faults.evolution import EvolveChain, says, with_tasks
from tests.faults.generation import DELAY, Chain, reply
from tests.generating import SEEDS
from tests.loopback_teacher import LoopbackTeacher, loopback_teacher

RANDOM_SEED = 53
BATCHES = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def import_words(folder: Path) -> list[str]:
    file = write_rows(make_rows(BATCHES * BATCH, RANDOM_SEED), folder / "rows.jsonl")
    return ["samples", "import", str(file)]


@pytest.fixture(scope="module")
def imported(folder: Path, import_words: Sequence[str]) -> Path:
    """A workspace with rows, as an undisturbed import left it."""
    finish(folder / "imported", *import_words)
    return folder / "imported"


@pytest.fixture(scope="module")
def frozen(folder: Path, imported: Path) -> Path:
    """A workspace with the version v1, as an undisturbed assembly left it."""
    workspace = copy_of(imported, folder / "frozen")
    finish(workspace, "assemble", "v1")
    return workspace


def test_an_import_killed_twice_holds_the_same_rows_in_the_same_order(
    import_words: Sequence[str], imported: Path, tmp_path: Path
) -> None:
    chance = random.Random(RANDOM_SEED)
    workspace = tmp_path / "w"
    # 1 makes the tables, 2 takes the lock, 3 opens the file; from then on rows are committed.
    assert kill(workspace, import_words, Kill(fault=f"store.commit:kill:{chance.randrange(4, 7)}"))
    assert lock_left(workspace) == 1
    log = Kill(after="winnow.sqlite-wal", delay=chance.uniform(0.0, 0.1))
    assert kill(workspace, import_words, log)

    finish(workspace, *import_words)

    assert_equal_facts(facts(workspace), facts(imported))
    assert_clean(workspace)


def test_an_import_killed_when_all_was_kept_still_says_what_it_noticed(
    import_words: Sequence[str], imported: Path, tmp_path: Path
) -> None:
    """The ids that the file gives twice were to be told after the last commit."""
    told = finish(copy_of(imported, tmp_path / "w"), *import_words)
    assert told["unchanged"] and len(told["warnings"]) == 1
    assert "ids stand on more than one row" in told["warnings"][0]


def test_an_import_cut_short_is_not_finished_in_another_way(
    import_words: Sequence[str], imported: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "w"
    assert kill(workspace, import_words, Kill(fault="store.commit:kill:6"))
    some = query(workspace, "SELECT count(*) FROM sample")
    assert some > [(0,)]

    other = run(workspace, *import_words, "--instruction", "output")

    assert other.returncode == 2
    assert "other options was cut short" in other.stderr and "--name rows.jsonl" in other.stderr
    assert query(workspace, "SELECT count(*) FROM sample") == some
    finish(workspace, *import_words)
    assert_equal_facts(facts(workspace), facts(imported))


def test_an_embedding_killed_before_its_first_block_is_kept_gives_the_same_vectors(tmp_path: Path) -> None:
    rows = make_rows(60, RANDOM_SEED)
    finish(tmp_path / "killed", "samples", "import", str(write_rows(rows, tmp_path / "rows.jsonl")))
    copy_of(tmp_path / "killed", tmp_path / "undisturbed")

    def disturbed() -> dict[str, object]:
        workspace = tmp_path / "killed"
        assert kill(workspace, ["near-duplicates"], Kill(fault="file.write:kill:1"))
        assert lock_left(workspace) is not None
        assert len(list(workspace.glob(f"embeddings/*/*{PARTIAL}"))) == 1
        return finish(workspace, "near-duplicates", "--pairs", str(tmp_path / "killed.jsonl"))

    with ThreadPoolExecutor() as pool:  # loading torch is most of the time
        killed = pool.submit(disturbed)
        undisturbed = pool.submit(
            finish,
            tmp_path / "undisturbed",
            "near-duplicates",
            "--pairs",
            str(tmp_path / "undisturbed.jsonl"),
        )
        assert killed.result()["pairs"] == undisturbed.result()["pairs"] != 0

    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()
    assert_equal_facts(facts(tmp_path / "killed"), facts(tmp_path / "undisturbed"))
    folders = ("embeddings", "pairs")
    assert files(tmp_path / "killed", *folders) == files(tmp_path / "undisturbed", *folders)
    assert_clean(tmp_path / "killed")


@pytest.mark.parametrize("fault", ["store.commit:kill:3", "file.write:kill:2"])
def test_a_killed_assembly_freezes_the_same_version(
    imported: Path, frozen: Path, tmp_path: Path, fault: str
) -> None:
    workspace = copy_of(imported, tmp_path / "w")
    assert kill(workspace, ["assemble", "v1"], Kill(fault=fault))
    assert query(workspace, "SELECT * FROM dataset_version") == []

    finish(workspace, "assemble", "v1")

    assert_equal_facts(facts(workspace), facts(frozen))
    assert files(workspace, "datasets") == files(frozen, "datasets")
    assert_clean(workspace)


EXPORT = ("export", "v1", "--format", "messages", "--to")


@pytest.fixture(scope="module")
def exported(folder: Path, frozen: Path) -> dict[str, bytes]:
    """The files of an undisturbed export."""
    finish(frozen, *EXPORT, str(folder / "exported"))
    return {file.name: file.read_bytes() for file in (folder / "exported").iterdir()}


@pytest.mark.parametrize("nth", [1, 4])  # of five: the claim, two splits, the card, the mark
def test_a_killed_export_is_finished_by_the_same_command(
    frozen: Path, exported: dict[str, bytes], tmp_path: Path, nth: int
) -> None:
    out = tmp_path / "out"
    assert kill(frozen, [*EXPORT, str(out)], Kill(fault=f"file.write:kill:{nth}"))

    finish(frozen, *EXPORT, str(out))

    assert {file.name: file.read_bytes() for file in out.iterdir()} == exported


def test_an_export_leaves_the_files_of_people_alone(
    frozen: Path, exported: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(Workspace(frozen), "v1", "messages", "jsonl", out)
    (out / "notes.txt").write_bytes(b"mine")

    export(Workspace(frozen), "v1", "alpaca", "parquet", out)
    export(Workspace(frozen), "v1", "messages", "jsonl", out)

    assert {file.name: file.read_bytes() for file in out.iterdir()} == {**exported, "notes.txt": b"mine"}


@pytest.mark.parametrize("fault", ["store.commit:enospc:5", "store.commit:eio:2"])
def test_a_full_or_failing_disk_at_a_commit_of_an_import_loses_nothing_acknowledged(
    import_words: Sequence[str], imported: Path, tmp_path: Path, fault: str
) -> None:
    workspace = tmp_path / "w"
    finish(workspace, "status")

    failed = run(workspace, *import_words, fault=fault)

    assert_one_clear_line(failed.returncode, failed.stdout, failed.stderr)
    wanted = facts(imported)
    kept = facts(workspace)["samples"]
    assert kept == wanted["samples"][: len(kept)]
    assert query(workspace, "SELECT state FROM stage_run") == [("failed",)]
    assert_clean(workspace)
    finish(workspace, *import_words)
    assert_equal_facts(facts(workspace), wanted)


@pytest.mark.parametrize("fault", ["file.write:enospc:1", "file.write:eio:2", "store.commit:enospc:1"])
def test_a_full_or_failing_disk_leaves_no_half_version(
    imported: Path, frozen: Path, tmp_path: Path, fault: str
) -> None:
    workspace = copy_of(imported, tmp_path / "w")

    failed = run(workspace, "assemble", "v1", fault=fault)

    assert_one_clear_line(failed.returncode, failed.stdout, failed.stderr)
    assert_clean(workspace)
    assert query(workspace, "SELECT * FROM dataset_version") == []
    assemble(Workspace(workspace), "v1", AssembleSettings())
    assert_equal_facts(facts(workspace), facts(frozen))
    assert files(workspace, "datasets") == files(frozen, "datasets")


def assert_one_clear_line(status: int, out: str, line: str) -> None:
    assert (status, out) == (1, "")
    assert line.startswith("winnow: ") and line.count("\n") == 1
    assert "No space left on device" in line or "Input/output error" in line
    assert "unexpected" not in line and "nothing acknowledged was lost" in line


# --- what a kill leaves, and what it does not concern ---


def test_a_sweep_removes_what_killed_writers_left_and_nothing_that_is_being_written(tmp_path: Path) -> None:
    left = tmp_path / f"old.npy.{os.getpid()}{PARTIAL}"  # an earlier process had our number
    left.write_bytes(b"half")
    with atomic_write(tmp_path / "new.npy") as file:
        file.write(b"whole")
        assert sweep_partial(tmp_path) == [left]
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("new.npy", b"whole")]


def test_a_stage_does_not_sweep_away_what_another_stage_is_writing(imported: Path, tmp_path: Path) -> None:
    """This process writes; the command of another stage starts, sweeps and ends meanwhile."""
    workspace = copy_of(imported, tmp_path / "w")
    keep_made_up_vectors(make_rows(BATCHES * BATCH, RANDOM_SEED), workspace, RANDOM_SEED)
    being_written = workspace / "datasets" / "v0" / "rows.jsonl"
    with atomic_write(being_written) as file:
        file.write(b"{}\n")
        finish(workspace, "near-duplicates")
    assert being_written.read_bytes() == b"{}\n"


def test_parts_that_a_kill_left_beside_the_whole_list_of_pairs_are_removed(tmp_path: Path) -> None:
    vectors = np.eye(8, dtype=np.float32)
    vectors[1] = vectors[0]
    first = search_pairs(vectors, 0.7, tmp_path, silent).tolist()
    (tmp_path / "part-00000.npy").write_bytes((tmp_path / "pairs.npy").read_bytes())

    assert search_pairs(vectors, 0.7, tmp_path, silent).tolist() == first == [(0, 1, 1.0)]
    assert [file.name for file in tmp_path.iterdir()] == ["pairs.npy"]


# --- generation: paid calls (F22, F23); tests/faults/test_generation_kills.py kills a hundred times ---


@pytest.fixture(scope="module")
def teacher() -> Iterator[LoopbackTeacher]:
    with loopback_teacher(reply, delay=DELAY) as server:
        yield server


@pytest.fixture(scope="module")
def generated(seeded_folder: Path, teacher: LoopbackTeacher, folder: Path) -> list[tuple[object, ...]]:
    """The samples of an undisturbed generation."""
    chain = Chain(seeded_folder, folder / "generated", teacher)
    assert chain.finish()["kept"] == SEEDS and chain.repeated == 0
    return chain.samples()


@pytest.mark.parametrize("fault", ["store.commit:kill:9", "teacher.send:kill:14"])
def test_a_killed_generation_repeats_only_what_flew_and_makes_the_same_samples(
    fault: str, seeded_folder: Path, teacher: LoopbackTeacher, generated: list[tuple[object, ...]],
    tmp_path: Path,
) -> None:  # fmt: skip
    chain = Chain(seeded_folder, tmp_path / "w", teacher)
    chain.kill_at(fault)
    assert chain.finish()["kept"] == SEEDS
    assert chain.samples() == generated


# --- rounds of Evol-Instruct; tests/faults/test_evolve_kills.py kills sixty times ---


def test_a_kill_in_each_round_changes_nothing_in_the_result(folder: Path) -> None:
    tasks = with_tasks(folder / "tasks")
    with loopback_teacher(says(), delay=DELAY) as teacher:
        undisturbed = EvolveChain(tasks, folder / "evolved", teacher)
        undisturbed.finish()
        chain = EvolveChain(tasks, folder / "killed", teacher)
        for round in (1, 2, 3):
            chain.kill_in_round(round, 4 * round)
        report = chain.finish()
    assert report["paused"] is None and [one["waiting"] for one in report["rounds"]] == [0, 0, 0]
    assert chain.kills == 3 and chain.steps() == undisturbed.steps()
    assert chain.samples() == undisturbed.samples()
