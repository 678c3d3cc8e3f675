"""Training by clicks: Train is pressed twice, one run begins, and its page shows it to its end."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import jobs
from curation.workspace import Workspace
from tests.browser.driving import App, Visitor, keyed, settled, text_of
from tests.lora_workspace import trained_workspace
from training import run as runs

# Most of a minute of real training: `make faults` runs it, so that the browser's suite stays under five
# minutes; `make test` has the pages in tests/test_pages.py and the runs in tests/test_lora.py.
pytestmark = pytest.mark.faults

CHANGES = {"max_steps": "6", "batch": "4", "micro_batch": "4", "eval_every": "3", "save_every": "3"}
LONG = 60_000  # milliseconds: torch is loaded meanwhile


@pytest.fixture(scope="module")
def app(apps: Callable[[Path], App], tmp_path_factory: pytest.TempPathFactory) -> App:
    return apps(trained_workspace(tmp_path_factory.mktemp("training") / "workspace", 30).folder)


def test_two_clicks_start_one_run_and_its_page_shows_it_to_its_end(
    app: App, visitors: Callable[[App], Visitor]
) -> None:
    page = visitors(app).open("train", **{f"set_{name}": value for name, value in CHANGES.items()})
    expect(page.get_by_text("Advanced (5 changed)")).to_be_visible()
    keyed(page, "train_start").get_by_role("button").dblclick()
    expect(page).to_have_url(re.compile(r"/run\?run=v1-practice-1"), timeout=LONG)
    expect(page.get_by_test_id("stMain")).to_contain_text("finished", timeout=LONG)
    settled(page)

    shown_to_its_end(page)
    workspace = Workspace(app.workspace)
    assert [one.name for one in runs.runs(workspace)] == ["v1-practice-1"]
    assert [job.step for job in jobs.jobs(app.workspace)] == ["train"]
    settings_are_told(page)
    another_is_one_click_away(page)


def shown_to_its_end(page: Page) -> None:
    """The numbers and the curves of all six steps stand there, and nothing can be stopped any more."""
    assert "6 of 6" in text_of(page)
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(5)
    for key in ("run_stop", "run_discard", "run_resume"):
        expect(keyed(page, key)).to_have_count(0)


def settings_are_told(page: Page) -> None:
    page.get_by_role("radio", name="Settings").click()
    settled(page)
    expect(page).to_have_url(re.compile("show=Settings"))
    expect(page.get_by_test_id("stMain")).to_contain_text("Frozen when the run was started")


def another_is_one_click_away(page: Page) -> None:
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    settled(page)
    page.get_by_role("link", name="Train another").click()
    expect(keyed(page, "train_start")).to_be_visible()
