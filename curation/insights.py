"""Insights: how near rows are to a benchmark by their words, how long they are, of which kind and language.

The charts of Magicoder (2312.02120): TF-IDF similarity to HumanEval (section 2.3 and
experiments/data_embedding/cosine_similarity.py), lengths, and ten categories (appendix A.3 and
instructor_embedding.py). Where ours differ from the paper's is said beside each.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.benchmarks import PYSTDLIB
from curation.decontaminate import pin_benchmarks
from curation.embedding import (
    BUNDLED,
    SentenceEmbedder,
    TextRef,
    VectorCache,
    Vectors,
    WordPieces,
    embed_missing,
    key_of,
)
from curation.errors import WrongInput
from curation.fence_language import RULES, Named, language_of
from curation.insight_tables import Tables, read_tables, write_tables
from curation.records import digest, question_of
from curation.stage import Progress, Report, Stage, StageResult, run_stage, silent
from curation.store import benchmarks as pinned
from curation.store import insight_rows, runs
from curation.store.database import Row
from curation.workspace import Workspace

STAGE = "insights"
CODE = "1"
HUMANEVAL = "humaneval"

# Means of Magicoder's figure (section 2.3): its sets were decontaminated first and fitted together with
# HumanEval. A score depends on every text of the fit, so ours are not comparable; these are lines to look at.
PUBLISHED_MEANS = {"OSS-Instruct": 0.105, "Evol-Instruct": 0.131, "Self-Instruct": 0.169}
CAVEAT = (
    "Published means depend on the joint vocabulary and were made with other sets: scores of separately "
    "fitted charts are not comparable"
)

# Magicoder's ten (appendix A.3), each in its own words the text that a solution is compared with. The paper
# used INSTRUCTOR: shares by another model are not comparable with its figure, whose numbers are only drawn.
CATEGORIES = (
    "Algorithmic and Data Structure",
    "Mathematical and Computational",
    "Database and SQL",
    "System Design and Architecture",
    "Security and Cryptography",
    "Performance Optimization",
    "Web",
    "Domain Specific",
    "User Interface and Application Design",
    "Data Science and Machine Learning",
)
CELLS = 4_000_000  # cosines held at a time: 32 MB
VECTORS = 8_192  # vectors held at a time: 13 MB


@dataclass(frozen=True)
class Settings:
    """What a person may choose."""

    benchmark: str = ""  # NAME or NAME=FILE; "": humaneval where it was loaded before, else pystdlib
    sets: tuple[str, ...] = ()  # names of sets; none: all
    categories: bool = True  # needs a vector of each solution
    model: str = BUNDLED  # of these vectors


def insights(
    workspace: Workspace, settings: Settings, show: Progress = silent, again: bool = False
) -> StageResult:
    """Measure every row, kept or not, beside one benchmark.

    Report: samples, benchmark, items, means {set: mean score}, tokens {mean_problem, mean_solution},
    tokenizer, categories {name: rows} (None: not asked for), languages {name: rows}, language_rules
    {rule: rows}, cut_short, published_means (of humaneval), folder. Raises WrongInput when there are no rows,
    a set is unknown or a benchmark's file is bad or another one than before; SourceUnavailable when a
    benchmark must come from a hub that cannot be reached.
    """
    db = workspace.database
    rows = _rows(workspace, settings)
    (name,) = pin_benchmarks(db, [settings.benchmark or _default_benchmark(workspace)])
    known = pinned.pinned(db, name)
    assert known is not None
    embedder = SentenceEmbedder(settings.model) if settings.categories else None
    asked = {
        **asdict(settings),
        "benchmark": {name: known.sha256},
        "sets": sorted(settings.sets),
        "model_hash": embedder.hash if embedder is not None else None,
    }
    input_hash = digest(*(f"{row.id} {row.language or ''} {row.name}" for row in rows))
    request = runs.Request(STAGE, asked, input_hash, CODE)
    work = _Work(name, rows, embedder, digest(input_hash, repr(sorted(asked.items())), CODE)[:16])
    # A result whose files are gone or damaged is none, whatever its run says.
    again = again or read_tables(workspace.insights / work.folder) is None
    return run_stage(workspace, request, lambda stage: _run(stage, work), show, again)


def _rows(workspace: Workspace, settings: Settings) -> list[Row[Any]]:
    rows = insight_rows.rows(workspace.database, settings.sets)
    missing = sorted(set(settings.sets) - {row.name for row in rows})
    if missing:
        raise WrongInput(f"There is no set {missing[0]!r}; the page Samples lists the sets")
    if not rows:
        raise WrongInput("There are no samples to measure; import some with `samples import FILE`")
    return rows


def _default_benchmark(workspace: Workspace) -> str:
    return HUMANEVAL if pinned.pinned(workspace.database, HUMANEVAL) is not None else PYSTDLIB


@dataclass(frozen=True)
class _Work:
    """One run: what is measured against what, and the name of its folder."""

    benchmark: str
    rows: Sequence[Row[Any]]
    embedder: SentenceEmbedder | None
    folder: str


def _run(stage: Stage, work: _Work) -> Report:
    folder = stage.workspace.insights / work.folder
    # Measured before and changed away from: the same rows and settings are the same numbers.
    tables = read_tables(folder)
    if tables is None:
        stage.workspace.require_space(len(work.rows) * 40, "Measuring these rows")
        stage.workspace.sweep()
        arrays, about = _measure(stage, work)
        tables = write_tables(folder, arrays, about)
    report = {**_report(tables), "folder": work.folder}
    with stage.finishing() as connection:
        runs.finish(connection, stage.run_id, report)
    return report


def _measure(stage: Stage, work: _Work) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Give the arrays of a result, one number a row, and what its manifest says."""
    seqs = [row.seq for row in work.rows]
    names = sorted({row.name for row in work.rows})
    place = {name: number for number, name in enumerate(names)}
    arrays: dict[str, npt.NDArray[Any]] = {
        "seqs": np.array(seqs, dtype=np.int64),
        "sets": np.array([place[row.name] for row in work.rows]),
    }
    items = pinned.items(stage.db, [work.benchmark])
    scores, best = similarity(
        _in_full(stage, seqs), len(seqs), [f"{item.problem} {item.solution}" for item in items],
        lambda done: stage.progress("comparing words", done, len(seqs)),
    )  # fmt: skip
    arrays |= {"scores": scores, "items": np.array([item.id for item in items])[best]}
    languages, facts, refs = _read(stage, work)
    arrays |= facts
    about: dict[str, Any] = {
        "benchmark": work.benchmark, "tasks": len(items), "sets": names, "languages": languages,
        "tokenizer": WordPieces.name, "categories": None, "cut_short": 0,
    }  # fmt: skip
    if work.embedder is not None:
        arrays["categories"], about["cut_short"] = _categories(stage, work.embedder, seqs, refs)
        about |= {"categories": list(CATEGORIES), "model": work.embedder.name}
    return arrays, about


