"""A row of a version as the tokens a model reads and the labels it learns from.

Loss falls on the response and the end token only (Platypus `train_on_inputs` False; Magicoder and WizardCoder
likewise), on every part of an infilling row ("Efficient Training of Language Models to Fill in the Middle",
section 3: loss on prefix, suffix and middle). Rows beyond the cutoff are cut there and lose their end token.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from curation.errors import WrongInput
from curation.formats import INFILLING

IGNORED = -100  # the label that transformers' loss leaves out

ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
MAGICODER = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable "
    "responses to user instructions.\n\n@@ Instruction\n{instruction}\n\n@@ Response\n"
)
# WizardCoder has no newline after "### Response:" (recipes.md 2.6). One more changes how a response begins.
WIZARDCODER = ALPACA.removesuffix("\n")

# Tokens of the infilling transform: prefix, suffix, middle, end. Families write them differently.
PRACTICE_FIM = ("<PRE>", "<SUF>", "<MID>", "<EOT>")  # of the practice base
FIM_TOKENS = (
    ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),  # Code Llama
    PRACTICE_FIM,
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<|endoftext|>"),  # StarCoder
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|endoftext|>"),  # Qwen
)


class Tokenizer(Protocol):
    """What we ask of a tokenizer of transformers."""

    bos_token_id: int | None
    eos_token_id: int | None

    def __call__(self, text: Any, **options: Any) -> Any: ...
    def convert_tokens_to_ids(self, tokens: Any) -> Any: ...
    def get_vocab(self) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class Example:
    """A row as a model trains on it; `ids` and `labels` have one length, labels are IGNORED or the id."""

    id: str
    ids: Sequence[int]
    labels: Sequence[int]
    learned_bytes: int  # of the text that carries loss, in UTF-8, as far as the cutoff; for bits a byte
    is_cut: bool = False

    @property
    def learned(self) -> int:
        """Count the tokens that carry loss. A model predicts from the one before, so never the first."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass
