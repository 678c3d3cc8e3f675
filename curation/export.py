"""Export: a frozen version as files that trainers and `datasets.load_dataset` read, with a card."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from curation.assemble import read_rows
from curation.atomic import atomic_write, sweep_partial
from curation.errors import WrongInput
from curation.file_lock import locked
from curation.stage import Report
from curation.workspace import Workspace

PROVENANCE = ("id", "source", "row", "name", "licence", "method", "file_id", "seed_id", "content_hash")
NON_COMMERCIAL = re.compile(r"\bNC\b|NON-?COMMERCIAL")  # in any spelling of the licence
BATCH = 1_000  # rows written together to Parquet
MARK = "winnow-export.json"  # written last: a folder with it is a whole export


def _alpaca(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"instruction": row["instruction"], "input": row["input"], "output": row["response"]}


def _messages(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in _turns(row)]}


def _prompt_completion(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"prompt": _question(row), "completion": row["response"]}


def _sharegpt(row: Mapping[str, Any]) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return {"conversations": [{"from": names[role], "value": text} for role, text in _turns(row)]}


def _turns(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    system = row["extra"].get("system")
    turns = [("user", _question(row)), ("assistant", row["response"])]
    return [("system", system), *turns] if system else turns


def _question(row: Mapping[str, Any]) -> str:
    """Join instruction and input by a blank line, as people write them; only comparison uses a space."""
    return f"{row['instruction']}\n\n{row['input']}" if row["input"] else str(row["instruction"])


FORMATS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "alpaca": _alpaca,
    "messages": _messages,
    "prompt-completion": _prompt_completion,
    "sharegpt": _sharegpt,
}
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Exported:
    """What an export came to."""

    report: Report
    unchanged: bool


def export(workspace: Workspace, name: str, form: str, files: str, folder: Path) -> Exported:
    """Write a version to a folder: one data file a split, and README.md as its card.

    Raises WrongInput when there is no such version, or the folder holds something else.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise WrongInput(f"{folder} is a file; give --to a folder")
    with locked(workspace.folder / "export.lock"):  # two exports into one folder would undo each other
        return _export(workspace, name, form, files, folder)


def _export(workspace: Workspace, name: str, form: str, files: str, folder: Path) -> Exported:
    manifest, rows_file = read_rows(workspace, name)
    wanted = {"version": name, "sha256": manifest["report"]["sha256"], "format": form, "files": files}
    before = _mark(folder)
    if (
        before is not None
        and {key: before.get(key) for key in wanted} == wanted
        and _is_whole(folder, before)
    ):
        return Exported({"files": sorted(before["hashes"]), "rows": before["rows"]}, unchanged=True)
    if before is None and folder.exists() and not all(f.name.startswith(MARK) for f in folder.iterdir()):
        raise WrongInput(f"{folder} is not empty and holds no Winnow export; give --to another folder")
    _begin(folder, wanted, before)
    counts = _write_splits(rows_file, form, files, folder)
    with atomic_write(folder / "README.md") as out:
        out.write(_card(name, form, files, manifest, counts).encode())
    names = sorted(["README.md", *(f"{split}.{files}" for split in counts)])
    hashes = {file: sha256((folder / file).read_bytes()).hexdigest() for file in names}
    rows = sum(counts.values())
    with atomic_write(folder / MARK) as out:
        out.write(json.dumps({**wanted, "rows": rows, "hashes": hashes}, indent=2, sort_keys=True).encode())
    return Exported({"files": names, "rows": rows}, unchanged=False)


def folder_of(workspace: Workspace, name: str, form: str, files: str) -> Path:
    """Name the folder inside the workspace where pages keep an export of a version."""
    return workspace.folder / "exports" / f"{name}-{form}-{files}"


