"""A workspace with as many seeds as people harvest: 100,000 seeds of 150,000 documents, a third left out.

The code is made up, line by line from one pool a language; everything is kept by the store's own functions,
as a harvest keeps it: a seed is truly the lines of its document that it says.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from curation.languages import NAMES, QUOTAS
from curation.records import SeedSnippet, digest
from curation.seeds import CODE, Settings
from curation.stage import Report, Stage, run_stage
from curation.store import documents, runs, seeds
from curation.store.documents import COMPARING, Decision, JudgedDocument
from curation.workspace import Workspace

ENDINGS = {
    "Python": "py", "C++": "cpp", "Java": "java", "TypeScript": "ts", "Shell": "sh", "C#": "cs",
    "Rust": "rs", "PHP": "php", "Swift": "swift",
}  # fmt: skip
LICENCES = (  # as often as repositories have them
    ("MIT", 45), ("Apache-2.0", 25), ("BSD-3-Clause", 10), ("BSD-2-Clause", 6), ("ISC", 4), ("Unlicense", 3),
    ("CC0-1.0", 2), ("Zlib", 1), ("BSL-1.0", 1), ("MIT OR Apache-2.0", 1), ("0BSD", 1), ("PSF-2.0", 1),
)  # fmt: skip
GIVEN = ("hf:bigcode/the-stack-smol", "hf:codeparrot/github-code", "installed", "hf:nuprl/stack-dedup",
         "/home/ann/projects", "https://github.com/example/monorepo.git", "/data/dump.parquet",
         "/data/old-code.tar.gz")  # fmt: skip
SOURCES = 3_000  # at most, of 150,000 documents
# Reason, where it is given, weight: as a harvest of mixed repositories leaves documents out.
LEFT_OUT = (
    ("licence_unknown", "reading", 24), ("licence_not_allowed", "reading", 12),
    ("licence_header", "reading", 3), ("generated", "reading", 8), ("minified", "reading", 2),
    ("encoded", "reading", 1),
    ("long_lines", "reading", 4), ("low_alphanumeric", "reading", 1), ("empty", "reading", 5),
    ("whitespace", "reading", 1), ("bad_encoding", "reading", 2), ("large_file", "reading", 1),
    ("same_document", COMPARING, 12), ("near_duplicate_document", COMPARING, 9),
    ("over_quota", COMPARING, 15),
)  # fmt: skip
TEXTLESS = ("bad_encoding", "large_file")  # what is no document: its text was not kept
SOUNDS = ("lo", "ra", "mi", "tek", "sun", "par", "vel", "ori", "den", "qua", "sto", "fi", "gam", "ush", "ber")
SHAPES = (
    "{0}_{1} = {2}({3}, {n})", "if {0}.{1} is not None:", "return {0}({1}[{2}])",
    "# {0} the {1} of a {2} and {3}",
    "for {0} in {1}.{2}({n}):", "self.{0} = {1}", "def {0}_{1}(self, {2}, {3}):",
    "raise Error('{0} {1} {2}')",
    "{0}->{1}({2}, \"{3}\");", "const {0} = await {1}.{2};", "}}", "", "return self.{0}",
)  # fmt: skip
BATCH = 2_000


def build(folder: Path, number: int = 100_000, left_out: int = 50_000, random_seed: int = 976) -> Workspace:
    """Make the workspace in an empty folder: a document a seed, and those left out.

    Equal arguments give equal rows.
    """
    workspace = Workspace(folder)
    chance = random.Random(random_seed)
    repositories = _repositories(chance, max(3, min(SOURCES, (number + left_out) // 50)))
    given = GIVEN[: max(2, min(len(GIVEN), number // 50))]
    for place, name in enumerate(given):
        wanted = [n // len(given) + (place < n % len(given)) for n in (number, left_out)]
        made = _documents(chance, repositories[place :: len(given)], f"{random_seed}-{place}", *wanted)
        _harvest(workspace, name, made)
    return workspace


@dataclass(frozen=True)
class Repository:
    """Where documents are from: one licence for all that it holds."""

    source: str
    licence: str
    evidence: str
    weight: float


@dataclass(frozen=True)
class Made:
    """A document, its text, and why comparing leaves it out; None: it does not."""

    judged: JudgedDocument
    text: str
    compared: tuple[str, dict[str, Any]] | None

    @property
    def seeds(self) -> list[SeedSnippet]:
        one = self.judged
        if one.reason or self.compared:
            return []
        lines = self.text.splitlines(keepends=True)
        return [
            SeedSnippet(
                digest(one.hash, str(first), str(last)), one.hash, first, last,
                "".join(lines[first - 1 : last]), one.language, one.source, one.path, one.licence,
                one.licence_evidence, "magicoder" if int(one.hash[:2], 16) % 9 else "syntax",
            )
            for first, last in one.cuts
        ]  # fmt: skip


def _harvest(workspace: Workspace, given: str, made: Iterator[Made]) -> None:
    """Keep documents and seeds as a harvest does: in batches, then what comparing says."""
    id = digest(given)
    asked = {**Settings().asked(), "revision": digest(given, "1")}
    before = documents.counts(workspace.database)["documents"]  # they are numbered from 1, without a gap

    def work(stage: Stage) -> Report:
        with stage.db.transaction() as connection:
            documents.open_harvest(connection, id, given, asked)
        done, decisions = 0, []
        while batch := list(islice(made, BATCH)):
            numbered = enumerate(batch, before + done + 1)
            decisions += [
                Decision(seq, COMPARING, *one.compared, one.judged.cuts)
                for seq, one in numbered
                if one.compared
            ]
            done += len(batch)
            with stage.db.transaction() as connection:
                documents.add(connection, id, [one.judged for one in batch])
                documents.note_position(connection, id, {"row": done}, {"unknown_language": done // 9})
                seeds.add(connection, [seed for one in batch for seed in one.seeds])
        with stage.finishing() as connection:
            documents.decide(connection, decisions)
            documents.finish_harvest(connection, id)
            runs.finish(connection, stage.run_id, {"documents": done})
        return {}

    run_stage(workspace, runs.Request(f"seeds:{id[:16]}", asked, digest(given, "1"), CODE), work)


# --- documents ---


def _repositories(chance: random.Random, number: int) -> list[Repository]:
    """Give repositories of which few are large and most are small, with a licence each."""
    names, shares = zip(*LICENCES, strict=True)
    owners = ["".join(chance.choices(SOUNDS, k=3)) for _ in range(number // 2 + 1)]
    return [
        Repository(
            f"{chance.choice(owners)}/{chance.choice(_words())}-{rank}@{chance.getrandbits(160):040x}",
            names[rank] if rank < len(names) else chance.choices(names, shares)[0],  # so that none is absent
            chance.choice(("licence file", "licence file", "corpus", "classifier")),
            1 / (rank + 8) ** 0.9,
        )
        for rank in range(number)
    ]  # fmt: skip


def _documents(
    chance: random.Random, repositories: Sequence[Repository], label: str, kept: int, left_out: int
) -> Iterator[Made]:
    """Give documents as they come: used ones and others mixed, languages as Magicoder shares them."""
    fates = [None] * kept + chance.choices(LEFT_OUT, [one[2] for one in LEFT_OUT], k=left_out)
    chance.shuffle(fates)
    weights = list(accumulate(one.weight for one in repositories))
    shares = [QUOTAS[name] for name in NAMES]
    used: list[Made] = []  # what others are copies of
    for number, fate in enumerate(fates):
        repository = chance.choices(repositories, cum_weights=weights)[0]
        language = chance.choices(NAMES, shares)[0]
        reason, stage = (None, None) if fate is None else (fate[0], fate[1])
        path = _path(chance, language, number)
        if stage == COMPARING and used and reason != "over_quota":
            twin = chance.choice(used)
            yield _copy(repository, path, twin, str(reason))
            continue
        text = _text(chance, language, f"{label}_{number}")
        made = _made(chance, repository, path, language, text, reason, stage)
        if reason is None and (len(used) < 500 or number % 100 == 0):
            used.append(made)
        yield made


def _made(
    chance: random.Random, repository: Repository, path: str, language: str, text: str, reason: str | None,
    stage: str | None,
) -> Made:  # fmt: skip
    if reason in ("empty", "whitespace"):
        text = "" if reason == "empty" else "\n \n"
    data = text.encode()
    lines = text.count("\n")
    first = chance.randrange(1, max(2, lines + 1))
    by_itself = reason if stage == "reading" else None
    licence, evidence = repository.licence, repository.evidence
    if reason == "licence_unknown":
        licence, evidence = "unknown", "none"
    elif reason == "licence_not_allowed":
        licence = "GPL-3.0-only"
    if reason in TEXTLESS:
        what = JudgedDocument(repository.source, path, "", "", "unknown", "none", 0, 0, reason=reason,
                              evidence={"said": "byte 17"})  # fmt: skip
        return Made(what, "", None)
    judged = JudgedDocument(
        repository.source, path, sha256(data).hexdigest(), language, licence, evidence, len(data), lines,
        () if by_itself else ((first, min(lines, first + chance.randrange(15))),),
        {"email": 1} if chance.random() < 0.02 else {}, by_itself, {"line": 3} if by_itself else {},
        documents.pack(text),
    )  # fmt: skip
    return Made(judged, text, ("over_quota", {"limit": 2_500}) if stage == COMPARING else None)


def _copy(repository: Repository, path: str, twin: Made, reason: str) -> Made:
    """Give a document that a used one stands for: equal to it, or with a line of its own."""
    one = twin.judged
    text = twin.text if reason == "same_document" else twin.text + f"# {path}\n"
    data = text.encode()
    kept: dict[str, Any] = {"kept": {"source": one.source, "path": one.path}}
    judged = JudgedDocument(
        repository.source, path, sha256(data).hexdigest(), one.language, repository.licence,
        repository.evidence, len(data), text.count("\n"), one.cuts, {}, packed=documents.pack(text),
    )  # fmt: skip
    return Made(judged, text, (reason, kept if reason == "same_document" else {**kept, "jaccard": 0.97}))


def _path(chance: random.Random, language: str, number: int) -> str:
    words = chance.choices(_words()[:400], k=chance.randrange(1, 4))
    return f"src/{'/'.join(words)}_{number}.{ENDINGS[language]}"


# --- texts ---


@cache
def _words() -> list[str]:
    chance = random.Random(0)
    return sorted({"".join(chance.choices(SOUNDS, k=chance.randrange(2, 5))) for _ in range(9_000)})


@cache
def _lines(language: str) -> list[str]:
    """Give lines to make texts of: few words are common and most are rare, as in real code."""
    chance = random.Random(language)
    words = list(_words())
    random.Random(1).shuffle(words)  # the same words are common everywhere
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(words))))
    names = chance.choices(words, cum_weights=weights, k=40_000)
    shapes = [shape for shape in SHAPES for _ in range(1 + ("{0}" in shape))]
    return [
        " " * 4 * chance.randrange(4)
        + chance.choice(shapes).format(*names[n : n + 4], n=chance.randrange(10_000))
        + "\n"
        for n in range(0, 39_996, 4)
    ]


def _text(chance: random.Random, language: str, name: str) -> str:
    """Give 20 to 400 lines, most texts short, a few of their words nowhere else."""
    lines = chance.choices(_lines(language), k=min(400, 20 + int(chance.expovariate(1 / 35))))
    for at in range(chance.randrange(8), len(lines), 40):
        lines[at] = f"    item_{name}_{at} = {chance.randrange(10**6)}\n"
    return "".join(lines)
