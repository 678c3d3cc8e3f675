"""Fixtures that more than one test file uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback_teacher import LoopbackTeacher, loopback_teacher
from tests.workspaces import CommandLine


@pytest.fixture
def teacher_server() -> Iterator[LoopbackTeacher]:
    """A teacher on loopback that answers well; set its `faults` or `reply` to change that."""
    with loopback_teacher() as server:
        yield server


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
