"""kill -9 during a harvest, 20 times: the same snippets, and the same documents left out, as undisturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from curation.seeds import Settings, add_seeds
from curation.workspace import Workspace
from tests.browser.driving import wait_for
from tests.faults import ROOT, assert_clean, environment
from tests.test_seeds import code, kept, left_out, nine_languages, tree

pytestmark = pytest.mark.faults

RANDOM_SEED = 20
CHAINS, KILLS = 5, 4  # kills follow each other before a harvest may finish: 20 in all
BATCH = 20


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    same = [(f"copy/{n}.py", code(n)) for n in range(30)]
    near = [(f"near/{n}.cpp", code(10_000 + n).replace("value_29", "other_29")) for n in range(30)]
    return tree(tmp_path_factory.mktemp("kills") / "project", [*nine_languages(150), *same, *near])


@pytest.fixture(scope="module")
def undisturbed(project: Path) -> Workspace:
    workspace = Workspace(project.parent / "whole")
    add_seeds(workspace, str(project), Settings(workers=1))
    return workspace


def start(
    project: Path, workspace: Path, workers: int, fault: str | None = None
) -> "subprocess.Popen[bytes]":
    told = (
        "from pathlib import Path\nfrom curation import seeds\nfrom curation.workspace import Workspace\n"
        f"if __name__ == '__main__':\n    seeds.BATCH = {BATCH}\n"
        f"    seeds.add_seeds(Workspace(Path({str(workspace)!r})), {str(project)!r}, "
        f"seeds.Settings(workers={workers}))\n"
    )
    script = workspace.parent / f"{workspace.name}.py"
    script.write_text(told)
    path = {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(script)], cwd=ROOT, env=environment(fault) | path)


def is_left(process: psutil.Process, since: float) -> bool:
    """Tell whether this is a process that judged for a killed harvest."""
    with suppress(psutil.Error):
        words = process.info["cmdline"] or []
        return process.create_time() >= since and process.ppid() == 1 and "spawn_main" in " ".join(words)
    return False


@pytest.mark.parametrize("chain", range(CHAINS))
def test_a_killed_harvest_comes_to_the_same_seeds(
    chain: int, project: Path, undisturbed: Workspace, tmp_path: Path
) -> None:
    begun = time.time()
    chance = random.Random(RANDOM_SEED * 100 + chain)
    workspace, workers = tmp_path / "workspace", 1 + chain % 2
    for kill in range(KILLS):
        by_fault = (chain + kill) % 2 == 0
        process = start(
            project, workspace, workers, f"store.commit:kill:{chance.randrange(1, 7)}" if by_fault else None
        )
        if not by_fault:
            time.sleep(chance.uniform(0.5, 2.0))
            assert process.poll() is None, "it was through too soon"
            os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert start(project, workspace, workers).wait() == 0

    wait_for(lambda: not [one for one in psutil.process_iter(["cmdline"]) if is_left(one, begun)])
    found = Workspace(workspace)
    assert kept(found) == kept(undisturbed) and left_out(found) == left_out(undisturbed)
    assert len(kept(found)) > 1_200
    assert_clean(workspace)
