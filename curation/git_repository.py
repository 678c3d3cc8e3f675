"""Fetch one commit of a repository of strangers, and read its files without ever checking it out.

Files are read from git's own storage: no link is followed, no filter and no hook runs, and two names that
a disk takes for one stay two files.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psutil

from curation.archives import RATIO_LIMIT, shown_name
from curation.errors import CurationError, SourceUnavailable, WrongInput
from curation.hub import plain_line
from curation.teacher_key import environment_for

TIME_LIMIT = 600.0  # seconds for a fetch; our choice, not measured on large repositories
SIZE_LIMIT = 2_000_000_000  # bytes on disk; our choice
FILE_COUNT_LIMIT = 500_000  # our choice; some KB of trees in trees can name 10^9 files
# A tree that names one blob again and again; beyond this much it must also be over RATIO_LIMIT.
BOMB_BYTES = 2_000_000_000

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SCP = re.compile(r"(?:[\w.]+@)?(?P<host>\w[\w.-]*):(?P<path>[\w~./][\w.~/+-]*)")
_PROTOCOLS = ("https", "ssh", "file")
_PREFIX = "clone-"

# Nothing that the user set up for other work takes part: no template with hooks, no helper that knows
# passwords, no rewriting of addresses. `protocol.ext` would run a command that stands in an address.
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.bigFileThreshold": "16m",  # larger blobs are never held in memory
    "fetch.recurseSubmodules": "false",
    "protocol.allow": "never",
    "protocol.ext.allow": "never",
    "protocol.https.allow": "always",
    "protocol.ssh.allow": "always",
    "protocol.file.allow": "always",
    "http.followRedirects": "initial",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
}
_NO_SUCH = re.compile(
    r"not found|does not exist|does not appear to be a git repository|could not read Username|"
    r"terminal prompts disabled|no such remote|couldn't find remote ref|not our ref|"
    r"Authentication failed|dubious ownership|unadvertised object",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class GitFile:
    """One entry of a commit's tree."""

    path: str  # with surrogates where it is not UTF-8
    mode: str  # six digits; 120000 is a link, 160000 a submodule
    blob: str
    size: int  # bytes


def is_address(given: str) -> bool:
    """Whether a text is meant as the address of a repository, allowed or not."""
    return given.startswith("-") or "://" in given or "::" in given or _SCP.fullmatch(given) is not None


def repository_name(address: str) -> str:
    """Give host, owner and name of a checked address; of a file its base name."""
    scp = _SCP.fullmatch(address)
    if scp and "://" not in address:
        host, path = scp["host"], scp["path"]
    else:
        parts = urlsplit(address)
        host, path = parts.hostname or "", parts.path
    path = path.strip("/").removesuffix(".git").rstrip("/")
    return f"{host}/{path}" if host else path.rpartition("/")[2]


def checked_address(given: str) -> str:
    """Raise WrongInput unless git will take the text as the address of a repository and nothing else."""
    if given.startswith("-") or "::" in given or re.search(r"[\s\x00-\x20\x7f]", given):
        raise WrongInput(
            f"{shown_name(given)!r} is no address of a repository; write https://HOST/OWNER/NAME"
        )
    if "://" not in given:
        return given
    try:
        parts = urlsplit(given)
    except ValueError as error:
        raise WrongInput(f"{shown_name(given)!r} is no address ({error})") from error
    if parts.scheme not in _PROTOCOLS:
        raise WrongInput(
            f"{shown_name(parts.scheme)!r} addresses are not fetched; use https://, ssh:// or file://"
        )
    if parts.password is not None or (parts.username and parts.scheme != "ssh"):
        raise WrongInput("the address holds a name or password, which would be kept; take it out")
    at_fault = (parts.username or "").startswith("-") or (parts.hostname or "").startswith("-")
    if at_fault or bool(parts.hostname) == (parts.scheme == "file") or not parts.path.strip("/"):
        raise WrongInput(f"{shown_name(given)!r} names no repository; write https://HOST/OWNER/NAME")
    return given


