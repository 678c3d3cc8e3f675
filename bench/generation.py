"""2,000 calls to a teacher that takes 200 ms: Winnow's generate, with every call on record and every sample
stored, beside a bare asyncio loop with the same client and a semaphore. Goal: 0.9 of its throughput."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.timing import compared
from curation.generate import OssInstruct, Settings, generate
from curation.prompt import shipped
from curation.reply import METHOD
from curation.store import generations, seeds
from curation.teacher import Call
from curation.workspace import Workspace
from tests.made_up_seeds import made_up_seeds

CALLS = 2_000
AT_ONCE = 64
DELAY = 0.2  # seconds that the teacher takes
ROUNDS = 3
LEAST = 0.9  # of the bare loop's throughput


def run() -> list[str]:
    """Ask in turns; each round of ours has a workspace of its own. The teacher is another process."""
    with teacher(DELAY) as base_url, TemporaryDirectory() as folder:
        asyncio.run(_bare(base_url, _calls(base_url, Path(folder) / "calls", 64)))  # imports, connections
        best: dict[str, tuple[float, int]] = {}
        for number in range(ROUNDS):
            place = Path(folder) / str(number)
            for name, made in (("ours", _ours(base_url, place)), ("bare loop", _timed_bare(base_url, place))):
                if name not in best or made[0] < best[name][0]:
                    best[name] = made
    share = best["bare loop"][0] / best["ours"][0]
    imports = _import_seconds()
    started = (best["bare loop"][0] + imports) / best["ours"][0]
    return [
        f"{CALLS} calls of {DELAY * 1000:.0f} ms, {AT_ONCE} at once; at best {AT_ONCE / DELAY:.0f} calls/s",
        *compared(best, "ours"),
        ", ".join(f"{name} {CALLS / seconds:.0f} calls/s" for name, (seconds, _) in best.items()),
        f"{share:.2f} of the bare loop's throughput (goal: {LEAST} at least)",
        f"{started:.2f} of a script's that imports the client first ({imports:.2f} s)",
    ]


def _import_seconds() -> float:
    """Measure what a fresh process needs to import the client, at best of three, less its own start."""
    return min(_started("import openai") for _ in range(3)) - min(_started("pass") for _ in range(3))


def _started(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def _ours(base_url: str, folder: Path) -> tuple[float, int]:
    workspace = _workspace(folder / "ours", CALLS)
    began = time.perf_counter()
    report = generate(workspace, _settings(base_url), None).report
    seconds = time.perf_counter() - began
    if report["kept"] != CALLS:
        raise RuntimeError(f"only {report['kept']} of {CALLS} replies were kept: {report}")
    return seconds, report["kept"]


def _timed_bare(base_url: str, folder: Path) -> tuple[float, int]:
    calls = _calls(base_url, folder / "bare", CALLS)
    began = time.perf_counter()
    answered = asyncio.run(_bare(base_url, calls))
    return time.perf_counter() - began, answered


async def _bare(base_url: str, calls: Sequence[Call]) -> int:
    """Ask as one would by hand: gather, a semaphore, openai's own client and retries."""
    from openai import AsyncOpenAI

    gate = asyncio.Semaphore(AT_ONCE)
    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:

        async def one(call: Call) -> bool:
            async with gate:
                given = await client.chat.completions.create(
                    model=call.model, messages=list(call.messages), **call.parameters
                )  # type: ignore[call-overload]
            return bool(given.choices[0].message.content)

        return sum(await asyncio.gather(*map(one, calls)))


def _settings(base_url: str) -> Settings:
    return Settings(model="loopback", base_url=base_url, concurrency=AT_ONCE, budget_tokens=10**9)


def _workspace(folder: Path, number: int) -> Workspace:
    workspace = Workspace(folder)
    with workspace.database.transaction() as connection:
        seeds.add(connection, made_up_seeds(number))
    return workspace


def _calls(base_url: str, folder: Path, number: int) -> list[Call]:
    """Give the calls that ours would make."""
    workspace = _workspace(folder, number)
    method = OssInstruct(shipped(METHOD)[0], _settings(base_url))
    ids = [one.id for one in made_up_seeds(number)]
    with workspace.database.reading() as connection:
        found = generations.seeds_of(connection, ids)
    return [method.call(found[id], 0) for id in ids]


@contextmanager
def teacher(delay: float) -> Iterator[str]:
    """Run the loopback teacher as a process of its own: it must not share our interpreter's lock."""
    words = [sys.executable, "-m", "tests.made_up_seeds", str(delay)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
