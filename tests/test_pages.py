"""Every page on an empty, a small and a large store, without a browser: it opens, and says what is wrong."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import jobs
import ui
from curation import compared_texts, review
from curation.assemble import Settings as AssembleSettings
from curation.assemble import assemble
from curation.clean import clean
from curation.decontaminate import Settings as ContaminationSettings
from curation.decontaminate import decontaminate
from curation.errors import DamagedWorkspace
from curation.generate import generate, settings_of
from curation.import_samples import import_samples
from curation.near_duplicates import near_duplicates
from curation.pair_settings import Settings as NearSettings
from curation.records import question_of
from curation.seeds import Settings as SeedSettings
from curation.seeds import add_seeds
from curation.store import documents, samples, seed_browsing
from curation.workspace import DATABASE, Workspace
from tests import big_evolution, big_workspace
from tests.browser.stores import keep_vectors, paired_vectors
from tests.faults import environment
from tests.loopback_teacher import finished, html_page, loopback_teacher
from tests.made_up_seeds import in_sections
from tests.seed_projects import MIT, source_of, write, write_project
from tests.workspaces import ROOT, TASKS, small_set, write_jsonl
from training import run as runs
from training.base_model import practice_folder
from training.chat import SIDES, Sampling
from training.chat_process import Talk
from training.launch_card import GROUPS
from training.lora import launch
from training.run import LoraRun

LLAMA = {
    "model_type": "llama", "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4,
    "num_attention_heads": 4, "vocab_size": 3072, "tie_word_embeddings": True,
}  # fmt: skip
LIMIT = 60  # seconds a page may take on a busy machine
BIG = 10_000  # samples: built in seconds
PAGES = {
    "overview": "pages/overview/overview.py",
    "import": "pages/create/import_samples.py",
    "harvest": "pages/create/harvest.py",
    "seeds": "pages/create/seeds.py",
    "documents": "pages/create/documents.py",
    "generate": "pages/create/generate.py",
    "replies": "pages/create/replies.py",
    "prompts": "pages/create/prompts.py",
    "evolve": "pages/create/evolve.py",
    "trees": "pages/create/trees.py",
    "samples": "pages/create/samples.py",
    "row": "pages/create/row.py",
    "clean": "pages/curate/clean.py",
    "near-duplicates": "pages/curate/near_duplicates.py",
    "decontaminate": "pages/curate/decontaminate.py",
    "insights": "pages/curate/insights.py",
    "review": "pages/curate/review.py",
    "datasets": "pages/train/datasets.py",
    "train": "pages/train/train.py",
    "runs": "pages/train/runs.py",
    "run": "pages/train/run.py",
    "chat": "pages/train/chat.py",
    "jobs": "pages/jobs/jobs.py",
    "settings": "pages/settings/settings.py",
}
TITLES = {
    "prompts": "Prompt bench", "clean": "Exact duplicates", "decontaminate": "Contamination",
    "trees": "Family trees",
}  # fmt: skip
DAMAGED = {
    "t": "abc", "at": "-1", "open": "99999999999", "item": "nope", "id": "nope", "after": "%00\x00",
    "before": "1-", "sort": "nope", "place": "nope", "stage": "nope", "reason": "nope", "name": "nope",
    "kind": "nope", "order": "nope", "decision": "nope", "view": "nope", "benchmark": "nope",
    "version": "nope", "from": "nope", "as": "\x00", "search": '"' + "x" * 400,
    "run": "../nope", "show": "nope", "with": "nope", "x": "nope", "base": ":other", "base_at": "\x00",
    "recipe": "nope", "method": "nope", "set_batch": "-1", "set_epochs": "nan", "set_targets": "\x00",
    "set_nope": "1", "language": "nope", "source": "\x00", "licence": "<b>", "lines": "9-1", "seed": "nope",
    "document": "nope", "state": "nope", "harvest_id": "nope", "policy": "nope", "many": "nope",
    "way": "nope", "g": "nope", "reply": "-1", "flag": "nope", "ids": "nope,\x00", "p0": "nope", "pair": "0",
    "evolution": "nope", "root": "99999999999", "step": "\x00", "round": "-1", "heuristic": "nope",
    "rule": "<b>", "cut": "nope", "through": "x",
}  # fmt: skip


# --- three stores ---


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds each store once."""
    folder = tmp_path_factory.mktemp("stores")
    build = {
        "empty": Workspace, "small": small_store, "large": large_store, "trained": trained_store,
        "harvested": harvested_store, "evolved": evolved_store, "slow drafts": slow_drafts_store,
    }  # fmt: skip
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


