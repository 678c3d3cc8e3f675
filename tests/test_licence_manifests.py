"""What manifests say of a licence, and how it goes together with the licence files beside them."""

from pathlib import Path

import pytest

from curation.code_documents import Licences
from curation.licence_manifests import is_manifest_name, licence_of_manifest
from curation.licence_texts import licence_of_text

MIT = (Path(__file__).parent / "licences" / "MIT.txt").read_text()
APACHE_LINE = "The tools are licenced under Apache 2.0: http://www.apache.org/licenses/LICENSE-2.0"


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("Cargo.toml", '[package]\nlicense = "MIT OR Apache-2.0"', "MIT OR Apache-2.0"),
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"', "MIT OR Apache-2.0"),
        ("Cargo.toml", '[workspace.package]\nlicense = "MIT"', "MIT"),
        ("Cargo.toml", '[package]\nlicense.workspace = true', None),
        ("Cargo.toml", "[package", None),
        ("package.json", '{"license": "ISC"}', "ISC"),
        ("package.json", '{"license": {"type": "MIT", "url": "x"}}', "MIT"),
        ("package.json", '{"license": "UNLICENSED"}', "UNLICENSED"),  # no SPDX id: no list allows it
        ("package.json", "[" * 100_000, None),
        ("package.json", '"license"', None),
        ("composer.json", '{"license": ["MIT", "GPL-2.0-only"]}', "MIT OR GPL-2.0-only"),
        ("composer.json", '{"license": "BSD-3-Clause"}', "BSD-3-Clause"),
        ("pyproject.toml", '[project]\nlicense = "MIT"', "MIT"),
        ("pyproject.toml", '[project]\nlicense = {text = "Apache 2.0"}', "Apache-2.0"),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}', None),
        ("pyproject.toml", f'[project]\nlicense = {{text = """{MIT}"""}}', None),
        ("x.csproj", "<PackageLicenseExpression>MIT</PackageLicenseExpression>", "MIT"),
        ("x.nuspec", '<license type="expression">MIT</license>', "MIT"),
        ("x.csproj", "<Project/>", None),
    ],
)  # fmt: skip
def test_what_a_manifest_says(name: str, text: str, licence: str | None) -> None:
    assert is_manifest_name(name) and licence_of_manifest(name, text) == licence


@pytest.mark.parametrize("name", ["Makefile", "packages.json", "x.csproj.user", "cargo.lock", "LICENSE"])
def test_other_files_are_no_manifests(name: str) -> None:
    assert not is_manifest_name(name)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([("LICENSE-MIT", MIT), ("LICENSE-APACHE", APACHE_LINE)], ("Apache-2.0 AND MIT", "licence file")),
        (
            [("LICENSE-MIT", MIT), ("LICENSE-APACHE", APACHE_LINE),
             ("Cargo.toml", '[package]\nlicense = "MIT OR Apache-2.0"')],
            ("MIT OR Apache-2.0", "expression"),
        ),
        ([("package.json", '{"license": "MIT"}')], ("MIT", "expression")),
        ([("package.json", '{"license": "ISC"}'), ("LICENSE", MIT)], ("ISC AND MIT", "licence file")),
        ([("package.json", '{"license": "MIT"}'), ("LICENSE", "All mine.")], ("unknown", "licence file")),
        (
            [("package.json", '{"license": "MIT"}'), ("composer.json", '{"license": ["ISC", "Zlib"]}')],
            ("(ISC OR Zlib) AND MIT", "expression"),
        ),
        ([], ("unknown", "none")),
    ],
)  # fmt: skip
def test_manifests_say_how_licence_files_go_together(
    files: list[tuple[str, str]], found: tuple[str, str]
) -> None:
    """What they contradict holds beside them, and nothing makes good what is not recognised."""
    assert Licences(lambda folder: files if not folder else ()).of("src/a.rs") == found


def test_the_nearest_one_counts() -> None:
    files = {"": [("LICENSE", MIT)], "part": [("package.json", '{"license": "ISC"}')]}
    licences = Licences(lambda folder: files.get(folder, ()))
    assert licences.of("part/src/a.ts") == ("ISC", "expression") and licences.of("a.ts") == (
        "MIT",
        "licence file",
    )


def test_a_line_that_names_apaches_address_is_that_licence() -> None:
    assert licence_of_text(APACHE_LINE) == "Apache-2.0"
    assert licence_of_text("Not licensed under Apache.") is None
