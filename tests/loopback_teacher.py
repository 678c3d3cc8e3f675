"""An OpenAI-compatible teacher on 127.0.0.1 that is right or wrong exactly as a test asks.

    with loopback_teacher(faults=[rate_limited(1), None]) as teacher:
        client = OpenAI(base_url=teacher.base_url, api_key="sk-test")

Answers follow from the prompt alone and faults from a plan, so two runs see the same world. It
listens on the loopback address only, stops by itself after `seconds`, and lets hanging callers go
when it stops. Standard library only. Its files and batches are in `loopback_batches`.
"""

import json
import math
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from tests.loopback_batches import Batches

MOST_BODY_BYTES = 16 * 1024 * 1024
HTML = "<!DOCTYPE html><html><body><h1>Sign in to the network</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one reply. The functions below name the ones that happen."""

    name: str
    status: int = 200
    body: str | None = None  # sent as it stands, `{key}` filled in; None: a good completion
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    retry_after: float | None = None  # seconds
    retry_form: Literal["seconds", "date", "ms"] = "seconds"
    message: Mapping[str, Any] = field(default_factory=dict)  # changes to the good message
    drop: tuple[str, ...] = ()  # top-level fields left out of the good completion
    finish_reason: str = "stop"
    way: Literal["whole", "hang", "drip", "cut", "reset", "no_done"] = "whole"
    seconds: float = math.inf  # hang: how long; drip: the pause before each byte


Plan = Callable[[int, str], Fault | None]


