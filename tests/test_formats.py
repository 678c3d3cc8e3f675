"""A row of any usual shape gives its texts unchanged, or says which field is at fault."""

from pathlib import Path
from typing import Any

import pytest

from curation.formats import FieldMap, Parts, parts_of
from curation.reading import FileRow, read_rows
from curation.records import BadRow

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "instructions"
FOUND = FieldMap()


def parts(value: dict[str, Any], fields: FieldMap = FOUND) -> list[Parts | BadRow]:
    return parts_of(FileRow(7, 9, value), fields)


def good(value: dict[str, Any], fields: FieldMap = FOUND) -> Parts:
    (found,) = parts(value, fields)
    assert isinstance(found, Parts), found
    return found


def bad(value: dict[str, Any], fields: FieldMap = FOUND) -> BadRow:
    (found,) = parts(value, fields)
    assert isinstance(found, BadRow), found
    return found


def texts(found: Parts) -> tuple[str, str, str]:
    return found.instruction, found.input, found.response


@pytest.mark.parametrize(
    "value",
    [
        {"instruction": "q", "input": "", "output": "a"},
        {"instruction": "q", "output": "a"},
        {"instruction": "q", "input": None, "response": "a"},
        {"instruction": "q", "input": "", "output": "", "response": "a"},
        {"prompt": "q", "completion": "a"},
        {"prompt": "q", "response": "a"},
        {"problem": "q", "solution": "a"},
        {"question": "q", "answer": "a"},
        {"instruction": "q", "instances": [{"input": "", "output": "a"}]},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        # the prompt alone is no pair, so the turns are read
        {
            "prompt": "x",
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        },
    ],
)
def test_every_usual_shape_is_recognised(value: dict[str, Any]) -> None:
    assert texts(good(value)) == ("q", "", "a")


def test_texts_are_kept_exactly() -> None:
    assert texts(good({"instruction": " q\n", "input": "\t", "output": "  a \r\n"})) == (
        " q\n",
        "\t",
        "  a \r\n",
    )


def test_output_wins_over_response_and_an_equal_response_is_not_kept() -> None:
    same = good({"instruction": "q", "output": "a", "response": "a"})
    assert (same.response, same.extra) == ("a", {})
    differing = good({"instruction": "q", "output": "a", "response": "b"})
    assert (differing.response, differing.extra) == ("a", {"response": "b"})


def test_the_columns_a_user_names_win_over_those_found() -> None:
    value = {"instruction": "i", "output": "o", "task": "q", "context": "c", "best": "a"}
    assert texts(good(value, FieldMap("task", "context", "best"))) == ("q", "c", "a")
    assert texts(good(value, FieldMap(instruction="task"))) == ("q", "", "o")
    assert texts(good(value, FieldMap(response="best"))) == ("i", "", "a")
    assert texts(good(value, FieldMap(input="context"))) == ("i", "c", "o")
    assert good(value, FieldMap("task", "context", "best")).extra == {"instruction": "i", "output": "o"}


def test_a_named_column_that_a_row_lacks_is_named_with_the_columns_there_are() -> None:
    for fields in (FieldMap(instruction="task"), FieldMap(input="task"), FieldMap(response="task")):
        row = bad({"instruction": "i", "output": "o"}, fields)
        assert row.reason == "missing_field"
        assert "'task'" in row.message and "instruction, output" in row.message


def test_a_bad_row_says_where_it_stands_and_shows_its_beginning() -> None:
    row = bad({"instruction": "q" * 500, "output": ""})
    assert (row.position, row.line, row.reason) == (7, 9, "empty_response")
    assert row.excerpt.startswith('{"instruction": "qqq') and len(row.excerpt) == 200


@pytest.mark.parametrize(
    ("value", "reason", "word"),
    [
        ({"instruction": "", "output": "a"}, "empty_instruction", "instruction"),
        ({"instruction": None, "output": "a"}, "empty_instruction", "instruction"),
        ({"instruction": "q", "output": " \n\t"}, "empty_response", "output"),
        ({"instruction": "q", "output": None}, "empty_response", "output"),
        ({"instruction": "q"}, "missing_field", "'output' or 'response'"),
        ({"a": 1, "b": 2}, "missing_field", "a, b"),
        ({}, "missing_field", "no fields"),
        ({"instruction": ["q"], "output": "a"}, "wrong_type", "a list"),
        ({"instruction": "q", "output": 5}, "wrong_type", "a number"),
        ({"instruction": "q", "output": True}, "wrong_type", "true or false"),
        ({"instruction": "q", "input": {}, "output": "a"}, "wrong_type", "'input'"),
        ({"instruction": "q", "instances": []}, "missing_field", "instances"),
        ({"instruction": "q", "instances": "x"}, "wrong_type", "instances"),
        ({"instances": [{"output": "a"}]}, "missing_field", "instruction"),
        ({"messages": []}, "missing_field", "messages"),
        ({"messages": None}, "wrong_type", "null"),
        ({"messages": [{"role": "user", "content": "q"}]}, "missing_field", "user"),
        ({"messages": ["q", "a"]}, "wrong_type", "messages[0]"),
        ({"messages": [{"role": "user", "content": [1]}]}, "wrong_type", "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "missing_field", "messages[0].content"),
        (
            {"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}]},
            "missing_field",
            "assistant, user",
        ),
        (
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None}]},
            "empty_response",
            "assistant",
        ),
    ],
)
def test_what_is_wrong_is_named(value: dict[str, Any], reason: str, word: str) -> None:
    row = bad(value)
    assert row.reason == reason
    assert word in row.message