# --- words ---


def similarity(
    texts: Iterable[str],
    count: int,
    tasks: Sequence[str],
    progress: Callable[[int], None] | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Give each text's highest TF-IDF cosine with a task, and the place of that task (the first of equals).

    scikit-learn's TfidfVectorizer as it comes, fitted once on all texts and tasks together, as Magicoder did:
    a score depends on every text of the fit. `count`: how many texts there are. Memory: some 70 bytes a
    distinct word of each text, and CELLS cosines. Raises WrongInput when no text holds a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # three seconds to import

    try:
        matrix = TfidfVectorizer().fit_transform(chain(texts, tasks))
    except ValueError as error:  # "empty vocabulary"
        raise WrongInput(
            "Neither rows nor tasks hold a word of two letters; compare with another benchmark"
        ) from error
    against = matrix[count:].T.tocsr()
    scores, best = np.zeros(count, np.float32), np.zeros(count, np.int64)
    step = max(1, CELLS // len(tasks))
    for start in range(0, count, step):
        if progress is not None:
            progress(start)
        product = (matrix[start : min(start + step, count)] @ against).toarray()
        scores[start : start + step] = product.max(axis=1)
        best[start : start + step] = product.argmax(axis=1)
    return np.minimum(scores, np.float32(1.0)), best  # a sum of rounded squares may end just above 1


def hundredths(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Round scores to two decimals, as Magicoder's histogram does, and give them as whole hundredths."""
    return np.rint(scores.astype(np.float64) * 100).astype(np.int64)


def _in_full(stage: Stage, seqs: Sequence[int]) -> Iterator[str]:
    """Give the training text of each row: problem, a space, solution."""
    done = 0
    for page in insight_rows.texts(stage.db, seqs):
        stage.progress("reading words", done, len(seqs))
        done += len(page)
        yield from (f"{question_of(row.instruction, row.input)} {row.response}" for row in page)


# --- lengths and languages ---


def _read(stage: Stage, work: _Work) -> tuple[list[str], dict[str, npt.NDArray[Any]], list[TextRef]]:
    """Count tokens and name languages. Gives the languages' names, the arrays, and the solutions to embed."""
    pieces = WordPieces()
    problem: list[int] = []
    solution: list[int] = []
    named: list[Named] = []
    refs: list[TextRef] = []
    for page in insight_rows.texts(stage.db, [row.seq for row in work.rows]):
        stage.progress("counting tokens", len(named), len(work.rows))
        problem += pieces.count([question_of(row.instruction, row.input) for row in page])
        solution += pieces.count([row.response for row in page])
        for row in page:
            named.append(language_of(row.response, work.rows[len(named)].language))
            refs.append(TextRef(key_of(row.response), len(row.response), row.seq))
    languages = sorted({one.language for one in named})
    place = {name: number for number, name in enumerate(languages)}
    arrays = {
        "problem_tokens": np.array(problem),
        "solution_tokens": np.array(solution),
        "languages": np.array([place[one.language] for one in named]),
        "rules": np.array([RULES.index(one.rule) for one in named]),
    }
    return languages, arrays, refs


# --- categories ---


def nearest(vectors: Vectors, queries: Vectors) -> npt.NDArray[np.int64]:
    """Give the place of each vector's nearest query by cosine, the first of equals. All are unit vectors."""
    return np.asarray((vectors @ queries.T).argmax(axis=1))


def _categories(
    stage: Stage, embedder: SentenceEmbedder, seqs: Sequence[int], refs: Sequence[TextRef]
) -> tuple[npt.NDArray[np.int64], int]:
    """Label each solution; every row gets one. Gives also how many were read in their beginning only."""
    cache = VectorCache(stage.workspace.embeddings / embedder.hash)

    def texts_of(wanted: Sequence[int]) -> list[str]:
        return [row.response for page in insight_rows.texts(stage.db, wanted) for row in page]

    embed_missing(cache, embedder, refs, texts_of, stage.progress, "embedding solutions")
    asked = [TextRef(key_of(text), len(text), number) for number, text in enumerate(CATEGORIES)]
    embed_missing(
        cache, embedder, asked, lambda part: [CATEGORIES[n] for n in part], stage.progress,
        "embedding categories",
    )  # fmt: skip
    queries = cache.gather([ref.key for ref in asked])
    keys = [ref.key for ref in refs]
    labels = [nearest(cache.gather(keys[at : at + VECTORS]), queries) for at in range(0, len(keys), VECTORS)]
    return np.concatenate(labels), cache.cut_short(keys, embedder.limit)


# --- what it came to ---


def _report(tables: Tables) -> Report:
    """Sum a result up, from what is on disk: a result found again tells the same as when it was made."""
    arrays, about = tables.arrays, tables.manifest
    scores = arrays["scores"].astype(np.float64)
    report = {
        "samples": len(scores),
        "benchmark": about["benchmark"],
        "items": about["tasks"],
        "means": {
            name: float(scores[arrays["sets"] == number].mean()) for number, name in enumerate(about["sets"])
        },
        "tokens": {
            "mean_problem": float(arrays["problem_tokens"].mean()),
            "mean_solution": float(arrays["solution_tokens"].mean()),
        },
        "tokenizer": about["tokenizer"],
        "categories": None,
        "languages": _counts(arrays["languages"], about["languages"]),
        "language_rules": _counts(arrays["rules"], RULES),
        "cut_short": about["cut_short"],
    }
    if about["categories"] is not None:
        report["categories"] = _counts(arrays["categories"], about["categories"])
    if about["benchmark"] == HUMANEVAL:
        report["published_means"] = PUBLISHED_MEANS
    return report


def _counts(codes: npt.NDArray[Any], names: Sequence[str]) -> Mapping[str, int]:
    """Count rows by name, the most first."""
    numbers = np.bincount(codes, minlength=len(names)).tolist()
    return dict(sorted(zip(names, numbers, strict=True), key=lambda one: (-one[1], one[0])))
