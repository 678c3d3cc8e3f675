"""Whole functions, methods and classes of a file, found by tree-sitter's grammars; nothing is ever run.

The grammars come inside wheels, one a language, and need no network. They are loaded when the first file of
their language is parsed. A grammar reads files with mistakes in them, too: a unit counts as long as there is
none inside it.
"""

import re
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any, TypeVar

from curation.comment_text import BLOCK, is_about_another, is_documentation, plain, sign_of

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

# Of the units those that do something, by what their grammars call them; the others are types.
FUNCTION = re.compile("function|method|constructor|destructor|operator|init")

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
    return _best(text, language, _spans)


@dataclass(frozen=True, slots=True)
class CommentedFunction:
    """A function or method, and what is said of it right above."""

    comment: str  # without signs and common indentation
    code: str  # with its attributes, without the comment, dedented; lines end in "\n"
    first_line: int  # of the whole, comment included, from 1
    last_line: int  # inclusive
    name: str  # Class.method as far as the code says so; ""
    documents: bool  # the comment is written as documentation (/** or ///)
    is_stub: bool  # its body holds no statement, or only says that it is missing


def commented_functions(text: str, language: str) -> list[CommentedFunction] | str:
    """List the functions and methods below a comment, in order, or give the reason why not, as `units_of`.

    The comment is the one right above; of several the nearest that is documentation. Where nothing stands
    right above, it is documentation with only blank lines between, as its tools read it. Functions inside
    functions are left out, as in `documented_functions`; so are those that share their first line with
    something else, and those with a mistake inside.
    """
    return _best(text, language, partial(_commented, language=language))


Found = TypeVar("Found")


def _best(text: str, language: str, find: Callable[[Any, bytes, "_Kinds"], list[Found]]) -> list[Found] | str:
    """Look for things in the tree of a text: by the grammar that gives most, while there are mistakes."""
    # Of the same length, so that every offset holds; half a character is no error of the code around it.
    data = re.sub(r"\r(?!\n)", "\n", text).replace("\0", " ").encode(errors="surrogatepass")
    if len(data) > MAX_BYTES:
        return "too_large"
    if max(map(len, data.split(b"\n"))) > MAX_LINE_BYTES:
        return "long_line"
    if _is_deep(data):
        return "too_deep"
    best: list[Found] = []
    clock = _Clock()
    for module, function in GRAMMARS[language]:
        tree = _parsed(data, _grammar(module, function), clock)
        if tree is None:
            return "too_deep"
        try:
            best = max(best, find(tree, data, _kinds(language, module, function)), key=len)
        except _TooDeep:
            return "too_deep"
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
    functions: frozenset[int]  # of the units
    comments: frozenset[int]  # of what stands above


@cache
def _kinds(language: str, module: str, function: str) -> _Kinds:
    grammar = _grammar(module, function)
    above = ABOVE.get(language, COMMENT)

    def numbers(kinds: Iterable[str]) -> frozenset[int]:
        return frozenset(grammar.id_for_node_kind(kind, True) for kind in kinds)

    return _Kinds(
        units=numbers(UNITS[language]),
        nameless=numbers(NAMELESS.intersection(UNITS[language])),
        wrappers=numbers(WRAPPERS.get(language, ())),
        above=numbers(above),
        functions=numbers(filter(FUNCTION.search, UNITS[language])),
        comments=numbers(kind for kind in above if "comment" in kind),
    )


class _TooDeep(Exception):
    """A tree is deeper than MAX_DEPTH."""


def _spans(tree: Any, data: bytes, kinds: _Kinds) -> list[Span]:
    """List the lines of the units of a tree."""
    units: list[Any] = []
    comments: list[Any] = []
    for node, path in _walked(tree):
        kind = node.kind_id
        if kind in kinds.units:
            units += _whole_unit(node, path, kinds)
        elif kind in kinds.above:
            comments.append(node)
    lines = _ByteLines(data)
    starts = {last: first for first, last, _ in lines.alone(comments)}
    spans: set[Span] = set()
    for unit in units:
        first, last = lines.of(unit)
        while first - 1 in starts:
            first = starts[first - 1]
        spans.add((first, last))
    return sorted(spans)


