"""Faults on request, so that tests can stop the process at its edges.

`WINNOW_FAULT=point:action:nth` makes the nth arrival at a point fail (`*`: every one). Points are
`store.commit`, `file.write` (just before an atomic rename), `teacher.send` and `teacher.answered` (a batch's
teacher answered, and nothing of it is on record yet). Actions are `kill`
(SIGKILL to this process), `enospc` and `eio` (the OSError of a full or failing disk), `raise` (a
RuntimeError) and `sleep` (one second). Without the variable a failpoint costs one dictionary look-up.
"""

import errno
import os
import signal
import time

_arrivals: dict[str, int] = {}


def failpoint(point: str) -> None:
    """Fail here if the environment asks for it.

    Raises OSError (ENOSPC, EIO) or RuntimeError, or never returns, as WINNOW_FAULT says.
    """
    plan = os.environ.get("WINNOW_FAULT")
    if not plan:
        return
    wanted, action, nth = plan.split(":")
    if wanted != point:
        return
    _arrivals[point] = _arrivals.get(point, 0) + 1
    if nth == "*" or _arrivals[point] == int(nth):
        _act(point, action)


def _act(point: str, action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "enospc":
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (asked for at {point})")
    elif action == "eio":
        raise OSError(errno.EIO, f"{os.strerror(errno.EIO)} (asked for at {point})")
    elif action == "sleep":
        time.sleep(1.0)
    else:
        raise RuntimeError(f"failpoint {point} was asked to raise")
