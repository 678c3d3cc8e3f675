"""Every document of a source is read once, with where it came from; what is left out says why."""

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from curation import git_repository
from curation.code_documents import is_licence_name
from curation.code_sources import CodeSource, open_source
from curation.code_tables import without_header
from curation.errors import CurationError, SourceUnavailable, WrongInput
from curation.git_repository import GitRepository, repository_name
from curation.licence_texts import licence_of_text
from curation.records import Document, Skipped

CODE = b"def f():\n    return 1\n"
Item = Document | Skipped

MIT = """Copyright (c) 2024 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of
the Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions
of the Software.
"""
BSD = """Redistribution and use in source and binary forms, with or without modification, are permitted
provided that the following conditions are met:
1. Redistributions of source code must retain the above copyright notice.
2. Redistributions in binary form must reproduce the above copyright notice.
"""
NAMES = "3. Neither the name of X nor the names may be used to endorse or promote products derived from it."
ADVERTISING = "All advertising materials mentioning features or use of this software must display this."
ISC = """Permission to use, copy, modify, and/or distribute this software for any purpose with or without
fee is hereby granted, provided that the above copyright notice and this permission notice appear in all
copies."""
ZERO_BSD = ISC.partition(", provided")[0] + '. THE SOFTWARE IS PROVIDED "AS IS"'
AGPL_NOTICE = """it under the terms of the GNU Affero General Public License as published by the Free Software
Foundation, either version 3 of the License, or (at your option) any later version."""
GPL = "GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007\n"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "workspace" / "fetched"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with everything that a walk meets."""
    top = tmp_path / "project"
    files = {
        "LICENSE": MIT.encode(),
        "a.py": CODE,
        "lib/COPYING": GPL.encode(),
        "lib/deep/b.rs": b"fn main() {}\n",
        "lib.rs": b"// sorts behind lib/\n",
        "other/c.swift": b"\xef\xbb\xbflet x = 1\n",
        "README.md": b"# words",
        "latin.py": b"# caf\xe9\n",
        "wide.py": "x = 1".encode("utf-16"),
        "zeros.py": b"a\0b",
        "big.py": b"#" * 1_000_001,
        ".hidden.py": CODE,
        ".git/x.py": CODE,
        "node_modules/m/x.ts": CODE,
        "src/third_party/x.cpp": CODE,
        "build/x.java": CODE,
    }
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    (tmp_path / "outside.py").write_bytes(b"secret = 1\n")
    (top / "link.py").symlink_to(tmp_path / "outside.py")
    (top / "loop").symlink_to(top)
    os.mkfifo(top / "pipe.py")
    return top


def listed(source: CodeSource, after: Mapping[str, Any] | None = None) -> list[tuple[str, str]]:
    """Name each item with its reason, or with "ok"."""
    return [
        (item.path, item.reason if isinstance(item, Skipped) else "ok") for _, item in source.documents(after)
    ]


def documents(source: CodeSource) -> list[Document]:
    return [item for _, item in source.documents() if isinstance(item, Document)]


def goes_on_anywhere(given: str, scratch: Path) -> list[Item]:
    """Read a source whole, and again from behind each of its positions, each time opened anew."""
    with open_source(given, scratch) as source:
        pairs = list(source.documents())
        revision = source.revision or None
    items = [item for _, item in pairs]
    for number, (position, _) in enumerate(pairs):
        kept = json.loads(json.dumps(position))  # as the store keeps it
        with open_source(given, scratch, revision) as again:
            assert [item for _, item in again.documents(kept)] == items[number + 1 :]
    return items


# --- folders ---------------------------------------------------------------------------------------


def test_a_folder_gives_its_code_and_a_reason_for_the_rest(project: Path, scratch: Path) -> None:
    assert listed(open_source(str(project), scratch)) == [
        (".git/", "hidden_file"),
        (".hidden.py", "hidden_file"),
        ("LICENSE", "unknown_language"),
        ("README.md", "unknown_language"),
        ("a.py", "ok"),
        ("big.py", "large_file"),
        ("build/", "build_output"),
        ("latin.py", "bad_encoding"),
        ("lib/COPYING", "unknown_language"),
        ("lib/deep/b.rs", "ok"),
        ("lib.rs", "ok"),
        ("link.py", "link"),
        ("loop", "link"),
        ("node_modules/", "vendored_file"),
        ("other/c.swift", "ok"),
        ("pipe.py", "device"),
        ("src/third_party/", "vendored_file"),
        ("wide.py", "bad_encoding"),
        ("zeros.py", "binary_file"),
    ]


def test_a_document_of_a_folder_knows_where_it_is_from(project: Path, scratch: Path) -> None:
    a, b, _, c = documents(open_source(str(project), scratch))
    assert a == Document("project", "a.py", "Python", "MIT", "licence file", CODE)
    assert (b.language, b.licence, b.licence_evidence) == ("Rust", "GPL-3.0-only", "licence file")
    assert (c.language, c.licence) == ("Swift", "MIT") and c.data.startswith(b"\xef\xbb\xbf")
    assert a.hash == sha256(CODE).hexdigest()


def test_a_harvest_of_a_folder_goes_on_behind_any_file(project: Path, scratch: Path) -> None:
    assert len(goes_on_anywhere(str(project), scratch)) == 19


def test_a_folder_that_was_seen_is_not_listed_again(
    project: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = os.listdir

    def noted(path: Path) -> list[str]:
        opened.append(Path(path).name)
        return real(path)

    monkeypatch.setattr("curation.code_sources.os.listdir", noted)
    listed(open_source(str(project), scratch), {"path": "other/c.swift"})
    assert {"project", "src"} <= set(opened) and not {"lib", "deep"} & set(opened)


def test_a_file_that_cannot_be_opened_is_skipped(
    project: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refusing(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if str(path).endswith("a.py"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **named)

    monkeypatch.setattr("curation.code_sources.os.open", refusing)
    items = {item.path: item for _, item in open_source(str(project), scratch).documents()}
    assert items["a.py"] == Skipped("a.py", "unreadable_file", "Permission denied")


def test_a_link_that_takes_the_place_of_a_file_is_not_read(
    project: Path, scratch: Path, tmp_path: Path
) -> None:
    source = open_source(str(project), scratch)
    reading = source.documents()
    assert next(reading)[1].path == ".git/"
    real = Path.lstat

    def swapped(path: Path) -> os.stat_result:
        found = real(path)
        if path.name == "a.py" and not os.path.islink(path):
            path.unlink()
            path.symlink_to(tmp_path / "outside.py")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "lstat", swapped)
        items = {item.path: item for _, item in reading}
    left_out = items["a.py"]
    assert isinstance(left_out, Skipped) and left_out.reason == "unreadable_file"


def test_folders_without_end_are_left_at_a_depth(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "top" / "/".join(["d"] * 230)).mkdir(parents=True)
    assert [reason for _, reason in listed(open_source(str(tmp_path / "top"), scratch))] == ["deep_folder"]


# --- archives ----------------------------------------------------------------------------------------


def archive(path: Path, *members: tuple[str, bytes]) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(buffer.getvalue()))
    return str(path)


def test_an_archive_gives_documents_with_the_licence_that_stands_behind_them(
    tmp_path: Path, scratch: Path
) -> None:
    given = archive(
        tmp_path / "p-1.0.tar.gz",
        ("p-1.0/a.py", CODE),
        ("p-1.0/node_modules/x.ts", CODE),
        ("p-1.0/data.bin", b"\0"),
        ("../x.py", CODE),
        ("p-1.0/lib/b.cs", b"class B {}\n"),
        ("p-1.0/lib/LICENSE.txt", BSD.encode()),
        ("p-1.0/LICENSE", MIT.encode()),
    )
    assert goes_on_anywhere(given, scratch) == [
        Document("p-1.0.tar.gz", "p-1.0/a.py", "Python", "MIT", "licence file", CODE),
        Skipped("p-1.0/node_modules/x.ts", "vendored_file", "node_modules holds code of others"),
        Skipped(
            "p-1.0/data.bin",
            "unknown_language",
            "the ending of its name is none of a language that seeds are made of",
        ),
        Skipped("../x.py", "parent_path", "its name climbs out of the archive with .."),
        Document("p-1.0.tar.gz", "p-1.0/lib/b.cs", "C#", "BSD-2-Clause", "licence file", b"class B {}\n"),
        Skipped(
            "p-1.0/lib/LICENSE.txt",
            "unknown_language",
            "the ending of its name is none of a language that seeds are made of",
        ),
        Skipped(
            "p-1.0/LICENSE",
            "unknown_language",
            "the ending of its name is none of a language that seeds are made of",
        ),
    ]


def test_an_archive_that_changed_is_not_gone_on_with(tmp_path: Path, scratch: Path) -> None:
    given = archive(tmp_path / "a.tgz", ("a.py", CODE))
    source = open_source(given, scratch)
    ((position, _),) = source.documents()
    archive(tmp_path / "a.tgz", ("b.py", CODE))
    with pytest.raises(WrongInput, match="has changed"):
        open_source(given, scratch, source.revision)
    with pytest.raises(WrongInput, match="has changed"):
        list(open_source(given, scratch).documents(position))


# --- git ----------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "far" / "repo"
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "-b", "main")
    (folder / "LICENSE").write_text(MIT)
    (folder / "a.py").write_bytes(CODE)
    (folder / "sub").mkdir()
    (folder / "sub" / "b.sh").write_bytes(b"echo hi\n")
    (folder / "evil.py").symlink_to("/etc/passwd")
    (folder / "big.py").write_bytes(b"#" * 1_000_001)
    git(folder, "add", "-A")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def test_a_repository_gives_the_files_of_its_newest_commit(repository: Path, scratch: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    with open_source(f"file://{repository}", scratch) as source:
        assert source.revision == commit and source.name == f"repo@{commit}"
        assert listed(source) == [
            ("LICENSE", "unknown_language"),
            ("a.py", "ok"),
            ("big.py", "large_file"),
            ("evil.py", "link"),
            ("module", "submodule"),
            ("sub/b.sh", "ok"),
        ]
        a, b = documents(source)
        assert a == Document(f"repo@{commit}", "a.py", "Python", "MIT", "licence file", CODE)
        assert (b.language, b.data) == ("Shell", b"echo hi\n")
        assert len(list(scratch.iterdir())) == 1
    assert list(scratch.iterdir()) == []  # what was fetched is removed


def test_a_harvest_of_a_repository_goes_on_at_its_commit(repository: Path, scratch: Path) -> None:
    with open_source(f"file://{repository}", scratch) as source:
        (position, _), *_ = source.documents()
        revision = source.revision
    (repository / "a.py").write_bytes(b"new = 1\n")
    git(repository, "commit", "--quiet", "-am", "second")
    with open_source(f"file://{repository}", scratch, revision) as again:
        assert documents(again)[0].data == CODE
        assert listed(again, position)[0] == ("a.py", "ok")
    with (
        open_source(f"file://{repository}", scratch) as newest,
        pytest.raises(WrongInput, match="another commit"),
    ):
        list(newest.documents(position))
    assert len(goes_on_anywhere(f"file://{repository}", scratch)) == 5  # "commit -a" took the submodule away


def test_no_hook_filter_or_setting_of_others_runs(
    repository: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks in the repository, in the user's template and in the user's own folder, a filter, an alias."""
    mark = tmp_path / "it_ran"
    home = tmp_path / "home"
    names = ("post-checkout", "reference-transaction", "post-index-change", "fsmonitor", "pre-auto-gc")
    for folder in (repository / ".git" / "hooks", home / "template" / "hooks", home / "hooks"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
            (folder / name).chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[init]\n templateDir = {home}/template\n[core]\n hooksPath = {home}/hooks\n"
        f'[filter "bad"]\n smudge = touch {mark}\n required = true\n'
        f"[uploadpack]\n packObjectsHook = touch {mark}; false\n"
        f'[url "ext::touch {mark}"]\n insteadOf = file://\n'
    )
    (repository / ".gitattributes").write_text("*.py filter=bad\n")
    (repository / ".git" / "config").open("a").write(f"[uploadpack]\n packObjectsHook = touch {mark}\n")
    git(repository, "-c", f"core.hooksPath={os.devnull}", "add", ".gitattributes")
    git(repository, "-c", f"core.hooksPath={os.devnull}", "commit", "--quiet", "-m", "attributes")
    mark.unlink(missing_ok=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.hooksPath={home}/hooks'")
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(home / "template"))
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    with open_source(f"file://{repository}", scratch) as source:
        assert [item.path for item in documents(source)] == ["a.py", "sub/b.sh"]
    assert not mark.exists()
    assert not (repository / ".git" / "FETCH_HEAD").exists()  # GIT_DIR did not lead git there


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("-oProxyCommand=touch MARK", "no address"),
        ("--upload-pack=touch MARK", "no address"),
        ("ssh://-oProxyCommand=touch%20MARK/x", "names no repository"),
        ("ssh://-oProxyCommand=x@host/x", "names no repository"),
        ("ext::sh -c touch% MARK", "no address"),
        ("file::ext::x", "no address"),
        ("ext://x", "'ext' addresses are not fetched"),
        ("git://host/x", "'git' addresses are not fetched"),
        ("http://host/x", "'http' addresses are not fetched"),
        ("ftp://host/x", "'ftp' addresses are not fetched"),
        ("https://me:secret@host/x", "name or password"),
        ("https://ghp_secret@host/x", "name or password"),
        ("https://host/x\nhost=evil", "no address"),
        ("https:///x", "names no repository"),
        ("file://host/x", "names no repository"),
        ("https://[x/y", "no address"),
    ],
)
def test_an_address_that_is_more_than_an_address_is_refused(
    address: str, words: str, scratch: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "it_ran"
    with pytest.raises(WrongInput, match=words) as caught:
        open_source(address.replace("MARK", str(mark)), scratch)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    assert not mark.exists() and not scratch.exists()  # git was not even started


def test_what_git_cannot_fetch_is_said_in_one_line(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(address: str, revision: str | None = None) -> CurationError:
        with pytest.raises(CurationError) as caught:
            open_source(address, scratch, revision)
        assert "\n" not in str(caught.value) and list(scratch.iterdir()) == []
        return caught.value

    missing = said(f"file://{tmp_path}/nowhere")
    assert isinstance(missing, WrongInput) and "there is no repository" in str(missing)
    git(tmp_path, "init", "--quiet", "empty")
    assert isinstance(said(f"file://{tmp_path}/empty"), WrongInput)
    assert "is no commit" in str(said(f"file://{tmp_path}/empty", "HEAD~1"))
    unreachable = said("https://127.0.0.1:9/owner/name")
    assert isinstance(unreachable, SourceUnavailable) and "check the network" in str(unreachable)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceUnavailable, match="git is not installed"):
        open_source(f"file://{tmp_path}/empty", scratch)


def test_a_fetch_is_stopped_at_its_limits(
    repository: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WrongInput, match="is larger than 0 MB"):
        GitRepository(f"file://{repository}", scratch, size_limit=10)
    slow = tmp_path / "bin"
    slow.mkdir()
    real = shutil.which("git")
    (slow / "git").write_text(f'#!/bin/sh\ncase "$*" in *" fetch "*) sleep 60;; esac\nexec {real} "$@"\n')
    (slow / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
    start = time.monotonic()
    with pytest.raises(SourceUnavailable, match=r"took more than 0\.3 seconds"):
        GitRepository(f"file://{repository}", scratch, time_limit=0.3)
    assert time.monotonic() - start < 20
    assert list(scratch.iterdir()) == []


def test_a_tree_that_names_one_file_too_often_is_refused(
    repository: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten folders of ten folders of ten ...: some hundred bytes of git's storage."""
    blob = git(repository, "rev-parse", "HEAD:LICENSE")
    entries = "".join(f"100644 blob {blob}\t{n}.py\n" for n in range(10))
    for _ in range(4):
        done = subprocess.run(
            ["git", "mktree"], cwd=repository, input=entries, capture_output=True, text=True, check=True
        )
        entries = "".join(f"040000 tree {done.stdout.strip()}\t{n}\n" for n in range(10))
    commit = git(repository, "commit-tree", done.stdout.strip(), "-m", "bomb")
    git(repository, "reset", "--quiet", "--soft", commit)
    monkeypatch.setattr(git_repository, "FILE_COUNT_LIMIT", 5_000)
    with pytest.raises(WrongInput, match="more than 5,000 files"):
        open_source(f"file://{repository}", scratch)
    monkeypatch.setattr(git_repository, "FILE_COUNT_LIMIT", 500_000)
    monkeypatch.setattr(git_repository, "BOMB_BYTES", 1_000_000)
    with pytest.raises(WrongInput, match="more than 100 times"):
        open_source(f"file://{repository}", scratch)
    assert list(scratch.iterdir()) == []


def test_what_a_killed_harvest_fetched_is_swept(repository: Path, scratch: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (scratch / f"clone-{dead.pid}-x").mkdir(parents=True)
    alive = scratch / f"clone-{os.getppid()}-x"
    alive.mkdir()
    open_source(f"file://{repository}", scratch).close()
    assert list(scratch.iterdir()) == [alive]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://github.com/owner/name.git", "github.com/owner/name"),
        ("ssh://git@host:22/owner/name/", "host/owner/name"),
        ("git@github.com:owner/name.git", "github.com/owner/name"),
        ("file:///home/me/private/name.git", "name"),
    ],
)
def test_a_repository_is_named_by_host_owner_and_name(address: str, name: str) -> None:
    assert repository_name(address) == name


# --- Parquet and JSON lines -----------------------------------------------------------------------------


def starcoder_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "max_stars_repo_path": f"src/f{n}.py",
            "max_stars_repo_name": f"owner/repo{n % 3}",
            "max_stars_count": n,
            "id": str(n),
            "content": f"<reponame>owner/repo{n % 3}<filename>src/f{n}.py<gh_stars>10-100\nx = {n}\n",
        }
        for n in range(first, first + count)
    ]


