"""Views live in the address: a reload and the back button show the same rows again."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from curation.clean import clean
from curation.import_samples import import_samples
from curation.near_duplicates import near_duplicates
from curation.pair_settings import Settings
from curation.workspace import Workspace
from tests.browser.driving import (
    App,
    Visitor,
    click_cell,
    keyed,
    press,
    query_of,
    settled,
    type_into,
    wait_for,
)
from tests.faults import keep_made_up_vectors, make_rows, write_rows

RANDOM_SEED = 7
ROWS = 600  # a search for a common word finds several pages


@pytest.fixture(scope="module")
def app(apps: Callable[[Path], App], tmp_path_factory: pytest.TempPathFactory) -> App:
    folder = tmp_path_factory.mktemp("addresses")
    rows = make_rows(ROWS, RANDOM_SEED)
    workspace = Workspace(folder / "workspace")
    import_samples(workspace, str(write_rows(rows, folder / "rows.jsonl")))
    clean(workspace)
    keep_made_up_vectors(rows, workspace.folder, RANDOM_SEED)
    near_duplicates(workspace, Settings(budget=5))
    return apps(workspace.folder)


def cells(page: Page) -> list[str]:
    """Read a table by what it tells screen readers, once it has come to rest."""
    page.wait_for_timeout(300)
    shown = page.get_by_test_id("data-grid-canvas").first.locator("[role=gridcell]")
    expect(shown.first).to_be_attached()
    return shown.all_text_contents()[:12]


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option).first.click()
    settled(page)


def test_search_facet_order_and_page_of_samples_survive_reload_and_back(
    app: App, visitors: Callable[[App], Visitor]
) -> None:
    page = visitors(app).open("samples")
    everything = cells(page)
    type_into(page, "query_search", "in")
    choose(page, "Where it is", "kept")
    choose(page, "Sort", "Longest instruction first")
    first_page = cells(page)
    press(page, "samples_next")
    wait_for(lambda: "after" in query_of(page))
    wait_for(lambda: cells(page) != first_page)
    seen, asked = cells(page), query_of(page)
    assert {name: asked[name] for name in ("search", "place", "sort")} == {
        "search": "in",
        "place": "kept",
        "sort": "instruction-long",
    }
    assert seen != everything

    page.reload()
    settled(page)
    wait_for(lambda: cells(page) == seen)
    assert query_of(page) == asked
    expect(keyed(page, "query_search").get_by_role("textbox")).to_have_value("in")

    click_cell(page, "samples_table", row=2)
    page.wait_for_url("**/row?*")
    settled(page)
    page.go_back()
    page.wait_for_url("**/samples?*")
    settled(page)
    found = query_of(page)
    assert found.pop("id") and found == asked  # Streamlit leaves the row's id in the list's address
    wait_for(lambda: cells(page) == seen)
    click_cell(page, "samples_table", row=1)  # and another row opens from there
    page.wait_for_url("**/row?*")
    settled(page)
    page.get_by_role("link", name="Back to the list").click()
    page.wait_for_url("**/samples?*")
    settled(page)
    wait_for(lambda: cells(page) == seen)


def test_threshold_and_open_pair_survive_a_reload(app: App, visitors: Callable[[App], Visitor]) -> None:
    page = visitors(app).open("near-duplicates", t="0.85", view="Pairs")
    shown = page.locator("[data-item]")
    first = shown.get_attribute("data-item")
    click_cell(page, "near_pairs_0", row=3)
    expect(shown).not_to_have_attribute("data-item", str(first))
    settled(page)
    asked, pair = query_of(page), shown.get_attribute("data-item")
    assert (asked["t"], asked["open"]) == ("0.85", "3")

    page.reload()
    settled(page)
    expect(shown).to_have_attribute("data-item", str(pair))
    assert query_of(page) == asked
    expect(page.get_by_role("slider").first).to_have_value("0.85")

    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowRight")
    wait_for(lambda: query_of(page).get("t") == "0.86")
    assert "open" not in query_of(page)  # another list: its first pair is shown


def test_a_question_is_found_again_by_its_address(app: App, visitors: Callable[[App], Visitor]) -> None:
    page = visitors(app).open("review")
    press_right(page)
    asked, case = query_of(page), page.locator("[data-item]").get_attribute("data-item")
    page.reload()
    settled(page)
    expect(page.locator("[data-item]")).to_have_attribute("data-item", str(case))
    assert query_of(page) == asked
    page.go_back()
    settled(page)
    expect(page.locator("[data-item]")).not_to_have_attribute("data-item", str(case))


def press_right(page: Page) -> None:
    """Skip a case by key and wait for the next."""
    first = page.locator("[data-item]").get_attribute("data-item")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-item]")).not_to_have_attribute("data-item", str(first))
    settled(page)


def test_a_bar_of_the_funnel_opens_its_rows(app: App, visitors: Callable[[App], Visitor]) -> None:
    page = visitors(app).open()
    page.locator('path[aria-label*="Near-duplicates; What: dropped"]').first.click(force=True)
    wait_for(lambda: query_of(page).get("place") == "dropped")
    settled(page)
    assert query_of(page)["stage"] == "near-duplicates"
    assert cells(page) != []
