"""A workspace: one folder that holds everything Winnow keeps."""

import shutil
from functools import cached_property
from pathlib import Path

from curation.atomic import sweep_partial
from curation.errors import SourceUnavailable, WrongInput
from curation.store.database import Database

DATABASE = "winnow.sqlite"
FOLDERS = ("embeddings", "pairs", "insights", "datasets", "models", "runs", "logs")
RESERVE = 1 << 30  # bytes that must stay free on the disk (faults.md R11)


class Workspace:
    """Where things are. Opening one makes its folders; the database opens when first used."""

    def __init__(self, folder: Path) -> None:
        """Raises WrongInput when the folder cannot be made or written."""
        self.folder = folder.expanduser().resolve()
        try:
            for name in FOLDERS:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WrongInput(
                f"The workspace {self.folder} cannot be written ({error.strerror}); "
                "choose another folder with --workspace or WINNOW_WORKSPACE"
            ) from error

    @cached_property
    def database(self) -> Database:
        return Database(self.folder / DATABASE)

    @property
    def embeddings(self) -> Path:
        return self.folder / "embeddings"

    @property
    def pairs(self) -> Path:
        return self.folder / "pairs"

    @property
    def insights(self) -> Path:
        return self.folder / "insights"

    @property
    def datasets(self) -> Path:
        return self.folder / "datasets"

    def require_space(self, needed: int, purpose: str) -> None:
        """Refuse to start when the disk has no room for `needed` bytes, a tenth more, and the reserve.

        Raises SourceUnavailable. Source of the rule: faults.md R11.
        """
        free = shutil.disk_usage(self.folder).free
        wanted = int(needed * 1.1) + RESERVE
        if free < wanted:
            raise SourceUnavailable(
                f"{purpose} needs {wanted / 1e9:.1f} GB free in {self.folder}, {free / 1e9:.1f} GB are left; "
                "free some room and run the command again"
            )

    def sweep(self) -> None:
        """Remove what killed writers left behind; what living ones are writing stays."""
        for name in ("embeddings", "pairs", "insights", "datasets"):
            for folder in [self.folder / name, *(self.folder / name).glob("*/")]:
                sweep_partial(folder)
