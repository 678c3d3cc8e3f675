"""Seeds: what is kept of trees that the tests write, why the rest is not, and that nothing else matters."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from curation import seed_comparison, seeds
from curation.cli import main
from curation.cutting import Policy
from curation.document_twins import sign
from curation.errors import WrongInput
from curation.records import Document, digest
from curation.rescued_documents import rescue_document
from curation.seed_export import seeds_as_lines
from curation.seeds import Settings, add_seeds
from curation.store import documents
from curation.store.seeds import find as find_seed
from curation.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
ENDINGS = {
    "Python": ".py", "C++": ".cpp", "Java": ".java", "TypeScript": ".ts", "Shell": ".sh", "C#": ".cs",
    "Rust": ".rs", "PHP": ".php", "Swift": ".swift",
}  # fmt: skip
MIT = (ROOT / "tests" / "licences" / "MIT.txt").read_text()
WORDS = ("read", "count", "merge", "split", "order", "draw", "find", "keep", "send", "open", "close", "pack")


def code(number: int, lines: int = 30) -> str:
    """Give code of which no two numbers are alike."""
    chance = random.Random(number)
    made = []
    for n in range(lines):
        name = "_".join(chance.sample(WORDS, 3))
        made.append(f"value_{n} = {name}(item_{chance.randrange(10**6)}, {chance.randrange(10**6)})")
    return "\n".join(made) + "\n"


def tree(folder: Path, files: Sequence[tuple[str, str]], licence: str = MIT) -> Path:
    """Write a project with a licence file."""
    for path, text in [("LICENSE", licence), *files] if licence else files:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return folder


def nine_languages(number: int = 4) -> list[tuple[str, str]]:
    return [
        (f"src/{name}/{n}{ending}", code(10_000 * place + n))
        for place, (name, ending) in enumerate(ENDINGS.items())
        for n in range(number)
    ]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


ONE = Settings(workers=1)


def kept(workspace: Workspace) -> dict[str, Any]:
    """Give every seed by its id."""
    with workspace.database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM seed").mappings().all()
    return {row["id"]: dict(row) for row in rows}


def left_out(workspace: Workspace) -> dict[str, tuple[str, Any]]:
    """Give the reason and the evidence of every document left out, by its path."""
    with workspace.database.reading() as connection:
        found = connection.exec_driver_sql(
            "SELECT path, reason, evidence FROM document WHERE state = 'dropped'"
        ).all()
    return {row.path: (row.reason, json.loads(row.evidence)) for row in found}


# --- what is kept ---


def test_every_snippet_is_lines_of_its_file(workspace: Workspace, tmp_path: Path) -> None:
    files = [
        *nine_languages(),
        ("crlf.py", code(990).replace("\n", "\r\n")),
        ("end.py", code(991).rstrip("\n")),
    ]
    project = tree(tmp_path / "project", files)

    report = add_seeds(workspace, str(project), ONE).report

    found = kept(workspace).values()
    assert report["documents"] == report["kept"] == report["snippets"] == len(found) == len(files)
    assert report["languages"] == {"Python": 6, **{name: 4 for name in ENDINGS if name != "Python"}}
    assert len({row["document_hash"] for row in found}) == len(files), "one a document"
    for row in found:
        lines = (project / row["path"]).read_bytes().splitlines(keepends=True)
        assert row["text"].encode() == b"".join(lines[row["first_line"] - 1 : row["last_line"]])
        assert 1 <= row["last_line"] - row["first_line"] + 1 <= 15
        assert (row["licence"], row["licence_evidence"], row["method"]) == (
            "MIT",
            "licence file",
            "magicoder",
        )
        assert row["source"] == "project" and row["id"] == digest(
            row["document_hash"], str(row["first_line"]), str(row["last_line"])
        )


def test_neither_order_nor_workers_matter(tmp_path: Path) -> None:
    files = nine_languages(8)
    ways = []
    for n, (workers, batch) in enumerate(((1, 256), (2, 256), (1, 5))):
        random.Random(n).shuffle(files)
        project = tree(tmp_path / str(n) / "project", files)
        workspace = Workspace(tmp_path / f"workspace-{n}")
        before, seeds.BATCH = seeds.BATCH, batch
        try:
            add_seeds(workspace, str(project), Settings(workers=workers))
        finally:
            seeds.BATCH = before
        ways.append(kept(workspace))
    assert ways[0] == ways[1] == ways[2] and len(ways[0]) == len(files)


def test_a_whole_function_by_syntax(workspace: Workspace, tmp_path: Path) -> None:
    body = "import os\n\n\n@cached\ndef total(rows):\n    return sum(rows)\n\n\nprint(total([1]))\n"
    project = tree(tmp_path / "project", [("a.py", body)])
    add_seeds(workspace, str(project), Settings(Policy("syntax"), workers=1))
    (row,) = kept(workspace).values()
    assert row["text"] == "@cached\ndef total(rows):\n    return sum(rows)\n" and row["method"] == "syntax"


def test_a_larger_quota_takes_more_and_never_others(tmp_path: Path) -> None:
    project = tree(tmp_path / "project", nine_languages(6))
    found = []
    for n in (2, 4):
        workspace = Workspace(tmp_path / f"workspace-{n}")
        report = add_seeds(workspace, str(project), Settings(per_language=n, workers=1)).report
        assert set(report["languages"].values()) == {n}
        assert report["skipped"] == {"over_quota": 9 * (6 - n), "unknown_language": 1}  # LICENSE
        found.append(set(kept(workspace)))
    assert found[0] < found[1]


# --- what is left out ---


def test_every_reason_names_its_document(workspace: Workspace, tmp_path: Path) -> None:
    same, near = code(1), code(2, lines=60)
    files = [
        ("b/same.py", same), ("a/same.py", same),
        ("near1.py", near), ("near2.py", near.replace("value_59", "other_59")),
        ("gpl.py", "# SPDX-License-Identifier: GPL-3.0-only\n" + code(3)),
        ("empty.py", ""),
        ("made.py", "# Code generated by a tool. DO NOT EDIT.\n" + code(4)),
        ("long.py", "# " + "words of a very long line " * 60 + "\n" + code(5)),
        ("notes.txt", "no code"), ("good.py", code(6)),
    ]  # fmt: skip
    project = tree(tmp_path / "project", files)
    (project / "latin.py").write_bytes("# größe\n".encode("latin-1") + code(7).encode())

    report = add_seeds(workspace, str(project), ONE).report

    found = left_out(workspace)
    assert {path: reason for path, (reason, _) in found.items()} == {
        "b/same.py": "same_document", "gpl.py": "licence_header", "empty.py": "empty",
        "made.py": "generated", "long.py": "long_lines", "latin.py": "bad_encoding",
        **{path: "near_duplicate_document" for path in found if path.startswith("near")},
    }  # fmt: skip
    assert found["b/same.py"][1] == {"kept": {"source": "project", "path": "a/same.py"}}
    (twin,) = (path for path in found if path.startswith("near"))
    keeper = {"near1.py": "near2.py", "near2.py": "near1.py"}[twin]
    assert found[twin][1]["kept"]["path"] == keeper and 0.85 <= found[twin][1]["jaccard"] < 1
    assert report["kept"] + len(found) == report["documents"]
    assert report["skipped"]["unknown_language"] >= 1 and "notes.txt" not in found


@pytest.mark.parametrize(
    ("licence", "settings", "reason"),
    [
        ("", ONE, "licence_unknown"),
        ("", Settings(allow_unknown=True, workers=1), None),
        ("All rights reserved. You may look at it.", ONE, "licence_unknown"),
        (MIT, ONE, None),
    ],
)
def test_only_allowed_licences_are_used(
    licence: str, settings: Settings, reason: str | None, workspace: Workspace, tmp_path: Path
) -> None:
    project = tree(tmp_path / "project", [("a.py", code(1))], licence)
    add_seeds(workspace, str(project), settings)
    assert [found for found, _ in left_out(workspace).values()] == ([reason] if reason else [])
    assert len(kept(workspace)) == (reason is None)


def test_secrets_are_replaced_in_snippet_and_document(workspace: Workspace, tmp_path: Path) -> None:
    secret = "ghp_" + "".join(random.Random(1).choices("abcdefghijkmnpqrstuvwxyzABCDEFGH23456789", k=36))
    project = tree(tmp_path / "project", [("a.py", f'TOKEN = "{secret}"\n')])
    add_seeds(workspace, str(project), ONE)
    (row,) = kept(workspace).values()
    text = documents.text_of(workspace.database, row["document_hash"])
    assert row["text"] == text and secret not in row["text"] and row["text"].startswith('TOKEN = "<')
    with workspace.database.reading() as connection:
        (redacted,) = connection.exec_driver_sql("SELECT redacted FROM document").scalars()
    assert sum(json.loads(redacted).values()) == 1
    assert secret.encode() not in workspace.database.path.read_bytes()


judged = seeds.judged


def dies(document: Document, settings: Settings) -> Any:
    """Judge as ever, but die of one document as compiled code does."""
    if b"deadly" in document.data:
        os.kill(os.getpid(), signal.SIGKILL)
    return judged(document, settings)


def test_a_document_that_kills_its_process_costs_nobody_else(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds, "judged", dies)
    monkeypatch.setattr(seeds, "BATCH", 8)
    files = [*nine_languages(2), ("src/Python/bad.py", code(1) + "# deadly\n")]
    report = add_seeds(workspace, str(tree(tmp_path / "project", files)), Settings(workers=2)).report
    assert report["skipped"] == {"crashed": 1, "unknown_language": 1} and report["kept"] == 18
    assert left_out(workspace)["src/Python/bad.py"][0] == "crashed"


# --- again, and other sources ---


def test_the_same_again_changes_nothing_and_other_settings_replace(
    workspace: Workspace, tmp_path: Path
) -> None:
    project = tree(tmp_path / "project", nine_languages())
    first = add_seeds(workspace, str(project), ONE)
    before = kept(workspace)
    again = add_seeds(workspace, f"{project}/../project", ONE)
    assert not first.unchanged and again.unchanged and again.report == first.report

    other = add_seeds(workspace, str(project), Settings(Policy(random_seed=7), workers=1))
    assert not other.unchanged and other.report["documents"] == first.report["documents"]
    assert set(kept(workspace)) != set(before) and len(kept(workspace)) == len(before)

    tree(project, [("new.py", code(5_000))])
    more = add_seeds(workspace, str(project), Settings(Policy(random_seed=7), workers=1))
    assert more.report["documents"] == other.report["documents"] + 1


def test_two_sources_share_no_document(workspace: Workspace, tmp_path: Path) -> None:
    shared = [("lib/a.py", code(1)), ("lib/b.py", code(2))]
    one = tree(tmp_path / "one", shared)
    two = tree(tmp_path / "two", [*shared, ("c.py", code(3))])
    add_seeds(workspace, str(two), ONE)
    add_seeds(workspace, str(one), ONE)

    assert {(row["source"], row["path"]) for row in kept(workspace).values()} == {
        ("one", "lib/a.py"), ("one", "lib/b.py"), ("two", "c.py"),
    }  # fmt: skip
    again = seeds.report(workspace, digest(str(two.resolve())))
    assert again["skipped"]["same_document"] == 2, "what came later has them now"


def test_a_seed_that_a_sample_was_made_from_stays(workspace: Workspace, tmp_path: Path) -> None:
    project = tree(tmp_path / "project", [("a.py", code(1)), ("b.py", code(2))])
    add_seeds(workspace, str(project), ONE)
    used = next(iter(kept(workspace)))
    with workspace.database.transaction() as connection:
        connection.exec_driver_sql(
            "INSERT INTO sample (id, content_hash, instruction, input, response, source, name, licence, "
            "method, seed_id, extra) VALUES ('s', 'h', 'i', '', 'r', 'x', 'x', 'MIT', 'oss', ?, '{}')",
            (used,),
        )
    add_seeds(workspace, str(project), Settings(Policy(random_seed=8), workers=1))
    assert find_seed(workspace.database, used) is not None and len(kept(workspace)) == 3


@pytest.mark.parametrize("given", ["/no/such/folder", "", "hf:", "not a source"])
def test_what_is_no_source_is_refused(given: str, workspace: Workspace) -> None:
    with pytest.raises(WrongInput):
        add_seeds(workspace, given, ONE)


def test_a_source_without_code_says_so(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="holds no file in a language that Winnow knows"):
        add_seeds(workspace, str(tree(tmp_path / "project", [("a.txt", "words")])), ONE)


# --- what documents are compared by ---


def families() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Give two trees that share documents and near-copies; each also has near-copies of its own."""
    one, two = [], []
    for n in range(12):
        text = code(n, lines=60)
        near = [text.replace(f"value_{m}_" if m % 2 else f"value_{m} ", "other ") for m in (20, 30, 40)]
        one += [(f"{n}.py", text), (f"near/{n}.py", near[0])]
        two += [(f"{n}.py", near[1]), (f"far/{n}.py", near[2]), (f"same/{n}.py", text.replace("\n", "\r\n"))]
    two.append(("made.py", "# Code generated by a tool. DO NOT EDIT.\n" + code(99)))
    return one, two