def parquet(path: Path, rows: list[dict[str, Any]], group: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)
    return path


def test_a_set_like_starcoderdata_is_read_once_wherever_it_was_cut_off(tmp_path: Path, scratch: Path) -> None:
    folder = tmp_path / "starcoderdata"
    parquet(folder / "python" / "train-0.parquet", starcoder_rows(10))
    parquet(folder / "python" / "train-1.parquet", starcoder_rows(7, first=10))
    items = goes_on_anywhere(str(folder), scratch)
    assert [item.path for item in items] == [f"src/f{n}.py" for n in range(17)]
    assert items[4] == Document("owner/repo1", "src/f4.py", "Python", "unknown", "corpus", b"x = 4\n")
    positions = [position for position, _ in open_source(str(folder), scratch).documents()]
    assert [(p["file"], p["group"], p["row"]) for p in positions[8:12]] == [
        ("python/train-0.parquet", 2, 0),
        ("python/train-0.parquet", 2, 1),
        ("python/train-1.parquet", 0, 0),
        ("python/train-1.parquet", 0, 1),
    ]


def test_a_row_group_that_was_read_is_not_read_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path / "a.parquet", starcoder_rows(10))
    last = [position for position, _ in open_source(str(path), scratch).documents()][7]
    read: list[int] = []
    real = pyarrow.parquet.ParquetFile.iter_batches

    def counted(self: Any, *rest: Any, **named: Any) -> Iterator[Any]:
        read.extend(named["row_groups"])
        return real(self, *rest, **named)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", counted)
    assert len(listed(open_source(str(path), scratch), last)) == 2
    assert read == [2]


