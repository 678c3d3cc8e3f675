"""A LoRA step on a GPU: a LLaMA-7B-shaped model, rank 16 on the MLP, 4,096 tokens, beside plain trl.

Without a GPU that is not measured, and a small model on the CPU is timed beside transformers' own Trainer.
Model-FLOPs utilisation: FLOPs that the passes need over seconds and the card's peak. A token needs 2 a weight
forward and 2 backward for what flows through frozen weights (6 where they are trained), and for causal
attention 6 x layers x length x width (QK and AV, forward and backward, half of it masked). What activation
checkpointing computes twice is not counted.
"""

import importlib.util
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from training.fit import CUDA, Shape, estimate, told, trainable_parameters
from training.format import Example
from training.recipes import Settings

LLAMA_7B = {
    "hidden_size": 4_096, "intermediate_size": 11_008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 32_000, "max_position_embeddings": 4_096,
}  # fmt: skip
SMALL = {
    "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 3_072,
}  # fmt: skip
PEAKS = (("H100 PCIe", 756e12), ("H100", 989e12), ("H200", 989e12))  # dense bf16 FLOP/s, NVIDIA's data sheets
LENGTH, WARM, TIMED = 4_096, 2, 6
ROWS, ROW, BATCH = 160, 64, 8  # of the CPU


def run() -> list[str]:
    import torch

    if not torch.cuda.is_available():
        return ["LLaMA-7B shape, rank 16, 4,096 tokens: not measured: no CUDA GPU", *_on_cpu()]
    return _on_gpu()


def _flops(settings: Settings, length: int) -> float:
    """FLOPs a token, by the formula above; the embedding is looked up and costs none."""
    shape = Shape.of(LLAMA_7B)
    frozen = shape.in_linears + shape.vocabulary * shape.hidden
    return (
        4 * frozen
        + 6 * trainable_parameters(shape, settings)
        + 6 * shape.layers * length * shape.query
    )  # fmt: skip


def _model(settings: Settings) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.lora import with_adapter

    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            model = LlamaForCausalLM(LlamaConfig(**LLAMA_7B, use_cache=False))
    finally:
        torch.set_default_dtype(torch.float32)
    return with_adapter(model, settings).train()


def _on_gpu() -> list[str]:
    import torch

    name = torch.cuda.get_device_name()
    peak = next((value for part, value in PEAKS if part in name), None)
    free = torch.cuda.mem_get_info()[0]
    lines = [f"{name}, peak {f'{peak:.3g} FLOP/s bf16' if peak else 'unknown'}"]
    for again in (False, True):
        settings = Settings(micro_batch=1, batch=1, eval_rows=1, activation_checkpointing=again)
        foreseen = estimate(LLAMA_7B, settings, CUDA, LENGTH).total
        label = f"checkpointing {'on' if again else 'off'}"
        if foreseen > free:
            lines.append(f"{label}: not measured: {told(foreseen)} foreseen, {told(free)} free")
            continue
        seconds = _steps(settings)
        used = torch.cuda.max_memory_allocated()
        lines.append(_said(f"ours, {label}", seconds, settings, peak))
        lines.append(f"  memory: {told(foreseen)} foreseen, {told(used)} measured, {foreseen / used:.3f}")
        lines.append(_peer(label, settings, peak, seconds))
        torch.cuda.empty_cache()
    return lines


def _said(label: str, seconds: float, settings: Settings, peak: float | None) -> str:
    speed = LENGTH / seconds
    used = f"{speed * _flops(settings, LENGTH) / peak:.1%}" if peak else "unknown"
    return f"{label}: {speed:,.0f} tokens/s, model-FLOPs utilisation {used}"


def _rows(number: int, length: int, vocabulary: int) -> list[list[int]]:
    return [[(n * 7 + k * 13) % (vocabulary - 10) + 5 for k in range(length)] for n in range(number)]


def _steps(settings: Settings) -> float:
    """Give seconds a step of ours: pass, backward pass and update of one row of LENGTH tokens."""
    import torch

    model = _model(settings)
    torch.cuda.reset_peak_memory_stats()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], 1e-4)
    ids = torch.tensor(_rows(1, LENGTH, 32_000), device="cuda")

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()

    return _best(step)


def _best(step: Callable[[], None]) -> float:
    times = []
    for n in range(WARM + TIMED):
        began = time.perf_counter()
        step()
        if n >= WARM:
            times.append(time.perf_counter() - began)
    return min(times)


def _peer(label: str, settings: Settings, peak: float | None, ours: float) -> str:
    """Time trl's SFTTrainer on the same shape in this run, by the steps after the first ones."""
    if importlib.util.find_spec("trl") is None:
        return f"  trl, {label}: not measured: trl is not installed"
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_given: Any, **_options: Any) -> None:
            import torch

            torch.cuda.synchronize()
            stamps.append(time.perf_counter())

    rows = Dataset.from_dict({"input_ids": _rows(WARM + TIMED, LENGTH, 32_000)})
    with TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=_model(settings), train_dataset=rows, callbacks=[Clock()],
            args=SFTConfig(
                output_dir=folder, per_device_train_batch_size=1, max_steps=WARM + TIMED, bf16=True,
                max_length=LENGTH, save_strategy="no", report_to=[],
                gradient_checkpointing=settings.activation_checkpointing,
            ),
        )  # fmt: skip
        trainer.train()
    seconds = min(after - before for before, after in pairwise(stamps[1:]))
    return f"  {_said(f'trl, {label}', seconds, settings, peak)}, {seconds / ours:.2f} x ours"


def _on_cpu() -> list[str]:
    """Time our trainer and transformers' own on the same small model and rows, by tokens a second."""
    settings = Settings(
        learning_rate=2e-3, micro_batch=BATCH, batch=BATCH, cutoff=ROW, max_steps=ROWS // BATCH,
        save_every=1_000, eval_every=1_000,
    )  # fmt: skip
    times = {"ours": [], "transformers": []}  # type: dict[str, list[float]]
    for _ in range(2):
        for name, found in times.items():
            with TemporaryDirectory() as folder:
                found.append(_trained(Path(folder), settings, name == "ours"))
    ours, plain = (ROWS * ROW / min(found) for found in times.values())
    return [
        f"CPU, {ROWS} rows of {ROW} tokens, the practice shape: ours {ours:,.0f} tokens/s, "
        f"plain transformers Trainer with peft {plain:,.0f} tokens/s, ours / plain {ours / plain:.2f}"
    ]


def _trained(folder: Path, settings: Settings, ours: bool) -> float:
    """Give the seconds of a whole training of the small model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, default_data_collator

    from training.lora import with_adapter
    from training.run import LoraRun
    from training.trainer import Rows, RunTrainer, Watch, arguments

    torch.manual_seed(976)
    model = with_adapter(LlamaForCausalLM(LlamaConfig(**SMALL, use_cache=False)), settings)
    rows = _rows(ROWS, ROW, SMALL["vocab_size"])
    options = arguments(folder / "checkpoints", settings, ROWS, 1, False)
    trainer: Any
    if ours:
        run = LoraRun(folder)
        examples = [Example(str(n), ids, ids, ROW) for n, ids in enumerate(rows)]
        callbacks = [Watch(run, lambda *_: None)]
        trainer = RunTrainer(
            run, [], 0, model=model, args=options, train_dataset=Rows(examples), callbacks=callbacks
        )
    else:
        data = [{"input_ids": ids, "labels": ids} for ids in rows]
        trainer = Trainer(
            model=model, args=options, train_dataset=data, data_collator=default_data_collator
        )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began
