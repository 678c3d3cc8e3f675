"""The process that asks a teacher: openai's client and nothing else.

Its own retries are off and so are redirects and proxies of the environment: what an attempt came to is told,
and `call_round` decides what happens next (faults.md: the client's retries give up on a long Retry-After, and
a redirect would carry prompts away). Down its standard input come lines of JSON, first what to connect to,
then [number, body] for each call; up its standard output go [number, outcome]. It ends with its input.
"""

import gc

if __name__ == "__main__":
    gc.disable()  # until all is imported: looking at openai's 100,000 objects takes a tenth of the start

import asyncio
import json
import math
import ssl
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import httpx2
import openai

from curation.call_outcome import Outcome
from curation.short_answers import ShortAnswersAsync
from curation.teacher_client import client_options, failure, read_response

POOL = 2  # calls at once that share a pool of connections
LONGEST_LINE = 64 << 20  # bytes of a call


class Client:
    """A connection to an endpoint."""

    def __init__(self, base_url: str, key: str | None, deadline: float, most: int) -> None:
        """`deadline`: seconds that an attempt may take in all; `most`: calls at once."""
        self._key = key
        self._deadline = deadline
        # A pool looks at every idle connection for each request: several small ones take a fraction of that.
        trusted = _trusted(base_url)
        self._clients = [_client(base_url, key, deadline, trusted) for _ in range(math.ceil(most / POOL))]
        self._turn = 0
        self._hide = {} if key else {"Authorization": openai.Omit()}

    async def close(self) -> None:
        for one in self._clients:
            await one.close()

    async def ask(self, body: Mapping[str, Any]) -> Outcome:
        """Send a call once. Never raises for what a server or a network may do."""
        try:
            async with asyncio.timeout(self._deadline):
                return self._read(await self._send(body))
        except TimeoutError:
            told = f"no whole answer within {self._deadline:g} s"
            return Outcome("later", "deadline", told, may_be_billed=True)

    async def _send(self, body: Mapping[str, Any]) -> Any:
        self._turn = (self._turn + 1) % len(self._clients)
        try:
            # The body as it is: checking it against the types of every parameter takes a millisecond, and
            # what comes back is read by `outcome_of`, whatever it is.
            return await self._clients[self._turn].post(
                "/chat/completions", cast_to=httpx2.Response, body=body, options={"headers": self._hide}
            )
        except openai.APIStatusError as error:
            return error.response
        except openai.OpenAIError as error:
            return failure(error, self._key)

    def _read(self, response: Any) -> Outcome:
        return response if isinstance(response, Outcome) else read_response(response, self._key)


def _trusted(base_url: str) -> ssl.SSLContext:
    """Give what all connections check certificates by. Reading whom to trust takes 40 ms, and a place on this
    machine that speaks plain HTTP needs none: then nobody is trusted, and redirects are off anyway."""
    if base_url.lower().startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.create_ssl_context(trust_env=False)


def _client(base_url: str, key: str | None, deadline: float, trusted: ssl.SSLContext) -> openai.AsyncOpenAI:
    limits = httpx2.Limits(max_connections=2 * POOL, max_keepalive_connections=2 * POOL)
    http = ShortAnswersAsync(
        follow_redirects=False, trust_env=False, limits=limits, timeout=deadline, verify=trusted
    )
    return openai.AsyncOpenAI(http_client=http, **client_options(base_url, key, deadline))


async def main() -> None:
    """Answer calls until the input ends; those in flight end with it."""
    gc.freeze()  # what was imported is here to stay: no collection need look at it
    gc.enable()
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    client = Client(**json.loads(await reader.readline()))
    tasks: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        task = asyncio.create_task(_answer(client, *json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _answer(client: Client, number: int, body: Mapping[str, Any]) -> None:
    try:
        outcome = await client.ask(body)
    except Exception as error:  # of a library: the call is told of, the others go on
        outcome = Outcome("later", "unexpected", type(error).__name__, may_be_billed=True)
    sys.stdout.write(json.dumps([number, asdict(outcome)]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
