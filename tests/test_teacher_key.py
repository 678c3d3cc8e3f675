"""Keys go to their own origin alone, and into no text (faults.md F25, S27, S28)."""

import base64
import copy
import html
import io
import json
import logging
import pickle
import subprocess
import sys
import urllib.parse
from pathlib import Path

import psutil
import pytest

from curation import cut_preview, git_repository, teacher_key
from curation.endpoint import read_endpoint
from curation.errors import WrongInput
from curation.teacher_key import (
    HIDDEN,
    HideKeys,
    KeyRing,
    environment_for,
    key_from_environment,
    redacted,
    remember,
    seen_keys,
    why_no_key,
    without_keys,
)

ROOT = Path(__file__).resolve().parents[1]
OPENAI = read_endpoint("https://api.openai.com/v1")
LOCAL = read_endpoint("http://127.0.0.1:8000/v1")
# Made up, in the shape of OpenAI's, of a provider whose keys hold signs, and of a server of one's own.
KEY = "sk-proj-Qm7canary5309xTz_81LwAbQ-4kVn0pYeRwxyz"
SIGNS = "ab/cd+ef==\"gh'ij&kl\\mn<op>9Z"
WORD = "letmein"


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins as a process that was never given a key."""
    monkeypatch.setattr(teacher_key, "_seen", {})
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


# --- to whom a key belongs ---


def test_a_ring_gives_each_origin_its_own_key() -> None:
    ring = KeyRing()
    ring.hold(OPENAI.origin, f"  {KEY}\n")  # as it is pasted
    ring.hold(LOCAL.origin, WORD)
    assert (ring.key_for(OPENAI), ring.key_for(LOCAL)) == (KEY, WORD)
    assert ring.key_for(read_endpoint("https://API.openai.com:443/v2/")) == KEY, "the same origin"
    for other in ("http://api.openai.com", "https://api.openai.com:8443", "https://evil.api.openai.com"):
        assert ring.key_for(read_endpoint(other)) is None, other
    ring.forget(OPENAI.origin)
    ring.forget(OPENAI.origin)
    assert (ring.key_for(OPENAI), ring.key_for(LOCAL)) == (None, WORD)


def test_a_typed_key_counts_before_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """People type one when the environment's was revoked; forgetting it brings the environment's back."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ring = KeyRing()
    ring.hold_environment()
    assert ring.key_for(OPENAI) == KEY and not ring.is_typed(OPENAI.origin)
    ring.hold(OPENAI.origin, "sk-another-key-5309")
    ring.hold_environment()
    assert ring.key_for(OPENAI) == "sk-another-key-5309" and ring.is_typed(OPENAI.origin)
    ring.forget(OPENAI.origin)
    assert ring.key_for(OPENAI) == KEY and ring.key_for(LOCAL) is None


@pytest.mark.parametrize("wrong", ["", "  ", "two words5309", "with\nline5309", "umläut5309", "nul\x005309"])
def test_what_no_header_can_carry_is_refused_unrepeated(wrong: str) -> None:
    with pytest.raises(WrongInput, match=r"^the key ") as refusal:
        KeyRing().hold(OPENAI.origin, wrong)
    assert "5309" not in str(refusal.value)


