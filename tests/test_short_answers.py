"""No answer of a teacher fills the memory, however long it says it is, is, or unpacks to (faults.md S36)."""

import asyncio
import gzip
import json
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import pytest

from curation.call_outcome import Outcome
from curation.teacher_batch import BatchTeacher, Unanswered
from curation.teacher_client import LONGEST_REPLY
from curation.teacher_process import Client

GOOD = {"choices": [{"message": {"content": "good"}, "finish_reason": "stop"}]}
MOST = 8 * LONGEST_REPLY  # bytes of memory that an answer may take on its way
BOMB = gzip.compress(b" " * (64 * LONGEST_REPLY))
PIECE = b"10000\r\n" + b" " * 65_536 + b"\r\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def _answer(self) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        if self.server.body is None:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.close_connection = True
            with suppress(OSError):
                while not self.server.closing.is_set():
                    self.wfile.write(PIECE)
            return
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    body: bytes | None = None  # packed; None: one without an end
    status = 200
    connections = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.closing = threading.Event()
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that left is nothing wrong."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield running
        running.closing.set()
        running.shutdown()


def asked(server: _Server, times: int = 1) -> list[Outcome]:
    async def ask() -> list[Outcome]:
        client = Client(server.base_url, None, 20.0, 1)
        found = [await client.ask({"model": "m", "messages": []}) for _ in range(times)]
        await client.close()
        return found

    return asyncio.run(ask())


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", [BOMB, None], ids=["bomb", "endless"])
def test_a_reply_is_read_to_its_longest_and_no_further(
    server: _Server, body: bytes | None, status: int
) -> None:
    server.body, server.status = body, status
    tracemalloc.start()
    try:
        (outcome,) = asked(server)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (outcome.kind, outcome.reason) == ("failed", "bad_response")
    assert outcome.message == f"a body of more than {LONGEST_REPLY:,} bytes"
    assert peak < MOST, "the whole body was in memory"


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", [BOMB, None], ids=["bomb", "endless"])
def test_so_is_what_is_said_of_batches(server: _Server, body: bytes | None, status: int) -> None:
    server.body, server.status = body, status
    tracemalloc.start()
    try:
        with BatchTeacher(server.base_url, None, 20.0) as teacher, pytest.raises(Unanswered) as error:
            teacher.look("batch_1")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.value.outcome.reason == "bad_response"
    assert peak < MOST, "the whole body was in memory"


def test_packed_replies_are_read_and_their_connection_is_used_again(server: _Server) -> None:
    server.body = gzip.compress(json.dumps(GOOD).encode())
    outcomes = asked(server, times=3)
    assert [one.completion and one.completion.content for one in outcomes] == ["good"] * 3
    assert server.connections == 1


def test_the_file_of_a_batch_may_be_longer(server: _Server) -> None:
    server.body = gzip.compress(b"line\n" * LONGEST_REPLY)
    with BatchTeacher(server.base_url, None, 20.0) as teacher, BytesIO() as file:
        teacher.download("file_1", file)
        assert len(file.getvalue()) == 5 * LONGEST_REPLY
