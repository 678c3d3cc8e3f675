"""Seeds by number, and a teacher that answers in the two sections; as a program, that teacher by itself."""

import sys
import time
from typing import Any

from curation.records import SeedSnippet, digest
from tests.loopback_teacher import loopback_teacher, prompt_hash

LANGUAGES = ("Python", "Java", "Rust", "C++")


def made_up_seeds(number: int) -> list[SeedSnippet]:
    """Give so many seeds; the first ones are the same whatever the number."""
    return [
        SeedSnippet(
            id=digest("made up", str(one)),
            document_hash=digest("document", str(one)) * 2,
            first_line=one + 1,
            last_line=one + 3,
            text=f"def step_{one}(x):\n    # part {one}\n    return x + {one}\n",
            language=LANGUAGES[one % len(LANGUAGES)],
            source=f"package-{one % 7}==1.0",
            path=f"src/part_{one}.py",
            licence="MIT",
            licence_evidence="expression",
            method="magicoder",
        )
        for one in range(number)
    ]


def in_sections(body: dict[str, Any]) -> str:
    """Answer as OSS-Instruct asks, differently for every prompt."""
    name = prompt_hash(body.get("messages"))
    return (
        f"[Problem Description]\nWrite a function `answer_{name}` that gives its own name.\n\n"
        f"[Solution]\n```python\ndef answer_{name}() -> str:\n    return {name!r}\n```\n"
    )


if __name__ == "__main__":
    with loopback_teacher(in_sections, delay=float(sys.argv[1])) as teacher:
        sys.stdout.write(f"{teacher.base_url}\n")
        sys.stdout.flush()
        time.sleep(teacher.seconds)
