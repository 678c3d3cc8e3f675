"""A workspace as big as people bring: 110,000 samples, 450,000 pairs, every stage run, questions open.

The vectors are made up, so no model is loaded; everything else is what the real stages make of them. Rows
lie in clusters around random directions: pairs of other clusters are far below any floor, so the pair list
is written cluster by cluster and the stage finds it done.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation import clean, decontaminate, near_duplicates, pair_settings
from curation.compared_texts import folder_name
from curation.embedding import SentenceEmbedder, VectorCache, key_of
from curation.pair_list import PAIR
from curation.records import BadRow, BenchmarkItem, Sample, digest
from curation.stage import Report, Stage, run_stage
from curation.store import benchmarks, decisions, runs, samples
from curation.workspace import Workspace

SIZE = 128  # numbers of a made-up vector: random directions stay below 0.6
SETS = (  # name, source, licence, method, share of the rows
    ("codealpaca", "code_alpaca_20k.json.gz", "Apache-2.0", "imported", 0.2),
    ("evol", "evol_instruct_80k.jsonl", "CC-BY-NC-4.0", "imported", 0.35),
    ("oss", "oss_instruct_75k.jsonl.gz", "MIT", "oss-instruct", 0.25),
    ("platypus", "open_platypus.parquet", "unknown", "imported", 0.15),
    ("functions", "installed packages", "BSD-3-Clause", "comment-function", 0.05),
)
VERBS = ("write", "implement", "create", "explain", "refactor", "test", "parse", "sort", "merge", "count")
THINGS = (
    "function",
    "class",
    "query",
    "script",
    "parser",
    "table",
    "tree",
    "graph",
    "list",
    "string",
    "cache",
)
WAYS = ("quickly", "recursively", "lazily", "safely", "in-place", "twice", "with-tests", "by-hand")
TONGUES = ("Python", "Rust", "SQL", "Java", "Go", "C++", "Haskell", "Bash", "TypeScript", "Ruby", "Kotlin")
SOUNDS = ("lo", "ra", "mi", "tek", "sun", "par", "vel", "ori", "den", "qua", "sto", "fi", "gam", "ush", "ber")
BATCH = 5_000
BENCHMARK = "made-up"


def build(folder: Path, samples: int = 110_000, pairs: int = 450_000, random_seed: int = 976) -> Workspace:
    """Make the workspace in an empty folder. About as many pairs as asked for; equal seeds, equal rows."""
    workspace = Workspace(folder)
    chance = random.Random(random_seed)
    for label in SETS:
        _import(workspace, label, max(1, round(samples * label[4])), chance)
    clean.clean(workspace)
    settings = pair_settings.Settings()
    _make_up_vectors(workspace, settings, pairs, np.random.default_rng(random_seed))
    near_duplicates.near_duplicates(workspace, settings)
    _contaminate(workspace, chance)
    return workspace


# --- rows ---


def _import(workspace: Workspace, label: tuple[str, ...], number: int, chance: random.Random) -> None:
    """Import a set as a file does, in batches, with a few unusable rows."""
    name, source, licence, _ = label[:4]
    file_hash = digest(source, str(number), str(chance.random()))
    asked = {"name": name, "licence": licence, "instruction": None, "input": None, "response": None}
    request = runs.Request(f"import:{file_hash[:16]}", asked, file_hash, "1")

    def work(stage: Stage) -> Report:
        with stage.db.transaction() as connection:
            opened = {"hash": file_hash, "source": source, "name": name, "settings": asked}
            samples.open_file(connection, opened)
        rows = list(_rows(label, file_hash, number, chance))
        for start in range(0, number, BATCH):
            with stage.db.transaction() as connection:
                samples.add(connection, rows[start : start + BATCH])
        with stage.finishing() as connection:
            bad = [BadRow(number + n, number + n, "empty_response", "output is empty") for n in range(20)]
            decisions.keep_all(connection, stage.run_id, [], [
                {"seq": None, "file_hash": file_hash, "row": one.position, "line": one.line,
                 "reason": one.reason, "evidence": {"message": one.message, "excerpt": one.excerpt}}
                for one in bad
            ])  # fmt: skip
            samples.close_file(connection, file_hash, number + len(bad), [])
            runs.finish(connection, stage.run_id, {"rows": number + len(bad), "new": number})
        return {}

    run_stage(workspace, request, work)


def _rows(label: tuple[str, ...], file_hash: str, number: int, chance: random.Random) -> Iterator[Sample]:
    name, source, licence, method = label[:4]
    asked: list[tuple[str, str]] = []
    for row in range(number):
        if asked and chance.random() < 0.02:
            instruction, input = chance.choice(asked)  # an exact duplicate
        else:
            instruction, input = _question(chance, row)
            asked.append((instruction, input))
        yield Sample(digest(file_hash, str(row)), instruction, input, _answer(chance), source, row, name,
                     licence, method, file_hash)  # fmt: skip


@cache
def _lines() -> list[str]:
    """Give lines of nine words to make texts of: few words are common and most are rare, as in real texts."""
    chance = random.Random(0)
    words = sorted({"".join(chance.choices(SOUNDS, k=chance.randrange(1, 5))) for _ in range(8_000)})
    chance.shuffle(words)
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(words))))
    return [" ".join(chance.choices(words, cum_weights=weights, k=9)) for _ in range(30_000)]


def _question(chance: random.Random, row: int) -> tuple[str, str]:
    lead = [chance.choice(words) for words in (VERBS, THINGS, WAYS, TONGUES)]
    more = " ".join(chance.choices(_lines(), k=chance.randrange(1, 4)))
    input = chance.choice(_lines()) if chance.random() < 0.3 else ""
    return f"{lead[0].capitalize()} a {lead[1]} {lead[2]} in {lead[3]}, case {row}: {more}", input


def _answer(chance: random.Random) -> str:
    lines = chance.choices(_lines(), k=min(120, 2 + int(chance.expovariate(1 / 14))))
    name = "".join(chance.choices("abcdefghiklmnoprstu", k=7))
    return f"def {name}():\n    " + "\n    ".join(lines) + f"\n    return {chance.randrange(10**6)}"


# --- vectors and pairs ---


def _make_up_vectors(
    workspace: Workspace, settings: pair_settings.Settings, pairs: int, noise: np.random.Generator
) -> None:
    rows = _survivors(workspace)
    keys = [key_of(pair_settings.text_to_compare(settings)(row)) for row in rows]
    vectors = noise.standard_normal((len(rows), SIZE)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = []
    left = pairs
    order = noise.permutation(len(rows))
    start = 0
    while left > 0 and start < len(rows):
        members = np.sort(order[start : start + _cluster_size(noise, pairs)])
        start += len(members)
        spread = noise.uniform(0.3, 0.68, size=(len(members), 1)).astype(np.float32)
        near = vectors[members[0]] + spread * vectors[members]
        vectors[members] = near / np.linalg.norm(near, axis=1, keepdims=True)
        found.append(_pairs_among(vectors, members, settings.floor))
        left -= len(found[-1])
    listed = np.concatenate(found) if found else np.empty(0, dtype=PAIR)
    embedder = SentenceEmbedder(settings.model)
    folder = workspace.pairs / folder_name(embedder.hash, settings.floor, keys)
    folder.mkdir(parents=True)
    np.save(folder / "pairs.npy", listed[np.lexsort((listed["right"], listed["left"]))])

    answers = [key_of(rows[number].response) for number in order[:start]]
    agree = noise.standard_normal((len(answers), SIZE)).astype(np.float32)
    agree[:, 0] += noise.choice([4.0, 40.0], size=len(answers))  # most responses of look-alikes agree
    agree /= np.linalg.norm(agree, axis=1, keepdims=True)
    _keep_vectors(workspace, embedder.hash, keys + answers, np.concatenate([vectors, agree]))


def _survivors(workspace: Workspace) -> list[Any]:
    left = set(runs.input_rows(workspace.database, pair_settings.STAGE).seqs)
    columns = ("instruction", "input", "response")
    return [row for row in samples.stream(workspace.database, columns) if row.seq in left]


def _cluster_size(noise: np.random.Generator, pairs: int) -> int:
    """Draw a size: mostly a few rows, now and then many, so that 450,000 pairs hold some 50,000 rows."""
    largest = max(3, int((pairs / 30) ** 0.5))
    return min(largest, 2 + int(noise.pareto(1.5) * 2))


def _pairs_among(
    vectors: npt.NDArray[np.float32], members: npt.NDArray[np.int64], floor: float
) -> npt.NDArray[np.void]:
    near = vectors[members].astype(np.float64)
    cosine = near @ near.T
    left, right = np.nonzero(np.triu(cosine >= floor, 1))
    block = np.empty(len(left), dtype=PAIR)
    block["left"], block["right"], block["cosine"] = members[left], members[right], cosine[left, right]
    return block


def _keep_vectors(
    workspace: Workspace, model_hash: str, keys: Sequence[bytes], vectors: npt.NDArray[np.float32]
) -> None:
    kept = VectorCache(workspace.embeddings / model_hash)
    place = {key: number for number, key in reversed(list(enumerate(keys)))}
    for start in range(0, len(place), 1 << 16):
        part = list(place)[start : start + (1 << 16)]
        kept.add(part, vectors[[place[key] for key in part]], [60] * len(part))


# --- contamination ---


def _contaminate(workspace: Workspace, chance: random.Random) -> None:
    """Judge made-up matches with a made-up benchmark, by the stage's own rule."""
    db = workspace.database
    items = [
        BenchmarkItem(BENCHMARK, f"task/{n}", f"Solve task {n}", f"return {n}", f"Solve task {n}", "")
        for n in range(200)
    ]
    benchmarks.pin(db, BENCHMARK, digest(BENCHMARK), None, "made up", True, items)
    settings = decontaminate.Settings((BENCHMARK,), budget=200)
    inputs = runs.input_rows(db, decontaminate.STAGE)
    pinned = benchmarks.items(db, [BENCHMARK])
    matches = {}
    for seq in chance.sample(inputs.seqs, max(30, len(inputs.seqs) // 100)):
        number = chance.choice(pinned).id
        hit = {"side": "problem", "field": "instruction", "matched": "Solve task", "characters": 60,
               "long": True, "span": [0, 10]}  # fmt: skip
        hits = (hit,) if chance.random() < 0.3 else ()
        matches[seq] = [decontaminate.Match(seq, number, chance.uniform(0.5, 0.95), "problem", hits)]
    asked = {**asdict(settings), "benchmarks": {BENCHMARK: digest(BENCHMARK)},
             "detectors": list(settings.detectors), "model_hash": SentenceEmbedder().hash}  # fmt: skip
    request = runs.Request(decontaminate.STAGE, asked, inputs.hash, decontaminate.CODE)
    run_stage(
        workspace, request, lambda stage: decontaminate._write(stage, settings, inputs, pinned, matches)
    )