def test_rows_like_those_of_the_stack_bring_commit_language_and_licences(
    tmp_path: Path, scratch: Path
) -> None:
    row = {
        "hexsha": "ab",
        "ext": "inc",
        "lang": "PHP",
        "max_stars_repo_path": "a/b.inc",
        "max_stars_repo_name": "o/n",
        "max_stars_repo_head_hexsha": "c0ffee",
        "max_stars_repo_licenses": ["MIT", "Apache-2.0"],
        "content": "<?php echo 1;",
    }
    others = [
        row | {"lang": "Cobol"},
        row | {"max_stars_repo_path": "../x.php"},
        row | {"max_stars_repo_licenses": []},
        row | {"content": None},
        row | {"content": "nul \0"},
        row | {"content": "x" * 1_000_001},
    ]
    path = parquet(tmp_path / "set.parquet", [row, *others])
    items = [item for _, item in open_source(str(path), scratch).documents()]
    assert items[0] == Document(
        "o/n@c0ffee", "a/b.inc", "PHP", "Apache-2.0 AND MIT", "corpus", b"<?php echo 1;"
    )
    assert isinstance(items[3], Document) and (items[3].licence, items[3].licence_evidence) == (
        "unknown",
        "corpus",
    )
    assert [item.reason for item in items if isinstance(item, Skipped)] == [
        "unknown_language",
        "parent_path",
        "no_content",
        "binary_file",
        "large_file",
    ]


