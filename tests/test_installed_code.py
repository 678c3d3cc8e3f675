"""The code of installed packages is taken only under licences that allow it, in a fair and fixed order."""

from collections import Counter
from hashlib import sha256
from pathlib import Path

from curation.documented_functions import functions_of
from curation.installed_code import (
    MAX_FILE_BYTES,
    MAX_FUNCTIONS_PER_FILE,
    PackageFile,
    harvest,
    package_files,
    package_licences,
)
from curation.licences import is_allowed
from curation.records import digest

MIT = "License-Expression: MIT\n"


def function(name: str) -> str:
    return f'def {name}(x):\n    """Return {name} of the x given."""\n    return x\n'


def install(site: Path, package: str, metadata: str, files: dict[str, str], listed: bool = True) -> None:
    """Put a package where pip would, with its metadata and its list of files."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {package}\nVersion: 1.0\n{metadata}")
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    if listed:
        (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))


def found_in(site: Path) -> tuple[list[PackageFile], Counter[str]]:
    skipped: Counter[str] = Counter()
    return package_files(skipped, [str(site)]), skipped


def test_a_harvested_function_says_where_it_comes_from(tmp_path):
    text = "import os\n\n\n" + function("double")
    install(tmp_path, "demo", MIT, {"demo/sub/__init__.py": text})
    files, skipped = found_in(tmp_path)
    ((snippet, taken, file),) = harvest(10, files)

    document_hash = sha256(text.encode()).hexdigest()
    assert file.module == "demo.sub"
    assert taken.qualified_name == "demo.sub.double"
    assert taken.code == "def double(x):\n    return x"
    assert snippet.id == digest(document_hash, "4", "6")
    assert snippet.text == taken.source_text == function("double").strip()
    assert (snippet.source, snippet.path) == ("demo==1.0", "demo/sub/__init__.py")
    assert (snippet.language, snippet.licence, snippet.licence_evidence) == ("Python", "MIT", "expression")
    assert skipped == {}


def test_files_left_out_are_counted_by_reason(tmp_path):
    install(tmp_path, "free", MIT, {
        "free/code.py": function("kept"),
        "free/tests/helper.py": function("a"),
        "free/test_code.py": function("b"),
        "free/code_test.py": function("c"),
        "free/conftest.py": function("d"),
        "free/_vendor/other/code.py": function("e"),
        "free/large.py": "#" * (MAX_FILE_BYTES + 1),
        "free/data.txt": "no code",
    })  # fmt: skip
    install(tmp_path, "copyleft", "License-Expression: GPL-3.0-only\n", {"copyleft.py": function("f")})
    install(tmp_path, "silent", "", {"silent/a.py": function("g"), "silent/b.py": function("h")})
    install(tmp_path, "unlisted", MIT, {"unlisted.py": function("i")}, listed=False)
    (tmp_path / "free-1.0.dist-info" / "RECORD").open("a").write("free/gone.py,,\n../bin/free.py,,\n")
    files, skipped = found_in(tmp_path)

    assert [file.relative for file in files] == ["free/code.py"]
    assert skipped == {
        "test_file": 4,
        "vendored_file": 1,
        "large_file": 1,
        "unreadable_file": 1,
        "not_a_module": 1,
        "licence_not_allowed": 1,
        "licence_unknown": 2,
        "no_file_list": 1,
    }
    assert {p.package: p.reason_to_exclude for p in package_licences([str(tmp_path)])} == {
        "free": None,
        "copyleft": "licence_not_allowed",
        "silent": "licence_unknown",
        "unlisted": None,
    }


def test_of_two_packages_with_one_name_the_one_python_imports_counts(tmp_path):
    install(tmp_path / "first", "demo", MIT, {"demo.py": function("near")})
    install(tmp_path / "second", "Demo", MIT, {"demo.py": function("far")})
    folders = [str(tmp_path / "first"), str(tmp_path / "second")]

    (file,) = package_files(Counter(), folders)
    assert file.path == tmp_path / "first" / "demo.py"


def test_the_order_depends_on_names_and_not_on_the_list(tmp_path):
    install(tmp_path, "demo", MIT, {f"demo/m{n}.py": function(f"f{n}") for n in range(20)})
    files, _ = found_in(tmp_path)
    forwards = [snippet.path for snippet, *_ in harvest(20, files)]

    assert forwards == [snippet.path for snippet, *_ in harvest(20, files[::-1])]
    assert forwards == sorted(forwards, key=lambda path: sha256(f"976:demo/{path}".encode()).hexdigest())
    assert [snippet.path for snippet, *_ in harvest(7, files)] == forwards[:7]


def test_functions_of_a_file_come_in_line_order_and_no_more_than_asked_for(tmp_path):
    install(tmp_path, "demo", MIT, {"demo.py": "".join(function(f"f{n}") for n in range(5))})
    files, _ = found_in(tmp_path)

    assert [f.qualified_name for _, f, _ in harvest(3, files)] == ["demo.f0", "demo.f1", "demo.f2"]
    assert list(harvest(0, files)) == []


def test_one_file_cannot_fill_the_harvest(tmp_path):
    many = MAX_FUNCTIONS_PER_FILE + 5
    install(tmp_path, "demo", MIT, {"demo.py": "".join(function(f"f{n}") for n in range(many))})
    files, _ = found_in(tmp_path)
    skipped: Counter[str] = Counter()

    assert len(list(harvest(1_000, files, skipped))) == MAX_FUNCTIONS_PER_FILE
    assert skipped == {"function_over_limit_of_file": 5}


def test_the_same_document_is_read_once(tmp_path):
    install(tmp_path, "one", MIT, {"one.py": function("same")})
    install(tmp_path, "two", MIT, {"two.py": function("same")})
    files, _ = found_in(tmp_path)
    skipped: Counter[str] = Counter()

    assert len(list(harvest(10, files, skipped))) == 1
    assert skipped == {"same_document": 1}


def test_a_file_that_says_it_is_under_another_licence_is_left_out(tmp_path):
    header = "# SPDX-License-Identifier: GPL-2.0-or-later\n"
    install(tmp_path, "demo", MIT, {"demo.py": header + function("f")})
    files, _ = found_in(tmp_path)
    skipped: Counter[str] = Counter()

    assert list(harvest(10, files, skipped)) == []
    assert skipped == {"licence_header": 1}


def test_a_file_that_vanished_since_it_was_listed_is_counted(tmp_path):
    install(tmp_path, "demo", MIT, {"demo.py": function("f")})
    files, _ = found_in(tmp_path)
    (tmp_path / "demo.py").unlink()
    skipped: Counter[str] = Counter()

    assert list(harvest(10, files, skipped)) == []
    assert skipped == {"unreadable_file": 1}


def test_the_packages_of_this_python_give_a_fair_mixture():
    files = package_files(Counter())
    taken = list(harvest(1_000, files))

    assert len({snippet.id for snippet, *_ in taken}) == 1_000
    assert len({file.package for *_, file in taken}) >= 10
    assert all(is_allowed(snippet.licence) for snippet, *_ in taken)
    for snippet, found, file in taken[:50]:  # the place given is where the text stands
        again = functions_of(file.path.read_bytes(), file.relative, file.module)
        assert found in again
        assert (snippet.first_line, snippet.last_line) == (found.first_line, found.last_line)
