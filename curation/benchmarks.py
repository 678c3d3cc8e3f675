"""Loads the items of evaluation sets, from a file, the Hugging Face hub or the standard library."""

import ast
import gzip
import json
import platform
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from curation.documented_functions import standard_library
from curation.errors import SourceUnavailable, WrongInput
from curation.records import BenchmarkItem, digest

PYSTDLIB = "pystdlib"  # the documented functions of the running Python's own library
HUB_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class BenchmarkFields:
    """Where the parts of an item stand in a row; of several names, the first that the first row has."""

    problem: tuple[str, ...]
    solution: tuple[str, ...]
    item: tuple[str, ...] = ("task_id",)
    may_lack_item: bool = False  # the row's position from 0 is then the item
    hub_id: str | None = None
    hub_config: str | None = None
    splits: tuple[str, ...] = ("test",)  # every split counts: all of it can leak


# To add one: name its fields here, its hash below when we have the file, and try it on the real file.
KNOWN: dict[str, BenchmarkFields] = {
    "humaneval": BenchmarkFields(("prompt",), ("canonical_solution",), hub_id="openai/openai_humaneval"),
    "mbpp": BenchmarkFields(
        ("text",),
        ("code",),
        hub_id="google-research-datasets/mbpp",
        hub_config="full",
        splits=("prompt", "test", "validation", "train"),
    ),
    "humanevalplus": BenchmarkFields(("prompt",), ("canonical_solution",), hub_id="evalplus/humanevalplus"),
    # The file on GitHub has canonical_solution, the hub has code.
    "mbppplus": BenchmarkFields(("prompt",), ("canonical_solution", "code"), hub_id="evalplus/mbppplus"),
    "mbpp-sanitized": BenchmarkFields(
        ("prompt",),
        ("code",),
        hub_id="google-research-datasets/mbpp",
        hub_config="sanitized",
        splits=("prompt", "test", "validation", "train"),
    ),
    "gsm8k": BenchmarkFields(
        ("question",), ("answer",), (), may_lack_item=True, hub_id="openai/gsm8k", hub_config="main"
    ),
}

# For a file under any other name.
GUESSED = BenchmarkFields(
    problem=("prompt", "text", "question", "problem", "instruction"),
    solution=("canonical_solution", "code", "answer", "solution", "response", "output"),
    item=("task_id", "id"),
    may_lack_item=True,
)

# SHA-256 of the unpacked files as their authors publish them (shared/data/benchmarks/MANIFEST.md).
KNOWN_SHA256 = {
    "humaneval": "1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2",
    "mbpp": "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
}


class _Chosen(NamedTuple):
    """The fields that one file's rows are read by."""

    problem: str
    solution: str
    item: str | None  # None: rows are numbered


