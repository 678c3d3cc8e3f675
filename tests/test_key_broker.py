"""A key typed into an app reaches the jobs that may have it and nothing else (faults.md S27, S28, S31).

Apps and jobs are real processes. Keys go to the apps down their standard input; a job says the sha256 of what
it was given, so that no key is in its output either.
"""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import psutil
import pytest

from tests.faults import ROOT, environment

PATIENCE = 60.0  # seconds until a test gives up on a busy machine
KEY, OTHER_KEY = "sk-canary-5309-of-openai", "sk-canary-5309-of-vllm"
TYPED, REVOKED = "sk-canary-5309-typed", "sk-canary-5309-from-environment"
ORIGINS = {"openai": "https://api.openai.com:443", "vllm": "http://127.0.0.1:8000"}
OPENAI, VLLM = "https://api.openai.com/v1", "http://127.0.0.1:8000/v1"
QUESTION = b'{"origin": "https://api.openai.com:443"}\n'

APP = """
import json, sys
from pathlib import Path
import jobs
from jobs import key_broker
key_broker.LOOK_SECONDS = 0.1
for line in sys.stdin:
    (what, given), = json.loads(line).items()
    ring = jobs.ring_of_process()
    if what == "serve":
        done = jobs.serve_keys(Path(given))
    elif what == "hold":
        done = ring.hold(*given)
    else:
        done = ring.forget(given)
    print(json.dumps(done), flush=True)
"""
JOB = """
import json, os, sys, tempfile
from hashlib import sha256
from pathlib import Path
import jobs
from curation.endpoint import read_endpoint
usual = dict(os.environ)
for line in sys.stdin:
    workspace, url, surroundings = json.loads(line)
    os.environ.clear()
    os.environ.update(usual | surroundings)
    tempfile.tempdir = None  # or it would keep the first one's
    key = jobs.key_for(Path(workspace), read_endpoint(url))
    digest = sha256(key.encode()).hexdigest() if key else "none"
    print(json.dumps([digest, jobs.without_secrets(f"a teacher said: {key}")]), flush=True)
"""


