"""Documents from sets of code: Parquet, JSON lines and streams with a `content` column.

Known columns are those that bigcode/starcoderdata and bigcode/the-stack are said to have (neither was read
here, there being no network); a set of one's own needs only `content` and a `path`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.archives import FILE_LIMIT, bad_name, shown_name
from curation.code_documents import NO_LICENCE, UNKNOWN, document_of
from curation.errors import WrongInput
from curation.languages import NAMES
from curation.licences import CORPUS
from curation.reading import FileRow, first_line, read_rows, refuse_bomb, row_of_values
from curation.records import BadRow, Document, Skipped

if TYPE_CHECKING:
    import pyarrow.parquet

Position = Mapping[str, Any]  # JSON values; hand it back to go on behind what came with it

CONTENT = "content"
# The first of each that a set has is used.
PATHS = ("max_stars_repo_path", "path", "file_path", "filepath", "filename")
REPOSITORIES = ("max_stars_repo_name", "repository_name", "repo_name", "repository", "repo")
COMMITS = ("max_stars_repo_head_hexsha", "commit", "revision")
LICENCES = ("max_stars_repo_licenses", "licenses", "license", "licence")
LANGUAGE_NAMES = ("lang", "language")
IDS = ("hexsha", "id")
USED = (CONTENT, *PATHS, *REPOSITORIES, *COMMITS, *LICENCES, *LANGUAGE_NAMES, *IDS)

BATCH_ROWS = 64
TEXT_LIMIT = 4_096  # bytes of any other column's text
LIST_LIMIT = 100  # licences of one row
# Rows of code take more than one packed byte each, also when they repeat. A 120 KB file with 50 million rows
# (faults.md S37) is refused for that by its footer alone; small files may repeat themselves.
ROWS_ALWAYS_ALLOWED = 100_000
# Unpacked bytes that a footer may give one row group; our choice.
GROUP_LIMIT = 8 << 30

# How starcoderdata's rows begin: <reponame>OWNER/NAME<filename>PATH<gh_stars>10-100, each of them optional.
_HEADER = re.compile(rb"(?:<(?:reponame|filename|gh_stars)>[^<\n]{0,4096}\n?)+")
_TAG = re.compile(rb"<(reponame|filename|gh_stars)>([^<\n]*)")
_SPDX = re.compile(r"\(?[A-Za-z0-9][\w.+-]*\)?( (AND|OR|WITH) \(?[A-Za-z0-9][\w.+-]*\)?)*")
_BY_LANGUAGE = {language.lower(): language for language in NAMES}

_REASONS = {
    "row_too_long": "large_file",
    "nul_character": "binary_file",
    "bad_utf8": "bad_encoding",
    "lone_surrogate": "bad_encoding",
    "truncated": "broken_source",
}


def check_columns(given: str, columns: Sequence[str]) -> None:
    """Raise WrongInput unless a set with these columns holds code."""
    if CONTENT in columns:
        return
    if "blob_id" in columns or any("swh" in column.lower() for column in columns):
        raise WrongInput(
            f"{given} holds no code, only the ids of files kept by Software Heritage (columns blob_id, "
            "snapshot_id ...), as the-stack-v2 does; use bigcode/starcoderdata or bigcode/the-stack"
        )
    names = ", ".join(shown_name(column) for column in list(columns)[:12])
    raise WrongInput(f"{given} has no column {CONTENT!r}, only: {names}; name the code's column {CONTENT!r}")


def document_of_row(set_name: str, row: Mapping[str, Any], number: str) -> Document | Skipped:
    """Make a document of a row; what its columns do not say, starcoderdata's header line may."""
    content = row.get(CONTENT)
    place = _text(row, PATHS) or _text(row, IDS) or number
    if not isinstance(content, str | bytes):
        return Skipped(shown_name(place), "no_content", f"its {CONTENT!r} is no text")
    data = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    data, header = without_header(data)
    path = _text(row, PATHS) or header.get("filename") or place
    if fault := bad_name(path):
        return Skipped(shown_name(path), *fault)
    repository = _text(row, REPOSITORIES) or header.get("reponame")
    commit = _text(row, COMMITS)
    source = set_name if not repository else f"{repository}@{commit}" if commit else repository
    language = _BY_LANGUAGE.get(_text(row, LANGUAGE_NAMES).lower())
    return document_of(shown_name(source), path, data, _licence(row), language)


