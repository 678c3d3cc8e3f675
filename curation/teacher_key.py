"""Keys of teachers: held in memory alone, each bound to one origin, and taken out of every text we write.

A key goes to the scheme, host and port that it was given for and to nobody else (faults.md S28).
OPENAI_API_KEY belongs to OPENAI_BASE_URL, as the openai client takes the two; without that, to OpenAI.

Providers repeat the key in what they say of it, whole or with stars in the middle (F25, S27). Whoever stores,
logs or shows a teacher's words, or an error that holds them, passes them through `without_keys` first.
"""

import base64
import html
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import NoReturn

from curation.endpoint import VARIABLE, Endpoint, default_endpoint
from curation.errors import WrongInput

KEY_VARIABLE = "OPENAI_API_KEY"
# Bound to no origin: the openai client takes them from the environment whatever base URL it is given (seen in
# 3.51; the headers may hold an Authorization). No step needs them, and none is given them.
UNBOUND = ("OPENAI_ADMIN_KEY", "OPENAI_CUSTOM_HEADERS", "OPENAI_WEBHOOK_SECRET")
# Never in a log or a message.
SECRETS = (
    KEY_VARIABLE,
    "OPENAI_ADMIN_KEY",
    "OPENAI_WEBHOOK_SECRET",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
)
HIDDEN = "[key]"

# OpenAI's 401 shows the first eight characters, a row of stars and the last four.
HEAD = 6  # characters: whatever goes on after these is hidden to its end
TAIL = 4  # characters: hidden after a row of stars
PIECE = 8  # characters: any piece of a key as long as this is hidden, as where a log was cut or wrapped
SHORT = 8  # characters: a shorter key is a word of somebody's own, and is hidden as a word only
SHORTEST = 4  # characters: what is shorter is no secret, and would take letters out of every text

MASK = r"*#.\u2022\u25cf\u00b7"  # signs that stand for hidden characters; the ellipsis stands for many
WORD_BEGINS = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"  # or after the "\\n" of an escaped text
WORD_GOES_ON = r"(?:[\w*#\u2022\u25cf\u00b7\u2026+=~%-]|\.+(?=[\w*\u2026]))*"  # no dot that ends a sentence
# From the start of a row alone, or a long row of stars would be tried from each of them.
MASKED = rf"(?:(?<![{MASK}])[{MASK}]{{3,}}|\u2026)"


# --- who holds them ---


class KeyRing:
    """Keys by origin, in memory alone: nothing shows them, and a ring cannot be copied or pickled.

    A key that a person typed counts before that of the environment, which may be the one that was revoked.
    """

    __slots__ = ("_lock", "_of_environment", "_typed")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._typed: dict[str, str] = {}
        self._of_environment: dict[str, str] = {}

    def hold(self, origin: str, key: str) -> None:
        """Keep a key that a person typed for an origin ("https://host:443"), instead of the one before.

        Raises WrongInput for what no header can carry; the message does not repeat it.
        """
        key = _checked(key)
        with self._lock:
            self._typed[origin] = key

    def hold_environment(self) -> None:
        """Keep this process's OPENAI_API_KEY for the origin it belongs to; not one that no header can carry,
        of which whoever asks a teacher is told."""
        owner = _owner_of_environment()
        with suppress(WrongInput):
            if owner is not None and (key := key_from_environment(owner)):
                with self._lock:
                    self._of_environment[owner.origin] = key

    def key_for(self, endpoint: Endpoint) -> str | None:
        """Give the key of an endpoint's own origin. See `endpoint.check_key_may_travel` before sending it."""
        return self.key_of_origin(endpoint.origin)

    def key_of_origin(self, origin: str) -> str | None:
        with self._lock:
            return self._typed.get(origin) or self._of_environment.get(origin)

    def is_typed(self, origin: str) -> bool:
        """Tell whether the key of an origin was typed by a person; else it is the environment's, or none."""
        with self._lock:
            return origin in self._typed

    def forget(self, origin: str) -> None:
        """Forget the key that a person typed; the environment's, if there is one, counts again."""
        with self._lock:
            self._typed.pop(origin, None)

    def __repr__(self) -> str:
        with self._lock:
            return f"<KeyRing of {len(self._typed | self._of_environment)} keys>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("keys are not copied or pickled")


