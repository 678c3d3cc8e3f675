"""Whole functions, methods and classes of a file, found by tree-sitter's grammars; nothing is ever run.

The grammars come inside wheels, one a language, and need no network. They are loaded when the first file of
their language is parsed. A grammar reads files with mistakes in them, too: a unit counts as long as there is
none inside it.
"""

import re
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

Span = tuple[int, int]  # first and last line, from 1, inclusive

# Limits, so that no file, however hostile, takes seconds or gigabytes (measured: docs/architecture.md).
MAX_BYTES = 200_000
MAX_DEPTH = 1_000  # of brackets, and of the tree: some grammars take time and memory by the square of it
MAX_LINE_BYTES = 2_000  # minified or data; some lexers take the square of it, and no clock stops them
MAX_CPU_SECONDS = 1.0  # of parsing; the last resort, for what the other two do not see

# For each language: modules and functions of its grammars, tried in turn while a file has errors in it.
GRAMMARS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "Python": (("tree_sitter_python", "language"),),
    "C++": (("tree_sitter_cpp", "language"),),
    "Java": (("tree_sitter_java", "language"),),
    # The two differ in what "<" may begin: a type assertion or an element.
    "TypeScript": (
        ("tree_sitter_typescript", "language_typescript"),
        ("tree_sitter_typescript", "language_tsx"),
    ),
    "Shell": (("tree_sitter_bash", "language"),),
    "C#": (("tree_sitter_c_sharp", "language"),),
    "Rust": (("tree_sitter_rust", "language"),),
    "PHP": (("tree_sitter_php", "language_php"),),
    "Swift": (("tree_sitter_swift", "language"),),
}

# What is a unit: only with a body, so that declarations, prototypes and abstract methods are none.
UNITS: Mapping[str, tuple[str, ...]] = {
    "Python": ("function_definition", "class_definition"),
    "C++": (
        "function_definition",
        *("class_specifier", "struct_specifier", "union_specifier", "enum_specifier"),
    ),
    "Java": (
        *("method_declaration", "constructor_declaration", "compact_constructor_declaration"),
        *("class_declaration", "interface_declaration", "enum_declaration", "record_declaration"),
    ),
    "TypeScript": (
        *("function_declaration", "generator_function_declaration", "method_definition"),
        *("class_declaration", "abstract_class_declaration", "interface_declaration", "enum_declaration"),
        *("arrow_function", "function_expression", "class"),  # those with a name: see WRAPPERS
    ),
    "Shell": ("function_definition",),
    "C#": (
        *("method_declaration", "constructor_declaration", "destructor_declaration"),
        *("operator_declaration", "conversion_operator_declaration", "local_function_statement"),
        *("class_declaration", "struct_declaration", "interface_declaration", "enum_declaration"),
        "record_declaration",
    ),
    "Rust": ("function_item", "struct_item", "enum_item", "union_item", "trait_item", "impl_item"),
    "PHP": (
        *("function_definition", "method_declaration"),
        *("class_declaration", "interface_declaration", "trait_declaration", "enum_declaration"),
    ),
    "Swift": (
        *("function_declaration", "init_declaration", "deinit_declaration"),
        *("class_declaration", "protocol_declaration"),  # the first is struct, enum, actor, extension, too
    ),
}

# What stands around one unit and belongs to it: decorators, template<...>, export, "const name = ".
WRAPPERS: Mapping[str, tuple[str, ...]] = {
    "Python": ("decorated_definition",),
    "C++": (
        *("template_declaration", "linkage_specification"),
        *("declaration", "field_declaration", "type_definition"),  # of a class and something of its type
    ),
    "TypeScript": (
        *("export_statement", "ambient_declaration", "public_field_definition"),
        *("variable_declarator", "lexical_declaration", "variable_declaration"),
    ),
}
# Units only where a wrapper gives them a name: x => x + 1 inside a call is part of the call.
NAMELESS = frozenset({"arrow_function", "function_expression", "class"})

# What belongs to a unit when it stands right above it: comments, and attributes that the tree keeps apart.
ABOVE: Mapping[str, tuple[str, ...]] = {
    "Java": ("line_comment", "block_comment"),
    "TypeScript": ("comment", "decorator"),
    "Rust": ("line_comment", "block_comment", "attribute_item"),
    "Swift": ("comment", "multiline_comment"),
}
COMMENT = ("comment",)  # everywhere else


BRACKETS = b"()[]{}<>|;"
NO_BRACKETS = bytes(byte for byte in range(256) if byte not in BRACKETS)
GREATER = ord(">")


def units_of(text: str, language: str) -> list[Span] | str:
    """List the lines of every function, method and class, in order, or give the reason why not.

    Units inside units are listed, too. The span takes in decorators, attributes and the comment directly
    above, and only whole lines: what shares them comes along. Lines are counted as `cutting` counts them.
    Reasons: "too_large" (over MAX_BYTES), "long_line" (over MAX_LINE_BYTES), "too_deep" (over MAX_DEPTH, or
    over MAX_CPU_SECONDS of parsing: the only thing here that hangs on the machine).
    """
    # Of the same length, so that every offset holds; half a character is no error of the code around it.
    data = re.sub(r"\r(?!\n)", "\n", text).replace("\0", " ").encode(errors="surrogatepass")
    if len(data) > MAX_BYTES:
        return "too_large"
    if max(map(len, data.split(b"\n"))) > MAX_LINE_BYTES:
        return "long_line"
    if _is_deep(data):
        return "too_deep"
    best: list[Span] = []
    clock = _Clock()
    for module, function in GRAMMARS[language]:
        tree = _parsed(data, _grammar(module, function), clock)
        spans = None if tree is None else _spans(tree, data, _kinds(language, module, function))
        if spans is None:
            return "too_deep"
        best = max(best, spans, key=len)
        if not tree.root_node.has_error:
            break
    return best


