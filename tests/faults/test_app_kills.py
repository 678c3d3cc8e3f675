"""Browser, app and worker killed in turn under each kind of job: the same result, once, and a page that
never says what has ceased to be true.

Each job is begun on its page where that offers it at this size, and stopped in its tracks (SIGSTOP) at a
random moment for each kill. What the tabs draw is noted in the page itself, what is true is asked of
`jobs.job` every few hundredths of a second; both by the clock of this machine, so that they can be laid
side by side. Seconds are told at the end and asserted nowhere: the machine may be busy.
"""

import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

import jobs
from curation.workspace import DATABASE, Workspace
from tests.browser import driving
from tests.browser.driving import CHROMIUM, App, Visitor, chromium, press, type_into, wait_for, worker_pid
from tests.faults import (
    assert_clean,
    assert_equal_facts,
    environment,
    facts,
    files,
    finish,
    keep_made_up_vectors,
    make_rows,
    write_rows,
)
from tests.faults.test_job_kills import example
from tests.lora_workspace import QUICK, VERSION, trained_workspace, weights
from tests.seed_projects import write_project
from training import run as runs
from training.lora import launch
from training.run import LoraRun

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.faults

RANDOM_SEED = 71
ROWS = 1_500
FILES = 250  # of each of four languages that are harvested: four batches
LONG = 180.0  # seconds that a page or a job may take on a busy machine
STEPS = (
    "import",
    "seeds",
    "clean",
    "near-duplicates",
    "decontaminate",
    "assemble",
    "export",
    "example",
    "train",
)
# A second longer in the midst of the work, so that it can be caught there on a fast machine, too.
SLOW = {
    "seeds": "store.commit:sleep:*",  # one a batch
    "clean": "store.commit:sleep:*",  # it is short; how many commits it has depends on the kills
    "export": "file.write:sleep:1",  # it writes files only
    "train": "file.write:sleep:*",  # at evaluations and checkpoints
}
SLOW_OTHERS = "store.commit:sleep:2"
SECOND = 0.5  # of it; the rest is for a machine that sees late that work has begun
# Open as long as the work lasts; the last is TensorBoard's file, which a run opens when torch is loaded.
SIGNS = (DATABASE, "export.lock", "events.out.tfevents")

# Notes the state of the script, of the connection and of the only job's card, whenever one of them changes.
WATCH = """
window.seen = [];
const look = () => {
  const app = document.querySelector('[data-testid="stApp"]');
  const card = document.querySelector('[class*="st-key-job-"]');
  const now = [
    app?.getAttribute("data-test-script-state") ?? "",
    app?.getAttribute("data-test-connection-state") ?? "",
    card?.querySelector("strong")?.textContent ?? "",
    card?.querySelector(".stMarkdownBadge")?.innerText.trim().split(/\\s+/).at(-1) ?? "",
    card?.textContent ?? "",
  ];
  const before = window.seen.at(-1)?.slice(1);
  if (JSON.stringify(now) !== JSON.stringify(before)) window.seen.push([Date.now() / 1000, ...now]);
};
new MutationObserver(look).observe(document,
  {subtree: true, childList: true, attributes: true, characterData: true});
"""


@dataclass(frozen=True)
class Seen:
    """What stood in a tab from a moment on."""

    at: float
    script: str
    connection: str
    title: str
    state: str  # of the job; "": no card yet
    card: str  # all its text; the seconds in it tell one drawing from the next


NOTHING = Seen(0.0, "", "", "", "", "")


@dataclass
class Truth:
    """What `jobs.job` says of a job, asked again and again in a thread."""

    workspace: Path
    job_id: str
    told: list[tuple[float, str]] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Truth":
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.is_over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self.is_over.wait(0.02):
            found = jobs.job(self.workspace, self.job_id)
            assert found is not None
            self.told.append((time.time(), found.state))

    def between(self, since: float, until: float) -> set[str]:
        """Give the states that were true in this time, the first answer after it included."""
        wait_for(lambda: self.told and self.told[-1][0] > until)
        later = next(at for at, _ in self.told if at > until)
        return {state for at, state in self.told if since <= at <= later}

    def at(self, moment: float) -> str:
        """Give the state that was true then."""
        return [state for at, state in self.told if at <= moment][-1]


