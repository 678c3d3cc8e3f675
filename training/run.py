"""A run is a folder that explains itself: `runs/NAME/`.

    settings.json       what it trains, with what, on what: written first, never changed
    data.json           what became of the version's rows, token by token
    measurements.jsonl  a line a step and an evaluation, steps only ever rising
    evaluations/        the loss of every validation row that was looked at, by step
    checkpoints/        complete ones (a manifest each, written last) and perhaps one that a kill broke
    stop.json           somebody asked it to stop
    failure.json        why the last attempt ended badly
    processes.log       what several processes printed (training/processes.py); locked while one of them lives
    adapter/ or model/  the result, with its card
    result.json         written last: a run with it is finished

Standard library only: pages read runs without torch.
"""

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curation.atomic import atomic_write
from curation.errors import CurationError, WrongInput
from curation.file_lock import is_held, locked, tried
from curation.workspace import Workspace
from training.recipes import FULL, Settings, settings_of

SETTINGS, DATA, RESULT = "settings.json", "data.json", "result.json"
STOP, FAILURE, MEASUREMENTS = "stop.json", "failure.json", "measurements.jsonl"
NEEDED = ("version", "sha256", "recipe", "settings", "base_model", "versions")  # of the settings
LOCK = "run.lock"  # held by the process that trains
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")

WAITING, RUNNING, FINISHED = "waiting", "running", "finished"
STOPPED, FAILED, DISCARDED = "stopped", "failed", "discarded"
WITH_WEIGHTS = (FINISHED, STOPPED)


class TrainingFailed(CurationError):
    """Training cannot go on: memory ran out, or the loss is no number. Names the last good checkpoint."""


@dataclass(frozen=True)
class LoraRun:
    """One fine-tuning run (all weights or a LoRA) and where its files are."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def frozen(self) -> dict[str, Any]:
        """What it trains: version, sha256, recipe, base_model, settings and so on, as frozen at the start."""
        return _read(self.folder / SETTINGS) or {}

    @property
    def damage(self) -> str | None:
        """Say which of its small files cannot be used, and why; None: all can. Pages read them unasked."""
        for name, check in CHECKS.items():
            try:
                content = _read(self.folder / name)
                if content is not None or name == SETTINGS:
                    check(content or {})
            except WrongInput as error:
                told = str(error)
                return told if str(self.folder) in told else f"{self.folder / name} cannot be used: {told}"
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                what = f"lacks {error}" if isinstance(error, KeyError) else f"holds something else ({error})"
                return f"{self.folder / name} {what}; restore it from a backup"
        return None

    @property
    def settings(self) -> Settings:
        frozen = self.frozen
        return settings_of(frozen["recipe"], frozen["settings"]["method"], frozen["settings"])

    @property
    def data(self) -> dict[str, Any]:
        """What became of the rows: {"train": ..., "validation": ...}; {}: not prepared yet."""
        return _read(self.folder / DATA) or {}

    @property
    def result(self) -> dict[str, Any] | None:
        return _read(self.folder / RESULT)

    @property
    def failure(self) -> dict[str, Any] | None:
        return _read(self.folder / FAILURE)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def output(self) -> Path:
        """Where the adapter (or the model, when all weights are trained) is, once it is finished."""
        return self.folder / ("model" if self.frozen.get("settings", {}).get("method") == FULL else "adapter")

    @property
    def weights(self) -> Path | None:
        """Where its weights are; None: it has none, or none that are whole."""
        return self.output if self.state in WITH_WEIGHTS and self.output.is_dir() else None

    @property
    def state(self) -> str:
        """waiting, running, finished, stopped, failed or discarded, by what lies in the folder."""
        result = self.result
        if result is not None:
            return str(result["state"])
        if self.is_locked():
            return RUNNING
        return FAILED if (self.folder / FAILURE).exists() else WAITING

    def is_locked(self) -> bool:
        """Tell whether a living process trains it."""
        return is_held(self.folder / LOCK)

    def locked(self) -> AbstractContextManager[bool]:
        """Hold the run while it trains. Gives False when another process holds it."""
        return tried(self.folder / LOCK)

    def measurements(self) -> list[dict[str, Any]]:
        """Give what was measured, the oldest first; a line that a kill cut off is left out."""
        found = []
        file = self.folder / MEASUREMENTS
        with suppress(FileNotFoundError), file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with suppress(ValueError, RecursionError):
                    if _is_measured(one := json.loads(line)):
                        found.append(one)
        return found

    def measure(self, **values: Any) -> None:
        """Add a line of measurements."""
        with (self.folder / MEASUREMENTS).open("a", encoding="utf-8") as out:
            out.write(json.dumps({**values, "at": now()}) + "\n")

    def forget_after(self, step: int) -> None:
        """Take back what was measured after the checkpoint from which training goes on."""
        kept = [one for one in self.measurements() if one["step"] <= step]
        with atomic_write(self.folder / MEASUREMENTS) as out:
            out.writelines(json.dumps(one).encode() + b"\n" for one in kept)
        for file in (self.folder / "evaluations").glob("step-*.json"):
            if int(file.stem.removeprefix("step-")) > step:
                file.unlink(missing_ok=True)

    def asked_to_stop(self) -> dict[str, Any] | None:
        """Give {"discard": bool} when somebody asked it to stop."""
        return _read(self.folder / STOP)

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Write one of the run's files, whole or not at all."""
        with atomic_write(self.folder / name) as out:
            out.write(json.dumps(values, indent=2, ensure_ascii=False).encode() + b"\n")