def _is_deep(data: bytes) -> bool:
    """Whether more than MAX_DEPTH brackets are open at once, strings and comments not told apart.

    "<" may open one and "|" may wait for a command: they count until ";" or a brace ends the statement.
    """
    depth = pending = 0
    for mark in data.translate(None, NO_BRACKETS):
        if mark in b"([{":
            depth += 1
        elif mark in b")]}":
            depth = max(depth - 1, 0)
        elif mark in b"<|":
            pending += 1
        elif mark == GREATER:
            pending = max(pending - 1, 0)
        if mark in b";{}":
            pending = 0
        if depth > MAX_DEPTH or pending > MAX_DEPTH:
            return True
    return False


class _Clock:
    """Says when a file has had its time; asked by tree-sitter every hundred steps or so."""

    def __init__(self) -> None:
        self._began = time.thread_time()
        self.is_over = False

    def __call__(self, *_: object) -> bool:
        self.is_over = self.is_over or time.thread_time() - self._began > MAX_CPU_SECONDS
        return self.is_over


def _parsed(data: bytes, grammar: Any, clock: _Clock) -> Any:
    """Give the tree, tree-sitter's own type, or None where parsing took too long."""
    from tree_sitter import Parser

    view = memoryview(data)
    try:
        return Parser(grammar).parse(lambda offset, _: view[offset:], progress_callback=clock)
    except ValueError:
        if clock.is_over:  # it raises where the callback said stop
            return None
        raise


@cache
def _grammar(module: str, function: str) -> Any:
    from tree_sitter import Language

    return Language(getattr(import_module(module), function)())


@dataclass(frozen=True, slots=True)
class _Kinds:
    """The nodes that matter, by their number in the grammar, which is quicker to ask for than the name."""

    units: frozenset[int]
    nameless: frozenset[int]
    wrappers: frozenset[int]
    above: frozenset[int]


@cache
def _kinds(language: str, module: str, function: str) -> _Kinds:
    grammar = _grammar(module, function)
    units = frozenset(grammar.id_for_node_kind(kind, True) for kind in UNITS[language])
    return _Kinds(
        units=units,
        nameless=frozenset(number for number in units if grammar.node_kind_for_id(number) in NAMELESS),
        wrappers=frozenset(grammar.id_for_node_kind(kind, True) for kind in WRAPPERS.get(language, ())),
        above=frozenset(grammar.id_for_node_kind(kind, True) for kind in ABOVE.get(language, COMMENT)),
    )


def _spans(tree: Any, data: bytes, kinds: _Kinds) -> list[Span] | None:
    """List the lines of the units of a tree, or give None for a tree deeper than MAX_DEPTH."""
    found = _units_and_comments(tree, kinds)
    if found is None:
        return None
    units, comments = found
    lines = _ByteLines(data)
    starts = {last: first for first, last in lines.alone(comments)}
    spans: set[Span] = set()
    for unit in units:
        first, last = lines.of(unit)
        while first - 1 in starts:
            first = starts[first - 1]
        spans.add((first, last))
    return sorted(spans)


def _units_and_comments(tree: Any, kinds: _Kinds) -> tuple[list[Any], list[Any]] | None:
    """Walk the whole tree. A query of tree-sitter's would be quicker, but takes time by the square of the
    tree's depth and of the tokens side by side in a broken file, and 0.26.1 crashes when it is to be stopped.
    """
    units: list[Any] = []
    comments: list[Any] = []
    path: list[Any] = []
    cursor = tree.walk()
    down, across, up = cursor.goto_first_child, cursor.goto_next_sibling, cursor.goto_parent
    while True:
        node = cursor.node
        kind = node.kind_id
        if kind in kinds.units:
            units += _whole_unit(node, path, kinds)
        elif kind in kinds.above:
            comments.append(node)
        if down():
            path.append(node)
            if len(path) > MAX_DEPTH:
                return None
        else:
            while not across():
                if not up():
                    return units, comments
                path.pop()


def _whole_unit(node: Any, path: list[Any], kinds: _Kinds) -> Iterator[Any]:
    """Yield a unit with what is wrapped around it; nothing without a body or a name, or with a mistake."""
    whole, level = node, len(path)
    while level and path[level - 1].kind_id in kinds.wrappers:
        level -= 1
        whole = path[level]
    nameless = node.kind_id in kinds.nameless and whole is node
    if not (nameless or whole.has_error or node.child_by_field_name("body") is None):
        yield whole


class _ByteLines:
    """On which lines, from 1, the nodes of a tree stand."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._starts = [0, *(found.end() for found in re.finditer(b"\n", data))]

    def of(self, node: Any) -> Span:
        last = max(node.end_byte - 1, node.start_byte)  # a doc comment of Rust's ends after its newline
        return bisect_right(self._starts, node.start_byte), bisect_right(self._starts, last)

    def alone(self, nodes: list[Any]) -> Iterator[Span]:
        """Yield the lines of the nodes that share none with code: a comment behind code is about that."""
        for node in nodes:
            first, last = self.of(node)
            before = self._data[self._starts[first - 1] : node.start_byte]
            after = self._data[node.end_byte : self._end(last)]
            shebang = node.start_byte == 0 and self._data.startswith(b"#!")
            if not (before.strip() or after.strip() or shebang):
                yield first, last

    def _end(self, line: int) -> int:
        return self._starts[line] if line < len(self._starts) else len(self._data)
