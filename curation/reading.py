"""Read a file of rows in constant memory: JSON arrays, JSON lines (also gzipped) and Parquet."""

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import file_digest
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from curation.errors import SourceUnavailable, WrongInput
from curation.records import BadRow

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

ROW_LIMIT = 1_000_000  # bytes of one row; a longer one is a rejected row (faults.md S38)
DEPTH_LIMIT = 100  # levels of lists and objects in one row
CHUNK = 1 << 17  # bytes held at a time; what is unpacked comes in pieces of this size too
EXCERPT = 200  # characters of a bad row that a person gets to see

# A 120 KB Parquet file can decode to 500 GB while its footer declares 572 KB (faults.md S37).
# Small files may repeat themselves a lot and large ones may be large, so both must be exceeded.
BOMB_BYTES = 1 << 30
BOMB_RATIO = 1_000  # decoded bytes for each byte of the file
SAMPLE_ROWS = 64
BATCH_ROWS = 256
BATCH_BYTES = 8 << 20

_HEAD = 4 * EXCERPT  # bytes kept of a row that is too long; a character has up to four
_BLANK = b" \t\r\n\xef\xbb\xbf"  # the bytes of a byte order mark count as blank before a row
_COMMA, _QUOTE = b',"'
_OPENING = b"[{"

# One match runs to the next bracket over all strings between, so a flat object costs two steps of
# Python; that makes the splitter quick. Plain characters are possessive (`*+`), so a long string cannot
# backtrack. Groups are not: Python 3.11.0 to 3.11.4 (Debian 12's) match possessive groups of possessive parts
# wrongly. What may follow a group differs from all that is in it, so that giving back is linear.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*"'
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*", re.DOTALL)
_TO_COMMA = re.compile(rb'(?:[^",\[\]{}]++|' + _STRING + rb")*", re.DOTALL)
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*', re.DOTALL)

_MEMBER = re.compile(rb'"((?:[^"\\]++|\\.)*)"\s*:\s*(\[\s*\{)?', re.DOTALL)
_ROW_FIELDS = {b"instruction", b"prompt", b"problem", b"question", b"messages", b"conversations"}
_PACKED = {b"PK\x03\x04": "a zip", b"BZh": "a bzip2", b"\xfd7zXZ": "an xz", b"\x28\xb5\x2f\xfd": "a zstd"}


@dataclass(frozen=True, slots=True)
class FileRow:
    """One JSON object or Parquet row; all its values are JSON values that a database can hold."""

    position: int  # from 0, bad rows counted too
    line: int | None  # where it begins, from 1; None where a format has no lines
    value: Mapping[str, Any]


def sha256_of(path: Path) -> str:
    """Name the stored bytes of a file, packed or not."""
    _require_file(path)
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def read_rows(path: Path, chunk_size: int = CHUNK) -> Iterator[FileRow | BadRow]:
    """Yield every row of a file in order, a bad one as what is wrong with it.

    Raises WrongInput at once for a file that cannot be read at all. A Parquet file that turns out
    to decode to more than the sample promised raises it on the way.
    """
    _require_file(path)
    head = next(blocks(path, 4), b"")
    if head == b"PAR1" or path.suffix == ".parquet":
        return _parquet_rows(path)
    start = _start_of_json(path)
    if _is_array(start.head):
        return _rows(_elements(_unpacked(path, chunk_size, start.offset + 1), start.line))
    inner = _wrapped_array(path, start)
    if inner is None:
        return _rows(_lines(_unpacked(path, chunk_size)))
    chunks = _unpacked(path, chunk_size, inner.offset + 1)
    return _rows(_elements(chunks, inner.line, wrapped=True))


def row_of_values(values: Mapping[str, Any], position: int) -> FileRow | BadRow:
    """Make a row of what Parquet or the hub decoded; a value that JSON lacks becomes text."""
    try:
        row = {str(name): _plain(value) for name, value in values.items()}
        _check_row(row)
    except RecursionError:
        return BadRow(position, None, "too_deep", _TOO_DEEP)
    except _Fault as fault:
        return BadRow(
            position, None, fault.reason, fault.message, repr(values)[:EXCERPT].replace("\0", "\ufffd")
        )
    return FileRow(position, None, row)


