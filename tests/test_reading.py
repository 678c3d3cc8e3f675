"""Files of any size and state give every good row, and say what is wrong with the others."""

import gzip
import hashlib
import json
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.errors import SourceUnavailable, WrongInput
from curation.reading import ROW_LIMIT, FileRow, read_rows, sha256_of
from curation.records import BadRow

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "instructions"
ROWS = [
    {"instruction": f"sort {n} \u00fc\U0001f40d", "input": 'a\\"b]}', "output": f"x = [{n}, {{}}]"}
    for n in range(9)
]
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(data: bytes | str, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


def values(path: Path, chunk_size: int = 1 << 17) -> list[Any]:
    """Give the rows of a file that has no bad one."""
    found = list(read_rows(path, chunk_size))
    assert not [row for row in found if isinstance(row, BadRow)]
    return [row.value for row in found if isinstance(row, FileRow)]


def outcome(path: Path, chunk_size: int = 1 << 17) -> tuple[list[Any], list[BadRow]]:
    """Give the good and the bad rows, after checking that every row has its position."""
    found = list(read_rows(path, chunk_size))
    assert [row.position for row in found] == list(range(len(found)))
    good = [row.value for row in found if isinstance(row, FileRow)]
    return good, [row for row in found if isinstance(row, BadRow)]


# --- kinds of files ------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n \r\n"], ids=["", "bom", "blank"])
@pytest.mark.parametrize(
    "text",
    [
        "\n".join(LINES),
        "\r\n".join(LINES) + "\r\n",
        "\n\n  \n".join(LINES) + "\n",
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2) + "\n",
        json.dumps(ROWS, indent=2).replace("\n", "\r\n"),
        json.dumps({"data": ROWS}),
        json.dumps({"version": "1", "data": ROWS, "n": {"a": [1]}}),
        json.dumps({"version": "1", "rows": ROWS, "tags": ["a"]}, indent=3),
        '{"data": [\n' + ",\n".join(LINES) + "\n]}",
    ],
)
def test_every_kind_of_json_is_known_by_its_content(
    written: Callable[..., Path], text: str, mark: bytes, pack: Callable[[bytes], bytes]
) -> None:
    path = written(pack(mark + text.encode()), "rows.json.gz" if pack is gzip.compress else "rows.json")
    for chunk_size in (1, 5, 1 << 17):
        assert values(path, chunk_size) == ROWS


def test_gzip_is_known_without_its_name_and_in_several_members(written: Callable[..., Path]) -> None:
    packed = gzip.compress(f"{LINES[0]}\n{LINES[1][:9]}".encode()) + gzip.compress(LINES[1][9:].encode())
    assert values(written(packed + b"\0" * 9, "rows.json")) == ROWS[:2]


def test_an_empty_array_has_no_rows(written: Callable[..., Path]) -> None:
    assert values(written(" [ \n] ", "rows.json")) == []


def test_one_row_with_a_list_of_objects_in_it_is_a_row(written: Callable[..., Path]) -> None:
    for row in ({"messages": [{"role": "user"}]}, {"instruction": "q", "sources": [{"a": 1}]}):
        assert values(written(json.dumps(row))) == [row]


def test_lines_and_positions_count_what_a_person_counts(written: Callable[..., Path]) -> None:
    lines = list(read_rows(written('\n{"a": 1}\n\n{oops}\n{"a": 3}')))
    assert [(row.position, row.line, type(row)) for row in lines] == [
        (0, 2, FileRow),
        (1, 4, BadRow),
        (2, 5, FileRow),
    ]
    array = list(read_rows(written('[\n {"a":\n  1},\n\n {"a": "x\n"}, {"a": 3}\n]'), 3))
    assert [(row.position, row.line, type(row)) for row in array] == [
        (0, 2, FileRow),
        (1, 5, BadRow),
        (2, 6, FileRow),
    ]