@dataclass
class Case:
    """A workspace before a step, its settings, and what its page needs to begin it."""

    prepared: Path
    settings: dict[str, Any]
    begin: Callable[[Visitor], object] | None = None  # on its page; None: as its button would


# --- what is prepared once ---


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    program = chromium()
    if program is None:
        pytest.skip("there is no chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=list(CHROMIUM))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Run every step once by the command line, and keep the workspace before each."""
    place = tmp_path_factory.mktemp("cases")
    rows = make_rows(ROWS, RANDOM_SEED)
    file = write_rows(rows, place / "rows.jsonl")
    items = [
        {"task_id": n, "prompt": row["instruction"], "canonical_solution": row["output"]}
        for n, row in enumerate([row for row in rows if row.get("input") == ""][:5])
    ]
    benchmark = f"humaneval={write_rows(items, place / 'items.jsonl')}"
    workspace = place / "workspace"
    keep_made_up_vectors(rows, workspace, RANDOM_SEED)
    finish(workspace, "status")
    words = {
        "import": ["samples", "import", str(file)],
        "clean": ["clean"],
        "near-duplicates": ["near-duplicates"],
        "decontaminate": ["decontaminate", "--benchmark", benchmark],
        "assemble": ["assemble", "v1", "--open", "drop"],
        "export": [],
    }
    found = {}
    for step, command in words.items():
        shutil.copytree(workspace, place / f"before-{step}")
        found[step] = Case(place / f"before-{step}", {}, BEGIN.get(step))
        if command:
            finish(workspace, *command)
    found["import"].settings = {"file": str(file)}
    found["decontaminate"].settings = {"benchmarks": [benchmark], "low": 0.8, "budget": 200}
    trial = example(place, benchmark)
    found["example"] = Case(trial.prepared, trial.settings)
    found["train"] = frozen_run(place / "before-train")
    found["seeds"] = harvest(place / "before-seeds")
    return found


def frozen_run(folder: Path) -> Case:
    """Prepare a run that waits to be trained: evaluations and checkpoints every other step."""
    changes = {**QUICK, "max_steps": 12, "save_every": 2, "eval_every": 4}
    run = launch(trained_workspace(folder, 30), VERSION, changes=changes)
    return Case(folder, {"run": run.name})


def harvest(folder: Path) -> Case:
    """Prepare a harvest of several batches, with copies and near-copies among the documents."""
    finish(folder, "status")
    project = write_project(folder.parent / "project", each=FILES)
    return Case(folder, {"source": str(project)})


def begin_harvest(visitor: Visitor, source: str) -> None:
    page = visitor.open("harvest")
    type_into(page, "harvest_Path-on-this-machine", source)
    playwright.expect(page.get_by_test_id("stMain")).to_contain_text("12 documents of")
    press(page, "harvest_start")


def begin_import(visitor: Visitor, file: str) -> None:
    page = visitor.open("import", **{"from": "Path on this machine"})
    type_into(page, "import_path", file)
    playwright.expect(page.get_by_test_id("stMain")).to_contain_text("The first three rows")
    press(page, "import_start")


def begin_freeze(visitor: Visitor) -> None:
    page = visitor.open("datasets")
    type_into(page, "freeze_name", "v1")
    press(page, "freeze_start")


BEGIN: dict[str, Callable[[Visitor], object]] = {
    "clean": lambda visitor: press(visitor.open("clean"), "clean_run"),
    "near-duplicates": lambda visitor: press(visitor.open("near-duplicates"), "near_run"),
    "assemble": begin_freeze,
    "export": lambda visitor: press(visitor.open("datasets"), "export_start"),
}


def begin(step: str, case: Case, visitor: Visitor) -> jobs.Job:
    """Start the job, on its page where that is possible, else as its button does."""
    workspace = visitor.app.workspace
    if step == "import":
        begin_import(visitor, case.settings["file"])
    elif step == "seeds":
        begin_harvest(visitor, case.settings["source"])
    elif case.begin is not None:
        case.begin(visitor)
    else:
        return jobs.start(workspace, step, case.settings)
    wait_for(lambda: jobs.jobs(workspace))
    return jobs.jobs(workspace)[0]


# --- the processes ---


def lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def child_of(workspace: Path) -> psutil.Process | None:
    """Give the process that does the work now."""
    with suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError, IndexError):
        return next(filter(lives, psutil.Process(worker_pid(workspace)).children()), None)
    return None


