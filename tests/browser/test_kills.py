"""Tab, app and worker killed under a running job: the page tells the truth, the job comes to the same end."""

import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import jobs
from curation.clean import clean
from curation.import_samples import import_samples
from curation.workspace import Workspace
from tests.browser.driving import App, Visitor, keyed, press, settled, type_into, wait_for, worker_pid
from tests.faults import assert_clean, assert_equal_facts, copy_of, facts, finish, make_rows, write_rows

# Minutes of kills: `make faults` runs them; `make test` has those of tests/test_jobs.py.
pytestmark = pytest.mark.faults

RANDOM_SEED = 31
SOME = 60  # rows whose embedding takes seconds with the real model
MANY = 12_000  # rows whose import takes seconds
LONG = 150_000  # milliseconds
LIVE = re.compile("queued|running|interrupted")


def newest(app: App) -> jobs.Job:
    return jobs.jobs(app.workspace, limit=1)[0]


def tells_the_truth(app: App, page: Page) -> None:
    """Wait until the page shows the state that the job is in; it moves on, so both are read again."""

    def agrees() -> bool:
        state = newest(app).state
        card = keyed(page, f"job-{newest(app).id}")
        shown = card.inner_text() if card.count() else "done"
        return state in shown or (state == "done" and "running" not in shown)

    wait_for(agrees)


def test_a_job_survives_the_tab_the_app_and_its_worker(
    apps: Callable[[Path], App], visitors: Callable[[App], Visitor], tmp_path: Path
) -> None:
    rows = write_rows(make_rows(SOME, RANDOM_SEED), tmp_path / "rows.jsonl")
    workspace = Workspace(tmp_path / "workspace")
    import_samples(workspace, str(rows))
    clean(workspace)
    workspace.database.close()
    undisturbed = copy_of(tmp_path / "workspace", tmp_path / "undisturbed")
    app = apps(tmp_path / "workspace")
    visitor = visitors(app)

    page = visitor.open("near-duplicates")
    press(page, "near_run")
    expect(page.get_by_test_id("stMain")).to_contain_text(LIVE)
    page.close()
    page = visitor.with_a_fresh_tab().open("near-duplicates")
    expect(page.get_by_test_id("stMain")).to_contain_text(LIVE)
    tells_the_truth(app, page)

    wait_for(lambda: newest(app).state == "running")
    app.kill()
    assert jobs.worker_alive(app.workspace)
    app.start()
    page = visitor.open("jobs")
    tells_the_truth(app, page)
    assert newest(app).state in ("running", "interrupted"), "the job was through too soon"

    os.kill(worker_pid(app.workspace), signal.SIGKILL)
    page = visitor.open("near-duplicates")
    tells_the_truth(app, page)

    with ThreadPoolExecutor() as pool:
        told = pool.submit(finish, undisturbed, "near-duplicates")
        expect(page.get_by_test_id("stMain")).to_contain_text("Band and settings", timeout=LONG)
        assert told.result()["pairs"] > 0
    assert newest(app).state == "done" and len(jobs.jobs(app.workspace)) == 1
    assert_equal_facts(facts(app.workspace), facts(undisturbed))
    assert_clean(app.workspace)


def test_a_job_is_cancelled_and_resumed_by_buttons_and_told_when_its_worker_is_gone(
    apps: Callable[[Path], App], visitors: Callable[[App], Visitor], tmp_path: Path
) -> None:
    file = write_rows(make_rows(MANY, RANDOM_SEED), tmp_path / "rows.jsonl")
    app = apps(tmp_path / "workspace")
    page = visitors(app).open("import", **{"from": "Path on this machine"})
    type_into(page, "import_path", str(file))
    expect(page.get_by_test_id("stMain")).to_contain_text("The first three rows")
    press(page, "import_start")
    wait_for(lambda: bool(jobs.jobs(app.workspace, limit=1)) and newest(app).done > 0)
    first = newest(app)
    keyed(page, f"cancel-{first.id}").get_by_role("button").click()
    resume = keyed(page, f"resume-{first.id}").get_by_role("button")
    expect(resume).to_be_visible()
    tells_the_truth(app, page)
    assert 0 < facts_so_far(app) < MANY

    resume.click()
    wait_for(lambda: newest(app).id != first.id)
    settled(page)
    wait_for(lambda: newest(app).state in ("running", "done"))
    os.kill(worker_pid(app.workspace), signal.SIGKILL)
    tells_the_truth(app, page)  # the same tab, not reloaded: its timer finds out
    wait_for(lambda: newest(app).state == "done", LONG / 1000)
    expect(page.get_by_test_id("stMain")).to_contain_text(f"{facts_so_far(app):,} rows usable")
    finish(tmp_path / "undisturbed", "samples", "import", str(file))
    assert_equal_facts(facts(app.workspace), facts(tmp_path / "undisturbed"))
    assert_clean(app.workspace)


def facts_so_far(app: App) -> int:
    return len(facts(app.workspace)["samples"])