# --- bytes -------------------------------------------------------------------------------------


class Torn(Exception):
    """Packed bytes end early or are damaged; what came before them is good."""


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise WrongInput(f"{path} is a folder; name one file in it, or hf:{path} to read all of it")
    if not path.is_file():
        raise WrongInput(f"{path} is not there; check the path")


def _unreadable(path: Path, error: OSError) -> SourceUnavailable | WrongInput:
    if isinstance(error, PermissionError | FileNotFoundError):
        return WrongInput(f"{path} cannot be opened: {error.strerror}; check the path and its permissions")
    return SourceUnavailable(
        f"{path} cannot be read: {error.strerror or error}; check the disk and start again"
    )


def blocks(path: Path, size: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(size):
                yield block
    except OSError as error:
        raise _unreadable(path, error) from error


def _unpacked(path: Path, size: int, skip: int = 0) -> Iterator[bytes]:
    """Yield the text of a file from byte `skip` on, in chunks of at most `size` bytes."""
    chunks = blocks(path, size)
    if _is_gzip(path):
        chunks = gunzipped(chunks, size)
    for chunk in chunks:
        if skip < len(chunk):
            yield chunk[skip:]
        skip = max(0, skip - len(chunk))


def _is_gzip(path: Path) -> bool:
    return next(blocks(path, 2), b"") == b"\x1f\x8b"


def gunzipped(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Unpack gzip, handing out all that can be had before a break.

    The gzip module throws away what it has buffered when the stream breaks off.
    """
    inflater = zlib.decompressobj(wbits=31)
    for block in chain(blocks, [b""]):  # the last one asks for what is still inside
        while block or not inflater.eof:
            if inflater.eof:
                if not (block := block.lstrip(b"\0")):  # padding between members is allowed
                    break
                inflater = zlib.decompressobj(wbits=31)
            before = inflater.copy()
            try:
                text = inflater.decompress(block, size)
            except zlib.error as error:
                yield _before_damage(before, block)
                raise Torn(f"the gzip data is damaged ({error})") from error
            if text:
                yield text
            block = inflater.unconsumed_tail or inflater.unused_data
            if not block and len(text) < size:
                break
    if not inflater.eof:
        raise Torn("the gzip data ends early")


def _before_damage(inflater: "zlib._Decompress", block: bytes) -> bytes:
    """Unpack byte by byte, so that only the byte before the damage is lost with it, not the block."""
    text = bytearray()
    with suppress(zlib.error):
        while byte := inflater.decompress(block, 1):
            text += byte
            block = inflater.unconsumed_tail
    return bytes(text)


# --- what kind of file ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A byte of the unpacked file, the line it stands on and some of what follows it."""

    offset: int
    line: int
    head: bytes = b""


def _start_of_json(path: Path) -> _Place:
    """Find the first byte that is not blank; raise WrongInput unless JSON can begin there."""
    if path.suffix == ".gz" and not _is_gzip(path):
        raise WrongInput(f"{path} is not gzip data although it is named .gz; rename it or pack it again")
    try:
        start = _first_byte(_unpacked(path, CHUNK))
    except Torn as torn:
        raise WrongInput(f"{path} breaks off before its first row: {torn}; fetch it again") from torn
    if start is None:
        raise WrongInput(f"{path} is empty; choose a file with at least one row")
    if start.head[:1] not in (b"[", b"{") or start.head[1:2] == b"\0":
        _accept_bad_first_line(path, start.head)
    return start


def _is_array(head: bytes) -> bool:
    # A list of other things on the first line, with an object below, is JSON lines with a bad row.
    return head.startswith(b"[") and not re.match(rb"\[(?!\s*\{)[^\n]*\]\s*\n\s*\{", head)


def _first_byte(chunks: Iterable[bytes]) -> _Place | None:
    offset, line = 0, 1
    for chunk in chunks:
        text = chunk.lstrip(_BLANK)
        blanks = len(chunk) - len(text)
        offset, line = offset + blanks, line + chunk.count(b"\n", 0, blanks)
        if text:
            return _Place(offset, line, text)
    return None


def _accept_bad_first_line(path: Path, head: bytes) -> None:
    """Let JSON lines pass whose first row is no object; raise WrongInput for everything else."""
    kind = next((word for magic, word in _PACKED.items() if head.startswith(magic)), None)
    if kind:
        raise WrongInput(f"{path} is {kind} archive; unpack it and import the files in it one by one")
    if head.startswith(b"PAR1"):
        raise WrongInput(f"{path} is a Parquet file packed with gzip; unpack it first")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head[1:2] == b"\0" or head[:1] == b"\0":
        raise WrongInput(f"{path} is binary or UTF-16 text; save it as UTF-8 JSON lines")
    named_lines = path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))
    if not (named_lines and re.search(rb"\n\s*\{", head)):
        raise WrongInput(f"{path} is neither JSON nor Parquet; convert it to JSON lines, one object a line")