@pytest.mark.parametrize("wrong", ["two words5309", "with\nline5309", "umläut5309"])
def test_what_no_header_can_carry_is_refused_in_the_environment_too(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was tried for minutes, and counted as billed without a single request."""
    monkeypatch.setenv("OPENAI_API_KEY", wrong)
    with pytest.raises(WrongInput, match=r"^OPENAI_API_KEY holds a space") as refusal:
        key_from_environment(OPENAI)
    assert "5309" not in str(refusal.value) and "5309" not in without_keys(f"said {wrong} again")
    assert key_from_environment(LOCAL) is None  # whose it is not
    ring = KeyRing()
    ring.hold_environment()  # an app starts all the same
    assert ring.key_for(OPENAI) is None


def test_nothing_shows_a_ring_s_keys() -> None:
    ring = KeyRing()
    ring.hold(OPENAI.origin, KEY)
    assert repr(ring) == str(ring) == f"{ring}" == "<KeyRing of 1 keys>"
    assert not hasattr(ring, "__dict__"), "vars() would show them"
    for way in (pickle.dumps, copy.copy, copy.deepcopy, lambda one: pickle.dumps({"ring": one})):
        with pytest.raises(TypeError, match="keys are not copied or pickled"):
            way(ring)


@pytest.mark.parametrize(
    ("base_url", "owner", "others"),
    [
        (None, "https://api.openai.com/v1", ["http://api.openai.com/v1", "http://127.0.0.1:8000/v1"]),
        ("", "https://api.openai.com/v1", ["http://127.0.0.1:8000/v1"]),
        ("http://127.0.0.1:8000/v1", "http://127.1:8000/other", ["https://api.openai.com/v1",
                                                                 "http://127.0.0.1:8001/v1"]),
    ],
)  # fmt: skip
def test_the_environment_s_key_belongs_to_its_base_url(
    base_url: str | None, owner: str, others: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    if base_url is not None:
        monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    assert key_from_environment(read_endpoint(owner)) == KEY
    assert [key_from_environment(read_endpoint(other)) for other in others] == [None] * len(others)


def test_a_base_url_that_cannot_be_read_owns_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://169.254.169.254")
    assert key_from_environment(OPENAI) is None
    line = why_no_key(OPENAI)
    assert "belongs to nobody, because of OPENAI_BASE_URL: 169.254.169.254 is link-local" in line
    ring = KeyRing()
    ring.hold_environment()
    assert ring.key_for(OPENAI) is None


def test_people_are_told_why_there_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_no_key(LOCAL) == (
        "there is no key for http://127.0.0.1:8000/v1; type it in the app, which must stay open until the "
        "job begins, or set OPENAI_API_KEY and OPENAI_BASE_URL=http://127.0.0.1:8000/v1"
    )
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert why_no_key(LOCAL) == (
        "OPENAI_API_KEY belongs to https://api.openai.com; to use it for http://127.0.0.1:8000/v1 set "
        "OPENAI_BASE_URL=http://127.0.0.1:8000/v1, or type a key of its own in the app"
    )
    assert KEY not in why_no_key(OPENAI)


def test_only_who_asks_a_teacher_is_given_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The openai client would send the other three to any address, so nobody has them."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_CUSTOM_HEADERS", "OPENAI_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "canary-5309")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    with_key, without = environment_for(asks_teacher=True), environment_for(asks_teacher=False)
    assert [name for name, value in with_key.items() if value == "canary-5309"] == ["OPENAI_API_KEY"]
    assert "canary-5309" not in without.values()
    assert with_key["OPENAI_BASE_URL"] == "http://127.0.0.1:8000/v1", "or the key would belong to another"


def test_who_reads_the_files_of_strangers_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The previewing process and git: neither asks a teacher."""
    monkeypatch.setenv("OPENAI_API_KEY", "canary-5309")
    reader = cut_preview._Reader()
    try:
        told = psutil.Process(reader._process.pid).environ()
        assert told["PATH"] and "canary" not in str(told)
    finally:
        reader.end()
    assert "canary" not in str(git_repository._environment())


# --- texts without it ---


def ways_of(key: str) -> dict[str, str]:
    """Give what providers, libraries and logs make of a key."""
    coded = base64.b64encode(key.encode()).decode()
    return {
        "as it is": key,
        "in a header": f"Authorization: Bearer {key}",
        "within a word": f"xx{key}yy",
        "percent-encoded": urllib.parse.quote(key, safe=""),
        "percent-encoded, small letters": urllib.parse.quote(key, safe="").lower(),
        "every letter percent-encoded": "".join(f"%{byte:02X}" for byte in key.encode()),
        "in JSON": json.dumps({"error": f"Incorrect API key provided: {key}."}),
        "in JSON in JSON": json.dumps(json.dumps({"key": key})),
        "JSON with escaped slashes": json.dumps(key).replace("/", "\\/"),
        "JSON with every letter escaped": "".join(f"\\u{ord(one):04X}" for one in key),
        "as Python shows it": repr(key),
        "as Python shows bytes": repr(key.encode()),
        "in HTML": html.escape(key),
        "base64": coded,
        "base64 without its end": coded.rstrip("="),
        "Basic authorization": base64.b64encode(f"me:{key}".encode()).decode(),
        "Basic authorization without a name": base64.b64encode(f":{key}".encode()).decode(),
        "base64 in the middle": base64.b64encode(f"user={key}&x=1".encode()).decode(),
        "base64 for URLs": base64.urlsafe_b64encode(f"a{key}".encode()).decode(),
        "cut short": key[:-9],
        "cut at the front": key[9:],
        "wrapped": f"{key[:20]}\n{key[20:]}",
    }


@pytest.mark.parametrize("key", [KEY, SIGNS], ids=["letters", "signs"])
@pytest.mark.parametrize("way", ways_of(KEY))
def test_no_way_of_writing_a_key_survives(way: str, key: str) -> None:
    """No 8 characters in a row of what was written are left, and the words beside it are."""
    written = ways_of(key)[way]
    clean = redacted(f"before, {written} after", [key])
    assert clean.startswith("before, ") and clean.endswith(" after") and HIDDEN in clean
    for of_key in (key, urllib.parse.quote(key, safe=""), json.dumps(key)[1:-1], html.escape(key)):
        left = [of_key[at : at + 8] for at in range(len(of_key) - 7) if of_key[at : at + 8] in clean]
        assert left == [], clean
    assert redacted(clean, [key]) == clean, "once is enough"


MASKED = [
    ("Incorrect API key provided: sk-proj-**************wxyz. You can find your API key at", "key at"),
    ("Incorrect API key provided: sk-pro***wxyz.", "."),
    ("invalid key sk-proj-Qm7...wxyz given", " given"),
    ("key=sk-proj-Qm7can\u2026wxyz;", ";"),
    ("key ************wxyz is disabled", " is disabled"),
    ("key ...wxyz is disabled", " is disabled"),
    ("key \u2022\u2022\u2022\u2022wxyz is disabled", " is disabled"),
    ('{"key": "sk-proj-Qm7can"}', '"}'),
    (r"'provided:\nsk-proj-Q\n'", r"\n'"),
    ("the key that begins with sk-proj- is over its quota", " is over its quota"),
]  # fmt: skip


@pytest.mark.parametrize(("told", "end"), MASKED)
def test_a_key_that_a_provider_half_hides_is_hidden_whole(told: str, end: str) -> None:
    clean = redacted(told, [KEY])
    assert HIDDEN in clean and clean.endswith(end)
    assert "wxyz" not in clean and "sk-pro" not in clean


def test_other_words_stay() -> None:
    """Texts that look a little like the key, and a short key that is a word of its own."""
    innocent = "task-provider and sk-ant-0123 asked wxyz (xwxyz) 3.14... wxyzzy; -------- 00000000 https://a.example/v1"
    assert redacted(innocent, [KEY]) == innocent
    assert redacted("letmeinside letmein, LETMEIN", [WORD]) == f"letmeinside {HIDDEN}, LETMEIN"
    assert redacted("a - b none", ["", "-", "x"]) == "a - b none", "no secret is that short"
    dull = "k-0000000000000000000000-w"
    assert redacted(f"00000000 {dull}", [dull]) == f"00000000 {HIDDEN}"


def test_two_keys_of_one_beginning_are_both_hidden() -> None:
    longer = f"{KEY}-of-another"
    assert redacted(f"{longer} {KEY}", [KEY, longer]) == f"{HIDDEN} {HIDDEN}"


@pytest.mark.parametrize(
    "hostile",
    ["*" * 300_000, "sk-pro" * 50_000, "\\" * 300_000, "a" * 300_000, "%" * 300_000, "..." * 100_000,
     "&#" + "0" * 300_000, KEY[1:] * 5_000],
    ids=["stars", "beginnings", "backslashes", "letters", "percents", "dots", "noughts", "almost"],
)  # fmt: skip
def test_long_texts_are_read_once(hostile: str) -> None:
    """What could make a pattern try every place from every place; the suite's own limit would end it."""
    clean = redacted(f"{hostile} {KEY}", [KEY])
    assert clean.endswith(HIDDEN) and "canary" not in clean


def test_a_process_remembers_every_key_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgotten and replaced ones, too: an error that comes late may still hold them."""
    ring = KeyRing()
    ring.hold(OPENAI.origin, KEY)
    ring.hold(OPENAI.origin, "sk-second-5309-5309")
    ring.forget(OPENAI.origin)
    remember("came-by-socket-5309")
    monkeypatch.setenv("HF_TOKEN", "hf_canary5309canary")
    told = f"{KEY} sk-second-5309-5309 came-by-socket-5309 hf_canary5309canary"
    assert without_keys(told) == " ".join([HIDDEN] * 4)
    assert len(seen_keys()) == 4


# --- logs ---


def logged(monkeypatch: pytest.MonkeyPatch) -> tuple[logging.Logger, io.StringIO]:
    """Give a logger whose one handler hides keys, and what it writes."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s %(request)s", defaults={"request": ""}))
    handler.addFilter(HideKeys())
    logger = logging.getLogger("tests.teacher_key")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    return logger, out