def first_child(workspace: Path) -> psutil.Process:
    """Wait for the process that does the work."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        found.extend(filter(None, [child_of(workspace)]))
        return bool(found)

    wait_for(is_there, LONG)
    return found[0]


def work_of(process: psutil.Process) -> float:
    """Give the processor's seconds spent so far, which a busy machine does not stretch."""
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def at_work(workspace: Path) -> psutil.Process:
    """Wait until the job's process has opened what it works on: it lives a second from then on (see SLOW)."""

    found: list[psutil.Process] = []

    def has_begun() -> bool:
        with suppress(psutil.Error):
            child = child_of(workspace)
            if child is not None and any(Path(one.path).name.startswith(SIGNS) for one in child.open_files()):
                found.append(child)
        return bool(found)

    wait_for(has_begun, LONG)
    return found[0]


def catch(workspace: Path, seconds: float, work: float = 0.0) -> psutil.Process:
    """Stop the job's process in its tracks, so many seconds and so much work after it has begun."""
    child = at_work(workspace)
    began, before = time.monotonic(), work_of(child)
    while lives(child) and (time.monotonic() - began < seconds or work_of(child) - before < work):
        time.sleep(0.005)
    assert lives(child), "the job was through too soon"
    child.suspend()
    return child


def kill_worker(workspace: Path, child: psutil.Process) -> float:
    """Kill the worker and its child, which is stopped. Gives the moment.

    That a child ends with its worker is tests/test_jobs.py's; let go here, a quick one would finish first.
    """
    worker = psutil.Process(worker_pid(workspace))
    worker.kill()
    moment = time.time()
    with suppress(psutil.NoSuchProcess):  # the system lets go of a stopped process whose parent died
        child.kill()
    wait_for(lambda: not lives(child) and not lives(worker))
    return moment


def follow(workspace: Path, job_id: str) -> jobs.Job:
    """Wait for the end of a job."""
    wait_for(lambda: (found := jobs.job(workspace, job_id)) and found.state in ("done", "failed"), LONG)
    found = jobs.job(workspace, job_id)
    assert found is not None and found.state == "done", (found, jobs.log_tail(workspace, job_id))
    return found


def undisturbed(prepared: Path, folder: Path, step: str, settings: dict[str, Any]) -> float:
    """Run the same job in peace. Gives the processor's seconds that its work took."""
    shutil.copytree(prepared, folder)
    try:
        started = jobs.start(folder, step, settings)
        child = at_work(folder)
        before = work = work_of(child)
        while lives(child):
            work = max(work, work_of(child))
            time.sleep(0.01)
        follow(folder, started.id)
    finally:
        jobs.stop(folder)
    return work - before


def outcome(workspace: Path) -> dict[str, Any]:
    made = {**facts(workspace), "files": list(files(workspace, "datasets", "exports").items())}
    return made | {f"curves of {run.name}": curves(run) for run in runs.runs(Workspace(workspace))}


def curves(run: LoraRun) -> list[tuple[Any, ...]]:
    """Give what was measured and is no matter of the machine, and sums of the weights that came of it."""
    kept = ("step", "epoch", "loss", "grad_norm", "learning_rate", "tokens", "eval_loss")
    lines = [tuple(_rounded(one.get(name)) for name in kept) for one in run.measurements()]
    sums = sorted((name, _rounded(float(tensor.double().sum()))) for name, tensor in weights(run).items())
    return [*lines, (run.state,), *sums]


