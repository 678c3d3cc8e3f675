"""From rows to charts by clicks: measured as a job, a bar pressed, its rows beside the task they resemble."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import jobs
from curation.embedding import key_of
from curation.import_samples import Settings as ImportSettings
from curation.import_samples import import_samples
from curation.insight_browser import InsightBrowser, InsightLine, InsightQuery
from curation.insights import CATEGORIES
from curation.workspace import Workspace
from tests.browser.driving import (
    App,
    Visitor,
    click_cell,
    keyed,
    press,
    query_of,
    settled,
    text_of,
    type_into,
    wait_for,
)
from tests.browser.stores import keep_vectors, write_lines
from tests.browser.test_addresses import cells, choose

LONG = 60_000  # milliseconds a job may take on a busy machine
HOSTILE = "set <img src=x onerror=alert(1)> :red[x] [a](http://evil.example)"
TASKS = [
    {"task_id": "T/0", "prompt": "reverse the string", "canonical_solution": "return text[::-1]"},
    {"task_id": "T/1", "prompt": "search the list", "canonical_solution": "return low"},
]


def solution(n: int) -> str:
    code = ("return text[::-1] " if n % 3 else "pass ") * (1 + n % 4)
    return f"```{('python', 'sql')[n % 2]}\n{code}v{n}\n```"


@pytest.fixture(scope="module")
def app(apps: Callable[[Path], App], tmp_path_factory: pytest.TempPathFactory) -> App:
    """Forty rows in two sets; every solution has the vector of a category, so that no model is loaded."""
    folder = tmp_path_factory.mktemp("insights")
    workspace = Workspace(folder / "workspace")
    rows = [
        {"instruction": f"Task {n}: reverse the string " * (1 + n % 3), "output": solution(n)}
        for n in range(40)
    ]
    for name, part in (("plain", rows[:28]), (HOSTILE, rows[28:])):
        file = write_lines(part, folder / f"{len(part)}.jsonl")
        import_samples(workspace, str(file), ImportSettings(name))
    write_lines(TASKS, folder / "tasks.jsonl")
    directions = np.eye(384, dtype=np.float32)
    vectors = {key_of(name): directions[n] for n, name in enumerate(CATEGORIES)}
    keep_vectors(folder / "workspace", vectors | {key_of(solution(n)): directions[n % 3] for n in range(40)})
    return apps(folder / "workspace")


def shows(page: Page, text: str | re.Pattern[str], limit: int = LONG) -> None:
    expect(page.get_by_test_id("stMain")).to_contain_text(text, timeout=limit)
    settled(page)


def bars(page: Page, name: str) -> Locator:
    """Find the bars of a set's scores."""
    return page.locator("button.bar[data-score]").and_(page.locator(f"button.bar[data-name={name!r}]"))


def stored(app: App, query: InsightQuery) -> list[InsightLine]:
    browser = InsightBrowser.open(Workspace(app.workspace))
    assert browser is not None
    return browser.rows_of(query, size=100)[0]


# --- in the order of a person's work: each goes on where the one before it stopped ---


def test_all_rows_are_measured_beside_a_file(app: App, visitors: Callable[[App], Visitor]) -> None:
    page = visitors(app).open("insights")
    choose(page, "Benchmark", "another file")
    expect(keyed(page, "insights_run").get_by_role("button")).to_be_disabled()
    type_into(page, "insights_name", "small")
    type_into(page, "insights_path", "/nowhere/tasks.jsonl")
    shows(page, "There is no file '/nowhere/tasks.jsonl'")
    type_into(page, "insights_path", str(app.workspace.parent / "tasks.jsonl"))
    keyed(page, "insights_run").get_by_role("button").dblclick()
    shows(page, "Words shared with small")
    assert [(one.step, one.state) for one in jobs.jobs(app.workspace)] == [("insights", "done")]
    shows(page, "40 rows")
    for told in (HOSTILE, "Tokens of all-MiniLM-L6-v2 (WordPiece)", "The paper used INSTRUCTOR"):
        expect(page.get_by_text(told).first).to_be_visible()
    assert "Dashed" not in text_of(page), "no published means beside another benchmark"


