"""Which licence a licence text is, by sentences that stand in no other.

The ids are those of the SPDX licence list; the sentences were tried on the 260 licence files of the
packages installed here. Only words count, so a text may be wrapped, quoted or
commented in any way. Two licences in one text are joined with AND: which of them holds for what is
not for us to guess.
"""

import re
from collections.abc import Iterator

TEXT_LIMIT = 400_000  # characters looked at; pyarrow's bundle of licences has 110,358

_WORDS = re.compile(r"[a-z0-9]+")

# Sentences that take away what the licence around them gives: such a text is none of those below.
_TAKEN_BACK = (
    "commons clause",
    "the license does not grant to you the right to sell",
    "shall be used for good not evil",  # JSON
    "business source license",
    "server side public license",
    "elastic license",
    "polyform",
    "hippocratic license",
    "for non commercial use only",
    "for noncommercial use only",
    "non commercial purposes only",
    "noncommercial purposes only",
    "no commercial use",
    "commercial use is prohibited",
)

# All sentences of a licence must be there; ids are SPDX.
_SENTENCES = {
    "Apache-2.0": ("apache license version 2 0 january 2004", "grant of patent license"),
    "Unlicense": ("this is free and unencumbered software released into the public domain",),
    "CC0-1.0": (
        "cc0 1 0 universal",
        "the laws of most jurisdictions throughout the world automatically confer exclusive copyright",
    ),
    "Zlib": (
        "in no event will the authors be held liable for any damages arising from the use of this software",
        "the origin of this software must not be misrepresented",
        "altered source versions must be plainly marked as such",
    ),
    "BSL-1.0": (
        "boost software license version 1 0",
        "any person or organization obtaining a copy of the software and accompanying documentation",
    ),
    "PSF-2.0": (
        "python software foundation license version 2",
        "psf is making python available to licensee on an as is basis",
    ),
    "MPL-1.1": ("mozilla public license version 1 1", "covered code"),
    "EPL-1.0": ("eclipse public license v 1 0", "contribution means"),
    "EPL-2.0": ("eclipse public license v 2 0", "contribution means"),
}
_MPL_2 = (
    "mozilla public license version 2 0 1 definitions",
    "subject to the terms of the mozilla public license v 2 0",
)
_APACHE_NOTICE = "licensed under the apache license version 2 0 the license you may not use this"
# A line instead of the text, as Dapper's License.txt has it.
_APACHE_LINE = re.compile(
    "licen[cs]ed under (the )?apache( licen[cs]e)?( version)? 2 0 https? www apache org licenses license 2 0"
)
_LLVM = "llvm exceptions to the apache 2 0 license"

_MIT = "permission is hereby granted free of charge to any person obtaining a copy of"
_MIT_NOTICE = re.compile(
    "the above copyright notice and this permission notice (including the next paragraph )?"
    "(shall|must) be included in all copies or substantial portions of the"
)
_MIT_GRANT = re.compile(
    "to deal in the \\w+ without restriction including without limitation the rights to use copy modify "
    "merge publish distribute sublicense and or sell copies"
)
_X11 = "shall not be used in advertising or otherwise to promote the sale"

_BSD = "redistribution and use in source and binary forms with or without modification are permitted"
_BSD_SECOND = "in binary form must reproduce the above copyright notice"
_BSD_NAMES = re.compile("(be used to|to) endorse or promote products derived from")
_BSD_ADVERTISING = "advertising materials mentioning features or use of this software must display"
_BSD_NO_PATENTS = "no express or implied licenses to any party s patent rights are granted"

_ISC = re.compile(
    "permission to use copy modify and (?:or )?distribute this software for any purpose with or without fee "
    "is hereby granted (provided that the above copyright notice and this permission notice appear in all)?"
)
# The text of Pillow, and with "prior" moved also HPND, which asks for the same.
_MIT_CMU = re.compile(
    "permission to use copy modify and distribute this software and its documentation for any purpose and "
    "without fee is hereby granted provided that the above copyright notice appears? in all copies"
)

