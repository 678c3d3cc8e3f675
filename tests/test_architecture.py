"""The picture of the code, kept true: who may import what, and what is nowhere to be found."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pages", "jobs", "curation", "training", "bench", "tests")
MODULES = sorted(
    [file for name in ("serve.py", "app.py", "ui.py") if (file := ROOT / name).exists()]
    + [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
)

# Ours: what each top-level module or package may import of the others. Nothing points back up.
MAY_IMPORT = {
    "serve": {"jobs"},
    "app": {"ui"},
    "pages": {"ui", "jobs", "curation", "training"},
    "ui": {"ui", "jobs", "curation", "training"},
    "jobs": {"jobs", "curation", "training"},
    "training": {"curation", "training"},
    "curation": {"curation"},
    "bench": {"jobs", "curation", "training", "bench", "tests"},
    "tests": {"app", "ui", "jobs", "pages", "curation", "training", "bench", "tests"},
}
FREE = ("bench", "tests")  # these may use any library

# Libraries that have one home. A name that ends in "/" is a folder.
STORE = ("curation/store/", "curation/migrations/")
ONLY_IN = {
    "streamlit": ("app.py", "ui.py", "pages/", "serve.py"),
    "sqlalchemy": STORE,
    "alembic": STORE,
    "sqlite3": STORE,
    "dbos": ("jobs/",),
    "openai": ("curation/teacher_process.py", "curation/teacher_client.py", "curation/teacher_batch.py"),
    "sentence_transformers": ("curation/embedding.py", "training/"),
    "torch": (
        "curation/embedding.py",
        "curation/cut_texts.py",
        "curation/openvino_runtime.py",
        "curation/int8_screen.py",
        "curation/bf16_screen.py",
        "curation/pair_products.py",
        "curation/screen_choice.py",
        "training/",
    ),
    "datasets": ("curation/hub.py", "curation/benchmarks.py", "curation/export.py"),
    "openvino": ("curation/openvino_runtime.py",),
    "peft": ("training/",),
    "tree_sitter": ("curation/syntax_units.py",),
    "ahocorasick_rs": ("curation/decontaminate.py", "curation/substring.py"),
}

# The two modules that everything rests on import the standard library and each other.
GROUND = ("curation.records", "curation.errors")

# Loading any of these may run code that a file or a hub brings along (faults.md S32, S33).
BANNED_MODULES = {"pickle", "cPickle", "_pickle", "joblib"}
BANNED_NAMES = {"read_pickle"}
# Any of these would let text of a stranger become markup or run (faults.md Security S3, S18-S20).
MARKUP = {"unsafe_allow_html", "unsafe_allow_javascript", "innerHTML", "insertAdjacentHTML", "html", "write"}
# The same in the scripts of components; on* set as text would be code, and so would a timer's text.
SCRIPT_MARKUP = re.compile(
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|setHTML\w*|document\s*\.\s*write(ln)?|srcdoc|eval|Function|"
    r"createContextualFragment|DOMParser|import\s*\(|fetch\s*\(|XMLHttpRequest)"
    r"|\[\s*[\"'`](inner|outer)|setAttribute\(\s*[\"'`](on|src|href)"
)
PAGE_HOMES = ("app", "ui", "pages", "serve")
SAFE_VALUE = {"allow_pickle": False, "trust_remote_code": False, "weights_only": True}

LONGEST_FUNCTION = 60  # lines; what is longer says why on the line above
SLOW = ("torch", "sentence_transformers", "datasets", "streamlit", "openai")


def imports(name: str, tree: ast.Module) -> Iterator[str]:
    """Name everything a module imports, with dots; lazy, relative and by-name imports included."""
    package = name.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*module, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).split(".")[-1]
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def within(dotted: str, modules: tuple[str, ...]) -> bool:
    return any(dotted == module or dotted.startswith(f"{module}.") for module in modules)


def lives_in(name: str, homes: tuple[str, ...]) -> bool:
    return any(name.startswith(home) if home.endswith("/") else name == home for home in homes)


def wrong_imports(name: str, tree: ast.Module) -> Iterator[str]:
    home = name.removesuffix(".py").split("/")[0]
    for dotted in imports(name, tree):
        top = dotted.split(".")[0]
        if top in MAY_IMPORT and top not in MAY_IMPORT[home]:
            yield f"{home} imports {dotted}: it may import {sorted(MAY_IMPORT[home])} of ours"
        if top in ONLY_IN and home not in FREE and not lives_in(name, ONLY_IN[top]):
            yield f"imports {dotted}: {top} belongs in {' and '.join(ONLY_IN[top])}"
        if (
            name.removesuffix(".py").replace("/", ".") in GROUND
            and top not in sys.stdlib_module_names
            and not within(dotted, GROUND)
        ):
            yield f"imports {dotted}: it may import only the standard library and {' and '.join(GROUND)}"
        if home in ("curation", "training") and top in BANNED_MODULES:
            yield f"imports {dotted}: loading it may run code; use JSON, npy, Parquet or safetensors"


def wrong_calls(name: str, tree: ast.Module) -> Iterator[str]:
    if not name.startswith(("curation/", "training/")):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in SAFE_VALUE:
            safe = SAFE_VALUE[node.arg]
            if not (isinstance(node.value, ast.Constant) and node.value.value is safe):
                yield f"line {node.value.lineno}: {node.arg} must be the literal {safe}"
        called = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
        if called in BANNED_NAMES:
            yield f"line {getattr(node, 'lineno', 0)}: {called} may run code that a file brings along"


def markup(name: str, tree: ast.Module) -> Iterator[str]:
    """Name what would show text as HTML or let Streamlit choose how to show it, in pages and ui."""
    if name.removesuffix(".py").split("/")[0] not in PAGE_HOMES:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in MARKUP:
            yield f"line {node.value.lineno}: {node.arg} shows text of strangers as markup"
        if (
            isinstance(node, ast.Attribute)
            and node.attr in MARKUP
            and ast.unparse(node.value).startswith("st")
        ):
            yield f"line {node.lineno}: {ast.unparse(node)} may show text of strangers as markup"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "innerHTML" in node.value:
            yield f"line {node.lineno}: a component must set text (textContent), never innerHTML"


def script_markup(text: str) -> list[str]:
    """Name what a component's script may not do with text of strangers: parse it, run it, load it."""
    return [
        f"line {text.count(chr(10), 0, found.start()) + 1}: {found.group()} reads text as markup or code"
        for found in SCRIPT_MARKUP.finditer(text)
    ]


