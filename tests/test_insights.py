"""Insights: the numbers are those of a plain computation, and behind every bar stand exactly its rows."""

import gzip
import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from curation import insights as step
from curation.backup import backup, restore
from curation.clean import clean
from curation.embedding import WordPieces
from curation.errors import DamagedWorkspace, WrongInput
from curation.fence_language import language_of
from curation.import_samples import Settings as ImportSettings
from curation.import_samples import import_samples
from curation.insight_browser import FACETS, SORTS, InsightBrowser, InsightCounts, InsightQuery
from curation.insights import CATEGORIES, PUBLISHED_MEANS, Settings, hundredths, insights, nearest, similarity
from curation.records import BenchmarkItem
from curation.seeds import Settings as SeedSettings
from curation.seeds import add_seeds
from curation.stage import silent
from curation.store import benchmarks, samples
from curation.workspace import Workspace
from jobs.steps import STEPS, check, settled, title_of
from tests.browser.stores import keep_vectors
from tests.seed_projects import write_project
from tests.workspaces import ROOT, SHARED, CommandLine, needs_shared, row, small_set, write_jsonl

WORDS = re.compile(r"\b\w\w+\b")  # scikit-learn's default: what the independent computation splits by
TASKS = [
    {
        "task_id": "T/0",
        "prompt": "def reverse(text): reverse a string",
        "canonical_solution": "return text[::-1]",
    },
    {"task_id": "T/1", "prompt": "def search(a, key): binary search", "canonical_solution": "return low"},
]


# --- words ---


def plain_scores(texts: Sequence[str], tasks: Sequence[str]) -> tuple[list[float], list[int]]:
    """Compute TF-IDF cosines from their definition: counts, ln((1 + n) / (1 + df)) + 1, unit length."""
    counted = [Counter(WORDS.findall(text.lower())) for text in (*texts, *tasks)]
    held = Counter(word for one in counted for word in one)
    weight = {word: math.log((1 + len(counted)) / (1 + df)) + 1 for word, df in held.items()}
    vectors = []
    for one in counted:
        vector = {word: number * weight[word] for word, number in one.items()}
        length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
        vectors.append({word: value / length for word, value in vector.items()})
    holders: dict[str, list[tuple[int, float]]] = {}
    for number, vector in enumerate(vectors[len(texts) :]):
        for word, value in vector.items():
            holders.setdefault(word, []).append((number, value))
    scores, best = [], []
    for vector in vectors[: len(texts)]:
        found = [0.0] * len(tasks)
        for word, value in vector.items():
            for number, other in holders.get(word, ()):
                found[number] += value * other
        scores.append(max(found))
        best.append(found.index(max(found)))
    return scores, best


def test_a_score_is_the_cosine_worked_out_by_hand() -> None:
    """Of three texts all hold alpha (weight 1), two hold beta (ln(4/3) + 1)."""
    scores, best = similarity(iter(["alpha beta", "Alpha, a"]), 2, ["beta alpha"])
    beta = math.log(4 / 3) + 1
    assert scores.tolist() == pytest.approx([1.0, 1 / math.sqrt(1 + beta**2)], abs=1e-6)
    assert best.tolist() == [0, 0]


def test_a_row_meets_its_nearest_task_the_first_of_equals_and_may_meet_none() -> None:
    scores, best = similarity(["red fox", "blue whale", "x y z"], 3, ["blue whale", "red fox", "red fox"])
    assert best.tolist() == [1, 0, 0] and scores.tolist() == pytest.approx([1, 1, 0], abs=1e-6)
    assert scores.max() <= 1.0


def test_the_fit_is_joint_so_another_row_moves_every_score() -> None:
    task = ["sort the list of names"]
    alone, _ = similarity(["sort the cards"], 1, task)
    beside, _ = similarity(["sort the cards", "the cards of the house"], 2, task)
    assert abs(float(alone[0]) - float(beside[0])) > 0.01


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"word{n % 7} word{n % 5} word{n % 3} common" for n in range(50)]
    tasks = ["word1 word2 common", "word6 word4"]
    whole = similarity(texts, 50, tasks)
    monkeypatch.setattr(step, "CELLS", 14)  # seven rows at a time
    for one, other in zip(whole, similarity(texts, 50, tasks), strict=True):
        assert (one == other).all()


