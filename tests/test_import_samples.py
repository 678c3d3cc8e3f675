"""Import: what becomes of each row of a file, and eight kinds of bad input."""

import gzip
import json
from pathlib import Path

import pytest

from curation.store import decisions, samples
from curation.workspace import Workspace
from tests.workspaces import SHARED, CommandLine, needs_shared, row, write_json_gz, write_jsonl

GOOD = [row("Say hello", "hello", id="a"), row("Say bye", "bye", id="b"), row("Say no", "no", id="c")]


def rejected(cli: CommandLine) -> list[tuple[int, int | None, str, str]]:
    """Give row, line, reason and message of every row that could not be used."""
    db = Workspace(cli.workspace).database
    return [
        (one.row, one.line, one.reason, one.evidence["message"])
        for file in samples.files(db)
        for one in decisions.file_rejection_list(db, file.hash, 100)
    ]


def stored(cli: CommandLine) -> list[tuple[str, int, str]]:
    rows = samples.stream(Workspace(cli.workspace).database, ("source", "row", "instruction"))
    return [(r.source, r.row, r.instruction) for r in rows]


def test_a_row_keeps_its_source_position_licence_and_own_id(cli: CommandLine, tmp_path: Path) -> None:
    file = write_json_gz(tmp_path / "set.json.gz", GOOD)
    cli.done("samples", "import", file, "--name", "greetings", "--licence", "MIT")
    found = list(
        samples.stream(Workspace(cli.workspace).database, ("source", "row", "licence", "name", "file_id"))
    )
    assert [tuple(one)[1:] for one in found] == [
        ("set.json.gz", n, "MIT", "greetings", own) for n, own in enumerate("abc")
    ]


def test_two_equal_rows_are_two_samples_until_clean_drops_one(cli: CommandLine, tmp_path: Path) -> None:
    cli.done("samples", "import", write_jsonl(tmp_path / "set.jsonl", [GOOD[0], GOOD[0]]))
    assert cli.done("clean")["dropped"] == {"exact_duplicate": 1}


def test_the_same_file_under_another_folder_adds_nothing(cli: CommandLine, tmp_path: Path) -> None:
    cli.done("samples", "import", write_jsonl(tmp_path / "set.jsonl", GOOD))
    (tmp_path / "copy").mkdir()
    again = cli.done("samples", "import", write_jsonl(tmp_path / "copy" / "set.jsonl", GOOD))
    assert again["unchanged"] and again["new"] == 0 and again["imported"] == 3
    assert len(stored(cli)) == 3


def test_a_self_instruct_row_gives_one_sample_an_instance(cli: CommandLine, tmp_path: Path) -> None:
    rows = [
        {
            "instruction": "Double it",
            "instances": [{"input": "2", "output": "4"}, {"input": "3", "output": "6"}],
        },
        {"instruction": "Triple it", "instances": []},
        {"instruction": "Halve it", "instances": [{"input": "2", "output": "1"}]},
    ]
    report = cli.done("samples", "import", write_jsonl(tmp_path / "seeds.jsonl", rows))
    assert [(r, text) for _, r, text in stored(cli)] == [(0, "Double it"), (1, "Double it"), (3, "Halve it")]
    assert report["rows"] == 4 and report["rejected"] == {"missing_field": 1}


def test_columns_can_be_named(cli: CommandLine, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "odd.jsonl", [{"frage": "Was?", "antwort": "Das."}])
    assert cli("samples", "import", file).status == 2
    report = cli.done("samples", "import", file, "--instruction", "frage", "--response", "antwort")
    assert report["imported"] == 1


# --- eight kinds of bad input: one clear message each, no traceback, good rows kept ---


