"""The teacher's batch API, as OpenAI made it: requests go up as a file, a batch is created of it, its replies
come down as one file or two, within a day. Its own retries, redirects and proxies are off, as in `teacher`.

Source: OpenAI's Batch API guide and the types of openai 3.51 (resources/batches.py, types/batch.py).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from curation.batch_lines import URL
from curation.call_outcome import EXCERPT, UNREACHABLE, Outcome, plain
from curation.failpoints import failpoint
from curation.teacher_client import client_options, failure, hidden, read_response

ENDS = ("completed", "failed", "expired", "cancelled")
OURS = "winnow"  # key of the metadata that holds a batch's name
PAGE = 100  # batches of one list request; OpenAI's most
MOST_PAGES = 1_000
HEADERS = (
    "host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length",
    "transfer-encoding",
)  # fmt: skip
NEVER_MADE = (UNREACHABLE, "rate_limited")  # reasons for which a request that makes a batch made none
SHORT = 256  # characters of an id or a status; theirs have far fewer


class Unanswered(Exception):
    """A request about a batch had no answer that can be used; `outcome` says why and whether to try again."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome

    @property
    def is_undone(self) -> bool:
        """Say whether the request surely changed nothing at the teacher: it said so, or never heard of it."""
        said_no = self.outcome.kind in ("stop", "failed") and self.outcome.reason != "bad_response"
        return said_no or self.outcome.reason in NEVER_MADE


@dataclass(frozen=True, slots=True)
class Look:
    """A batch as the teacher sees it."""

    id: str
    status: str
    files: tuple[str, ...] = ()  # of replies: what was answered, then what was not
    total: int = 0
    answered: int = 0
    failed: int = 0
    message: str = ""  # what was wrong with its requests

    @property
    def is_over(self) -> bool:
        return self.status in ENDS


class BatchTeacher:
    """A connection to an endpoint's files and batches. Use it `with`. Every method raises Unanswered for what
    a server or a network may do."""

    def __init__(self, base_url: str, key: str | None, deadline: float) -> None:
        """`deadline`: seconds without a byte after which a request is given up."""
        self._base_url, self._key, self._deadline = base_url, key, deadline

    def __enter__(self) -> "BatchTeacher":
        import openai

        from curation.short_answers import ShortAnswers

        http = ShortAnswers(
            follow_redirects=False, trust_env=False, timeout=self._deadline,
            event_hooks={"request": [self._leave_headers_out]},
        )  # fmt: skip
        self._client = openai.OpenAI(
            http_client=http, **client_options(self._base_url, self._key, self._deadline)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _leave_headers_out(self, request: Any) -> None:
        """Send nothing of OPENAI_CUSTOM_HEADERS: the client gives it to whatever endpoint it is made for."""
        for name in list(request.headers):
            if name.lower() not in HEADERS and not name.lower().startswith("x-stainless-"):
                del request.headers[name]
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"

    def upload(self, name: str, requests: IO[bytes]) -> str:
        """Send the requests of a batch up; gives the file's id. Doing it twice costs nothing."""
        file = (f"{name}.jsonl", requests, "application/jsonl")
        return _text_of(self._ask("files", "create", file=file, purpose="batch"), "id")

    def create(self, name: str, file_id: str) -> Look:
        """Make a batch of a file. Doing it twice is paid for twice: see `find`."""
        value = self._ask(
            "batches", "create", input_file_id=file_id, endpoint=URL, completion_window="24h",
            metadata={OURS: name},
        )  # fmt: skip
        return _look(value)

    def find(self, name: str, file_id: str) -> Look | None:
        """Look among the teacher's batches for the one of this name or of this file; None: there is none."""
        after: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            value = self._ask("batches", "list", limit=PAGE, **after)
            page = value.get("data")
            rows = [one for one in page if isinstance(one, dict)] if isinstance(page, list) else []
            for one in rows:
                notes = one.get("metadata")
                named = notes.get(OURS) if isinstance(notes, dict) else None
                if named == name or one.get("input_file_id") == file_id:
                    return _look(one)
            last = str(rows[-1].get("id")) if rows else ""
            if not value.get("has_more") or last in ("", after.get("after")):
                return None
            after = {"after": last}
        raise Unanswered(_bad(f"its list of batches has no end after {MOST_PAGES} pages"))

    def look(self, id: str) -> Look:
        return _look(self._ask("batches", "retrieve", batch_id=id))

    def download(self, file_id: str, into: IO[bytes]) -> None:
        """Fetch a file whole, from the beginning of `into` on."""
        into.seek(0)
        into.truncate()
        get = self._client.files.with_streaming_response.content
        with self._asking(), get(file_id) as got:
            for piece in got.iter_bytes():
                into.write(piece)
        into.seek(0)

    def _ask(self, kind: str, what: str, **said: Any) -> dict[str, Any]:
        """Ask, and read the answer as it came: a server may send anything."""
        with self._asking():
            act = getattr(getattr(self._client, kind).with_raw_response, what)
            response = act(**said).http_response
        try:
            text = hidden(response.text, self._key)
            value = json.loads(text)
        except (ValueError, LookupError, RecursionError):
            text, value = f"no JSON but {response.headers.get('content-type', 'no content type')}", None
        if not isinstance(value, dict):
            raise Unanswered(_bad(text))
        return value

    def without_key(self, text: str, is_good: bool) -> str:
        return hidden(text, self._key, is_good)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Tell what goes wrong in one way."""
        import httpx2
        import openai

        failpoint("teacher.send")
        try:
            yield
        except openai.APIStatusError as error:
            raise Unanswered(read_response(error.response, self._key)) from None
        except openai.OpenAIError as error:
            raise Unanswered(failure(error, self._key)) from None
        except ValueError as error:  # an id of theirs that is no part of a path
            raise Unanswered(_bad(hidden(str(error), self._key))) from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:  # while a file comes down
            told = f"{type(error).__name__}: {hidden(str(error), self._key)[:EXCERPT]}"
            raise Unanswered(Outcome("later", "broken_off", told)) from None
        failpoint("teacher.answered")


def _look(value: dict[str, Any]) -> Look:
    counts = value.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    files = [value.get(name) for name in ("output_file_id", "error_file_id")]
    total, answered, failed = (_number(counts.get(name)) for name in ("total", "completed", "failed"))
    return Look(
        _text_of(value, "id"), _text_of(value, "status"),
        tuple(plain(one) for one in files if isinstance(one, str) and one), total, answered, failed,
        _wrongs(value.get("errors")),
    )  # fmt: skip


def _text_of(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= SHORT:
        raise Unanswered(_bad(json.dumps(value)))
    return plain(found)


def _bad(text: str) -> Outcome:
    told = f"The endpoint does not answer as a batch API does: {text[:EXCERPT]}"
    return Outcome("failed", "bad_response", told)


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _wrongs(errors: Any) -> str:
    """Say what was wrong with a batch's requests, the first few."""
    data = errors.get("data") if isinstance(errors, dict) else None
    found = [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []
    told = "; ".join(
        (f"line {one['line']}: " if isinstance(one.get("line"), int) else "")
        + str(one.get("message") or one.get("code") or "no reason given")[:EXCERPT]
        for one in found[:3]
    )
    return plain(told)
