"""Seeds as JSON lines, each with where it comes from: for other tools, and for a teacher elsewhere."""

import json
from collections.abc import Sequence

from curation.store import seeds
from curation.workspace import Workspace

FIELDS = (
    "id", "text", "language", "source", "path", "first_line", "last_line", "licence", "licence_evidence",
    "method",
)  # fmt: skip


def seeds_as_lines(workspace: Workspace, ids: Sequence[str]) -> bytes:
    """Give one JSON object a line for these seeds, in their order, in UTF-8."""
    lines = [
        json.dumps(
            {**{name: getattr(row, name) for name in FIELDS}, "document_sha256": row.document_hash},
            ensure_ascii=False,
        )
        for row in seeds.read(workspace.database, ids)
    ]
    return "".join(f"{line}\n" for line in lines).encode()
