"""Chat by clicks: both answers as text, a held-out row's own beside them, and a process killed meanwhile."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from curation.hidden_characters import revealed
from curation.workspace import Workspace
from tests.browser.driving import App, Visitor, keyed, settled, wait_for
from tests.lora_workspace import QUICK, VERSION, trained_workspace
from training.chat import SIDES, Answer, Chat, Sampling
from training.lora import launch, train

LONG = 120_000  # millifirsts: torch is loaded meanwhile
QUESTION = "sort <b>a list</b> (3)"


@pytest.fixture(scope="module")
def app(apps: Callable[[Path], App], tmp_path_factory: pytest.TempPathFactory) -> App:
    workspace = trained_workspace(tmp_path_factory.mktemp("chat") / "workspace", 30)
    changes = {**QUICK, "max_steps": 20, "learning_rate": 0.03, "eval_every": 20, "save_every": 20}
    train(workspace, launch(workspace, VERSION, changes=changes, name="mine").name)
    return apps(workspace.folder)


def process_of(app: App) -> int | None:
    """Name the process that answers for this app."""
    assert app.process is not None
    for one in psutil.Process(app.process.pid).children():
        if "training.chat_process" in one.cmdline():
            return one.pid
    return None


def ask(page: Page) -> None:
    keyed(page, "chat_ask").get_by_role("button").click()


def held_out(workspace: Path) -> dict[str, str]:
    """Give the first held-out row of the version."""
    with (workspace / "datasets" / VERSION / "rows.jsonl").open() as lines:
        return next(row for row in map(json.loads, lines) if row["split"] == "validation")


def answers(app: App) -> dict[str, str]:
    """Give what the models say, as a page shows it."""
    loaded = Chat.load(Workspace(app.workspace), "mine").answers(QUESTION, "", Sampling())
    return {one.side: revealed(one.text) for one in loaded if isinstance(one, Answer)}


def test_a_killed_process_is_one_line_and_the_next_question_can_be_asked(
    app: App, visitors: Callable[[App], Visitor]
) -> None:
    page = visitors(app).open("chat", run="mine")
    expect(page.get_by_test_id("stMain")).to_contain_text("Each question stands alone")
    keyed(page, "chat_instruction").get_by_role("textbox").fill(QUESTION)
    ask(page)
    first = keyed(page, "chat-1")
    expect(first).to_contain_text("The model is being loaded")
    expect(first).to_contain_text("tuned: mine")
    expect(keyed(page, "chat_ask").get_by_role("button")).to_be_disabled()
    wait_for(lambda: process_of(app))
    os.kill(process_of(app) or 0, signal.SIGKILL)
    expect(first).to_contain_text("was killed (signal 9)")
    expect(keyed(page, "chat_ask").get_by_role("button")).to_be_enabled()
    assert first.get_by_test_id("stCode").first.inner_text().strip() == QUESTION, "as text, not as bold"
    assert process_of(app) is None


@pytest.mark.faults  # loads torch twice, in the process and here: `make faults` runs it
def test_base_and_tuned_answer_beside_each_other_and_a_held_out_row_beside_both(
    app: App, visitors: Callable[[App], Visitor]
) -> None:
    page = visitors(app).open("chat", run="mine")
    keyed(page, "chat_instruction").get_by_role("textbox").fill(QUESTION)
    ask(page)
    first = keyed(page, "chat-1")
    expect(first.get_by_text(re.compile("cut at its length|end token$"))).to_have_count(2, timeout=LONG)
    settled(page)
    shown = [one.inner_text() for one in first.get_by_test_id("stCode").all()]
    told = answers(app)
    # Code blocks end lines as they please; what stands in them is the question and both answers, as text.
    assert [text.strip() for text in shown] == [QUESTION, *(told[side].strip() for side in SIDES)]

    row = held_out(app.workspace)
    page.goto(app.url("chat", run="mine", row=row["id"]))
    settled(page)
    expect(keyed(page, "chat_instruction").get_by_role("textbox")).to_have_value(row["instruction"])
    ask(page)
    expect(first).to_contain_text("reference: the row's own response")  # a new visit
    expect(first.get_by_text(re.compile("cut at its length|end token$"))).to_have_count(2, timeout=LONG)
    assert first.get_by_test_id("stCode").last.inner_text().strip() == row["response"].strip()
