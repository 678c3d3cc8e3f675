"""What a base model's tokenizer makes of a version's rows, looked at before anything starts.

No torch: `tokenizers` reads tokenizer.json by itself, so that a page can ask. A sample of rows goes through
the very function that training uses (`format.prepare`); what it says of tokens is an estimate, and said to be
one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curation.assemble import read_rows
from curation.errors import WrongInput
from curation.workspace import Workspace
from training.base_model import BaseModel
from training.format import is_infilling, prepare, prompt_of, text_ids
from training.recipes import Settings

NEEDED = ("tokenizer.json", "tokenizer_config.json")
LOOKED_AT = 400  # rows of the training split, evenly spaced: a share is known to about 5 percentage points
FEW = 0.005  # shares below are not worth a word


class FolderTokenizer:
    """A fast tokenizer from its folder, with what `format` asks of transformers' own, and no torch."""

    def __init__(self, folder: Path) -> None:
        """Raises WrongInput when the folder's files cannot be read."""
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.config: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_bytes())
        except Exception as error:  # `tokenizers` raises nothing more exact
            raise WrongInput(f"The tokenizer in {folder} cannot be read ({error}); is it whole?") from error
        self._tokenizer.encode_special_tokens = True  # untrusted text stays text, as in format.text_ids
        self.bos_token_id = self._special("bos_token")
        self.eos_token_id = self._special("eos_token")
        self.has_chat_template = "chat_template" in self.config or (folder / "chat_template.jinja").is_file()

    def _special(self, name: str) -> int | None:
        given = self.config.get(name)
        text = given.get("content") if isinstance(given, dict) else given
        return None if text is None else self._tokenizer.token_to_id(str(text))

    def __call__(self, text: str, **_options: Any) -> dict[str, list[int]]:
        return {"input_ids": self._tokenizer.encode(text, add_special_tokens=False).ids}

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def get_vocab(self) -> dict[str, int]:
        return dict(self._tokenizer.get_vocab(with_added_tokens=True))

    def convert_tokens_to_ids(self, token: str) -> int | None:
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)


@dataclass(frozen=True)
class RowCheck:
    """What a sample of the training rows comes to. Shares are between 0 and 1."""

    looked_at: int  # rows; 0: there is none to train on
    tokens: float = 0.0  # mean of a row that can be trained on
    learned: float = 0.0  # share of those tokens that carry loss
    cut: float = 0.0  # share of rows cut at the cutoff
    unusable: float = 0.0  # share of rows without a token of the response within the cutoff
    joined: float = 0.0  # share of rows whose response would be joined with the template's last newline
    problem: str = ""  # why nothing can be trained; "": it can
    warnings: tuple[str, ...] = ()


def check_rows(
    workspace: Workspace, version: str, base: BaseModel, settings: Settings, looked_at: int = LOOKED_AT
) -> RowCheck | None:
    """Look at rows of a version through the base's tokenizer; None: it is not here, or of an older form.

    Raises WrongInput when the version does not exist or was changed.
    """
    folder = base.folder
    if folder is None or not all((folder / name).is_file() for name in NEEDED):
        return None
    rows = _sample(read_rows(workspace, version)[1], looked_at)
    if not rows:
        return RowCheck(0, problem=f"No row of {version} is there to train on; freeze one with rows")
    try:
        tokenizer = FolderTokenizer(folder)
        found = _measured(rows, tokenizer, settings)
    except WrongInput as error:
        return RowCheck(len(rows), problem=str(error))
    problem = _too_many_tokens(base, tokenizer)
    return replace(found, problem=problem, warnings=_warnings(found, base, tokenizer, settings))


def _sample(file: Path, wanted: int) -> list[dict[str, Any]]:
    """Give rows of the training split, evenly spaced over it."""
    with file.open(encoding="utf-8", newline="\n") as lines:
        train = [line for line in lines if json.loads(line)["split"] == "train"]
    step = max(1, len(train) // wanted)
    return [json.loads(line) for line in train[::step][:wanted]]


def _measured(rows: Sequence[Mapping[str, Any]], tokenizer: FolderTokenizer, settings: Settings) -> RowCheck:
    prepared = prepare(rows, tokenizer, settings.template, settings.cutoff)
    usable, number = prepared.examples, len(rows)
    if not usable:
        raise WrongInput(
            f"None of the {number:,} rows looked at has a response within {settings.cutoff:,} tokens; "
            "raise cutoff"
        )
    tokens = sum(len(one.ids) for one in usable)
    return RowCheck(
        number,
        tokens / len(usable),
        sum(one.learned for one in usable) / tokens,
        sum(one.is_cut for one in usable) / number,
        len(prepared.unusable) / number,
        sum(_is_joined(row, tokenizer, settings.template) for row in rows) / number,
    )


def _is_joined(row: Mapping[str, Any], tokenizer: FolderTokenizer, template: str) -> bool:
    """Tell whether the whole, tokenised at once, does not begin with the prompt's tokens."""
    if is_infilling(row):
        return False
    prompt = prompt_of(template, row)
    before = text_ids(tokenizer, prompt)
    return text_ids(tokenizer, prompt + str(row["response"]))[: len(before)] != before


def _too_many_tokens(base: BaseModel, tokenizer: FolderTokenizer) -> str:
    """Say when the tokenizer knows tokens that the model has no place for: the first would end the run."""
    places = int((base.config() or {}).get("vocab_size") or 0)
    if not places or len(tokenizer) <= places:
        return ""
    return (
        f"The base's tokenizer has {len(tokenizer):,} tokens and its model only {places:,} places for them; "
        "they do not belong together: take both from one source"
    )


def _warnings(
    found: RowCheck, base: BaseModel, tokenizer: FolderTokenizer, settings: Settings
) -> tuple[str, ...]:
    said = []
    if found.unusable >= FEW:
        said.append(
            f"About {found.unusable:.0%} of the rows cannot be trained on: their prompt alone is longer than "
            f"the cutoff of {settings.cutoff:,} tokens. A higher cutoff takes them in."
        )
    if tokenizer.has_chat_template and base.kind not in ("practice", "run"):
        said.append(
            "The base brings a chat template of its own and was likely tuned with it. This trains the "
            f"template {settings.template}: whoever uses the result must prompt with {settings.template}."
        )
    return tuple(said)
