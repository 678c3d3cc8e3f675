"""Texts of strangers on every page: nothing runs, nothing is fetched, nothing poses as Winnow (S18-S21)."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import jobs
from curation import review
from curation.store import samples, seed_browsing
from curation.workspace import Workspace
from tests.browser.driving import PAGES, App, Visitor, keyed, settled, text_of, type_into, wait_for
from tests.browser.payloads import (
    ICON,
    RED,
    RTL,
    Listener,
    archive_of_payloads,
    corpus,
    listening,
    short,
    store_of_payloads,
)
from tests.browser.test_seeds import PATH_BOX

# Finds, shadow roots included, what can only have come out of a payload.
FOUND = """([icon, red, port]) => {
  const found = [];
  const own = e => [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join('').trim();
  const walk = root => { for (const e of root.querySelectorAll('*')) {
    const tag = e.localName, told = [...e.attributes].map(a => a.value).join(' ');
    const linked = ['src', 'href', 'srcdoc', 'action', 'onload', 'onerror', 'style'].map(
      n => e.getAttribute(n) || '').join(' ');
    const view = tag === 'a' && e.href.startsWith(location.origin + '/');  // ours, the text in its query
    if (view) continue;
    if (/PWN|evil[.]example|javascript:/.test(linked) || linked.includes(':' + port + '/')) found.push(e);
    else if (['iframe', 'object', 'embed'].includes(tag)) found.push(e);
    else if (tag === 'form' && e.className !== 'vega-bindings') found.push(e);
    else if (tag === 'script' && /PWN/.test(e.textContent)) found.push(e);
    else if (tag === 'style' && /body[{]display/.test(e.textContent)) found.push(e);
    else if (e.classList.contains('katex')) found.push(e);
    else if (e.dataset.testid === 'stIconMaterial' && own(e) === icon) found.push(e);
    else if (e.closest('[data-testid="stMarkdownContainer"]')
      && (own(e) === red || /^(h[1-6]|li|td|th|pre)$/.test(tag) && /PWN/.test(own(e)))) found.push(e);
    if (e.shadowRoot) walk(e.shadowRoot);
  } };
  walk(document);
  return found.map(e => e.outerHTML.slice(0, 300));
}"""
# Texts that hold a character which cannot be seen. Tables draw theirs on a canvas, boxes hold what was typed,
# and Streamlit itself shows the name of the file that the person just chose.
HIDDEN = """() => {
  const found = [];
  const walk = root => { for (const e of root.querySelectorAll('*')) {
    if (!e.closest('[data-testid=stFileChipName], canvas, table, textarea, script, style, title'))
      for (const n of e.childNodes)
        if (n.nodeType === 3 && /[\\u202a-\\u202e\\u2066-\\u2069\\u200b]/.test(n.data))
          found.push(e.outerHTML.slice(0, 300));
    if (e.shadowRoot) walk(e.shadowRoot);
  } };
  walk(document);
  return found;
}"""


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with listening() as opened:
        yield opened


@pytest.fixture(scope="module")
def app(apps: Callable[[Path], App], listener: Listener, tmp_path_factory: pytest.TempPathFactory) -> App:
    folder = tmp_path_factory.mktemp("payloads") / "workspace"
    store_of_payloads(folder, listener)
    started = apps(folder)
    for step, settings in _failing(folder, listener):  # their messages quote what was asked
        failed = jobs.start(folder, step, settings)
        wait_for(lambda id=failed.id: jobs.job(folder, id).state == "failed")
    return started


def _failing(folder: Path, listener: Listener) -> list[tuple[str, dict[str, object]]]:
    text = short(listener.url)
    return [
        ("assemble", {"name": text}),
        ("import", {"file": str(folder / text)}),
        ("export", {"name": text, "format": "messages", "to": str(folder / "out" / text)}),
        ("decontaminate", {"benchmarks": [f"{text}={folder / text}"]}),
        ("seeds", {"source": str(folder / text)}),
        ("seeds", {"source": f"https://127.0.0.1:1/{text}"}),
        ("seeds", {"source": f"hf:{text}"}),
    ]


@pytest.fixture
def visitor(app: App, visitors: Callable[[App], Visitor], listener: Listener) -> Iterator[Visitor]:
    yield visitors(app)
    assert listener.hits == []


def is_harmless(page: Page, listener: Listener) -> None:
    """Fail when anything on the page came out of a payload."""
    settled(page)
    page.wait_for_timeout(150)
    assert page.evaluate("window.PWN ?? null") is None
    assert page.evaluate(FOUND, [ICON, RED, str(listener.port)]) == []
    assert page.evaluate(HIDDEN) == []
    assert page.get_by_test_id("stMain").is_visible()
    assert "Something unexpected" not in text_of(page)


def open_everything(page: Page) -> None:
    """Open what is folded, so that its contents are drawn."""
    folded = page.get_by_test_id("stMain").locator("details:not([open]) > summary")
    for _ in range(folded.count()):
        folded.first.click()
        settled(page)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_makes_anything_of_the_texts_in_the_store(
    visitor: Visitor, listener: Listener, name: str
) -> None:
    page = visitor.open(name)
    open_everything(page)
    is_harmless(page, listener)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_makes_anything_of_its_address(visitor: Visitor, listener: Listener, name: str) -> None:
    """Each parameter that some page knows holds a payload; the page says so, or shows its default."""
    known = "search sort place stage reason name source licence method after before id item kind as t at open"
    known += " view order decision benchmark version from size"
    known += " language lines seed document state harvest_id policy many after"
    known += " run show with x base base_at recipe set_batch set_targets"
    for number in (0, 1):
        query = {parameter: short(listener.url, number) for parameter in known.split()}
        page = visitor.open(name, **query)
        is_harmless(page, listener)


@pytest.mark.parametrize("base", [":other", "practice"])
def test_what_is_typed_to_train_with_is_harmless(visitor: Visitor, listener: Listener, base: str) -> None:
    """It comes back in messages, in the preview and among the choices of a box."""
    for number in (0, 1):
        text = short(listener.url, number)
        page = visitor.open("train", base=base, base_at=text, set_targets=text, set_rank=text, set_no=text)
        open_everything(page)
        is_harmless(page, listener)


def test_views_and_lists_of_choices_are_harmless(visitor: Visitor, listener: Listener) -> None:
    page = visitor.open("near-duplicates", view="Clusters")
    is_harmless(page, listener)
    page.locator("[class*=st-key-near_member]").get_by_role("combobox").first.click()
    is_harmless(page, listener)
    for field in ("Set", "Licence"):
        page = visitor.open("samples")
        page.get_by_role("combobox", name=field).click()
        expect(page.get_by_role("option").nth(1)).to_be_visible()
        is_harmless(page, listener)
    page = visitor.open("samples", search="PWN", sort="response-short")
    expect(page.get_by_test_id("stMain")).to_contain_text("rows")
    is_harmless(page, listener)


def test_the_story_of_each_kind_of_row_is_harmless_and_shows_the_text(
    app: App, visitor: Visitor, listener: Listener
) -> None:
    rows = list(samples.stream(Workspace(app.workspace).database, ("id", "instruction", "response")))
    first, last, repeat = rows[0], rows[-2], rows[-1]
    for row in (first, last, repeat):
        page = visitor.open("row", id=row.id)
        open_everything(page)
        is_harmless(page, listener)
        shown = text_of(page)
        for text in corpus(listener.url)[:9] if row is not repeat else ("<img src=x onerror=window.PWN=10>",):
            assert text in shown
    # Hidden characters are named in a badge, and stand as marks where they are.
    page = visitor.open("row", id=first.id)
    expect(page.get_by_text(re.compile("hidden characters:.*U.202E x1")).first).to_be_visible()
    marked = "user⟦U+202E⟧ ⟦U+2066⟧// check if admin⟦U+2069⟧"
    expect(page.get_by_test_id("stMain")).to_contain_text(marked)


def test_each_question_is_harmless_and_shows_the_texts(
    app: App, visitor: Visitor, listener: Listener
) -> None:
    asked = review.items(Workspace(app.workspace))
    assert {one["kind"] for one in asked} == {"near-duplicates", "decontaminate"}
    for one in asked:
        for person in ("me", short(listener.url, 0), short(listener.url, 1)):  # two of them voted
            page = visitor.open("review", item=one["item"].partition("@")[0], **{"as": person})
            open_everything(page)
            is_harmless(page, listener)
        shown = page.locator(f'[data-item="{one["item"]}"]')
        expect(shown).to_be_visible()
        text = shown.inner_text()
        assert "<script>window.PWN=2</script>" in re.sub(r"\s+", " ", text)
        assert "⟦U+202E⟧" in text and RTL not in text


def test_a_file_is_shown_before_it_is_imported(
    app: App, visitor: Visitor, listener: Listener, tmp_path: Path
) -> None:
    """The same texts again, now as a file that nothing was kept of: column names, rows, an unusable row."""
    (file,) = app.workspace.parent.glob("<img*.jsonl")
    page = visitor.open("import")
    page.locator("input[type=file]").set_input_files(str(file))
    expect(page.get_by_test_id("stMain")).to_contain_text("The first three rows")
    is_harmless(page, listener)
    page.get_by_role("combobox", name="Column of the input").click()
    expect(page.get_by_role("option", name=re.compile("<img src=x"))).to_be_visible()
    is_harmless(page, listener)


# Texts of the cards of code, without their numbers.
CODE = """() => {
  const found = [];
  const walk = root => { for (const e of root.querySelectorAll('*')) {
    if (e.matches('.card .text, .card .head b, .card .note, .facet .name')) found.push(e.textContent);
    if (e.shadowRoot) walk(e.shadowRoot);
  } };
  walk(document);
  return found.join('\\n');
}"""


def test_each_seed_and_document_is_harmless_and_shows_the_text(
    app: App, visitor: Visitor, listener: Listener
) -> None:
    db = Workspace(app.workspace).database
    seeds, _ = seed_browsing.seed_page(db, seed_browsing.SeedQuery())
    documents, _ = seed_browsing.document_page(db, seed_browsing.DocumentQuery())
    reasons = {one.reason: one for one in documents}
    assert {"generated", "same_document", "near_duplicate_document"} <= set(reasons) and len(seeds) > 12
    for query in ({"seed": seeds[0].id}, {"seed": seeds[-1].id}):
        is_harmless(visitor.open("seeds", **query), listener)
    for reason, one in reasons.items():
        if reason:
            page = visitor.open("documents", document=str(one.seq))
            is_harmless(page, listener)
            assert page.evaluate(CODE).count("<script>window.PWN=2</script>") > 0
    page = visitor.open("seeds", seed=next(one.id for one in seeds if one.path.startswith("if access")))
    is_harmless(page, listener)
    shown = page.evaluate(CODE)
    for text in ("<img src=x onerror=window.PWN=1>", "user⟦U+202E⟧ ⟦U+2066⟧// check", "# PWN heading"):
        assert text in shown
    assert RTL not in shown


def test_a_folder_of_such_files_is_shown_before_it_is_harvested(
    app: App, visitor: Visitor, listener: Listener
) -> None:
    (project,) = (one for one in app.workspace.parent.iterdir() if one.is_dir() and one.name.startswith("<"))
    page = visitor.open("harvest")
    type_into(page, PATH_BOX, str(project))
    expect(page.get_by_test_id("stMain")).to_contain_text("of all")
    keyed(page, "harvest_unknown").get_by_text("Use code whose licence nobody tells").or_(
        page.locator("summary", has_text="Licences and chance")
    ).first.click()
    settled(page)
    page.get_by_text("Use code whose licence nobody tells").first.click()
    expect(page.get_by_test_id("stMain")).to_contain_text("12 documents of all")
    is_harmless(page, listener)
    assert "window.PWN=" in page.evaluate(CODE)


def test_an_archive_of_such_names_is_shown_before_it_is_harvested(
    visitor: Visitor, listener: Listener, tmp_path: Path
) -> None:
    file = archive_of_payloads(
        tmp_path / f"<img src=x onerror=window.PWN=14> :red[{RED}].tar.gz", listener.url
    )
    page = visitor.open("harvest", **{"from": "Upload"})
    page.locator("input[type=file]").set_input_files(str(file))
    expect(page.get_by_test_id("stMain")).to_contain_text("licence unknown")
    is_harmless(page, listener)


@pytest.mark.parametrize("way", ["Git address", "Hugging Face hub", "Path on this machine"])
def test_an_address_of_such_text_is_harmless(visitor: Visitor, listener: Listener, way: str) -> None:
    page = visitor.open("harvest", **{"from": way})
    for number in (0, 1):
        text = short(listener.url, number)
        type_into(
            page, f"harvest_{way.replace(' ', '-')}", f"https://127.0.0.1:1/{text}" if "Git" in way else text
        )
        is_harmless(page, listener)


def test_what_is_typed_and_refused_is_harmless(visitor: Visitor, listener: Listener) -> None:
    page = visitor.open("datasets")
    page.locator("summary", has_text="Freeze a version").click()
    type_into(page, "freeze_name", short(listener.url))  # refused at once, not when the job runs
    expect(keyed(page, "freeze_start").get_by_role("button").first).to_be_disabled()
    expect(page.get_by_test_id("stAlertContentError").first).to_be_visible()
    is_harmless(page, listener)
    page = visitor.open("decontaminate")
    open_everything(page)
    type_into(page, "contamination_name", short(listener.url, 1, 60))
    type_into(page, "contamination_path", "/no/" + short(listener.url))
    keyed(page, "contamination_add").get_by_role("button").click()
    expect(page.get_by_test_id("stAlertContentError").first).to_be_visible()
    is_harmless(page, listener)


def test_what_the_other_tests_look_for_would_be_found(
    app: App, browsers: Callable[[App], Visitor], listener: Listener
) -> None:
    """Each payload that is put into the page as markup is noticed by at least one of the looks."""
    visitor = browsers(app).with_a_fresh_tab()
    page = visitor.open("settings")
    assert page.evaluate(FOUND, [ICON, RED, str(listener.port)]) == page.evaluate(HIDDEN) == []
    page.evaluate(
        """([icon, red, beacon]) => document.querySelector('[data-testid=stMarkdownContainer]')
        .insertAdjacentHTML('beforeend', `<img src=x onerror="window.PWN=1"><img src=${beacon}/control>
          <iframe srcdoc=x></iframe><a href="javascript:1">x</a><form></form><b>${red}</b><h1>PWN</h1>
          <span class=katex></span><span data-testid=stIconMaterial>${icon}</span><i>\\u202e</i>`)""",
        [ICON, RED, listener.url],
    )
    wait_for(lambda: page.evaluate("window.PWN ?? null") == 1)
    wait_for(lambda: listener.hits == ["/control"])
    assert len(page.evaluate(FOUND, [ICON, RED, str(listener.port)])) == 9
    assert len(page.evaluate(HIDDEN)) == 1
    assert visitor.foreign == [f"{listener.url}/control"]
    listener.hits.clear()
    visitor.close_tabs()
