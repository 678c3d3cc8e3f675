"""Status: where every row is. In each stage, rows in = kept + dropped + pending."""

from typing import Any

from curation import review
from curation.assemble import stale_rows
from curation.store import decisions, runs, sample_words, samples, seeds, versions
from curation.workspace import Workspace


def status(workspace: Workspace) -> dict[str, Any]:
    """Count rows by stage, questions, versions; say what is stale, running or was cut short."""
    db = workspace.database
    files = samples.files(db)
    with db.reading() as connection:
        words = sample_words.counts(connection)
    return {
        "seeds": seeds.count(db),
        "samples": samples.count(db),
        "words": words,  # samples that people accept and reject, whatever the stages made of them so far
        "files": [_file(workspace, file) for file in files],
        "stages": {stage: _stage(workspace, stage) for stage in runs.ORDER},
        "review": review.counts(workspace),
        "versions": [
            {"name": name, "rows": version.rows, "sha256": version.sha256}
            for name in versions.names(db)
            if (version := versions.find(db, name)) is not None
        ],
        "running": [
            {
                "stage": run.stage,
                "what": run.progress_what,
                "done": run.progress_done,
                "total": run.progress_total,
            }
            for run in runs.running(db)
        ],
    }


def _file(workspace: Workspace, file: Any) -> dict[str, Any]:
    with workspace.database.reading() as connection:
        rejected = decisions.file_rejections(connection, file.hash)
    imported = samples.count_of_file(workspace.database, file.hash)
    return {
        "source": file.source,
        "name": file.name,
        "state": file.state,
        "rows": imported + sum(rejected.values()),
        "imported": imported,
        "rejected": rejected,
        "hash": file.hash,
    }


def _stage(workspace: Workspace, stage: str) -> dict[str, Any]:
    db = workspace.database
    run = runs.current(db, stage)
    if run is None:
        return {"ran": False}
    with db.reading() as connection:
        counts = decisions.state_counts_of(connection, run.id)
        reasons = decisions.rejection_counts(connection, run.id)
    return {
        "ran": True,
        **counts,
        "reasons": reasons,
        "stale": stale_rows(workspace, stage),
        "settings": run.settings,
    }
