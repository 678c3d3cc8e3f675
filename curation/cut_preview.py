"""Previewing a policy: real cuts of a source, made anew while a person moves the bounds.

Reading and cutting happen in a process of their own, as in a harvest: what a stranger's archive or a grammar
does to it does not reach the app. It remembers the files it read, so that only the first look waits for them.
"""

import errno
import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from curation.errors import CurationError, SourceUnavailable, WrongInput
from curation.installed_documents import GIVEN, InstalledSource
from curation.records import Document, digest
from curation.seed_story import plain_lines
from curation.seeds import UNCOUNTED, Settings, judged, settings_of
from curation.store import documents
from curation.teacher_key import environment_for

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 12  # cuts: what fits a screen
READ_SECONDS = 1.0  # of a source, for the first look
READ_BYTES = 32 << 20
READ_FILES = 3_000
PATIENCE = 30.0  # seconds until a look is given up
AROUND = 3  # lines before and after a cut
FRESH_SECONDS = 60.0  # until a source is read anew: deep in a folder it may have changed
NAMED = 200  # characters of a source in a message


@dataclass(frozen=True)
class PreviewCut:
    """A cut and some lines around it, secrets replaced."""

    source: str
    path: str
    language: str
    licence: str
    span: tuple[int, int]  # first and last line, from 1
    lines: Sequence[str]
    first: int  # number of the first of these lines


@dataclass(frozen=True)
class Preview:
    """What some files of a source come to."""

    cuts: Sequence[PreviewCut]
    read: int  # documents that were read for it
    is_all: bool  # False: the source holds more
    left_out: Mapping[str, int] = field(default_factory=dict)  # of those seen, by reason


def preview(given: str, asked: Mapping[str, Any]) -> Preview:
    """Cut some documents of a source as a harvest would, in the same order whatever the settings.

    `asked` holds settings as jobs say them. For what is here already: a folder, an archive, a file of rows,
    the installed packages. Raises WrongInput for anything else and for what cannot be read, SourceUnavailable
    when reading takes too long.
    """
    return _elsewhere(given if given == GIVEN else _place_of(given), asked)


def _place_of(given: str) -> str:
    """Give the whole path of what is here. Raises WrongInput when nothing is, or nobody may look."""
    try:
        path = Path(given).expanduser()
        if path.exists():
            return str(path.resolve())
    except RuntimeError:  # ~name, and nobody is called so
        pass
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise _unreadable(given, error) from error
    told = given if len(given) <= NAMED else f"{given[:NAMED]}..."
    raise WrongInput(f"{told} is not on this machine; check how it is written")


def _unreadable(given: str, error: OSError) -> WrongInput:
    return WrongInput(f"{given} cannot be read ({error.strerror}); check its rights, or name another source")


# --- the process that reads, seen from the app ---

_reader: "_Reader | None" = None
_lock = threading.Lock()  # one question at a time


class _Reader:
    """A process that answers lines of JSON with lines of JSON. It ends when its input does."""

    def __init__(self) -> None:
        words = [sys.executable, "-m", "curation.cut_preview"]
        self._process = subprocess.Popen(
            words, cwd=ROOT, env=environment_for(asks_teacher=False),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Raises OSError, queue.Empty or ValueError when no sound answer comes."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._answers.get(timeout=PATIENCE))
        return answer

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")  # it ended: no answer will come


def _elsewhere(given: str, asked: Mapping[str, Any]) -> Preview:
    global _reader
    with _lock:
        try:
            if _reader is None or _reader.has_ended:  # nobody's fault: it may have been idle for hours
                _reader = _Reader()
            answer = _reader.ask({"given": given, "asked": dict(asked)})
        except (OSError, queue.Empty, ValueError) as error:
            if _reader is not None:
                _reader.end()
            _reader = None
            raise SourceUnavailable(
                "Reading these files took too long or ended the process that did it; a harvest leaves out "
                "only the file at fault, so it can be tried all the same"
            ) from error
    if "wrong" in answer:
        raise WrongInput(answer["wrong"])
    cuts = [PreviewCut(**{**one, "span": tuple(one["span"])}) for one in answer.pop("cuts")]
    return Preview(cuts, **answer)


# --- the same process from within ---


def main() -> int:
    """Answer questions until there are no more."""
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = asdict(_previewed(question["given"], settings_of(question["asked"])))
        except CurationError as error:
            answer = {"wrong": str(error)}
        except OSError as error:
            answer = {"wrong": str(_unreadable(question["given"], error))}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return 0


def _previewed(given: str, settings: Settings) -> Preview:
    found, skipped, is_all = _read(given, _change_of(given))
    cuts: list[PreviewCut] = []
    left_out = Counter(skipped)
    for document in found:
        if len(cuts) == SHOWN:
            break
        one = judged(document, settings)
        if one.reason is not None or one.packed is None:
            left_out[str(one.reason)] += 1
            continue
        cuts.append(_cut(document, one.cuts[0], documents.unpack(one.packed)))
    return Preview(cuts, len(found), is_all, dict(left_out.most_common()))


def _change_of(given: str) -> tuple[float, int]:
    """Tell a source from what it was: what was read of it is remembered for a while."""
    if given == GIVEN:
        return 0.0, 0
    return Path(given).stat().st_mtime, int(time.monotonic() // FRESH_SECONDS)


@lru_cache(maxsize=4)
def _read(given: str, changed: tuple[float, int]) -> tuple[list[Document], Mapping[str, int], bool]:
    """Read documents for a while, and mix them: neighbours are alike. Languages take turns.

    Counts what is no document, too, by reason.
    """
    from curation.code_sources import open_source

    deadline, size, found = time.monotonic() + READ_SECONDS, 0, []
    skipped: Counter[str] = Counter()
    with TemporaryDirectory() as scratch:
        source = InstalledSource() if given == GIVEN else open_source(given, Path(scratch))
        with source:
            is_all = True
            for _, one in source.documents():
                if isinstance(one, Document):
                    found.append(one)
                    size += len(one.data)
                elif one.reason != UNCOUNTED:
                    skipped[one.reason] += 1
                if time.monotonic() > deadline or size > READ_BYTES or len(found) >= READ_FILES:
                    is_all = False
                    break
    return _mixed(found), skipped, is_all


def _mixed(found: Sequence[Document]) -> list[Document]:
    turns: Counter[str] = Counter()
    ranked = []
    distinct = {one.hash: one for one in found}
    for one in sorted(distinct.values(), key=lambda one: digest(one.hash)):
        turns[one.language] += 1
        ranked.append((turns[one.language], one.language, one))
    return [one for _, _, one in sorted(ranked, key=lambda rank: rank[:2])]


def _cut(document: Document, span: tuple[int, int], text: str) -> PreviewCut:
    lines = plain_lines(text)
    first = max(0, span[0] - 1 - AROUND)
    return PreviewCut(
        document.source, document.path, document.language, document.licence, span,
        lines[first : span[1] + AROUND], first + 1,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