def signatures(workspace: Workspace) -> dict[str, Any]:
    with workspace.database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM document_signature").all()
    return {row.hash: tuple(row)[1:] for row in rows}


def change(workspace: Workspace, statement: str) -> None:
    with workspace.database.transaction() as connection:
        connection.exec_driver_sql(statement)


def text_hashes(workspace: Workspace, where: str) -> set[str]:
    with workspace.database.reading() as connection:
        return set(connection.exec_driver_sql(f"SELECT hash FROM document WHERE {where}").scalars())


def fresh(workspace: Workspace) -> dict[str, Any]:
    """Sign the texts of all documents that were compared."""
    found = {}
    for hash in text_hashes(workspace, "stage IS NOT 'reading'"):
        one = sign(documents.text_of(workspace.database, hash) or "")
        found[hash] = (one.text_key, one.grams, one.numbers, one.version)
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_a_document_is_signed_once_by_those_who_judge(
    workers: int, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(text: str) -> Any:
        raise AssertionError("every signature is on record")

    monkeypatch.setattr(seed_comparison, "sign", never)
    monkeypatch.setattr(seeds, "BATCH", 8)
    one, two = families()
    for name, files in (("one", one), ("two", two)):
        add_seeds(workspace, str(tree(tmp_path / name, files)), Settings(workers=workers))

    assert signatures(workspace) == fresh(workspace) and len(signatures(workspace)) == 60
    assert seed_comparison.compare(workspace) == seed_comparison.Compared(60, [], [], [], [])


@pytest.mark.parametrize(
    "before",
    [
        "DELETE FROM document_signature",  # an older workspace
        "DELETE FROM document_signature WHERE hash < '8'",
        # An older rule.
        "UPDATE document_signature SET version = 0, grams = 7, text_key = hash, signature = zeroblob(480)",
    ],
)
def test_signatures_that_lack_are_made_and_change_nothing(before: str, tmp_path: Path) -> None:
    trees = [tree(tmp_path / name, files) for name, files in zip(("one", "two"), families(), strict=True)]
    usual, other = Workspace(tmp_path / "usual"), Workspace(tmp_path / "other")
    for workspace in (usual, other):
        add_seeds(workspace, str(trees[0]), ONE)
        if workspace is other:
            change(other, before)
        add_seeds(workspace, str(trees[1]), ONE)

    assert kept(other) == kept(usual) and left_out(other) == left_out(usual)
    assert Counter(reason for reason, _ in left_out(usual).values())["near_duplicate_document"] >= 36
    assert signatures(other) == signatures(usual) == fresh(usual)
    assert seed_comparison.compare(other).signed == []


def test_no_document_goes_because_of_a_rescued_one(workspace: Workspace, tmp_path: Path) -> None:
    """Of two look-alikes the one with the lower hash stays; a rescued one takes no part in that."""
    made = "# @generated by hand for this test\n" + code(700)
    name = sha256(made.encode()).hexdigest()
    copies = (f"{code(700)}# {number}\n" for number in range(1_000))
    copy = next(text for text in copies if sha256(text.encode()).hexdigest() > name)
    add_seeds(workspace, str(tree(tmp_path / "one", [("made.py", made)])), ONE)
    with workspace.database.reading() as connection:
        seq = connection.exec_driver_sql("SELECT seq FROM document WHERE path = 'made.py'").scalar()
    assert rescue_document(workspace, int(seq or 0), "me").seeds == 1

    add_seeds(workspace, str(tree(tmp_path / "two", [("copy.py", copy)])), ONE)

    assert {row["path"] for row in kept(workspace).values()} == {"made.py", "copy.py"}
    assert name not in signatures(workspace)


def test_a_signature_is_of_the_text_on_record(workspace: Workspace, tmp_path: Path) -> None:
    """An older rule may have redacted a text otherwise; it stays as it was, and so is what is compared."""
    project = tree(tmp_path / "project", [("a.py", code(1)), ("b.py", code(2))])
    add_seeds(workspace, str(project), ONE)
    (name,) = text_hashes(workspace, "path = 'a.py'")
    older = documents.pack(code(1).replace("item_", "ITEM_"))
    with workspace.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE document_text SET packed = ? WHERE hash = ?", (older, name))
    change(workspace, "DELETE FROM document_signature")

    add_seeds(workspace, str(project), Settings(Policy(random_seed=7), workers=1))

    assert signatures(workspace) == fresh(workspace)
    assert signatures(workspace)[name][2] != sign(code(1)).numbers


def test_comparing_shows_how_far_it_is(workspace: Workspace, tmp_path: Path) -> None:
    add_seeds(workspace, str(tree(tmp_path / "one", families()[0])), ONE)
    change(workspace, "DELETE FROM document_signature")
    change(workspace, "UPDATE seed SET method = 'syntax'")
    seen = []
    seed_comparison.compare(workspace, lambda *step: seen.append(step))
    assert {what: total for what, _, total in seen} == {
        "reading documents to compare": 24, "comparing documents": 24, "cutting snippets": 12,
    }  # fmt: skip


# --- killed ---


@pytest.mark.parametrize("nth", [2, 4, 6, 7])
def test_a_killed_harvest_comes_to_the_same_seeds(nth: int, tmp_path: Path) -> None:
    project = tree(tmp_path / "project", nine_languages(6))
    whole, cut = Workspace(tmp_path / "whole"), tmp_path / "cut"
    add_seeds(whole, str(project), ONE)

    assert harvest(project, cut, f"store.commit:kill:{nth}") == -9
    assert harvest(project, cut) == 0

    assert kept(Workspace(cut)) == kept(whole) and left_out(Workspace(cut)) == left_out(whole)


def harvest(project: Path, workspace: Path, fault: str = "") -> int:
    """Harvest in a process, in batches of ten."""
    told = (
        "from pathlib import Path\nfrom curation import seeds\nfrom curation.workspace import Workspace\n"
        "seeds.BATCH = 10\n"
        f"seeds.add_seeds(Workspace(Path({str(workspace)!r})), {str(project)!r}, seeds.Settings(workers=1))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    if fault:
        environment["WINNOW_FAULT"] = fault
    return subprocess.run([sys.executable, "-c", told], cwd=ROOT, env=environment).returncode


def test_names_that_are_no_text_and_files_that_nobody_may_read_stop_no_harvest(
    workspace: Workspace, tmp_path: Path
) -> None:
    project = tree(tmp_path / "project", [("a.py", code(1)), ("gone.py", code(2))])
    with open(os.fsencode(project) + b"/latin\xff.py", "wb") as file:
        file.write(b"x = 1\n")
    (project / "gone.py").unlink()
    (project / "gone.py").symlink_to(tmp_path / "nowhere")
    report = add_seeds(workspace, str(project), ONE).report
    assert {row["path"] for row in kept(workspace).values()} == {"a.py"}
    assert report["skipped"] == {"bad_name": 1, "link": 1, "unknown_language": 1}  # the last: its LICENSE
    assert add_seeds(workspace, str(project), ONE).unchanged


def test_exported_lines_are_lines_to_every_reader(workspace: Workspace, tmp_path: Path) -> None:
    text = "\n".join(f"x{n} = 'a\u2028b\u2029c\x85d'" for n in range(40))
    add_seeds(workspace, str(tree(tmp_path / "project", [("a.py", text)])), ONE)
    (row,) = kept(workspace).values()
    told = seeds_as_lines(workspace, [row["id"]]).decode()
    assert len(told.splitlines()) == 1 and json.loads(told)["text"] == row["text"] and "\u2028" in row["text"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lines", "5-2", "x.jsonl"], "begins above its end; write 2-5"),
        (["--lines", "9" * 5_000, "x.jsonl"], "is no number of lines"),
        (["--lines", "-3", "x.jsonl"], "is no number of lines"),
        ([""], "Name the file to write"),
        (["x.jsonl"], "No seed fits"),
        (["--language", "Python", "/dev/null"], "It is no regular file"),
    ],
)
def test_wrong_words_of_an_export_are_one_line(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    if "Python" in words:
        add_seeds(workspace, str(tree(tmp_path / "project", [("a.py", code(1))])), ONE)
    assert main(["seeds", "export", *words, "--workspace", str(workspace.folder)]) in (1, 2)
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told and "unexpected" not in told
    assert Path("/dev/null").is_char_device()