class Talker:
    """A process that answers lines of JSON with lines of JSON."""

    def __init__(self, program: str, surroundings: dict[str, str]) -> None:
        usual = {name: value for name, value in environment().items() if not name.startswith("OPENAI_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, env=usual | surroundings, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def does(self, *asked: object, **what: object) -> object:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked or what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """Let it come to the end of its input."""
        self.process.communicate(timeout=PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class Desk:
    """A workspace, a runtime folder, the apps of a test, and a job that asks."""

    def __init__(self, workspace: Path, job: Talker) -> None:
        self.workspace, self.job = workspace, job
        self.runtime = Path(tempfile.mkdtemp(prefix="keys", dir="/tmp"))  # a socket's path must be short
        self.surroundings = {"XDG_RUNTIME_DIR": str(self.runtime), "TMPDIR": str(self.runtime)}
        self.apps: list[Talker] = []
        workspace.mkdir(exist_ok=True)

    def app(self, surroundings: dict[str, str] | None = None, **keys: str) -> Talker:
        app = Talker(APP, self.surroundings | (surroundings or {}))
        self.apps.append(app)
        for place, key in keys.items():
            app.does(hold=[ORIGINS[place], key])
        assert app.does(serve=str(self.workspace)) is True
        return app

    def given(self, url: str, **surroundings: str) -> str | None:
        """Tell which of the test's keys a job is given that needs a teacher at this address."""
        digest, said = self.job.does(str(self.workspace), url, self.surroundings | surroundings)  # type: ignore[misc]
        keys = {sha256(key.encode()).hexdigest(): key for key in (KEY, OTHER_KEY, TYPED, REVOKED)}
        assert said == ("a teacher said: None" if digest == "none" else "a teacher said: [key]")
        return None if digest == "none" else keys[digest]

    def sockets(self) -> list[Path]:
        return sorted(self.runtime.rglob("*.sock"))

    def close(self) -> None:
        for app in self.apps:
            app.kill()
        shutil.rmtree(self.runtime)


@pytest.fixture(scope="module")
def job() -> Iterator[Talker]:
    """A process that asks as a job does; each question brings the surroundings of its job."""
    process = Talker(JOB, {})
    yield process
    process.kill()


@pytest.fixture
def desk(tmp_path: Path, job: Talker) -> Iterator[Desk]:
    made = Desk(tmp_path / "workspace", job)
    yield made
    made.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, job: Talker) -> Iterator[Desk]:
    """A desk with one app that has a key for OpenAI and one for a server on this machine."""
    made = Desk(tmp_path_factory.mktemp("served") / "workspace", job)
    made.app(openai=KEY, vllm=OTHER_KEY)
    yield made
    made.close()


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- who is given what ---


def test_a_job_is_given_its_origin_s_key_and_nothing_keeps_it(served: Desk) -> None:
    """Then every place is looked into where a key could have been left, while app and job live."""
    assert (served.given(OPENAI), served.given(VLLM)) == (KEY, OTHER_KEY)
    for talker in (*served.apps, served.job):
        process = psutil.Process(talker.process.pid)
        assert "canary" not in json.dumps([process.environ(), process.cmdline()])
    for folder in (served.workspace, served.runtime):
        for place in folder.rglob("*"):
            assert "canary" not in place.name
            assert not place.is_file() or b"canary" not in place.read_bytes(), place


@pytest.mark.parametrize(
    "other",
    ["http://127.0.0.1", "https://127.0.0.1:8000", "https://api.openai.com:8443", "https://openai.com"],
)
def test_another_origin_is_given_nothing(served: Desk, other: str) -> None:
    assert served.given(other) is None


def test_another_workspace_s_jobs_are_given_nothing(served: Desk, tmp_path: Path) -> None:
    other = [str(tmp_path), OPENAI, served.surroundings]
    assert served.job.does(*other) == ["none", "a teacher said: None"]


def test_a_typed_key_counts_before_every_environment_s(desk: Desk) -> None:
    """The environment's was revoked, in the worker and in an app that is newer than the typing one (F25)."""
    revoked = {"OPENAI_API_KEY": REVOKED}
    typing = desk.app(revoked, openai=TYPED)
    desk.app(revoked)
    assert desk.given(OPENAI, **revoked) == TYPED
    typing.does(forget=ORIGINS["openai"])
    # The worker may have been started where there is no key: the app's environment then is asked.
    assert desk.given(OPENAI) == REVOKED
    assert desk.given(VLLM) is None, "it belongs to OpenAI"


def test_without_an_app_the_environment_s_key_is_left(desk: Desk) -> None:
    assert desk.given(OPENAI, OPENAI_API_KEY=REVOKED) == REVOKED
    assert desk.given(VLLM, OPENAI_API_KEY=REVOKED) is None
    assert desk.given(VLLM, OPENAI_API_KEY=REVOKED, OPENAI_BASE_URL=VLLM) == REVOKED
    assert desk.given(OPENAI, OPENAI_API_KEY=REVOKED, OPENAI_BASE_URL=VLLM) is None
    assert desk.given(OPENAI) is None


# --- apps that come and go ---


def test_hanging_and_dead_apps_are_passed_over_and_the_dead_swept_away(desk: Desk) -> None:
    """Of two apps the newer hangs and is killed, then the older one, too; a third clears up after them."""
    older, newer = desk.app(openai=KEY), desk.app(openai=OTHER_KEY, vllm=OTHER_KEY)
    assert desk.given(OPENAI) == OTHER_KEY, "the newer app first"
    newer.process.send_signal(signal.SIGSTOP)
    while psutil.Process(newer.process.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)  # the signal is under way
    assert desk.given(OPENAI) == KEY
    newer.kill()
    assert len(desk.sockets()) == 2, "a killed app leaves its socket"
    assert desk.given(OPENAI) == KEY
    assert desk.given(VLLM) is None, "what only the dead one had is gone"
    older.kill()
    assert desk.given(OPENAI) is None
    third = desk.app(openai=OTHER_KEY)
    (left,) = desk.sockets()
    assert str(third.process.pid) in left.name
    assert desk.given(OPENAI) == OTHER_KEY
    third.end()
    assert desk.sockets() == [], "one that ends well takes its own along"


def test_serving_again_makes_no_second_socket(served: Desk) -> None:
    """Another spelling of the workspace; and what is typed later is served, too."""
    (app,) = served.apps
    before, threads = served.sockets(), psutil.Process(app.process.pid).num_threads()
    assert app.does(serve=f"{served.workspace}/../workspace/") is True
    assert served.sockets() == before and len(before) == 1
    assert psutil.Process(app.process.pid).num_threads() == threads
    app.does(hold=["https://later.example:443", TYPED])
    assert served.given("https://later.example") == TYPED


def test_a_socket_that_was_tidied_away_comes_back(served: Desk) -> None:
    """Folders for temporary files are swept by the system while an app may live for weeks."""
    for place in (served.sockets()[0], served.runtime / "winnow"):
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()
        wait_for(lambda: len(served.sockets()) == 1 and served.given(OPENAI) == KEY)


# --- who else could ask, and where sockets lie ---


def raw(path: Path, question: bytes) -> bytes:
    """Say something to an app's socket and give what it says."""
    with socket.socket(socket.AF_UNIX) as peer, suppress(BrokenPipeError, ConnectionResetError):
        peer.settimeout(PATIENCE)
        peer.connect(str(path))
        peer.sendall(question)
        peer.shutdown(socket.SHUT_WR)
        return peer.recv(4096)
    return b""  # it did not even listen to the end


NONSENSE = {
    "nothing": b"",
    "an empty line": b"\n",
    "words": b"not json\n",
    "a text": b'"https://api.openai.com:443"\n',
    "a list": b"[]\n",
    "no origin": b"{}\n",
    "null": b'{"origin": null}\n',
    "a list as origin": b'{"origin": ["https://api.openai.com:443"]}\n',
    "an object as origin": b'{"origin": {"https://api.openai.com:443": 1}}\n',
    "no line end": QUESTION.rstrip(),
    "no text": b"\xff\xfe\n",
    "deep": b"[" * 60_000 + b"\n",
    "long": b"x" * 200_000,
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_told_nothing_and_harms_nobody(served: Desk, what: str) -> None:
    (path,) = served.sockets()
    assert raw(path, NONSENSE[what]) == b""
    assert json.loads(raw(path, QUESTION)) == {"key": KEY, "typed": True}


def test_who_says_nothing_keeps_nobody_waiting_for_long(served: Desk) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(served.sockets()[0]))
        assert served.given(OPENAI) == KEY


def test_only_this_user_gets_to_the_socket(served: Desk) -> None:
    (path,) = served.sockets()
    assert path.parent == served.runtime / "winnow"
    assert [stat.S_IMODE(place.lstat().st_mode) for place in (path.parent, path)] == [0o700, 0o600]


STRANGER = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
peer = socket.socket(socket.AF_UNIX)
peer.settimeout(60)
try:
    peer.connect(sys.argv[1])
    peer.sendall(sys.argv[2].encode())
    print(repr(peer.recv(4096)))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not say who asks")
def test_another_user_is_told_nothing_even_when_the_door_is_open(desk: Desk) -> None:
    """First kept out by the folder; then, with all rights given by mistake, refused by its user id."""
    desk.app(openai=KEY)
    (path,) = desk.sockets()

    def stranger() -> str:
        words = [sys.executable, "-I", "-S", "-c", STRANGER, str(path), QUESTION.decode()]
        return subprocess.run(words, text=True, capture_output=True, timeout=PATIENCE).stdout.strip()

    assert stranger() == "PermissionError"
    for place, rights in ((desk.runtime, 0o755), (path.parent, 0o755), (path, 0o666)):
        place.chmod(rights)
    assert stranger() in ("b''", "BrokenPipeError", "ConnectionResetError")
    assert KEY in raw(path, QUESTION).decode(), "our own user still is told"
    assert desk.given(OPENAI) is None, "a job asks nobody in a folder that others can enter"


def test_a_folder_that_is_not_ours_alone_is_not_used(desk: Desk, tmp_path: Path) -> None:
    """A link in the first folder's place; an open folder in the second's, which is closed and taken."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere").chmod(0o755)
    (desk.runtime / "winnow").symlink_to(tmp_path / "elsewhere")
    second = desk.runtime / f"winnow-{os.geteuid()}"
    second.mkdir(0o755)
    desk.app(openai=KEY)
    elsewhere = tmp_path / "elsewhere"
    assert list(elsewhere.iterdir()) == [] and stat.S_IMODE(elsewhere.stat().st_mode) == 0o755, "untouched"
    assert [path.parent for path in desk.sockets()] == [second]
    assert stat.S_IMODE(second.stat().st_mode) == 0o700
    assert desk.given(OPENAI) == KEY


def test_long_paths_and_other_surroundings_do_no_harm(desk: Desk, tmp_path: Path) -> None:
    """A workspace of 300 characters, an app whose runtime folder is too long for a socket, a job without."""
    desk.workspace = tmp_path.joinpath(*["long" * 25] * 3)
    desk.workspace.mkdir(parents=True)
    long = tmp_path / ("x" * 100)
    long.mkdir()
    desk.app({"XDG_RUNTIME_DIR": str(long)}, openai=KEY)
    assert list(long.iterdir()) == [] and len(desk.sockets()) == 1
    assert desk.given(OPENAI, XDG_RUNTIME_DIR="") == KEY
