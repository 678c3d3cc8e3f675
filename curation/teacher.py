"""The teacher, seen from here: calls go down to a process of their own, what came of them comes back.

That process has the HTTP client (curation/teacher_process.py): beside the store's thread in one process they
would wait for one interpreter's lock, which took a third of the throughput. Both sides write lines of JSON.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from curation.call_outcome import Completion, Outcome
from curation.errors import SourceUnavailable
from curation.failpoints import failpoint
from curation.records import digest
from curation.teacher_key import environment_for

ROOT = Path(__file__).resolve().parent.parent
LONGEST_LINE = 64 << 20  # bytes of an answer
GRACE = 30.0  # seconds beyond the deadline after which the process itself must hang
LEAVING = 2.0  # seconds that it gets to end


@dataclass(frozen=True, slots=True)
class Call:
    """One question to a teacher. Two equal calls have one id, and are paid for once."""

    id: str
    draw: str  # round, heuristic or sample index: a new draw is a new call
    model: str
    endpoint: str  # base URL
    prompt_hash: str
    messages: Sequence[Mapping[str, str]]
    parameters: Mapping[str, Any]  # temperature, max_tokens, seed, ...

    @property
    def request(self) -> str:
        return json.dumps({"messages": list(self.messages), **self.parameters}, ensure_ascii=False)

    @property
    def worst_in(self) -> int:
        """Bound the tokens of the question: a token of a byte-level vocabulary holds a byte at least, and the
        chat template of no model we know adds more than 64 tokens a message."""
        return sum(
            len(text.encode("utf-8", "surrogatepass")) + 64 for one in self.messages for text in one.values()
        )

    @property
    def worst_out(self) -> int:
        """Bound the tokens of the answer: what was asked for at most."""
        return int(self.parameters.get("max_tokens") or self.parameters.get("max_completion_tokens") or 0)


def call_of(
    endpoint: str,
    model: str,
    prompt_hash: str,
    messages: Sequence[Mapping[str, str]],
    parameters: Mapping[str, Any],
    draw: str,
) -> Call:
    """Make a call; its id names everything that the answer depends on (design, "Ids")."""
    said = json.dumps(list(messages), sort_keys=True, ensure_ascii=False)
    asked = json.dumps(dict(parameters), sort_keys=True)
    id = digest(endpoint, model, said, asked, draw)
    return Call(id, draw, model, endpoint, prompt_hash, messages, parameters)


def body_of(call: Call) -> dict[str, Any]:
    """Give what is posted."""
    return {"model": call.model, "messages": list(call.messages), **call.parameters}


class Teacher:
    """A connection to an endpoint. Use it in one event loop, `async with`."""

    def __init__(self, base_url: str, key: str | None, deadline: float = 120.0, most: int = 64) -> None:
        """`key` goes down the pipe, into no environment; `deadline`: seconds that an attempt may take in all;
        `most`: calls at once."""
        self._about: dict[str, Any] = {"base_url": base_url, "key": key, "deadline": deadline, "most": most}
        self._deadline = deadline
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._down: asyncio.WriteTransport
        self._listener: asyncio.Task[None]

    def start(self) -> None:
        """Start the process, so that it is ready when the first call is: its imports take a second. Who does
        not go on to use it calls `end`."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "curation.teacher_process"], cwd=ROOT, env=environment_for(False),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            start_new_session=True,  # Ctrl-C is ours to answer
        )  # fmt: skip
        with suppress(BrokenPipeError):  # who listens will find it dead
            self._input.write(_line(self._about))

    def end(self) -> None:
        """End a process that was started and not used."""
        if self._process is not None:
            self._leave()
            self._output.close()
            self._process = None

    def _leave(self) -> None:
        assert self._process is not None
        with suppress(OSError):
            self._input.close()  # the end of its input ends it
        if not self._waiting:
            self._process.kill()  # it has nothing left to do, and tidying up would take it a while
        try:
            self._process.wait(LEAVING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process is not None and self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout

    async def __aenter__(self) -> "Teacher":
        self.start()
        loop = asyncio.get_running_loop()
        self._down, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, self._input)
        lines = asyncio.StreamReader(limit=LONGEST_LINE)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), self._output)
        self._listener = asyncio.create_task(self._listen(lines))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._down.close()
        await asyncio.to_thread(self._leave)
        await self._listener
        self._process = None

    async def ask(self, call: Call) -> Outcome:
        """Send a call once. Never raises for what a server or a network may do; SourceUnavailable when the
        process that asks died."""
        failpoint("teacher.send")
        if self._listener.done():
            raise _died()
        self._number += 1
        number = self._number
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            # Never more than the calls in flight wait in this buffer: nobody has to wait for it to empty.
            self._down.write(_line([number, body_of(call)]))
            async with asyncio.timeout(self._deadline + GRACE):
                return await answer
        except TimeoutError:
            told = f"no whole answer within {self._deadline:g} s"
            return Outcome("later", "deadline", told, may_be_billed=True)
        finally:
            del self._waiting[number]

    async def _listen(self, lines: asyncio.StreamReader) -> None:
        with suppress(ValueError):  # a line beyond the limit: nothing after it can be trusted
            async for line in lines:
                number, said = json.loads(line)
                if (answer := self._waiting.get(number)) is not None and not answer.done():
                    answer.set_result(_outcome(said))
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_died())


def _line(said: Any) -> bytes:
    return json.dumps(said).encode() + b"\n"


def _died() -> SourceUnavailable:
    return SourceUnavailable(
        "The process that asks the teacher died; nothing that was answered is lost. Go on to ask the rest"
    )


def _outcome(said: Mapping[str, Any]) -> Outcome:
    completion, billed = said["completion"], said["billed"]
    read = {
        "completion": None if completion is None else Completion(**completion),
        "billed": None if billed is None else tuple(billed),
    }
    return Outcome(**{**said, **read})
