"""Durable jobs: long work that outlives the page, the app and the worker that started it.

The app enqueues; one worker process a workspace (`python -m jobs work`) runs one job of each queue at a
time (stages; training), each in a child process (`python -m jobs run`), so that torch's memory goes back, a
kill for memory hits the child alone and Cancel can stop it. What is queued, running and done are rows of
DBOS in WORKSPACE/jobs.sqlite; that a worker or a child lives is a lock it holds, which the system releases
however it dies. Nothing is remembered by the app. The stages themselves survive kills and go on where they
were, so a job that is run again does only what is missing.

    pages ──► queue ──► database (rows of DBOS)      python -m jobs ──► commands, worker, child
                │           ▲
                ▼           │
    alive (locks, start) ─► worker ──► child ──► steps ──► curation

Pages use the names below. Importing them is quick; DBOS (1.5 s) comes when first needed.
"""

from curation.teacher_key import HideKeys
from jobs.alive import WORKER_LOCK, ensure_worker, hold_app_lock, worker_alive
from jobs.commands import after, stop
from jobs.database import DATABASE, inode_of
from jobs.keys import NEEDS_TEACHER, key_for, ring_of_process, serve_keys, without_secrets
from jobs.queue import Job, active, cancel, job, jobs, log_tail, resume, start
from jobs.steps import STEPS
from jobs.worker import STARTS, keep_worker

__all__ = [
    "DATABASE",
    "NEEDS_TEACHER",
    "STARTS",
    "STEPS",
    "WORKER_LOCK",
    "HideKeys",
    "Job",
    "active",
    "after",
    "cancel",
    "ensure_worker",
    "hold_app_lock",
    "inode_of",
    "job",
    "jobs",
    "keep_worker",
    "key_for",
    "log_tail",
    "resume",
    "ring_of_process",
    "serve_keys",
    "start",
    "stop",
    "without_secrets",
    "worker_alive",
]
