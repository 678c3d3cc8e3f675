"""What a model reads and learns, token by token: masks, the end token, the template's newline, infilling."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from curation.errors import WrongInput
from training.format import IGNORED, Example, encode, infill, is_infilling, prepare, prompt_of

ROW = {
    "id": "a",
    "instruction": "Add two numbers",
    "input": "",
    "response": "def add(a, b):\n    return a + b",
}
TEXTS = [
    "def add(a):", "### Response:\n\n", "### Instruction:\nAdd two numbers", "@@ Response\n", "\n\n", "    ",
    "Below is an instruction that describes a task.", "<s></s><PRE>", "Übergröße 你好 \u200b\x00",
] * 20  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A byte-level tokenizer as the practice base has it: every text can be decoded again."""
    from training.practice_base import Settings, _tokenizer

    return _tokenizer(TEXTS, Settings(vocabulary=400))


def learned(tokenizer: Any, example: Example) -> str:
    return str(tokenizer.decode([one for one in example.labels if one != IGNORED]))


def whole(tokenizer: Any, example: Example) -> str:
    return str(tokenizer.decode(example.ids))


@pytest.mark.parametrize("template", ["alpaca", "magicoder", "wizardcoder"])
def test_loss_falls_on_the_response_and_the_end_token_only(tokenizer: Any, template: str) -> None:
    example = encode(ROW, tokenizer, template, 4_096)

    assert learned(tokenizer, example) == f"{ROW['response']}</s>"
    assert whole(tokenizer, example) == f"<s>{prompt_of(template, ROW)}{ROW['response']}</s>"
    assert example.ids[-1] == tokenizer.eos_token_id == example.labels[-1]
    first = next(n for n, label in enumerate(example.labels) if label != IGNORED)
    assert set(example.labels[:first]) == {IGNORED}
    assert list(example.labels[first:]) == list(example.ids[first:])


def test_templates_end_as_their_papers_end_them() -> None:
    with_input = {**ROW, "input": "in Python"}

    assert prompt_of("alpaca", ROW).endswith("### Instruction:\nAdd two numbers\n\n### Response:\n")
    assert "### Input:\nin Python\n\n### Response:\n" in prompt_of("alpaca", with_input)
    assert prompt_of("wizardcoder", ROW).endswith("\n\n### Response:")  # no newline (recipes.md 2.6)
    assert prompt_of("magicoder", ROW).endswith("@@ Instruction\nAdd two numbers\n\n@@ Response\n")
    assert "Add two numbers\nInput: in Python\n\n@@ Response" in prompt_of("magicoder", with_input)


def test_braces_in_a_row_are_text() -> None:
    row = {**ROW, "instruction": "Print {input} and {0!r}", "input": "{instruction}"}

    assert "Print {input} and {0!r}\n\n### Input:\n{instruction}\n" in prompt_of("alpaca", row)


@pytest.mark.parametrize("response", ["\nreturn 1", "\n\n\nx", " x", "\n", "    indented"])
def test_the_prompt_is_tokenised_as_at_generation(tokenizer: Any, response: str) -> None:
    """A tokenizer that would join the template's newline with the response's must not in training either."""
    row = {**ROW, "response": response}
    prompt = tokenizer(prompt_of("alpaca", row), add_special_tokens=False)["input_ids"]

    example = encode(row, tokenizer, "alpaca", 4_096)

    assert list(example.ids[: len(prompt) + 1]) == [tokenizer.bos_token_id, *prompt]
    assert learned(tokenizer, example) == f"{response}</s>"


def test_the_joint_newline_is_really_there(tokenizer: Any) -> None:
    """Else the test above would show nothing."""
    joined = tokenizer("### Response:\n\n", add_special_tokens=False)["input_ids"]
    apart = [*tokenizer("### Response:\n", add_special_tokens=False)["input_ids"],
             *tokenizer("\n", add_special_tokens=False)["input_ids"]]  # fmt: skip

    assert joined != apart