def test_text_that_is_no_utf8_is_skipped_and_its_neighbours_kept(tmp_path: Path, scratch: Path) -> None:
    table = pyarrow.table(
        {
            "path": ["a.py", "b.py", "c.py"],
            "content": pyarrow.array([b"a = 1", b"# \xff", b"c = 1"], pyarrow.binary()),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert listed(open_source(str(tmp_path / "a.parquet"), scratch)) == [
        ("a.py", "ok"),
        ("b.py", "bad_encoding"),
        ("c.py", "ok"),
    ]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (("blob_id", "directory_id", "path", "snapshot_id"), "Software Heritage .* as the-stack-v2 does"),
        (("swhid", "path"), "Software Heritage"),
        (("text", "url"), "no column 'content', only: text, url"),
    ],
)
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_set_without_code_in_it_is_refused_for_what_it_is(
    tmp_path: Path, scratch: Path, columns: tuple[str, ...], words: str, ending: str
) -> None:
    row = dict.fromkeys(columns, "x")
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        parquet(path, [row])
    else:
        path.write_text(json.dumps(row) + "\n")
    with pytest.raises(WrongInput, match=words):
        open_source(str(path), scratch)


def test_a_footer_of_fifty_million_rows_is_refused_unread(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """faults.md S37: a file of some KB whose rows all point at one text."""
    path = tmp_path / "bomb.parquet"
    texts = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 1_000_000, pyarrow.int8()),
        ["x" * 10_000],
    )
    table = pyarrow.table({"content": texts})
    with pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(50):
            writer.write_table(table)
    assert pyarrow.parquet.read_metadata(path).num_rows == 50_000_000 and path.stat().st_size < 200_000
    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", None)
    start = time.process_time()
    with pytest.raises(WrongInput, match="declares 50,000,000 rows"):
        open_source(str(path), scratch)
    assert time.process_time() - start < 5


