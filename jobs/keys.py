"""Keys of the person at this machine: who of ours is given them, and text without them.

A key comes from the environment, or is typed into the app and fetched from there (`key_broker`). The worker
has the environment's, because it may outlive the app; of its children only those have it that ask a teacher.
"""

import logging
from pathlib import Path
from typing import Any

from curation.endpoint import Endpoint
from curation.errors import SourceUnavailable
from curation.teacher_key import KeyRing, environment_for, key_from_environment, without_keys
from jobs import key_broker

# The steps that ask a teacher; no other one is given its key (faults.md S31).
NEEDS_TEACHER = ("generate", "judge", "prompt-bench", "evolve")

log = logging.getLogger("winnow.jobs")
_ring = KeyRing()


def environment(step: str = "") -> dict[str, str]:
    """Give what the process of a step is told of our environment; other processes of ours have no step."""
    return environment_for(step in NEEDS_TEACHER)


def environment_of_worker() -> dict[str, str]:
    """Give what a worker is told of ours: all that any of its steps may need."""
    return environment_for(asks_teacher=True)


def ring_of_process() -> KeyRing:
    """Give this process's one ring, with the environment's key in it. What a person types goes into it."""
    _ring.hold_environment()
    return _ring


def serve_keys(folder: Path) -> bool:
    """Hand this app's keys to the jobs of a workspace, from now on. False: not possible; the log says why.

    Without it jobs still have the environment's key.
    """
    try:
        key_broker.serve(folder, ring_of_process())
    except (SourceUnavailable, OSError) as error:
        log.warning("typed keys do not reach the jobs: %s", error)
        return False
    return True


def key_for(folder: Path, endpoint: Endpoint) -> str | None:
    """Give the key of an endpoint's own origin: as it was typed into an app, else the environment's.

    What was typed comes first: people type a key when the environment's was revoked (F25), and the worker
    still has that one. Waits up to 2 s for an app that does not answer. None: see
    `curation.teacher_key.why_no_key`. Call `curation.endpoint.check_key_may_travel` before sending it.
    """
    ring = ring_of_process()
    if ring.is_typed(endpoint.origin):
        return ring.key_for(endpoint)
    return key_broker.ask(folder, endpoint.origin) or key_from_environment(endpoint)


def without_secrets(text: str) -> str:
    """Give a text with [key] for every key that this process knows of, however it is written."""
    return without_keys(text)


def without_secrets_in(told: Any) -> Any:
    """Give what JSON can say with no key in any of its texts."""
    if isinstance(told, str):
        return without_keys(told)
    if isinstance(told, dict):
        return {name: without_secrets_in(value) for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [without_secrets_in(value) for value in told]
    return told