def without_header(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Take starcoderdata's header off; give the code and what the header said."""
    match = _HEADER.match(data)
    if match is None:
        return data, {}
    tags = {tag.decode(): value.decode(errors="replace").strip() for tag, value in _TAG.findall(match[0])}
    return data[match.end() :], tags


def skipped_of(bad: BadRow, name: str) -> Skipped:
    """Tell of a row that could not even be read as one."""
    where = f"{name}, line {bad.line}" if bad.line else f"{name}, row {bad.position}"
    return Skipped(shown_name(where), _REASONS.get(bad.reason, "unreadable_row"), bad.message)


def _text(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    for column in columns:
        value = row.get(column)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def _licence(row: Mapping[str, Any]) -> tuple[str, str]:
    """Join what the set says of the licence; several may all hold, so they are joined with AND."""
    column = next((name for name in LICENCES if name in row), None)
    if column is None:
        # starcoderdata was made of permissively licensed code, but says of no row what its licence is.
        declared = "max_stars_repo_name" in row
        return (UNKNOWN, CORPUS) if declared else NO_LICENCE
    value = row[column]
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and _SPDX.fullmatch(name) for name in names):
        return UNKNOWN, "corpus"
    names = sorted({f"({name})" if " " in name and len(names) > 1 else name for name in names})
    return " AND ".join(names), "corpus"


# --- files -------------------------------------------------------------------------------------------


class TableFile:
    """One Parquet or JSON lines file, read row by row."""

    def __init__(self, path: Path, name: str, given: str) -> None:
        """Look at the columns and the size. Raises WrongInput for what holds no code or is a bomb."""
        self.path = path
        self.name = name  # inside the set
        self._size = path.stat().st_size
        self._unpacked = 0  # bytes of code that were read
        with path.open("rb") as file:
            self._is_parquet = file.read(4) == b"PAR1" or path.suffix == ".parquet"
        if self._is_parquet:
            metadata = _metadata(path)
            refuse_by_footer(path, metadata)
            check_columns(given, metadata.schema.to_arrow_schema().names)
        else:
            first = next((row for row in read_rows(path) if isinstance(row, FileRow)), None)
            if first is not None:
                check_columns(given, list(first.value))

    def check(self, after: Position) -> None:
        """Raise WrongInput when a position was taken in another file than this one is now."""
        if after.get("size") != self._size:
            raise WrongInput(f"{self.path} has changed since it was read up to here; harvest it anew")

    def documents(
        self, set_name: str, after: Position | None
    ) -> Iterator[tuple[Position, Document | Skipped]]:
        rows = self._parquet_rows(after) if self._is_parquet else self._json_rows(after)
        for position, row in rows:
            if not isinstance(row, FileRow | Mapping):
                yield position, row
                continue
            values = row.value if isinstance(row, FileRow) else row
            number = f"{self.name} row {position['row']}"
            yield position, document_of_row(set_name, values, number)

    def _json_rows(self, after: Position | None) -> Iterator[tuple[Position, FileRow | Skipped]]:
        done = -1 if after is None else int(after["row"])
        for row in read_rows(self.path):
            if row.position > done:
                position = {"file": self.name, "size": self._size, "row": row.position}
                yield position, row if isinstance(row, FileRow) else skipped_of(row, self.name)

    def _parquet_rows(self, after: Position | None) -> Iterator[tuple[Position, Mapping[str, Any] | Skipped]]:
        first, done = (0, -1) if after is None else (int(after["group"]), int(after["row"]))
        self._unpacked = 0
        with _parquet(self.path) as file:
            for group in range(first, file.num_row_groups):
                if done < file.metadata.row_group(group).num_rows - 1:
                    yield from self._group_rows(file, group, done)
                done = -1

    def _group_rows(
        self, file: "pyarrow.parquet.ParquetFile", group: int, done: int
    ) -> Iterator[tuple[Position, Mapping[str, Any] | Skipped]]:
        import pyarrow

        number = -1
        try:
            for batch in _batches(file, group):
                for index in range(batch.num_rows):
                    number += 1
                    if number <= done:
                        continue
                    row, size = _row(batch, index, self.name, number)
                    self._unpacked += size
                    refuse_bomb(self.path, self._unpacked)
                    yield self._position(group, number), row
        except (pyarrow.ArrowException, OSError) as error:
            # Whole pages fail, so the group is given up and the next one tried.
            rows = file.metadata.row_group(group).num_rows
            lost = Skipped(
                shown_name(self.name),
                "broken_source",
                f"{rows - number - 1:,} rows of row group {group} cannot be read ({first_line(error)})",
            )
            yield self._position(group, rows - 1), lost

    def _position(self, group: int, row: int) -> Position:
        return {"file": self.name, "size": self._size, "group": group, "row": row}


def refuse_by_footer(path: Path, metadata: "pyarrow.parquet.FileMetaData") -> None:
    """Raise WrongInput for a file whose own footer says that it is no set of code, before any row is read."""
    stored = path.stat().st_size
    if metadata.num_rows > max(ROWS_ALWAYS_ALLOWED, stored):
        raise WrongInput(
            f"{path} declares {metadata.num_rows:,} rows in {stored:,} bytes, more rows than bytes, as files "
            "do that are made to fill memory; if it is yours, export it as JSON lines"
        )
    sizes = [metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)]
    refuse_bomb(path, sum(sizes))
    if sizes and max(sizes) > GROUP_LIMIT:
        raise WrongInput(f"{path} has a row group of {max(sizes):,} bytes; write it with smaller ones")