def test_a_bar_of_each_chart_opens_its_rows(app: App, visitors: Callable[[App], Visitor]) -> None:
    page = visitors(app).open("insights")
    first = bars(page, "plain").first
    told, score = int(first.get_attribute("data-rows") or 0), first.get_attribute("data-score")
    assert told and score
    first.click()
    wait_for(lambda: query_of(page) == {"name": "plain", "score": score})
    shows(page, re.compile(rf"\b{told} row"))
    low, high = map(int, score.split("-"))
    lines = stored(app, InsightQuery(name="plain", score=(low, high)))
    assert len(lines) == told
    assert cells(page)[0] == lines[0].sample.instruction.strip()[:300]
    expect(bars(page, "plain").first).to_have_attribute("aria-pressed", "true")
    bars(page, "plain").first.click()  # the same again takes it away
    wait_for(lambda: query_of(page) == {})
    shows(page, "40 rows")

    for field, value, query in (
        ("category", CATEGORIES[1], InsightQuery(category=CATEGORIES[1])),
        ("language", "SQL", InsightQuery(language="SQL")),
        ("name", HOSTILE, InsightQuery(name=HOSTILE)),
    ):
        page.locator(f'button.row[data-field="{field}"]').filter(has_text=value).click()
        wait_for(lambda field=field, value=value: query_of(page) == {field: value})
        shows(page, f"{len(stored(app, query))} rows")
        press(page, "insights_clear")
        wait_for(lambda: query_of(page) == {})

    tokens = page.locator("button.bar[data-solution]")
    tokens.first.click()
    wait_for(lambda: "solution" in query_of(page))
    begin = query_of(page)["solution"].split("-")[0]
    tokens.last.click(modifiers=["Shift"])
    wait_for(lambda: query_of(page)["solution"] != f"{begin}-19")
    assert query_of(page)["solution"].split("-")[0] == begin
    shows(page, "40 rows")


def test_the_keyboard_walks_from_bar_to_bar_and_turns_no_page(
    app: App, visitors: Callable[[App], Visitor]
) -> None:
    page = visitors(app).open("insights")
    found = bars(page, "plain")
    found.first.focus()
    page.keyboard.press("ArrowRight")
    expect(found.nth(1)).to_be_focused()
    assert query_of(page) == {}
    score = found.nth(1).get_attribute("data-score")
    page.keyboard.press("Enter")
    wait_for(lambda: query_of(page) == {"name": "plain", "score": score})
    settled(page)
    expect(page.locator(f'button.bar[data-score="{score}"][data-name="plain"]')).to_be_focused()


def test_pages_and_a_click_lead_to_the_whole_row(app: App, visitors: Callable[[App], Visitor]) -> None:
    page = visitors(app).open("insights", sort="import")
    lines = stored(app, InsightQuery(sort="import"))
    shows(page, "1 to 25 of 40")
    press(page, "insights_next")
    shows(page, "26 to 40 of 40")
    assert cells(page)[0] == lines[25].sample.instruction.strip()[:300]
    click_cell(page, "insights_table", 2)
    wait_for(lambda: query_of(page).get("id") == lines[27].sample.id)
    settled(page)
    item = f"{lines[27].sample.id}-{lines[27].task.item}"
    expect(page.locator(f'.pair[data-item="{item}"]')).to_be_visible()
    page.reload()
    expect(page.locator(f'.pair[data-item="{item}"]')).to_be_visible()
    page.get_by_role("link", name="Everything about this row").click()
    expect(page).to_have_url(re.compile(f"/row.*{lines[27].sample.id}"))
    settled(page)
    page.go_back()
    settled(page)
    shows(page, "26 to 40 of 40")


def test_rows_that_came_since_are_told_and_measured_at_a_press(
    app: App, visitors: Callable[[App], Visitor]
) -> None:
    page = visitors(app).open("insights")
    new = [{"instruction": "One more", "output": "x"}, {"instruction": "Two more", "output": "y"}]
    workspace = Workspace(app.workspace)
    import_samples(
        workspace, str(write_lines(new, app.workspace.parent / "new.jsonl")), ImportSettings("plain")
    )
    page.reload()
    shows(page, "Stale: 2 rows came since")
    page.get_by_text("Run again, or beside another benchmark").click()
    keyed(page, "insights_categories").locator("label").click()
    settled(page)
    press(page, "insights_run")
    shows(page, "42 rows")
    shows(page, "Categories were left out of this run.")
    assert "Stale" not in text_of(page)