def long_functions(text: str, tree: ast.Module) -> Iterator[str]:
    lines = text.splitlines()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        above = [lines[line - 2].strip() for line in (node.lineno, first) if line > 1]
        if length > LONGEST_FUNCTION and not any(line.startswith("# Long because") for line in above):
            yield f"{node.name} has {length} lines, and no '# Long because' above it"


def broken_rules(name: str, text: str) -> list[str]:
    """Say what a module at this path does that the picture forbids."""
    tree = ast.parse(text)
    broken = [
        *wrong_imports(name, tree),
        *wrong_calls(name, tree),
        *markup(name, tree),
        *long_functions(text, tree),
    ]
    if name.split("/")[-1] == "utils.py":
        broken.append("a file is named after the step it is, never utils.py")
    return broken


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_module_follows_the_picture(file: Path) -> None:
    assert broken_rules(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", sorted((ROOT / "components").glob("*")), ids=lambda file: file.name)
def test_every_component_sets_text(file: Path) -> None:
    assert file.suffix in (".js", ".css")
    text = file.read_text(encoding="utf-8")
    assert script_markup(text) == []
    if file.suffix == ".css":
        assert not re.search(r"@import|url\(|expression\(", text), "a sheet fetches nothing"


@pytest.mark.parametrize(
    "line",
    [
        "box.innerHTML = text;",
        "box.outerHTML = text;",
        'box["innerHTML"] = text;',
        "box['inner' + 'HTML'] = text;",
        "box.insertAdjacentHTML('beforeend', text);",
        "document.write(text);",
        "document . writeln(text);",
        "eval(text);",
        "new Function(text)();",
        "frame.srcdoc = text;",
        "box.setAttribute('onclick', text);",
        "box.setAttribute(`href`, text);",
        "new DOMParser().parseFromString(text, 'text/html');",
        "await import(text);",
        "fetch(text);",
    ],
)
def test_a_script_that_reads_text_as_markup_is_caught(line: str) -> None:
    (broken,) = script_markup(f"export default function ({{ data }}) {{\n  {line}\n}}\n")[:1]
    assert broken.startswith("line 2: ")


@pytest.mark.skipif(
    not any((ROOT / "curation" / cli).exists() for cli in ("cli.py", "cli/__init__.py")),
    reason="curation/cli.py does not exist yet",
)
def test_the_command_line_starts_without_the_slow_libraries() -> None:
    program = f"import sys, curation.cli; print([name for name in {SLOW!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


LONG_BODY = "\n".join(["def step():", *["    pass"] * LONGEST_FUNCTION])


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("curation/clean.py", "import streamlit as st", "streamlit belongs in app.py"),
        ("curation/clean.py", "import training", "curation imports training"),
        ("curation/clean.py", "def f():\n    from training.run import LoraRun", "curation imports training"),
        ("curation/clean.py", "from ui import show", "curation imports ui"),
        ("training/lora.py", "import jobs", "training imports jobs"),
        ("pages/curate/clean.py", "import app", "pages imports app"),
        ("curation/clean.py", "import sqlite3", "sqlite3 belongs in curation/store/"),
        ("curation/storehouse.py", "from sqlalchemy import text", "sqlalchemy belongs in"),
        ("jobs/queue.py", "import sqlalchemy.orm", "sqlalchemy belongs in"),
        ("pages/jobs/jobs.py", "from dbos import DBOSClient", "dbos belongs in jobs/"),
        ("curation/generate.py", "from openai import OpenAI", "openai belongs in curation/teacher_"),
        ("curation/near.py", "import torch", "torch belongs in"),
        ("curation/near.py", "import importlib\nimportlib.import_module('torch.nn')", "torch belongs in"),
        ("curation/near.py", "__import__('datasets')", "datasets belongs in"),
        ("pages/train/train.py", "import peft", "peft belongs in training/"),
        ("curation/records.py", "import numpy", "only the standard library"),
        ("curation/records.py", "from . import atomic", "only the standard library"),
        ("curation/errors.py", "from .atomic import atomic_write", "only the standard library"),
        ("curation/errors.py", "from curation import atomic", "only the standard library"),
        ("curation/utils.py", "", "never utils.py"),
        ("tests/deep/utils.py", "", "never utils.py"),
        ("training/run.py", "import pickle", "may run code"),
        ("curation/near.py", "from joblib import load", "may run code"),
        ("curation/near.py", "pandas.read_pickle('x')", "read_pickle may run code"),
        ("curation/near.py", "numpy.load('x', allow_pickle=True)", "allow_pickle must be the literal False"),
        ("curation/near.py", "numpy.load('x', allow_pickle=flag)", "allow_pickle must be the literal False"),
        ("curation/hub.py", "load(x, trust_remote_code=True)", "trust_remote_code must be the literal False"),
        ("training/run.py", "load(x, weights_only=False)", "weights_only must be the literal True"),
        ("pages/create/row.py", "import streamlit as st\nst.write(x)", "st.write may show"),
        ("ui.py", "st.html(x)", "st.html may show"),
        ("app.py", "st.markdown(x, unsafe_allow_html=True)", "unsafe_allow_html shows text"),
        ("ui.py", "JS = 'box.innerHTML = data'", "never innerHTML"),
        ("curation/clean.py", LONG_BODY, "step has 61 lines"),
        ("curation/clean.py", f"# Much to do\n{LONG_BODY}", "step has 61 lines"),
    ],
)
def test_a_broken_rule_is_caught(name: str, text: str, reason: str) -> None:
    (broken,) = broken_rules(name, text)
    assert reason in broken


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("curation/store/engine.py", "import sqlite3\nfrom sqlalchemy import text"),
        ("curation/embedding.py", "def f():\n    from sentence_transformers import SentenceTransformer"),
        ("curation/records.py", "from collections.abc import Mapping\nfrom .errors import WrongInput"),
        ("curation/errors.py", "from curation.records import Sample"),
        ("training/lora.py", "import peft, torch\nfrom curation.records import Sample"),
        ("tests/test_store.py", "import sqlite3, pickle\nfrom curation.store import Store"),
        ("curation/near.py", "numpy.load('x', allow_pickle=False)"),
        ("curation/clean.py", LONG_BODY.rsplit("\n", 1)[0]),
        ("curation/clean.py", f"# Long because it is one table.\n{LONG_BODY}"),
        ("curation/clean.py", f"# Long because it is one table.\n@decorated\n{LONG_BODY}"),
    ],
)
def test_what_the_picture_allows_passes(name: str, text: str) -> None:
    assert broken_rules(name, text) == []