def test_logs_hold_no_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In the message, its arguments, an object's words, an exception, its cause, extra fields, the stack."""
    remember(KEY)
    logger, out = logged(monkeypatch)
    logger.error("key %s", KEY)
    logger.error("options %r", {"headers": {"Authorization": f"Bearer {KEY}"}})
    logger.error("%(key)s", {"key": KEY})
    logger.error(WrongInput(f"401: {KEY}"))
    logger.error("extra", extra={"request": f"Bearer {KEY}"})
    logger.error(f"%s too few {KEY}", KEY, KEY)  # logging would print arguments that do not fit as they are
    try:
        try:
            raise ValueError(f"inner {KEY}")
        except ValueError as error:
            raise RuntimeError(f"outer {KEY[:12]}***wxyz") from error
    except RuntimeError:
        logger.exception("failed")
        logger.error("stack", stack_info=True)
    written = out.getvalue() + capsys.readouterr().err
    assert "canary" not in written and "sk-pro" not in written and "wxyz" not in written
    assert written.count(HIDDEN) >= 9
    for kept in ("ERROR key [key]", "'Bearer [key]'", "401: [key]", "ValueError: inner [key]", "Traceback",
                 "RuntimeError: outer [key]", "direct cause"):  # fmt: skip
        assert kept in written, written


