"""From an empty folder to a frozen, downloaded set, by clicks and keys alone; then a dropped row put back."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

import jobs
from curation import review
from curation.store import samples
from curation.workspace import Workspace
from tests.browser.driving import App, Visitor, download, keyed, press, settled, text_of, type_into
from tests.faults import finish
from tests.workspaces import TASKS, small_set, write_jsonl

LONG = 120_000  # milliseconds a job with the real model may take on a busy machine
LOOK = 450  # milliseconds a person looks at a case; a sooner press counts for nothing
PAIR_KEYS = "1243"  # keep left, keep right, drop both; from then on keep both: no verdict contradicts another
CONTENT = 20  # rows of the small set that are left of 24: two cannot be used, two repeat others

# Two tasks that rows of the set repeat, and one that nothing resembles. A shared string of 50 signs and
# more drops a row (TASKS[3]); a shorter one asks about it (TASKS[5]).
BENCHMARK = (
    {"task_id": "Bench/0", "prompt": TASKS[3], "canonical_solution": "return re.compile(PATTERN)"},
    {"task_id": "Bench/1", "prompt": TASKS[5], "canonical_solution": "return celsius * 9 / 5 + 32"},
    {"task_id": "Bench/2", "prompt": "Fold proteins", "canonical_solution": "return fold(protein)"},
)


def test_a_set_is_made_by_clicks_and_keys_alone(
    apps: Callable[[Path], App], visitors: Callable[[App], Visitor], tmp_path: Path
) -> None:
    app = apps(tmp_path / "workspace")
    visitor = visitors(app)
    page = visitor.page

    begin(visitor)
    import_by_upload(page, write_jsonl(tmp_path / "small.jsonl", small_set()))
    clean(page)
    near_duplicates(page)
    contamination(page, write_jsonl(tmp_path / "bench.jsonl", list(BENCHMARK)))
    answer_all(page, app.workspace)
    check_what_came_back(page, app.workspace)
    frozen = freeze(page)
    exported(page, tmp_path, frozen)
    counts_are_those_of_the_command_line(visitor)
    a_dropped_row_is_put_back(visitor)


def reads(page: Page, text: str | re.Pattern[str], limit: int = LONG) -> None:
    """Wait until the page says something."""
    expect(page.get_by_test_id("stMain")).to_contain_text(text, timeout=limit)
    settled(page)


def metric(page: Page, label: str) -> int:
    """Give the number that stands under a label."""
    found = page.get_by_test_id("stMetric").filter(has_text=re.compile(rf"^{label}"))
    return int(found.get_by_test_id("stMetricValue").inner_text().replace(",", ""))


def begin(visitor: Visitor) -> None:
    """An empty workspace offers both ways to begin; the person takes the second."""
    page = visitor.open()
    expect(keyed(page, "overview_example")).to_be_visible()
    reads(page, "no gain")
    page.get_by_test_id("stMain").get_by_role("link", name="Import my data").click()
    expect(page).to_have_url(re.compile("/import"))
    settled(page)


def import_by_upload(page: Page, file: Path) -> None:
    page.locator("input[type=file]").set_input_files(str(file))
    reads(page, "The first three rows, as they will be read")
    for number, row in enumerate(small_set()[:3]):
        reads(page, row["instruction"])
        reads(page, f"Answer to task {number}")
    assert small_set()[3]["instruction"] not in text_of(page)  # three and no more
    type_into(page, "import_name", "small")
    type_into(page, "import_licence", "MIT")
    press(page, "import_start")
    reads(page, "22 rows usable, 22 new, 2 unusable")
    page.locator("summary", has_text="could not be used").click()
    page.get_by_role("link", name="Next: drop exact duplicates").click()


def clean(page: Page) -> None:
    press(page, "clean_run")
    reads(page, "exact duplicate")
    assert (metric(page, "Rows in"), metric(page, "Kept"), metric(page, "Dropped")) == (22, CONTENT, 2)
    page.get_by_role("link", name="Next: near-duplicates").click()


def near_duplicates(page: Page) -> None:
    press(page, "near_run")
    reads(page, "Band and settings")
    pending = metric(page, "Pending")
    assert pending > 0, "this set has gray pairs, so something must be asked"
    assert metric(page, "Rows in") == CONTENT
    assert metric(page, "Kept") + metric(page, "Dropped") + pending == CONTENT
    expect(page.locator("[data-item]")).to_be_visible()  # the first pair, side by side


def contamination(page: Page, file: Path) -> None:
    page.get_by_test_id("stSidebar").get_by_role("link", name="Contamination").click()
    expect(keyed(page, "contamination_name")).to_be_visible()
    type_into(page, "contamination_name", "small-bench")
    page.locator("input[type=file]").set_input_files(str(file))
    expect(keyed(page, "contamination_add").get_by_role("button")).to_be_enabled()
    press(page, "contamination_add")
    press(page, "contamination_run")
    reads(page, "Run again, or against other benchmarks")
    assert metric(page, "Dropped") == 1 and metric(page, "Pending") >= 1
    expect(page.locator("[data-item]")).to_be_visible()


def answer_all(page: Page, workspace: Path) -> None:
    """Answer every question by a key after a look at it; take the first answer back once."""
    page.get_by_test_id("stSidebar").get_by_role("link", name="Review").click()
    asked = review.counts(Workspace(workspace))["open"]
    assert asked >= 3
    cast, undone = 0, False
    while (case := next_case(page)) is not None:
        page.wait_for_timeout(LOOK)
        pair = keyed(page, "verdicts").get_by_role("button", name="Keep both").is_visible()
        page.keyboard.press(PAIR_KEYS[min(cast, 3)] if pair else "5")
        cast += 1
        expect(page.locator(f'[data-item="{case}"]')).to_have_count(0)
        if not undone:
            undone, cast = True, 0
            page.keyboard.press("U")
            expect(page.locator(f'[data-item^="{case.partition("@")[0]}@"]')).to_be_visible()
        assert cast < 40, "the queue does not end"
    counts = review.counts(Workspace(workspace))
    assert (counts["open"], counts["disputed"], counts["settled"]) == (0, 0, cast)


def check_what_came_back(page: Page, workspace: Path) -> None:
    """Verdicts brought rows back that contamination never saw: the set cannot be frozen until it did."""
    page.get_by_role("link", name="Next: freeze the set").click()
    reads(page, "Contamination is stale")
    page.get_by_role("link", name="To contamination").click()
    reads(page, "Run again, or against other benchmarks")
    page.locator("summary", has_text="Run again, or against other benchmarks").click()
    press_until_it_runs(page, workspace)
    expect(page.get_by_text("Stale:")).to_have_count(0, timeout=LONG)
    page.get_by_test_id("stSidebar").get_by_role("link", name="Review").click()
    while next_case(page) is not None:
        page.wait_for_timeout(LOOK)
        page.keyboard.press("4")
        page.wait_for_timeout(LOOK)
    assert review.counts(Workspace(workspace))["open"] == 0


def press_until_it_runs(page: Page, workspace: Path) -> None:
    """Start the check again: a click that lands while the form is drawn anew can be lost."""
    before = len(jobs.jobs(workspace))
    for _ in range(5):
        press(page, "contamination_run")
        page.wait_for_timeout(2_000)
        if len(jobs.jobs(workspace)) > before:
            return
    raise AssertionError("the check did not start")


def next_case(page: Page) -> str | None:
    """Wait for a case and name it; None when nothing is left to ask."""
    settled(page)
    expect(page.locator("[data-item]").or_(page.get_by_text("Nothing is left to ask"))).to_be_visible()
    shown = page.locator("[data-item]")
    return shown.get_attribute("data-item") if shown.count() else None


def freeze(page: Page) -> int:
    """Freeze v1 and give its rows."""
    page.get_by_role("link", name="Next: freeze the set").click()
    expect(keyed(page, "freeze_name")).to_be_visible()
    said = re.search(r"The version will hold (\d+) rows", text_of(settled(page)))
    type_into(page, "freeze_name", "v1")
    press(page, "freeze_start")
    reads(page, "frozen 20")
    assert said is not None and metric(page, "Rows") == int(said[1]) > 5
    return int(said[1])


def exported(page: Page, folder: Path, rows: int) -> None:
    press(page, "export_start")
    reads(page, f"{rows} rows exported")
    download(page, "export_download", folder / "v1.zip")
    with zipfile.ZipFile(folder / "v1.zip") as packed:
        names = {name.rsplit("/", 1)[-1]: name for name in packed.namelist()}
        assert "README.md" in names
        lines = [
            json.loads(line)
            for name in packed.namelist()
            if name.endswith(".jsonl")
            for line in packed.read(name).decode().splitlines()
        ]
    assert len(lines) == rows
    assert {message["role"] for line in lines for message in line["messages"]} >= {"user", "assistant"}
    assert TASKS[3] not in json.dumps(lines)  # the row that gave a benchmark task away


def counts_are_those_of_the_command_line(visitor: Visitor) -> None:
    page = visitor.open()
    status: dict[str, Any] = finish(visitor.app.workspace, "status")
    shown = text_of(page)
    for stage in status["stages"].values():
        line = "{in} in = {kept} kept + {dropped} dropped + {pending} pending".format(**stage)
        assert line in shown, (line, shown)
    assert metric(page, "Samples") == status["samples"] == 22
    assert metric(page, "Open questions") == status["review"]["open"] == 0
    assert metric(page, "Frozen versions") == len(status["versions"]) == 1


def a_dropped_row_is_put_back(visitor: Visitor) -> None:
    """The shorter answer to task 4 was dropped by `clean`: its page says why and names the row that stays."""
    db = Workspace(visitor.app.workspace).database
    rows = {row.response: row.id for row in samples.stream(db, ("id", "instruction", "response"))}
    shorter = small_set()[4]["output"].strip()
    dropped = next(id for response, id in rows.items() if response.strip() == shorter)
    keeper = next(id for response, id in rows.items() if "the longer answer" in response)
    page = visitor.open("row", id=dropped)
    reads(page, "the longest response stays")
    expect(page.get_by_role("link", name=f"The row that stays: {keeper[:12]}")).to_be_visible()
    press(page, "rescue-clean")
    reads(page, "put back by a person")
    state = finish(visitor.app.workspace, "explain", dropped)["stages"][0]["state"]
    assert state == "pending"
