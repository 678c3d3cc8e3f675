"""The main path by the command line: import, clean, compare, check, review, freeze, export."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation.embedding import SentenceEmbedder
from curation.records import question_of
from tests.workspaces import SHARED, CommandLine, needs_shared, row, small_set, write_jsonl

PROBLEM = "Return the sum of the squares of all even numbers in a list, ignoring everything else in it."
SOLUTION = "def f(xs):\n    return sum(x * x for x in xs if x % 2 == 0 and isinstance(x, int))"


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    items = [
        {"task_id": 1, "text": PROBLEM, "code": SOLUTION},
        {"task_id": 2, "text": "Add two.", "code": "a + b"},
    ]
    return write_jsonl(tmp_path / "tiny.jsonl", items)


@pytest.fixture
def imported(cli: CommandLine, tmp_path: Path) -> CommandLine:
    rows = [*small_set(), row("Sum squares of evens.", f"Here you are:\n{SOLUTION}")]
    cli.done(
        "samples", "import", write_jsonl(tmp_path / "set.jsonl", rows), "--name", "small", "--licence", "MIT"
    )
    return cli


def stages_add_up(status: dict[str, Any]) -> None:
    before = status["samples"]
    for stage in status["stages"].values():
        assert stage["in"] == before
        assert stage["in"] == stage["kept"] + stage["dropped"] + stage["pending"]
        assert stage["dropped"] == sum(stage["reasons"].values()), "every dropped row has one rejection"
        before = stage["kept"] + stage["pending"]


def test_the_whole_path_adds_up_and_the_second_time_changes_nothing(
    imported: CommandLine, benchmark: Path, tmp_path: Path
) -> None:
    commands: list[tuple[object, ...]] = [
        ("samples", "import", tmp_path / "set.jsonl", "--name", "small", "--licence", "MIT"),
        ("clean",),
        ("near-duplicates", "--pairs", tmp_path / "pairs.jsonl"),
        ("decontaminate", "--benchmark", f"tiny={benchmark}", "--matches", tmp_path / "matches.jsonl"),
        ("assemble", "v1", "--open", "drop"),
        ("export", "v1", "--format", "messages", "--to", tmp_path / "out"),
    ]
    first = [imported.done(*words) for words in commands]
    files = {file: file.read_bytes() for file in sorted((tmp_path / "out").iterdir())}
    lists = [(tmp_path / name).read_bytes() for name in ("pairs.jsonl", "matches.jsonl")]
    assert first[0]["unchanged"] and first[0]["new"] == 0
    assert first[0]["rows"] == first[0]["imported"] + sum(first[0]["rejected"].values()) == 25
    assert first[0]["rejected"] == {"empty_instruction": 1, "empty_response": 1}
    assert first[1]["dropped"] == {"exact_duplicate": 2}
    assert first[3]["dropped"] == 1, "the row that holds the benchmark's solution"
    stages_add_up(imported.done("status"))
    version = first[4]
    assert version["samples"] == version["rows"] + sum(version["dropped"].values())
    assert sum(version["assemble_reasons"].values()) == version["dropped"]["assemble"]

    second = [imported.done(*words) for words in commands]
    assert all(report["unchanged"] for report in second)
    for before, after in zip(first, second, strict=True):
        assert {**before, "unchanged": True} == after
    assert files == {file: file.read_bytes() for file in sorted((tmp_path / "out").iterdir())}
    assert lists == [(tmp_path / name).read_bytes() for name in ("pairs.jsonl", "matches.jsonl")]


def test_the_pair_file_equals_a_float64_brute_force(imported: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    imported.done("near-duplicates", "--threshold", "0.75", "--pairs", file)
    rows = [
        r
        for r in (json.loads(line) for line in (tmp_path / "set.jsonl").open())
        if r["instruction"] and r["output"]
    ]
    vectors = (
        SentenceEmbedder().embed([question_of(r["instruction"], r["input"]) for r in rows]).astype(np.float64)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    left, right = np.nonzero(np.triu(vectors @ vectors.T, 1) >= 0.75)
    position = [
        n
        for n, r in enumerate(json.loads(line) for line in (tmp_path / "set.jsonl").open())
        if r["instruction"] and r["output"]
    ]
    wanted = [(position[a], position[b]) for a, b in zip(left, right, strict=True)]
    found = [json.loads(line) for line in file.open()]
    assert [(pair["left_row"], pair["right_row"]) for pair in found] == wanted
    assert {pair["left_source"] for pair in found} == {"set.jsonl"}
    for pair, a, b in zip(found, left, right, strict=True):
        assert pair["cosine"] == pytest.approx(vectors[a] @ vectors[b], abs=1e-6)


def test_a_dropped_a_kept_and_a_flagged_row_tell_their_whole_story(
    imported: CommandLine, benchmark: Path, tmp_path: Path
) -> None:
    imported.done("clean")
    imported.done("near-duplicates")
    matches = tmp_path / "matches.jsonl"
    imported.done("decontaminate", "--benchmark", f"tiny={benchmark}", "--matches", matches)
    flagged = next(json.loads(line) for line in matches.open() if json.loads(line)["decision"] == "drop")
    story = imported.done("explain", flagged["sample"])
    assert (
        story["origin"] | {"source": "set.jsonl", "row": 24, "licence": "MIT", "name": "small"}
        == story["origin"]
    )
    (rejection,) = story["stages"][2]["rejections"]
    assert rejection["reason"] == "contaminated_substring"
    assert rejection["evidence"]["benchmark"] == "tiny" and rejection["evidence"]["item"] == "1"
    assert rejection["evidence"]["hits"][0]["matched"] == SOLUTION

    exact = _by_row(imported, 4)  # the shorter answer to "Implement binary search in Java"
    assert exact["stages"][0]["state"] == "dropped"
    keeper = imported.done("explain", exact["stages"][0]["rejections"][0]["evidence"]["keeper"])
    assert keeper["response"].startswith("public static") and keeper["stages"][0]["state"] == "kept"
    assert keeper["stages"][0]["kept_instead_of"][0]["id"] == exact["id"]


def _by_row(cli: CommandLine, number: int) -> dict[str, Any]:
    from curation.store import samples
    from curation.workspace import Workspace

    found = [
        r.id for r in samples.stream(Workspace(cli.workspace).database, ("id", "row")) if r.row == number
    ]
    return cli.done("explain", found[0])


def test_open_questions_stop_assembly_unless_it_is_said_what_happens_to_them(imported: CommandLine) -> None:
    imported.done("clean")
    near = imported.done("near-duplicates")
    assert near["pending"] > 0
    refused = imported("assemble", "v1")
    assert refused.status == 2 and "review cases are open" in refused.err and refused.err.count("\n") == 1
    dropped = imported.done("assemble", "without", "--open", "drop")
    kept = imported.done("assemble", "with", "--open", "keep")
    assert dropped["rows"] == near["kept"]
    assert near["kept"] < kept["rows"] <= near["kept"] + near["pending"]


def test_a_frozen_name_is_never_given_to_other_rows(imported: CommandLine, tmp_path: Path) -> None:
    imported.done("assemble", "v1")
    imported.done("samples", "import", write_jsonl(tmp_path / "more.jsonl", [row("New task", "new answer")]))
    refused = imported("assemble", "v1")
    assert refused.status == 2 and "frozen" in refused.err


def test_assembly_refuses_stages_that_have_not_seen_all_rows(imported: CommandLine, tmp_path: Path) -> None:
    imported.done("clean")
    imported.done("samples", "import", write_jsonl(tmp_path / "more.jsonl", [row("New task", "new answer")]))
    refused = imported("assemble", "v1")
    assert refused.status == 2 and "clean is stale: 1 rows changed" in refused.err


@pytest.mark.parametrize("files", ["jsonl", "parquet"])
@pytest.mark.parametrize("form", ["alpaca", "messages", "prompt-completion", "sharegpt"])
def test_every_export_is_read_by_load_dataset(
    imported: CommandLine, tmp_path: Path, form: str, files: str
) -> None:
    from datasets import load_dataset

    imported.done("assemble", "v1", "--validation", "0.2")
    out = tmp_path / "out"
    report = imported.done("export", "v1", "--format", form, "--files", files, "--to", out)
    loaded = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "validation"}
    assert sum(len(split) for split in loaded.values()) == report["rows"] == 23
    (first,) = (one for split in loaded.values() for one in split if one["row"] == 0)
    assert first["source"] == "set.jsonl" and first["licence"] == "MIT"
    text = json.dumps(first)
    assert "reverses a string" in text and "Answer to task 0" in text


def test_an_export_never_overwrites_a_folder_that_is_not_its_own(
    imported: CommandLine, tmp_path: Path
) -> None:
    imported.done("assemble", "v1")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    refused = imported("export", "v1", "--format", "alpaca", "--to", tmp_path / "mine")
    assert refused.status == 2 and "not empty" in refused.err
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_changed_version_is_not_exported(imported: CommandLine, tmp_path: Path) -> None:
    imported.done("assemble", "v1")
    file = imported.workspace / "datasets" / "v1" / "rows.jsonl"
    file.write_bytes(file.read_bytes().replace(b"Answer", b"answer", 1))
    refused = imported("export", "v1", "--format", "alpaca", "--to", tmp_path / "out")
    assert refused.status == 2 and "changed after it was frozen" in refused.err


def test_a_backup_restored_elsewhere_is_the_same_workspace(
    imported: CommandLine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported.done("clean")
    imported.done("near-duplicates")
    imported.done("assemble", "v1", "--open", "keep")
    imported.done("backup", tmp_path / "all.tar.gz")
    copy = CommandLine(tmp_path / "copy", capsys)
    copy.done("restore", tmp_path / "all.tar.gz")
    assert copy.done("status") == imported.done("status")
    assert copy.done("near-duplicates")["unchanged"]
    assert copy("restore", tmp_path / "all.tar.gz").status == 2, "never over an existing workspace"


def test_a_damaged_backup_is_refused(imported: CommandLine, tmp_path: Path) -> None:
    imported.done("backup", tmp_path / "all.tar.gz")
    data = (tmp_path / "all.tar.gz").read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(data[: len(data) // 2])
    imported.workspace = tmp_path / "copy"
    refused = imported("restore", tmp_path / "half.tar.gz")
    assert refused.status == 2 and "not a whole backup" in refused.err
    assert not (tmp_path / "copy").exists()


def test_size_draws_the_same_rows_every_time_and_says_which_were_left_out(imported: CommandLine) -> None:
    small = imported.done("assemble", "five", "--size", "5")
    again = imported.done("assemble", "five-again", "--size", "5")
    assert small["rows"] == 5 and small["sha256"] == again["sha256"]
    assert small["assemble_reasons"] == {"over_size": 18}


@needs_shared
def test_code_alpaca_against_humaneval_and_mbpp(cli: CommandLine, tmp_path: Path) -> None:
    imported = cli.done("samples", "import", SHARED / "instructions" / "code_alpaca_2k.json.gz")
    assert imported["rejected"] == {"empty_response": 2} and imported["imported"] == 2015
    cli.done("clean")
    near = cli.done("near-duplicates", "--pairs", tmp_path / "pairs.jsonl")
    assert near["samples"] == 2015 == near["kept"] + near["dropped"] + near["pending"]
    assert near["pairs"] == len((tmp_path / "pairs.jsonl").read_text().splitlines())
    names = ["humaneval", "mbpp"]
    words = [w for name in names for w in ("--benchmark", f"{name}={SHARED}/benchmarks/{name}.jsonl.gz")]
    found = cli.done("decontaminate", *words)
    assert found["items"] == 164 + 974
    assert found["samples"] == near["kept"] + near["pending"]
    stages_add_up(cli.done("status"))
    version = cli.done("assemble", "v1", "--open", "drop")
    assert version["rows"] + sum(version["dropped"].values()) == 2015


def test_a_rescued_row_is_pending_and_comes_back_in_the_version(
    imported: CommandLine, benchmark: Path
) -> None:
    imported.done("clean")
    imported.done("near-duplicates", "--preset", "paper")
    imported.done("decontaminate", "--benchmark", f"tiny={benchmark}")
    row = _by_row(imported, 4)
    assert row["stages"][0]["state"] == "dropped"
    imported.done("rescue", row["id"], "--as", "ann")
    stages_add_up_in_clean = imported.done("status")["stages"]["clean"]
    assert stages_add_up_in_clean["pending"] == 1 and stages_add_up_in_clean["dropped"] == 1
    assert sum(stages_add_up_in_clean["reasons"].values()) == 1
    assert "near-duplicates is stale: 1 rows changed" in imported("assemble", "v1").err
    again = imported.done("near-duplicates", "--preset", "paper")
    assert again["samples"] == 22, "it meets the near-duplicates, as every row does"
    assert _by_row(imported, 4)["stages"][1]["state"] == "dropped", "and its longer twin is still there"
    imported.done("rescue", row["id"], "--stage", "near-duplicates")
    imported.done("decontaminate", "--benchmark", f"tiny={benchmark}")
    stages_add_up(imported.done("status"))
    imported.done("assemble", "v1", "--open", "drop")
    assert _by_row(imported, 4)["versions"] == [{"version": "v1", "state": "kept"}]
    imported.done("rescue", row["id"], "--undo")
    assert _by_row(imported, 4)["stages"][0]["state"] == "dropped"
    assert imported("rescue", row["id"], "--undo", "--stage", "clean").status == 2


def test_near_duplicates_are_stale_when_a_keeper_left_their_input(cli: CommandLine, tmp_path: Path) -> None:
    """Else both halves of a pair could go: one for its twin, the twin for something else."""
    rows = [
        row("Reverse a string in Python", "s[::-1]"),
        row("Reverse a string in Python!", "s[::-1] # a longer answer, kept"),
        row("An unrelated task about SQL", "s[::-1]  # a longer answer, kept".replace(" ", "")),
    ]
    cli.done("samples", "import", write_jsonl(tmp_path / "set.jsonl", rows))
    cli.done("clean", "--rule", "platypus")
    assert cli.done("near-duplicates", "--preset", "paper")["dropped"] == 1
    assert cli.done("clean", "--rule", "magicoder")["dropped"] == {"duplicate_solution": 1}
    assert cli.done("status")["stages"]["near-duplicates"]["stale"] == 1
    assert "near-duplicates is stale: 1 rows changed" in cli("assemble", "v1").err
