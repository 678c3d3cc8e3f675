"""Every page on an empty, a small and a large store, without a browser: it opens, and says what is wrong."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import jobs
import ui
from curation import review
from curation.assemble import Settings as AssembleSettings
from curation.assemble import assemble
from curation.clean import clean
from curation.decontaminate import Settings as ContaminationSettings
from curation.decontaminate import decontaminate
from curation.errors import DamagedWorkspace
from curation.import_samples import import_samples
from curation.near_duplicates import Settings as NearSettings
from curation.near_duplicates import near_duplicates
from curation.records import question_of
from curation.store import samples
from curation.workspace import DATABASE, Workspace
from tests import big_workspace
from tests.browser.stores import keep_vectors, paired_vectors
from tests.faults import environment
from tests.workspaces import ROOT, TASKS, small_set, write_jsonl

LIMIT = 60  # seconds a page may take on a busy machine
BIG = 10_000  # samples: built in seconds
PAGES = {
    "overview": "pages/overview/overview.py",
    "import": "pages/create/import_samples.py",
    "samples": "pages/create/samples.py",
    "row": "pages/create/row.py",
    "clean": "pages/curate/clean.py",
    "near-duplicates": "pages/curate/near_duplicates.py",
    "decontaminate": "pages/curate/decontaminate.py",
    "review": "pages/curate/review.py",
    "datasets": "pages/train/datasets.py",
    "jobs": "pages/jobs/jobs.py",
    "settings": "pages/settings/settings.py",
}
TITLES = {"clean": "Exact duplicates", "decontaminate": "Contamination"}
DAMAGED = {
    "t": "abc", "at": "-1", "open": "99999999999", "item": "nope", "id": "nope", "after": "%00\x00",
    "before": "1-", "sort": "nope", "place": "nope", "stage": "nope", "reason": "nope", "name": "nope",
    "kind": "nope", "order": "nope", "decision": "nope", "view": "nope", "benchmark": "nope",
    "version": "nope", "from": "nope", "as": "\x00", "search": '"' + "x" * 400,
}  # fmt: skip


# --- three stores ---


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds each store once."""
    folder = tmp_path_factory.mktemp("stores")
    build = {"empty": Workspace, "small": small_store, "large": large_store}
    built: dict[str, Path] = {}

    def store(name: str) -> Path:
        if name not in built:
            build[name](folder / name)
            built[name] = folder / name
        return built[name]

    return store


def small_store(folder: Path) -> None:
    """Run every stage on the small set, with vectors that make its look-alikes gray pairs."""
    workspace = Workspace(folder)
    import_samples(workspace, str(write_jsonl(folder.parent / "small.jsonl", small_set())))
    clean(workspace)
    rows = list(samples.stream(workspace.database, ("instruction", "input", "response")))
    whole = list(dict.fromkeys(question_of(row.instruction, row.input) for row in rows))
    groups = [[text for text in whole if text.rstrip(".") == task] for task in TASKS]
    rest = [text for text in whole if text.rstrip(".") not in TASKS]
    items = [{"task_id": "B/0", "prompt": TASKS[3], "solution": "return PATTERN"}]
    rest += [row.response for row in rows] + ["return PATTERN"]
    keep_vectors(folder, paired_vectors([*groups, *([text] for text in rest)]))
    near_duplicates(workspace, NearSettings())
    file = write_jsonl(folder.parent / "items.jsonl", items)
    decontaminate(workspace, ContaminationSettings((f"small={file}",)))
    review.vote(workspace, review.items(workspace)[0]["item"], "keep-both")
    assemble(workspace, "v1", AssembleSettings(open_cases="drop"))
    assert review.counts(workspace)["open"] > 2


def large_store(folder: Path) -> None:
    big_workspace.build(folder, samples=BIG, pairs=BIG)


@pytest.fixture
def opened(
    stores: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., AppTest]]:
    """Opens a page on a store, with an address."""
    used: set[Path] = set()

    def open_page(store: str, page: str, **query: str) -> AppTest:
        folder = stores(store)
        used.add(folder)
        st.cache_resource.clear()
        st.cache_data.clear()
        monkeypatch.setenv("WINNOW_WORKSPACE", str(folder))
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=LIMIT)
        app.run().switch_page(PAGES[page])  # it knows our names of pages only when it ran once
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        assert [title.value for title in app.title] == [TITLES.get(page, page.capitalize())]
        return app

    yield open_page
    assert not [folder for folder in used if jobs.worker_alive(folder)], "looking starts no worker"


def is_well(app: AppTest) -> None:
    assert not app.exception
    assert len(app.title) == 1 and app.title[0].value
    assert not [error.value for error in app.error if "unexpected" in error.value]


# --- they open ---


