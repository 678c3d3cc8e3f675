"""Push: a run's adapter or model, with its card, to the Hugging Face hub or whatever HF_ENDPOINT names.

What goes up is staged first, in the run's folder: the files that belong to the result and no other, without
paths of this machine. Everything is one commit, so a push that breaks off shows nothing, and one that is
repeated changes nothing. The token is read from HF_TOKEN and written nowhere.

Files go by plain HTTP (Git LFS), not by Xet: every HF_ENDPOINT speaks it, what breaks has a status that can
be told in words, and a repeated push sends only the files that did not arrive.
"""

import json
import os
import re
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curation.errors import CurationError, SourceUnavailable, WrongInput
from curation.file_lock import tried
from curation.hub import plain_line
from curation.stage import silent
from curation.workspace import Workspace
from training import run as runs
from training.merge import merge
from training.model_card import card, public_base
from training.recipes import FULL
from training.run import LoraRun

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

Show = Callable[[str, int, int], None]

TOKEN = "HF_TOKEN"
TOKENS_PAGE = "https://huggingface.co/settings/tokens"
SECONDS = 300.0  # of silence until the hub counts as gone; it takes long over a commit of many gigabytes
PARTIAL, LOCK = "push.partial", "push.lock"  # in the run's folder

SETTINGS, CARD = "winnow-run.json", "README.md"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
MODEL = ("config.json", "model.safetensors")
INDEX = "model.safetensors.index.json"  # of a model in several files
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt",
)  # fmt: skip
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".onnx")


def push(
    workspace: Workspace,
    run_name: str,
    repository: str,
    private: bool = True,
    merged: bool = False,
    show: Show = silent,
) -> dict[str, Any]:
    """Put a run's result, or with `merged` base and adapter as one model, into a repository as one commit.

    The repository is made when it is not there, private unless told otherwise. Gives run, repository, url,
    commit, files, bytes and unchanged. Raises WrongInput for what the person can mend (run, name, token, a
    repository of others), SourceUnavailable when hub or network fail: the same push may then be repeated.
    """
    run = runs.find(workspace, run_name)
    if run.weights is None:
        raise WrongInput(f"The run {run.name} is {run.state}; it has no weights to push")
    if merged and run.settings.method == FULL:
        raise WrongInput(
            f"{run.name} trained all weights: there is nothing to merge, push it without --merged"
        )
    _require_name(repository)
    token, address = _token(), _address()
    with tried(run.folder / LOCK) as ours:
        if not ours:
            raise WrongInput(f"{run.name} is being pushed already; wait until that is done")
        place = run.folder / PARTIAL
        shutil.rmtree(place, ignore_errors=True)  # of a push that was killed
        try:
            files = _staged(workspace, run, place, merged, show)
            commit, unchanged = _send(token, repository, private, run.name, files, show)
            size = sum(file.stat().st_size for file in files)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return {
        "run": run.name, "repository": repository, "url": f"{address}/{repository}", "commit": commit,
        "files": [file.name for file in files], "bytes": size, "unchanged": unchanged,
    }  # fmt: skip


def _require_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repository)
        if "/" in repository:
            return
    except HFValidationError:
        pass
    raise WrongInput(
        f"{repository!r} is no OWNER/NAME: letters, digits, -, _ and dots, at most 96 in all; "
        "no two hyphens or dots in a row, no .git at the end, and neither a hyphen nor a dot at either end"
    )


def _token() -> str:
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise WrongInput(
            f"{TOKEN} is not set; make a token with write access on {TOKENS_PAGE}, then `export {TOKEN}=...` "
            "and start again"
        )
    if not (token.isascii() and token.isprintable() and " " not in token):  # no header can hold it
        raise WrongInput(f"{TOKEN} holds characters that no token has; copy it again from {TOKENS_PAGE}")
    return token


def _address() -> str:
    """Give the hub's address, without a password that may stand in it."""
    from huggingface_hub import constants

    try:
        parts = urlsplit(constants.ENDPOINT)
        if parts.scheme in ("http", "https") and parts.hostname:
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
    except ValueError:
        pass
    raise WrongInput("HF_ENDPOINT is no address of a hub; unset it, or write http(s)://HOST")


# --- what goes up ---


def _staged(workspace: Workspace, run: LoraRun, place: Path, merged: bool, show: Show) -> list[Path]:
    """Make a folder of what others get, and give its files, sorted by name."""
    result, source = run.result, run.weights
    if result is None or source is None:
        raise WrongInput(f"The run {run.name} is being trained again; push it when that is done")
    target = place / "files"
    target.mkdir(parents=True)
    if merged:
        source = place / "merged"
        _require_room(workspace, run, result)
        merge(workspace, run.name, source, show)
    is_adapter = run.settings.method != FULL and not merged
    _link_all(run, source, target, is_adapter)
    _hide_paths(workspace, run, target)
    (target / CARD).write_text(card(run, result, public=True, merged=merged), encoding="utf-8")
    facts = {"run": run.name, **run.frozen, "base_model": public_base(run.frozen["base_model"])}
    told = json.dumps({**facts, "pushed": "adapter" if is_adapter else "model"}, indent=2, ensure_ascii=False)
    (target / SETTINGS).write_text(f"{told}\n", encoding="utf-8")
    return sorted(target.iterdir())