def test_a_text_of_many_rows_is_in_memory_once(tmp_path: Path, scratch: Path) -> None:
    """60 rows of 20 MB in a file of some KB: unpacked row by row they would take 1.2 GB."""
    texts = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] + [1] * 60, pyarrow.int32()), ["x = 1", "y" * 20_000_000]
    )
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"content": texts, "path": ["a.py"] * 61})
    # Without arrow's own schema, which would keep the texts apart by itself.
    pyarrow.parquet.write_table(table, path, compression="zstd", store_schema=False)
    del table, texts
    before = pyarrow.total_allocated_bytes()
    reasons = []
    for _, item in open_source(str(path), scratch).documents():
        reasons.append(item.reason if isinstance(item, Skipped) else "ok")
        assert pyarrow.total_allocated_bytes() - before < 150_000_000
    assert reasons == ["ok"] + ["large_file"] * 60


def test_a_damaged_row_group_costs_only_itself(tmp_path: Path, scratch: Path) -> None:
    path = parquet(tmp_path / "a.parquet", starcoder_rows(12))
    column = pyarrow.parquet.read_metadata(path).row_group(1).column(4)
    assert column.path_in_schema == "content"
    data = bytearray(path.read_bytes())
    at = column.dictionary_page_offset
    data[at : at + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    assert [reason for _, reason in listed(open_source(str(path), scratch))] == (
        ["ok"] * 4 + ["broken_source"] + ["ok"] * 4
    )
    goes_on_anywhere(str(path), scratch)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_json_lines_are_read_once_wherever_they_were_cut_off(
    tmp_path: Path, scratch: Path, ending: str
) -> None:
    lines = [
        {"path": "a.py", "content": "a = 1\n", "license": "MIT", "repo_name": "o/n"},
        {"path": "b.unknown", "content": "b"},
        {"path": "c.py", "content": "c\0"},
        {"path": "d.py", "content": 7},
        {"path": "e.py", "content": "e = 1\n"},
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode() + b'{"path": "f.py", "content": "f'
    path = tmp_path / f"mine.{ending}"
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    items = goes_on_anywhere(str(path), scratch)
    assert items[0] == Document("o/n", "a.py", "Python", "MIT", "corpus", b"a = 1\n")
    assert items[4] == Document(path.name, "e.py", "Python", "unknown", "none", b"e = 1\n")
    assert [item.reason for item in items if isinstance(item, Skipped)] == [
        "unknown_language",
        "binary_file",
        "no_content",
        "broken_source",
    ]


def test_a_file_that_grew_is_not_gone_on_with(tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"path": "a.py", "content": "a"}\n')
    ((position, _),) = open_source(str(path), scratch).documents()
    path.write_text('{"path": "b.py", "content": "b"}\n{"path": "a.py", "content": "a"}\n')
    with pytest.raises(WrongInput, match="has changed"):
        list(open_source(str(path), scratch).documents(position))


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"<reponame>o/n<filename>a.py<gh_stars>0\nx", b"x", {"reponame": "o/n", "filename": "a.py"}),
        (b"<filename>a.php\n<?php 1;", b"<?php 1;", {"filename": "a.php"}),
        (b"<reponame>o/n\n<gh_stars>10-100\nx\n", b"x\n", {"reponame": "o/n"}),
        (b"x = '<reponame>'\n", b"x = '<reponame>'\n", {}),
        (b"#include <filename>\n", b"#include <filename>\n", {}),
    ],
)
def test_the_header_of_a_starcoderdata_row_is_taken_off(
    content: bytes, code: bytes, said: dict[str, str]
) -> None:
    data, header = without_header(content)
    assert data == code and {key: value for key, value in header.items() if key != "gh_stars"} == said


