"""A benchmark is loaded whole or refused with the line at fault."""

import gzip
import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from curation.benchmarks import KNOWN, load_benchmark, parse_benchmark, problem_string
from curation.errors import WrongInput

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data" / "benchmarks"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the published benchmark files are not in {SHARED}"
)

ROWS = [
    {"task_id": 1, "text": "Add two numbers.", "code": "def add(a, b):\r\n    return a + b\r"},
    {"task_id": 2, "text": "Reverse a string.", "code": "def reverse(s):\n    return s[::-1]\n"},
]


def lines(*rows: object) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


@pytest.fixture
def mbpp(tmp_path):
    """Write bytes as a file and give the spec that loads it as MBPP."""

    def write(data: bytes, name: str = "file.jsonl") -> str:
        (tmp_path / name).write_bytes(data)
        return f"mbpp={tmp_path / name}"

    return write


def refusal(spec: str) -> str:
    with pytest.raises(WrongInput) as caught:
        load_benchmark(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_row_becomes_an_item_with_plain_line_ends(mbpp):
    loaded = load_benchmark(mbpp(lines(*ROWS)))

    first, second = loaded.items
    assert (first.benchmark, first.item, second.item) == ("mbpp", "1", "2")
    assert first.problem == first.problem_string == "Add two numbers."
    assert first.solution == "def add(a, b):\n    return a + b\n"
    assert first.solution_string == "def add(a, b):\n    return a + b"
    assert (loaded.revision, loaded.verified) == (None, False)


def test_the_same_content_has_the_same_hash_however_it_is_packed(mbpp):
    data = lines(*ROWS)
    plain = load_benchmark(mbpp(data))
    packed = load_benchmark(mbpp(gzip.compress(data), "file.jsonl.gz"))
    misnamed = load_benchmark(mbpp(gzip.compress(data, 1, mtime=1), "other.jsonl"))

    assert plain.sha256 == packed.sha256 == misnamed.sha256 == sha256(data).hexdigest()
    assert plain.items == packed.items == misnamed.items


def test_an_array_gives_the_same_items_as_lines(mbpp):
    array = mbpp(json.dumps(ROWS, indent=2).encode(), "file.json")

    assert load_benchmark(array).items == load_benchmark(mbpp(lines(*ROWS))).items


def test_blank_lines_a_mark_of_byte_order_and_odd_line_separators_do_no_harm(mbpp):
    row = {**ROWS[0], "text": "Join with \u2028 here."}
    data = b"\xef\xbb\xbf" + json.dumps(row, ensure_ascii=False).encode() + b"\r\n\r\n" + lines(ROWS[1])

    assert [item.item for item in load_benchmark(mbpp(data)).items] == ["1", "2"]


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (b"{not json}\n", ["line 3", "not JSON"]),
        (b'{"task_id": 3, "text": "Cut sh', ["line 3", "not JSON"]),
        (b"[" * 100_000 + b"\n", ["line 3", "not JSON"]),
        (b'"a text"\n', ["line 3", "no JSON object"]),
        (lines({"task_id": 3, "text": "No code."}), ["line 3", "'code'"]),
        (lines({**ROWS[0], "task_id": 3, "text": "  "}), ["line 3", "'text'", "not empty"]),
        (lines({**ROWS[0], "task_id": 3, "code": None}), ["line 3", "'code'"]),
        (lines({**ROWS[0], "task_id": 3, "code": ["x"]}), ["line 3", "'code'", "list"]),
        (lines({**ROWS[0], "task_id": True}), ["line 3", "'task_id'", "bool"]),
        (lines({**ROWS[0], "task_id": None}), ["line 3", "'task_id'"]),
        (lines({**ROWS[0], "task_id": "2"}), ["line 3", "'task_id'", "line 2", "its own id"]),
        (lines({**ROWS[0], "task_id": 3, "text": "half \ud800"}), ["line 3", "'text'", "surrogate"]),
        (b'{"task_id": 3, "text": "\xff"}\n', ["line 3", "UTF-8"]),
    ],
)
def test_one_bad_row_refuses_the_file_and_names_the_line(mbpp, bad, named):
    message = refusal(mbpp(lines(*ROWS) + bad))

    assert "file.jsonl" in message
    for part in named:
        assert part in message


