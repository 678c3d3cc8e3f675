"""kill -9 during rounds of Evol-Instruct, 60 times: the same trees and samples come out, and nothing that was
answered is asked again."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.import_samples import Settings as ImportSettings
from curation.import_samples import import_samples
from curation.workspace import Workspace
from tests.evolving import SET
from tests.faults.evolution import ROUNDS, EvolveChain, says, with_tasks
from tests.faults.generation import DELAY
from tests.loopback_teacher import LoopbackTeacher, loopback_teacher
from tests.workspaces import SHARED, needs_shared

pytestmark = pytest.mark.faults

RANDOM_SEED = 8
CHAINS, KILLS = 12, 5


@pytest.fixture(scope="module")
def teacher() -> Iterator[LoopbackTeacher]:
    with loopback_teacher(says(), delay=DELAY, seconds=3_600) as server:
        yield server


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_tasks(tmp_path_factory.mktemp("tasks") / "w")


@pytest.fixture(scope="module")
def undisturbed(
    tasks: Path, teacher: LoopbackTeacher, tmp_path_factory: pytest.TempPathFactory
) -> EvolveChain:
    chain = EvolveChain(tasks, tmp_path_factory.mktemp("undisturbed") / "w", teacher)
    chain.finish()
    return chain


@pytest.mark.parametrize("number", range(CHAINS))
def test_killed_rounds_come_to_the_same_trees(
    number: int, tasks: Path, teacher: LoopbackTeacher, undisturbed: EvolveChain, tmp_path: Path
) -> None:
    chance = random.Random(RANDOM_SEED * 100 + number)
    chain = EvolveChain(tasks, tmp_path / "w", teacher)
    for at in range(KILLS):
        if at < ROUNDS:
            chain.kill_in_round(at + 1, chance.randint(1, 12), chance.uniform(0.0, 2 * DELAY))
        else:
            chain.kill_somewhere(chance, 4)
    report = chain.finish()
    assert [one["waiting"] for one in report["rounds"]] == [0] * ROUNDS and report["paused"] is None
    assert chain.steps() == undisturbed.steps()
    assert chain.samples() == undisturbed.samples()


@needs_shared
def test_a_kill_in_each_round_of_500_real_rows_changes_nothing(
    teacher: LoopbackTeacher, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "alpaca")
    file = SHARED / "instructions" / "code_alpaca_2k.json.gz"
    import_samples(workspace, str(file), ImportSettings(SET, "CC-BY-NC-4.0"))
    workspace.database.close()
    words = ("--limit", "500", "--concurrency", "16", "--budget-tokens", "100000000")
    undisturbed = EvolveChain(workspace.folder, tmp_path / "undisturbed", teacher, *words)
    undisturbed.at_once = 16
    expected = undisturbed.finish()
    chain = EvolveChain(workspace.folder, tmp_path / "killed", teacher, *words)
    chain.at_once = 16
    for round in range(1, ROUNDS + 1):
        chain.kill_in_round(round, 400)
    report = chain.finish()
    assert [one["parents"] for one in report["rounds"]] == [500] * ROUNDS
    assert report["rounds"] == expected["rounds"] and chain.kills == ROUNDS
    assert chain.steps() == undisturbed.steps()
    assert chain.samples() == undisturbed.samples()