def test_1_an_empty_file(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    refused = cli("samples", "import", tmp_path / "empty.jsonl")
    assert refused.status == 2 and "empty.jsonl" in refused.err and refused.err.count("\n") == 1


@pytest.mark.parametrize("name", ["table.csv", "table.json"])
def test_2_a_wrong_format(cli: CommandLine, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("instruction,output\nSay hello,hello\n")
    refused = cli("samples", "import", tmp_path / name)
    assert refused.status == 2 and name in refused.err and refused.err.count("\n") == 1


def test_3_bad_utf8(cli: CommandLine, tmp_path: Path) -> None:
    lines = [json.dumps(one).encode() for one in GOOD]
    lines[1] = lines[1].replace(b"bye", b"b\xffe")
    (tmp_path / "set.jsonl").write_bytes(b"\n".join(lines))
    assert cli.done("samples", "import", tmp_path / "set.jsonl")["imported"] == 2
    assert [one[:3] for one in rejected(cli)] == [(1, 2, "bad_utf8")]


def test_4_a_line_of_50_megabytes(cli: CommandLine, tmp_path: Path) -> None:
    huge = json.dumps(row("Huge", "x" * 50_000_000))
    (tmp_path / "set.jsonl").write_text("\n".join([json.dumps(GOOD[0]), huge, json.dumps(GOOD[2])]))
    assert cli.done("samples", "import", tmp_path / "set.jsonl")["imported"] == 2
    assert [one[:3] for one in rejected(cli)] == [(1, 2, "row_too_long")]


def test_5_json_nested_too_deep(cli: CommandLine, tmp_path: Path) -> None:
    deep = '{"instruction": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (tmp_path / "set.jsonl").write_text("\n".join([json.dumps(GOOD[0]), deep, json.dumps(GOOD[2])]))
    assert cli.done("samples", "import", tmp_path / "set.jsonl")["imported"] == 2
    assert [one[:3] for one in rejected(cli)] == [(1, 2, "too_deep")]


def test_6_duplicate_ids(cli: CommandLine, tmp_path: Path) -> None:
    rows = [GOOD[0], {**GOOD[1], "id": "a"}, GOOD[2]]
    ran = cli("samples", "import", write_jsonl(tmp_path / "set.jsonl", rows))
    assert ran.status == 0 and ran.report["imported"] == 3
    assert "1 ids stand on more than one row, such as 'a'" in ran.err
    again = cli("samples", "import", tmp_path / "set.jsonl")
    assert again.report["unchanged"]


def test_7_a_missing_field(cli: CommandLine, tmp_path: Path) -> None:
    rows = [GOOD[0], {"instruction": "Say what?", "reply": "what"}, GOOD[2]]
    assert cli.done("samples", "import", write_jsonl(tmp_path / "set.jsonl", rows))["imported"] == 2
    ((number, line, reason, message),) = rejected(cli)
    assert (number, line, reason) == (1, 2, "missing_field") and "reply" in message
    ran = cli("samples", "import", tmp_path / "set.jsonl")
    assert f"set.jsonl, line 2: {message}" in ran.err, "the person at the terminal is told, too"
    assert ran.report["bad_rows"] == [{"row": 1, "line": 2, "reason": reason, "message": message}]


def test_8_a_truncated_gz(cli: CommandLine, tmp_path: Path) -> None:
    rows = [row(f"Task number {n}", f"Answer {n * 7919}") for n in range(2_000)]
    whole = gzip.compress("".join(json.dumps(one) + "\n" for one in rows).encode())
    (tmp_path / "set.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    ran = cli("samples", "import", tmp_path / "set.jsonl.gz")
    assert ran.status == 0 and 500 < ran.report["imported"] < 2_000
    assert ran.report["rejected"] == {"truncated": 1}
    ((number, line, _, message),) = rejected(cli)
    assert (
        number == ran.report["imported"]
        and line is not None
        and f"the {number} rows before are whole" in message
    )
    assert [r for _, r, _ in stored(cli)] == list(range(number))


def test_a_file_without_one_usable_row_is_wrong_input(cli: CommandLine, tmp_path: Path) -> None:
    refused = cli("samples", "import", write_jsonl(tmp_path / "set.jsonl", [{"a": 1}, {"a": 2}]))
    assert refused.status == 2 and "no usable row" in refused.err and refused.err.count("\n") == 1


def test_a_hub_set_in_a_local_folder_is_imported(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "greetings").mkdir()
    write_jsonl(tmp_path / "greetings" / "train.jsonl", GOOD)
    report = cli.done("samples", "import", f"hf:{tmp_path / 'greetings'}")
    assert report["imported"] == 3 and {source for source, _, _ in stored(cli)} == {"greetings"}
    assert cli.done("samples", "import", f"hf:{tmp_path / 'greetings'}")["unchanged"]


@needs_shared
@pytest.mark.parametrize(
    ("file", "rows", "bad"),
    [
        ("code_alpaca_2k.json.gz", 2_017, {"empty_response": 2}),
        ("code_seed_tasks.jsonl.gz", 21, {}),
        ("django_nl_code.jsonl.gz", 18_805, {}),
        ("evol_codealpaca_2k_round1.json.gz", 1_966, {}),
        ("new_codealpaca.json.gz", 4_535, {}),
    ],
)
def test_the_real_sets_are_imported_whole(
    cli: CommandLine, file: str, rows: int, bad: dict[str, int]
) -> None:
    report = cli.done("samples", "import", SHARED / "instructions" / file)
    assert report["rows"] == rows and report["rejected"] == bad
    assert report["imported"] == report["new"] == rows - sum(bad.values())
