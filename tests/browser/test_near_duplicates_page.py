"""The page of near-duplicates in a browser: the band moves, filters narrow, a person decides on any pair."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

import jobs
from curation.pair_browser import Only, PairBrowser
from curation.pair_what_if import WhatIf
from curation.store import runs
from curation.workspace import Workspace
from tests.big_workspace import build
from tests.browser.driving import App, Visitor, click_cell, keyed, press, query_of, settled, text_of, wait_for

ROWS, PAIRS = 400, 1_500


@pytest.fixture(scope="module")
def app(apps: Callable[[Path], App], tmp_path_factory: pytest.TempPathFactory) -> App:
    folder = tmp_path_factory.mktemp("near") / "workspace"
    build(folder, ROWS, PAIRS).database.close()
    return apps(folder)


@pytest.fixture
def visitor(app: App, visitors: Callable[[App], Visitor]) -> Visitor:
    return visitors(app)


def browser_of(app: App) -> PairBrowser:
    opened = PairBrowser.open(Workspace(app.workspace))
    assert opened is not None
    return opened


def handle(page: Page, name: str) -> Locator:
    return page.get_by_role("slider", name=name)


def test_a_handle_tells_what_the_band_would_bring_and_stays_in_the_address(
    app: App, visitor: Visitor
) -> None:
    page = visitor.open("near-duplicates", view="Band")
    told = page.locator(".told")
    low, high = handle(page, "Ask from this cosine on"), handle(page, "Drop from this cosine on")
    expect(low).to_have_attribute("aria-valuenow", "0.80")
    expect(high).to_have_attribute("aria-valuenow", "0.88")

    low.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    expect(low).to_have_attribute("aria-valuenow", "0.75")  # told at once, before the server knows
    browser = browser_of(app)
    bands, at = WhatIf(browser).bands, (browser.steps.index(0.75), browser.steps.index(0.88))
    expect(told).to_contain_text(f"{browser.count(0.75, 0.88):,} pairs; {bands.gray[at]:,} rows in doubt")
    expect(told).to_contain_text(f"questions of {bands.questions[at]:,}, about")
    expect(told).to_contain_text(f"{bands.sure[at]:,} rows")
    wait_for(lambda: query_of(page).get("low") == "0.75")
    assert query_of(page)["high"] == "0.88"

    plot = page.locator(".plot").bounding_box()
    grip = high.locator(".grip").bounding_box()
    assert plot is not None and grip is not None
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] * (0.95 - 0.70) / 0.30, grip["y"], steps=5)
    expect(high).to_have_attribute("aria-valuenow", "0.95")
    page.mouse.up()
    wait_for(lambda: query_of(page).get("high") == "0.95")

    page.reload()
    settled(page)
    expect(handle(page, "Ask from this cosine on")).to_have_attribute("aria-valuenow", "0.75")
    expect(handle(page, "Drop from this cosine on")).to_have_attribute("aria-valuenow", "0.95")


def test_a_bar_opens_its_pairs(app: App, visitor: Visitor) -> None:
    page = visitor.open("near-duplicates", view="Band")
    page.locator("[data-bin='13']").click()
    wait_for(lambda: query_of(page).get("bin") == "0.83")
    settled(page)
    number = browser_of(app).count(0.83, 0.84)
    assert number > 0 and query_of(page)["view"] == "Pairs"
    expect(page.get_by_test_id("stMain")).to_contain_text(f"of {number:,}")
    press(page, "near_no_bin")
    wait_for(lambda: "bin" not in query_of(page))


def test_two_sources_are_opened_from_the_matrix(app: App, visitor: Visitor) -> None:
    page = visitor.open("near-duplicates", view="Sources")
    matrix = WhatIf(browser_of(app)).matrix(0.8)
    steps = page.evaluate("history.length")
    click_cell(page, "near_matrix", row=0, x=1000)
    wait_for(lambda: query_of(page).get("view") == "Pairs")
    asked = query_of(page)
    assert page.evaluate("history.length") == steps + 1, "one click is one step of Back"
    assert asked["source"] == matrix.sources[0] and asked["against"] in matrix.sources
    settled(page)
    number = browser_of(app).count(0.8, only=Only(asked["source"], asked["against"]))
    assert number == matrix.pairs[0, matrix.sources.index(asked["against"])]
    expect(page.get_by_test_id("stMain")).to_contain_text(f"of {number:,}")
    page.go_back()
    expect(keyed(page, "near_matrix")).to_be_visible()
    assert query_of(page) == {"view": "Sources"}


def test_another_threshold_lists_the_rows_it_moves(app: App, visitor: Visitor) -> None:
    page = visitor.open("near-duplicates", view="What if", t="0.75", moved="out")
    change = WhatIf(browser_of(app)).change(0.75)
    expect(page.get_by_test_id("stMain")).to_contain_text(f"Taken out: {len(change.lost):,}")
    expect(page.get_by_test_id("stMain")).to_contain_text(f"of {len(change.lost):,}")
    (first,) = WhatIf(browser_of(app)).moved(change.lost[:1].tolist(), 0.75)
    expect(page.locator("[data-item]")).to_have_attribute("data-item", f"{first.keeper.id}-{first.sample.id}")


def test_a_person_cuts_a_pair_that_nobody_was_asked_about(app: App, visitor: Visitor) -> None:
    page = visitor.open("near-duplicates", view="Pairs", decision="drop", order="most")
    browser = browser_of(app)
    line = browser.page(0.8, 1.0, "most", 0, 1, "drop")[0]
    ends = [line.left.seq, line.right.seq]
    assert sorted(browser.states_of(ends)) == ["dropped", "kept"]
    press(page, f"near_keep-both-{line.left.id}-{line.right.id}")
    expect(page.get_by_text("Saved.")).to_be_visible()
    after = browser_of(app)
    (again,) = [p for p in after.page(0.8, 1.0, "most", 0, 500) if [p.left.seq, p.right.seq] == ends]
    assert again.decision == "keep-both"
    visitor.open("near-duplicates", view="Pairs", decision="keep-both")
    expect(page.locator("[data-item]")).to_have_attribute("data-item", f"{line.left.id}-{line.right.id}")


def test_a_run_takes_the_band_and_the_rule_that_are_shown(app: App, visitor: Visitor) -> None:
    page = visitor.open("near-duplicates", view="Band", low="0.82", high="0.90")
    pick(page, "near_keep", "licence")
    press(page, "near_run")
    (asked,) = finished(app, 1)
    given = asked.settings
    assert (given["keep"], given["threshold"], given["ask_high"]) == ("licence", 0.82, 0.90), text_of(page)
    run = runs.current(Workspace(app.workspace).database, "near-duplicates")
    assert run is not None and (run.settings["keep"], run.settings["threshold"]) == ("licence", 0.82)


def pick(page: Page, key: str, option: str) -> None:
    """Choose from a box that may lie below the fold: it would close again while the page scrolls to it."""
    keyed(page, "near_run").scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    box = keyed(page, key)

    def is_shown() -> bool:
        return option in box.inner_text() or option in box.get_by_role("combobox").input_value()

    for _ in range(3):  # a page that is drawn anew meanwhile takes an open list away
        box.get_by_role("combobox").click()
        page.get_by_role("option", name=option).first.click()
        page.wait_for_timeout(300)
        settled(page)
        if is_shown():
            return
    raise AssertionError(f"{option} was not chosen in {key}")


def check(page: Page, text: str) -> None:
    """Tick a box or a radio button, and see that it is: a click beside a page that is being drawn is lost."""
    for _ in range(3):
        page.get_by_text(text).click()
        page.wait_for_timeout(300)
        settled(page)
        ticked = page.locator("label").filter(has_text=text).locator("input")
        if ticked.is_checked():
            return
    raise AssertionError(f"{text!r} was not ticked")


def finished(app: App, number: int) -> list[jobs.Job]:
    """Wait until so many jobs are through, and give them, the newest first: each has to be done."""
    wait_for(lambda: len(jobs.jobs(app.workspace)) == number and not jobs.active(app.workspace))
    found = jobs.jobs(app.workspace)
    assert [job.state for job in found] == ["done"] * number, [(job.message, job.settings) for job in found]
    return found


def test_a_run_takes_sources_and_second_opinions(app: App, visitor: Visitor) -> None:
    page = visitor.open("near-duplicates", view="Band")
    pick(page, "near_keep", "source")
    pick(page, "near_sources", "open_platypus.parquet")
    page.keyboard.press("Escape")
    check(page, "Compare words and code, too")
    press(page, "near_run")
    asked = finished(app, 2)[0].settings
    assert (asked["sources"], asked["opinions"]) == (["open_platypus.parquet"], True)
    page = visitor.open("near-duplicates", view="Opinions")
    expect(page.get_by_test_id("stMain")).to_contain_text("Both stay: missed by cosine")


def test_a_preset_is_started_with_nothing_but_its_name(app: App, visitor: Visitor) -> None:
    page = visitor.open("near-duplicates", view="Band")
    check(page, "Platypus paper: drop at 0.80")
    press(page, "near_run")
    assert finished(app, 3)[0].settings == {"preset": "paper"}