# --- sets of the hub ---------------------------------------------------------------------------------


def test_a_streamed_set_goes_on_where_it_was_left(tmp_path: Path, scratch: Path) -> None:
    folder = tmp_path / "set"
    for part in range(2):
        parquet(folder / "python" / f"{part}.parquet", starcoder_rows(2, first=2 * part), group=1)
    parquet(folder / "java" / "0.parquet", [{"content": "class A {}", "max_stars_repo_path": "A.java"}])
    items = goes_on_anywhere(f"hf:{folder}:python", scratch)
    assert [item.path for item in items] == [f"src/f{n}.py" for n in range(4)]
    with open_source(f"hf:{folder}:java", scratch) as source:
        assert [item.path for item in documents(source)] == ["A.java"] and source.name == "set"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("hf:", "names no set"),
        ("hf:/no/such/folder", "is no folder"),
        ("hf:two words", "is no folder and no name"),
        ("hf:o/n:../../etc", "no folder inside a set"),
        ("hf:o/n:/etc", "no folder inside a set"),
    ],
)
def test_a_name_of_a_set_that_cannot_be_is_refused_unasked(given: str, words: str, scratch: Path) -> None:
    with pytest.raises(WrongInput, match=words):
        open_source(given, scratch)


def test_a_streamed_set_without_code_is_refused(tmp_path: Path, scratch: Path) -> None:
    parquet(tmp_path / "v2" / "a.parquet", [{"blob_id": "x", "path": "a.py"}])
    with pytest.raises(WrongInput, match="the-stack-v2"):
        open_source(f"hf:{tmp_path}/v2", scratch)