@pytest.mark.parametrize(
    ("data", "name", "word"),
    [
        (b"", "rows.jsonl", "empty"),
        (b" \n\r\n\t", "rows.jsonl", "empty"),
        (gzip.compress(b"", mtime=0), "rows.jsonl.gz", "empty"),
        (b'{"a": 1}\n', "rows.jsonl.gz", "not gzip"),
        (gzip.compress(b'{"a": 1}\n', mtime=0)[:7], "rows.jsonl.gz", "breaks off"),
        (b"a,b\n1,2\n", "rows.csv", "neither JSON nor Parquet"),
        (b"a,b\n1,2\n", "rows.jsonl", "neither JSON nor Parquet"),
        (b"PK\x03\x04rest", "rows.json", "zip"),
        (b"\x7fELF\0\0", "rows.json", "neither JSON"),
        (b"\0\1\2", "rows.json", "binary"),
        ('{"a": 1}'.encode("utf-16"), "rows.json", "UTF-16"),
        ('{"a": 1}'.encode("utf-16-le"), "rows.json", "UTF-16"),
        ('[{"a": 1}]'.encode("utf-16-be"), "rows.json", "UTF-16"),
        (gzip.compress(b"PAR1....", mtime=0), "rows.parquet.gz", "unpack"),
        (b'{\n "a": 1\n}', "rows.json", "one object"),
        (b'{"a": [{}], "b": [{}]}', "rows.json", "'a', 'b'"),
        (b"PAR1 not really", "rows.json", "Parquet"),
        (b'{"a": 1}', "rows.parquet", "Parquet"),
    ],
)
def test_a_file_of_another_kind_is_refused_at_once(
    written: Callable[..., Path], data: bytes, name: str, word: str
) -> None:
    path = written(data, name)
    with pytest.raises(WrongInput) as caught:
        read_rows(path)
    message = str(caught.value)
    assert word in message and str(path) in message and "\n" not in message


def test_a_folder_and_a_missing_file_are_refused_with_the_next_thing_to_try(tmp_path: Path) -> None:
    for use in (read_rows, sha256_of):
        with pytest.raises(WrongInput, match="folder"):
            use(tmp_path)
        with pytest.raises(WrongInput, match="not there; check the path"):
            use(tmp_path / "none.jsonl")


def test_the_hash_is_of_the_stored_bytes(written: Callable[..., Path]) -> None:
    data = gzip.compress(b"{}")
    assert sha256_of(written(data, "rows.gz")) == hashlib.sha256(data).hexdigest()


# --- bad rows ------------------------------------------------------------------------------------

DEEP = '{"a": ' + "[" * 150 + "]" * 150 + "}"
VERY_DEEP = '{"a": ' + "[" * 50_000 + "]" * 50_000 + "}"
BAD_ROWS = [
    (b'{"a": 1,}', "bad_json", "column 9"),
    (b"{\"a\": 'x'}", "bad_json", "column 7"),
    (b'{"a": "\t"}', "bad_json", "control character"),
    (b'{"a": NaN}', "bad_json", "NaN"),
    (b'{"a": -Infinity}', "bad_json", "-Infinity"),
    (b'{"a": 1} {"b": 2}', "bad_json", "Extra data"),
    (b'{"a": 1}}', "bad_json", "Extra data"),
    (b'{"a": "\xff"}', "bad_utf8", "byte 7"),
    (b'{"a": "\xed\xa0\x80"}', "bad_utf8", "byte 7"),
    (b'{"a": "\0"}', "nul_character", "7"),
    (b'{"a": "\\u0000"}', "nul_character", "'a'"),
    (b'{"a": [{"b\\u0000": 1}]}', "nul_character", "'a'"),
    (b'{"\\u0000": 1}', "nul_character", "field name"),
    (b'{"a": "\\ud800"}', "lone_surrogate", "'a'"),
    (b'{"\\udfff": 1}', "lone_surrogate", "field name"),
    (DEEP.encode(), "too_deep", "100 levels"),
    (VERY_DEEP.encode(), "too_deep", "100 levels"),
    (b'{"a": ' + b"7" * 5000 + b"}", "number_too_long", "digits"),
    (b'{"a": 1e999}', "number_too_long", "'a'"),
    (b"5", "not_an_object", "a number"),
    (b'"text"', "not_an_object", "text"),
    (b"[1]", "not_an_object", "a list"),
    (b"null", "not_an_object", "null"),
    (b'{"a": "' + b"x" * ROW_LIMIT + b'"}', "row_too_long", "1,000,009"),
]


@pytest.mark.parametrize("chunk_size", [1 << 10, 1 << 17])
@pytest.mark.parametrize("form", ["lines", "array"])
@pytest.mark.parametrize(
    ("row", "reason", "word"), BAD_ROWS, ids=[f"{n}-{row[1]}" for n, row in enumerate(BAD_ROWS)]
)
def test_a_bad_row_is_named_and_the_others_kept(
    written: Callable[..., Path], row: bytes, reason: str, word: str, form: str, chunk_size: int
) -> None:
    rows = [LINES[0].encode(), row, LINES[1].encode()]
    data = b"\n".join(rows) if form == "lines" else b"[" + b",\n".join(rows) + b"]"
    good, (bad,) = outcome(written(data), chunk_size)
    assert good == ROWS[:2]
    assert (bad.reason, bad.position, bad.line) == (reason, 1, 2)
    assert word in bad.message
    assert bad.excerpt and len(bad.excerpt) <= 200
    for text in (bad.message, bad.excerpt):
        assert "\0" not in text and text.encode() and "\n" not in bad.message