TRIPLE_QUOTED = re.compile(r"(\"\"\"|''')(.*?)(?<!\\)\1", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LoadedBenchmark:
    """Every item of an evaluation set, and what pins it."""

    name: str
    items: list[BenchmarkItem]
    sha256: str  # of the unpacked file; of the items where there is no file
    revision: str | None  # commit on the hub, or version of Python; None for a file
    origin: str  # the file, "hub ID", or "standard library"

    @property
    def verified(self) -> bool:
        """Whether this is, byte for byte, the file the benchmark's authors published."""
        return KNOWN_SHA256.get(self.name) == self.sha256


# Gives the revision and the rows of a benchmark on the hub, at a pinned revision or the newest.
HubReader = Callable[[BenchmarkFields, str | None], tuple[str, list[Mapping[str, Any]]]]


def parse_benchmark(spec: str) -> tuple[str, Path | None]:
    """Split "NAME" or "NAME=FILE"; a name without a file must be one we know."""
    name, equals, file = (part.strip() for part in spec.partition("="))
    if equals and not (name and file):
        raise WrongInput(f"benchmark {spec!r} lacks its {'file' if name else 'name'}: write NAME=FILE")
    if name == PYSTDLIB and file:
        raise WrongInput(f"benchmark {spec!r}: {PYSTDLIB} is read from this Python, leave out the file")
    if not file and name != PYSTDLIB and name not in KNOWN:
        known = ", ".join([*KNOWN, PYSTDLIB])
        raise WrongInput(f"unknown benchmark {spec!r}: use one of {known}, or NAME=FILE for a file of yours")
    return name, Path(file).expanduser() if file else None


def read_hub(fields: BenchmarkFields, revision: str | None) -> tuple[str, list[Mapping[str, Any]]]:
    """Read all splits of a benchmark from the Hugging Face hub, at one commit."""
    if fields.hub_id is None:
        raise WrongInput("this benchmark is not on the hub: give it as NAME=FILE")
    revision = _known_revision(fields.hub_id, revision)
    return revision, _hub_rows(fields.hub_id, fields, revision)


def load_benchmark(spec: str, *, revision: str | None = None, hub: HubReader = read_hub) -> LoadedBenchmark:
    """Load every item of "NAME" or "NAME=FILE", or refuse: a benchmark with a row missing would let
    exactly that row through. `revision` pins what is read from the hub.
    """
    name, file = parse_benchmark(spec)
    if file is not None:
        return _from_file(name, file)
    if name == PYSTDLIB:
        return _from_standard_library()
    fields = KNOWN[name]
    found, rows = hub(fields, revision)
    origin = f"hub {fields.hub_id}"
    items = _items(name, fields, ((f"{origin} row {n}", row) for n, row in enumerate(rows)))
    if not items:
        raise WrongInput(f"{origin} has no rows at revision {found}: give a file as {name}=FILE")
    return LoadedBenchmark(name, items, _hash_of(items), found, origin)


def problem_string(problem: str, entry_point: str | None = None) -> str:
    """Give what a copy of this problem would contain: the docstring where the problem is Python, else
    the text. Source: Magicoder src/magicoder/decontamination/benchmark_data.py; HumanEval/10, 32, 38,
    50 and 64 have two docstrings, and that of `entry_point` counts.
    """
    quoted = _docstring_after_def(problem, entry_point) or _module_docstring(problem)
    return quoted or problem.strip()


def _from_file(name: str, file: Path) -> LoadedBenchmark:
    data = _unpacked(file)
    items = _items(name, KNOWN.get(name, GUESSED), _rows(data, file))
    if not items:
        raise WrongInput(f"{file} has no rows: give a .jsonl file or a .json array with one item a row")
    return LoadedBenchmark(name, items, sha256(data).hexdigest(), None, str(file))


def _unpacked(file: Path) -> bytes:
    """Read a file, through gzip where it begins like one whatever its name."""
    try:
        data = file.read_bytes()
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except FileNotFoundError as error:
        raise WrongInput(f"there is no file {file}: check the path after '='") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise WrongInput(f"{file} is a damaged gzip file ({error}): fetch it again") from error
    except OSError as error:
        raise WrongInput(f"{file} cannot be read ({error.strerror}): give a file you may read") from error


def _rows(data: bytes, file: Path) -> Iterator[tuple[str, object]]:
    """Yield the rows of a JSON array or of JSON lines, each with its place as a person looks for it."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WrongInput(f"{file} line {line} is not UTF-8: save the file as UTF-8 text") from error
    if text.lstrip().startswith("["):
        rows = _json(text, str(file))
        yield from ((f"{file} row {n} (from 0)", row) for n, row in enumerate(rows))
        return
    for n, line_text in enumerate(text.split("\n"), start=1):  # splitlines would cut at U+2028 in a text
        if line_text.strip():
            where = f"{file} line {n}"
            yield where, _json(line_text, where)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        advice = "mend it, or give one JSON object a line"
        raise WrongInput(f"{where} is not JSON ({error}): {advice}") from error


def _items(name: str, fields: BenchmarkFields, rows: Iterable[tuple[str, object]]) -> list[BenchmarkItem]:
    """Make the items, refusing the lot at the first row that is not one."""
    items: list[BenchmarkItem] = []
    places: dict[str, str] = {}
    chosen: _Chosen | None = None
    for position, (where, row) in enumerate(rows):
        if not isinstance(row, Mapping):
            raise WrongInput(f"{where} is no JSON object: each row needs fields for problem and solution")
        chosen = chosen or _choose(fields, row, where)
        item = _item(name, chosen, row, where, position)
        if item.item in places:
            raise WrongInput(
                f"{where}, field {chosen.item!r}: {item.item!r} stands on {places[item.item]} too; "
                "give every row its own id"
            )
        places[item.item] = where
        items.append(item)
    return items


def _choose(fields: BenchmarkFields, row: Mapping[str, Any], where: str) -> _Chosen:
    """Settle on one field each for problem, solution and item, by the first row."""
    unnumbered = not fields.may_lack_item or any(name in row for name in fields.item)
    return _Chosen(
        problem=_first(fields.problem, row, where),
        solution=_first(fields.solution, row, where),
        item=_first(fields.item, row, where) if unnumbered else None,
    )


def _first(names: tuple[str, ...], row: Mapping[str, Any], where: str) -> str:
    found = next((name for name in names if name in row), None)
    if found is None:
        needed, present = " or ".join(map(repr, names)), ", ".join(map(repr, row)) or "none"
        raise WrongInput(
            f"{where} has no field {needed}, only {present}: "
            "rename the field, or check that NAME fits the file"
        )
    return found


def _item(name: str, chosen: _Chosen, row: Mapping[str, Any], where: str, position: int) -> BenchmarkItem:
    problem, solution = _text(row, chosen.problem, where), _text(row, chosen.solution, where)
    entry_point = row.get("entry_point")
    return BenchmarkItem(
        benchmark=name,
        item=str(position) if chosen.item is None else _id(row, chosen.item, where),
        problem=problem,
        solution=solution,
        problem_string=problem_string(problem, entry_point if isinstance(entry_point, str) else None),
        solution_string=solution.strip(),
    )


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    """Read a text with plain line ends; MBPP's code has those of Windows, and four a single \\r."""
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise WrongInput(f"{where}, field {field!r}: needs text that is not empty, found {_shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        advice = "replace the lone surrogate"
        raise WrongInput(f"{where}, field {field!r}: holds half a character ({error}); {advice}") from error
    return value.replace("\r\n", "\n").replace("\r", "\n")


def _id(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(row, field, where).strip()


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.40}"


def _docstring_after_def(problem: str, entry_point: str | None) -> str:
    """Find the text between the triple quotes that follow a def, "" where there is none.

    By pattern and not by ast, which sees no docstring in HumanEval/115: an import stands before it.
    """
    if entry_point:
        definition = re.compile(rf"^[ \t]*(?:async )?def {re.escape(entry_point)}\b", re.MULTILINE)
    elif _is_python(problem):
        definition = re.compile(r"^[ \t]*(?:async )?def \w+", re.MULTILINE)
    else:
        return ""
    starts = [found.end() for found in definition.finditer(problem)]
    quoted = TRIPLE_QUOTED.search(problem, starts[-1]) if starts else None
    return quoted[2].strip() if quoted else ""


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _module_docstring(problem: str) -> str:
    """Give the text of a problem that is nothing but one string, as those of MBPP+ are.

    The assertion EvalPlus puts on its last line is left off: it stands in no other edition of MBPP.
    """
    quoted = TRIPLE_QUOTED.fullmatch(problem.strip())
    if quoted is None or quoted[1] in quoted[2]:
        return ""
    lines = quoted[2].strip().split("\n")
    while len(lines) > 1 and lines[-1].startswith("assert "):
        lines.pop()
    return "\n".join(lines).strip()


def _from_standard_library() -> LoadedBenchmark:
    items: dict[str, BenchmarkItem] = {}
    for function in standard_library():
        name = function.qualified_name
        if name in items:  # defined twice, as for two operating systems, or a property and its setter
            name = f"{name}@{function.first_line}"
        docstring, code = function.docstring, function.code
        items[name] = BenchmarkItem(PYSTDLIB, name, docstring, code, docstring.strip(), code.strip())
    all_items = list(items.values())
    version = platform.python_version()
    return LoadedBenchmark(PYSTDLIB, all_items, _hash_of(all_items), version, "standard library")


def _hash_of(items: Iterable[BenchmarkItem]) -> str:
    """Pin items that come from no single file, in their order."""
    state = sha256()
    for item in items:
        state.update(digest(item.item, item.problem, item.solution).encode())
    return state.hexdigest()


def _known_revision(hub_id: str, wanted: str | None) -> str:
    """Ask the hub for this revision or the newest; offline this fails at once, `datasets` after 23 s."""
    from httpx2 import HTTPError  # here and below: slow to import, and needed for the hub only
    from huggingface_hub import HfApi

    try:
        revision = HfApi().dataset_info(hub_id, revision=wanted, timeout=HUB_TIMEOUT_SECONDS).sha
    except (HTTPError, OSError) as error:
        raise _unavailable(hub_id, error) from error
    if revision is None:
        raise SourceUnavailable(f"the hub names no revision of {hub_id}: give a file as NAME=FILE")
    return revision


def _hub_rows(hub_id: str, fields: BenchmarkFields, revision: str) -> list[Mapping[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from httpx2 import HTTPError

    try:
        return [
            dict(row)
            for split in fields.splits
            for row in load_dataset(hub_id, fields.hub_config, split=split, revision=revision)
        ]
    except (HTTPError, OSError, DatasetsError, ValueError) as error:  # ValueError: no such split or config
        raise _unavailable(hub_id, error) from error


def _unavailable(hub_id: str, error: BaseException) -> SourceUnavailable:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return SourceUnavailable(
        f"{hub_id} could not be read from the Hugging Face hub ({reason}): "
        "go online, or download the benchmark and give it as NAME=FILE"
    )
