"""What came of one attempt at a call: done, failed, later, or stop everything. Pure; no network here.

Facts of servers and of the client: faults.md, "openai-python against a faulty loopback server".
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

EXCERPT = 200  # characters kept of a body that is no completion (faults.md F19)
NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
LONGEST_WAIT = 7 * 24 * 3600.0  # a Retry-After beyond a week is taken for nonsense


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
    body: str | None = None
    completion: Completion | None = None


def outcome_of(status: int, headers: Mapping[str, str], content_type: str, body: str) -> Outcome:
    """Read a response. `headers` by lower-case names; `body` as it came."""
    if 200 <= status < 300:
        return _answered(content_type, body)
    if 300 <= status < 400:
        to = headers.get("location", "another place")[:EXCERPT]
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
        return Outcome("later", f"status_{status}", said, wait)
    return Outcome("failed", "refused_request", f"status {status}: {said}", body=body)


def _answered(content_type: str, body: str) -> Outcome:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        kind = content_type.split(";")[0].strip() or "no content type"
        return _bad(f"no JSON but {kind}: {body[:EXCERPT]}", body)
    found = _completion(value)
    return found if isinstance(found, Outcome) else Outcome("done", body=body, completion=found)


def _completion(value: Any) -> Completion | Outcome:
    """Check every field that is used: a server may send anything."""
    body = json.dumps(value)
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return _bad(f"no choices: {body[:EXCERPT]}", body)
    message = choices[0].get("message")
    if not isinstance(message, dict):
        return _bad(f"no message: {body[:EXCERPT]}", body)
    finish, refusal = choices[0].get("finish_reason"), message.get("refusal")
    finish = finish if isinstance(finish, str) else None
    refusal = refusal if isinstance(refusal, str) and refusal else None
    content = message.get("content")
    if content is None and (refusal or finish in ("length", "content_filter")):
        content = ""
    if not isinstance(content, str):
        return _bad(f"content is {type(content).__name__}, not text: {body[:EXCERPT]}", body)
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Completion(
        content, finish, refusal, _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")),
        cached or 0,
    )  # fmt: skip


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return value if is_count else None


def _bad(message: str, body: str) -> Outcome:
    return Outcome("failed", "bad_response", message, body=body)


def _said(body: str) -> tuple[str, str]:
    """Give what an error says in words, and its code or type."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body[:EXCERPT] or "no reason given", ""
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return str(error)[:EXCERPT], ""
    words = str(error.get("message") or error.get("detail") or "no reason given")[:EXCERPT]
    codes = [str(error.get(name)) for name in ("code", "type") if error.get(name)]
    return words, next((one for one in codes if one in NO_QUOTA), codes[0] if codes else "")


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Give the seconds a server asks to wait: `retry-after-ms`, seconds, or an HTTP date; None: it does not.

    Source of the forms: RFC 9110 section 10.2.3; the milliseconds are OpenAI's.
    """
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
        return min(max(0.0, seconds), LONGEST_WAIT) if math.isfinite(seconds) else None
    try:
        at = parsedate_to_datetime(headers["retry-after"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, at - (time.time() if now is None else now)), LONGEST_WAIT)
