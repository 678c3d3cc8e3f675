"""The prompts of a workspace: those that come with Winnow, those that people wrote, and the one in use."""

from collections.abc import Sequence

from curation.errors import WrongInput
from curation.prompt import Prompt, check, shipped
from curation.store import generations
from curation.store.database import Connection, Row
from curation.workspace import Workspace


def shelf(workspace: Workspace, method: str) -> list[Prompt]:
    """Give every prompt for a method: shipped ones first, then those that people wrote, the oldest first."""
    found = {one.hash: one for one in shipped(method)}
    for row in generations.prompts(workspace.database, method):
        found.setdefault(row.hash, _prompt(row))
    return list(found.values())


def in_use(workspace: Workspace, method: str) -> Prompt:
    """Give the prompt that a method uses: what somebody promoted last, else the first shipped one."""
    row = generations.chosen_prompt(workspace.database, method)
    return shipped(method)[0] if row is None else _prompt(row)


def prompt_for(workspace: Workspace, method: str, wanted: str | None) -> Prompt:
    """Find a prompt by its name or the beginning of its hash; None: the one in use.

    Raises WrongInput when there is none, or more than one.
    """
    if not wanted:
        return in_use(workspace, method)
    known = shelf(workspace, method)
    for found in (
        [one for one in known if one.hash == wanted],
        [one for one in known if one.name == wanted][-1:],  # the newest of a name
        [one for one in known if len(wanted) >= 6 and one.hash.startswith(wanted)],
    ):
        if len(found) == 1:
            return found[0]
    raise WrongInput(f"There is no prompt {wanted!r} for {method}; there are {_names(known)}")


def prompt_of_hash(workspace: Workspace, hash: str) -> Prompt:
    """Give a prompt that was used, whether or not it still is. Raises WrongInput when it is gone."""
    row = generations.find_prompt(workspace.database, hash)
    if row is None:
        raise WrongInput(f"The prompt {hash[:12]} is not in this workspace")
    return _prompt(row)


def write(workspace: Workspace, prompt: Prompt) -> Prompt:
    """Keep a prompt that a person wrote. Raises WrongInput when it lacks what its method needs."""
    check(prompt)
    with workspace.database.transaction() as connection:
        keep(connection, prompt)
    return prompt


def promote(workspace: Workspace, prompt: Prompt, person: str) -> None:
    """Let its method use this prompt from now on; what others made stays."""
    with workspace.database.transaction() as connection:
        keep(connection, prompt)
        generations.choose_prompt(connection, prompt.method, prompt.hash, person)


def keep(connection: Connection, prompt: Prompt) -> None:
    facts = ("hash", "method", "name", "system", "user", "repair")
    generations.keep_prompt(connection, {name: getattr(prompt, name) for name in facts})


def _prompt(row: Row) -> Prompt:  # type: ignore[type-arg]
    return Prompt(row.name, row.method, row.system, row.user, row.repair)


def _names(known: Sequence[Prompt]) -> str:
    return ", ".join(f"{one.name} ({one.hash[:8]})" for one in known)