@pytest.mark.parametrize("row", [b"5", b"[1]", b'{"a": 1,}', b"oops", b'{"a": '])
def test_a_bad_first_line_does_not_hide_the_rows_below(written: Callable[..., Path], row: bytes) -> None:
    good, (bad,) = outcome(written(row + b"\n" + "\n".join(LINES).encode()))
    assert good == ROWS
    assert (bad.position, bad.line) == (0, 1)


def test_surrogate_pairs_and_escaped_backslashes_are_good_text(written: Callable[..., Path]) -> None:
    assert values(written('{"a": "\\ud83d\\udc0d", "b": "\\\\u0000 \\\\ud800"}')) == [
        {"a": "\U0001f40d", "b": "\\u0000 \\ud800"}
    ]


def test_a_row_of_exactly_the_limit_is_read(written: Callable[..., Path]) -> None:
    row = json.dumps({"a": "x" * (ROW_LIMIT - 9)})
    assert len(row) == ROW_LIMIT
    assert len(values(written(f"{row}\n{row}"))) == 2
    assert len(values(written(f"[{row},{row}]"))) == 2


def test_line_separators_of_unicode_do_not_part_rows(written: Callable[..., Path]) -> None:
    row = {"a": "x\u2028y\u2029z\x85"}
    assert values(written(json.dumps(row, ensure_ascii=False) + "\n")) == [row]


def test_commas_without_a_row_and_text_behind_an_array_are_named(written: Callable[..., Path]) -> None:
    good, bad = outcome(written('[{"a": 1},, {"a": 2},]', "rows.json"))
    assert good == [{"a": 1}, {"a": 2}]
    assert [(row.position, row.reason) for row in bad] == [(1, "bad_json"), (3, "bad_json")]
    good, (behind,) = outcome(written('[{"a": 1}]\n\n{"a": 2}', "rows.json"), 2)
    assert good == [{"a": 1}]
    assert (behind.reason, behind.line) == ("bad_json", 3)


# --- files that break off ------------------------------------------------------------------------


def test_lines_cut_at_any_byte_keep_their_whole_rows_and_name_the_break(written: Callable[..., Path]) -> None:
    lines = [line.encode() for line in LINES]
    data = b"\n".join(lines) + b"\n"
    for cut in range(len(b"\n".join(lines[:6])), len(data) + 1):
        path = written(data[:cut])
        whole = data[:cut].count(b"\n") + (data[:cut].split(b"\n")[-1] in lines)
        good, bad = outcome(path, 64)
        assert good == ROWS[:whole]
        torn = data[:cut].split(b"\n")[-1] not in (*lines, b"")
        assert [(row.reason, row.line, row.position) for row in bad] == [
            ("truncated", whole + 1, whole)
        ] * torn
        if torn:
            assert f"line {whole + 1}" in bad[0].message and f"{whole} rows" in bad[0].message


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_array_cut_at_any_byte_keeps_its_whole_rows_and_names_the_break(
    written: Callable[..., Path], wrapped: bool
) -> None:
    text = "[\n" + ",\n".join(LINES) + "\n]"
    data = ('{"data": ' + text if wrapped else text).encode()
    ends = [data.index(line.encode()) + len(line.encode()) for line in LINES]
    for cut in range(ends[5], len(data)):
        good, bad = outcome(written(data[:cut], "rows.json"), 64)
        whole = sum(end <= cut for end in ends)
        assert good == ROWS[:whole]
        assert [(row.reason, row.position) for row in bad] == [("truncated", whole)]


def test_a_cut_gzip_gives_every_row_that_can_be_unpacked(written: Callable[..., Path]) -> None:
    rows = [{"n": n, "text": hashlib.sha256(b"%d" % n).hexdigest() * 3} for n in range(400)]
    for text in ("\n".join(map(json.dumps, rows)) + "\n", json.dumps(rows, indent=1)):
        packed = gzip.compress(text.encode())
        for cut in [*range(60, len(packed) - 9, 997), *range(len(packed) - 9, len(packed))]:
            unpacked = zlib.decompressobj(wbits=31).decompress(packed[:cut]).decode()
            if not unpacked:
                continue
            good, (bad,) = outcome(written(packed[:cut], "rows.json.gz"))
            assert good == rows[: unpacked.count("}")]
            assert bad.reason == "truncated" and "ends early" in bad.message


