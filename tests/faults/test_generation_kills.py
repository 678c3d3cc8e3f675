"""kill -9 during a generation, 100 times (F22, F23): no sample is lost or doubled, nothing answered is asked
again, and no budget is passed by the count of the teacher itself."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.generation import DELAY, Chain, reply
from tests.loopback_teacher import LoopbackTeacher, loopback_teacher

pytestmark = pytest.mark.faults

RANDOM_SEED = 22
CHAINS, KILLS = 16, 5  # kills follow each other before a generation may finish: 80
BUDGETS, BUDGET_KILLS = 10, 2  # and 20
SEEDS = 60
BUDGET = 40_000  # tokens: two kills may lose 26,000 of them, all replies take 20,000


@pytest.fixture(scope="module")
def teacher() -> Iterator[LoopbackTeacher]:
    with loopback_teacher(reply, delay=DELAY, seconds=3_600) as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(
    seeded_folder: Path, teacher: LoopbackTeacher, tmp_path_factory: pytest.TempPathFactory
) -> Chain:
    chain = Chain(seeded_folder, tmp_path_factory.mktemp("undisturbed") / "w", teacher)
    report = chain.finish()
    assert (report["kept"], chain.repeated) == (SEEDS, 0)
    assert chain.hits.total() > SEEDS + 5  # second requests, too
    return chain


@pytest.mark.parametrize("number", range(CHAINS))
def test_a_killed_generation_comes_to_the_same_samples(
    number: int, seeded_folder: Path, teacher: LoopbackTeacher, undisturbed: Chain, tmp_path: Path,
    record_property: Any,
) -> None:  # fmt: skip
    chance = random.Random(RANDOM_SEED * 100 + number)
    chain = Chain(seeded_folder, tmp_path / "w", teacher)
    for _ in range(KILLS):
        chain.kill_somewhere(chance)
    report = chain.finish()

    assert (report["kept"], report["waiting"], report["paused"]) == (SEEDS, 0, None)
    assert chain.samples() == undisturbed.samples()
    tell(chain, record_property)


@pytest.mark.parametrize("number", range(BUDGETS))
def test_a_budget_is_not_passed_by_the_teachers_count_whatever_is_killed(
    number: int, seeded_folder: Path, teacher: LoopbackTeacher, undisturbed: Chain, tmp_path: Path,
    record_property: Any,
) -> None:  # fmt: skip
    chance = random.Random(RANDOM_SEED * 1_000 + number)
    chain = Chain(seeded_folder, tmp_path / "w", teacher, "--budget-tokens", str(BUDGET))
    for _ in range(BUDGET_KILLS):
        chain.kill_somewhere(chance, 4)
    paused = chain.finish()
    assert "budget is used up" in paused["paused"] and paused["waiting"] > 0
    assert chain.billed <= paused["tokens"] <= BUDGET

    report = chain.finish("--budget-tokens", "1000000")
    assert (report["kept"], report["waiting"], report["paused"]) == (SEEDS, 0, None)
    assert chain.samples() == undisturbed.samples()
    tell(chain, record_property)


def tell(chain: Chain, record_property: Any) -> None:
    """Leave figures in the report of the tests (--junit-xml)."""
    record_property("kills", chain.kills)
    record_property("in flight at them", chain.flew)
    record_property("asked again", chain.repeated)