def _wrapped_array(path: Path, start: _Place) -> _Place | None:
    """Find the rows of a file that is one object such as {"data": [...]}; None for JSON lines."""
    pieces = (item.piece if isinstance(item, _End) else item for item in _lines(_unpacked(path, CHUNK)))
    first, second = next(pieces), next(pieces, None)
    if second is not None and not _goes_on(first):
        return None
    lists = _lists_of_objects(path, start)
    if len(lists) == 1:
        return next(iter(lists.values()))
    if lists:
        names = ", ".join(repr(_short(name)) for name in lists)
        raise WrongInput(f"{path} holds several lists ({names}); save the one you want as a file of its own")
    if second is not None and not second.data.startswith(b"{"):
        raise WrongInput(f"{path} holds one object without a list of rows; write one object a line")
    return None


def _goes_on(first: "_Piece") -> bool:
    """Tell an object that is spread over lines from a row with the next row below it."""
    return first.size <= ROW_LIMIT and first.data.rstrip()[-1:] in (b"[", b"{", b",", b":")


def _lists_of_objects(path: Path, start: _Place) -> dict[str, _Place]:
    """Find the lists of objects inside one object; none when the object itself is a row."""
    found: dict[str, _Place] = {}
    for item in _elements(_unpacked(path, CHUNK, start.offset + 1), start.line, closing=b"}"):
        piece = item.piece if isinstance(item, _End) else item
        member = _MEMBER.match(piece.data)
        if member is None:
            continue
        if member[1] in _ROW_FIELDS:
            return {}
        if member[2]:
            line = piece.line + piece.data.count(b"\n", 0, member.start(2))
            offset = start.offset + 1 + piece.offset + member.start(2)
            found[member[1].decode(errors="replace")] = _Place(offset, line)
    return found


# --- text of rows --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Piece:
    """The text of one row as it stands in the file."""

    line: int
    offset: int  # from where the chunks began
    size: int
    data: bytes  # only its beginning when the row is over ROW_LIMIT


@dataclass(frozen=True, slots=True)
class _End:
    """What a file ends with when that is not the end of a row."""

    kind: Literal["open", "torn", "trailing"]  # no line end; broken off; bytes after the array
    why: str
    piece: _Piece


class _Gathering:
    """Collects one row from chunks and stops holding it once it is too long."""

    def __init__(self, line: int, offset: int) -> None:
        self.line = line
        self.offset = offset
        self._size = 0
        self._breaks = 0
        self._data = bytearray()

    def add(self, part: bytes) -> None:
        if not self._size:
            text = part.lstrip(_BLANK)
            blanks = len(part) - len(text)
            self.offset += blanks
            self.line += part.count(b"\n", 0, blanks)
            part = text
        self._size += len(part)
        self._breaks += part.count(b"\n")
        if self._size <= ROW_LIMIT:
            self._data += part
        elif len(self._data) < _HEAD:
            self._data += part[:_HEAD]
        else:
            del self._data[_HEAD:]

    @property
    def blank(self) -> bool:
        return not self._size

    def piece(self) -> _Piece:
        return _Piece(self.line, self.offset, self._size, bytes(self._data))

    def next(self, breaks: int = 0) -> "_Gathering":
        """Begin the row behind this one and the one byte that parts them."""
        return _Gathering(self.line + self._breaks + breaks, self.offset + self._size + 1)


