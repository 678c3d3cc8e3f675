"""`transformers serve` with a model of our own as the teacher: the same code path as any other endpoint.

The model has read four batches of code, so its replies are noise; it is enough that each comes to an end.
"""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from curation.generate import Settings, generate
from curation.reply import FINISHED
from curation.store import calls
from curation.workspace import Workspace
from tests.browser.driving import wait_for
from tests.faults import environment
from tests.generating import HARVEST, Generating
from tests.lora_workspace import TINY
from training.base_model import practice_folder
from training.practice_base import practice_base

pytestmark = pytest.mark.skipif(
    find_spec("fastapi") is None or find_spec("uvicorn") is None,
    reason="`transformers serve` needs fastapi and uvicorn to start: pip install 'transformers[serving]'",
)

LIMIT = 120.0  # seconds that a busy machine may take to load torch and the model
MAX_TOKENS = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 32 numbers a token that can read our prompts, with its tokenizer and chat template."""
    workspace = Workspace(tmp_path_factory.mktemp("local"))
    practice_base(workspace, replace(TINY, positions=4_096))
    return practice_folder(workspace)


@contextmanager
def served(model: Path) -> Iterator[str]:
    """Run `transformers serve` on a free port. Gives its base URL."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    log = model.parent / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--device", "cpu",
             "--host", "127.0.0.1", "--port", str(port)],
            env=environment() | {"HF_HUB_OFFLINE": "1"}, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        wait_for(lambda: process.poll() is not None or is_up(port), LIMIT)
        assert process.poll() is None, log.read_text()[-2_000:]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_model_served_on_this_machine_is_a_teacher_like_any_other(
    model: Path, generating: Generating
) -> None:
    workspace = generating.workspace
    with served(model) as base_url:
        settings = Settings(
            model=str(model), base_url=base_url, seeds=HARVEST, limit=5, max_tokens=MAX_TOKENS, repair=False,
            concurrency=2, deadline=LIMIT,
        )  # fmt: skip
        report = generate(workspace, settings, None).report

    assert (report["requested"], report["waiting"], report["failed"], report["paused"]) == (5, 0, {}, None)
    assert report["kept"] + sum(report["rejected"].values()) == 5
    items = generating.items(report["generation"])
    used = [generating.call(one.call_id) for one in items]
    assert [one.state for one in used] == [calls.DONE] * 5
    for call in used:
        assert call.tokens_in > 300 and 0 < call.tokens_out <= MAX_TOKENS  # the model's own tokens
        assert not call.is_guessed and call.finish_reason in FINISHED | {"stop": ""}
    assert report["tokens"] == sum(one.tokens_in + one.tokens_out for one in used) <= settings.budget_tokens
    assert generate(workspace, settings, None).report["calls"] == 0  # though nobody serves any more
    assert generating.teacher.hits == 0 and "OPENAI_BASE_URL" not in os.environ
