"""The files and batches of the loopback teacher: what OpenAI's Batch API does, and what may go wrong with it.

A batch is worked on when it is created, once, by the teacher's own rules for replies and faults, so that
`executed` is the teacher's count of what it would bill. Its files are there at once; the batch says that it
is over after so many looks.
"""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

Answer = tuple[int, Any]  # status, body
Ask = Callable[[dict[str, Any]], Answer]  # answers one request


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How a batch goes."""

    looks: int = 0  # that find it in progress before it is over
    end: str = "completed"  # completed | failed | expired | cancelled
    answers: int | None = None  # requests that are executed; None: all. The others are told in the error file
    missing: int = 0  # of the executed: so many have no line
    refused: int = 0  # requests, the first ones, that are answered with a 400 in the error file
    more_lines: tuple[str, ...] = ()  # put behind the others as they are; {first} is the first line
    shuffled: bool = False
    without_metadata: bool = False  # the teacher forgets it
    breaks: bool = False  # the batch is made, and the answer to that never arrives
    hidden_lists: int = 0  # lists of batches that do not show it yet


@dataclass
class Batch:
    """A batch as the teacher keeps it."""

    id: str
    plan: BatchPlan
    file_id: str
    metadata: Mapping[str, str] | None
    requests: int = 0
    looks: int = 0
    output: str | None = None
    errors: str | None = None


@dataclass
class Batches:
    """Files and batches by id; `plans` says how each batch goes, in the order of their creation."""

    ask: Ask
    plans: Sequence[BatchPlan] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    made: dict[str, Batch] = field(default_factory=dict)
    executed: Counter[str] = field(default_factory=Counter)  # by custom_id: what is billed
    lists: int = 0
    page: int = 100  # batches in one list at most
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(
        self, method: str, path: str, query: Mapping[str, str], kind: str, body: bytes
    ) -> Answer | None:
        """Answer a request; `bytes` as a body is a file. None: close the connection instead."""
        with self._lock:
            words = path.strip("/").split("/")
            if (method, words) == ("POST", ["files"]):
                return self._upload(kind, body)
            if method == "GET" and words[0] == "files" and words[2:] == ["content"]:
                found = self.files.get(words[1])
                return (200, found) if found is not None else _no(404, "no such file")
            if (method, words) == ("POST", ["batches"]):
                return self._create(json.loads(body))
            if (method, words) == ("GET", ["batches"]):
                return 200, self._list(query)
            if method == "GET" and words[0] == "batches" and words[1] in self.made:
                return 200, self._look(self.made[words[1]])
            return _no(404, f"no {path} here")

    def _upload(self, kind: str, body: bytes) -> Answer:
        parts = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        found = {part.get_param("name", header="content-disposition"): part for part in parts.iter_parts()}
        if found["purpose"].get_payload(decode=True).decode().strip() != "batch":
            return _no(400, "purpose must be batch")
        return 200, {"id": self._keep(found["file"].get_payload(decode=True)), "object": "file"}

    def _keep(self, content: bytes) -> str:
        id = f"file-{len(self.files)}"
        self.files[id] = content
        return id

    def _create(self, said: Mapping[str, Any]) -> Answer | None:
        if said["input_file_id"] not in self.files:
            return _no(400, "no such input file")
        if (said["completion_window"], said["endpoint"]) != ("24h", "/v1/chat/completions"):
            return _no(400, "wrong window or endpoint")
        number = len(self.made)
        plan = self.plans[number] if number < len(self.plans) else BatchPlan()
        metadata = None if plan.without_metadata else said.get("metadata")
        batch = Batch(f"batch_{number}", plan, said["input_file_id"], metadata)
        self.made[batch.id] = batch
        if plan.end != "failed":
            self._work(batch)
        return None if plan.breaks else (200, self._view(batch))

    def _work(self, batch: Batch) -> None:
        asked = [json.loads(line) for line in self.files[batch.file_id].splitlines()]
        assert len({one["custom_id"] for one in asked}) == len(asked), "a custom_id stands twice"
        plan, batch.requests = batch.plan, len(asked)
        most = len(asked) if plan.answers is None else plan.answers
        out, wrong = [], []
        for number, one in enumerate(asked):
            if number < plan.refused:
                error = {"error": {"message": "too many of something", "code": "invalid_value"}}
                wrong.append(_line(one, {"status_code": 400, "request_id": "", "body": error}, None))
            elif number >= most:
                error = {"code": f"batch_{plan.end}", "message": "This request could not be executed"}
                wrong.append(_line(one, None, error))
            else:
                self.executed[one["custom_id"]] += 1
                status, body = self.ask(one["body"])
                (out if status == 200 else wrong).append(
                    _line(one, {"status_code": status, "request_id": "", "body": body}, None)
                )
        out = out[: len(out) - plan.missing]
        if plan.shuffled:
            random.Random(7).shuffle(out)
        out += [line.replace("{first}", out[0] if out else "") for line in plan.more_lines]
        batch.output, batch.errors = (
            self._keep("\n".join(part).encode()) if part else None for part in (out, wrong)
        )

    def _look(self, batch: Batch) -> dict[str, Any]:
        view = self._view(batch)
        batch.looks += 1
        return view

    def _view(self, batch: Batch) -> dict[str, Any]:
        is_over = batch.looks >= batch.plan.looks
        errors = {"data": [{"line": 3, "code": "invalid_json_line", "message": "This line is not JSON"}]}
        done = batch.requests if is_over else batch.looks
        return {
            "id": batch.id, "object": "batch", "endpoint": "/v1/chat/completions",
            "input_file_id": batch.file_id, "completion_window": "24h", "created_at": 1_700_000_000,
            "status": batch.plan.end if is_over else "in_progress", "metadata": batch.metadata,
            "errors": errors if is_over and batch.plan.end == "failed" else None,
            "output_file_id": batch.output if is_over else None,
            "error_file_id": batch.errors if is_over else None,
            "request_counts": {"total": batch.requests, "completed": done, "failed": 0},
        }  # fmt: skip

    def _list(self, query: Mapping[str, str]) -> dict[str, Any]:
        self.lists += 1
        shown = [one for one in reversed(self.made.values()) if self.lists > one.plan.hidden_lists]
        ids = [one.id for one in shown]
        start = ids.index(query["after"]) + 1 if "after" in query else 0
        page = shown[start : start + min(self.page, int(query.get("limit", 20)))]
        return {
            "object": "list", "data": [self._view(one) for one in page],
            "has_more": start + len(page) < len(shown),
        }  # fmt: skip


def _line(asked: Mapping[str, Any], response: Any, error: Any) -> str:
    said = {"id": "", "custom_id": asked["custom_id"], "response": response, "error": error}
    return json.dumps(said, ensure_ascii=False)  # real files hold any character as it is


def _no(status: int, message: str) -> Answer:
    return status, {"error": {"message": message, "type": "invalid_request_error", "code": None}}