# A full text begins with its name, its version and its date.
_GNU_TEXTS = {
    "GPL-1.0-only": "gnu general public license version 1 february 1989",
    "GPL-2.0-only": "gnu general public license version 2 june 1991",
    "GPL-3.0-only": "gnu general public license version 3 29 june 2007",
    "LGPL-2.0-only": "gnu library general public license version 2 june 1991",
    "LGPL-2.1-only": "gnu lesser general public license version 2 1 february 1999",
    "LGPL-3.0-only": "gnu lesser general public license version 3 29 june 2007",
    "AGPL-3.0-only": "gnu affero general public license version 3 19 november 2007",
}
_GNU_NOTICE = re.compile(
    "under the terms of (?:version \\d(?: \\d)? of )?the gnu (affero |lesser |library )?general public "
    "license(.{0,160})"
)
_GNU_FAMILY = {"affero ": "AGPL", "lesser ": "LGPL", "library ": "LGPL", "": "GPL"}


def licence_of_text(text: str) -> str | None:
    """Give the SPDX expression of a licence text, or None when no licence is recognised in it.

    A GNU text that does not say "or any later version" is read as "only", the stricter of the two.
    """
    words = " ".join(_WORDS.findall(text[:TEXT_LIMIT].lower()))
    if any(sentence in words for sentence in _TAKEN_BACK):
        return None
    found = sorted(set(_found(words)))
    return " AND ".join(found) or None


def _found(words: str) -> Iterator[str]:
    for name, sentences in _SENTENCES.items():
        if all(sentence in words for sentence in sentences):
            yield "Apache-2.0 WITH LLVM-exception" if name == "Apache-2.0" and _LLVM in words else name
    if (_APACHE_NOTICE in words or _APACHE_LINE.search(words)) and _LLVM not in words:
        yield "Apache-2.0"
    if any(sentence in words for sentence in _MPL_2):
        yield "MPL-2.0"
    yield from _mit(words)
    yield from _bsd(words)
    yield from _short_grants(words)
    yield from _gnu(words)


def _parts(words: str, opening: str) -> Iterator[str]:
    """Give what follows each place where a licence opens, up to the next such place."""
    _, *parts = words.split(opening)
    yield from parts


def _mit(words: str) -> Iterator[str]:
    for part in _parts(words, _MIT):
        if "to deal with the software without restriction" in part[:300]:
            yield "NCSA"
        elif _MIT_GRANT.search(part[:400]):
            if _X11 in part:
                yield "X11"
            else:
                yield "MIT" if _MIT_NOTICE.search(part) else "MIT-0"


def _bsd(words: str) -> Iterator[str]:
    for part in _parts(words, _BSD):
        if _BSD_SECOND not in part:
            yield "BSD-1-Clause" if "must retain the above copyright notice" in part[:200] else "BSD-variant"
        elif _BSD_ADVERTISING in part:
            yield "BSD-4-Clause"
        elif _BSD_NO_PATENTS in part:
            yield "BSD-3-Clause-Clear"
        else:
            yield "BSD-3-Clause" if _BSD_NAMES.search(part) else "BSD-2-Clause"


def _short_grants(words: str) -> Iterator[str]:
    for match in _ISC.finditer(words):
        yield "ISC" if match[1] else "0BSD"
    if _MIT_CMU.search(words):
        yield "MIT-CMU"


def _gnu(words: str) -> Iterator[str]:
    names = [name for name, title in _GNU_TEXTS.items() if title in words]
    yield from names
    if names:  # a full text holds an example of the notice below
        return
    for match in _GNU_NOTICE.finditer(words):
        family = _GNU_FAMILY[match[1] or ""]
        version = re.search(r"version (\d)(?: (\d))?\b", match[0])
        if version is None:
            yield f"{family}-1.0-or-later"  # "no version named: any", says section 9 of the GPL
            continue
        number = f"{version[1]}.{version[2] or 0}"
        later = "any later version" in match[0]
        yield f"{family}-{number}-{'or-later' if later else 'only'}"