def test_damage_inside_a_gzip_ends_the_reading_with_a_reason(written: Callable[..., Path]) -> None:
    rows = [{"n": n, "text": hashlib.sha256(b"%d" % n).hexdigest() * 9} for n in range(3000)]
    packed = bytearray(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    packed[-6] ^= 255  # the check sum, so that every row comes out before the damage shows
    good, (bad,) = outcome(written(bytes(packed), "rows.jsonl.gz"))
    assert good == rows and bad.reason == "truncated" and "damaged" in bad.message
    good, (bad,) = outcome(written(bytes(packed[:-8]) + b"garbage that is no gzip", "rows.jsonl.gz"))
    assert good == rows and bad.reason == "truncated"


# --- any array, any chunks -----------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(
    ['"', "\\", '\\"', "[{", "}],", "\\\\", ",", "\n"]
)
SCALAR: st.SearchStrategy[Any] = (
    TEXT | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
)
SCALAR = SCALAR | st.booleans() | st.none()
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
OBJECTS = st.lists(st.dictionaries(TEXT, VALUE, max_size=4), max_size=6)


@settings(deadline=None, max_examples=300)
@given(
    rows=OBJECTS,
    indent=st.none() | st.integers(0, 3),
    ascii_only=st.booleans(),
    chunk_size=st.integers(1, 9),
    wrapped=st.booleans(),
)
def test_any_array_gives_the_rows_that_json_gives(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Any],
    indent: int | None,
    ascii_only: bool,
    chunk_size: int,
    wrapped: bool,
) -> None:
    whole = {"version": 1, "data": rows, "end": None} if wrapped and rows else rows
    text = json.dumps(whole, indent=indent, ensure_ascii=ascii_only)
    path = tmp_path_factory.mktemp("array") / "rows.json"
    path.write_text(text, encoding="utf-8")
    assert values(path, chunk_size) == rows


# --- memory --------------------------------------------------------------------------------------


