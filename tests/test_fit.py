"""Will it fit: counted against what autograd keeps, and against the memory of real steps."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from curation.errors import WrongInput
from training import fit
from training.recipes import FULL, MLP, Settings, find

LLAMA_2 = {
    "7b": ((4_096, 11_008, 32, 32, 32), 23_199_744),
    "13b": ((5_120, 13_824, 40, 40, 40), 36_372_480),
    "70b": ((8_192, 28_672, 80, 64, 8), 141_557_760),
}  # trainable parameters of Platypus's LoRA, as its paper's adapters have them
QV = ("q_proj", "v_proj")
CHILD = """
import ctypes, gc, json, sys, torch, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
import training.trainer
from training import fit
from training.lora import with_adapter
from training.recipes import Settings

def status(key):
    return int(Path("/proc/self/status").read_text().split(key)[1].split()[0]) * 1024

assert fit.give_memory_back()
torch.set_num_threads(1)
for config, given, length in json.loads(sys.argv[1]):
    settings = Settings(**given)
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark
    model = LlamaForCausalLM(LlamaConfig(**config)).train()
    model.config.use_cache = False
    model = with_adapter(model, settings)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad])
    for _ in range(2):
        ids = torch.randint(0, config["vocab_size"], (settings.micro_batch, length))
        mask = torch.ones_like(ids)
        if settings.micro_batch > 1:
            mask[0, -8:] = 0
        model(input_ids=ids, labels=ids, attention_mask=mask).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(status("VmHWM:"), flush=True)
    del model, optimizer
"""


def shaped(*numbers: int, vocabulary: int = 32_000, tied: bool = False) -> dict[str, Any]:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads")  # fmt: skip
    return {
        **dict(zip(names, numbers, strict=True)), "vocab_size": vocabulary, "tie_word_embeddings": tied
    }  # fmt: skip


@pytest.mark.parametrize("size", LLAMA_2)
def test_trainable_parameters_are_those_of_peft_and_the_paper(size: str) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.lora import count_parameters, with_adapter

    numbers, published = LLAMA_2[size]
    settings = find(f"platypus-{size}").settings
    with torch.device("meta"):
        model = with_adapter(LlamaForCausalLM(LlamaConfig(**shaped(*numbers))), settings)

    foreseen = fit.estimate(shaped(*numbers), settings, fit.CUDA)
    assert count_parameters(model) == (published, foreseen.parameters)
    assert foreseen.trainable == published


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dropout as CUDA does it: its mask is a byte, not a float32."""
    import torch

    def forward(self: Any, x: Any) -> Any:
        return torch.native_dropout(x, self.p, True)[0] if self.training and self.p else x

    monkeypatch.setattr(torch.nn.Dropout, "forward", forward)
    return


def kept_by_autograd(
    config: dict[str, Any], settings: Settings, length: int, cuda: bool, padded: bool
) -> int:
    """Add up the storages that autograd keeps of a forward pass, parameters left out."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.lora import with_adapter

    model = LlamaForCausalLM(LlamaConfig(**config, use_cache=False))
    if cuda and settings.method != FULL:
        model = model.to(torch.bfloat16)
    model = with_adapter(model, settings).train()
    own = {one.untyped_storage().data_ptr() for one in model.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    ids = torch.zeros((settings.micro_batch, length), dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[0, -8:] = 0 if padded else 1
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=cuda),
    ):
        loss = model(input_ids=ids, labels=ids, attention_mask=mask).loss
    assert loss.requires_grad
    return sum(one.nbytes() for one in kept.values())


@pytest.mark.parametrize("cuda", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("changes", "length", "padded"), [
    ({}, 128, False),
    ({"micro_batch": 2}, 128, True),
    ({"targets": QV, "rank": 8}, 64, False),
    ({"targets": ("o_proj", *MLP), "dropout": 0.0, "micro_batch": 4}, 64, True),
    ({"method": FULL}, 128, False),
    ({"method": FULL, "micro_batch": 2}, 128, True),
])  # fmt: skip
def test_what_is_kept_is_what_autograd_keeps(
    changes: dict[str, Any], length: int, padded: bool, cuda: bool, as_on_cuda: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Within 1.5 %, over widths, grouped heads, masks, targets and precisions."""
    if not cuda:
        monkeypatch.undo()
    settings = Settings(**changes)
    for numbers in ((192, 320, 2, 6, 3), (128, 512, 4, 4, 4)):
        config = shaped(*numbers, vocabulary=500)
        count = fit._Count(fit.Shape.of(config), settings, cuda, length, padded)
        # The count holds the mask of booleans, too, which autograd does not keep.
        mask = settings.micro_batch * length**2 if padded else 0
        foreseen = count._kept(numbers[2]) - mask + 4 * count.tokens * 500

        assert foreseen == pytest.approx(kept_by_autograd(config, settings, length, cuda, padded), rel=0.015)


