"""The teacher: any OpenAI-compatible endpoint, asked one call at a time through openai's client.

Its own retries are off and so are redirects and proxies of the environment: what an attempt came to is told,
and `call_round` decides what happens next (faults.md: the client's retries give up on a long Retry-After, and
a redirect would carry prompts away).
"""

import asyncio
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from curation.call_outcome import EXCERPT, Outcome, outcome_of
from curation.failpoints import failpoint
from curation.records import digest
from curation.teacher_key import redacted

POOL = 8  # calls at once that share a pool of connections
UNREACHABLE = "unreachable"  # reason of an attempt whose connection was never made
CUSTOM_HEADERS = "OPENAI_CUSTOM_HEADERS"
NO_KEY = "none"  # what the client wants to see where an endpoint needs no key; never sent


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


class Teacher:
    """A connection to an endpoint. Use it in one event loop, `async with`."""

    def __init__(self, base_url: str, key: str | None, deadline: float = 120.0, most: int = 64) -> None:
        """`deadline`: seconds that an attempt may take in all; `most`: calls at once."""
        self._base_url = base_url
        self._key = key
        self._deadline = deadline
        # A pool looks at every idle connection for each request: several small ones take a fraction of that.
        self._clients: list[Any] = [None] * math.ceil(most / POOL)
        self._turn = 0

    async def __aenter__(self) -> "Teacher":
        import openai  # a second of imports that --help need not wait for

        self._clients = [self._client(openai) for _ in self._clients]
        self._hide = {} if self._key else {"Authorization": openai.Omit()}
        return self

    def _client(self, openai: Any) -> Any:
        import httpx2

        # Headers for somebody's own gateway, perhaps with its token: the client sends them to anyone.
        os.environ.pop(CUSTOM_HEADERS, None)
        limits = httpx2.Limits(max_connections=2 * POOL, max_keepalive_connections=2 * POOL)
        http = openai.DefaultAsyncHttpxClient(
            follow_redirects=False, trust_env=False, limits=limits, timeout=self._deadline
        )
        return openai.AsyncOpenAI(
            base_url=self._base_url, api_key=self._key or NO_KEY, max_retries=0, timeout=self._deadline,
            http_client=http, organization="", project="",
        )  # fmt: skip

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.close()

    async def ask(self, call: Call) -> Outcome:
        """Send a call once. Never raises for what a server or a network may do."""
        failpoint("teacher.send")
        try:
            async with asyncio.timeout(self._deadline):
                return self._read(await self._send(call))
        except TimeoutError:
            told = f"no whole answer within {self._deadline:g} s"
            return Outcome("later", "deadline", told, may_be_billed=True)

    async def _send(self, call: Call) -> Any:
        import httpx2
        import openai

        body = {"model": call.model, "messages": list(call.messages), **call.parameters}
        self._turn = (self._turn + 1) % len(self._clients)
        try:
            # The body as it is: checking it against the types of every parameter takes a millisecond, and
            # what comes back is read by `outcome_of`, whatever it is.
            return await self._clients[self._turn].post(
                "/chat/completions", cast_to=httpx2.Response, body=body, options={"headers": self._hide}
            )
        except openai.APIStatusError as error:
            return error.response
        except openai.APITimeoutError:
            return Outcome("later", "deadline", "the connection timed out", may_be_billed=True)
        except openai.APIConnectionError as error:
            return self._unreachable(error)
        except openai.OpenAIError as error:
            return Outcome("failed", "bad_request", f"{type(error).__name__}: {self._hidden(str(error))}")

    def _unreachable(self, error: Exception) -> Outcome:
        """Tell a connection that was never made from one that broke: only the latter may be billed."""
        cause = error.__cause__
        name = type(cause).__name__ if cause is not None else type(error).__name__
        told = self._hidden(str(cause or error))[:EXCERPT] or name
        is_unmade = name in ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")
        reason = UNREACHABLE if is_unmade else "broken_off"
        return Outcome("later", reason, f"{name}: {told}", may_be_billed=not is_unmade)

    def _read(self, response: Any) -> Outcome:
        if isinstance(response, Outcome):
            return response
        # Some endpoints repeat the caller's key, in what they say, in a body or an address (faults.md F25).
        headers = {name.lower(): self._hidden(value) for name, value in response.headers.items()}
        try:
            text = response.text
        except (LookupError, ValueError, RuntimeError) as error:
            return Outcome("failed", "bad_response", f"a body that is no text ({type(error).__name__})")
        return outcome_of(response.status_code, headers, headers.get("content-type", ""), self._hidden(text))

    def _hidden(self, text: str) -> str:
        return redacted(text, [self._key]) if self._key else text