# --- what is named ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"), [("nothing", "is not there"), ("notes.txt", "is no source of code")]
)
def test_a_path_that_is_no_source_is_refused(tmp_path: Path, scratch: Path, name: str, words: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(WrongInput, match=words):
        open_source(str(tmp_path / name), scratch)


def test_a_position_of_another_kind_of_source_is_refused(project: Path, scratch: Path) -> None:
    with pytest.raises(WrongInput, match="another kind of source"):
        list(open_source(str(project), scratch).documents({"entry": 1}))


# --- licences -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (MIT, "MIT"),
        ("\n".join(f" * {word}" for word in MIT.split()), "MIT"),  # one word a comment line
        (MIT.replace("The above copyright notice", "Nothing"), "MIT-0"),
        (MIT + "\nThe Software shall be used for Good, not Evil.", None),
        (MIT + '\n"Commons Clause" License Condition v1.0', None),
        (MIT + BSD, "BSD-2-Clause AND MIT"),
        (BSD + NAMES, "BSD-3-Clause"),
        (BSD + ADVERTISING, "BSD-4-Clause"),
        (BSD + BSD + NAMES, "BSD-2-Clause AND BSD-3-Clause"),
        (
            GPL + "You may use it under the terms of the GNU Lesser General Public License instead",
            "GPL-3.0-only",
        ),
        ("GNU LESSER GENERAL PUBLIC LICENSE Version 2.1, February 1999", "LGPL-2.1-only"),
        (AGPL_NOTICE, "AGPL-3.0-or-later"),
        (ISC, "ISC"),
        (ZERO_BSD, "0BSD"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("Mozilla Public License Version 2.0\n====\n1. Definitions", "MPL-2.0"),
        ("All rights reserved. Ask us for a licence such as MIT.", None),
        ("", None),
    ],
)
def test_a_licence_is_known_by_its_sentences(text: str, licence: str | None) -> None:
    assert licence_of_text(text) == licence