def slow_drafts_store(folder: Path) -> None:
    """The small store, compared where bfloat16 is slower than float32."""
    small_store(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compared_texts, "pace_if_slow", lambda draft, exact: 53.125)
        near_duplicates(Workspace(folder), NearSettings(draft=True))


def harvested_store(folder: Path) -> None:
    """Seeds and documents that were left out, of a project and an archive of nothing that is used."""
    workspace = Workspace(folder)
    add_seeds(workspace, str(write_project(folder.parent / "project")), SeedSettings(workers=1))
    write(folder.parent / "unlicensed", "a.py", source_of("Python", 700))
    add_seeds(workspace, str(folder.parent / "unlicensed"), SeedSettings(workers=1))
    with loopback_teacher(in_sections, [None, finished("length"), html_page()]) as teacher:
        asked = {"model": "loopback", "base_url": teacher.base_url, "limit": 8, "concurrency": 1}
        generate(workspace, settings_of(asked), None)


def trained_store(folder: Path) -> None:
    """The small store, a base that has a shape but no weights, and runs whose files were written by hand."""
    small_store(folder)
    workspace = Workspace(folder)
    base = practice_folder(workspace)
    base.mkdir(parents=True)
    (base / "config.json").write_text(json.dumps(LLAMA))
    (base / "model.safetensors").write_bytes(b"no weights")
    held_out = [row.id for row in list(samples.stream(workspace.database, ("id",)))[:3]]
    for steps, failed in ((30, False), (900, False), (12, True)):
        run = launch(workspace, "v1", changes={"max_steps": steps})
        write_run(run, steps, held_out, failed)


def write_run(run: LoraRun, steps: int, held_out: list[str], failed: bool) -> None:
    counted = {
        "rows": 20, "unusable": {}, "infilling": 0, "tokens": 900, "learned_tokens": 400,
        "learned_bytes": 1_200, "cut": 2, "longest": 99, "median": 60,
    }  # fmt: skip
    unusable = {"prompt longer than the cutoff": 3}
    told = {"steps": steps, "warm_up": 10, "train": {**counted, "unusable": unusable}, "validation": counted}
    run.write(runs.DATA, {**told, "unusable": {held_out[0]: "prompt longer than the cutoff"}})
    (run.folder / "evaluations").mkdir()
    for step in range(steps + 1):
        if step % 10 == 0:
            run.measure(step=step, epoch=step / 20, eval_loss=5 - step / 900, eval_bits_per_byte=2.5)
            loss = {id: 4.0 + n + step / 900 for n, id in enumerate([*held_out, "gone"])}
            run.write(f"evaluations/step-{step}.json", {"step": step, "loss": loss})
        if step:
            run.measure(
                step=step, epoch=step / 20, loss=5.0, grad_norm=0.1, learning_rate=1e-3, tokens=step * 50,
                tokens_per_second=9.0, memory=2**30,
            )  # fmt: skip
    if failed:
        run.write(runs.FAILURE, {"reason": "Memory ran out at step 12 <b>", "step": steps})
        return
    run.output.mkdir()
    (run.output / "README.md").write_text("# a card")
    run.write(runs.RESULT, {"run": run.name, "state": runs.FINISHED, "steps": steps})


def evolved_store(folder: Path) -> None:
    big_evolution.build(folder, 30)


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