def _lines(chunks: Iterable[bytes]) -> Iterator[_Piece | _End]:
    """Yield the lines that are not blank."""
    row = _Gathering(1, 0)
    try:
        for chunk in chunks:
            *whole, rest = chunk.split(b"\n")
            for part in whole:
                row.add(part)
                if not row.blank:
                    yield row.piece()
                row = row.next(breaks=1)
            row.add(rest)
    except Torn as torn:
        yield _End("torn", str(torn), row.piece())
    else:
        if not row.blank:
            yield _End("open", "the last line breaks off", row.piece())


def _elements(
    chunks: Iterator[bytes], line: int, closing: bytes = b"]", wrapped: bool = False
) -> Iterator[_Piece | _End]:
    """Yield what stands between the commas of an array (or object) that opened before `chunks`.

    `wrapped` says that more text follows behind the array by right.
    """
    row, nesting, first = _Gathering(line, 0), _Nesting(closing), True
    try:
        for chunk in chunks:
            at = 0
            while (end := nesting.boundary(chunk, at)) < len(chunk):
                row.add(chunk[at:end])
                closed = chunk[end] != _COMMA
                if not (first and closed and row.blank):  # "[]" has no rows
                    yield row.piece()
                row, at, first = row.next(), end + 1, False
                if closed:
                    yield from _behind_array(chain([chunk[at:]], chunks), row, wrapped)
                    return
            row.add(chunk[at:])
        yield _End("torn", f"the closing {closing.decode()} is missing", row.piece())
    except Torn as torn:
        yield _End("torn", str(torn), row.piece())


def _behind_array(chunks: Iterable[bytes], rest: _Gathering, wrapped: bool) -> Iterator[_End]:
    for chunk in chunks:  # to the end, because gzip checks itself only there
        if rest.blank and not wrapped:
            rest.add(chunk)
    if not rest.blank:
        yield _End("trailing", "the array ended before this text", rest.piece())


class _Nesting:
    """Follows strings and brackets through chunks of JSON that may be cut anywhere."""

    def __init__(self, closing: bytes) -> None:
        self._closing = closing[0]
        self._depth = 1
        self._in_string = False
        self._escaped = False

    def boundary(self, chunk: bytes, at: int) -> int:
        """Find the next comma or closing bracket of the outermost level, else the chunk's end."""
        while at < len(chunk):
            if self._in_string:
                at = self._through_string(chunk, at)
                continue
            passed = (_TO_COMMA if self._depth == 1 else _TO_BRACKET).match(chunk, at)
            at = passed.end() if passed else at
            if at == len(chunk):
                break
            mark = chunk[at]
            if self._depth == 1 and mark in (_COMMA, self._closing):
                return at
            at += 1
            if mark == _QUOTE:  # the patterns pass every string that ends in this chunk
                self._in_string = True
            elif mark in _OPENING:
                self._depth += 1
            elif self._depth > 1:  # a stray closing bracket spoils its row, not the rows behind it
                self._depth -= 1
        return len(chunk)

    def _through_string(self, chunk: bytes, at: int) -> int:
        passed = _IN_STRING.match(chunk, at + self._escaped)
        self._escaped = False
        at = passed.end() if passed else at
        if at < len(chunk):
            self._in_string = chunk[at] != _QUOTE
            self._escaped = self._in_string  # what stops the pattern elsewhere is a last backslash
            at += 1
        return at


# --- rows ----------------------------------------------------------------------------------------