def test_licence_texts_of_installed_packages_are_recognised() -> None:
    """Real texts, where the package's own metadata says what they are."""
    from importlib.metadata import distribution

    expected = {
        "pyarrow": "Apache-2.0",
        "psutil": "BSD-3-Clause",
        "tqdm": "MPL-2.0",
        "pillow": "MIT-CMU",
        "typing_extensions": "PSF-2.0",
    }
    for package, licence in expected.items():
        files = [f for f in distribution(package).files or () if is_licence_name(f.name)]
        texts = [Path(str(file.locate())).read_text() for file in files if ".dist-info" in str(file)]
        found = " AND ".join(licence_of_text(text) or "" for text in texts)
        assert licence in found, (package, found)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *((name, True) for name in ("LICENSE", "licence.txt", "COPYING", "LICENSE-MIT", "LICENSE.APACHE")),
        *((name, True) for name in ("COPYING.LESSER", "UNLICENSE", "MIT-LICENSE", "LICENSE_1_0.txt")),
        *((name, False) for name in ("license.py", "licenses.json", "LicenseManager.java", "README", "a.py")),
    ],
)
def test_a_licence_file_is_known_by_its_name(name: str, is_one: bool) -> None:
    assert is_licence_name(name) is is_one


def test_licence_files_side_by_side_all_hold(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "p" / "odd").mkdir(parents=True)
    (tmp_path / "p" / "LICENSE-MIT").write_text(MIT)
    (tmp_path / "p" / "LICENSE-BSD").write_text(BSD)
    (tmp_path / "p" / "odd" / "LICENSE").write_text("Ask my lawyer.")
    (tmp_path / "p" / "a.py").write_bytes(CODE)
    (tmp_path / "p" / "odd" / "b.py").write_bytes(CODE)
    a, b = documents(open_source(str(tmp_path / "p"), scratch))
    assert (a.licence, a.licence_evidence) == ("BSD-2-Clause AND MIT", "licence file")
    assert (b.licence, b.licence_evidence) == ("unknown", "licence file")  # and not that of the folder above