def test_every_page_of_the_menu_is_tried() -> None:
    files = {file.relative_to(ROOT).as_posix() for file in (ROOT / "pages").glob("*/*.py")}
    assert files == set(PAGES.values())


@pytest.mark.parametrize("store", ["empty", "small", "large"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_on_a_store_of_any_size(opened: Callable[..., AppTest], store: str, page: str) -> None:
    app = opened(store, page)
    is_well(app)
    assert not app.error


@pytest.mark.parametrize("store", ["empty", "small"])
@pytest.mark.parametrize("page", PAGES)
def test_a_damaged_address_gives_a_message_or_the_default(
    opened: Callable[..., AppTest], store: str, page: str
) -> None:
    is_well(opened(store, page, **DAMAGED))
    for name in ("t", "at", "after", "version"):  # a number that is none, one that is too large
        is_well(opened(store, page, **{name: "9" * 30}))


def test_clusters_and_pairs_open_on_a_large_store(opened: Callable[..., AppTest]) -> None:
    for query in ({"view": "Clusters"}, {"t": "0.7", "at": "40", "order": "most"}, {"decision": "ask"}):
        app = opened("large", "near-duplicates", **query)
        is_well(app)
        assert not app.error and not app.info


def test_every_row_of_the_small_store_tells_its_story(
    opened: Callable[..., AppTest], stores: Callable[[str], Path]
) -> None:
    for row in list(samples.stream(Workspace(stores("small")).database, ("id",)))[::4]:
        app = opened("small", "row", id=row.id)
        is_well(app)
        assert not app.error
        assert row.id in [text.value.removeprefix("id ") for text in app.text]


def test_a_row_that_is_not_there_is_told(opened: Callable[..., AppTest]) -> None:
    app = opened("small", "row", id="nope")
    is_well(app)
    assert any("nope" in error.value for error in app.error)


def test_a_database_that_was_replaced_is_read_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A backup restored under a running app: a vote must not go into the file that was there before."""
    for name, rows in (("shown", small_set()), ("backup", small_set()[:1])):
        workspace = Workspace(tmp_path / name)
        import_samples(workspace, str(write_jsonl(tmp_path / f"{name}.jsonl", rows)))
        workspace.database.close()
    monkeypatch.setenv("WINNOW_WORKSPACE", str(tmp_path / "shown"))
    st.cache_resource.clear()
    st.cache_data.clear()
    before = ui.workspace()
    assert ui.funnel().samples > 1
    shutil.copy(tmp_path / "backup" / DATABASE, tmp_path / "restored")
    (tmp_path / "restored").replace(before.database.path)
    assert ui.funnel().samples == 1
    assert ui.workspace() is ui.workspace() is not before
    before.database.path.unlink()
    with pytest.raises(DamagedWorkspace, match=f"{DATABASE} is gone.*bring it back"):
        ui.workspace()


def test_hidden_characters_of_other_columns_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Text that turns the direction of reading around could say another thing than it shows (S21)."""
    file = write_jsonl(tmp_path / "bidi.jsonl", [{"instruction": "a", "output": "b", "note": "x\u202ey"}])
    workspace = Workspace(tmp_path / "workspace")
    import_samples(workspace, str(file))
    (row,) = samples.stream(workspace.database, ("id",))
    monkeypatch.setenv("WINNOW_WORKSPACE", str(workspace.folder))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=LIMIT).run().switch_page(PAGES["row"])
    app.query_params["id"] = row.id
    app.run()
    assert json.loads(app.json[0].value) == {"note": "x⟦U+202E⟧y"}


# --- what they must not load or do ---

VISIT = """
import sys
from streamlit.testing.v1 import AppTest
for page in sys.argv[2:]:
    app = AppTest.from_file(sys.argv[1], default_timeout=60)
    app.run().switch_page(page)
    app.run()
    assert not app.exception, page
print([name for name in ("torch", "transformers", "sentence_transformers") if name in sys.modules])
"""


def test_no_page_loads_torch(stores: Callable[[str], Path], tmp_path: Path) -> None:
    workspace = shutil.copytree(stores("small"), tmp_path / "workspace")
    words = [sys.executable, "-c", VISIT, str(ROOT / "app.py"), *PAGES.values()]
    given = environment() | {"WINNOW_WORKSPACE": str(workspace)}
    done = subprocess.run(words, cwd=ROOT, env=given, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr[-2000:]


def test_a_broken_store_is_told_in_one_line_and_its_traceback_kept_from_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folder cannot be read as a workspace: the page still has its menu and says so."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "winnow.sqlite").write_bytes(b"not a database at all" * 100)
    monkeypatch.setenv("WINNOW_WORKSPACE", str(broken))
    st.cache_resource.clear()
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=LIMIT).run()
    assert not app.exception and len(app.error) == 1
    assert "Traceback" not in json.dumps([error.value for error in app.error])
