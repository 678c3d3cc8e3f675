"""The preview of cuts: what a harvest would keep, tried in one order, by a process that may die."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from curation import cut_preview
from curation.cut_preview import Preview, preview
from curation.errors import SourceUnavailable, WrongInput
from curation.seeds import add_seeds, settings_of
from curation.workspace import Workspace
from tests.browser.driving import wait_for
from tests.faults import environment
from tests.seed_projects import MIT, source_of, write, write_project
from tests.test_seeds import kept, left_out
from tests.workspaces import ROOT


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("preview") / "project", each=6)


@pytest.fixture(scope="module", autouse=True)
def no_reader_is_left() -> Iterator[None]:
    yield
    if cut_preview._reader is not None:
        cut_preview._reader.end()
        cut_preview._reader = None


def reader() -> psutil.Process:
    assert cut_preview._reader is not None
    return psutil.Process(cut_preview._reader._process.pid)


def paths(found: Preview) -> list[str]:
    return [one.path for one in found.cuts]


# --- what it shows ---


def test_cuts_are_lines_of_their_files(project: Path) -> None:
    found = preview(str(project), {"min_lines": 2, "max_lines": 9})
    assert (len(found.cuts), found.read, found.is_all) == (cut_preview.SHOWN, 31, True)
    assert {one.language for one in found.cuts} == {"Python", "C++", "TypeScript", "Rust"}
    for one in found.cuts:
        lines = (project / one.path).read_text().split("\n")
        assert list(one.lines) == lines[one.first - 1 : one.first - 1 + len(one.lines)]
        assert one.first <= one.span[0] <= one.span[1] < one.first + len(one.lines)
        length = one.span[1] - one.span[0] + 1  # shorter only where the file ends
        assert 2 <= length <= 9 or (length == 1 and one.span[1] >= len(lines) - 1)
        assert one.first == max(1, one.span[0] - cut_preview.AROUND)


@pytest.mark.parametrize(
    "moved", [{"max_lines": 4}, {"policy": "syntax", "max_lines": 60}, {"random_seed": 7}, {"min_lines": 5}]
)
def test_other_settings_cut_the_same_documents_elsewhere(project: Path, moved: dict[str, Any]) -> None:
    first, other = preview(str(project), {}), preview(str(project), moved)
    both = set(paths(first)) & set(paths(other))  # one whose cut is white space makes room for the next
    assert len(both) >= cut_preview.SHOWN - 2
    assert [one for one in paths(first) if one in both] == [one for one in paths(other) if one in both]
    spans = {one.path: one.span for one in first.cuts}
    assert any(spans[one.path] != one.span for one in other.cuts if one.path in both)


@pytest.mark.parametrize("asked", [{"max_lines": 6}, {"policy": "syntax", "max_lines": 40}])
def test_a_harvest_keeps_just_these_cuts(project: Path, tmp_path: Path, asked: dict[str, Any]) -> None:
    found = preview(str(project), asked)
    workspace = Workspace(tmp_path / "workspace")
    add_seeds(workspace, str(project), settings_of(asked))
    spans = {row["path"]: (row["first_line"], row["last_line"]) for row in kept(workspace).values()}
    compared = {
        path for path, why in left_out(workspace).items() if "kept" in why[1]
    }  # with others: not here
    assert {one.path: one.span for one in found.cuts if one.path not in compared}.items() <= spans.items()
    assert set(paths(found)) <= set(spans) | compared and len(set(paths(found)) & set(spans)) > 8


def test_what_would_be_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    write_project(tmp_path / "project", each=0)
    found = preview(str(tmp_path / "project"), {})
    assert found.left_out == {"generated": 3, "licence_unknown": 3}
    assert paths(preview(str(tmp_path / "project"), {"allow_unknown": True}))[0] in {*paths(found), *(
        f"loose/nobody_{n}.py" for n in range(3)
    )}  # fmt: skip


def test_secrets_are_replaced_before_they_are_shown(tmp_path: Path) -> None:
    key = "AKIA" + "Q3EGWX7NPLRT5VZK"
    write(tmp_path, "LICENSE", MIT)
    write(tmp_path, "a.py", f"{source_of('Python', 1)}\naws_access_key_id = '{key}'\n")
    (one,) = preview(str(tmp_path), {"min_lines": 60, "max_lines": 60, "policy": "magicoder"}).cuts
    assert key not in "\n".join(one.lines) and "aws_access_key_id" in "\n".join(one.lines)


def test_a_folder_that_changed_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "LICENSE", MIT)
    write(tmp_path, "a.py", source_of("Python", 1))
    assert paths(preview(str(tmp_path), {})) == ["a.py"]
    write(tmp_path, "b.rs", source_of("Rust", 1))
    assert sorted(paths(preview(str(tmp_path), {}))) == ["a.py", "b.rs"]


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "is not on this machine"),
        ("/nowhere", "is not on this machine"),
        ("~nobody-is-called-so", "is not on this machine"),
        ("y" * 4_000, "is not on this machine"),
        ("a\0b", "is not on this machine"),
        ("https://example.org/x.git", "is not on this machine"),
        ("/dev/null", "/dev/null"),
        (str(ROOT / "docs" / "icon.png"), "icon.png"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line(given: str, told: str) -> None:
    if not given:
        given, told = str(ROOT / "app.py"), "app.py"  # a single file of code is no source
    with pytest.raises(WrongInput) as raised:
        preview(given, {})
    assert told in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_settings_that_cannot_be_are_told_by_the_reader(project: Path) -> None:
    with pytest.raises(WrongInput, match="got 9 to 2"):
        preview(str(project), {"min_lines": 9, "max_lines": 2})
    assert len(preview(str(project), {}).cuts) == cut_preview.SHOWN, "it goes on"


# --- the process ---


def test_a_reader_that_died_is_replaced_at_the_next_question(project: Path) -> None:
    preview(str(project), {})
    died = reader()
    died.kill()
    with pytest.raises(SourceUnavailable, match="ended the process"):
        preview(str(project), {})
    assert len(preview(str(project), {}).cuts) == cut_preview.SHOWN and reader().pid != died.pid


def test_a_reader_that_hangs_is_given_up_and_ended(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preview(str(project), {})
    hangs = reader()
    hangs.suspend()
    monkeypatch.setattr(cut_preview, "PATIENCE", 0.2)
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="took too long"):
        preview(str(project), {})
    assert time.monotonic() - began < 5 and not hangs.is_running()
    monkeypatch.undo()
    assert len(preview(str(project), {}).cuts) == cut_preview.SHOWN


def test_the_reader_ends_when_the_app_is_killed(project: Path) -> None:
    words = f"import time\nfrom curation.cut_preview import preview\npreview({str(project)!r}, {{}})\n"
    words += "print('ready', flush=True)\ntime.sleep(600)\n"
    app = subprocess.Popen(
        [sys.executable, "-c", words], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert app.stdout is not None and app.stdout.readline() == "ready\n"
    (child,) = psutil.Process(app.pid).children()
    app.kill()
    app.wait()
    app.stdout.close()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)
