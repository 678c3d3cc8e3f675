"""Documented functions of Python files, found by parsing: the code is never imported or run."""

import ast
import io
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from inspect import cleandoc
from pathlib import Path

MIN_DOCSTRING_WORDS = 3  # "Return x." and shorter says nothing one could write the function from

# Folders of the standard library that hold no library code: its tests, two programs, what pip put there.
NOT_STANDARD_LIBRARY = frozenset(
    {"test", "tests", "idle_test", "idlelib", "turtledemo", "site-packages", "dist-packages", "__pycache__"}
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class DocumentedFunction:
    """A function with its docstring, and where it stands."""

    qualified_name: str  # module.Class.function
    path: str  # relative to the root it was found under
    document_hash: str  # sha256 of the file's bytes, hex
    first_line: int  # of the whole def with its decorators, from 1
    last_line: int  # inclusive
    docstring: str  # without quotes and common indentation (inspect.cleandoc)
    code: str  # the def, dedented, without the docstring
    source_text: str  # the def as it stands in the file, dedented, docstring included


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A function that has a docstring and is not used."""

    qualified_name: str
    first_line: int  # with its decorators, from 1
    reason: str  # "short_comment", "stub" or "comment_among_code"


def functions_of(data: bytes, path: str, module: str) -> list[DocumentedFunction]:
    """List the documented functions and methods of one file, in line order.

    A file that is no Python of this version gives none. Functions inside functions are left out:
    they lean on names of the outer one, and their lines are already part of it.
    """
    try:
        text = _decoded(data)
    except (SyntaxError, ValueError, LookupError):
        return []
    found = judged_functions(text, path, module, sha256(data).hexdigest()) or []
    return [one for one in found if isinstance(one, DocumentedFunction)]


def judged_functions(
    text: str, path: str, module: str, document_hash: str
) -> list[DocumentedFunction | LeftOut] | None:
    """List every function and method that has a docstring, in line order, those left out with the reason.

    None: the text is no Python of this version. Functions inside functions count as part of the outer one.
    """
    # The lines that Python counts, which str.splitlines does not (form feed, U+2028).
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    try:
        tree = _parsed("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = [
        _judged(node, f"{module}.{name}", lines, path, document_hash)
        for node, name in _definitions(tree)
        if _docstring(node)
    ]
    return sorted(found, key=lambda one: (one.first_line, one.qualified_name))


def standard_library() -> Iterator[DocumentedFunction]:
    """Yield the documented functions of this Python's own library, in the order of the file paths."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = (path.relative_to(root) for path in root.rglob("*.py"))
    for path in sorted(paths, key=lambda p: p.as_posix()):
        if NOT_STANDARD_LIBRARY.isdisjoint(path.parts[:-1]):
            yield from functions_of((root / path).read_bytes(), path.as_posix(), module_name(path))


def module_name(path: Path) -> str:
    """Give the name a file below an import root is imported by: a/b/__init__.py is a.b."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _decoded(data: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding)


def _parsed(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's invalid escapes are not our user's business
        return ast.parse(text)


def _definitions(tree: ast.Module) -> Iterator[tuple[Function, str]]:
    """Walk modules, classes and the blocks in them (if, try, with), with a list for a stack:
    a long chain of elif is nested deeply enough to exhaust recursion.
    """
    stack: list[tuple[ast.AST, str]] = [(tree, "")]
    while stack:
        parent, prefix = stack.pop()
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, Function):
                yield node, prefix + node.name
            elif isinstance(node, ast.ClassDef):
                stack.append((node, f"{prefix}{node.name}."))
            elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
                stack.append((node, prefix))


def _judged(
    node: Function, name: str, lines: list[str], path: str, document_hash: str
) -> DocumentedFunction | LeftOut:
    """Make the record, or say why not: too little docstring, no body of its own, no way to part the two."""
    docstring = _docstring(node)
    first = min((decorator.lineno for decorator in node.decorator_list), default=node.lineno)
    last = node.end_lineno or node.lineno
    if len(docstring.split()) < MIN_DOCSTRING_WORDS:
        return LeftOut(name, first, "short_comment")
    if all(map(_is_stub, node.body[1:])):
        return LeftOut(name, first, "stub")
    body = _without_docstring(node, lines, first, last)
    if body is None:
        return LeftOut(name, first, "comment_among_code")
    indent = lines[node.lineno - 1].encode()[: node.col_offset].decode()
    return DocumentedFunction(
        qualified_name=name,
        path=path,
        document_hash=document_hash,
        first_line=first,
        last_line=last,
        docstring=docstring,
        code=_dedented(body, indent),
        source_text=_dedented(lines[first - 1 : last], indent),
    )


def _docstring(node: Function) -> str:
    """Give the clean docstring, or "" when there is none that can be written to a file."""
    text = ast.get_docstring(node, clean=False) or ""
    try:
        text.encode()
    except UnicodeEncodeError:  # an escape such as "\ud800" is half a character
        return ""
    return cleandoc(text)


def _is_stub(statement: ast.stmt) -> bool:
    """Whether a statement only holds the place of a body: pass, ... or raise NotImplementedError."""
    if isinstance(statement, ast.Raise):
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) and statement.value.value is ...
    return isinstance(statement, ast.Pass)


def _without_docstring(node: Function, lines: list[str], first: int, last: int) -> list[str] | None:
    """Cut the docstring out of the lines of a def, or give None where that leaves no valid code.

    Works on the lines and not on the tree, so that comments and formatting stay as they are.
    """
    statement = node.body[0]
    start, end = statement.lineno, statement.end_lineno or statement.lineno
    before = lines[start - 1].encode()[: statement.col_offset].decode()
    after = lines[end - 1].encode()[statement.end_col_offset :].decode().strip()
    above, below = lines[first - 1 : start - 1], lines[end:last]
    if not before.strip() and (not after or after.startswith("#")):
        while below and not below[0].strip():  # the blank lines set the docstring apart from the code
            below = below[1:]
        return above + below
    # `def f(): "Say."; return 1`, or a semicolon or a backslash after the docstring: try it and see.
    kept = [*above, before + after.lstrip("; "), *below]
    try:
        _parsed("if 1:\n" + "\n".join(kept) if kept[0][:1].isspace() else "\n".join(kept))
    except SyntaxError:
        return None
    return kept


def _dedented(lines: list[str], indent: str) -> str:
    """Take the indentation of the def off every line that has it.

    textwrap.dedent would move nothing as soon as one line of a multi-line string starts further left.
    """
    return "\n".join(line.removeprefix(indent) for line in lines)
