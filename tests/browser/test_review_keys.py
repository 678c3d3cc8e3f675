"""Keys on the review page: no verdict on a case that was not on the screen, none lost, none doubled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from curation.store import reviews
from curation.workspace import Workspace
from tests.browser.driving import App, Visitor, keyed, settled, text_of, wait_for
from tests.browser.stores import store_of_gray_pairs

PAIRS = 90  # more than all tests together judge
PRESSES = 10
LOOK = 500  # milliseconds a person looks: longer than the page asks for

# Notes in the page, without a way round through Python, when each case's evidence came into the document
# (the comparison lies in a shadow root) and what was to be read at each press.
NOTING = """
window.seenAt = {}; window.presses = []; let now = null;
const note = root => { for (const one of root.querySelectorAll('[data-item]')) {
  now = one.dataset.item; window.seenAt[now] ??= performance.now(); } };
const watch = root => new MutationObserver(() => note(root)).observe(
  root, { subtree: true, childList: true, attributes: true, attributeFilter: ['data-item'] });
const attach = Element.prototype.attachShadow;
Element.prototype.attachShadow = function (how) {
  const root = attach.call(this, how); watch(root); return root; };
watch(document);
window.addEventListener('keydown', e => window.presses.push([e.key, performance.now(), now]), true);
"""


@pytest.fixture(scope="module")
def app(apps: Callable[[Path], App], tmp_path_factory: pytest.TempPathFactory) -> App:
    folder = tmp_path_factory.mktemp("keys") / "workspace"
    store_of_gray_pairs(folder, PAIRS)
    return apps(folder)


@pytest.fixture
def visitor(app: App, visitors: Callable[[App], Visitor]) -> Visitor:
    """A reviewer whose page notes what is shown when. Each test judges under a name of its own."""
    opened = visitors(app).with_a_fresh_tab()  # what is added to a tab stays with it
    opened.page.add_init_script(NOTING)
    return opened


def votes_of(app: App, person: str) -> list[Any]:
    with Workspace(app.workspace).database.reading() as connection:
        return [vote for vote in reviews.votes(connection) if vote.person == person]


def shown_case(page: Page) -> str:
    """Wait until a case is on the screen and name it."""
    settled(page)
    shown = page.locator("[data-item]")
    expect(shown).to_be_visible()
    case = shown.get_attribute("data-item")
    assert case is not None
    return case


def look_and_press(page: Page, key: str) -> str:
    """Read a case, press a key and wait for the next case. Gives the case that was judged."""
    case = shown_case(page)
    page.wait_for_timeout(LOOK)
    page.keyboard.press(key)
    expect(page.locator(f'[data-item="{case}"]')).to_have_count(0)
    return case


def settled_votes(page: Page, app: App, person: str) -> list[Any]:
    """Give the votes once the page has worked off every press."""
    page.wait_for_timeout(700)
    settled(page)
    page.wait_for_timeout(300)
    settled(page)
    return votes_of(app, person)


@pytest.mark.parametrize("gap", [0, 30, 60, 150, 400])
def test_ten_presses_judge_only_what_was_shown_before_the_press(app: App, visitor: Visitor, gap: int) -> None:
    """How many count hangs on the machine; the first does, made after a look. None is lost: see `reload`."""
    page = visitor.open("review", **{"as": f"gap-{gap}"})
    first = shown_case(page)
    votes = votes_of_ten_presses(page, app, f"gap-{gap}", gap)
    assert f"{votes[0].item_id}@{votes[0].item_version}" == first


@pytest.mark.parametrize("slower", [4, 8])
@pytest.mark.parametrize("gap", [60, 150])
def test_a_slow_browser_judges_only_what_it_has_drawn(
    app: App, visitor: Visitor, gap: int, slower: int
) -> None:
    """The server sent the case long before such a browser draws it: its clock alone lets presses through."""
    person = f"slow-{gap}-{slower}"
    page = visitor.open("review", **{"as": person})
    throttle = page.context.new_cdp_session(page)
    throttle.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    assert votes_of_ten_presses(page, app, person, gap)


def votes_of_ten_presses(page: Page, app: App, person: str, gap: int) -> list[Any]:
    """Press a key ten times, `gap` milliseconds apart, and give the votes: each on what had been shown."""
    shown_case(page)
    page.wait_for_timeout(LOOK)
    for _ in range(PRESSES):
        page.keyboard.press("1")
        page.wait_for_timeout(gap)
    votes = settled_votes(page, app, person)
    assert_shown_before(page, votes)
    return votes


def test_a_held_key_judges_only_what_was_shown_before(app: App, visitor: Visitor) -> None:
    page = visitor.open("review", **{"as": "held"})
    shown_case(page)
    page.wait_for_timeout(LOOK)
    for _ in range(20):  # the system repeats a held key every 33 ms
        page.keyboard.down("1")
        page.wait_for_timeout(33)
    page.keyboard.up("1")
    votes = settled_votes(page, app, "held")

    assert_shown_before(page, votes)


def assert_shown_before(page: Page, votes: list[Any]) -> None:
    """Find for each vote, in order, a press of its own at which its case was on the screen."""
    seen: dict[str, float] = page.evaluate("window.seenAt")
    presses: list[tuple[str, float, str]] = page.evaluate("window.presses")
    cases = [f"{vote.item_id}@{vote.item_version}" for vote in votes]
    assert len(set(cases)) == len(cases), "a case has two votes"
    left = iter(presses)
    for case in cases:
        assert case in seen, f"{case} was judged and never shown"
        press = next((one for one in left if one[2] == case), None)
        assert press is not None, f"no press was made while {case} was shown: {presses}"
        assert seen[case] < press[1]


def test_a_reload_loses_no_vote_and_shows_the_next_case(app: App, visitor: Visitor) -> None:
    page = visitor.open("review", **{"as": "reload"})
    judged = [look_and_press(page, key) for key in ("1", "3")]
    following = shown_case(page)
    page.reload()
    assert shown_case(page) == following
    judged.append(look_and_press(page, "2"))

    votes = votes_of(app, "reload")
    assert [f"{vote.item_id}@{vote.item_version}" for vote in votes] == judged
    assert [vote.verdict for vote in votes] == ["keep-left", "keep-both", "keep-right"]


def test_a_reload_at_once_after_a_press_keeps_the_vote_or_the_case(app: App, visitor: Visitor) -> None:
    """What the page had not acknowledged may be gone, but then the case is there to be judged again."""
    page = visitor.open("review", **{"as": "at-once"})
    case = shown_case(page)
    page.wait_for_timeout(LOOK)
    page.keyboard.press("1")
    page.reload()
    following = shown_case(page)
    voted = [f"{vote.item_id}@{vote.item_version}" for vote in votes_of(app, "at-once")]
    if following == case and voted:
        assert "settled" in text_of(page)  # its address names the case still: shown as judged
    else:
        assert voted == ([] if following == case else [case])


def test_digits_typed_into_a_box_vote_nothing(app: App, visitor: Visitor) -> None:
    page = visitor.open("review", **{"as": "typist"})
    case = shown_case(page)
    page.wait_for_timeout(LOOK)
    note = page.get_by_label("Note (kept with your vote)")
    note.press_sequentially("1234u")
    note.press("Tab")
    settled(page)
    name = page.get_by_role("textbox", name="Your name")
    name.press_sequentially("1234")
    name.press("Enter")
    settled(page)
    assert shown_case(page) == case
    assert votes_of(app, "typist") == []
    person = name.input_value()
    assert {"typist", "1234"} == {person.strip("1234"), person.replace("typist", "")}

    # The note goes with the vote that follows, under the new name.
    page.locator("h1").click()
    look_and_press(page, "3")
    (vote,) = votes_of(app, person)
    assert (vote.note, vote.verdict) == ("1234u", "keep-both")


def test_a_case_judged_in_another_tab_is_not_judged_twice(app: App, visitor: Visitor) -> None:
    one, two = visitor.page, visitor.tab()
    visitor.open("review", **{"as": "tabs"})
    case = shown_case(one)
    visitor.open("review", two, **{"as": "tabs", "item": case.partition("@")[0]})
    assert look_and_press(two, "1") == case

    one.bring_to_front()
    one.keyboard.press("3")
    expect(one.get_by_test_id("stMain")).to_contain_text("tabs decided")
    assert [vote.verdict for vote in votes_of(app, "tabs")] == ["keep-left"]


def test_a_press_on_a_version_that_is_gone_says_so(app: App, visitor: Visitor) -> None:
    """The other tab judged and took it back: the case has a new version, which this tab has not shown."""
    one, two = visitor.page, visitor.tab()
    visitor.open("review", **{"as": "versions"})
    case = shown_case(one)
    item = case.partition("@")[0]
    visitor.open("review", two, **{"as": "versions", "item": item})
    assert look_and_press(two, "1") == case
    two.keyboard.press("u")
    expect(two.locator(f'[data-item^="{item}@"]')).to_be_visible()

    one.bring_to_front()
    one.keyboard.press("3")
    expect(one.get_by_test_id("stMain")).to_contain_text("out of date")
    assert [vote.verdict for vote in votes_of(app, "versions")] == ["keep-left", "undo"]


def test_a_vote_is_saved_when_the_next_case_is_shown(app: App, visitor: Visitor) -> None:
    """The next case is the acknowledgement: by then the vote is in the store, and only then."""
    page = visitor.open("review", **{"as": "saved"})
    look_and_press(page, "4")
    assert [vote.verdict for vote in votes_of(app, "saved")] == ["drop-both"]
    wait_for(lambda: "saved" in text_of(page))
    assert keyed(page, "verdicts").is_visible()