class Prepared:
    """The rows of a split that can be trained on, and which cannot and why."""

    examples: list[Example] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)  # row id -> reason
    loss_on_all: int = 0  # infilling rows among the examples

    def report(self) -> dict[str, Any]:
        """Count what a person should know of before training."""
        lengths = sorted(len(one.ids) for one in self.examples)
        return {
            "rows": len(self.examples),
            "unusable": dict(sorted(Counter(self.unusable.values()).items())),
            "infilling": self.loss_on_all,
            "tokens": sum(lengths),
            "learned_tokens": sum(one.learned for one in self.examples),
            "learned_bytes": sum(one.learned_bytes for one in self.examples),
            "cut": sum(one.is_cut for one in self.examples),
            "longest": lengths[-1] if lengths else 0,
            "median": lengths[len(lengths) // 2] if lengths else 0,
        }


def prompt_of(template: str, row: Mapping[str, Any]) -> str:
    """Give what the model reads before it answers."""
    instruction, input = str(row["instruction"]), str(row.get("input") or "")
    if template == "alpaca":
        return (ALPACA_INPUT if input else ALPACA).format_map({"instruction": instruction, "input": input})
    if template == "magicoder":  # a non-empty input is a new line of the instruction (recipes.md 1.7)
        asked = f"{instruction}\nInput: {input}" if input else instruction
        return MAGICODER.format_map({"instruction": asked})
    if template == "wizardcoder":  # the no-input sentence always; WizardCoder's rows have no input
        asked = f"{instruction}\n{input}" if input else instruction
        return WIZARDCODER.format_map({"instruction": asked})
    raise WrongInput(f"There is no template {template!r}; choose alpaca, magicoder or wizardcoder")


def prompt_ids(row: Mapping[str, Any], tokenizer: Tokenizer, template: str) -> list[int]:
    """Give the tokens that a model reads before it answers: those that `encode` masks, no other."""
    return [*_begin(tokenizer), *text_ids(tokenizer, prompt_of(template, row))]


def is_infilling(row: Mapping[str, Any]) -> bool:
    """Tell whether a row was imported as parts of a document: extra columns prefix, middle and suffix."""
    extra = row.get("extra") or {}
    return all(isinstance(extra.get(part), str) for part in INFILLING)


def prepare(rows: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, template: str, cutoff: int) -> Prepared:
    """Turn rows into examples. Rows without a token to learn from are kept apart, by id, with the reason.

    Raises WrongInput when the tokenizer has no end token, or no infilling tokens and a row needs them.
    """
    if tokenizer.eos_token_id is None:
        raise WrongInput("This tokenizer has no end token; a model trained with it would never stop")
    prepared = Prepared()
    for row in rows:
        infilling = is_infilling(row)
        example = infill(row, tokenizer, cutoff) if infilling else encode(row, tokenizer, template, cutoff)
        if example.learned:
            prepared.examples.append(example)
            prepared.loss_on_all += infilling
        else:
            prepared.unusable[example.id] = "prompt longer than the cutoff"
    return prepared


def encode(row: Mapping[str, Any], tokenizer: Tokenizer, template: str, cutoff: int) -> Example:
    """Tokenise prompt and response so that training sees what generation will see.

    Published scripts tokenise the whole text and mask as many tokens as the prompt alone has. Where the
    prompt's tokens begin the whole's, that is done here, too. Where the tokenizer joins the template's end
    with the response's start (the newline after `### Response:` with a following one), generation would never
    see the joint token: there the two are tokenised apart.
    """
    prompt, response = prompt_of(template, row), str(row["response"])
    before, whole = text_ids(tokenizer, prompt), text_ids(tokenizer, prompt + response)
    if whole[: len(before)] != before:
        whole = before + text_ids(tokenizer, response)
    ids = [*_begin(tokenizer), *whole, int(tokenizer.eos_token_id or 0)]
    masked = len(_begin(tokenizer)) + len(before)
    labels = [IGNORED] * masked + ids[masked:]
    return _cut(str(row["id"]), ids, labels, cutoff, response, masked)


def infill(row: Mapping[str, Any], tokenizer: Tokenizer, cutoff: int) -> Example:
    """Tokenise the parts of an infilling row; every part carries loss.

    `extra["mode"]` says which of `infilling_ids`' orders it has; PSM without it.
    """
    extra = row["extra"]
    prefix, middle, suffix = (str(extra[part]) for part in INFILLING)
    mode = str(extra.get("mode", "psm")).lower()
    if mode not in ("psm", "spm"):
        raise WrongInput(f"Row {row['id']}: the infilling mode {mode!r} must be psm or spm")
    begin = _begin(tokenizer)
    ids = [*begin, *infilling_ids(tokenizer, prefix, middle, suffix, mode)]
    return _cut(str(row["id"]), ids, list(ids), cutoff, prefix + middle + suffix, len(begin))


def infilling_ids(tokenizer: Tokenizer, prefix: str, middle: str, suffix: str, mode: str) -> list[int]:
    """Give the tokens of a document that was cut in three, without a first token.

    PSM: PRE prefix SUF suffix MID middle EOT. SPM: PRE SUF suffix MID prefix+middle EOT, the last two joined
    before they are tokenised (Code Llama section 2.3).
    """
    pre, suf, mid, end = fim_ids(tokenizer)
    after = text_ids(tokenizer, suffix)
    if mode == "spm":
        return [pre, suf, *after, mid, *text_ids(tokenizer, prefix + middle), end]
    return [pre, *text_ids(tokenizer, prefix), suf, *after, mid, *text_ids(tokenizer, middle), end]


def fim_ids(tokenizer: Tokenizer) -> tuple[int, int, int, int]:
    """Give the ids of prefix, suffix, middle and end. Raises WrongInput when the tokenizer has none."""
    vocabulary = tokenizer.get_vocab()
    for names in FIM_TOKENS:
        if all(name in vocabulary for name in names):
            pre, suf, mid, end = (vocabulary[name] for name in names)
            return pre, suf, mid, end
    raise WrongInput(
        "This base model's tokenizer has no infilling tokens (Code Llama 7B, 13B and 70B, StarCoder and "
        "the practice base have); choose another base model, or a version without infilling rows"
    )


def text_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokenise untrusted text as text: what looks like a special token in it stays characters."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _begin(tokenizer: Tokenizer) -> list[int]:
    return [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]


def _cut(id: str, ids: list[int], labels: list[int], cutoff: int, text: str, masked: int) -> Example:
    """Cut at the cutoff. Of a text that was cut only its share of tokens counts as bytes."""
    size = len(text.encode())
    if len(ids) <= cutoff:
        return Example(id, ids, labels, size)
    left, all_of_them = max(0, cutoff - masked), len(ids) - masked
    return Example(id, ids[:cutoff], labels[:cutoff], size * left // max(1, all_of_them), is_cut=True)