def _checked(key: str, name: str = "the key", mend: str = "paste it") -> str:
    """Give a key that a header can carry. With any other the client fails before it sends anything, in words
    that would be taken for the network's."""
    key = key.strip()
    if not key:
        raise WrongInput(f"{name} is empty; {mend} whole")
    remember(key)  # a wrong one is a secret, too
    if not key.isascii() or not key.isprintable() or " " in key:
        raise WrongInput(f"{name} holds a space, a line end or a letter that no key has; {mend} alone")
    return key


# --- the environment's ---


def key_from_environment(endpoint: Endpoint) -> str | None:
    """Give OPENAI_API_KEY when it belongs to this endpoint's origin, else None. Raises WrongInput for one
    that no header can carry."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    owner = _owner_of_environment()
    if not key or owner is None or owner.origin != endpoint.origin:
        return None
    return _checked(key, KEY_VARIABLE, "set it to the key")


def _owner_of_environment() -> Endpoint | None:
    """Give whom the key belongs to; None: to nobody, because OPENAI_BASE_URL cannot be read."""
    try:
        return default_endpoint()
    except WrongInput:
        return None


def why_no_key(endpoint: Endpoint) -> str:
    """Say in one line why there is no key for an endpoint and how to give one."""
    for_it = f"to use it for {endpoint.base_url} set {VARIABLE}={endpoint.base_url}"
    if not os.environ.get(KEY_VARIABLE, "").strip():
        return (
            f"there is no key for {endpoint.base_url}; type it in the app, which must stay open until the "
            f"job begins, or set {KEY_VARIABLE} and {VARIABLE}={endpoint.base_url}"
        )
    try:
        owner = default_endpoint()
    except WrongInput as error:
        return f"{KEY_VARIABLE} belongs to nobody, because of {error}; {for_it}"
    if owner.origin == endpoint.origin:
        return f"{KEY_VARIABLE} belongs to {endpoint.base_url} and will be used"
    return f"{KEY_VARIABLE} belongs to {_short(owner)}; {for_it}, or type a key of its own in the app"


def _short(endpoint: Endpoint) -> str:
    return endpoint.base_url.removesuffix(endpoint.path)


def environment_for(asks_teacher: bool) -> dict[str, str]:
    """Give what a process of ours is told of our environment: the key only when it asks a teacher (S31)."""
    left_out = UNBOUND if asks_teacher else (KEY_VARIABLE, *UNBOUND)
    return {name: value for name, value in os.environ.items() if name not in left_out}


# --- texts without them ---

_seen: dict[str, None] = {}  # every key that this process ever held, in order; for `without_keys`
_seen_lock = threading.Lock()


def remember(key: str) -> None:
    """Take a key that came another way out of every text from now on, too."""
    with _seen_lock:
        _seen[key] = None


def seen_keys() -> tuple[str, ...]:
    """Give every key that this process was ever given, forgotten ones too, and those of its environment."""
    with _seen_lock:
        seen = tuple(_seen)
    return (*seen, *(value for name in SECRETS if (value := os.environ.get(name, "").strip())))


def without_keys(text: str) -> str:
    """Give a text with [key] for every key that this process knows of, however it is written."""
    return redacted(text, seen_keys())


def redacted(text: str, keys: Iterable[str]) -> str:
    """Give a text with [key] in the place of every key, of its pieces and of what its owners make of it.

    Whole: as it is, percent-encoded, escaped for JSON, Python or HTML, in base64 (alone or within something
    longer). In part: from its first 6 characters to the end of the word, masked or not; its last 4 after a
    row of stars or dots; any 8 characters in a row. The time grows with the text's length.
    """
    spans: list[tuple[int, int]] = []  # of all keys in the text as it came: keys may have pieces in common
    for key in set(keys):
        if len(key) >= SHORTEST:
            spans += (found.span() for found in _pattern(key).finditer(text))
        if len(key) >= SHORT:
            spans += _pieces(text, key)
    parts: list[str] = []
    done = 0
    for low, high in sorted(spans):
        if low > done or not parts:
            parts += [text[done:low], HIDDEN]
        done = max(done, high)
    return "".join(parts) + text[done:]


def without_whole_key(text: str, key: str) -> str:
    """Give a text with [key] for a key that stands in it whole, however it is written; what only resembles it
    stays: it may be code that somebody wants."""
    return _whole(key).sub(HIDDEN, text) if len(key) >= SHORTEST else text


@lru_cache(maxsize=32)
def _whole(key: str) -> re.Pattern[str]:
    return re.compile("".join(_written(character) for character in key))


@lru_cache(maxsize=32)
def _pattern(key: str) -> re.Pattern[str]:
    if len(key) < SHORT:
        return re.compile(rf"(?<![A-Za-z0-9]){re.escape(key)}(?![A-Za-z0-9])")
    ways = [
        "".join(_written(character) for character in key),
        *(re.escape(coded) for coded in _base64_forms(key)),
        WORD_BEGINS + re.escape(key[:HEAD]) + WORD_GOES_ON,
        MASKED + re.escape(key[-TAIL:]) + r"(?![A-Za-z0-9])",
    ]
    return re.compile("|".join(ways), re.IGNORECASE)


def _written(character: str) -> str:
    """Give a pattern of all the ways in which URLs, JSON, Python and HTML write a character."""
    number = ord(character)
    ways = [
        re.escape(character) if character.isalnum() else rf"\\{{0,4}}{re.escape(character)}",
        "".join(f"%{byte:02x}" for byte in character.encode(errors="surrogatepass")),
        rf"\\{{1,4}}(?:u{number:04x}|x{number:02x})",
        rf"&\#(?:0*{number}|x0*{number:x});",
        *([re.escape(html.escape(character))] if html.escape(character) != character else []),
    ]
    return f"(?:{'|'.join(ways)})"


def _base64_forms(key: str) -> Iterator[str]:
    """Give what base64 makes of a key wherever it stands in what is coded: three forms, in two alphabets.

    Characters that hold bits of what stands before or after are left out.
    """
    raw = key.encode(errors="surrogatepass")
    for before in range(3):
        coded = base64.b64encode(bytes(before) + raw).decode()
        form = coded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        yield from {form, form.replace("+", "-").replace("/", "_")}


def _pieces(text: str, key: str) -> Iterator[tuple[int, int]]:
    for piece in {key[at : at + PIECE] for at in range(len(key) - PIECE + 1)}:
        if len(set(piece)) < TAIL:
            continue  # a row of dashes or noughts is in many texts
        at = text.find(piece)
        while at >= 0:
            yield at, at + PIECE
            at = text.find(piece, at + 1)


class HideKeys(logging.Filter):
    """Takes keys out of what is logged: put it on a handler, or see `hide_keys_in_logs`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without keys in its message, traceback and extra fields."""
        keys = seen_keys()
        if not keys:
            return True
        try:
            said = record.getMessage()
        except Exception:  # arguments that do not fit; logging itself would print them as they are
            said = f"{record.msg!r} {record.args!r}"
            record.msg, record.args = said, ()
        if (clean := redacted(said, keys)) != said:
            record.msg, record.args = clean, ()
        if record.exc_info and not record.exc_text:
            told = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            if redacted(told, keys) != told:
                record.exc_text, record.exc_info = told, None  # formatters take the text when it is there
        for name, value in list(record.__dict__.items()):
            if isinstance(value, str) and name != "msg":
                setattr(record, name, redacted(value, keys))
        return True


def hide_keys_in_logs(*names: str) -> None:
    """Take keys out of all that the root logger and those of these names write from now on.

    Without a handler the root logger gets one to standard error: a library that finds one adds none of its
    own (openai does, when OPENAI_LOG is set). What kills a thread or the process is told without keys, too.
    """
    root = logging.getLogger()
    if not root.handlers:
        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    for logger in (root, *map(logging.getLogger, names)):
        for handler in logger.handlers:
            if not any(isinstance(one, HideKeys) for one in handler.filters):
                handler.addFilter(HideKeys())
    sys.excepthook = _tell_death
    threading.excepthook = lambda given: _tell_death(given.exc_type, given.exc_value, given.exc_traceback)


def _tell_death(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, SystemExit):
        return  # a thread that ends so says nothing
    with suppress(Exception):
        sys.stderr.write(without_keys("".join(traceback.format_exception(kind, error, trace))))
        sys.stderr.flush()
