"""From a folder of code to seeds by clicks: cuts seen beforehand, views in the address, exports, rescue."""

import gzip
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

import jobs
from curation.store import seed_browsing
from curation.store.seed_browsing import DocumentQuery, SeedQuery
from curation.workspace import Workspace
from tests.browser.driving import (
    App,
    Visitor,
    click_cell,
    download,
    keyed,
    press,
    query_of,
    settled,
    text_of,
    type_into,
    wait_for,
)
from tests.browser.test_addresses import cells, choose
from tests.seed_projects import MIT, source_of, write_project

LONG = 60_000  # milliseconds a harvest may take on a busy machine
PATH_BOX = "harvest_Path-on-this-machine"
# What a card of code shows: its title, and of each line its number, its text and whether it stands out.
CARDS = """() => {
  const found = [];
  const walk = root => { for (const e of root.querySelectorAll('*')) {
    if (e.classList.contains('card')) found.push({
      title: e.querySelector('.head b').textContent,
      note: e.querySelector('.head .note').textContent,
      lines: [...e.querySelectorAll('.line')].map(l => ({
        number: +l.querySelector('.number').textContent,
        text: l.querySelector('.text').textContent,
        in: l.classList.contains('in'),
      })),
    });
    if (e.shadowRoot) walk(e.shadowRoot);
  } };
  walk(document);
  return found;
}"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("seeds") / "project")


@pytest.fixture(scope="module")
def app(apps: Callable[[Path], App], tmp_path_factory: pytest.TempPathFactory) -> App:
    return apps(tmp_path_factory.mktemp("seeds") / "workspace")


def shows(page: Page, text: str | re.Pattern[str], limit: int = LONG) -> None:
    expect(page.get_by_test_id("stMain")).to_contain_text(text, timeout=limit)
    settled(page)


def cards(page: Page, number: int = 1) -> list[dict[str, Any]]:
    wait_for(lambda: len(page.evaluate(CARDS)) >= number)
    found: list[dict[str, Any]] = page.evaluate(CARDS)
    return found


def marked(card: dict[str, Any]) -> list[dict[str, Any]]:
    return [line for line in card["lines"] if line["in"]]


def bar(page: Page, field: str, value: str) -> Locator:
    return page.locator(f'button[data-field="{field}"][data-value="{value}"]')


def store(app: App) -> Workspace:
    return Workspace(app.workspace)


def stored(app: App, query: SeedQuery) -> list[dict[str, Any]]:
    """Give a view's seeds as the store has them, in its order."""
    with store(app).database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM seed").mappings().all()
    known = {row["id"]: dict(row) for row in rows}
    return [known[id] for id in seed_browsing.seed_ids(store(app).database, query)]