def test_resident_memory_on_the_cpu_is_within_a_quarter() -> None:
    """Three shapes, a child process, two real steps each; its highest mark beside the estimate."""
    shapes: list[tuple[dict[str, Any], dict[str, Any], int]] = [
        (shaped(384, 1_024, 6, 6, 6, vocabulary=16_000), {"micro_batch": 2}, 256),
        (shaped(512, 1_376, 4, 8, 4, vocabulary=8_000, tied=True), {"method": FULL, "micro_batch": 1}, 256),
        (shaped(320, 864, 4, 5, 5, vocabulary=4_000),
         {"micro_batch": 4, "activation_checkpointing": True}, 256),
    ]  # fmt: skip
    given = [(c, {**s, "batch": s["micro_batch"], "eval_rows": 1}, length) for c, s, length in shapes]
    answer = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(given)], capture_output=True, text=True, check=True
    ).stdout

    measured = [int(line) for line in answer.split()]
    foreseen = [fit.estimate(c, Settings(**s), fit.CPU, length).total for c, s, length in given]
    for wanted, got in zip(foreseen, measured, strict=True):
        assert wanted == pytest.approx(got, rel=0.25)


@pytest.mark.parametrize(("numbers", "changes", "length"), [
    ((2_048, 5_632, 8, 16, 16), {}, 2_048),
    ((2_048, 5_632, 8, 32, 4), {"activation_checkpointing": True, "micro_batch": 2}, 2_048),
    ((1_024, 2_816, 8, 16, 16), {"method": FULL, "micro_batch": 2}, 1_024),
])  # fmt: skip
def test_gpu_memory_is_within_a_tenth(numbers: Any, changes: dict[str, Any], length: int) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here: GPU memory is not measured")
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.lora import with_adapter

    settings = Settings(
        **{"micro_batch": 1, **changes, "batch": changes.get("micro_batch", 1), "eval_rows": 1}
    )
    with torch.device("cuda"):
        model = LlamaForCausalLM(LlamaConfig(**shaped(*numbers), use_cache=False)).train()
    if settings.method != FULL:
        model = model.to(torch.bfloat16)
    model = with_adapter(model, settings)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    ids = torch.zeros((settings.micro_batch, length), dtype=torch.long, device="cuda")
    for _ in range(2):
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    foreseen = fit.estimate(shaped(*numbers), settings, fit.CUDA, length, padded=False).total
    assert foreseen == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.1)


def test_advice_for_a_huge_batch_comes_at_once() -> None:
    """A billion was counted down one by one, and the page stood still for a minute."""
    config = {
        "model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 100,
    }  # fmt: skip
    for batch, less in ((10**9, 5 * 10**8), (999_999_937, 1)):
        settings = Settings(batch=batch, micro_batch=batch, cutoff=8)
        began = time.process_time()
        lines = fit.advice(fit.estimate(config, settings), settings, 1, config)
        assert lines[0].startswith(f"micro_batch {less} instead of {batch}:")
        assert time.process_time() - began < 5.0