def _is_measured(one: Any) -> bool:
    """Tell whether a line is what `measure` writes: numbers, and the step they belong to."""
    if not isinstance(one, dict) or not isinstance(one.get("step"), int):
        return False
    values = (value for name, value in one.items() if name != "at")
    return all(value is None or isinstance(value, (int, float)) for value in values)


def _check_settings(frozen: dict[str, Any]) -> None:
    missing = [name for name in NEEDED if name not in frozen]
    if missing:
        raise WrongInput(f"it lacks {', '.join(missing)}; restore it from a backup")
    settings_of(frozen["recipe"], frozen["settings"]["method"], frozen["settings"])
    base = frozen["base_model"]
    for name in ("name", "kind", "location", "identity"):
        if not isinstance(base[name], str):
            raise TypeError(f"base_model, {name}")
    if not all(isinstance(one, str) for one in base["adapters"]):
        raise TypeError("base_model, adapters")
    dict(frozen["versions"]).items()


def _check_data(data: dict[str, Any]) -> None:
    for split in ("train", "validation"):
        counts = data[split]
        for name in ("rows", "tokens", "learned_tokens", "cut", "infilling", "median", "longest"):
            int(counts[name])
        sum(counts["unusable"].values())
    if not isinstance(data["steps"], int):
        raise TypeError("steps")


def _check_result(result: dict[str, Any]) -> None:
    if result["state"] not in (FINISHED, STOPPED, DISCARDED):
        raise TypeError("state")


def _check_failure(failure: dict[str, Any]) -> None:
    if not isinstance(failure["reason"], str):
        raise TypeError("reason")


def _check_stop(stop: dict[str, Any]) -> None:
    if not isinstance(stop["discard"], bool):
        raise TypeError("discard")


CHECKS = {
    SETTINGS: _check_settings, DATA: _check_data, RESULT: _check_result, FAILURE: _check_failure,
    STOP: _check_stop,
}  # fmt: skip


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def runs(workspace: Workspace) -> list[LoraRun]:
    """Give the runs, the newest first; those whose files cannot be used are `damaged`."""
    found = [run for run in _folders(workspace) if run.damage is None]
    return sorted(found, key=lambda run: (str(run.frozen.get("created_at")), run.name), reverse=True)


def damaged(workspace: Workspace) -> list[str]:
    """Say of each run whose files cannot be used what is wrong, in one line."""
    names = (file.parent.name for file in sorted((workspace.folder / "runs").glob(f"*/{SETTINGS}")))
    strange = [name for name in names if not NAME.fullmatch(name)]
    told = [f"runs/{name!a} has a name that no run can have; rename the folder" for name in strange]
    return [*told, *(run.damage for run in _folders(workspace) if run.damage is not None)]


def _folders(workspace: Workspace) -> list[LoraRun]:
    folders = [file.parent for file in sorted((workspace.folder / "runs").glob(f"*/{SETTINGS}"))]
    return [LoraRun(folder) for folder in folders if NAME.fullmatch(folder.name)]