def _rounded(value: Any) -> Any:
    return f"{value:.5g}" if isinstance(value, float) else value


# --- what the tabs say, beside what is true ---


def seen(page: playwright.Page) -> list[Seen]:
    return [Seen(*one) for one in page.evaluate("window.seen")]


def drawn(page: playwright.Page, since: float, is_new: bool) -> list[Seen]:
    """Give what a tab drew of the job after a moment.

    A tab that was left open keeps its picture while nobody answers, and says that it connects; and what it
    draws just after a kill may have been asked just before. So what counts begins with its next script, or
    with its next connection: a short script may begin and end between two notes.
    """
    noted, found, counts = seen(page), [], is_new
    for before, now in pairwise([NOTHING, *noted]):
        if now.at < since:
            continue
        begins = now.script == "running" != before.script or before.connection != "CONNECTED"
        counts = counts or (now.connection == "CONNECTED" and begins)
        if counts and now.state and now.card != before.card:
            found.append(now)
    return found


def agrees(page: playwright.Page, truth: Truth, since: float, is_new: bool = False) -> float:
    """Wait until a tab says what is true. Gives the moment it first did after the one given.

    Fails when it drew a state that was not true between that moment and its being drawn: an old one.
    """
    moments: list[float] = []

    def does() -> bool:
        page.wait_for_timeout(20)
        now = drawn(page, since, is_new)
        moments.extend(one.at for one in now if truth.told and one.state == truth.at(one.at))
        return bool(moments)

    try:
        wait_for(does, LONG)
    except AssertionError:
        raise AssertionError(f"the tab never told the truth; its last pictures: {seen(page)[-4:]}") from None
    for one in drawn(page, since, is_new):
        true = truth.between(since, one.at)
        assert one.state in true, f"drawn {one.at - since:.2f} s after: {one.state!r}, but true was {true}"
    return moments[0]


# --- the kills ---


@dataclass
class Stand:
    """A job under way: its app, its tabs, what is true of it, and the seconds that were measured."""

    visitor: Visitor
    job_id: str
    truth: Truth
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def app(self) -> App:
        return self.visitor.app

    def new_tab(self, page: str = "jobs") -> playwright.Page:
        opened = self.visitor.tab()
        opened.goto(self.app.url(page), wait_until="commit")
        return opened

    def come_back(self, what: str, killed: float) -> None:
        """Start the app again. The tab that was left open and a new one must both tell the truth."""
        left = self.visitor.page
        started = time.time()  # nobody draws before; an open tab may have drawn before we see the answer
        self.app.start()
        answers = time.time()
        fresh = self.new_tab()
        self.seconds[f"{what}, new tab"] = agrees(fresh, self.truth, started, is_new=True) - answers
        self.seconds[f"{what}, open tab"] = agrees(left, self.truth, started) - answers
        noted = seen(left)
        connected = [
            now.at
            for before, now in pairwise(noted)
            if now.at > killed and now.connection == "CONNECTED" != before.connection
        ]
        self.seconds[f"{what}, open tab is connected"] = connected[-1] - answers
        fresh.close()


def first_paint(stand: Stand) -> None:
    """Measure how long a page takes that says nothing of jobs, by the same app."""
    began = time.time()
    page = stand.new_tab("settings")
    driving.settled(page)
    stand.seconds["first paint of Settings"] = time.time() - began
    page.close()


def kill_the_tab(stand: Stand) -> None:
    stand.visitor.page.close()
    opened = time.time()
    stand.visitor.page = stand.new_tab()
    stand.seconds["tab, new tab"] = agrees(stand.visitor.page, stand.truth, opened, is_new=True) - opened


def kill_the_app(stand: Stand, child: psutil.Process) -> None:
    killed = time.time()
    stand.app.kill()
    assert jobs.worker_alive(stand.app.workspace) and lives(child), "they end with the app"
    stand.come_back("app", killed)