def _metadata(path: Path) -> "pyarrow.parquet.FileMetaData":
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise WrongInput(
            f"{path} is not a whole Parquet file ({first_line(error)}); fetch it again"
        ) from error


def _parquet(path: Path) -> "pyarrow.parquet.ParquetFile":
    """Open a file so that a text that stands in many rows is in memory once, however often it is used."""
    import pyarrow.parquet

    metadata = _metadata(path)
    columns = (metadata.schema.column(index) for index in range(len(metadata.schema)))
    texts = [c.path for c in columns if c.physical_type == "BYTE_ARRAY" and c.path.split(".")[0] in USED]
    return pyarrow.parquet.ParquetFile(
        path, metadata=metadata, read_dictionary=texts, pre_buffer=False, buffer_size=1 << 16
    )


def _batches(file: "pyarrow.parquet.ParquetFile", group: int) -> Iterator[Any]:
    columns = [name for name in file.schema_arrow.names if name in USED]
    yield from file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=columns)


def _row(batch: Any, index: int, name: str, number: int) -> tuple[Mapping[str, Any] | Skipped, int]:
    """Take one row out of a batch, and nothing that is too long; give the bytes it had, too."""
    values: dict[str, Any] = {}
    content = b""
    for column in batch.schema.names:
        cell = batch.column(column)[index]
        value = cell.value if hasattr(cell, "dictionary") else cell  # the text that the row points at
        if not value.is_valid:
            values[column] = None
        elif hasattr(value, "as_buffer"):
            buffer = value.as_buffer()
            limit = FILE_LIMIT if column == CONTENT else TEXT_LIMIT
            if buffer.size > limit:
                fault = f"its {column} has {buffer.size:,} bytes; {limit:,} are allowed"
                return Skipped(shown_name(f"{name} row {number}"), "large_file", fault), 0
            values[column] = buffer.to_pybytes()
            content = values[column] if column == CONTENT else content
        else:
            values[column] = None if _is_long(value) else value.as_py()
    if isinstance(values[CONTENT], bytes):
        values[CONTENT] = ""  # looked at as bytes later on; the other columns have to be text
    row = row_of_values(values, number)
    if isinstance(row, BadRow):
        return skipped_of(row, name), len(content)
    return {**row.value, CONTENT: content if values[CONTENT] == "" else None}, len(content)


def _is_long(value: Any) -> bool:
    return hasattr(value, "values") and value.values is not None and len(value.values) > LIST_LIMIT