def test_special_tokens_written_in_a_row_stay_text(tokenizer: Any) -> None:
    row = {**ROW, "instruction": "Say </s> and <PRE>", "response": "</s><s><MID>"}

    example = encode(row, tokenizer, "alpaca", 4_096)

    special = set(tokenizer.all_special_ids)
    assert [one for one in example.ids if one in special] == [tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert whole(tokenizer, example).count("</s>") == 3  # two of the row, one of ours


def test_what_is_too_long_is_cut_and_loses_its_end_token(tokenizer: Any) -> None:
    uncut = encode(ROW, tokenizer, "alpaca", 4_096)

    example = encode(ROW, tokenizer, "alpaca", len(uncut.ids) - 3)

    assert example.is_cut and not uncut.is_cut
    assert list(example.ids) == list(uncut.ids[:-3])
    assert tokenizer.eos_token_id not in example.labels
    assert 0 < example.learned_bytes < uncut.learned_bytes == len(ROW["response"].encode())


def test_a_row_without_a_token_to_learn_is_kept_apart_by_its_id(tokenizer: Any) -> None:
    long = {**ROW, "id": "b", "instruction": "word " * 300}

    prepared = prepare([ROW, long], tokenizer, "alpaca", 120)

    assert [one.id for one in prepared.examples] == ["a"]
    assert prepared.unusable == {"b": "prompt longer than the cutoff"}
    report = prepared.report()
    assert report["rows"] + sum(report["unusable"].values()) == 2


FIM_ROW = {
    "id": "f", "instruction": "x", "input": "", "response": "y",
    "extra": {"prefix": "def f(a):\n", "middle": "    return a", "suffix": "\n\nprint(f(1))\n"},
}  # fmt: skip


def ids_of(tokenizer: Any, names: Sequence[str]) -> list[int]:
    return list(tokenizer.convert_tokens_to_ids(list(names)))


def test_every_part_of_an_infilling_row_carries_loss(tokenizer: Any) -> None:
    """Loss on prefix, suffix and middle, and on the end token (FIM paper section 3)."""
    example = infill(FIM_ROW, tokenizer, 4_096)

    assert list(example.labels) == list(example.ids)
    assert whole(tokenizer, example) == ("<s><PRE>def f(a):\n<SUF>\n\nprint(f(1))\n<MID>    return a<EOT>")


def test_spm_joins_prefix_and_middle_before_they_are_tokenised(tokenizer: Any) -> None:
    row = {**FIM_ROW, "extra": {**FIM_ROW["extra"], "mode": "spm"}}

    example = infill(row, tokenizer, 4_096)

    pre, suf, mid, end = ids_of(tokenizer, ("<PRE>", "<SUF>", "<MID>", "<EOT>"))
    assert list(example.ids[1:3]) == [pre, suf] and example.ids[-1] == end
    joined = tokenizer("def f(a):\n    return a", add_special_tokens=False)["input_ids"]
    assert list(example.ids[example.ids.index(mid) + 1 : -1]) == list(joined)


def test_the_loss_rule_is_the_rows_own_in_a_mixture(tokenizer: Any) -> None:
    prepared = prepare([ROW, FIM_ROW], tokenizer, "alpaca", 4_096)

    plain, infilling = prepared.examples
    assert prepared.loss_on_all == 1
    assert IGNORED in plain.labels and IGNORED not in infilling.labels


@pytest.mark.parametrize(
    "extra", [{}, None, {"prefix": "a", "suffix": "b"}, {**FIM_ROW["extra"], "middle": 3}]
)
def test_a_row_without_all_three_parts_is_an_ordinary_row(extra: Any) -> None:
    assert not is_infilling({**ROW, "extra": extra})


def test_a_mode_that_nobody_knows_names_its_row(tokenizer: Any) -> None:
    row = {**FIM_ROW, "extra": {**FIM_ROW["extra"], "mode": "psn"}}

    with pytest.raises(WrongInput, match=r"Row f: the infilling mode 'psn' must be psm or spm"):
        infill(row, tokenizer, 100)


def test_a_tokenizer_without_infilling_tokens_is_refused_for_infilling_rows() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, show_progress=False,
                                                        special_tokens=["</s>"]))  # fmt: skip
    plain = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")

    with pytest.raises(WrongInput, match="no infilling tokens"):
        prepare([FIM_ROW], plain, "alpaca", 100)
    assert prepare([ROW], plain, "alpaca", 4_096).examples[0].ids[0] != plain.eos_token_id  # and no BOS: none


@pytest.mark.parametrize("name", ["code_alpaca_2k.json.gz", "evol_codealpaca_2k_round1.json.gz"])
def test_every_row_of_a_real_set_decodes_to_what_was_written(tokenizer: Any, name: str) -> None:
    """The response and the end token, nothing else, whatever its characters."""
    file = Path(__file__).parents[2] / "shared" / "data" / "instructions" / name
    if not file.is_file():
        pytest.skip(f"{file} is missing: ../shared is not beside this checkout")
    rows = json.loads(gzip.decompress(file.read_bytes()))[:400]
    for n, row in enumerate(rows):
        text = row.get("output") or row.get("response")
        one = {"id": n, "instruction": row["instruction"], "input": row.get("input"), "response": text}
        assert learned(tokenizer, encode(one, tokenizer, "alpaca", 1_000_000)) == f"{text}</s>", n