def long_row(path: Path, before: bytes, after: bytes, text: bytes = b"x", packed: bool = False) -> Path:
    """Write a row of 50 MB with a good row on each side."""
    with gzip.open(path, "wb", 1) if packed else path.open("wb") as file:
        file.write(before + b'{"a": "')
        for _ in range(50):
            file.write(text * (1_000_000 // len(text)))
        file.write(b'"}' + after)
    return path


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("text", [b"x", b'\\"'], ids=["text", "escapes"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"a": 1}\n', b'\n{"a": 3}\n'),
        (b'[{"a": 1},\n', b',\n{"a": 3}]'),
        (b'{"data": [{"a": 1},\n', b',\n{"a": 3}]}'),
    ],
    ids=["line", "element", "wrapped"],
)
def test_a_row_of_50_mb_is_refused_without_being_held(
    tmp_path: Path, before: bytes, after: bytes, text: bytes, packed: bool
) -> None:
    path = long_row(tmp_path / "rows.json", before, after, text, packed)
    tracemalloc.start()
    good, (bad,) = outcome(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert good == [{"a": 1}, {"a": 3}]
    assert (bad.reason, bad.line, len(bad.excerpt)) == ("row_too_long", 2, 200)
    assert peak < 10_000_000


# --- Parquet -------------------------------------------------------------------------------------


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def test_parquet_rows_are_read_in_batches_with_their_positions(tmp_path: Path) -> None:
    columns = {"instruction": [f"q{n}" for n in range(1000)], "turns": [[{"a": n}] for n in range(1000)]}
    path = parquet(tmp_path / "rows.bin", columns, row_group_size=300)
    found = [row for row in read_rows(path) if isinstance(row, FileRow)]
    assert [(row.position, row.line) for row in found] == [(n, None) for n in range(1000)]
    assert found[999].value == {"instruction": "q999", "turns": [{"a": 999}]}


def test_parquet_values_that_json_lacks_become_text(tmp_path: Path) -> None:
    columns = {
        "when": [datetime(2024, 5, 1, 12)],
        "price": [Decimal("1.50")],
        "text": [b"plain"],
        "data": [b"\xff\x00"],
        "nan": [float("nan")],
        "none": [None],
        "list": [[b"x", None]],
    }
    assert values(parquet(tmp_path / "rows.parquet", columns)) == [
        {
            "when": "2024-05-01 12:00:00",
            "price": "1.50",
            "text": "plain",
            "data": "ff00",
            "nan": None,
            "none": None,
            "list": ["x", None],
        }
    ]


def test_a_bad_parquet_row_leaves_the_others(tmp_path: Path) -> None:
    import pyarrow

    text = pyarrow.array([b"a", b"\xff", b"c", b"d\x00", b"x" * (ROW_LIMIT + 1), b"f"])
    text = pyarrow.Array.from_buffers(pyarrow.string(), 6, text.buffers())  # writers do not check either
    day = pyarrow.array([0, 0, 10_000_000, 0, 0, 0], pyarrow.date32())
    good, bad = outcome(parquet(tmp_path / "rows.parquet", {"text": text, "day": day}))
    assert [row["text"] for row in good] == ["a", "f"]
    assert [(row.position, row.reason) for row in bad] == [
        (1, "bad_utf8"),
        (2, "wrong_type"),
        (3, "nul_character"),
        (4, "row_too_long"),
    ]


def test_a_torn_parquet_file_is_refused_by_name(tmp_path: Path) -> None:
    data = parquet(tmp_path / "rows.parquet", {"a": ["x" * 50] * 500}).read_bytes()
    torn = tmp_path / "torn.parquet"
    for cut in range(0, len(data), 37):
        torn.write_bytes(data[:cut])
        with pytest.raises(WrongInput, match=r"torn\.parquet is"):
            read_rows(torn)


def test_a_parquet_file_damaged_inside_keeps_the_rows_before(tmp_path: Path) -> None:
    texts = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(4000)]
    path = parquet(tmp_path / "rows.parquet", {"a": texts}, row_group_size=1000, use_dictionary=False)
    data = bytearray(path.read_bytes())
    third = data.index(texts[2000].encode()) - 40
    data[third : third + 40] = b"\xff" * 40
    path.write_bytes(data)
    good, (bad,) = outcome(path)
    assert 1500 < len(good) <= 2000  # a batch is lost with the page that cannot be read
    assert [row["a"] for row in good] == texts[: len(good)]
    assert (bad.reason, bad.position) == ("truncated", len(good))


def test_a_parquet_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    """Seen: 120 KB that decode to 500 GB. The dictionary holds the text once, the rows point at it."""
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "bomb.parquet"
    indices = pyarrow.array([0] * 1_000_000, pyarrow.int32())
    column = pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(["x" * 10_000]))
    batch = pyarrow.record_batch({"text": column})
    with pyarrow.parquet.ParquetWriter(path, batch.schema, store_schema=False) as writer:
        for _ in range(3):
            writer.write_batch(batch)
    assert path.stat().st_size < 200_000
    with pytest.raises(WrongInput, match="would decode"):
        read_rows(path)


def test_a_parquet_bomb_behind_a_harmless_start_is_refused_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.reading.BOMB_BYTES", 1 << 20)  # so that the test needs no gigabyte
    columns = {"text": ["x"] * 20_000 + ["y" * 9_000] * 20_000}
    rows = read_rows(parquet(tmp_path / "bomb.parquet", columns, compression="zstd"))
    assert isinstance(next(rows), FileRow)
    with pytest.raises(WrongInput, match="would decode"):
        list(rows)


# --- disks and real files ------------------------------------------------------------------------


def test_a_failing_disk_is_no_fault_of_the_file(tmp_path: Path) -> None:
    """Reading the memory of this process at address 0 fails as a broken disk does."""
    memory = Path("/proc/self/mem")
    if not memory.is_file():
        pytest.skip("needs /proc")
    with pytest.raises(SourceUnavailable, match="check the disk"):
        read_rows(memory)


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared data is not beside this checkout")
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("code_alpaca_2k.json.gz", 2017),
        ("new_codealpaca.json.gz", 4535),
        ("code_seed_tasks.jsonl.gz", 21),
        ("django_nl_code.jsonl.gz", 18805),
        ("evol_codealpaca_2k_round1.json.gz", 1966),
    ],
)
def test_the_real_files_give_what_json_gives(name: str, count: int) -> None:
    with gzip.open(REAL / name, "rt", encoding="utf-8") as file:
        expected = json.load(file) if ".json." in name else [json.loads(line) for line in file]
    assert len(expected) == count
    assert values(REAL / name) == expected
