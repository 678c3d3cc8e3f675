"""Words that try to steer whoever reads a text: a teacher, a judge, a reviewer, a model trained on it.

Replies and seeds are flagged, not changed (faults.md S26): a person looks, or the row waits. The rules
(curation/steering_phrases.py) are phrases, so what is worded otherwise passes; what holds against it are the
delimiters of curation/prompt.py and that no judge can clear a row that a detector found (S24).
Time grows with the length of the text, whatever it holds.
"""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice

from curation.hidden_characters import CONTROL, HIDDEN
from curation.redaction import redact
from curation.steering_phrases import RULES, rules_near

FLAGS = "1"  # goes up when flags_in() finds anything differently
HIDDEN_CHARACTERS, SECRET = "hidden_characters", "secret"
KINDS = tuple(dict.fromkeys([*(rule.kind for rule in RULES), HIDDEN_CHARACTERS, SECRET]))
MOST = 50  # finds of one rule in one text; whoever reads a text with more needs no more

# Every hidden or control character but the form feed, which parts pages of source code.
HIDDEN_RUN = re.compile(f"(?:{HIDDEN.pattern}|(?!\x0c){CONTROL.pattern})+")
PERSONAL = frozenset({"email", "ip_address"})  # what redaction finds that steers nobody

# Letters of other alphabets that look like ours, curly apostrophes, angles, full-width signs; one for one, so
# that places stay. A dotted capital I would become two characters in lower case.
NOT_ASCII = re.compile("[^\x00-\x7f]+")
LOOK_ALIKES = {
    **str.maketrans("\u0430\u0435\u0456\u0458\u043e\u0440", "aeijop"),
    **str.maketrans("\u0441\u0443\u0445\u0501\u0455\u04bb", "cyxdsh"),
    **str.maketrans("\u0410\u0412\u0415\u0406\u0408\u041a\u041c\u041d\u041e\u0420", "ABEIJKMHOP"),
    **str.maketrans("\u0421\u0422\u0423\u0425\u03bf\u03b1\u03b5\u03c5\u0261", "CTYXoaeug"),
    **str.maketrans("\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f", "ABEZHIKMNO"),
    **str.maketrans("\u03a1\u03a4\u03a5\u03a7\u0130\u2019\u2018\u02bc", "PTYXI'''"),
    **str.maketrans("\u2039\u203a\u2329\u232a\u3008\u3009", "<><><>"),
    **{0xFEE0 + code: code for code in range(0x21, 0x7F)},
}


@dataclass(frozen=True, slots=True)
class Flag:
    """A place that somebody should look at."""

    kind: str  # one of KINDS
    start: int  # offset in the text
    end: int


def flag_counts(*texts: str) -> dict[str, int]:
    """Count what these texts hold that tries to steer a reader, by kind."""
    return dict(Counter(flag.kind for text in texts for flag in flags_in(text)))


def flags_in(text: str) -> list[Flag]:
    """List what tries to steer a reader, by place; 50 a rule at most. Flags of one kind do not overlap."""
    plain = NOT_ASCII.sub(_looking_alike, text)
    lower = plain.lower()
    found = [
        Flag(rule.kind, *span)
        for rule in rules_near(lower)
        for span in islice(rule.spans(plain, lower), MOST)
    ]
    hidden = (run.span() for run in HIDDEN_RUN.finditer(text))
    found += [Flag(HIDDEN_CHARACTERS, *span) for span in islice(hidden, MOST)]
    secrets = (Flag(SECRET, start, end) for start, end, kind in redact(text).spans if kind not in PERSONAL)
    return _joined([*found, *islice(secrets, MOST)])


def _looking_alike(found: re.Match[str]) -> str:
    return found.group().translate(LOOK_ALIKES)


def _joined(flags: list[Flag]) -> list[Flag]:
    """Make one flag of those that overlap and are of one kind."""
    joined: list[Flag] = []
    for flag in sorted(flags, key=lambda flag: (flag.kind, flag.start, flag.end)):
        if joined and joined[-1].kind == flag.kind and flag.start < joined[-1].end:
            flag = Flag(flag.kind, joined[-1].start, max(joined.pop().end, flag.end))
        joined.append(flag)
    return sorted(joined, key=lambda flag: (flag.start, flag.end, flag.kind))
