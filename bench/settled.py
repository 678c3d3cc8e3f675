"""A settled page at 110,000 samples, 450,000 pairs, 100,000 seeds and trees of 78,000 samples, in Chromium:
from the press to the last drawn element.

Random facets, searches, orders, next pages, threshold moves and pages of pairs in one tab, as a person makes
them. The clock stops at the last change of the page before it stayed as it was.
"""

import os
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Locator, Page, sync_playwright

from tests.big_evolution import build as build_trees
from tests.big_seeds import build as build_seeds
from tests.big_workspace import build
from tests.browser.driving import CHROMIUM, App, Visitor, chromium, click_cell, settled

DRAWS = 25  # of each kind
RANDOM_SEED = 976
FOLDER = "WINNOW_BENCH_WORKSPACE"  # a workspace that tests.big_workspace built, to save its minute
SEEDS = "WINNOW_BENCH_SEEDS"  # one that tests.big_seeds built
TREES = "WINNOW_BENCH_TREES"  # one that tests.big_evolution built
CODE_WORDS = ("return", "self", "def", "for", "await", "raise Error", "None", "const")
WORDS = ("sort", "list", "string", "function", "file", "tree", "parse", "reverse", "matrix", "number")
LIMIT_MS = 30_000

QUIET_MS = 150  # nothing was drawn for so long: the page is settled

# Notes when the page last changed. The script's state is no clock: a quick run changes it and back at once.
WATCH = """() => {
  window.changed = 0;
  new MutationObserver(() => { window.changed = performance.now(); }).observe(
    document.querySelector('[data-testid="stApp"]'),
    { attributes: true, childList: true, characterData: true, subtree: true });
}"""
SETTLED = """([began, quiet]) => window.changed > began && performance.now() - window.changed > quiet
  && document.querySelector('[data-test-script-state]').dataset.testScriptState === "notRunning" """


def run() -> list[str]:
    program = chromium()
    if program is None:
        return ["not measured: there is no chromium on this machine"]
    times: Times = {}
    with TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(CHROMIUM))
        parts = ((FOLDER, build, _all), (SEEDS, build_seeds, _seeds), (TREES, build_trees, _trees))
        for known, make, act in parts:
            path = os.environ.get(known)
            workspace = Path(path) if path else make(Path(folder) / known).folder
            app = App(workspace, Path(folder) / "app.log")
            app.start()
            try:
                times |= act(Visitor(browser, app).with_a_fresh_tab())
            finally:
                app.stop()
        browser.close()
    everything = [ms for taken in times.values() for ms in taken]
    return [_line(name, taken) for name, taken in times.items()] + [_line("all of them", everything)]