class _Fault(Exception):
    """What is wrong with one row; becomes a BadRow."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


_TOO_DEEP = f"the row nests lists and objects more than {DEPTH_LIMIT} levels deep"


def _rows(pieces: Iterable[_Piece | _End]) -> Iterator[FileRow | BadRow]:
    for position, item in enumerate(pieces):
        if isinstance(item, _End):
            yield from _last_rows(item, position)
        else:
            yield _row(item, position)


def _last_rows(end: _End, position: int) -> Iterator[FileRow | BadRow]:
    """Keep a row that is whole although the file breaks off behind it, then name the break."""
    piece = end.piece
    excerpt = _excerpt(piece.data)
    if end.kind == "trailing":
        message = f"line {piece.line} goes on after the end of the array; nothing from there on was read"
        yield BadRow(position, piece.line, "bad_json", message, excerpt)
        return
    row = _row(piece, position)
    if isinstance(row, FileRow):
        yield row
        position, excerpt = position + 1, ""
    if end.kind == "open" and (isinstance(row, FileRow) or row.reason not in ("bad_json", "bad_utf8")):
        if isinstance(row, BadRow):
            yield row
        return
    message = f"the file breaks off in line {piece.line}: {end.why}; the {position} rows before are whole"
    yield BadRow(position, piece.line, "truncated", message, excerpt)


def _row(piece: _Piece, position: int) -> FileRow | BadRow:
    try:
        return FileRow(position, piece.line, _parsed(piece))
    except _Fault as fault:
        return BadRow(position, piece.line, fault.reason, fault.message, _excerpt(piece.data))


def _parsed(piece: _Piece) -> dict[str, Any]:
    if piece.size > ROW_LIMIT:
        raise _Fault("row_too_long", f"the row has {piece.size:,} bytes; {ROW_LIMIT:,} are allowed")
    if not piece.size:
        raise _Fault("bad_json", "there is a comma with no row beside it")
    try:
        text = piece.data.decode()
    except UnicodeDecodeError as error:
        raise _Fault("bad_utf8", f"byte {error.start} of the row is not UTF-8 ({error.reason})") from error
    if "\0" in text:
        raise _Fault("nul_character", f"character {text.index(chr(0))} of the row is a NUL")
    value = _loaded(text, piece.line)
    if not isinstance(value, dict):
        raise _Fault("not_an_object", f"the row is {kind_of(value)}, not an object with named fields")
    _check_row(value)
    return value


def _loaded(text: str, line: int) -> object:
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f" of line {line + error.lineno - 1}" if error.lineno > 1 else " of the row"
        raise _Fault("bad_json", f"{error.msg} at column {error.colno}{where}") from error
    except RecursionError as error:
        raise _Fault("too_deep", _TOO_DEEP) from error
    except ValueError as error:  # Python's limit of 4,300 digits for an integer
        raise _Fault("number_too_long", "a number of the row has more digits than can be read") from error
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise _Fault("bad_json", f"{name} is no JSON value")


def _check_row(row: Mapping[str, Any]) -> None:
    """Refuse values that the database or a later writer of JSON would fail on."""
    for name, value in row.items():
        _check_text(name, "a field name")
        _check_value(value, repr(_short(name)))


def _check_value(value: object, field: str) -> None:
    """Look at one value level by level, so that no nesting can exhaust the stack."""
    level, depth = [value], 1
    while level:
        below: list[object] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item, field)
            elif isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, float) and not isfinite(item):
                raise _Fault("number_too_long", f"a number in {field} is too large")
        level, depth = below, depth + 1
        if below and depth > DEPTH_LIMIT:
            raise _Fault("too_deep", _TOO_DEEP)


def _check_text(text: str, field: str) -> None:
    if "\0" in text:
        raise _Fault("nul_character", f"{field} holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _Fault("lone_surrogate", f"{field} holds half of a surrogate pair, which is no text") from error


def kind_of(value: object) -> str:
    """Name the type of a JSON value the way a message needs it."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}..."


def _excerpt(data: bytes) -> str:
    return data[:_HEAD].decode(errors="replace")[:EXCERPT].replace("\0", "\ufffd")


# --- Parquet -------------------------------------------------------------------------------------