def _error(message: str, kind: str, code: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def rate_limited(seconds: float | None = None, form: Literal["seconds", "date", "ms"] = "seconds") -> Fault:
    """429; with seconds, in a Retry-After of the given form (a date has whole seconds)."""
    body = _error("Rate limit reached", "requests", "rate_limit_exceeded")
    return Fault(f"rate_limited_{form}", 429, body, retry_after=seconds, retry_form=form)


def insufficient_quota() -> Fault:
    body = _error("You exceeded your current quota", "insufficient_quota", "insufficient_quota")
    return Fault("insufficient_quota", 429, body)


def server_error(status: int = 500) -> Fault:
    return Fault(f"status_{status}", status, _error(f"status {status}", "server_error"))


def unauthorised() -> Fault:
    """401 that repeats the caller's key, as real endpoints do."""
    body = _error("Incorrect API key provided: {key}", "invalid_request_error", "invalid_api_key")
    return Fault("unauthorised", 401, body)


def redirect(base_url: str) -> Fault:
    """307 to the same path below another base URL."""
    to = base_url.rstrip("/") + "/chat/completions"
    return Fault("redirect", 307, "", headers=(("Location", to),))


def html_page(content_type: str = "text/html") -> Fault:
    """200 with a sign-in page, as a captive portal sends; or calling itself JSON."""
    return Fault(f"html_as_{content_type.split('/')[1]}", 200, HTML, content_type)


def json_body(value: Any, name: str = "json_body") -> Fault:
    """200 with any JSON instead of a completion."""
    return Fault(name, 200, json.dumps(value))


def without(*fields: str) -> Fault:
    """A completion that lacks top-level fields, such as `choices` or `usage`."""
    return Fault(f"without_{'_'.join(fields)}", drop=fields)


def content(value: Any) -> Fault:
    """A completion whose message content is null, a list, a number ..."""
    return Fault(f"content_{type(value).__name__}", message={"content": value})


def refusal(text: str = "I cannot help with that.") -> Fault:
    return Fault("refusal", message={"content": None, "refusal": text})


def finished(reason: str) -> Fault:
    """A completion that ended for another reason than `stop`: `length`, `content_filter`."""
    return Fault(f"finished_{reason}", finish_reason=reason)


def hang(seconds: float = math.inf) -> Fault:
    """No byte at all; after `seconds`, or when the server stops, the connection closes."""
    return Fault("hang", way="hang", seconds=seconds)


def drip(seconds: float = 1.0) -> Fault:
    """A good body, one byte at a time, with a pause of `seconds` before each."""
    return Fault("drip", way="drip", seconds=seconds)


def cut_short() -> Fault:
    """Half of the body, then the connection closes; a stream breaks inside its chunks."""
    return Fault("cut_short", way="cut")


def reset() -> Fault:
    """The connection is reset before any byte."""
    return Fault("reset", way="reset")


def stream_without_done() -> Fault:
    """A stream that ends well after half its text: no finish_reason, no [DONE]. Else no fault."""
    return Fault("stream_without_done", way="no_done")


EVERY_FAULT: tuple[Fault, ...] = (
    rate_limited(),
    rate_limited(0.05),
    rate_limited(1, "date"),
    rate_limited(0.05, "ms"),
    insufficient_quota(),
    *(server_error(status) for status in (500, 502, 503, 529)),
    unauthorised(),
    html_page(),
    html_page("application/json"),
    without("choices"),
    without("usage"),
    content(None),
    content([{"type": "text", "text": "a list"}]),
    refusal(),
    finished("length"),
    finished("content_filter"),
    hang(),
    drip(0.01),
    cut_short(),
    reset(),
    stream_without_done(),
)


class SeededFaults:
    """A plan by chance that depends on the seed and the prompt only, never on who comes first.

    A prompt that is hit fails on its first `times` arrivals and is answered well from then on.
    """

    def __init__(self, seed: int, rate: float, faults: Sequence[Fault] = EVERY_FAULT, times: int = 1) -> None:
        self._seed, self._rate, self._faults, self._times = seed, rate, tuple(faults), times
        self._arrivals: Counter[str] = Counter()

    def __call__(self, index: int, prompt_hash: str) -> Fault | None:
        self._arrivals[prompt_hash] += 1
        chance = random.Random(f"{self._seed} {prompt_hash}")
        if chance.random() >= self._rate or self._arrivals[prompt_hash] > self._times:
            return None
        return chance.choice(self._faults)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived, Authorization included."""

    index: int | None  # position among the completions asked for; None for other paths
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: Any  # parsed JSON, or None
    prompt_hash: str | None
    fault: str | None  # name of the fault it met
    at: float  # time.monotonic()


def prompt_hash(messages: Any) -> str:
    """Name a prompt, as given to plans and recorded with requests."""
    return sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()[:16]


def default_reply(body: dict[str, Any]) -> str:
    """Answer with a small function that is different for every prompt."""
    name = prompt_hash(body.get("messages"))
    return f"A function for you:\n\n```python\ndef answer_{name}() -> str:\n    return {name!r}\n```\n"


def _words(value: Any) -> int:
    return max(1, len((value if isinstance(value, str) else json.dumps(value)).split()))


def _completion(body: dict[str, Any], text: str, fault: Fault) -> dict[str, Any]:
    """Build a chat completion; tokens are counted as words."""
    prompt, answer = _words(body.get("messages")), _words(text)
    whole = {
        "id": f"chatcmpl-{prompt_hash(body.get('messages'))}",
        "object": "chat.completion",
        "created": 1_700_000_000,  # fixed, so that equal questions get equal bytes
        "model": body.get("model", "loopback"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **fault.message},
                "finish_reason": fault.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }
    return {name: value for name, value in whole.items() if name not in fault.drop}


def _stream(body: dict[str, Any], text: str, fault: Fault) -> list[str]:
    """Write the same completion as server-sent events."""
    whole = _completion(body, text, fault)
    head = {name: whole[name] for name in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"

    def event(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

    said = {"content": text, **fault.message}["content"]
    text = said if isinstance(said, str) else ""
    pieces = [text[at : at + 16] for at in range(0, len(text), 16)]
    if fault.way == "no_done":
        return [event({"content": piece}) for piece in pieces[: len(pieces) // 2]]
    events = [event({"role": "assistant", "content": ""})]
    events += [event({"content": piece}) for piece in pieces]
    events.append(event({}, fault.finish_reason))
    if (body.get("stream_options") or {}).get("include_usage") and "usage" in whole:
        usage = json.dumps({**head, "choices": [], "usage": whole["usage"]})
        events.append(f"data: {usage}\n\n")
    return [*events, "data: [DONE]\n\n"]


def _retry_headers(fault: Fault) -> list[tuple[str, str]]:
    if fault.retry_after is None:
        return []
    if fault.retry_form == "date":
        return [("Retry-After", formatdate(time.time() + fault.retry_after, usegmt=True))]
    if fault.retry_form == "ms":
        return [("retry-after-ms", f"{fault.retry_after * 1000:g}")]
    return [("Retry-After", f"{fault.retry_after:g}")]


GOOD = Fault("none")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as real endpoints keep them
    disable_nagle_algorithm = True
    timeout = 60  # an idle connection does not stay for ever
    server: "_Server"

    def setup(self) -> None:
        super().setup()
        self.teacher = self.server.teacher
        self.teacher._entered(self.connection)

    def finish(self) -> None:
        self.teacher._left(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: requests are recorded instead."""

    def do_GET(self) -> None:
        self.teacher._record(self, None)
        if self.path.rstrip("/").endswith("/models"):
            model = {"id": self.teacher.model, "object": "model", "created": 0, "owned_by": "tests"}
            self._send(GOOD, json.dumps({"object": "list", "data": [model]}).encode())
        elif self._is_of_batches:
            self._answer_of_batches(b"")
        else:
            self._not_found()

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BODY_BYTES:
            self.close_connection = True
            wrong = Fault("length", 413)
            return self._send(wrong, _error("bad Content-Length", "invalid_request_error").encode())
        raw = self.rfile.read(int(length))
        if self._is_of_batches:
            self.teacher._record(self, None)
            return self._answer_of_batches(raw)
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if not self.path.endswith("/chat/completions"):
            self.teacher._record(self, body)
            return self._not_found()
        if not isinstance(body, dict):
            self.teacher._record(self, body)
            wrong = Fault("not_json", 400)
            return self._send(wrong, _error("not a JSON object", "invalid_request_error").encode())
        with self.teacher._in_flight():
            self._answer(body, self.teacher._record(self, body, asked=True) or GOOD)

    @property
    def _is_of_batches(self) -> bool:
        return urlsplit(self.path).path.startswith(("/v1/files", "/v1/batches"))

    def _answer_of_batches(self, raw: bytes) -> None:
        fault = self.teacher.batch_faults.pop(0) if self.teacher.batch_faults else None
        if fault is not None and fault.way != "cut":
            return self._answer({}, fault)
        at = urlsplit(self.path)
        answer = self.teacher.batches.answer(
            self.command, at.path.removeprefix("/v1"), dict(parse_qsl(at.query)),
            self.headers.get("Content-Type", ""), raw,
        )  # fmt: skip
        if answer is None:
            return self._reset()
        status, body = answer
        if isinstance(body, bytes):
            way = fault.way if fault is not None else "whole"
            return self._send(Fault("file", content_type="application/octet-stream", way=way), body)
        self._send(Fault("batches", status), json.dumps(body).encode())

    def _not_found(self) -> None:
        self._send(Fault("path", 404), _error(f"no {self.path} here", "not_found").encode())

    def _answer(self, body: dict[str, Any], fault: Fault) -> None:
        closing = self.teacher.closing
        if fault.way == "hang":
            closing.wait(min(fault.seconds, self.teacher.seconds))
            self.close_connection = True
            return
        if fault.way == "reset":
            return self._reset()
        if fault is GOOD and self.teacher.delay:
            closing.wait(self.teacher.delay)
        if fault.body is not None:
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            return self._send(fault, fault.body.replace("{key}", key).encode())
        text = self.teacher.reply(body)
        self.teacher._bill(body, text)
        if body.get("stream"):
            self._send_stream(fault, _stream(body, text, fault))
        else:
            self._send(fault, json.dumps(_completion(body, text, fault)).encode())

    def _reset(self) -> None:
        self.close_connection = True
        linger_none = struct.pack("ii", 1, 0)  # closing then sends RST, not FIN
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)
        self.teacher._left(self.connection)
        self.rfile.close()
        self.connection.close()

    def _send(self, fault: Fault, payload: bytes) -> None:
        self._head(fault, fault.content_type, ("Content-Length", str(len(payload))))
        self._body(fault, payload)

    def _send_stream(self, fault: Fault, events: list[str]) -> None:
        self._head(fault, "text/event-stream", ("Transfer-Encoding", "chunked"))
        chunks = [b"%x\r\n%s\r\n" % (len(data), data) for data in map(str.encode, events)]
        self._body(fault, b"".join([*chunks, b"0\r\n\r\n"]))

    def _head(self, fault: Fault, content_type: str, length: tuple[str, str]) -> None:
        self.send_response(fault.status)
        for name, value in [
            ("Content-Type", content_type),
            length,
            *fault.headers,
            *_retry_headers(fault),
        ]:
            self.send_header(name, value)
        self.end_headers()

    def _body(self, fault: Fault, payload: bytes) -> None:
        if fault.way == "cut":
            self.wfile.write(payload[: len(payload) // 2])
            self.close_connection = True
        elif fault.way == "drip":
            for byte in payload:
                if self.teacher.closing.wait(fault.seconds):
                    self.close_connection = True
                    return
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(payload)


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256
    teacher: "LoopbackTeacher"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep what went wrong in the test's own code; a caller that left is nothing wrong."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.teacher.errors.append(error)


class LoopbackTeacher:
    """A running teacher: where it is, what it was asked, what it will do wrong next."""

    def __init__(
        self,
        reply: Callable[[dict[str, Any]], str] = default_reply,
        faults: Sequence[Fault | None] | Plan = (),
        *,
        model: str = "loopback",
        delay: float = 0.0,
        seconds: float = 300.0,
        port: int = 0,
    ) -> None:
        self.reply = reply
        self.faults = faults  # may be changed between calls; a list counts from request 0
        self.model = model
        self.delay = delay  # seconds before each good reply
        self.seconds = seconds  # it stops by itself after this long
        self.batches = Batches(self._work)
        self.batch_faults: list[Fault | None] = []  # of the next requests about files and batches
        self.requests: list[Request] = []
        self.errors: list[BaseException] = []
        self.peak_in_flight = 0
        self.billed = 0  # tokens, in and out, of every completion that it wrote, whether it arrived or not
        self.closing = threading.Event()
        self._flying = 0
        self._asked = 0
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.teacher = self
        self.port: int = self._server.server_address[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._timer = threading.Timer(seconds, self.close)
        self._timer.daemon = True

    def start(self) -> None:
        self._thread.start()
        self._timer.start()

    def close(self) -> None:
        """Stop: let hanging callers go, close every connection, wait for the threads."""
        with self._lock:
            if self.closing.is_set():
                return
            self.closing.set()
        self._timer.cancel()
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + 2.0
        for thread in (self._thread, self._timer, *connections.values()):
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    @property
    def completions(self) -> list[Request]:
        """The requests for a completion, in the order in which they arrived."""
        return [request for request in self.requests if request.index is not None]

    @property
    def hits(self) -> int:
        return len(self.completions)

    @property
    def in_flight(self) -> int:
        """The requests for a completion that it is answering now. A plan may look."""
        return self._flying

    def _bill(self, body: dict[str, Any], text: str) -> None:
        with self._lock:
            self.billed += _words(body.get("messages")) + _words(text)

    def _work(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Answer a request of a batch: by the same reply and plan as a completion that is asked for now."""
        with self._lock:
            index, self._asked = self._asked, self._asked + 1
            fault = self._fault(index, prompt_hash(body.get("messages"))) or GOOD
        if fault.body is not None:
            return fault.status, json.loads(fault.body)
        text = self.reply(body)
        self._bill(body, text)
        return 200, _completion(body, text, fault)

    def _record(self, handler: _Handler, body: Any, asked: bool = False) -> Fault | None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        name = prompt_hash(body.get("messages")) if asked else None
        with self._lock:
            index = self._asked if asked else None
            fault = None
            if index is not None and name is not None:
                self._asked += 1
                fault = self._fault(index, name)
            self.requests.append(
                Request(
                    index,
                    handler.command,
                    handler.path,
                    headers,
                    body,
                    name,
                    fault.name if fault else None,
                    time.monotonic(),
                )
            )
        return fault

    def _fault(self, index: int, name: str) -> Fault | None:
        if callable(self.faults):
            return self.faults(index, name)
        return self.faults[index] if index < len(self.faults) else None

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        with self._lock:
            self._flying += 1
            self.peak_in_flight = max(self.peak_in_flight, self._flying)
        try:
            yield
        finally:
            with self._lock:
                self._flying -= 1

    def _entered(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections[connection] = threading.current_thread()

    def _left(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.pop(connection, None)


@contextmanager
def loopback_teacher(
    reply: Callable[[dict[str, Any]], str] = default_reply,
    faults: Sequence[Fault | None] | Plan = (),
    *,
    model: str = "loopback",
    delay: float = 0.0,
    seconds: float = 300.0,
    port: int = 0,
) -> Iterator[LoopbackTeacher]:
    """Run a teacher for the length of a block. Raises what `reply` or the plan raised in it.

    `port`: 0 for any that is free.
    """
    teacher = LoopbackTeacher(reply, faults, model=model, delay=delay, seconds=seconds, port=port)
    teacher.start()
    try:
        yield teacher
    finally:
        teacher.close()
    if teacher.errors:
        raise teacher.errors[0]