def find(workspace: Workspace, name: str) -> LoraRun:
    """Raises WrongInput when there is no such run."""
    run = LoraRun(workspace.folder / "runs" / name)
    if NAME.fullmatch(name) and (run.folder / SETTINGS).is_file() and run.damage is not None:
        raise WrongInput(run.damage)
    if not NAME.fullmatch(name) or not (run.folder / SETTINGS).is_file():
        names = [one.name for one in runs(workspace)]
        raise WrongInput(
            f"There is no run {name!r}; "
            + (f"there are: {', '.join(names[:10])}" if names else "start one with `train VERSION`")
        )
    return run


def create(workspace: Workspace, frozen: Mapping[str, Any], name: str | None = None) -> LoraRun:
    """Make the folder of a run. An unfinished run that trains just the same is given instead of a second one.

    So two clicks start one run. Raises WrongInput for a name that is taken or cannot be a folder's.
    """
    folder = workspace.folder / "runs"
    with locked(folder / "create.lock"):
        wanted = json.loads(json.dumps(frozen))
        for run in runs(workspace):
            same = {key: value for key, value in run.frozen.items() if key != "created_at"} == wanted
            if (
                same
                and run.state in (WAITING, RUNNING)
                and name in (None, run.name)
                and run.asked_to_stop() is None
            ):
                return run
        chosen = name or _free_name(folder, frozen)
        if not NAME.fullmatch(chosen):
            told = f"{chosen:.100}{'…' if len(chosen) > 100 else ''}"
            raise WrongInput(f"{told!r} cannot name a run; use at most 80 letters, digits, dots, _ and -")
        run = LoraRun(folder / chosen)
        if run.folder.exists():
            raise WrongInput(f"There is a run {run.name!r} already; choose another name")
        run.folder.mkdir()
        run.write(SETTINGS, {**wanted, "created_at": now()})
        return run


def _free_name(folder: Path, frozen: Mapping[str, Any]) -> str:
    stem = f"{frozen['version']}-{frozen['recipe']}"[:70]
    return next(f"{stem}-{n}" for n in range(1, 100_000) if not (folder / f"{stem}-{n}").exists())


def stop(workspace: Workspace, name: str, discard: bool = False) -> LoraRun:
    """Ask a run to stop after its current step: its weights are kept, or with `discard` thrown away.

    With `discard` a run that nobody trains is ended at once; without it, by the next attempt, after a step.
    Raises WrongInput when it is over already.
    """
    run = find(workspace, name)
    if run.result is not None:
        raise WrongInput(f"{name} is over ({run.state}); there is nothing to stop")
    run.write(STOP, {"discard": discard, "at": now()})
    with run.locked() as ours:
        if ours and run.result is None and discard:
            finish_discarded(run)
    return run


def reopen(workspace: Workspace, name: str) -> LoraRun:
    """Let a stopped, failed or interrupted run go on from its newest complete checkpoint.

    Raises WrongInput for a run that is finished, discarded or running.
    """
    run = find(workspace, name)
    state = run.state
    if state in (FINISHED, DISCARDED, RUNNING):
        raise WrongInput(f"{name} is {state}; only a stopped, failed or waiting run can be resumed")
    for file in (STOP, FAILURE, RESULT):
        (run.folder / file).unlink(missing_ok=True)
    return run


def finish_discarded(run: LoraRun) -> dict[str, Any]:
    """Remove the weights of a run; its settings and curves stay. Gives its result."""
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    result = {"run": run.name, "state": DISCARDED, "steps": last_step(run)}
    run.write(RESULT, result)
    return result


def finish_unbegun(run: LoraRun) -> dict[str, Any]:
    """End a run that was asked to stop before its first step: there is nothing to keep, and it can go on."""
    result = {"run": run.name, "state": STOPPED, "steps": 0}
    run.write(RESULT, result)
    return result


def last_step(run: LoraRun) -> int:
    return max((one["step"] for one in run.measurements()), default=0)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise WrongInput(f"{file} cannot be read ({error}); restore it from a backup") from error
    return value if isinstance(value, dict) else {}