def test_a_bad_row_of_an_array_is_named_by_its_position(mbpp):
    message = refusal(mbpp(json.dumps([ROWS[0], {"task_id": 2, "text": "No code."}]).encode()))

    assert "row 1 (from 0)" in message


def test_a_missing_field_is_named_with_those_that_are_there(mbpp):
    message = refusal(mbpp(lines({"task_id": 1, "prompt": "Add.", "code": "x = 1"})))

    assert "line 1 has no field 'text', only 'task_id', 'prompt', 'code'" in message


def test_a_known_benchmark_without_ids_is_refused(mbpp):
    assert "no field 'task_id'" in refusal(mbpp(lines({"text": "Add.", "code": "x = 1"})))


@pytest.mark.parametrize("data", [b"", b"\n\n", b"[]"])
def test_a_file_without_rows_is_refused(mbpp, data):
    assert "has no rows" in refusal(mbpp(data))


@pytest.mark.parametrize("cut", [12, 60])
def test_a_damaged_gzip_file_is_refused(mbpp, cut):
    assert "damaged gzip" in refusal(mbpp(gzip.compress(lines(*ROWS))[:cut]))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "there is no file" in refusal(f"mbpp={tmp_path}/none.jsonl")
    assert "cannot be read" in refusal(f"mbpp={tmp_path}")


def test_a_file_under_a_name_of_ones_own_is_read_by_likely_fields(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_bytes(lines(
        {"instruction": "Say hello.", "response": "print('hello')", "note": "x"},
        {"instruction": "Say bye.", "response": "print('bye')"},
    ))  # fmt: skip
    loaded = load_benchmark(f"mine={file}")

    assert [(i.item, i.problem, i.solution) for i in loaded.items] == [
        ("0", "Say hello.", "print('hello')"),
        ("1", "Say bye.", "print('bye')"),
    ]


def test_mbppplus_is_read_with_the_fields_of_github_and_of_the_hub(tmp_path):
    for field in ("canonical_solution", "code"):
        file = tmp_path / f"{field}.jsonl"
        file.write_bytes(lines({"task_id": "Mbpp/2", "prompt": "Add.", field: "x = 1"}))
        (item,) = load_benchmark(f"mbppplus={file}").items
        assert item.solution == "x = 1"


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("nonsense", "NAME=FILE"),
        ("nonsense", "humaneval, mbpp"),
        ("nonsense", "pystdlib"),
        ("", "unknown benchmark"),
        ("=file.jsonl", "lacks its name"),
        ("mbpp=", "lacks its file"),
        ("pystdlib=file.jsonl", "leave out the file"),
    ],
)
def test_a_wrong_spec_is_answered_with_the_right_ones(spec, part):
    with pytest.raises(WrongInput, match=part):
        parse_benchmark(spec)


def test_a_spec_is_cut_at_the_first_equals_sign():
    assert parse_benchmark("mine=a=b.jsonl") == ("mine", Path("a=b.jsonl"))
    assert parse_benchmark("humaneval") == ("humaneval", None)


PROMPT = '''\
def helper(x):
    """ Help.
    """

def wanted(x):
    import math
    """ Give what is wanted.
    >>> wanted(1)
    """
'''


def test_the_docstring_of_the_entry_point_counts():
    assert problem_string(PROMPT, "wanted") == "Give what is wanted.\n    >>> wanted(1)"
    assert problem_string(PROMPT.replace('"""', "'''"), "wanted").startswith("Give what is wanted.")
    assert problem_string(PROMPT, None).startswith("Give what is wanted.")


def test_a_text_is_taken_as_it_is():
    text = '  Write def wanted(x) with a """docstring""" of your own. \n'

    assert problem_string(text, None) == text.strip()


def test_a_problem_that_is_one_string_loses_its_quotes_and_the_added_assertion():
    problem = '"""\nWrite a function to add.\nassert add(1, 2) == 3\n"""\n'

    assert problem_string(problem, "add") == "Write a function to add."


class ScriptedHub:
    """Gives the rows it was handed, and remembers what it was asked for."""

    def __init__(self, rows):
        self.rows = rows
        self.asked = []

    def __call__(self, fields, revision):
        self.asked.append((fields.hub_id, fields.splits, revision))
        return revision or "abc123", self.rows


