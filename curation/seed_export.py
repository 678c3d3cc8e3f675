"""Seeds as JSON lines, each with where it comes from: for other tools, and for a teacher elsewhere."""

import json
from collections.abc import Sequence

from curation.store import seeds
from curation.workspace import Workspace

FIELDS = (
    "id", "text", "language", "source", "path", "first_line", "last_line", "licence", "licence_evidence",
    "method",
)  # fmt: skip


# What some readers of lines take for the end of one.
OTHER_LINE_ENDS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\u0085\u2028\u2029"}


def seeds_as_lines(workspace: Workspace, ids: Sequence[str]) -> bytes:
    """Give one JSON object a line for these seeds, in their order, in UTF-8."""
    lines = (
        json.dumps(
            {**{name: getattr(row, name) for name in FIELDS}, "document_sha256": row.document_hash},
            ensure_ascii=False,
        ).translate(OTHER_LINE_ENDS)
        for row in seeds.read(workspace.database, ids)
    )
    return b"".join(f"{line}\n".encode() for line in lines)
