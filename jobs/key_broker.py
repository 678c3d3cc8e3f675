"""Keys that people typed into an app, handed to the jobs that ask: in no file, log, argv or environment.

Every app serves a Unix domain socket of its own, in a folder that only its user may enter; a job's process
asks every one that belongs to its workspace. One question a connection; question and answer are a line of
JSON each:

    {"origin": "https://api.openai.com:443"}   ->   {"key": "...", "typed": true}

An app that is gone leaves a socket that refuses; the next app sweeps it away. A socket's path has about 100
bytes at most, so the workspace is named by a hash and the folder is a runtime folder, never the workspace.
"""

import atexit
import json
import os
import secrets
import socket
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from curation.errors import SourceUnavailable
from curation.file_lock import locked
from curation.teacher_key import KeyRing, remember

PATIENCE = 2.0  # seconds that a job waits for one app's answer
ANSWER_SECONDS = 1.0  # how long one question may keep the others waiting
LOOK_SECONDS = 5.0  # how often an app looks whether its socket is still there: runtime folders are tidied up
MOST_BYTES = 65_536  # of a question or an answer; a key may be a token of some thousand
MOST_PATH = 103  # bytes of a socket's path: 103 on macOS, 107 on Linux
LONGEST_NAME = len("/123456789012-4194304000-12345678.sock")

_desks: dict[str, "_Desk"] = {}
_desks_lock = threading.Lock()


# --- the app's side ---


def serve(folder: Path, ring: KeyRing) -> None:
    """Answer the jobs of a workspace from a ring until this process ends. A later ring replaces the first.

    Raises SourceUnavailable when no folder on this machine is safe enough.
    """
    mark = _mark_of(folder)
    with _desks_lock:
        desk = _desks.get(mark)
        if desk is None or desk.process != os.getpid():  # a fork has the table and not the thread
            _desks[mark] = _Desk(mark, ring)
        else:
            desk.ring = ring


class _Desk:
    """A socket of this process, and the thread that answers at it."""

    def __init__(self, mark: str, ring: KeyRing) -> None:
        self.ring = ring
        self.process = os.getpid()
        self._mark = mark
        self._listener, self._path = _opened(mark)
        atexit.register(self._close)
        threading.Thread(target=self._serve, name=f"keys {mark}", daemon=True).start()

    def _close(self) -> None:
        if self.process == os.getpid():
            with suppress(OSError):
                self._path.unlink()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except TimeoutError:
                self._look()
            except OSError:  # no file descriptor is left, say
                time.sleep(0.1)
            else:
                with peer, suppress(OSError, ValueError, RecursionError):  # nonsense has no answer
                    self._answer(peer)

    def _answer(self, peer: socket.socket) -> None:
        if not _is_ours(peer):
            return
        asked = _line(peer, ANSWER_SECONDS)
        origin = asked.get("origin")
        if isinstance(origin, str):
            key = self.ring.key_of_origin(origin)
            answer = {"key": key, "typed": self.ring.is_typed(origin)}
            peer.sendall(json.dumps(answer).encode() + b"\n")

    def _look(self) -> None:
        """Open another socket when somebody tidied this one away."""
        if self._path.exists():
            return
        with suppress(OSError, SourceUnavailable):
            opened = _opened(self._mark)
            self._listener.close()
            self._listener, self._path = opened


def _opened(mark: str) -> tuple[socket.socket, Path]:
    home = _own_home()
    with locked(home / "lock"):  # a socket that is bound and does not listen yet looks like a dead one
        _sweep(home)
        path = home / f"{mark}-{os.getpid()}-{secrets.token_hex(4)}.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(16)
        listener.settimeout(LOOK_SECONDS)
    return listener, path


def _sweep(home: Path) -> None:
    """Take the sockets of dead apps away."""
    for path in home.glob("*.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(OSError):
            probe.settimeout(ANSWER_SECONDS)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)


# --- the job's side ---


def ask(folder: Path, origin: str) -> str | None:
    """Ask every app of a workspace for an origin's key. None when no app lives, or none has it.

    A key that a person typed counts before that of an app's environment, and a newer app before an older one.
    Waits up to 2 s for each app that does not answer.
    """
    found = None
    for path in _sockets(_mark_of(folder)):
        try:
            answer = _asked(path, origin)
        except (OSError, ValueError):
            continue  # it died, or hangs
        key = answer.get("key")
        if isinstance(key, str) and key:
            remember(key)
            if answer.get("typed"):
                return key
            found = found or key
    return found


def _asked(path: Path, origin: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as app:
        app.settimeout(PATIENCE)
        app.connect(str(path))
        if not _is_ours(app):
            return {}
        app.sendall(json.dumps({"origin": origin}).encode() + b"\n")
        return _line(app, PATIENCE)


def _sockets(mark: str) -> list[Path]:
    """Give the sockets of a workspace's apps, the newest first."""
    found: list[tuple[int, Path]] = []
    for home in _homes():
        if _is_safe(home):
            for path in home.glob(f"{mark}-*.sock"):
                with suppress(FileNotFoundError):
                    found.append((path.lstat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)]


# --- what both know ---


def _mark_of(folder: Path) -> str:
    return sha256(os.fsencode(Path(folder).expanduser().resolve())).hexdigest()[:12]


def _homes() -> Iterator[Path]:
    """Give the folders where sockets may lie, the best first.

    All are looked into: a worker may have another environment than the app.
    """
    user = os.geteuid()
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    homes = [Path(given) / "winnow"] if os.path.isabs(given) else []
    homes += [Path(parent) / f"winnow-{user}" for parent in (tempfile.gettempdir(), "/tmp")]
    homes.append(Path(f"/run/user/{user}/winnow"))  # where systemd makes XDG_RUNTIME_DIR
    for home in dict.fromkeys(homes):
        if len(os.fsencode(home)) + LONGEST_NAME <= MOST_PATH:
            yield home


def _own_home() -> Path:
    """Make the first folder that can be made and that nobody else can enter."""
    for home in _homes():
        with suppress(OSError):
            with suppress(FileExistsError):
                home.mkdir(0o700)
            if _is_own_folder(home):
                home.chmod(0o700)
            if _is_safe(home):
                return home
    raise SourceUnavailable(
        f"there is no folder that only you can enter, such as {tempfile.gettempdir()}/winnow-{os.geteuid()}; "
        "set XDG_RUNTIME_DIR to one"
    )


def _is_own_folder(home: Path) -> bool:
    found = home.lstat()  # a link may lead anywhere
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _is_safe(home: Path) -> bool:
    try:
        return _is_own_folder(home) and home.lstat().st_mode & 0o077 == 0
    except OSError:
        return False


def _is_ours(peer: socket.socket) -> bool:
    """Tell whether our own user is at the other end. Where no system says it, the folder's rights must do."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _process, user, _group = struct.unpack(
        "3i", peer.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    )
    return bool(user == os.geteuid())


def _line(peer: socket.socket, seconds: float) -> dict[str, Any]:
    """Read a line of JSON. Raises OSError when it does not come in time, ValueError when it is no object."""
    deadline = time.monotonic() + seconds
    got = b""
    while not got.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or len(got) > MOST_BYTES:
            raise TimeoutError
        peer.settimeout(left)
        piece = peer.recv(4096)
        if not piece:
            raise ConnectionError
        got += piece
    said = json.loads(got)
    if not isinstance(said, dict):
        raise ValueError("not an object")
    return said
