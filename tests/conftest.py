"""Fixtures that more than one test file uses."""

import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation import near_duplicates
from curation.embedding import SentenceEmbedder
from curation.workspace import Workspace
from tests.generating import Generating, seeded
from tests.loopback_teacher import LoopbackTeacher, loopback_teacher
from tests.made_up_seeds import in_sections
from tests.workspaces import CommandLine

# What a user without the optional runtime has; tests of that runtime say so. Processes that tests start
# take it over.
os.environ.setdefault("WINNOW_RUNTIME", "torch")


@pytest.fixture(scope="module")
def one_model() -> Iterator[None]:
    """Let a module's runs of near-duplicates share one loaded model; loading takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "SentenceEmbedder", functools.cache(SentenceEmbedder))
        yield


@pytest.fixture
def teacher_server() -> Iterator[LoopbackTeacher]:
    """A teacher on loopback that answers well; set its `faults` or `reply` to change that."""
    with loopback_teacher() as server:
        yield server


@pytest.fixture(scope="session")
def seeded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with 60 seeds, to be copied."""
    folder = tmp_path_factory.mktemp("seeded") / "workspace"
    seeded(folder).database.close()
    return folder


@pytest.fixture
def generating(seeded_folder: Path, tmp_path: Path) -> Iterator[Generating]:
    """A workspace with 60 seeds of its own, and a teacher who answers as OSS-Instruct asks."""
    shutil.copytree(seeded_folder, tmp_path / "workspace")
    with loopback_teacher(in_sections) as server:
        yield Generating(Workspace(tmp_path / "workspace"), server)


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path / "workspace", capsys)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: a tiny model is slower on two, and sums come in one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