def archive(folder: Path) -> bytes:
    """Pack a whole export into a zip, for a download.

    Only the files its mark lists are taken, each checked against its hash. Raises WrongInput when the folder
    holds no whole export.
    """
    mark = _mark(folder)
    if mark is None or not mark["hashes"] or not _is_whole(folder, mark):
        raise WrongInput(f"{folder} holds no whole export; export the version again")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(mark["hashes"]):
            out.write(folder / file, f"{folder.name}/{file}")
    return packed.getvalue()


def _mark(folder: Path) -> dict[str, Any] | None:
    try:
        value = json.loads((folder / MARK).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WrongInput(f"{folder / MARK} could not be read ({error}); give --to another folder") from error
    return value if isinstance(value, dict) and isinstance(value.get("hashes"), dict) else None


def _is_whole(folder: Path, mark: Mapping[str, Any]) -> bool:
    try:
        return all(sha256((folder / f).read_bytes()).hexdigest() == h for f, h in mark["hashes"].items())
    except OSError:
        return False


def _begin(folder: Path, wanted: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
    """Claim the folder and remove an earlier export's files.

    The claim names files without hashes: after a kill it promises nothing, and the same call goes on.
    """
    old = [name for name in (before or {"hashes": {}})["hashes"] if Path(name).name == name]  # no path out
    own = [*old, "README.md", *(f"{split}.{wanted['files']}" for split in SPLITS)]
    with atomic_write(folder / MARK) as out:
        out.write(json.dumps({**wanted, "rows": 0, "hashes": dict.fromkeys(own)}, indent=2).encode())
    sweep_partial(folder)
    for name in old:
        (folder / name).unlink(missing_ok=True)


def _write_splits(rows_file: Path, form: str, files: str, folder: Path) -> dict[str, int]:
    counts = {}
    for split in SPLITS:
        rows = (_exported(row, form) for row in _rows(rows_file) if row["split"] == split)
        write = _write_jsonl if files == "jsonl" else _write_parquet
        number = write(rows, folder / f"{split}.{files}")
        if number:
            counts[split] = number
        else:
            (folder / f"{split}.{files}").unlink(missing_ok=True)
    return counts


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield json.loads(line)


def _exported(row: Mapping[str, Any], form: str) -> dict[str, Any]:
    return {
        **FORMATS[form](row),
        **{name: row[name] for name in PROVENANCE},
        "extra": json.dumps(row["extra"], ensure_ascii=False),
    }


def _write_jsonl(rows: Iterator[dict[str, Any]], file: Path) -> int:
    number = 0
    with atomic_write(file) as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            number += 1
    return number


def _write_parquet(rows: Iterator[dict[str, Any]], file: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    batch: list[dict[str, Any]] = []
    writer: Any = None

    def flush(out: Any) -> None:
        nonlocal writer
        # The schema is fixed by hand: a first batch without any file id would else say "null".
        table = pa.Table.from_pylist(batch, schema=_schema(pa, batch[0]))
        writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
        writer.write_table(table)
        batch.clear()

    with atomic_write(file) as out:
        for row in rows:
            batch.append(row)
            number += 1
            if len(batch) == BATCH:
                flush(out)
        if batch:
            flush(out)
        if writer is not None:
            writer.close()
    return number


def _schema(pa: Any, row: Mapping[str, Any]) -> Any:
    text = pa.string()
    turn = {"messages": ("role", "content"), "conversations": ("from", "value")}
    return pa.schema([
        (name, pa.list_(pa.struct([(key, text) for key in turn[name]])) if name in turn
         else pa.int64() if name == "row" else text)
        for name in row
    ])  # fmt: skip


def _card(name: str, form: str, files: str, manifest: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """Write the dataset card: what is in it, where it came from, what was taken out and how."""
    report = manifest["report"]
    parts = [
        _front_matter(files, counts, manifest),
        f"# {name}\n",
        f"{report['rows']:,} rows of code-instruction data, frozen by Winnow {manifest['winnow']}. "
        f"Format: {form}. sha256 of the frozen rows: `{report['sha256']}`.\n",
        _section("Rows", ("split", "rows"), counts.items()),
        _section("Where the rows come from", ("set", "rows"), manifest["sources"].items()),
        _section("How they were made", ("method", "rows"), manifest["methods"].items()),
        _method_notes(manifest),
        _section("Licences", ("licence", "rows"), manifest["licences"].items()),
        _paragraph(licence_notes(manifest["licences"])),
        _section("What was taken out", ("stage", "rows"), report["dropped"].items()),
        f"{report['samples']:,} samples entered; {report['samples']:,} = {report['rows']:,} kept + "
        f"{sum(report['dropped'].values()):,} dropped. "
        "Every drop is on record with its evidence (`explain ID`).\n",
        _decontamination(manifest),
        _columns(form),
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(files: str, counts: Mapping[str, int], manifest: Mapping[str, Any]) -> str:
    import yaml

    known = list(manifest["licences"])
    facts = {
        "license": known[0].lower() if len(known) == 1 and known[0] != "unknown" else "other",
        "task_categories": ["text-generation"],
        "tags": ["code", "instruction-tuning", "winnow"],
        "configs": [
            {"config_name": "default",
             "data_files": [{"split": split, "path": f"{split}.{files}"} for split in counts]}
        ],
    }  # fmt: skip
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---\n"


def _section(title: str, head: tuple[str, str], rows: Any) -> str:
    lines = [f"## {title}\n", f"| {head[0]} | {head[1]} |", "|---|--:|"]
    lines += [f"| {_cell(key)} | {value:,} |" for key, value in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Show a name as text: names come from files, so nothing in them may act as Markdown."""
    shown = "".join(c if c.isprintable() else " " for c in str(text))
    plain = " ".join(shown.split())[:120].replace("`", "'").replace("|", "/")
    return f"`{plain}`"


def _method_notes(manifest: Mapping[str, Any]) -> str:
    if "comment-function" not in manifest["methods"]:
        return ""
    return (
        "Comment-function rows pair a function's docstring with the function itself; no model wrote them. "
        "The Magicoder paper trained on 75K such pairs and found no gain (HumanEval+ 34.1 -> 34.1): "
        "they are there to try the workbench, not to train a model.\n"
    )


def licence_notes(licences: Mapping[str, int]) -> list[str]:
    """Say what the licences of a version's rows mean for what is made of it."""
    notes = []
    if any(NON_COMMERCIAL.search(re.sub(r"[\s_]+", "-", licence.upper())) for licence in licences):
        notes.append(
            "**Some rows are under a non-commercial licence**, "
            "and so is what is trained or derived from them."
        )
    if "unknown" in licences:
        notes.append("Some rows carry no licence: nobody named one at import.")
    return notes


def _paragraph(sentences: Sequence[str]) -> str:
    return " ".join(sentences) + "\n" if sentences else ""


def _decontamination(manifest: Mapping[str, Any]) -> str:
    stage = manifest["stages"].get("decontaminate")
    if stage is None:
        return (
            "## Contamination\n\n**Not checked against any benchmark.** "
            "Do not report scores of a model trained on this.\n"
        )
    lines = [
        "## Contamination\n",
        "Checked by "
        + ", ".join(stage["settings"]["detectors"])
        + f", band {stage['settings']['low']} to {stage['settings']['high']}.\n",
    ]
    lines += ["| benchmark | items | sha256 | the published file |", "|---|--:|---|---|"]
    lines += [
        f"| {_cell(name)} | {pin['items']:,} | `{pin['sha256'][:16]}…` | "
        f"{'yes' if pin['verified'] else 'not known'} |"
        for name, pin in manifest["benchmarks"].items()
    ]
    return "\n".join(lines) + "\n"


def _columns(form: str) -> str:
    texts = list(FORMATS[form]({"instruction": "", "input": "", "response": "", "extra": {}}))
    return f"## Columns\n\n{', '.join(texts)}; provenance: {', '.join(PROVENANCE)}, extra (JSON).\n"
