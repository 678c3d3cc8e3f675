"""What came of one attempt at a call: done, failed, later, or stop everything. Pure; no network here.

Facts of servers and of the client: faults.md, "openai-python against a faulty loopback server".
"""

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Literal

EXCERPT = 200  # characters kept of a body that is no completion (faults.md F19)
LONGEST_WORD = 40  # characters kept of a finish_reason; those that are known have 14 at most
NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
UNREACHABLE = "unreachable"  # reason of an attempt whose connection was never made
LONGEST_WAIT = 7 * 24 * 3600.0  # a Retry-After beyond a week is taken for nonsense
# A gateway lost patience (524 is Cloudflare's): the teacher behind it may go on writing, and bill it.
GIVEN_UP_ON = (408, 504, 524)
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which nothing can store


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole completion, however it ended."""

    content: str  # "" when the teacher gave none
    finish_reason: str | None
    refusal: str | None
    tokens_in: int | None  # None: the reply names no usage
    tokens_out: int | None
    tokens_cached: int  # of tokens_in


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to.

    done: a whole completion, paid for. failed: this call cannot be answered, others may be. later: try
    again. stop: no call can be answered before a person does something.
    """

    kind: Literal["done", "failed", "later", "stop"]
    reason: str = ""  # a short word that counts group by
    message: str = ""  # one sentence for people; may quote the server
    wait: float | None = None  # seconds that the server asked for
    is_limit: bool = False  # the server says: too fast
    may_be_billed: bool = False  # nobody knows whether the teacher answered
    billed: tuple[int, int] | None = None  # tokens in and out that a reply without a completion names
    body: str | None = None
    completion: Completion | None = None


def outcome_of(status: int, headers: Mapping[str, str], content_type: str, body: str) -> Outcome:
    """Read a response. `headers` by lower-case names; `body` as it came."""
    if 200 <= status < 300:
        return _answered(content_type, body)
    if 300 <= status < 400:
        to = _shown(headers.get("location", "another place"))
        return Outcome(
            "stop", "redirected",
            f"The endpoint redirects to {to}; nothing was sent there. Give that address yourself if you "
            "trust it",
        )  # fmt: skip
    said, code = _said(body)
    wait = retry_after(headers)
    if (status == 429 and code in NO_QUOTA) or status == 402:
        return Outcome("stop", "no_quota", f"The teacher's quota is used up: {said}", body=body)
    if status == 429:
        return Outcome("later", "rate_limited", said, wait, is_limit=True)
    if status in (401, 403):
        what = "did not accept the key" if status == 401 else "does not allow this"
        return Outcome("stop", "unauthorised", f"The teacher {what} (status {status}): {said}")
    if status == 404:
        return Outcome("stop", "not_found", f"The endpoint knows no such model or address: {said}")
    if status in (408, 409, 425) or status >= 500:
        return Outcome("later", f"status_{status}", said, wait, may_be_billed=status in GIVEN_UP_ON)
    return Outcome("failed", "refused_request", f"status {status}: {said}", body=body)


def _answered(content_type: str, body: str) -> Outcome:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        kind = content_type.split(";")[0].strip() or "no content type"
        return Outcome("failed", "bad_response", f"no JSON but {kind}: {_shown(body)}", body=body)
    found = _completion(value)
    if isinstance(found, Completion):
        return Outcome("done", body=body, completion=found)
    return _unusable(f"{found}: {_shown(body)}", body, value)


def _completion(value: Any) -> Completion | str:
    """Check every field that is used: a server may send anything. Gives what is wrong when it is none.

    Half characters are replaced: JSON can write them, and no page can show them. The body keeps them.
    """
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return "no choices"
    message = choices[0].get("message")
    if not isinstance(message, dict):
        return "no message"
    finish, refusal = choices[0].get("finish_reason"), message.get("refusal")
    finish = plain(finish)[:LONGEST_WORD] if isinstance(finish, str) else None
    refusal = plain(refusal) if isinstance(refusal, str) and refusal else None
    content = message.get("content")
    if content is None and (refusal or finish in ("length", "content_filter")):
        content = ""
    if not isinstance(content, str):
        return f"content is {type(content).__name__}, not text"
    details = _usage(value).get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    tokens_in, tokens_out = _tokens(value)
    # A text has tokens: servers that do not count say 0, and no budget would ever be used up.
    tokens_out = None if content and not tokens_out else tokens_out
    return Completion(plain(content), finish, refusal, tokens_in or None, tokens_out, cached or 0)


def _usage(value: Any) -> Mapping[str, Any]:
    usage = value.get("usage") if isinstance(value, dict) else None
    return usage if isinstance(usage, dict) else {}


def _tokens(value: Any) -> tuple[int | None, int | None]:
    usage = _usage(value)
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return value if is_count else None


def _unusable(message: str, body: str, value: Any) -> Outcome:
    """Tell a reply that is no completion; one that a model seems to have written is paid for all the same."""
    tokens_in, tokens_out = _tokens(value)
    if tokens_in is not None and tokens_out is not None:
        return Outcome("failed", "bad_response", message, billed=(tokens_in, tokens_out), body=body)
    is_written = isinstance(value, dict) and bool(value.get("choices"))
    return Outcome("failed", "bad_response", message, may_be_billed=is_written, body=body)


def plain(text: str) -> str:
    """Give a text that can be stored, whatever a server sent."""
    return SURROGATE.sub("\ufffd", text)


def _shown(text: str) -> str:
    return plain(text[:EXCERPT])


def _said(body: str) -> tuple[str, str]:
    """Give what an error says in words, and its code or type."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return _shown(body) or "no reason given", ""
    error = (value.get("error") or value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return _shown(str(error)), ""
    words = _shown(str(error.get("message") or error.get("detail") or "no reason given"))
    codes = [str(error.get(name)) for name in ("code", "type") if error.get(name)]
    return words, next((one for one in codes if one in NO_QUOTA), codes[0] if codes else "")


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Give the seconds a server asks to wait: `retry-after-ms`, seconds, or an HTTP date; None: it does not.

    Source of the forms: RFC 9110 section 10.2.3; the milliseconds are OpenAI's. Dates mean UTC (5.6.7).
    """
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return min(max(0.0, seconds), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(headers["retry-after"])
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds - (time.time() if now is None else now)), LONGEST_WAIT)