def test_texts_without_a_word_are_one_line() -> None:
    with pytest.raises(WrongInput, match="word of two letters"):
        similarity(["?", "1"], 2, ["+"])


def test_scores_are_rounded_to_hundredths() -> None:
    assert hundredths(np.array([0.0, 0.004, 0.0051, 0.105, 0.999, 1.0], np.float32)).tolist() == [
        0, 0, 1, 10, 100, 100,
    ]  # fmt: skip


@needs_shared
def test_real_sets_beside_humaneval_score_as_the_definition_says(cli: CommandLine) -> None:
    """Every row of Code Alpaca and of its first evolution, against all 164 tasks: scores, tasks and means."""
    names = ("code_alpaca_2k", "evol_codealpaca_2k_round1")
    for name in names:
        cli.done("samples", "import", SHARED / f"instructions/{name}.json.gz", "--name", name)
    file = SHARED / "benchmarks/humaneval.jsonl.gz"
    done = cli.done("insights", "--benchmark", f"humaneval={file}", "--no-categories")
    workspace = Workspace(cli.workspace)
    rows = list(samples.stream(workspace.database, ("name", "instruction", "input", "response")))
    texts = [f"{r.instruction} {r.input} {r.response}".replace("  ", " ") for r in rows]
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        tasks = [json.loads(line) for line in opened]
    scores, best = plain_scores(texts, [f"{t['prompt']} {t['canonical_solution']}" for t in tasks])

    assert (done["samples"], done["items"], done["published_means"]) == (len(rows), 164, PUBLISHED_MEANS)
    for name in names:
        own = [score for score, one in zip(scores, rows, strict=True) if one.name == name]
        assert done["means"][name] == pytest.approx(sum(own) / len(own), abs=1e-6)
    browser = opened_browser(workspace)
    lines, _ = browser.rows_of(InsightQuery(sort="import"), size=len(rows))
    assert [line.score for line in lines] == pytest.approx(scores, abs=1e-6)
    # Two tasks may be equally near but for the last bit of a sum.
    named = [(line.task.item, tasks[place]["task_id"]) for line, place in zip(lines, best, strict=True)]
    assert sum(one != other for one, other in named) < 5
    assert done["tokens"]["mean_solution"] == pytest.approx(np.mean([line.solution for line in lines]))
    assert sum(done["languages"].values()) == len(rows) and done["languages"]["Python"] > 500


# --- lengths and languages ---


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("  Hello\n\n\tWORLD ", 2),  # neither white space nor capitals
        ("def f(x):", 6),
        ("unbelievable words " * 300, 600),  # nothing is cut at the model's 256
    ],
)
def test_tokens_are_those_of_the_bundled_tokenizer(text: str, tokens: int) -> None:
    assert WordPieces().count([text]) == [tokens]


@pytest.mark.parametrize(
    ("response", "seed", "language", "rule"),
    [
        ("```python\nx = 1\n```", None, "Python", "fence"),
        ("Text\n  ```JS\nlet x\n  ```", None, "JavaScript", "fence"),
        ("~~~ c++ title=a\nint x;\n~~~", "Rust", "C++", "fence"),
        (
            "```\nx\n```\n```sql\nSELECT 1\n```\n```java\n```",
            None,
            "SQL",
            "fence",
        ),  # the first that names one
        ("```text\nx\n```\n```rs\n```", None, "Rust", "fence"),  # a word that is no language is passed over
        ("```output\nx\n```", "Swift", "Swift", "seed"),
        ("use ```python in a line", None, "unknown", "none"),  # no fence begins inside a line
        ("def f(): pass", None, "unknown", "none"),
        ("def f(): pass", "Python", "Python", "seed"),
        ("````" + "a" * 100_000, None, "unknown", "none"),
    ],
)
def test_a_language_is_named_by_a_fence_then_by_the_seed(
    response: str, seed: str | None, language: str, rule: str
) -> None:
    assert language_of(response, seed) == (language, rule)


# --- a small workspace whose every number is known ---


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small workspace, made once: tests work on copies."""
    folder = tmp_path_factory.mktemp("made") / "workspace"
    small_workspace(folder).database.close()
    return folder


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Workspace:
    """Two sets of 30 and 12 rows; their solutions' vectors are those of a category."""
    shutil.copy(made.parent / "small-bench.jsonl", tmp_path)
    return Workspace(shutil.copytree(made, tmp_path / "workspace"))