def kill_the_worker(stand: Stand, child: psutil.Process) -> None:
    killed = kill_worker(stand.app.workspace, child)
    stand.seconds["worker, open tab"] = agrees(stand.visitor.page, stand.truth, killed) - killed


def kill_app_and_worker(stand: Stand, child: psutil.Process) -> None:
    """As a power cut would. Only the app's return brings a new worker."""
    stand.app.kill()
    killed = kill_worker(stand.app.workspace, child)
    # The last of its threads may hold the lock a moment longer.
    wait_for(lambda: jobs.job(stand.app.workspace, stand.job_id).state == "interrupted", 2.0)
    stand.come_back("app and worker", killed)


def kill_the_app_before_the_end(stand: Stand, child: psutil.Process) -> None:
    """The job ends while no app lives: whoever comes back must not be told that it runs."""
    killed = time.time()
    stand.app.kill()
    child.resume()
    follow(stand.app.workspace, stand.job_id)
    stand.come_back("app, job ended meanwhile", killed)


def the_run_page_tells_it(stand: Stand, run: str) -> None:
    page = stand.visitor.open("run", run=run)
    playwright.expect(page.get_by_test_id("stMain")).to_contain_text("12 of 12", timeout=LONG * 1_000)
    playwright.expect(page.get_by_test_id("stMain")).to_contain_text("finished")


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Iterator[dict[str, float]]:
    """Collects the seconds measured, and tells them when the test is over."""
    seconds: dict[str, float] = {}
    yield seconds
    plugin = request.config.pluginmanager.getplugin
    with plugin("capturemanager").global_and_fixture_disabled():
        said = "; ".join(f"{what} {took:.2f} s" for what, took in seconds.items())
        plugin("terminalreporter").write_line(f"\n{request.node.name}: {said}")


@pytest.fixture
def visitor(
    browser: playwright.Browser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Visitor]:
    """A person with an app on a workspace that is yet to be filled; what the app starts is slow."""
    fault = SLOW.get(request.node.callspec.params["step"], SLOW_OTHERS)
    monkeypatch.setattr(driving, "environment", lambda: environment(fault))
    for name, value in environment(fault).items():  # for workers that this process starts
        monkeypatch.setenv(name, value)
    app = App(tmp_path / "workspace", tmp_path / "streamlit.log")
    person = Visitor(browser, app)
    person.context.add_init_script(WATCH)
    yield person
    person.close()
    app.stop()


@pytest.mark.parametrize("step", STEPS)
def test_tab_app_and_worker_are_killed_in_turn(
    step: str, cases: dict[str, Case], visitor: Visitor, told: dict[str, float], tmp_path: Path
) -> None:
    case, chance, workspace = cases[step], random.Random(f"{RANDOM_SEED} {step}"), visitor.app.workspace
    shutil.copytree(case.prepared, workspace)
    visitor.app.start()
    visitor.with_a_fresh_tab()
    job = begin(step, case, visitor)
    child = first_child(workspace)
    child.suspend()
    calm = tmp_path / "calm" / workspace.name
    settings = {
        key: value.replace(str(workspace), str(calm)) if isinstance(value, str) else value
        for key, value in job.settings.items()
    }
    work = undisturbed(case.prepared, calm, step, settings)

    with Truth(workspace, job.id) as truth:
        stand = Stand(visitor, job.id, truth, told)
        first_paint(stand)
        kill_the_tab(stand)
        child.resume()
        child = catch(workspace, chance.uniform(0, SECOND), chance.uniform(0, 0.6) * work)
        kill_the_app(stand, child)
        kill_the_worker(stand, child)
        kill_app_and_worker(stand, catch(workspace, chance.uniform(0, SECOND)))
        kill_the_app_before_the_end(stand, catch(workspace, chance.uniform(0, SECOND)))
    assert [one.state for one in jobs.jobs(workspace)] == ["done"]
    if step == "train":
        the_run_page_tells_it(stand, case.settings["run"])
    assert_equal_facts(outcome(workspace), outcome(calm))
    assert_clean(workspace)