def test_advice_names_knobs_in_order_and_what_they_save() -> None:
    config = shaped(*LLAMA_2["7b"][0])
    settings = replace(find("platypus-7b").settings, micro_batch=4)
    foreseen = fit.estimate(config, settings, fit.CUDA)

    assert fit.advice(foreseen, settings, foreseen.total, config) == []
    lines = fit.advice(foreseen, settings, 30_000_000_000, config)

    words = [line.split()[0] for line in lines]
    assert words == ["micro_batch", "micro_batch", "activation_checkpointing", "cutoff", "quantize", "a"]
    again = fit.estimate(config, replace(settings, activation_checkpointing=True), fit.CUDA)
    assert f"saves {fit.told(foreseen.total - again.total)}" in lines[2]
    assert not any("fits" in line for line in lines[:2])  # of 4,096 tokens even one row takes more
    assert "weights alone take 13.5 GB" in lines[-1]


def test_on_the_cpu_nothing_is_quantised_and_full_may_become_lora() -> None:
    config = shaped(512, 1_376, 8, 8, 8)
    settings = Settings(method=FULL)

    lines = fit.advice(fit.estimate(config, settings), settings, 1, config)

    assert not any("4bit" in line for line in lines)
    assert any(line.startswith("method lora") for line in lines)


def test_parts_add_up_and_quantised_weights_are_small() -> None:
    config, settings = shaped(*LLAMA_2["7b"][0]), find("platypus-7b").settings
    one = fit.estimate(config, settings, fit.CUDA)

    assert one.total == one.weights + one.adapters + one.gradients + one.optimizer + one.activations
    assert one.weights == 2 * 6_738_415_616  # LLaMA-2 7B as published
    assert fit.estimate(config, replace(settings, quantize="4bit"), fit.CUDA).weights < 5e9
    assert fit.estimate(config, settings).floor == fit.FLOOR
    assert fit.disk_needed(one, settings) == (fit.KEPT + 1) * 12 * one.trainable + 4 * one.trainable


def test_another_family_or_other_targets_are_refused() -> None:
    with pytest.raises(WrongInput, match="gpt_bigcode"):
        fit.estimate({"model_type": "gpt_bigcode"}, Settings())
    with pytest.raises(WrongInput, match="lacks a number"):
        fit.estimate({"model_type": "llama"}, Settings())
    with pytest.raises(WrongInput, match="there are q_proj"):
        fit.estimate(shaped(64, 128, 1, 2, 2), Settings(targets=("c_fc",)))
    assert fit.disk_of({"model_type": "gpt_bigcode"}, Settings()) == fit.disk_of(None, Settings()) == 0


def test_numbers_of_the_trainer_are_the_same_here() -> None:
    from training import trainer

    assert (fit.MULTIPLE, fit.EVAL_TOKENS, fit.KEPT) == (
        trainer.MULTIPLE, trainer.EVAL_TOKENS, trainer.KEPT
    )  # fmt: skip


def test_the_estimate_needs_no_torch() -> None:
    code = "import sys; from training import fit; fit.machine_memory(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_tried_step_changes_nothing() -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.format import Example
    from training.lora import with_adapter

    settings = Settings(micro_batch=2)
    model = with_adapter(LlamaForCausalLM(LlamaConfig(**shaped(64, 160, 2, 2, 2, vocabulary=99))), settings)
    model.eval()
    rows = [Example(str(n), [1] * n, [1] * n, n) for n in (5, 30, 17)]
    weights = {name: one.clone() for name, one in model.state_dict().items()}
    random = torch.get_rng_state()

    tried = fit.try_step(model, rows, 0, settings)

    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(one, weights[name]) for name, one in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())
    assert not model.training
    assert tried["length"] == 32
    assert tried["seconds"] > 0 and tried["bytes"] >= tried["rise"] >= 0
    assert tried["estimate"] > fit.FLOOR