def _parquet_rows(path: Path) -> Iterator[FileRow | BadRow]:
    """Open a Parquet file and look at its size before anything is read from it."""
    import pyarrow
    import pyarrow.parquet

    try:
        # pre_buffer would hold whole column chunks; a buffer makes it read page by page.
        file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16)
        row_bytes = _sample_row_bytes(path, file)
    except (pyarrow.ArrowException, OSError) as error:
        raise WrongInput(
            f"{path} is not a whole Parquet file ({first_line(error)}); fetch it again"
        ) from error
    batch_rows = max(1, min(BATCH_ROWS, int(BATCH_BYTES / max(1.0, row_bytes))))
    return _rows_of_batches(path, file, batch_rows)


def _sample_row_bytes(path: Path, file: "pyarrow.parquet.ParquetFile") -> float:
    """Measure how many bytes a row decodes to; raise WrongInput when all of them are too many."""
    meta = file.metadata
    declared = sum(meta.row_group(index).total_byte_size for index in range(meta.num_row_groups))
    if not meta.num_rows:
        return 0.0
    refuse_bomb(path, declared)
    sample = next(file.iter_batches(batch_size=SAMPLE_ROWS))
    row_bytes: float = sample.nbytes / max(1, sample.num_rows)
    refuse_bomb(path, row_bytes * meta.num_rows)
    return row_bytes


def refuse_bomb(path: Path, decoded: float) -> None:
    stored = path.stat().st_size
    if decoded > max(BOMB_BYTES, BOMB_RATIO * stored):
        raise WrongInput(
            f"{path} would decode from {stored:,} bytes to {decoded:,.0f}, more than {BOMB_RATIO:,} times "
            "its size; if it is really yours, export it as JSON lines"
        )


def _rows_of_batches(
    path: Path, file: "pyarrow.parquet.ParquetFile", batch_rows: int
) -> Iterator[FileRow | BadRow]:
    import pyarrow

    position = decoded = 0
    with file:
        try:
            for batch in file.iter_batches(batch_size=batch_rows):
                decoded += batch.nbytes
                refuse_bomb(path, decoded)  # the sample may have been smaller than the rest
                yield from _rows_of_batch(batch, position)
                position += batch.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            # Whole pages fail, so the row at fault can be any of a batch.
            message = f"no row from {position} on can be read ({first_line(error)})"
            yield BadRow(position, None, "truncated", message)


def _rows_of_batch(batch: "pyarrow.RecordBatch", first: int) -> Iterator[FileRow | BadRow]:
    """Convert a batch at once, and row by row when one of its rows needs a closer look."""
    if batch.nbytes <= ROW_LIMIT:
        try:
            values = batch.to_pylist()
        except (ValueError, OverflowError, RecursionError):
            pass  # found again below, where it costs one row
        else:
            yield from (row_of_values(row, first + index) for index, row in enumerate(values))
            return
    for index in range(batch.num_rows):
        yield _row_of_slice(batch.slice(index, 1), first + index)


def _row_of_slice(row: "pyarrow.RecordBatch", position: int) -> FileRow | BadRow:
    if row.nbytes > ROW_LIMIT:
        message = f"the row has {row.nbytes:,} bytes; {ROW_LIMIT:,} are allowed"
        return BadRow(position, None, "row_too_long", message)
    try:
        values = row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return BadRow(position, None, "bad_utf8", f"byte {error.start} of a text of the row is not UTF-8")
    except RecursionError:
        return BadRow(position, None, "too_deep", _TOO_DEEP)
    except (ValueError, OverflowError) as error:  # a date in the year 20000, for one
        return BadRow(position, None, "wrong_type", f"a value cannot be converted: {first_line(error)}")
    return row_of_values(values, position)


def _plain(value: object) -> object:
    """Give the JSON value nearest to what a column decoded to."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else None  # NaN is how data frames write "none"
        case bytes():
            return _text_of(value)
        case dict():
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return str(value)


def _text_of(value: bytes) -> str:
    try:
        return value.decode()  # many writers store text without marking it as text
    except UnicodeDecodeError:
        return value.hex()


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:EXCERPT]