class GitRepository:
    """One commit, fetched into a folder that `close` removes."""

    def __init__(
        self,
        address: str,
        scratch: Path,
        commit: str | None = None,
        time_limit: float = TIME_LIMIT,
        size_limit: int = SIZE_LIMIT,
    ) -> None:
        """Fetch the newest commit of the default branch, or the commit that is named.

        Raises WrongInput for an address or commit that cannot be, a repository that is not there or not
        for everybody, and one too large; SourceUnavailable without git, without network, and after
        `time_limit` seconds.
        """
        self.address = checked_address(address)
        if commit is not None and not _COMMIT.fullmatch(commit):
            raise WrongInput(f"{shown_name(commit)!r} is no commit; give all of its 40 digits")
        if shutil.which("git") is None:
            raise SourceUnavailable("git is not installed; install it, or give an archive of the repository")
        scratch.mkdir(parents=True, exist_ok=True)
        _sweep(scratch)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=scratch))
        try:
            self._git("init", "--quiet", "--bare", "--template=", ".")
            self._fetch(commit or "HEAD", time_limit, size_limit)
            self.commit = self._git("rev-parse", "--verify", "FETCH_HEAD^{commit}").decode().strip()
            self.files = self._listed()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def contents(self, files: Iterator[GitFile]) -> Iterator[tuple[GitFile, bytes]]:
        """Yield the bytes of each of these files, one in memory at a time."""
        with subprocess.Popen(
            self._command("cat-file", "--batch"),
            cwd=self.folder,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as git:
            assert git.stdin is not None and git.stdout is not None
            try:
                for file in files:
                    git.stdin.write(f"{file.blob}\n".encode())
                    git.stdin.flush()
                    yield file, _blob(git.stdout, file)
            finally:
                git.kill()

    def _listed(self) -> list[GitFile]:
        """List the files of the commit; a tree made to be endless is refused on the way."""
        stored = _size_of(self.folder)
        files: list[GitFile] = []
        total = 0
        with subprocess.Popen(
            self._command("ls-tree", "-r", "-z", "--long", "--full-tree", self.commit),
            cwd=self.folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as git:
            assert git.stdout is not None
            try:
                for record in _records(git.stdout):
                    files.append(_listed_file(record))
                    total += files[-1].size
                    if len(files) > FILE_COUNT_LIMIT:
                        raise WrongInput(f"{self.address} holds more than {FILE_COUNT_LIMIT:,} files")
                    if total > max(BOMB_BYTES, RATIO_LIMIT * stored):
                        raise WrongInput(
                            f"{self.address} unpacks to more than {RATIO_LIMIT} times the {stored:,} bytes "
                            "it was fetched as; nothing of it was read"
                        )
            finally:
                git.kill()
        return files

    def _command(self, *words: str) -> list[str]:
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        return ["git", "--no-pager", *settings, *words]

    def _git(self, *words: str) -> bytes:
        try:
            done = subprocess.run(
                self._command(*words),
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SourceUnavailable("git does not answer; check the disk and start again") from error
        if done.returncode:
            raise _refusal(self.address, done.stderr)
        return done.stdout

    def _fetch(self, what: str, time_limit: float, size_limit: int) -> None:
        words = ("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-auto-gc")
        said = self.folder / "said"
        with said.open("wb") as errors:
            git = subprocess.Popen(
                self._command(*words, "--", self.address, what),
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # so that its helpers can be stopped with it
            )
        try:
            _watch(git, self.address, self.folder, time_limit, size_limit)
        finally:
            if git.poll() is None:
                os.killpg(git.pid, signal.SIGKILL)
                git.wait()
        if git.returncode:
            raise _refusal(self.address, said.read_bytes()[-4_000:])


def _watch(
    git: "subprocess.Popen[bytes]", address: str, folder: Path, time_limit: float, size_limit: int
) -> None:
    end = time.monotonic() + time_limit
    pause = 0.02
    while git.poll() is None:
        if time.monotonic() > end:
            raise SourceUnavailable(
                f"{address} took more than {time_limit:g} seconds; start again, or give an archive of it"
            )
        if _size_of(folder) > size_limit:
            raise WrongInput(
                f"{address} is larger than {size_limit / 1e6:,.0f} MB; fetch it yourself and give its folder"
            )
        time.sleep(pause)
        pause = min(0.5, pause * 1.5)


def _environment() -> dict[str, str]:
    ours = environment_for(asks_teacher=False)
    kept = {name: value for name, value in ours.items() if not name.startswith(("GIT_", "SSH_ASKPASS"))}
    return kept | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS": "true",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=20 -oForwardAgent=no",
        "GIT_ALLOW_PROTOCOL": ":".join(_PROTOCOLS),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }


def _refusal(address: str, said: bytes) -> CurationError:
    """Tell what is wrong with the address from what cannot be reached, by git's own words."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "ERROR:", "error:"))]
    line = shown_name(plain_line(OSError((fatal or lines or ["git gave no reason"])[0])))
    if _NO_SUCH.search("\n".join(lines)):
        return WrongInput(
            f"there is no repository or commit at {address}, or not for everybody ({line}); check the address"
        )
    return SourceUnavailable(f"{address} cannot be fetched ({line}); check the network and start again")


def _records(stream: IO[bytes]) -> Iterator[bytes]:
    """Split git's output at NUL; a path is at most some 4,096 bytes, so a piece stays small."""
    rest = b""
    while chunk := stream.read(1 << 16):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole


def _listed_file(record: bytes) -> GitFile:
    about, _, path = record.partition(b"\t")
    mode, _, blob, size = about.decode().split()
    return GitFile(path.decode(errors="surrogateescape"), mode, blob, int(size) if size != "-" else 0)


def _blob(stream: IO[bytes], file: GitFile) -> bytes:
    header = stream.readline().split()
    if len(header) != 3:
        raise SourceUnavailable(f"git no longer gives {shown_name(file.path)!r}; fetch the repository again")
    data = stream.read(int(header[2]))
    stream.read(1)  # the line end behind it
    return data


def _size_of(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:  # git has just renamed it
                continue
    return total


def _sweep(scratch: Path) -> None:
    """Remove what killed processes left; what living ones read stays."""
    for folder in scratch.glob(f"{_PREFIX}*"):
        writer = folder.name.split("-")[1]
        if not (writer.isdecimal() and psutil.pid_exists(int(writer))):
            shutil.rmtree(folder, ignore_errors=True)