def test_a_bare_name_is_read_from_the_hub_at_a_revision_that_is_kept():
    hub = ScriptedHub(ROWS)
    loaded = load_benchmark("mbpp", hub=hub)
    again = load_benchmark("mbpp", revision="abc123", hub=hub)

    splits = ("prompt", "test", "validation", "train")
    asked = "google-research-datasets/mbpp", splits
    assert hub.asked == [(*asked, None), (*asked, "abc123")]
    assert (loaded.revision, loaded.origin) == ("abc123", "hub google-research-datasets/mbpp")
    assert loaded == again
    assert [item.item for item in loaded.items] == ["1", "2"]


def test_a_bad_row_of_the_hub_refuses_the_benchmark():
    with pytest.raises(WrongInput, match="row 1, field 'code'"):
        load_benchmark("mbpp", hub=ScriptedHub([ROWS[0], {**ROWS[1], "code": ""}]))
    with pytest.raises(WrongInput, match="no rows"):
        load_benchmark("mbpp", hub=ScriptedHub([]))


def test_without_the_hub_the_user_is_told_to_give_a_file():
    program = (
        "from curation.benchmarks import load_benchmark\n"
        "from curation.errors import SourceUnavailable\n"
        "try:\n    load_benchmark('humaneval')\n"
        "except SourceUnavailable as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert "openai/openai_humaneval" in done.stdout
    assert "NAME=FILE" in done.stdout


def test_every_known_benchmark_says_where_the_hub_keeps_it():
    assert all(fields.hub_id and fields.splits for fields in KNOWN.values())


def test_the_standard_library_is_a_benchmark_of_its_own():
    loaded = load_benchmark("pystdlib")
    items = {item.item: item for item in loaded.items}

    assert len(items) == len(loaded.items) > 5_000
    dedent = items["textwrap.dedent"]
    assert dedent.problem == dedent.problem_string
    assert dedent.problem.startswith("Remove any common leading whitespace")
    assert dedent.solution.startswith("def dedent(text):\n")
    assert "Remove any common" not in dedent.solution
    assert any("@" in name for name in items)  # setlocale is defined twice in locale.py
    assert loaded.revision == ".".join(map(str, sys.version_info[:3]))


@needs_shared
@pytest.mark.parametrize(
    ("name", "file", "count", "verified"),
    [
        ("humaneval", "humaneval.jsonl.gz", 164, True),
        ("humanevalplus", "humaneval_plus.jsonl.gz", 164, False),
        ("mbpp", "mbpp.jsonl.gz", 974, True),
        ("mbppplus", "mbpp_plus.jsonl.gz", 378, False),
        ("gsm8k", "gsm8k_test.jsonl.gz", 1_319, False),
        ("mbpp-sanitized", "mbpp_sanitized.json.gz", 427, False),
    ],
)
def test_the_published_files_are_loaded_whole(name, file, count, verified):
    loaded = load_benchmark(f"{name}={SHARED / file}")

    assert len(loaded.items) == count
    assert loaded.verified is verified
    assert not any("\r" in item.problem + item.solution for item in loaded.items)


@needs_shared
@pytest.mark.parametrize("file", ["humaneval.jsonl.gz", "humaneval_plus.jsonl.gz"])
def test_the_docstring_of_every_humaneval_problem_is_found(file):
    items = {item.item: item for item in load_benchmark(f"humaneval={SHARED / file}").items}

    assert len(items) == 164
    for item in items.values():
        assert item.problem_string in item.problem
        assert "def " not in item.problem_string.split("\n")[0]
        assert '"""' not in item.problem_string and "'''" not in item.problem_string
        assert len(item.problem_string) >= 50
    starts = {
        10: "Find the shortest palindrome",
        32: "xs are coefficients of a polynomial",
        38: "takes as input string encoded with encode_cyclic",
        50: "takes as input string encoded with encode_shift",
        64: "Write a function vowels_count",
        115: "You are given a rectangular grid of wells",
    }
    for number, start in starts.items():
        assert items[f"HumanEval/{number}"].problem_string.startswith(start)


@needs_shared
def test_mbppplus_has_the_texts_of_the_edition_it_was_made_from():
    sanitized = {i.item: i for i in load_benchmark(f"s={SHARED / 'mbpp_sanitized.json.gz'}").items}
    plus = load_benchmark(f"mbppplus={SHARED / 'mbpp_plus.jsonl.gz'}").items
    same = [item for item in plus if sanitized[item.item.split("/")[1]].problem_string == item.problem_string]

    assert len(same) == 360  # EvalPlus reworded the other 18