@pytest.mark.parametrize("store", ["empty", "small", "large", "trained", "evolved"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_on_a_store_of_any_size(opened: Callable[..., AppTest], store: str, page: str) -> None:
    app = opened(store, page)
    is_well(app)
    assert not app.error


@pytest.mark.parametrize("store", ["empty", "small", "trained", "evolved"])
@pytest.mark.parametrize("page", PAGES)
def test_a_damaged_address_gives_a_message_or_the_default(
    opened: Callable[..., AppTest], store: str, page: str
) -> None:
    is_well(opened(store, page, **DAMAGED))
    for name in ("t", "at", "after", "version"):  # a number that is none, one that is too large
        is_well(opened(store, page, **{name: "9" * 30}))


# --- seeds ---

SEED_PAGES = ("harvest", "seeds", "documents")


def test_the_pages_of_generation_tell_what_became_of_every_seed(opened: Callable[..., AppTest]) -> None:
    app = opened("harvested", "generate")
    is_well(app)
    assert not app.error
    told = shown(app)
    assert "111 seeds" in told and "loopback" in str([one.value for one in app.text_input])
    assert "Ledger" in str([one.label for one in app.expander])
    app = opened("harvested", "replies")
    (table,) = (one.value for one in app.dataframe)
    assert table["Why not"].tolist()[:3] == [
        "", "cut off at the longest length allowed", "not in the form of a completion"
    ]  # fmt: skip
    assert table[""].tolist() == ["samples", "rejected", "failed", *["samples"] * 5]
    app = opened("harvested", "replies", state="failed")
    assert "1 reply fit" in shown(app) and "Sign in to the network" in shown(app)


def test_what_a_run_will_take_is_told_before_it_and_what_was_paid_after_it(
    opened: Callable[..., AppTest],
) -> None:
    """A run that was over still foresaw "106 to 121" samples; and what was paid stood in the ledger only."""
    app = opened("harvested", "generate")
    assert "What 111 seeds will take" in shown(app) and "Samples in all" in shown(app)
    assert "so far, by the prices above" not in shown(app)
    app.number_input(key="generate_limit").set_value(8)
    app.number_input(key="generate_price_in").set_value(1_000.0)
    app.number_input(key="generate_price_out").set_value(2_000.0).run()
    is_well(app)
    told = shown(app)
    assert "will take" not in told and "Samples in all" not in told
    assert "so far, by the prices above" in told


def test_prices_that_were_entered_stand_there_the_next_time(
    opened: Callable[..., AppTest], stores: Callable[[str], Path]
) -> None:
    def set_prices(*prices: float | None) -> None:
        with Workspace(stores("harvested")).database.transaction() as connection:
            change = "UPDATE generation SET settings = json_set(settings, '$.price_in', ?, '$.price_out', ?)"
            connection.exec_driver_sql(change, prices)

    set_prices(2.5, 10)
    app = opened("harvested", "generate")
    set_prices(None, None)  # the store is that of other tests, too
    is_well(app)
    assert [app.number_input(key=f"generate_price_{way}").value for way in ("in", "out")] == [2.5, 10]


@pytest.mark.parametrize("page", SEED_PAGES)
def test_the_pages_of_seeds_open_on_a_store_that_has_some(opened: Callable[..., AppTest], page: str) -> None:
    app = opened("harvested", page)
    is_well(app)
    assert not app.error
    if page == "harvest":
        (table,) = (one.value for one in app.dataframe)
        assert table[["Documents", "Used", "Left out"]].values.tolist() == [[120, 111, 9], [1, 0, 1]]
        assert "whitespace 1" in table["Mostly because"][0] or "generated 3" in table["Mostly because"][0]
    else:
        assert {"seeds": "111 seeds", "documents": "121 documents"}[page] in shown(app)


@pytest.mark.parametrize(
    ("page", "parameter", "values", "told"),
    [
        ("seeds", "search", ('"', "a* OR NEAR(", "x" * 400), "seed"),
        ("seeds", "sort", ("nope",), "111 seeds"),
        ("seeds", "language", ("<b>",), "No seed fits"),
        ("seeds", "source", ("nope",), "No seed fits"),
        ("seeds", "licence", ("nope",), "No seed fits"),
        ("seeds", "method", ("nope",), "No seed fits"),
        ("seeds", "lines", ("9-1", "1-" + "9" * 7), "111 seeds"),
        ("seeds", "seed", ("nope", "\x00"), "There is no such seed"),
        ("seeds", "after", ("nope",), "1 to 50 of 111"),
        ("seeds", "before", ("-1",), "1 to 50 of 111"),
        ("seeds", "after", ("9" * 19,), ""),
        ("documents", "state", ("\x00",), "No document fits"),
        ("documents", "stage", ("nope",), "No document fits"),
        ("documents", "reason", ("<b>",), "No document fits"),
        ("documents", "harvest_id", ("nope",), "No document fits"),
        ("documents", "search", ("%\x00'\"--",), "document"),
        ("documents", "sort", ("nope",), "121 documents"),
        ("documents", "document", ("9" * 15, "9" * 30, "²"), "There is no such document"),
        ("documents", "after", ("nope", "9" * 40), ""),
    ],
)  # fmt: skip
def test_a_damaged_view_of_seeds_gives_a_message_or_the_default(
    opened: Callable[..., AppTest], page: str, parameter: str, values: Sequence[str], told: str
) -> None:
    for value in values:
        app = opened("harvested", page, **{parameter: value})
        is_well(app)
        assert not app.error and told in shown(app), value


def test_a_damaged_way_to_harvest_is_the_default(opened: Callable[..., AppTest]) -> None:
    app = opened("harvested", "harvest", policy="nope", many="nope", **{"from": "nope"})
    is_well(app)
    assert not app.error and "Folder, archive or file" in [one.label for one in app.text_input]


@pytest.mark.parametrize("way", ["Upload", "Git address", "Installed packages", "Hugging Face hub"])
def test_every_way_to_name_a_source_opens(opened: Callable[..., AppTest], way: str) -> None:
    app = opened("harvested", "harvest", policy="syntax", many="Equal shares", **{"from": way})
    is_well(app)
    (start,) = (one for one in app.button if one.key == "harvest_start")
    assert not app.error and start.disabled == (way != "Installed packages")
    assert app.number_input(key="harvest_each").value == 5_000


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("/nowhere/at/all", "is not on this machine"),
        ("x" * 3_000, "is not on this machine"),
        ("a\x00b", "is not on this machine"),
        ("~nobody-is-called-so/code", "is not on this machine"),
        ("/dev/null", ""),
        ("/proc/1/root", ""),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line(
    opened: Callable[..., AppTest], typed: str, told: str
) -> None:
    app = opened("harvested", "harvest")
    app.text_input(key="harvest_Path on this machine").set_value(typed).run()
    is_well(app)
    (error,) = app.error
    assert told in error.value.replace("\\", "") and "Harvested so far" in [s.value for s in app.subheader]


def test_a_folder_that_was_missing_is_seen_as_soon_as_it_is_there(
    opened: Callable[..., AppTest], tmp_path: Path
) -> None:
    app = opened("harvested", "harvest")
    app.text_input(key="harvest_Path on this machine").set_value(str(tmp_path / "late")).run()
    assert "is not on this machine" in app.error[0].value.replace("\\", "")
    write(tmp_path / "late", "LICENSE", MIT)
    write(tmp_path / "late", "a.py", source_of("Python", 600))
    app.run()
    assert not app.error and "1 document of all 1 read" in shown(app)


def test_documents_that_harvests_left_out_say_why(opened: Callable[..., AppTest]) -> None:
    for reason in ("generated", "near_duplicate_document", "same_document"):
        app = opened("harvested", "documents", reason=reason)
        workspace = ui.workspace()
        rows, page = seed_browsing.document_page(
            workspace.database, seed_browsing.DocumentQuery(reason=reason)
        )
        assert rows and f"**{ui.count_of(page.total, 'document')}**" in shown(app)
        for row in rows[:1]:
            app = opened("harvested", "documents", document=str(row.seq))
            is_well(app)
            assert row.path in shown(app) and "Put it back" in labels(app)
            if kept := row.evidence.get("kept"):
                other = documents.at(workspace.database, kept["source"], kept["path"])
                assert other is not None and kept["path"] in shown(app)


# --- training ---


def shown(app: AppTest) -> str:
    """Give what a page says in its texts, letter by letter."""
    kinds = (app.markdown, app.caption, app.text, app.info, app.warning, app.error, app.code)
    return "\n".join(one.value for kind in kinds for one in kind).replace("\\", "")


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()


def labels(app: AppTest) -> set[str]:
    return {button.label for button in app.button}


def test_the_card_says_what_will_happen_and_every_setting_can_be_changed(
    opened: Callable[..., AppTest],
) -> None:
    app = opened("trained", "train", set_batch="8", set_micro_batch="4", set_max_steps="0")
    is_well(app)
    text = shown(app)
    for told in ("92,160", "7.70% of 1,197,184", "review cases are open now", "small, 1 task"):
        assert told in text
    assert "python -m training train v1 --recipe practice --base-model practice --set batch=8" in text
    assert "changed here" in text and "Advanced (3 changed)" in [one.label for one in app.expander]
    keys = {
        one.key for kind in ("number_input", "selectbox", "multiselect", "toggle") for one in app.get(kind)
    }
    assert {f"query_set_{name}" for names in GROUPS.values() for name in names} <= keys
    app.number_input(key="query_set_batch").set_value(16).run()
    assert app.query_params.get("set_batch") is None, "the recipe's own value needs no address"
    app.number_input(key="query_set_rank").set_value(8).run()
    assert app.query_params["set_rank"] in ("8", ["8"]) and "46,080" in shown(app)


def test_settings_from_a_file_fill_the_page(opened: Callable[..., AppTest]) -> None:
    app = opened("trained", "train", name="mine", set_rank="4")
    assert "--name mine" in shown(app)
    app.text_area(key="train_settings_text").set_value("settings:\n  ranks: 8")
    press(app, "Use these settings")
    assert "There is no setting 'ranks'" in app.error[0].value.replace("\\", "")
    app.text_area(key="train_settings_text").set_value(
        "version: v1\nrecipe: platypus-13b\nbase_model: /nope\nsettings:\n  batch: 8\n  micro_batch: 4\n"
    )
    press(app, "Use these settings")
    asked = {name: value for name, value in app.query_params.items() if name != "name"}
    assert {name: value[-1] if isinstance(value, list) else value for name, value in asked.items()} == {
        "version": "v1", "recipe": "platypus-13b", "base": ":other", "base_at": "/nope",
        "set_batch": "8", "set_micro_batch": "4",
    }  # fmt: skip


def test_another_recipe_takes_changes_back(opened: Callable[..., AppTest]) -> None:
    app = opened("trained", "train", set_batch="8", set_micro_batch="4")
    app.selectbox(key="query_recipe").set_value("magicoder").run()
    is_well(app)
    assert "set_batch" not in app.query_params and "this trains a LoRA" not in shown(app)
    assert "1,197,184" in shown(app), "all weights, as the recipe was published"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"set_batch": "3", "set_micro_batch": "2"}, "batch 3 must be a multiple of micro_batch 2"),
        ({"set_learning_rate": "7"}, "learning_rate 7 must lie between"),
        ({"set_targets": " "}, "targets must name at least one module"),
        ({"base": ":other", "base_at": "/nope"}, "There is no base model '/nope'"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_no_button(
    opened: Callable[..., AppTest], query: dict[str, str], message: str
) -> None:
    app = opened("trained", "train", **query)
    is_well(app)
    (error,) = app.error
    assert message in error.value.replace("\\", "")
    assert not [one for one in app.button if one.key == "train_start" and not one.disabled]


def test_a_missing_practice_base_is_offered(opened: Callable[..., AppTest]) -> None:
    app = opened("small", "train")
    is_well(app)
    assert "Make the practice base" in labels(app) and "Train" not in labels(app)
    assert "no download" in shown(app)


def test_a_run_tells_its_numbers_rows_and_settings(opened: Callable[..., AppTest]) -> None:
    app = opened("trained", "run", run="v1-practice-1")
    is_well(app)
    assert "30 of 30" in shown(app) and "5.000 → 4.967" in shown(app)
    worst = app.dataframe[-1].value
    assert worst["Held-out row"][0] == "no longer in this workspace"
    assert worst["Loss a token"].is_monotonic_decreasing
    assert "This row is no longer in this workspace" in shown(app)
    for view, told in (("Data", "3 rows could not"), ("Settings", "Frozen when"), ("Result", "# a card")):
        assert told in shown(opened("trained", "run", run="v1-practice-1", show=view, x="Tokens"))


def test_two_runs_are_laid_over_each_other_with_what_differs(opened: Callable[..., AppTest]) -> None:
    app = opened("trained", "run", run="v1-practice-1", show="Compare", **{"with": "v1-practice-2"})
    is_well(app)
    (table,) = (one.value for one in app.dataframe)
    assert table.values.tolist() == [["max steps", "30", "900"]]


def test_a_failed_run_says_why_and_can_go_on(opened: Callable[..., AppTest]) -> None:
    app = opened("trained", "run", run="v1-practice-3")
    is_well(app)
    assert [error.value.replace("\\", "") for error in app.error] == ["Memory ran out at step 12 <b>"]
    assert labels(app) >= {"Resume", "Discard"}
    app.button(key="run_discard").click().run()
    assert "Yes, throw its weights away" in labels(app), "throwing weights away asks once more"
    app.button(key="run_discard_not").click().run()
    assert "Discard" in labels(app)


def test_chat_offers_runs_with_weights_and_the_rows_held_out(opened: Callable[..., AppTest]) -> None:
    app = opened("trained", "chat", run="v1-practice-3")
    is_well(app)
    assert "The run v1-practice-3 is failed and has no weights yet." in shown(app)
    assert app.selectbox(key="query_run").options == ["v1-practice-2", "v1-practice-1"]
    assert "Each question stands alone" in shown(app) and "too small to solve tasks" in shown(app)
    app.text_area(key="chat_instruction").set_value(" ")
    app.button(key="chat_ask").click().run()
    assert [error.value for error in app.error] == ["There is no question\\; write an instruction"]
    empty = opened("empty", "chat")
    assert "Nothing was trained yet" in shown(empty) and not empty.button


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "It answered nothing."),
        (" \n", "It answered white space only."),
        ("a\x1b[2Jb\u202e", "a⟦U+001B⟧[2Jb⟦U+202E⟧"),
        ("<b>**x**</b> :red[y]", "<b>**x**</b> :red[y]"),
        ("x" * 100_001, "The first 100,000 of 100,001 characters"),
    ],
)
def test_whatever_a_model_answers_is_shown_as_text(
    opened: Callable[..., AppTest], text: str, told: str
) -> None:
    talk = Talk(1, "v1-practice-1")
    for side in SIDES:
        talk.texts[side] = text
        talk.answers[side] = {"text": text, "tokens": 2, "tokens_per_second": None, "ended": "end token"}
    talk.end("it <b>broke</b>")
    app = opened("trained", "chat")
    entry = {"id": 1, "run": talk.run, "instruction": "q", "input": "i", "sampling": Sampling()}
    app.session_state["chat_history"] = [{**entry, "reference": "the answer", "talk": talk}]
    app.run()
    is_well(app)
    assert shown(app).count(told) == 2 and "2 tokens · ended by its end token" in shown(app)
    assert [error.value.replace("\\", "") for error in app.error] == ["it <b>broke</b>"]
    blocks = [block.value for block in app.code]
    assert blocks[:2] == ["q", "i"] and blocks[-1] == "the answer"
    assert not any("**x**" in one.value for one in app.markdown), "only code blocks hold a model's text"


