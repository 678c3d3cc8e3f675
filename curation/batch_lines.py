"""Lines of a batch's files: a request a line goes in, an answer a line comes out, in any order. Pure.

Source of the form: OpenAI's Batch API guide, "Prepare your batch file" and "Retrieve the results".
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from curation.call_outcome import EXCERPT, Outcome, outcome_of, plain
from curation.teacher import Call, body_of

URL = "/v1/chat/completions"
# Codes of requests that were never executed. OpenAI charges for completed work only ("Batch API FAQ",
# help.openai.com/en/articles/9197833), and every completed request has a line in the output file.
UNASKED = ("batch_expired", "batch_cancelled")

Clean = Callable[[str, bool], str]


def request_line(call: Call) -> bytes:
    """Write a call as a line, its id as `custom_id`. All ASCII: no character can end the line early."""
    said = {"custom_id": call.id, "method": "POST", "url": URL, "body": body_of(call)}
    return json.dumps(said).encode("ascii") + b"\n"


def read_line(text: str, clean: Clean) -> tuple[str, Outcome] | None:
    """Give the call that a line answers, and how; None: it names none. `clean` takes the key out of a text,
    told whether that is a good reply."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    id = value.get("custom_id") if isinstance(value, dict) else None
    return (plain(id), _outcome(value, clean)) if isinstance(id, str) else None


def _outcome(value: Mapping[str, Any], clean: Clean) -> Outcome:
    response, error = value.get("response"), value.get("error")
    status = response.get("status_code") if isinstance(response, dict) else None
    if isinstance(response, dict) and isinstance(status, int) and not isinstance(status, bool):
        body = response.get("body")
        said = clean(plain(body) if isinstance(body, str) else json.dumps(body), 200 <= status < 300)
        return outcome_of(status, {}, "application/json", said)
    if isinstance(error, dict):
        code, said = (
            clean(plain(str(error.get(name) or "")), False)[:EXCERPT] for name in ("code", "message")
        )
        reason = code if code in UNASKED else "batch_error"
        return Outcome("later", reason, ": ".join(filter(None, (code, said))) or "no reason given")
    told = clean(json.dumps(value), False)
    return Outcome("failed", "bad_response", f"a line without an answer: {told[:EXCERPT]}", body=told)