def test_a_conversation_of_several_turns_is_no_row() -> None:
    turns = [{"role": who, "content": "x"} for who in ("user", "assistant", "user", "assistant")]
    assert bad({"messages": turns}).reason == "several_turns"


def test_the_system_text_is_kept_beside_the_texts() -> None:
    turns = [
        {"from": "system", "value": "be kind"},
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "a"},
    ]
    found = good({"conversations": turns, "lang": "en"})
    assert texts(found) == ("q", "", "a")
    assert found.extra == {"system": "be kind", "lang": "en"}


def test_each_instance_is_a_row_and_a_bad_one_leaves_the_others() -> None:
    value = {
        "id": "seed_1",
        "instruction": "q",
        "instances": [{"input": "x", "output": "a"}, {"input": "y"}, {"output": "b"}],
    }
    first, second, third = parts(value)
    assert isinstance(first, Parts) and isinstance(second, BadRow) and isinstance(third, Parts)
    assert texts(first) == ("q", "x", "a") and texts(third) == ("q", "", "b")
    assert first.file_id == third.file_id == "seed_1"
    assert (second.reason, second.position) == ("missing_field", 7)
    assert "instances[1].output" in second.message


@pytest.mark.parametrize(
    ("columns", "file_id"),
    [
        ({"id": "x"}, "x"),
        ({"id": 12}, "12"),
        ({"task_id": "t"}, "t"),
        ({"_id": "u"}, "u"),
        ({"uuid": "v"}, "v"),
        ({"id": None, "uuid": "v"}, "v"),
        ({"id": True}, None),
        ({"id": ""}, None),
        ({}, None),
    ],
)
def test_the_id_a_file_gives_is_kept_as_text(columns: dict[str, Any], file_id: str | None) -> None:
    assert good({"instruction": "q", "output": "a", **columns}).file_id == file_id


def test_small_scalar_columns_are_kept_and_nothing_else() -> None:
    extra = {"lang": "python", "n": 3, "x": 0.5, "ok": True}
    dropped = {
        "long": "y" * 2001,
        "list": [1],
        "object": {"a": 1},
        "none": None,
        "text": "### why?\n### Because.",
        "copy": "why?",
    }
    found = good({"id": "1", "instruction": "why?", "output": "Because.", **extra, **dropped})
    assert found.extra == extra


def test_the_parts_of_an_infilling_row_are_kept_whole() -> None:
    """Also one that repeats the response, is empty or long: without it the row would train as text."""
    parts = {"prefix": "def f(a):\n" * 500, "middle": "return a", "suffix": ""}

    found = good({"instruction": "fill", "output": "return a", **parts})

    assert found.extra == parts


def test_a_message_stays_short_however_many_columns_there_are() -> None:
    row = bad({f"column {n} {'x' * 500}": n for n in range(5000)})
    assert len(row.message) < 800
    assert "4988 more" in row.message


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared data is not beside this checkout")
@pytest.mark.parametrize(
    ("name", "usable", "faults"),
    [
        ("code_alpaca_2k.json.gz", 2015, ["empty_response", "empty_response"]),
        ("new_codealpaca.json.gz", 4535, []),
        ("code_seed_tasks.jsonl.gz", 21, []),
        ("django_nl_code.jsonl.gz", 18805, []),
        ("evol_codealpaca_2k_round1.json.gz", 1966, []),
    ],
)
def test_the_real_sets_give_their_rows(name: str, usable: int, faults: list[str]) -> None:
    found = [
        part for row in read_rows(REAL / name) if isinstance(row, FileRow) for part in parts_of(row, FOUND)
    ]
    assert sum(isinstance(part, Parts) for part in found) == usable
    assert [part.reason for part in found if isinstance(part, BadRow)] == faults