def test_a_log_without_keys_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other handlers see the same record: arguments and exceptions stay when there is nothing to hide."""
    remember(KEY)
    logger, out = logged(monkeypatch)
    kept: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    logger.addHandler(Keep())
    try:
        raise ValueError("plain")
    except ValueError:
        logger.exception("%s of %d", "one", 2)
    assert kept[0].args == ("one", 2) and kept[0].exc_info is not None
    assert out.getvalue().startswith("ERROR one of 2 \nTraceback")


DIES = """
import logging, sys, threading
from curation.teacher_key import hide_keys_in_logs, remember
key = sys.stdin.readline().strip()
remember(key)
hide_keys_in_logs("tests.own")
hide_keys_in_logs("tests.own")  # twice is once
logging.getLogger("openai").warning("401 %s", key)
logging.getLogger("openai").info("not asked for")
thread = threading.Thread(target=lambda: (_ for _ in ()).throw(ValueError(f"in a thread: {key}")))
thread.start(); thread.join()
raise RuntimeError(f"at the end: {key}")
"""


def test_a_process_that_dies_says_no_key() -> None:
    """Root logger, a thread's exception and the one that ends the process: all that goes to a job's log."""
    done = subprocess.run(
        [sys.executable, "-c", DIES], cwd=ROOT, input=f"{KEY}\n", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and done.stdout == ""
    for line in (
        "WARNING openai: 401 [key]",
        "ValueError: in a thread: [key]",
        "RuntimeError: at the end: [key]",
    ):
        assert done.stderr.count(line) == 1, done.stderr
    assert "canary" not in done.stderr and "sk-pro" not in done.stderr and "not asked" not in done.stderr