def _line(name: str, taken: list[float]) -> str:
    taken = sorted(taken)
    p50, p95 = taken[len(taken) // 2], taken[int(len(taken) * 0.95)]
    return f"{name:32} p50 {p50:6.0f}   p95 {p95:6.0f}   max {taken[-1]:6.0f} ms, of {len(taken)}"


Times = dict[str, list[float]]


def _all(visitor: Visitor) -> Times:
    times: Times = defaultdict(list)
    chance = random.Random(RANDOM_SEED)
    page = visitor.open("samples")
    page.evaluate(WATCH)
    for _ in range(DRAWS):
        word = chance.choice(WORDS)
        times["search"].append(_timed(page, lambda word=word: _search(page, word)))
        if _can_press(page, "Next"):
            times["next page"].append(_timed(page, lambda: page.keyboard.press("ArrowRight")))
        times["search taken away"].append(_timed(page, lambda: _search(page, "")))
        label = chance.choice(("Where it is", "Set"))
        times["filter"].append(_timed(page, lambda label=label: _choose(page, chance, label)))
        times["sort"].append(_timed(page, lambda: _choose(page, chance, "Sort")))
    _near_duplicates(visitor, chance, times)
    page = visitor.open("review")
    page.evaluate(WATCH)
    for _ in range(DRAWS):
        times["next question"].append(_timed(page, lambda: page.keyboard.press("ArrowRight")))
    return dict(times)


def _near_duplicates(visitor: Visitor, chance: random.Random, times: Times) -> None:
    page = visitor.open("near-duplicates", view="Pairs")
    page.evaluate(WATCH)
    slider = page.get_by_role("slider").first
    for _ in range(DRAWS):
        key = _key(slider, chance)
        times["threshold move"].append(_timed(page, lambda key=key: slider.press(key)))
        if _can_press(page, "Next"):
            times["next pairs"].append(_timed(page, lambda: _press(page, "Next")))
        label = chance.choice(("Source", "and source", "Origin", "Language", "Decision", "Order"))
        times["filter of pairs"].append(_timed(page, lambda label=label: _choose(page, chance, label)))
    for view in ("Clusters", "Gained and lost", "By source"):
        page = visitor.open("near-duplicates")
        page.evaluate(WATCH)
        times["another view"].append(
            _timed(page, lambda page=page, view=view: page.get_by_role("radio", name=view).click())
        )
        settled(page)
        slider = page.get_by_role("slider").first
        for _ in range(DRAWS):
            key = _key(slider, chance)
            moved = _timed(page, lambda slider=slider, key=key: slider.press(key))
            times[f"threshold move, {view.lower()}"].append(moved)
    page = visitor.open("near-duplicates", view="Band")
    page.evaluate(WATCH)
    handle = page.get_by_role("slider", name="Drop from this cosine on")
    for _ in range(DRAWS):
        key = chance.choice(("ArrowLeft", "ArrowRight"))
        times["a handle moved, all told"].append(_timed(page, lambda key=key: handle.press(key)))


def _seeds(visitor: Visitor) -> Times:
    times: Times = defaultdict(list)
    chance = random.Random(RANDOM_SEED)
    page = visitor.open("seeds")
    page.evaluate(WATCH)
    for _ in range(DRAWS):
        word = chance.choice(CODE_WORDS)
        times["seeds: search"].append(_timed(page, lambda word=word: _search(page, word)))
        if _can_press(page, "Next"):
            times["seeds: next page"].append(_timed(page, lambda: _press(page, "Next")))
            row = chance.randrange(1, 9)  # the first one is open
            clicked = _timed(page, lambda row=row: click_cell(page, "seeds_table", row, 200))
            times["seeds: open one"].append(clicked)
        times["seeds: search taken away"].append(_timed(page, lambda: _search(page, "")))
        times["seeds: histogram bar"].append(_timed(page, lambda: _bar(page, chance, "lines")))
        field = chance.choice(("language", "licence", "source"))
        times["seeds: facet"].append(_timed(page, lambda field=field: _bar(page, chance, field)))
        page.get_by_role("textbox", name="Search").scroll_into_view_if_needed()  # a box closes on scrolling
        page.wait_for_timeout(300)
        times["seeds: sort"].append(_timed(page, lambda: _choose(page, chance, "Sort")))
        times["seeds: filters away"].append(_timed(page, lambda: _press(page, "Clear all filters")))
    page = visitor.open("documents", state="dropped")
    page.evaluate(WATCH)
    for _ in range(DRAWS):
        times["documents: reason"].append(_timed(page, lambda: _bar(page, chance, "reason")))
        if _can_press(page, "Next"):
            times["documents: next page"].append(_timed(page, lambda: _press(page, "Next")))
    return dict(times)


def _trees(visitor: Visitor) -> Times:
    """Any branch of 78,000 samples: another tree, another step of it, filters, pages, the rounds."""
    times: Times = defaultdict(list)
    chance = random.Random(RANDOM_SEED)
    page = settled(visitor.open("trees"))
    page.wait_for_timeout(500)  # the page itself is no part of the first click
    page.evaluate(WATCH)
    for _ in range(DRAWS):
        if not page.locator('[class*="st-key-trees_table"]').count():
            times["filters taken away"].append(_timed(page, lambda: _press(page, "Clear all filters")))
        if _can_press(page, "Next"):
            times["next page of trees"].append(_timed(page, lambda: _press(page, "Next")))
        times["another tree"].append(_timed(page, lambda: _click_tree(page, chance)))
        for key in ("k", "j"):
            if page.locator(f".st-key-trees_{key} button").is_enabled():
                step = page.locator(f".st-key-trees_{key} button")
                times["another step"].append(_timed(page, lambda step=step: step.click()))
        label = chance.choice(("Heuristic", "Round", "What became of it", "Reason"))
        times["filter of trees"].append(_timed(page, lambda label=label: _choose(page, chance, label)))
    for _ in range(DRAWS):
        page.goto(f"{page.url.split('?')[0]}?after={chance.randrange(19_000)}&round={chance.randint(1, 3)}")
        settled(page)
        page.wait_for_timeout(500)  # a person looks before the first click, too
        page.evaluate(WATCH)
        times["a tree far down"].append(_timed(page, lambda: _click_tree(page, chance)))
    page = visitor.open("evolve")
    page.evaluate(WATCH)
    view = page.get_by_role("radio", name="Rounds")
    times["all rounds, measured"].append(_timed(page, lambda: view.click()))
    return dict(times)


def _click_tree(page: Page, chance: random.Random) -> None:
    """Click one of the trees in sight that is not open; tables are canvases, 35 px a row below the head."""
    table = page.locator('[class*="st-key-trees_table"]').first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    before = page.url
    page.mouse.click(box["x"] + 120, box["y"] + 35 * (chance.randint(1, 4) + 1) + 17)
    # The table answers a click at once, before anything is asked: wait until the address tells of a tree.
    page.wait_for_function("before => location.href !== before", arg=before, timeout=LIMIT_MS)


def _bar(page: Page, chance: random.Random, field: str) -> None:
    """Press a bar of a facet that is not chosen yet."""
    bars = page.locator(f'button[data-field="{field}"][aria-pressed="false"]')
    bars.first.wait_for()
    bars.nth(chance.randrange(bars.count())).click()


def _timed(page: Page, action: Callable[[], object]) -> float:
    """Give the milliseconds from an action until the last thing it changed on the page."""
    began = page.evaluate("() => performance.now()")
    action()
    page.wait_for_function(SETTLED, arg=[began, QUIET_MS], timeout=LIMIT_MS)
    return float(page.evaluate("() => window.changed") - began)


def _search(page: Page, words: str) -> None:
    box = page.get_by_role("textbox", name="Search")
    box.fill(words)
    box.press("Enter")
    page.get_by_role("heading").first.click()  # out of the box, so that keys turn pages again


def _choose(page: Page, chance: random.Random, label: str) -> None:
    box = page.get_by_role("combobox", name=label, exact=True).first
    box.click()
    options = page.get_by_role("option")
    options.first.wait_for()
    shown = box.input_value()
    others = [n for n, text in enumerate(options.all_inner_texts()) if text != shown]
    options.nth(chance.choice(others)).click()


def _key(slider: Locator, chance: random.Random) -> str:
    """Choose a key that moves the slider: at either end only one does."""
    now, low, high = map(float, slider.evaluate("box => [box.value, box.min, box.max]"))
    ways = [key for key, is_free in (("ArrowLeft", now > low), ("ArrowRight", now < high)) if is_free]
    return chance.choice(ways)


def _can_press(page: Page, name: str) -> bool:
    button = page.get_by_role("button", name=name)
    return button.count() > 0 and button.first.is_enabled()


def _press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).first.click()