def _walked(tree: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Yield every node, and the list of those around it, outermost first. Raises _TooDeep.

    A query of tree-sitter's would be quicker, but takes time by the square of the tree's depth and of the
    tokens side by side in a broken file, and 0.26.1 crashes when it is to be stopped.
    """
    path: list[Any] = []
    cursor = tree.walk()
    down, across, up = cursor.goto_first_child, cursor.goto_next_sibling, cursor.goto_parent
    while True:
        node = cursor.node
        yield node, path
        if down():
            path.append(node)
            if len(path) > MAX_DEPTH:
                raise _TooDeep
        else:
            while not across():
                if not up():
                    return
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
        return self.at(node.start_byte), self.at(last)

    def at(self, offset: int) -> int:
        return bisect_right(self._starts, offset)

    def alone(self, nodes: list[Any]) -> Iterator[tuple[int, int, Any]]:
        """Yield nodes that share no line with code, with first and last line: a comment behind code is about
        that."""
        for node in nodes:
            first, last = self.of(node)
            before = self._data[self._starts[first - 1] : node.start_byte]
            after = self._data[node.end_byte : self._end(last)]
            shebang = node.start_byte == 0 and self._data.startswith(b"#!")
            if not (before.strip() or after.strip() or shebang):
                yield first, last, node

    def begin(self, line: int) -> int:
        """Give the offset of a line."""
        return self._starts[line - 1]

    def is_blank(self, line: int) -> bool:
        return not self._data[self._starts[line - 1] : self._end(line)].strip()

    def _end(self, line: int) -> int:
        return self._starts[line] if line < len(self._starts) else len(self._data)


# --- functions below a comment ---


def _commented(tree: Any, data: bytes, kinds: _Kinds, language: str) -> list[CommentedFunction]:
    """List the functions below a comment, in order."""
    functions: list[tuple[Any, Any, str]] = []
    above: list[Any] = []
    outer_end = 0  # of the last function that is in no other: what begins before it is inside
    for node, path in _walked(tree):
        kind = node.kind_id
        if kind in kinds.functions and node.start_byte >= outer_end and _takes_arguments(node):
            outer_end = node.end_byte
            name = _name(node, path, data, kinds)
            functions += [(whole, node, name) for whole in _whole_unit(node, path, kinds)]
        elif kind in kinds.above:
            above.append(node)
    surroundings = _Above(data, above, kinds, language)
    found = (surroundings.read(*function) for function in functions)
    return [one for one in found if one is not None]


class _Above:
    """What stands above the functions of a file: comments, and attributes that the tree keeps apart."""

    def __init__(self, data: bytes, nodes: list[Any], kinds: _Kinds, language: str) -> None:
        self._data = data
        self._kinds = kinds
        self._language = language
        self._lines = _ByteLines(data)
        self._ending = {last: (first, node) for first, last, node in self._lines.alone(nodes)}
        attributes = (node for node in nodes if node.kind_id not in kinds.comments)
        # Where an attribute's unit, or the next attribute, begins -> where the attribute does.
        self._attached = {_behind_space(data, one.end_byte): one.start_byte for one in attributes}

    def read(self, whole: Any, node: Any, name: str) -> CommentedFunction | None:
        """Give a function with its comment; None: it has none, or does not begin its line."""
        start = whole.start_byte
        while start in self._attached:
            start = self._attached[start]
        first = self._lines.at(start)
        indent = self._data[self._lines.begin(first) : start]
        if indent.strip():
            return None
        above, line = self._above(first)
        comment = self._comment(above) or self._apart(line)
        if not comment:
            return None
        attributes = [one for one in above if one.kind_id not in self._kinds.comments]
        parts = [(one.start_byte, one.end_byte) for one in reversed(attributes)]
        whole_lines = [self._lines.of(one)[0] for one in (*comment, *attributes)]
        texts = [_text(one, self._data).rstrip() for one in comment]
        return CommentedFunction(
            comment=plain(texts),
            code=self._code([*parts, (start, whole.end_byte)], indent),
            first_line=min(first, *whole_lines),
            last_line=self._lines.of(whole)[1],
            name=name,
            documents=is_documentation(texts[0], self._language),
            is_stub=_is_stub(node, self._data, self._kinds),
        )

    def _above(self, line: int) -> tuple[list[Any], int]:
        """Give what stands right above a line, the nearest first, and the line where that begins."""
        found = []
        while (line - 1) in self._ending:
            line, node = self._ending[line - 1]
            found.append(node)
        return found, line

    def _comment(self, above: Sequence[Any]) -> list[Any]:
        """Give the nodes of the comment that is about a function, in order: the nearest documentation among
        what stands above, else the nearest; lines that begin with one sign are one comment."""
        comments = [one for one in above if one.kind_id in self._kinds.comments]
        texts = [_text(one, self._data) for one in comments]
        about = {
            n: sign_of(text) for n, text in enumerate(texts) if not is_about_another(text, self._language)
        }
        if not about:
            return []
        nearest = next((n for n in about if is_documentation(texts[n], self._language)), min(about))
        last = nearest + 1
        while about[nearest] != BLOCK and about.get(last) == about[nearest]:
            last += 1
        return comments[nearest:last][::-1]

    def _apart(self, line: int) -> list[Any]:
        """Give the documentation above the blank lines that end above a line."""
        while line > 1 and self._lines.is_blank(line - 1):
            line -= 1
        comment = self._comment(self._above(line)[0])
        is_meant = comment and is_documentation(_text(comment[0], self._data), self._language)
        is_nearest = is_meant and self._lines.of(comment[-1])[1] == line - 1
        return comment if is_nearest else []

    def _code(self, spans: Sequence[Span], indent: bytes) -> str:
        """Give pieces of code, each on lines of its own, without the function's indentation."""
        lines: list[bytes] = []
        for start, end in spans:
            lines += (indent + self._data[start:end].rstrip()).replace(b"\r\n", b"\n").split(b"\n")
        # As documented_functions does it: a string may stand further left.
        return b"\n".join(line.removeprefix(indent) for line in lines).decode(errors="surrogatepass")


SPACE = re.compile(rb"\s*")


def _behind_space(data: bytes, offset: int) -> int:
    found = SPACE.match(data, offset)
    return offset if found is None else found.end()


def _text(node: Any, data: bytes) -> str:
    return data[node.start_byte : node.end_byte].decode(errors="surrogatepass")


LONGEST_NAME = 200  # characters


def _name(node: Any, path: Sequence[Any], data: bytes, kinds: _Kinds) -> str:
    """Give the name of a function after those of the types around it, as far as the code gives them."""
    types = [one for one in path if one.kind_id in kinds.units and one.kind_id not in kinds.functions]
    named = [one.child_by_field_name("name") or one.child_by_field_name("type") for one in types]
    own = node.child_by_field_name("name")
    for one in reversed(path):  # const name = () => ...
        if own is not None or one.kind_id not in kinds.wrappers:
            break
        own = one.child_by_field_name("name")
    if own is None:
        own = _declared(node)
    texts = [_text(one, data) for one in (*named, own) if one is not None]
    return " ".join(".".join(texts).split())[:LONGEST_NAME]


def _takes_arguments(node: Any) -> bool:
    """Whether a function is one: C++'s `struct MACRO Name {...}` is read like one."""
    return node.child_by_field_name("declarator") is None or _declared(node) is not None


def _declared(node: Any) -> Any:
    """Give what is declared inside of the types, references and arguments that C++ wraps around it."""
    own = None
    inner = node.child_by_field_name("declarator")
    while inner is not None and inner.type != "operator_cast":
        if inner.type == "function_declarator":
            own = inner.child_by_field_name("declarator")
        wrapped = [one for one in inner.named_children if one.type.endswith("declarator")]
        inner = inner.child_by_field_name("declarator") or (wrapped or [None])[0]
    return own if inner is None else inner.child_by_field_name("type")


# What a constructor does before its block: C++, C#.
INITIALISERS = frozenset({"field_initializer_list", "constructor_initializer"})
MISSING = re.compile(
    rb"(todo|unimplemented)!|(=>\s*)?"
    rb"((?-i:[A-Z_]{3,}\()|throw\b|panic!|fatalError\(|preconditionFailure\(|die\b|return\s+(Promise\.reject|Err)\()"
    rb"[^\n]{0,120}?(not[ _]?(yet )?(been )?(implemented|supported)|UnsupportedOperation"
    rb"|must be (implemented|overridden)|TODO)",
    re.IGNORECASE,
)
NOTHING = (":", "true")  # of a shell: commands that do nothing


def _is_stub(node: Any, data: bytes, kinds: _Kinds) -> bool:
    """Whether a function only holds the place of one: nothing in its block, or that it is missing."""
    body = node.child_by_field_name("body")
    if any(one.type in INITIALISERS for one in node.children):
        return False
    statements = [one for one in body.named_children if one.kind_id not in kinds.comments]
    if len(statements) == 1 and statements[0].type == "statements":  # Swift
        statements = [one for one in statements[0].named_children if one.kind_id not in kinds.comments]
    if data[body.start_byte : body.start_byte + 1] != b"{":
        statements = [body]  # an expression
    if len(statements) != 1:
        return not statements
    (one,) = statements
    is_nothing = one.type == "command" and _text(one, data) in NOTHING
    return is_nothing or MISSING.match(data, one.start_byte, one.end_byte) is not None
