"""Faults found by attacking the main path, each held by a test that failed before it was mended."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from curation.export import _cell
from curation.store import runs
from curation.workspace import Workspace
from tests.workspaces import CommandLine, row, write_jsonl

TASK = "Write a Python function that reverses a string"
ROWS = [
    row(TASK, "s[::-1]" * 9),
    row("Please write a Python function which reverses strings", "return s[::-1]"),
    row("Bake a cake with cherries", "Mix, then bake."),
]
NEAR = [{"task_id": "N/1", "text": TASK, "code": "class Unlike: pass"}]
ALSO_NEAR = [
    {"task_id": "A/1", "text": "Write a function in Python to reverse strings", "code": "print(1234567)"}
]


@pytest.fixture
def imported(cli: CommandLine, tmp_path: Path) -> CommandLine:
    cli.done("samples", "import", write_jsonl(tmp_path / "set.jsonl", ROWS))
    return cli


def open_items(cli: CommandLine) -> list[dict[str, Any]]:
    return [item for item in cli.done("review", "list")["items"] if item["state"] == "open"]


def test_evidence_that_is_new_since_a_vote_asks_again(imported: CommandLine, tmp_path: Path) -> None:
    one = f"near={write_jsonl(tmp_path / 'near.jsonl', NEAR)}"
    imported.done("decontaminate", "--benchmark", one)
    for item in open_items(imported):
        imported.done("review", "vote", item["item"], "different:keep")
    assert imported.done("review", "list")["open"] == 0
    two = f"also={write_jsonl(tmp_path / 'also.jsonl', ALSO_NEAR)}"
    report = imported.done("decontaminate", "--benchmark", one, "--benchmark", two)
    assert report["asked"] > 0
    assert imported.done("review", "list")["open"] == report["asked"]
    assert imported("assemble", "v1").status == 2


def test_a_question_about_two_equal_rows_stays_while_one_of_them_is_left(
    cli: CommandLine, tmp_path: Path
) -> None:
    cli.done("samples", "import", write_jsonl(tmp_path / "set.jsonl", [ROWS[0], ROWS[0], ROWS[2]]))
    cli.done("decontaminate", "--benchmark", f"near={write_jsonl(tmp_path / 'near.jsonl', NEAR)}")
    cli.done("near-duplicates", "--preset", "notebook")
    assert cli.done("review", "list")["open"] == 1
    assert cli("assemble", "v1").status == 2


def test_a_disputed_pair_stays_a_question_when_the_budget_is_spent(
    imported: CommandLine, tmp_path: Path
) -> None:
    report = imported.done("near-duplicates", "--threshold", "0.75")
    assert report["asked"] == 1
    (item,) = open_items(imported)
    imported.done("review", "vote", item["item"], "keep-both", "--as", "ann")
    imported.done("review", "vote", item["item"], "keep-left", "--as", "bob")
    again = imported.done("near-duplicates", "--threshold", "0.75", "--ask", "0.75:0.99", "--budget", "0")
    assert again["dropped"] == 1, "budget 0 asks nothing at all, as a preset"
    again = imported.done("near-duplicates", "--threshold", "0.75", "--budget", "1")
    assert imported.done("review", "list")["disputed"] == 1 and again["pending"] == 1
    assert imported("assemble", "v1").status == 2


def test_rescue_does_not_overrule_a_vote(imported: CommandLine) -> None:
    imported.done("near-duplicates", "--threshold", "0.75")
    (item,) = open_items(imported)
    imported.done("review", "vote", item["item"], "keep-left")
    refused = imported("rescue", item["right"]["id"])
    assert refused.status == 2 and f"review undo {item['item'].split('@')[0]}" in refused.err


def test_undoing_a_rescue_never_drops_a_row_without_a_reason(cli: CommandLine, tmp_path: Path) -> None:
    rows = [row("First task", "x = 1"), row("Second task", "x=1")]
    cli.done("samples", "import", write_jsonl(tmp_path / "set.jsonl", rows))
    assert cli.done("clean", "--rule", "magicoder")["dropped"] == {"duplicate_solution": 1}
    item = cli.done("near-duplicates")  # a later stage, so that ids can be read from the store
    assert item["samples"] == 1
    second = runs.input_rows(Workspace(cli.workspace).database, "clean").ids[1]
    cli.done("rescue", second)
    assert cli.done("clean", "--rule", "magicoder")["pending"] == 1, "the counts follow a rescue"
    cli.done("clean")
    cli.done("rescue", second, "--undo")
    assert (
        cli.done("status")["stages"]["clean"] | {"dropped": 0, "kept": 2, "reasons": {}}
        == cli.done("status")["stages"]["clean"]
    )


def test_an_example_of_another_size_is_not_mixed_in(cli: CommandLine, tmp_path: Path) -> None:
    from curation import example, stage

    workspace = Workspace(cli.workspace)
    request = runs.Request("example", {"rows": 40}, example._packages(), example.CODE)
    stage.run_stage(workspace, request, lambda one: example._harvest(one, 40))
    refused = cli("example", "--rows", "10")
    assert refused.status == 2 and "another size" in refused.err


def test_a_mistyped_command_pins_no_benchmark(imported: CommandLine, tmp_path: Path) -> None:
    wrong = write_jsonl(tmp_path / "wrong.jsonl", NEAR)
    right = write_jsonl(tmp_path / "right.jsonl", ALSO_NEAR)
    assert imported("decontaminate", "--benchmark", f"b={wrong}", "--benchmark", "c=/nowhere").status == 2
    assert imported("decontaminate", "--benchmark", f"b={right}").status == 0


def test_a_file_that_is_not_the_published_benchmark_is_told(imported: CommandLine, tmp_path: Path) -> None:
    ran = imported("decontaminate", "--benchmark", f"mbpp={write_jsonl(tmp_path / 'm.jsonl', NEAR)}")
    assert ran.status == 0 and "mbpp is not the published file" in ran.err


def test_a_damaged_pair_file_is_told_and_made_anew(imported: CommandLine) -> None:
    report = imported.done("near-duplicates", "--threshold", "0.75")
    (item,) = open_items(imported)
    (edges,) = (imported.workspace / "pairs").glob("run-*-edges.npy")
    edges.write_bytes(edges.read_bytes()[:-7])
    refused = imported("review", "vote", item["item"], "keep-both")
    assert refused.status == 1 and "run `near-duplicates` again" in refused.err
    again = imported.done("near-duplicates", "--threshold", "0.75")
    assert not again["unchanged"] and again["asked"] == report["asked"]
    imported.done("review", "vote", open_items(imported)[0]["item"], "keep-both")


@pytest.mark.parametrize("spelling", ["CC-BY-NC-4.0", "CC BY NC 4.0", "cc_by_nc_4.0", "non-commercial"])
def test_a_non_commercial_licence_is_told_on_the_card(
    cli: CommandLine, tmp_path: Path, spelling: str
) -> None:
    cli.done("samples", "import", write_jsonl(tmp_path / "set.jsonl", ROWS), "--licence", spelling)
    cli.done("assemble", "v1")
    cli.done("export", "v1", "--format", "alpaca", "--to", tmp_path / "out")
    assert "non-commercial licence" in (tmp_path / "out" / "README.md").read_text()


def test_a_second_export_leaves_files_of_others_alone(imported: CommandLine, tmp_path: Path) -> None:
    imported.done("assemble", "v1")
    imported.done("export", "v1", "--format", "alpaca", "--to", tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for form in ("messages", "sharegpt"):
        imported.done("export", "v1", "--format", form, "--to", tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        ("near-duplicates", "--ask", "0.8:nan"),
        ("near-duplicates", "--ask", "0.8:inf"),
        ("near-duplicates", "--threshold", "x"),
        ("near-duplicates", "--model", ""),
        ("samples", "import", "caf\udcff.jsonl"),
        ("review", "vote", "a@²", "keep-both"),
        ("review", "list", "--limit", "-1"),
        ("review", "undo", "--as", " "),
        ("assemble", "v" * 300),
    ],
)
def test_odd_words_are_wrong_input(imported: CommandLine, words: tuple[str, ...]) -> None:
    ran = imported(*words)
    assert ran.status == 2 and ran.err.count("\n") == 1 and "unexpected" not in ran.err


def test_a_folder_where_a_file_is_wanted_is_wrong_input(imported: CommandLine, tmp_path: Path) -> None:
    for words in (
        ("review", "export", tmp_path),
        ("backup", tmp_path),
        ("near-duplicates", "--pairs", tmp_path),
    ):
        ran = imported(*words)
        assert ran.status == 2 and str(tmp_path) in ran.err and "unexpected" not in ran.err


def test_a_full_disk_at_an_output_file_is_one_line(
    imported: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curation import failpoints

    monkeypatch.setattr(failpoints, "_arrivals", {})
    monkeypatch.setenv("WINNOW_FAULT", "file.write:enospc:1")
    ran = imported("backup", tmp_path / "b.tgz")
    assert ran.status == 1 and "No space left" in ran.err and not (tmp_path / "b.tgz").exists()


def archive(path: Path, members: dict[str, bytes], manifest: object) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in {**members, "manifest.json": json.dumps({"files": manifest}).encode()}.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("members", "manifest"),
    [
        ({}, {}),
        ({"a": b""}, ["a"]),
        ({"winnow.sqlite": b"", "extra": b"unlisted"}, {"winnow.sqlite": ""}),
        ({"../out": b"x", "winnow.sqlite": b""}, {"../out": "", "winnow.sqlite": ""}),
        ({"winnow.sqlite": b"x"}, {"winnow.sqlite": "0" * 64}),
        ({"winnow.sqlite": b""}, {"winnow.sqlite": "", "../../../../etc/hostname": ""}),
    ],
)
def test_an_archive_that_is_no_backup_leaves_nothing_behind(
    cli: CommandLine, tmp_path: Path, members: dict[str, bytes], manifest: object
) -> None:
    ran = cli("restore", archive(tmp_path / "evil.tgz", members, manifest))
    assert ran.status in (1, 2) and ran.err.count("\n") == 1 and "unexpected" not in ran.err
    assert not cli.workspace.exists() and not (tmp_path / "out").exists()


def test_control_characters_never_reach_the_terminal(
    cli: CommandLine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(f"{TASK} \x1b[31m", "s[::-1]", **{"col\x1b[31m": "v\x1b]0;x\x07"}), ROWS[1]]
    items = [{"task_id": "T/\x1b[31m", "text": TASK, "code": "zzz"}]
    cli.done("samples", "import", write_jsonl(tmp_path / "set.jsonl", rows), "--name", "n\x1b[31m")
    cli.done("near-duplicates", "--threshold", "0.75")
    cli.done("decontaminate", "--benchmark", f"t={write_jsonl(tmp_path / 'b.jsonl', items)}")
    id = cli.done("review", "list")["items"][0]["left"]["id"]
    for words in (("explain", id), ("review", "list"), ("status",)):
        ran = cli(*words, json_wanted=False)
        assert ran.status == 0 and "\x1b" not in ran.out + ran.err and "\x07" not in ran.out
    assert "\x1b" not in _cell("n\x1b[31m") and "`" in _cell("n")


def test_votes_of_another_workspace_do_not_hide_ones_own(imported: CommandLine, tmp_path: Path) -> None:
    imported.done("near-duplicates", "--threshold", "0.75")
    (item,) = open_items(imported)
    imported.done("review", "vote", item["item"], "keep-both")
    imported.done("review", "export", tmp_path / "votes.jsonl")
    vote = json.loads((tmp_path / "votes.jsonl").read_text())
    foreign = {**vote, "client_id": "x", "item_id": "foreign", "subject": {"left": "p", "right": "q"}}
    imported.done("review", "import", write_jsonl(tmp_path / "foreign.jsonl", [foreign]))
    assert imported.done("review", "undo")["changed"]
    bad = {**vote, "client_id": "a\ud800"}
    refused = imported("review", "import", write_jsonl(tmp_path / "bad.jsonl", [bad]))
    assert refused.status == 2 and "line 1" in refused.err


def test_the_file_that_another_stage_is_writing_is_not_swept(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    from curation.atomic import sweep_partial

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    alive, dead = tmp_path / f"a.npy.{os.getppid()}.partial", tmp_path / f"b.npy.{gone.pid}.partial"
    alive.touch()
    dead.touch()
    assert sweep_partial(tmp_path) == [dead] and alive.exists() and not dead.exists()
