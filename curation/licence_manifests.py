"""What the manifest of a project says of its licence: Cargo.toml, package.json, composer.json,
pyproject.toml, and the project files of .NET.

It says how several licences combine, which licence files do not.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from curation.licences import EXPRESSION, UNKNOWN, as_spdx

LONGEST = 300  # characters of an expression; a longer one is a whole licence text
_DOTNET = re.compile(r"<PackageLicenseExpression>\s*([^<]{1,300}?)\s*</PackageLicenseExpression>")
_DOTNET_NAMES = re.compile(r"directory\.build\.props|.*\.(cs|fs|vb)proj|.*\.nuspec", re.IGNORECASE)
_NUSPEC = re.compile(r"<license type=\"expression\">\s*([^<]{1,300}?)\s*</license>")
NAMES = ("Cargo.toml", "package.json", "composer.json", "pyproject.toml")


def is_manifest_name(name: str) -> bool:
    return name in NAMES or _DOTNET_NAMES.fullmatch(name) is not None


def licence_of_manifest(name: str, text: str) -> str | None:
    """Give the SPDX expression that a manifest says; None: it says none, or cannot be read."""
    with suppress(ValueError, RecursionError, TypeError, AttributeError):  # a stranger's file: of any form
        said = _said(name, text)
        if said and len(said) <= LONGEST:
            expression, _ = as_spdx(said, EXPRESSION)
            return None if expression == UNKNOWN else expression
    return None


def _said(name: str, text: str) -> str:
    if name == "Cargo.toml":
        read = tomllib.loads(text)
        workspace = read.get("workspace", {}).get("package", {})
        return _plain(read.get("package", workspace).get("license") or workspace.get("license"))
    if name == "pyproject.toml":
        return _of_python(tomllib.loads(text).get("project", {}).get("license"))
    if name in ("package.json", "composer.json"):
        return _of_json(json.loads(text).get("license"))
    found = _DOTNET.search(text) or _NUSPEC.search(text)
    return found[1] if found else ""


def _of_python(value: Any) -> str:
    """A string is an expression (PEP 639); in the older table `text` may be one, or a whole licence."""
    return _plain(value.get("text")) if isinstance(value, Mapping) else _plain(value)


def _of_json(value: Any) -> str:
    """composer.json may list several, of which one is chosen (its schema: "or")."""
    if isinstance(value, list):
        return " OR ".join(str(one) for one in value)
    return _plain(value.get("type")) if isinstance(value, Mapping) else _plain(value)


def _plain(value: Any) -> str:
    """Cargo once wrote "MIT/Apache-2.0" for OR, and crates of that time still do."""
    return " OR ".join(part.strip() for part in str(value).split("/")) if isinstance(value, str) else ""
