"""Contamination: which row is dropped, asked or kept, and why; and what verdicts change."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workspaces import SHARED, CommandLine, needs_shared, row, write_jsonl

LONG = """def running_maximum(numbers):
    best = None
    for number in numbers:
        best = number if best is None else max(best, number)
    return best"""
SHORT = "return number % 1.0"
TEXT = "Given a list of integers, return the list of rolling maximum elements found until the given moment."
ITEMS = [
    {"task_id": "T/0", "prompt": TEXT, "canonical_solution": LONG},
    {
        "task_id": "T/1",
        "prompt": "Return the decimal part of a positive floating point number.",
        "canonical_solution": SHORT,
    },
    {
        "task_id": "T/2",
        "prompt": "Count the vowels in a word, y at the end counts too.",
        "canonical_solution": "def vowels(w): return sum(c in 'aeiou' for c in w) + w.endswith('y')",
    },
]
ROWS = [
    row("Unrelated: explain photosynthesis", "Plants turn light into sugar."),  # 0 kept
    row(
        "Write a loop", f"Sure!\r\n{LONG.upper()}".replace("\n", "\r\n")
    ),  # 1 a long hit: case and CR LF do not hide it
    row(
        "Steer a boat in a game",
        f"The crew trims the sail to the wind, logs it at the port, then: {SHORT}. After that they sleep.",
    ),  # 2 a short hit: asked
    row(
        "Given a list of integers, return a list of rolling maximum elements found until a given moment",
        "see above",
    ),  # 3 cosine
    row("Cook rice", "Wash it, then boil it."),  # 4 kept
]


@pytest.fixture
def checked(cli: CommandLine, tmp_path: Path) -> CommandLine:
    write_jsonl(tmp_path / "bench.jsonl", ITEMS)
    cli.done("samples", "import", write_jsonl(tmp_path / "rows.jsonl", ROWS))
    return cli


def check(cli: CommandLine, tmp_path: Path, *more: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    file = tmp_path / "matches.jsonl"
    report = cli.done(
        "decontaminate", "--benchmark", f"bench={tmp_path}/bench.jsonl", "--matches", file, *more
    )
    return report, [json.loads(line) for line in file.open()]


def decided(matches: list[dict[str, Any]]) -> dict[int, str]:
    return {match["row"]: match["decision"] for match in matches}


def test_a_long_hit_is_dropped_a_short_one_and_a_near_one_are_asked(
    checked: CommandLine, tmp_path: Path
) -> None:
    report, matches = check(checked, tmp_path)
    assert decided(matches) == {1: "drop", 2: "ask", 3: "ask"}
    assert report["samples"] == 5 == report["kept"] + report["dropped"] + report["pending"]
    assert (report["dropped"], report["asked"], report["pending"]) == (1, 2, 2)
    assert report["contaminated_items"] == 2
    by = {(match["row"], match["detector"]): match for match in matches}
    assert by[1, "substring"]["item"] == "T/0" and by[1, "joint"]["score"] == 1.0
    assert by[2, "substring"]["item"] == "T/1" and by[2, "joint"]["score"] < 1.0, "a short hit proves nothing"
    assert by[3, "cosine"]["score"] == by[3, "joint"]["score"] > 0.8
    assert report["matches"] == {
        name: sum(match["detector"] == name for match in matches) for name in ("substring", "cosine", "joint")
    }


def test_a_wide_band_lists_the_joint_score_of_every_row(checked: CommandLine, tmp_path: Path) -> None:
    _, matches = check(checked, tmp_path, "--band", "0:1")
    assert {match["row"] for match in matches if match["detector"] == "joint"} == {0, 1, 2, 3, 4}
    assert {match["item"] for match in matches} == {"T/0", "T/1", "T/2"}, (
        "each item's nearest row is listed, too"
    )


def test_a_band_that_ends_below_1_drops_what_lies_above_it(checked: CommandLine, tmp_path: Path) -> None:
    _, matches = check(checked, tmp_path, "--band", "0.7:0.85")
    assert decided(matches)[3] == "drop"
    assert decided(matches)[2] == "ask", "a short hit is never dropped without asking"


def test_beyond_the_budget_rows_are_kept_and_listed(checked: CommandLine, tmp_path: Path) -> None:
    report, matches = check(checked, tmp_path, "--budget", "1")
    assert decided(matches) == {1: "drop", 2: "over budget", 3: "ask"}, "the band is asked first"
    assert (report["asked"], report["over_budget"], report["kept"]) == (1, 1, 3)


def test_one_detector_alone(checked: CommandLine, tmp_path: Path) -> None:
    assert decided(check(checked, tmp_path, "--detectors", "substring")[1]) == {1: "drop", 2: "ask"}
    assert decided(check(checked, tmp_path, "--detectors", "cosine")[1]) == {1: "ask", 3: "ask"}


def test_a_changed_benchmark_file_is_refused(checked: CommandLine, tmp_path: Path) -> None:
    check(checked, tmp_path)
    write_jsonl(tmp_path / "bench.jsonl", ITEMS[:2])
    refused = checked("decontaminate", "--benchmark", f"bench={tmp_path}/bench.jsonl")
    assert refused.status == 2 and "pinned" in refused.err and refused.err.count("\n") == 1


def question(cli: CommandLine, instruction: str) -> dict[str, Any]:
    items = cli.done("review", "list")["items"]
    return next(item for item in items if item["left"]["instruction"].startswith(instruction))


def test_a_verdict_takes_effect_at_once_and_is_never_asked_again(
    checked: CommandLine, tmp_path: Path
) -> None:
    check(checked, tmp_path)
    drop = question(checked, "Given a list")
    checked.done("review", "vote", drop["item"], "gray-area:drop", "--as", "ann", "--note", "same task")
    keep = question(checked, "Steer a boat")
    counts = checked.done("review", "vote", keep["item"], "different:keep", "--as", "ann")
    assert counts["open"] == 0 and counts["settled"] == 2
    report, matches = check(checked, tmp_path)
    assert report["unchanged"] and decided(matches) == {1: "drop", 2: "keep", 3: "drop"}
    story = checked.done("explain", drop["left"]["id"])["stages"][0]
    assert story["state"] == "dropped"
    assert story["rejections"][0]["reason"] == "contaminated_verdict"
    assert story["rejections"][0]["evidence"]["verdict"] == "gray-area:drop"
    assert (
        story["review"][0]["votes"][0] | {"person": "ann", "note": "same task"}
        == story["review"][0]["votes"][0]
    )

    # Another file with an equal row: the same contents are not asked about twice.
    checked.done("samples", "import", write_jsonl(tmp_path / "again.jsonl", [*ROWS[2:4], row("New", "row")]))
    report, matches = check(checked, tmp_path)
    assert not report["unchanged"] and report["asked"] == 0
    assert {(m["source"], m["row"]): m["decision"] for m in matches}["again.jsonl", 1] == "drop"
    assert report["samples"] == 8 == report["kept"] + report["dropped"] + report["pending"]


def test_an_idiom_is_no_evidence_anywhere_any_more(checked: CommandLine, tmp_path: Path) -> None:
    other = row(
        "Something else entirely, about floats in a game",
        f"Call the referee, keep the ball out of play, {SHORT}; whistle, and go on with the match.",
    )
    checked.done("samples", "import", write_jsonl(tmp_path / "more.jsonl", [other]))
    report, _ = check(checked, tmp_path)
    assert report["asked"] == 3
    left = checked.done("review", "vote", question(checked, "Steer a boat")["item"], "idiom:keep")
    assert left["open"] == 1, "the other row with that phrase is no question any more"
    again, matches = check(checked, tmp_path)
    assert again["asked"] == 1
    assert {m["decision"] for m in matches if m["source"] == "more.jsonl"} == {"keep"}
    checked.done("review", "undo")
    assert checked.done("review", "list")["open"] == 3


def test_undo_asks_again_under_a_new_version(checked: CommandLine, tmp_path: Path) -> None:
    check(checked, tmp_path)
    first = question(checked, "Given a list")["item"]
    checked.done("review", "vote", first, "duplicate:drop")
    assert checked.done("review", "undo")["open"] == 2
    assert check(checked, tmp_path)[0]["dropped"] == 1
    stale = checked("review", "vote", first, "duplicate:keep")
    assert stale.status == 2 and question(checked, "Given a list")["item"] in stale.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("review", "vote", "nothing@1", "keep-both"), "There is no review item 'nothing'"),
        (("review", "vote", "nothing", "keep-both"), "must be ID@VERSION"),
        (("decontaminate", "--benchmark", "unheard-of"), "unheard-of"),
        (("decontaminate", "--benchmark", "b=/nowhere.jsonl"), "/nowhere.jsonl"),
        (("decontaminate", "--benchmark", "b=x", "--band", "0.9:0.1"), "LOW <= HIGH"),
        (("decontaminate", "--benchmark", "b=x", "--detectors", "smell"), "substring,cosine"),
        (("near-duplicates", "--threshold", "0.5", "--floor", "0.6"), "floor <= threshold"),
        (("near-duplicates", "--preset", "paper", "--budget", "3"), "leave them out"),
        (("assemble", "../v1"), "cannot name a version"),
        (("export", "v9", "--format", "alpaca", "--to", "x"), "There is no version 'v9'"),
        (("explain", "ffffffff"), "No sample"),
        (("samples", "import", "/nowhere.jsonl"), "/nowhere.jsonl"),
        (("example", "--rows", "0"), "at least 1"),
        (("no-such-command",), "no-such-command"),
    ],
)  # fmt: skip
def test_wrong_words_get_one_clear_line(checked: CommandLine, words: tuple[str, ...], complaint: str) -> None:
    ran = checked(*words)
    assert ran.status == 2
    assert complaint in ran.err and ran.err.count("\n") == 1
    assert "Traceback" not in ran.err


@needs_shared
def test_magicoders_exempt_solutions_are_short_hits_and_are_asked(cli: CommandLine, tmp_path: Path) -> None:
    """HumanEval/53 (sum of two), /23 (length) and /41 (square) flag innocent rows: recipes 1.6."""
    rows = [
        row("Add", "def add(x, y):\n    return x + y"),
        row("Length", "def n(string):\n    return len(string)"),
    ]
    cli.done("samples", "import", write_jsonl(tmp_path / "rows.jsonl", rows))
    file = SHARED / "benchmarks" / "humaneval.jsonl.gz"
    report = cli.done(
        "decontaminate",
        "--benchmark",
        f"humaneval={file}",
        "--matches",
        tmp_path / "m.jsonl",
        "--detectors",
        "substring",
    )
    matches = [json.loads(line) for line in (tmp_path / "m.jsonl").open()]
    assert report["dropped"] == 0 and report["asked"] == 2
    assert {(m["row"], m["item"]) for m in matches} == {(0, "HumanEval/53"), (1, "HumanEval/23")}