def test_runs_are_listed_the_newest_first(opened: Callable[..., AppTest]) -> None:
    table = opened("trained", "runs").dataframe[0].value
    assert list(table["Run"]) == ["v1-practice-3", "v1-practice-2", "v1-practice-1"]
    assert list(table["State"]) == ["failed", "finished", "finished"]
    assert [len(losses) for losses in table["Training loss"]] == [12, 40, 30]


def test_a_damaged_run_is_told_among_the_runs_and_leaves_the_overview_alone(
    stores: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = shutil.copytree(stores("trained"), tmp_path / "workspace")
    (folder / "runs" / "v1-practice-1" / runs.SETTINGS).write_text("{")
    monkeypatch.setenv("WINNOW_WORKSPACE", str(folder))
    st.cache_resource.clear()
    st.cache_data.clear()
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=LIMIT).run()
    is_well(app)
    assert not app.error
    app.switch_page(PAGES["runs"]).run()
    is_well(app)
    (line,) = (one.value.replace("\\", "") for one in app.warning)
    assert "v1-practice-1/settings.json" in line and "restore it from a backup" in line
    assert not app.error and list(app.dataframe[0].value["Run"]) == ["v1-practice-3", "v1-practice-2"]


def test_clusters_and_pairs_open_on_a_large_store(opened: Callable[..., AppTest]) -> None:
    for query in (
        {"view": "Clusters"},
        {"view": "Pairs", "t": "0.7", "at": "40", "order": "most"},
        {"view": "Pairs", "decision": "ask"},
        {"view": "Pairs", "source": "evol_instruct_80k.jsonl", "method": "imported"},
        {"view": "Pairs", "bin": "0.83", "t": "0.83"},
        {"view": "Band"},
        {"view": "What if", "t": "0.75"},
        {"view": "What if", "t": "0.75", "moved": "out"},
        {"view": "Sources"},
        {"view": "Reasons"},
    ):
        app = opened("large", "near-duplicates", **query)
        is_well(app)
        assert not app.error and not app.info


def test_a_run_whose_drafts_did_not_pay_says_so(opened: Callable[..., AppTest]) -> None:
    app = opened("slow drafts", "near-duplicates")
    is_well(app)
    told = "All in float32: bfloat16 took 53.1 times its seconds on this machine."
    assert told in [one.value for one in app.caption]
    assert told not in [one.value for one in opened("small", "near-duplicates").caption]


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
