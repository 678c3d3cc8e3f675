"""Previewing a policy: real cuts of a source, made anew while a person moves the bounds.

Reading and cutting happen in a process of their own, as in a harvest: what a stranger's archive or a grammar
does to it does not reach the app. It remembers the files it read, so that only the first look waits for them.
"""

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from curation.errors import CurationError, SourceUnavailable, WrongInput
from curation.installed_documents import GIVEN, InstalledSource
from curation.records import Document, digest
from curation.seed_comparison import lines_of
from curation.seeds import Settings, end_with_parent, judged
from curation.store import documents

SHOWN = 12  # cuts: what fits a screen
READ_SECONDS = 1.0  # of a source, for the first look
READ_BYTES = 32 << 20
READ_FILES = 3_000
PATIENCE = 30.0  # seconds until a look is given up
AROUND = 3  # lines before and after a cut


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
    left_out: Mapping[str, int] = field(default_factory=dict)  # of those tried, by reason


def preview(given: str, settings: Settings) -> Preview:
    """Cut some documents of a source as a harvest would, the same ones whatever the settings.

    For what is here already: a folder, an archive, a file of rows, the installed packages. Raises WrongInput
    for anything else, and what reading the source raises.
    """
    path = Path(given).expanduser()
    if given != GIVEN and not path.exists():
        raise WrongInput(f"{given} is not on this machine; its files are seen when they are harvested")
    return _elsewhere(given if given == GIVEN else str(path.resolve()), settings)


# --- the process that reads ---

_pool: ProcessPoolExecutor | None = None
_lock = threading.Lock()


def _elsewhere(given: str, settings: Settings) -> Preview:
    global _pool
    with _lock:
        context = multiprocessing.get_context("spawn")  # this process has threads
        _pool = _pool or ProcessPoolExecutor(1, context, end_with_parent)
        try:
            found = _pool.submit(_previewed, given, settings).result(PATIENCE)
        except (BrokenProcessPool, TimeoutError) as error:
            _give_up()
            raise SourceUnavailable(
                "Reading these files took too long or ended the process that did it; a harvest leaves out "
                "only the file at fault, so it can be tried all the same"
            ) from error
    if isinstance(found, CurationError):
        raise found
    return found


def _give_up() -> None:
    global _pool
    if _pool is not None:
        for process in list((_pool._processes or {}).values()):
            process.kill()
        _pool.shutdown(wait=False, cancel_futures=True)
    _pool = None


def _previewed(given: str, settings: Settings) -> "Preview | CurationError":
    try:
        found, is_all = _read(given, _change_of(given))
    except CurationError as error:
        return type(error)(str(error))  # an exception with a cause may not travel
    cuts: list[PreviewCut] = []
    left_out: Counter[str] = Counter()
    for document in found:
        if len(cuts) == SHOWN:
            break
        one = judged(document, settings)
        if one.reason is not None or one.packed is None:
            left_out[str(one.reason)] += 1
            continue
        cuts.append(_cut(document, one.cuts[0], documents.unpack(one.packed)))
    return Preview(cuts, len(found), is_all, dict(left_out))


def _change_of(given: str) -> float:
    """Tell a source from what it was: what was read of it is remembered."""
    return 0.0 if given == GIVEN else Path(given).stat().st_mtime


@lru_cache(maxsize=4)
def _read(given: str, changed: float) -> tuple[list[Document], bool]:
    """Read documents for a while, and mix them: neighbours are alike. Languages take turns."""
    from curation.code_sources import open_source

    deadline, size, found = time.monotonic() + READ_SECONDS, 0, []
    with TemporaryDirectory() as scratch:
        source = InstalledSource() if given == GIVEN else open_source(given, Path(scratch))
        with source:
            is_all = True
            for _, one in source.documents():
                if isinstance(one, Document):
                    found.append(one)
                    size += len(one.data)
                if time.monotonic() > deadline or size > READ_BYTES or len(found) >= READ_FILES:
                    is_all = False
                    break
    return _mixed(found), is_all


def _mixed(found: Sequence[Document]) -> list[Document]:
    turns: Counter[str] = Counter()
    ranked = []
    distinct = {one.hash: one for one in found}
    for one in sorted(distinct.values(), key=lambda one: digest(one.hash)):
        turns[one.language] += 1
        ranked.append((turns[one.language], one.language, one))
    return [one for _, _, one in sorted(ranked, key=lambda rank: rank[:2])]


def _cut(document: Document, span: tuple[int, int], text: str) -> PreviewCut:
    lines = [line.rstrip(b"\r\n").decode(errors="replace") for line in lines_of(text)]
    first = max(0, span[0] - 1 - AROUND)
    return PreviewCut(
        document.source, document.path, document.language, document.licence, span,
        lines[first : span[1] + AROUND], first + 1,
    )  # fmt: skip
