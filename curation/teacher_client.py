"""What every client of openai's is made with, and what its errors and answers come to, without the key."""

from typing import Any

from curation.call_outcome import EXCERPT, UNREACHABLE, Outcome, outcome_of
from curation.teacher_key import redacted, without_whole_key

NO_KEY = "none"  # what the client wants to see where an endpoint needs no key; never sent
LONGEST_REPLY = 2 << 20  # bytes: 8,192 tokens are 100 KB; written as JSON, twice, it is 24 times that at most


def client_options(base_url: str, key: str | None, deadline: float) -> dict[str, Any]:
    """Give the options of a client: no retries of its own, no organisation of the environment's."""
    return {
        "base_url": base_url, "api_key": key or NO_KEY, "max_retries": 0, "timeout": deadline,
        "organization": "", "project": "",
    }  # fmt: skip


def failure(error: Exception, key: str | None) -> Outcome:
    """Tell what went wrong before there was any answer."""
    import openai  # a second of imports that --help need not wait for

    if isinstance(error, openai.APITimeoutError):
        return Outcome("later", "deadline", "the connection timed out", may_be_billed=True)
    if isinstance(error, openai.APIConnectionError):
        return _unreachable(error, key)
    return Outcome("failed", "bad_request", f"{type(error).__name__}: {hidden(str(error), key)}")


def _unreachable(error: Exception, key: str | None) -> Outcome:
    """Tell a connection that was never made from one that broke: only the latter may be billed."""
    cause = error.__cause__
    name = type(cause).__name__ if cause is not None else type(error).__name__
    told = hidden(str(cause or error), key)[:EXCERPT] or name
    is_unmade = name in ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")
    reason = UNREACHABLE if is_unmade else "broken_off"
    return Outcome("later", reason, f"{name}: {told}", may_be_billed=not is_unmade)


def read_response(response: Any, key: str | None) -> Outcome:
    """Read what came back for a call, whatever it is."""
    try:
        if len(response.content) > LONGEST_REPLY:
            told = f"a body of more than {LONGEST_REPLY:,} bytes"
            return Outcome("failed", "bad_response", told, may_be_billed=True)
        text = response.text
    except (LookupError, ValueError, RuntimeError) as error:
        return Outcome("failed", "bad_response", f"a body that is no text ({type(error).__name__})")
    headers = {name.lower(): hidden(value, key) for name, value in response.headers.items()}
    text = hidden(text, key, is_good=200 <= response.status_code < 300)
    return outcome_of(response.status_code, headers, headers.get("content-type", ""), text)


def hidden(text: str, key: str | None, is_good: bool = False) -> str:
    """Take the key out of what an endpoint said: some repeat it (faults.md F25). In a good reply only the key
    itself goes: what merely begins like one may be code that somebody wants."""
    if not key:
        return text
    return without_whole_key(text, key) if is_good else redacted(text, [key])
