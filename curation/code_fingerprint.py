"""Code without its names: what is left when whoever copied it renamed everything.

Names, numbers and strings become one word each and comments go; key words and operators stay. The result is
a text of words that `document_twins` compares as it compares any other (JPlag and MOSS compare such token
streams, too; the 5-grams are document_twins' own).
"""

import re

FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)
# Words that programs are made of, in many languages. Those that others use as names (left, order, type) are
# not among them: what was renamed must stay the same.
KEY_WORDS = frozenset(
    re.findall(
        r"\w+",
        "abstract and as assert async await break case catch class const continue def del delete do elif "
        "else elseif elsif enum esac except export extends extern finally fn for foreach from func function "
        "go goto if impl implements import in instanceof interface into is join lambda let mut new nil none "
        "not null or package pass private protected pub public raise require return select self static "
        "struct super switch then this throw throws trait true false try typedef typeof unless until use "
        "var virtual void when where while with yield",
    )
)
TOKEN = re.compile(
    r"(?P<comment>//[^\n]*|\#(?![\[!{])[^\n]*|/\*.*?(?:\*/|\Z)|--[ \t][^\n]*)"
    r"|(?P<string>\"\"\".*?(?:\"\"\"|\Z)|'''.*?(?:'''|\Z)|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?|`[^`\n]*`)"
    r"|(?P<number>\d[\w.]*)"
    r"|(?P<word>[^\W\d]\w*)"
    r"|(?P<sign>[^\w\s])",
    re.DOTALL,
)
LEAST_SIGNS = 0.2  # of the tokens of a text without fences: below, it is prose, and prose has few signs
LEAST_TOKENS = 30  # shorter programs look alike once their names are gone


def fingerprint(response: str) -> str:
    """Give the code of a response as words without names; "" when it holds no code, or too little to tell."""
    blocks = [found[2] for found in FENCED.finditer(response)]
    words = _words("\n".join(blocks) if blocks else response)
    signs = sum(word.startswith("sign") for word in words)
    if len(words) < LEAST_TOKENS or (not blocks and signs < LEAST_SIGNS * len(words)):
        return ""
    return " ".join(words)


def _words(code: str) -> list[str]:
    found = []
    for token in TOKEN.finditer(code):
        kind = token.lastgroup
        if kind == "comment":
            continue
        if kind == "word":
            lower = token[0].lower()
            found.append(lower if lower in KEY_WORDS else "name")
        else:
            found.append(f"sign{ord(token[0])}" if kind == "sign" else str(kind))
    return found
