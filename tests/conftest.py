"""Fixtures that more than one test file uses."""

from collections.abc import Iterator

import pytest

from tests.loopback_teacher import LoopbackTeacher, loopback_teacher


@pytest.fixture
def teacher_server() -> Iterator[LoopbackTeacher]:
    """A teacher on loopback that answers well; set its `faults` or `reply` to change that."""
    with loopback_teacher() as server:
        yield server
