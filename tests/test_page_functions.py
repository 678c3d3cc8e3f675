"""What pages call beside the stages: previews, uploads, one question at a time, matches, downloads."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from curation import review
from curation.assemble import is_current
from curation.errors import WrongInput
from curation.export import archive, folder_of
from curation.formats import FieldMap
from curation.import_samples import keep_upload, preview
from curation.match_browser import match_counts, match_page, task_of
from curation.records import BadRow
from curation.workspace import Workspace
from tests.workspaces import TASKS, CommandLine, row, small_set, write_jsonl


@pytest.fixture
def stages(cli: CommandLine, tmp_path: Path) -> Workspace:
    """The small set through every stage, against a benchmark that shares two of its tasks."""
    cli.done("samples", "import", write_jsonl(tmp_path / "small.jsonl", small_set()))
    items = [{"task_id": f"T/{n}", "prompt": TASKS[n], "canonical_solution": f"solve_{n}()"} for n in (3, 6)]
    bench = write_jsonl(tmp_path / "bench.jsonl", items)
    cli.done("clean")
    cli.done("near-duplicates")
    cli.done("decontaminate", "--benchmark", f"own={bench}")
    return Workspace(cli.workspace)


def test_a_preview_shows_the_first_rows_as_they_will_be_read(tmp_path: Path) -> None:
    rows = [row("a", "b"), row("c", "", "d"), row("e", "f"), row("g", "h")]
    seen = preview(write_jsonl(tmp_path / "x.jsonl", rows), FieldMap())
    assert seen.columns == ["instruction", "input", "output"]
    assert [getattr(r, "instruction", None) for r in seen.rows] == ["a", None, "e"]
    bad = seen.rows[1]
    assert isinstance(bad, BadRow) and bad.line == 2


def test_a_preview_follows_the_columns_chosen(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "x.jsonl", [{"q": "ask", "a": "answer"}])
    (found,) = preview(file, FieldMap("q", None, "a")).rows
    assert not isinstance(found, BadRow)
    assert (found.instruction, found.response) == ("ask", "answer")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("set.jsonl", "set.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/abs/olute.json", "olute.json"),
        ("..", "upload.jsonl"),
        ("", "upload.jsonl"),
        ("a\0b<img>.json", "a_b_img_.json"),
        ("x" * 500 + ".jsonl", "x" * 114 + ".jsonl"),
    ],
)
def test_an_upload_never_leaves_its_folder(cli: CommandLine, given: str, kept: str) -> None:
    workspace = Workspace(cli.workspace)
    path = keep_upload(workspace, given, b"content")
    assert path.name == kept
    assert path.resolve().is_relative_to(workspace.folder / "uploads")
    assert path.read_bytes() == b"content"
    assert keep_upload(workspace, given, b"content") == path


def test_the_queue_gives_one_case_at_a_time_and_its_neighbours(stages: Workspace) -> None:
    listed = [item["item"] for item in review.items(stages, "open")]
    assert len(listed) >= 3
    first = review.case(stages)
    assert first is not None
    assert (first.reference, first.position, first.total) == (listed[0], 1, len(listed))
    assert (first.before, first.after) == (None, listed[1].partition("@")[0])
    second = review.case(stages, first.after)
    assert second is not None
    assert (second.reference, second.before) == (listed[1], first.id)


def test_a_settled_case_is_passed_over_but_can_be_looked_at(stages: Workspace) -> None:
    first = review.case(stages)
    assert first is not None and first.after is not None
    verdict = "keep-both" if first.kind == "near-duplicates" else "different:keep"
    review.vote(stages, first.reference, verdict, "ann")
    now = review.case(stages)
    assert now is not None and now.id != first.id
    again = review.case(stages, first.id)
    assert again is not None
    assert (again.state, dict(again.votes)) == ("settled", {"ann": verdict})


def test_the_last_case_points_back_to_the_first_that_is_open(stages: Workspace) -> None:
    last = review.case(stages, review.items(stages, "open")[-1]["item"].partition("@")[0])
    first = review.case(stages)
    assert last is not None and first is not None
    assert last.after == first.id


def test_an_unknown_case_is_the_first_open_one_and_none_is_none(stages: Workspace, tmp_path: Path) -> None:
    first = review.case(stages)
    unknown = review.case(stages, "0" * 16)
    assert first is not None and unknown is not None and unknown.reference == first.reference
    assert review.case(Workspace(tmp_path / "empty")) is None


def test_disputed_cases_can_be_gone_through_alone(stages: Workspace) -> None:
    assert review.case(stages, kind="disputed") is None
    first = review.case(stages, kind="near-duplicates")
    assert first is not None and first.after is not None
    second = review.case(stages, first.after)
    assert second is not None and second.kind == "near-duplicates"
    for person, verdict in (("ann", "keep-both"), ("bob", "drop-both")):
        review.vote(stages, second.reference, verdict, person)
    disputed = review.case(stages, kind="disputed")
    assert disputed is not None
    assert (disputed.id, disputed.state, disputed.total) == (second.id, "disputed", 1)


def test_matches_come_strongest_first_by_pages(stages: Workspace) -> None:
    whole = match_page(stages, size=100)
    scores = [line.score for line in whole.lines]
    assert scores == sorted(scores, reverse=True)
    assert {line.task.item for line in whole.lines} == {"T/3", "T/6"}
    seen, after = [], None
    while True:
        page = match_page(stages, after=after, size=1)
        seen += [(line.sample.id, line.task.item) for line in page.lines]
        after = page.after
        if after is None:
            break
    assert seen == [(line.sample.id, line.task.item) for line in whole.lines]
    back, before = [], page.before
    while before is not None:
        page = match_page(stages, before=before, size=1)
        back += [(line.sample.id, line.task.item) for line in page.lines]
        before = page.before
    assert back == seen[-2::-1] and page.after is not None


def test_matches_are_filtered_by_decision_and_benchmark(stages: Workspace) -> None:
    decisions = {line.decision for line in match_page(stages, size=100).lines}
    for decision in decisions:
        assert {m.decision for m in match_page(stages, decision=decision, size=100).lines} == {decision}
    assert match_page(stages, benchmark="other").lines == []
    for damaged in ("damaged", "nan_1", "inf_1", f"1.0_{'9' * 30}", f"1.0_{'9' * 5_000}", "_"):
        assert match_page(stages, after=damaged, size=100) == match_page(stages, size=100), damaged
    counts = match_counts(stages)
    assert {name for name, _ in counts} == {"own"}
    assert sum(counts.values()) == len({m.sample.id for m in match_page(stages, size=100).lines})


def test_a_task_is_found_by_its_names(stages: Workspace) -> None:
    task = task_of(stages, "own", "T/3")
    assert task is not None and task.problem == TASKS[3]
    assert task_of(stages, "own", "T/9") is None


def test_a_version_is_current_until_a_vote_changes_a_row(cli: CommandLine, stages: Workspace) -> None:
    cli.done("assemble", "v1", "--open", "drop")
    assert is_current(stages, "v1")
    assert not is_current(stages, "v2")
    case = review.case(stages)
    assert case is not None
    review.vote(stages, case.reference, "drop-both" if case.kind == "near-duplicates" else "duplicate:drop")
    assert not is_current(stages, "v1")


def test_a_download_holds_the_export_and_nothing_else(cli: CommandLine, stages: Workspace) -> None:
    done = cli.done("assemble", "v1", "--open", "drop")
    folder = folder_of(stages, "v1", "messages", "jsonl")
    cli.done("export", "v1", "--format", "messages", "--to", folder)
    (folder / "secret.txt").write_text("not ours")
    with zipfile.ZipFile(io.BytesIO(archive(folder))) as packed:
        names = sorted(name.rpartition("/")[2] for name in packed.namelist())
        lines = [
            json.loads(line)
            for name in packed.namelist()
            if name.endswith(".jsonl")
            for line in packed.read(name).splitlines()
        ]
    assert names == ["README.md", "train.jsonl"] or names == ["README.md", "train.jsonl", "validation.jsonl"]
    assert len(lines) == done["rows"]


def test_a_damaged_export_is_not_downloaded(cli: CommandLine, stages: Workspace) -> None:
    cli.done("assemble", "v1", "--open", "drop")
    folder = folder_of(stages, "v1", "alpaca", "jsonl")
    with pytest.raises(WrongInput, match="no whole export"):
        archive(folder)
    cli.done("export", "v1", "--format", "alpaca", "--to", folder)
    (folder / "train.jsonl").write_text("changed")
    with pytest.raises(WrongInput, match="no whole export"):
        archive(folder)