def _require_room(workspace: Workspace, run: LoraRun, result: dict[str, Any]) -> None:
    """A merged model is written in float32 at most. Of a base in 4 bits two weights were counted as one."""
    weights = result["parameters"] * (1 if run.settings.quantize == "none" else 2)
    workspace.require_space(4 * weights, "The merged model")


def _link_all(run: LoraRun, source: Path, target: Path, is_adapter: bool) -> None:
    """Take the files that belong to the result. A link is nothing that training wrote, so it stays behind.

    All are read from one opened folder: when another attempt puts its result in that place meanwhile, a file
    is missing, and never of another training.
    """
    try:
        folder = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise WrongInput(f"{source} cannot be read ({error.strerror}); it has no weights to push") from error
    try:
        needed: Sequence[str] = ADAPTER if is_adapter else MODEL
        if not is_adapter and _take(folder, INDEX, target):
            needed = (MODEL[0], *_shards(target / INDEX))
        for name in needed:
            if not _take(folder, name, target):
                raise WrongInput(f"{run.name} has no weights to push: {source / name} is missing or no file")
        for name in (*TOKENIZER, *(() if is_adapter else ("generation_config.json",))):
            _take(folder, name, target)
    finally:
        os.close(folder)


def _shards(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongInput(f"{index.name} cannot be read; train or merge the model again") from error
    if not names or not all(SHARD.fullmatch(str(name)) for name in names):
        raise WrongInput(f"{index.name} names files that are no weights; train or merge the model again")
    return names


def _take(folder: int, name: str, target: Path) -> bool:
    """Put a file of an opened folder into the staged one, by a second name for it where that is possible."""
    place = target / name
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return False
        with suppress(OSError):
            os.link(name, place, src_dir_fd=folder, follow_symlinks=False)
        if not os.path.lexists(place):  # a disk without second names
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            with os.fdopen(opened, "rb") as given, place.open("xb") as out:
                shutil.copyfileobj(given, out)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(place.lstat().st_mode):  # made a link since we looked
        place.unlink()
        return False
    return True


def _hide_paths(workspace: Workspace, run: LoraRun, target: Path) -> None:
    """Put the base's name where the settings of libraries name its folder on this machine."""
    base = run.frozen["base_model"]
    public = public_base(base)
    # An adapter upon adapters has no base that is on the hub by itself: loading must fail, not give another.
    name = public["name"] if base["adapters"] else public["location"]
    folders = [Path(one) for one in (workspace.folder, base["location"], *base["adapters"])]

    def hidden(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {inner: hidden(inner, one) for inner, one in value.items()}
        if isinstance(value, list):
            return [hidden(key, one) for one in value]
        if not isinstance(value, str) or not value:
            return value
        if key == "base_model_name_or_path":
            return name
        path = Path(value)
        is_ours = path.is_absolute() and (
            key.endswith("name_or_path") or any(path.is_relative_to(one) for one in folders)
        )
        return name if is_ours else value

    for file in target.glob("*config.json"):
        values = json.loads(file.read_bytes())
        changed = hidden("", values)
        if changed != values:
            file.unlink()  # it may be a second name of the run's own file, which stays as it is
            file.write_text(json.dumps(changed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# --- the hub ---


class _Progress:
    """Says how many bytes were read, of all files together; bytes that are sent again count once."""

    def __init__(self, show: Show, total: int) -> None:
        self.what, self._show, self._total = "reading the files", show, total
        self._read: dict[str, int] = {}

    def note(self, name: str, position: int) -> None:
        self._read[name] = position
        self._show(self.what, sum(self._read.values()), self._total)

    def begin(self, what: str) -> None:
        self.what = what
        self._read.clear()


class _Watched(BufferedReader):
    """A file that tells how far it was read."""

    def __init__(self, file: Path, progress: _Progress) -> None:
        super().__init__(FileIO(file))
        self._name, self._progress = file.name, progress

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._progress.note(self._name, self.tell())
        return data


def _send(
    token: str, repository: str, private: bool, run_name: str, files: Sequence[Path], show: Show
) -> tuple[str, bool]:
    """Upload the files as one commit. Gives its id, and whether all of it was there already."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token)
    progress = _Progress(show, sum(file.stat().st_size for file in files))
    with _in_our_words(repository), _quiet(), _with_patience(), ExitStack() as opened:
        show("asking the hub", 0, 0)
        before = _repository(api, repository, private)
        # Open files, because the library sends those by plain HTTP and names by Xet.
        operations: list[Any] = [
            CommitOperationAdd(file.name, opened.enter_context(_Watched(file, progress))) for file in files
        ]
        stale = _left_by_another_push(before) - {file.name for file in files}
        operations += [CommitOperationDelete(name) for name in sorted(stale)]
        progress.begin("uploading")
        commit = api.create_commit(
            repository, operations, commit_message=f"Push the run {run_name}", num_threads=1,
            parent_commit=before.sha,
        )  # fmt: skip
    return commit.oid, commit.oid == before.sha


def _repository(api: "HfApi", repository: str, private: bool) -> "ModelInfo":
    """Make the repository when it is not there. Raises WrongInput when it is not one to push to."""
    api.create_repo(repository, private=private, exist_ok=True)
    info = api.model_info(repository, timeout=SECONDS)
    names = _names(info)
    if private and info.private is False:
        raise WrongInput(
            f"{repository} exists already and everybody can read it; push to another name, "
            "or with --public if it is yours and this may be public"
        )
    if not private and info.private:
        raise WrongInput(
            f"{repository} exists already and is private; push without --public, or open it on its page"
        )
    if SETTINGS not in names and any(name.endswith(WEIGHTS) for name in names):
        raise WrongInput(
            f"{repository} holds a model that Winnow did not push; nothing was changed, push to another name"
        )
    if ".gitignore" in names:
        raise WrongInput(
            f"{repository} has a .gitignore, by which the hub may leave files out; "
            "remove it, or push to another name"
        )
    return info


def _names(info: "ModelInfo") -> set[str]:
    return {one.rfilename for one in info.siblings or ()}


def _left_by_another_push(info: "ModelInfo") -> set[str]:
    """Name the result's files that are there: what this push does not bring must go, or it would be mixed.

    A model beside an adapter, say. Other files, which somebody may have added, stay.
    """
    ours = {*ADAPTER, *MODEL, INDEX, *TOKENIZER, "generation_config.json"}
    names = _names(info)
    return {name for name in names if name in ours or SHARD.fullmatch(name)} if SETTINGS in names else set()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's bars and advice off the terminal, and what it tells of this machine off the wire."""
    import huggingface_hub.utils.logging as hub_logging
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    before, constants.HF_HUB_DISABLE_TELEMETRY = constants.HF_HUB_DISABLE_TELEMETRY, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before


@contextmanager
def _with_patience() -> Iterator[None]:
    """Let a hub that falls silent count as gone: by itself the library would wait for ever."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def patient() -> Any:
        client = default_client_factory()
        client.timeout = SECONDS
        return client

    set_client_factory(patient)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)


@contextmanager
def _in_our_words(repository: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except CurationError:
        raise
    except RuntimeError as error:  # the library wraps what broke while a file was sent
        if not isinstance(error.__cause__, errors.HTTPError):  # type: ignore[attr-defined]
            raise
        raise _told(error.__cause__, repository) from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled, ValueError, KeyError) as error:  # type: ignore[attr-defined]
        raise _told(error, repository) from error


def _told(error: BaseException, repository: str) -> CurationError:
    from huggingface_hub import errors

    hub = _address()
    if isinstance(error, errors.OfflineModeIsEnabled):
        return WrongInput("HF_HUB_OFFLINE forbids to reach the hub; unset it and push again")
    if isinstance(error, errors.HfHubHTTPError):
        return _refused(error, repository, hub)
    line = plain_line(str(error))
    if isinstance(error, (ValueError, KeyError)):
        return SourceUnavailable(
            f"{hub} gave an answer that is none of a hub ({line}); nothing of this push is to be seen there. "
            "Check HF_ENDPOINT, or push again later"
        )
    return SourceUnavailable(
        f"The connection to {hub} failed ({type(error).__name__}: {line}); all arrives in one commit "
        "or nothing does. Check the network and push again"
    )


def _refused(error: Any, repository: str, hub: str) -> CurationError:
    """Say what a status of the hub means here, and what to try."""
    status = error.response.status_code
    said = plain_line(error.server_message or "no reason given")
    if error.response.request.method == "PUT" and status < 500 and status not in (413, 429):
        return SourceUnavailable(f"The hub's storage refused a file (HTTP {status}: {said}); push again")
    wrong = {
        400: "It refuses what was sent; the reason says what to change",
        401: f"It does not know the token in {TOKEN}; make one with write access on {TOKENS_PAGE} and "
        f"`export {TOKEN}=...`",
        402: "The account has no room for it; free some, or push with --public if it may be public",
        403: f"{TOKEN} may not write there: take a token with write access, or a repository of your own",
        404: f"There is no such repository, or {TOKEN} may not see it; check the name",
        413: "It takes no files of this size; push the adapter, without --merged",
    }
    if status in wrong:
        return WrongInput(f"{hub} refuses {repository} (HTTP {status}: {said}). {wrong[status]}")
    later = {
        409: "Somebody else is changing it; push again in a moment",
        412: "Somebody else changed it meanwhile; look at it, then push again",
        429: "It asks for fewer requests; push again in some minutes, files that arrived are not sent again",
    }
    hint = later.get(status, "The hub is in trouble; push again later, files that arrived are not sent again")
    return SourceUnavailable(f"{hub} did not take {repository} (HTTP {status}: {said}). {hint}")
