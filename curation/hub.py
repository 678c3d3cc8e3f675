"""Stream a set of the Hugging Face hub, or a folder that `load_dataset` reads, row by row."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import SourceUnavailable, WrongInput
from curation.reading import FileRow, row_of_values, sha256_of
from curation.records import BadRow, digest

if TYPE_CHECKING:
    from datasets import IterableDataset

PREFIX = "hf:"
SPLIT = "train"
TIMEOUT = 20.0  # seconds for the hub to say which revision is newest

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SPLIT_NAME = re.compile(r"[\w.-]+")
_TOKEN = re.compile(r"\bhf_\w+")


def read_hub_rows(name: str) -> tuple[str, Iterator[FileRow | BadRow]]:
    """Give the revision of `hf:NAME[:SPLIT]` and its rows, read at exactly that revision.

    The revision of a folder is a digest of its files. Raises WrongInput when there is no such set
    or split, and SourceUnavailable when the hub cannot be reached, now or while rows are read.
    """
    source, split = _source_and_split(name)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _revision_of_folder(folder), _rows(_stream(str(folder.resolve()), split, None), name)
    if folder.is_file():
        raise WrongInput(f"{source} is a file; give its path without {PREFIX}")
    if source.startswith(("/", ".", "~")):
        raise WrongInput(f"there is no folder {source}; check the path")
    if not _HUB_NAME.fullmatch(source):
        raise WrongInput(
            f"{source!r} is no name of a set on the hub; write {PREFIX}OWNER/NAME or {PREFIX}FOLDER"
        )
    revision = _revision_on_hub(source)
    return revision, _rows(_stream(source, split, revision), name)


class HubStream:
    """A set of the hub, or a folder that `load_dataset` reads, that can be left and gone on with."""

    def __init__(self, name: str, revision: str | None = None) -> None:
        """Open `hf:NAME[:DATA_DIR]` at a revision, the newest when none is given.

        A folder has the revision that its files make. Raises WrongInput and SourceUnavailable as
        `read_hub_rows` does, for a gated set with what to do.
        """
        self.name = name
        self.source, self._data_dir = _source_and_data_dir(name)
        folder = Path(self.source).expanduser()
        if folder.is_dir():
            self._place, self.revision = str(folder.resolve()), _revision_of_folder(folder)
        elif self.source.startswith(("/", ".", "~")) or not _HUB_NAME.fullmatch(self.source):
            raise WrongInput(
                f"{self.source!r} is no folder and no name of a set on the hub; "
                f"write {PREFIX}OWNER/NAME or {PREFIX}OWNER/NAME:FOLDER_IN_IT"
            )
        else:
            self._place, self.revision = self.source, revision or _revision_on_hub(self.source)
        stream = self._open()
        # The names of the columns; None where only reading shows them.
        self.columns = None if stream.features is None else list(stream.features)
        self._fresh: IterableDataset | None = stream  # not yet read from

    def rows(
        self, state: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[dict[str, Any], FileRow | BadRow]]:
        """Yield each row with the library's own note of where it stands, which is JSON.

        With such a note, go on behind its row.
        """
        stream, self._fresh = self._fresh or self._open(), None
        if state is not None:
            stream.load_state_dict(dict(state))
        for row in _rows(stream, self.name):
            yield stream.state_dict(), row

    def _open(self) -> "IterableDataset":
        is_folder = Path(self._place).is_absolute()
        return _stream(self._place, SPLIT, None if is_folder else self.revision, self._data_dir)


def _source_and_rest(name: str, more: str) -> tuple[str, str]:
    """Give the set, or the folder, that is named, and what stands behind the colon; `more` ends a refusal."""
    text = name.removeprefix(PREFIX)
    if text and Path(text).is_dir():  # a folder whose own name holds a colon
        return text, ""
    source, _, rest = text.partition(":")
    if not source:
        raise WrongInput(f"{name!r} names no set; write {PREFIX}OWNER/NAME{more}")
    return source, rest


def _source_and_data_dir(name: str) -> tuple[str, str | None]:
    source, data_dir = _source_and_rest(name, f" or {PREFIX}OWNER/NAME:FOLDER_IN_IT")
    parts = data_dir.split("/")
    if data_dir and (not re.fullmatch(r"[\w./+#-]+", data_dir) or ".." in parts or not parts[0]):
        raise WrongInput(
            f"{data_dir!r} is no folder inside a set; write it as in hf:bigcode/starcoderdata:python"
        )
    return source, data_dir or None


def _source_and_split(name: str) -> tuple[str, str]:
    source, split = _source_and_rest(name, f", with :SPLIT when it is not {SPLIT}")
    if split and not _SPLIT_NAME.fullmatch(split):
        raise WrongInput(f"{split!r} is no name of a split; write {PREFIX}OWNER/NAME:SPLIT")
    return source, split or SPLIT


def _revision_of_folder(folder: Path) -> str:
    """Name the content of a folder; hidden files are left out, as `load_dataset` does."""
    parts: list[str] = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            parts += [ascii(inside.as_posix()), sha256_of(path)]
    return digest(*parts)


def _revision_on_hub(source: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        sha = HfApi().dataset_info(source, timeout=TIMEOUT).sha
    except GatedRepoError as error:
        raise _gated(source) from error
    except RepositoryNotFoundError as error:
        raise WrongInput(
            f"the hub has no set {source!r}, or not for everybody; check the name, or set HF_TOKEN"
        ) from error
    except HFValidationError as error:
        raise WrongInput(f"{source!r} is no name of a set on the hub: {plain_line(error)}") from error
    except _network_errors(OSError) as error:
        raise _unreachable(source, error) from error
    if not sha:
        raise SourceUnavailable(f"the hub gave no revision of {source!r}; start again later")
    return sha


def _stream(source: str, split: str, revision: str | None, data_dir: str | None = None) -> "IterableDataset":
    """Open a set without downloading it. Code that a set brings along is never run."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    try:
        stream = datasets.load_dataset(
            source, data_dir=data_dir, split=split, revision=revision, streaming=True
        )
    except DatasetNotFoundError as error:
        if "gated" in str(error):
            raise _gated(source) from error
        raise WrongInput(f"there is no set {source!r} to read: {plain_line(error)}") from error
    except DatasetsError as error:
        raise WrongInput(f"{source!r} cannot be read as a set: {plain_line(error)}") from error
    except (ValueError, RuntimeError, FileNotFoundError) as error:
        # an unknown split, several configurations to choose from, or a set that is a program
        raise WrongInput(f"split {split!r} of {source!r} cannot be read: {plain_line(error)}") from error
    except _network_errors(OSError) as error:
        raise _unreachable(source, error) from error
    # Pictures and sounds stay bytes: no decoder is needed for text. A set whose first rows cannot be
    # read has no known columns; reading it says what is wrong.
    return stream if stream.features is None else stream.decode(False)