@pytest.fixture(scope="module")
def measured(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same, measured: for tests that only read."""
    folder = tmp_path_factory.mktemp("measured")
    shutil.copy(made.parent / "small-bench.jsonl", folder)
    workspace = Workspace(shutil.copytree(made, folder / "workspace"))
    insights(workspace, Settings(bench(workspace)))
    return workspace


def small_workspace(folder: Path) -> Workspace:
    workspace = Workspace(folder)
    rows = [
        row(
            f"Write number {n}: " + "reverse a string " * (n % 3) + "word " * (20 * (n % 5)),
            (f"```{('python', 'sql', 'java')[n % 3]}\n" if n % 4 else "")
            + f"return text {n}\n"
            + "x " * (70 * (n % 11)),
        )
        for n in range(42)
    ]
    rows[7]["output"] = rows[3]["output"]  # one solution twice
    for name, part in (("first", rows[:30]), ("second", rows[30:])):
        file = write_jsonl(folder.parent / f"{folder.name}-{name}.jsonl", part)
        import_samples(workspace, str(file), ImportSettings(name))
    write_jsonl(folder.parent / "small-bench.jsonl", TASKS)
    directions = np.eye(384, dtype=np.float32)
    vectors = {step.key_of(name): directions[n] for n, name in enumerate(CATEGORIES)}
    for n, one in enumerate(rows):
        vectors[step.key_of(one["output"])] = directions[n % len(CATEGORIES)]
    keep_vectors(folder, vectors)
    return workspace


def bench(workspace: Workspace) -> str:
    return f"small={workspace.folder.parent / 'small-bench.jsonl'}"


def opened_browser(workspace: Workspace) -> InsightBrowser:
    browser = InsightBrowser.open(workspace)
    assert browser is not None
    return browser


def views_of(counted: InsightCounts, query: InsightQuery) -> list[tuple[InsightQuery, int]]:
    """Give what a press on each bar of each chart asks for, with the number that the bar tells."""
    found = [
        (replace(query, **{field: value}), number)
        for field in FACETS
        for value, number in counted.facets[field].items()
    ]
    for one in counted.scores:
        found += [(replace(query, name=one.name, score=(b.low, b.high)), b.rows) for b in one.bars]
    for side in ("problem", "solution"):
        found += [(replace(query, **{side: (b.low, b.high)}), b.rows) for b in getattr(counted, side).bars]
    return found


QUERIES = [
    InsightQuery(),
    InsightQuery(name="first"),
    InsightQuery(category="Web", sort="import"),
    InsightQuery(language="SQL", solution=(0, 399)),
    InsightQuery(name="second", score=(0, 30)),
    InsightQuery(score=(1, 100), problem=(20, 79), sort="long"),
]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_every_bar_opens_exactly_the_rows_that_it_counts(measured: Workspace, query: InsightQuery) -> None:
    browser = opened_browser(measured)
    every, _ = browser.rows_of(InsightQuery(), size=100)
    known = {line.sample.id: line for line in every}
    for asked, number in views_of(browser.counts(query), query):
        lines, page = browser.rows_of(asked, size=100)
        wanted = {id for id, line in known.items() if fits(line, asked)}
        assert {line.sample.id for line in lines} == wanted, asked
        assert len(lines) == page.total == number == len(wanted), asked


def fits(line: object, query: InsightQuery) -> bool:
    """Say by the row itself whether a view holds it."""
    facts = {
        "name": line.sample.name, "category": line.category, "language": line.language, "place": "new",
    }  # type: ignore[attr-defined] # fmt: skip
    measures = {
        "score": round(line.score * 100), "problem": line.problem, "solution": line.solution,
    }  # type: ignore[attr-defined] # fmt: skip
    return all(facts[name] == value for name, value in query.filters.items()) and all(
        low <= measures[name] <= high for name, (low, high) in query.ranges.items()
    )


def test_the_bars_of_every_chart_add_up_to_the_rows(measured: Workspace) -> None:
    browser = opened_browser(measured)
    report = browser.report
    counted = browser.counts(InsightQuery())
    assert counted.total == report["samples"] == 42
    for field in FACETS:
        assert sum(counted.facets[field].values()) == 42, field
    assert {one.name: sum(bar.rows for bar in one.bars) for one in counted.scores} == {
        "first": 30,
        "second": 12,
    }
    for lengths in (counted.problem, counted.solution):
        assert sum(bar.rows for bar in lengths.bars) == 42
        assert [bar.low for bar in lengths.bars] == [*range(0, 700, 20), 700]
    assert counted.solution.bars[-1].rows == sum(n % 11 == 10 for n in range(42)) > 0  # 700 x and more
    assert {one.name: one.mean for one in counted.scores} == pytest.approx(report["means"])
    assert sum(report["categories"].values()) == sum(report["languages"].values()) == 42
    assert report["language_rules"] == {"fence": 31, "none": 11, "seed": 0}
    assert "published_means" not in report, "they are HumanEval's"


def test_each_row_has_the_category_whose_vector_is_nearest(measured: Workspace) -> None:
    lines, _ = opened_browser(measured).rows_of(InsightQuery(sort="import"), size=100)
    # Row 3 holds the solution that row 7 got, too: one text has one vector, the last that was kept.
    assert [line.category for line in lines] == [CATEGORIES[(7 if n == 3 else n) % 10] for n in range(42)]


def test_of_equally_near_categories_the_first_counts() -> None:
    queries = np.array([[1, 0], [0, 1]], np.float32)
    vectors = np.array([[0.6, 0.6], [0, 1], [-1, -0.5]], np.float32)
    assert nearest(vectors, queries).tolist() == [0, 1, 1]


@pytest.mark.parametrize("sort", SORTS)
def test_pages_show_every_row_once_in_every_order_and_lead_back(measured: Workspace, sort: str) -> None:
    browser = opened_browser(measured)
    query = InsightQuery(name="first", sort=sort)
    whole = [line.sample.seq for line in browser.rows_of(query, size=100)[0]]
    seen, back, after = [], None, None
    for _ in range(5):
        lines, page = browser.rows_of(query, after, size=7)
        seen += [line.sample.seq for line in lines]
        back, after = page.before, page.after
    assert seen == whole and len(set(seen)) == 30 and after is None
    lines, page = browser.rows_of(query, before=back, size=7)
    assert [line.sample.seq for line in lines] == whole[21:28]
    key = {
        "similar": lambda line: -line.score,
        "import": lambda line: line.sample.seq,
        "long": lambda line: -line.solution,
        "short": lambda line: line.solution,
    }[sort]
    keys = [key(line) for line in browser.rows_of(query, size=100)[0]]
    assert keys == pytest.approx(sorted(keys), abs=1e-6)


def test_where_rows_stand_is_read_anew(workspace: Workspace, tmp_path: Path) -> None:
    twice = row("Write number 1: reverse a string " + "word " * 20, "short")
    import_samples(workspace, str(write_jsonl(tmp_path / "twice.jsonl", [twice])), ImportSettings("first"))
    insights(workspace, Settings(bench(workspace), categories=False))
    browser = opened_browser(workspace)
    assert browser.counts(InsightQuery()).facets["place"] == {"new": 43}
    clean(workspace)
    counted = browser.counts(InsightQuery())
    assert counted.facets["place"] == {"kept": 42, "dropped": 1} and counted.total == 43
    (dropped,), _ = browser.rows_of(InsightQuery(place="dropped"))
    assert dropped.sample.response == "short"


# --- runs ---


def test_the_same_again_is_no_work_and_new_rows_are_named(workspace: Workspace, tmp_path: Path) -> None:
    settings = Settings(bench(workspace), categories=False)
    first = insights(workspace, settings)
    assert not first.unchanged and insights(workspace, settings).unchanged
    only = insights(workspace, replace(settings, sets=("second",)))
    assert only.report["samples"] == 12 and list(only.report["means"]) == ["second"]
    new = [row(f"New task {n}", "answer") for n in range(3)]
    import_samples(workspace, str(write_jsonl(tmp_path / "new.jsonl", new)), ImportSettings("first"))
    assert opened_browser(workspace).came_since() == 0, "they came to a set that was not asked for"
    assert insights(workspace, replace(settings, sets=("second",))).unchanged
    whole = insights(workspace, settings)
    assert (whole.unchanged, whole.report["samples"]) == (False, 45)
    assert opened_browser(workspace).came_since() == 0


def test_rows_that_came_since_are_counted(workspace: Workspace, tmp_path: Path) -> None:
    insights(workspace, Settings(bench(workspace), categories=False))
    new = [row(f"New task {n}", "answer") for n in range(3)]
    import_samples(workspace, str(write_jsonl(tmp_path / "new.jsonl", new)), ImportSettings("third"))
    browser = opened_browser(workspace)
    assert browser.came_since() == 3 and browser.counts(InsightQuery()).total == 42
    newest = list(samples.stream(workspace.database, ("id",)))[-1]
    assert browser.line(newest.id) is None and browser.line("nope") is None


def test_a_result_found_again_is_not_made_again(workspace: Workspace) -> None:
    settings = Settings(bench(workspace), categories=False)
    first = insights(workspace, settings)
    insights(workspace, replace(settings, sets=("first",)))
    told: list[str] = []
    again = insights(workspace, settings, lambda what, done, total: told.append(what))
    assert not again.unchanged and again.report == first.report and told == []


@pytest.mark.parametrize(
    ("file", "damage"), [("scores.npy", "a bit"), ("manifest.json", "gone"), ("seqs.npy", "gone")]
)
def test_a_damaged_result_is_told_and_made_anew(workspace: Workspace, file: str, damage: str) -> None:
    settings = Settings(bench(workspace), categories=False)
    report = insights(workspace, settings).report
    path = workspace.insights / report["folder"] / file
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedWorkspace, match=report["folder"]):
        InsightBrowser.open(workspace)
    anew = insights(workspace, settings)
    assert not anew.unchanged and anew.report == report and path.read_bytes() == whole


def test_a_backup_holds_the_result(workspace: Workspace, tmp_path: Path) -> None:
    insights(workspace, Settings(bench(workspace), categories=False))
    backup(workspace, tmp_path / "all.tar.gz")
    restore(tmp_path / "other", tmp_path / "all.tar.gz")
    assert opened_browser(Workspace(tmp_path / "other")).counts(InsightQuery()).total == 42


def test_the_language_of_a_seed_counts_where_no_fence_names_one(tmp_path: Path) -> None:
    """Documented functions of Python: none has a fence, each has a seed."""
    workspace = Workspace(tmp_path / "workspace")
    add_seeds(workspace, str(write_project(tmp_path / "project")), SeedSettings(workers=1))
    with workspace.database.reading() as connection:
        seeds = connection.exec_driver_sql("SELECT id, language FROM seed ORDER BY id LIMIT 5").all()
    import_samples(
        workspace, str(write_jsonl(tmp_path / "x.jsonl", [row(f"Task {n}", f"answer {n}") for n in range(6)]))
    )
    with workspace.database.transaction() as connection:
        for n, seed in enumerate(seeds):
            connection.exec_driver_sql("UPDATE sample SET seed_id = ? WHERE seq = ?", (seed.id, n + 1))
    write_jsonl(tmp_path / "small-bench.jsonl", TASKS)
    report = insights(workspace, Settings(bench(workspace), categories=False)).report
    assert report["language_rules"] == {"seed": 5, "none": 1, "fence": 0}
    assert report["languages"] == dict(Counter(s.language for s in seeds).most_common()) | {"unknown": 1}


# --- which benchmark ---


def pin(workspace: Workspace, name: str) -> None:
    """Put a benchmark of this name into the workspace, without its real file."""
    made = []
    for task in TASKS:
        problem, solution = task["prompt"], task["canonical_solution"]
        made.append(BenchmarkItem(name, task["task_id"], problem, solution, problem, solution))
    benchmarks.pin(workspace.database, name, "0" * 64, None, "made up", False, made)


def test_a_benchmark_that_was_loaded_from_a_file_needs_only_its_name(workspace: Workspace) -> None:
    settings = Settings(bench(workspace), categories=False)
    first = insights(workspace, settings)
    assert insights(workspace, replace(settings, benchmark="small")).report == first.report


def test_without_a_name_humaneval_is_taken_once_it_is_loaded(workspace: Workspace) -> None:
    pin(workspace, "pystdlib")
    assert insights(workspace, Settings(categories=False)).report["benchmark"] == "pystdlib"
    pin(workspace, "humaneval")
    report = insights(workspace, Settings(categories=False)).report
    assert (report["benchmark"], report["published_means"]) == ("humaneval", PUBLISHED_MEANS)


# --- doors ---


def test_the_command_tells_means_tokens_categories_and_languages(
    cli: CommandLine, workspace: Workspace
) -> None:
    cli.workspace = workspace.folder
    done = cli.done("insights", "--benchmark", bench(workspace))
    assert done["samples"] == 42 and set(done["means"]) == {"first", "second"}
    assert set(done["tokens"]) == {"mean_problem", "mean_solution"}
    assert set(done["categories"]) == set(CATEGORIES) and done["languages"]["Python"] > 0
    assert "WordPiece" in done["tokenizer"] and done["unchanged"] is False
    ran = cli("insights", "--benchmark", bench(workspace))
    assert ran.report["unchanged"] is True and "not comparable" in ran.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--set", "nope"), "There is no set 'nope'"),
        (("--benchmark", "nope"), "unknown benchmark 'nope'"),
        (("--benchmark", "x=/nowhere.jsonl"), "/nowhere.jsonl"),
        (("--benchmark", "small"), "unknown benchmark 'small'"),
    ],
)
def test_wrong_words_are_one_line(
    cli: CommandLine, workspace: Workspace, words: tuple[str, ...], told: str
) -> None:
    cli.workspace = workspace.folder
    pin(workspace, "pystdlib")
    ran = cli("insights", *words)
    assert ran.status == 2 and told in ran.err and len(ran.err.strip().splitlines()) == 1
    assert InsightBrowser.open(workspace) is None


def test_no_samples_is_one_line(cli: CommandLine) -> None:
    ran = cli("insights")
    assert ran.status == 2 and "There are no samples to measure" in ran.err


def test_as_a_job(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.folder.parent)
    given = settled({"benchmark": "small=small-bench.jsonl", "sets": ["second"], "categories": False})
    check("insights", given)
    assert (
        given["benchmark"] == bench(workspace) and title_of("insights", given) == "Measure rows beside small"
    )
    done = STEPS["insights"].run(workspace, dict(given), silent)
    assert done["ok"] and done["report"]["samples"] == 12 and done["report"]["categories"] is None
    with pytest.raises(WrongInput, match="no setting 'band'"):
        check("insights", {"band": 1})


# --- the page, without a browser ---


@pytest.fixture
def opened(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    def open_page(**query: str) -> AppTest:
        st.cache_resource.clear()
        st.cache_data.clear()
        monkeypatch.setenv("WINNOW_WORKSPACE", str(workspace.folder))
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        app.run().switch_page("pages/curate/insights.py")
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception and [title.value for title in app.title] == ["Insights"]
        return app

    return open_page


def shown(app: AppTest) -> str:
    return " ".join(one.value for kind in (app.markdown, app.caption, app.info, app.warning) for one in kind)


def test_the_page_says_what_a_filter_holds_and_what_came_since(
    opened: Callable[..., AppTest], workspace: Workspace, tmp_path: Path
) -> None:
    app = opened()
    assert [one.label for one in app.button if one.key == "insights_run"] == ["Measure all rows"]
    insights(workspace, Settings(bench(workspace)))
    app = opened()
    assert "**42 rows**" in shown(app) and "Dashed" not in shown(app), "means are HumanEval's"
    assert "WordPiece" in shown(app) and "INSTRUCTOR" in shown(app)
    assert app.dataframe[0].value["Score"].is_monotonic_decreasing
    assert "**12 rows**" in shown(opened(name="second"))
    assert "No row is like that" in shown(opened(name="nope", place="x", score="900-901", category="<b>"))
    app = opened(score="9-1", sort="x", after="x", before="9" * 30, id="x", lines="nope")
    assert "**42 rows**" in shown(app) and "was not measured" in shown(app) and not app.error
    new = write_jsonl(tmp_path / "new.jsonl", small_set()[:2])
    import_samples(workspace, str(new), ImportSettings("third"))
    assert "Stale: 2 rows came since" in shown(opened())


def test_a_damaged_result_is_told_on_the_page_beside_the_way_to_make_it_anew(
    opened: Callable[..., AppTest], workspace: Workspace
) -> None:
    insights(workspace, Settings(bench(workspace), categories=False))
    shutil.rmtree(workspace.insights)
    app = opened()
    assert "missing or damaged" in app.error[0].value.replace("\\", "")
    assert [one.label for one in app.button if one.key == "insights_run"] == ["Measure all rows"]