def downloaded(page: Page, key: str, file: Path) -> list[dict[str, Any]]:
    download(page, key, file)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def are_those(lines: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Compare an export with the store, field by field and in order."""
    names = ("id", "text", "language", "source", "path", "first_line", "last_line", "licence",
             "licence_evidence", "method")  # fmt: skip
    assert [{name: line[name] for name in names} for line in lines] == [
        {name: row[name] for name in names} for row in rows
    ]
    assert [line["document_sha256"] for line in lines] == [row["document_hash"] for row in rows]


# --- the tests, in the order of a person's work: each goes on where the one before it stopped ---


def test_an_empty_workspace_says_what_to_do(app: App, visitors: Callable[[App], Visitor]) -> None:
    visitor = visitors(app)
    for name, told in (("seeds", "There are no seeds yet"), ("documents", "No document was harvested yet")):
        page = visitor.open(name)
        shows(page, told)
        page.get_by_role("link", name="Harvest seeds").click()
        expect(page).to_have_url(re.compile("/harvest"))
        settled(page)
    shows(page, "Nothing yet.")
    expect(keyed(page, "harvest_start").get_by_role("button")).to_be_disabled()


def test_cuts_are_seen_before_anything_is_harvested(
    app: App, visitors: Callable[[App], Visitor], project: Path
) -> None:
    page = visitors(app).open("harvest")
    type_into(page, PATH_BOX, str(project))
    shows(page, "12 documents of all 119 read")
    first = cards(page, 12)
    by_name = {file.name: file for file in project.rglob("*.*")}
    for card in first:
        name, _, span = card["title"].partition(":")
        begin, _, end = span.partition("-")
        lines = by_name[name].read_text().split("\n")
        wanted = list(range(int(begin), int(end or begin) + 1))
        assert [line["number"] for line in marked(card)] == wanted
        assert all(line["text"] == (lines[line["number"] - 1] or " ") for line in card["lines"])
    titles = [card["title"] for card in first]

    page.get_by_role("slider").last.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    wait_for(lambda: [card["title"] for card in cards(page, 12)] != titles)
    moved = [card["title"] for card in cards(page, 12)]
    keyed(page, "query_policy").get_by_role("radio", name="Whole functions").click()
    wait_for(lambda: query_of(page).get("policy") == "syntax")
    settled(page)
    wait_for(lambda: [card["title"] for card in cards(page, 12)] != moved)
    for card in cards(page, 12):
        text = marked(card)[0]["text"]
        assert re.match(r"def |int |export function |pub fn ", text), text
    page.reload()
    expect(keyed(page, "query_policy").get_by_role("radio", name="Whole functions")).to_be_checked()
    assert seed_browsing.seed_counts(store(app).database, SeedQuery()).total == 0, "looking keeps nothing"


def test_harvest_pressed_twice_is_one_job_and_tells_the_store_s_counts(
    app: App, visitors: Callable[[App], Visitor], project: Path
) -> None:
    page = visitors(app).open("harvest")
    type_into(page, PATH_BOX, str(project))
    shows(page, "12 documents of all 119 read")
    keyed(page, "harvest_start").get_by_role("button").dblclick()
    shows(page, re.compile(r"Harvest project: \d+ snippets of 120 documents"))
    assert [(one.step, one.state) for one in jobs.jobs(app.workspace)] == [("seeds", "done")]
    counted = seed_browsing.document_counts(store(app).database, DocumentQuery())
    seeds = seed_browsing.seed_counts(store(app).database, SeedQuery()).total
    assert f"{seeds} snippets of 120 documents" in text_of(page)
    assert counted.total == 120 and counted.facets["state"]["kept"] == seeds > 105
    page.get_by_role("link", name="Look at the seeds").click()
    expect(page).to_have_url(re.compile("/seeds"))
    shows(page, f"{seeds} seeds")


def test_bars_filter_and_the_address_says_so(app: App, visitors: Callable[[App], Visitor]) -> None:
    page = visitors(app).open("seeds")
    total = seed_browsing.seed_counts(store(app).database, SeedQuery())
    bar(page, "language", "Rust").click()
    wait_for(lambda: query_of(page) == {"language": "Rust"})
    shows(page, f"{total.facets['language']['Rust']} seeds")
    expect(bar(page, "language", "Rust")).to_have_attribute("aria-pressed", "true")
    expect(bar(page, "language", "Python")).to_be_visible()  # the others' counts stay in sight
    bar(page, "language", "Rust").click()
    wait_for(lambda: query_of(page) == {})
    shows(page, f"{total.total} seeds")

    bar(page, "lines", "3-3").click()
    wait_for(lambda: query_of(page) == {"lines": "3-3"})
    three = seed_browsing.seed_counts(store(app).database, SeedQuery(lines=(3, 3))).total
    shows(page, f"{three} seed")
    bar(page, "lines", "7-7").click(modifiers=["Shift"])
    wait_for(lambda: query_of(page) == {"lines": "3-7"})
    found = seed_browsing.seed_counts(store(app).database, SeedQuery(lines=(3, 7))).total
    shows(page, f"{found} seeds")
    assert three < found < total.total
    press(page, "seeds_clear")
    wait_for(lambda: query_of(page) == {})
    shows(page, f"{total.total} seeds")


def test_search_sort_and_pages_live_in_the_address(app: App, visitors: Callable[[App], Visitor]) -> None:
    visitor = visitors(app)
    page = visitor.open("seeds")
    type_into(page, "query_search", "item")
    choose(page, "Sort", "Most lines first")
    query = SeedQuery(search="item", sort="long")
    total = seed_browsing.seed_counts(store(app).database, query).total
    shows(page, f"1 to 50 of {total}")
    first = cells(page)
    press(page, "seeds_next")
    shows(page, f"51 to {min(100, total)} of {total}")
    asked, seen = query_of(page), cells(page)
    assert seen != first and {**asked, "after": ""} == {"search": "item", "sort": "long", "after": ""}
    page.reload()
    settled(page)
    wait_for(lambda: cells(page) == seen)
    other = visitor.open("seeds", visitor.tab(), **asked)
    wait_for(lambda: cells(other) == seen)
    other.close()
    assert query_of(page) == asked
    press(page, "seeds_previous")
    shows(page, f"1 to 50 of {total}")
    wait_for(lambda: cells(page) == first)


def stands_in_its_file(page: Page, row: dict[str, Any], project: Path) -> None:
    """The marked lines are those of the file on the disk, byte for byte."""
    wait_for(lambda: cards(page)[0]["title"] == row["path"])
    wanted = list(range(row["first_line"], row["last_line"] + 1))
    wait_for(lambda: [line["number"] for line in marked(cards(page)[0])] == wanted)
    lines = (project / row["path"]).read_bytes().splitlines(keepends=True)
    told = b"".join(lines[row["first_line"] - 1 : row["last_line"]])
    assert told == row["text"].encode()
    card = cards(page)[0]
    shown = [line["text"].encode() for line in marked(card)]
    assert shown == [line.rstrip(b"\n") or b" " for line in told.splitlines(keepends=True)]
    everything = (project / row["path"]).read_text().removesuffix("\n").split("\n")
    assert [line["text"] for line in card["lines"]] == [line or " " for line in everything]


def open_row(page: Page, row: int, id: str) -> None:
    """Click a row until its seed is open: a table that was just drawn may not listen yet."""
    for _ in range(10):
        click_cell(page, "seeds_table", row=row)
        with suppress(AssertionError):
            wait_for(lambda: query_of(page).get("seed") == id, 5)
            break
    settled(page)
    assert query_of(page).get("seed") == id


def test_a_row_opens_the_snippet_in_its_file(
    app: App, visitors: Callable[[App], Visitor], project: Path
) -> None:
    rows = stored(app, SeedQuery(language="C++"))
    page = visitors(app).open("seeds", language="C++")
    open_row(page, 3, rows[3]["id"])
    settled(page)
    stands_in_its_file(page, rows[3], project)
    press(page, "seeds_arrow_downward")
    stands_in_its_file(page, rows[4], project)
    assert query_of(page) == {"language": "C++", "seed": rows[4]["id"]}
    press(page, "seeds_arrow_upward")
    press(page, "seeds_arrow_upward")
    stands_in_its_file(page, rows[2], project)
    page.reload()
    settled(page)
    stands_in_its_file(page, rows[2], project)
    open_row(page, 3, rows[3]["id"])  # the row that was clicked first opens again


def test_exports_hold_just_what_was_asked_for(
    app: App, visitors: Callable[[App], Visitor], tmp_path: Path
) -> None:
    page = visitors(app).open("seeds", language="TypeScript", sort="long")
    rows = stored(app, SeedQuery(language="TypeScript", sort="long"))
    assert len(rows) > 20
    are_those(downloaded(page, "seeds_export", tmp_path / "all.jsonl"), rows)
    for number in (0, 4):  # their boxes stand before the first column
        click_cell(page, "seeds_table", row=number, x=12)
        settled(page)
    shows(page, "Export 2 ticked")
    are_those(downloaded(page, "seeds_export_ticked", tmp_path / "two.jsonl"), [rows[0], rows[4]])


def test_a_tick_or_click_belongs_to_its_seed_and_not_to_its_place(
    app: App, visitors: Callable[[App], Visitor], tmp_path: Path
) -> None:
    rows = stored(app, SeedQuery())
    page = visitors(app).open("seeds")
    click_cell(page, "seeds_table", row=1, x=12)
    settled(page)
    shows(page, "Export 1 ticked")
    open_row(page, 3, rows[3]["id"])
    press(page, "seeds_arrow_downward")  # the table is drawn anew, the tick is the same
    wait_for(lambda: query_of(page).get("seed") == rows[4]["id"])
    are_those(downloaded(page, "seeds_export_ticked", tmp_path / "one.jsonl"), [rows[1]])
    open_row(page, 3, rows[3]["id"])
    language = next(row["language"] for row in reversed(rows) if row["language"] != rows[1]["language"])
    bar(page, "language", language).click()
    wait_for(lambda: query_of(page) == {"language": language})
    settled(page)
    expect(keyed(page, "seeds_export_ticked")).to_have_count(0)


def test_a_near_copy_is_shown_beside_the_other_and_can_be_put_back(
    app: App, visitors: Callable[[App], Visitor]
) -> None:
    db = store(app).database
    before = seed_browsing.seed_counts(db, SeedQuery()).total
    ((row,), _) = seed_browsing.document_page(db, DocumentQuery(reason="near_duplicate_document"))
    page = visitors(app).open("documents", state="dropped")
    bar(page, "reason", "near_duplicate_document").click()
    wait_for(lambda: query_of(page).get("reason") == "near_duplicate_document")
    shows(page, "It is nearly a copy of another document that is used.")
    this, used = cards(page, 2)
    assert (this["title"], used["title"]) == ("This document", "The one that is used")
    different = [
        (one["text"], two["text"])
        for one, two in zip(this["lines"], used["lines"], strict=True)
        if one["text"] != two["text"]
    ]
    ((one, two),) = different
    assert sorted((one.replace("element", "item"), two.replace("element", "item"))) == [max(one, two)] * 2
    press(page, "documents_rescue")
    shows(page, "used, put back")
    shows(page, "me put it back")
    assert seed_browsing.seed_counts(db, SeedQuery()).total == before + 1
    page = visitors(app).open("seeds", search=row.path.rsplit("/", 1)[-1])
    shows(page, f"{row.path.rsplit('/', 1)[-1]}, lines")
    shows(visitors(app).open("seeds"), f"{before + 1} seeds")

    page = visitors(app).open("documents", document=str(row.seq))
    press(page, "documents_unrescue")
    shows(page, "left it out again")
    expect(keyed(page, "documents_rescue")).to_be_visible()
    assert seed_browsing.seed_counts(db, SeedQuery()).total == before
    shows(visitors(app).open("seeds"), f"{before} seeds")


def test_a_copy_is_refused_in_one_line(app: App, visitors: Callable[[App], Visitor]) -> None:
    page = visitors(app).open("documents", reason="same_document")
    press(page, "documents_rescue")
    alert = page.get_by_test_id("stAlertContentError")
    expect(alert).to_have_count(1)
    expect(alert).to_contain_text("An equal document is used already (project: core/")
    shows(page, "1 document")


# --- archives that mean harm ---


def packed(entries: list[tuple[str, bytes]], links: Sequence[tuple[str, str]] = ()) -> bytes:
    box = io.BytesIO()
    with tarfile.open(fileobj=box, mode="w:gz") as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, to in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, to
            archive.addfile(info)
    return box.getvalue()


def good_files(first: int, number: int = 6) -> list[tuple[str, bytes]]:
    files = [(f"good/{n}.py", source_of("Python", first + n).encode()) for n in range(number)]
    return [("good/LICENSE", MIT.encode()), *files]


def bomb() -> bytes:
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(20):
            archive.writestr(f"{n}.py", b"x = 1\n" * 2_000_000)
    return box.getvalue()


def climbing() -> bytes:
    harm = b"print('PWN')\n" * 20
    names = ("../climbed.py", "/tmp/absolute.py", "good/../../climbed_too.py", "C:\\windows.py")
    return packed(
        [*good_files(500), *((name, harm) for name in names)],
        [("good/passwd.py", "/etc/passwd"), ("good/up.py", "../../..")],
    )


def cut_off() -> bytes:
    return packed([*good_files(400), ("good/big.py", source_of("Python", 1, 90).encode())])[:-3_000]


UPLOADS: dict[str, tuple[str, Callable[[], bytes], str, bool]] = {
    "zip bomb": ("bomb.zip", bomb, "as archives do that are made to fill a disk", False),
    "climbing names": ("climbing.tar.gz", climbing, "6 documents of all 6 read", True),
    "cut off": ("short.tar.gz", cut_off, "documents of all", True),
    "no archive": ("photo.zip", lambda: b"\x89PNG\r\n\x1a\n" + bytes(5_000), "is neither tar", False),
    "no tar": ("x.tar.gz", lambda: gzip.compress(b"not a tar at all" * 99), "holds no tar", False),
}


@pytest.mark.parametrize("what", UPLOADS)
def test_a_hostile_upload_is_told_or_its_good_files_are_kept(
    app: App, visitors: Callable[[App], Visitor], tmp_path: Path, what: str
) -> None:
    name, make, told, is_harvested = UPLOADS[what]
    (tmp_path / name).write_bytes(make())
    outside = set(app.workspace.parent.iterdir())
    page = visitors(app).open("harvest", **{"from": "Upload"})
    page.locator("input[type=file]").set_input_files(str(tmp_path / name))
    shows(page, told)
    press(page, "harvest_start")
    if is_harvested:
        shows(page, re.compile(rf"Harvest {re.escape(name)}: \d snippets"))
        with store(app).database.reading() as connection:
            rows = connection.exec_driver_sql(
                f"SELECT path FROM document WHERE state = 'kept' AND source LIKE '{name.split('.')[0]}%'"
            ).all()
        assert len(rows) >= 4 and all(re.fullmatch(r"good/\d\.py", row.path) for row in rows)
    else:
        card = page.locator('[class*="st-key-job-"]').last  # two while the card is drawn anew
        expect(card).to_contain_text(f"Harvest {name}", timeout=LONG)
        expect(card).to_contain_text(told, timeout=LONG)
        assert jobs.jobs(app.workspace)[0].state == "failed"
    # Nothing was unpacked: the archive itself lies in the uploads, under a folder that its content names.
    (kept,) = app.workspace.rglob(name)
    assert kept.parent.parent == app.workspace / "uploads" and not list(app.workspace.rglob("*.py"))
    assert set(app.workspace.parent.iterdir()) == outside
    for escaped in ("climbed.py", "climbed_too.py", "absolute.py"):
        assert not list(app.workspace.parent.rglob(escaped)) and not Path("/tmp", escaped).exists()
    shows(visitors(app).open("seeds"), "seeds")