def _rows(stream: "IterableDataset", name: str) -> Iterator[FileRow | BadRow]:
    import pyarrow

    position = 0
    rows: Iterator[dict[str, Any]] = iter(stream)
    while True:
        try:
            values = next(rows, None)
        except _network_errors(ConnectionError, TimeoutError) as error:
            raise _unreachable(name, error) from error
        except (pyarrow.ArrowException, ValueError, OSError) as error:
            # A stream cannot be picked up behind what it failed on, and it fails a block at a time.
            message = (
                f"the set cannot be read beyond row {position} ({plain_line(error)}); "
                "import its files one by one to keep their good rows"
            )
            yield BadRow(position, None, "truncated", message)
            return
        if values is None:
            return
        yield row_of_values(values, position)
        position += 1


def _network_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Name what the hub library's transport raises, which changes from one release to another."""
    from huggingface_hub import errors

    return (errors.HTTPError, *others)  # type: ignore[attr-defined]


def _gated(source: str) -> WrongInput:
    return WrongInput(
        f"the set {source!r} is gated; accept its terms on its page on the hub, then set HF_TOKEN"
    )


def _unreachable(source: str, error: Exception) -> SourceUnavailable:
    return SourceUnavailable(
        f"{source!r} cannot be reached ({type(error).__name__}: {plain_line(error)}); "
        "check the network and start again"
    )


def plain_line(error: Exception | str) -> str:
    """Give the first line of a message of others, without a token that may stand in it."""
    line = (str(error).splitlines() or [""])[0][:300]
    if token := os.environ.get("HF_TOKEN", "").strip():
        line = line.replace(token, "***")
    return _TOKEN.sub("***", line)
