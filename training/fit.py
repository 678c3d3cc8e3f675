"""Will it fit? Bytes that a run takes, from config.json and settings alone, and which knob to turn.

Standard library and psutil only: pages ask this, and torch never loads there. Activations are counted, not
guessed: the coefficients below name what autograd keeps of each part of a Llama layer as transformers 5 runs
it (scaled-dot-product attention, peft's LoRA), and tests/test_fit.py counts the same on real models.
`try_step` does a real step, and needs torch.
"""

import ctypes
import math
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil

from curation.errors import WrongInput
from training.recipes import FULL, LORA, Settings

if TYPE_CHECKING:
    from training.format import Example

CPU, CUDA = "cpu", "cuda"
MULTIPLE = 8  # batches are padded to a multiple of it (Platypus finetune.py)
EVAL_TOKENS = 8_192  # padded tokens of one forward pass when validation rows are looked at
KEPT = 2  # complete checkpoints on disk
# Resident bytes of Python with torch 2.13 (CPU), transformers 5.23, peft 0.21 and our modules after a first
# matrix product and step, measured on x86-64 Linux: 524 MB.
FLOOR = 524_000_000
QUARTER_BYTE = 4.127 / 8  # bytes of a weight in NF4 with double quantisation (QLoRA section 3: 0.127 bits)
FAMILIES = ("llama", "mistral", "qwen2")  # their layers are Llama's; another family is not guessed at
ATTENTION_IN, MLP_IN = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")
STEP, EVALUATION, UPDATE = "forward and backward pass", "measuring validation rows", "optimizer step"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
UNITS = ("B", "KB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Shape:
    """The numbers of a Llama-like model that decide its size."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head: int  # width of a head
    vocabulary: int
    tied: bool  # the output layer is the embedding
    biased: tuple[str, ...] = ()  # linear layers with a bias

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Shape":
        """Read config.json. Raises WrongInput for a family with other layers, or a missing number."""
        family = config.get("model_type", "llama")
        if family not in FAMILIES:
            raise WrongInput(
                f"The memory of a {family} model is not known before it runs; it is for {', '.join(FAMILIES)}"
            )
        return cls.read(config)

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Shape":
        """Read config.json of any family with these numbers. Raises WrongInput for a missing number."""
        family = config.get("model_type", "llama")
        try:
            hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
            biased: tuple[str, ...] = ()
            if config.get("attention_bias"):
                biased += (*ATTENTION_IN, "o_proj")
            elif family == "qwen2":
                biased += ATTENTION_IN
            if config.get("mlp_bias"):
                biased += (*MLP_IN, "down_proj")
            return cls(
                hidden, int(config["intermediate_size"]), int(config["num_hidden_layers"]), heads,
                int(config.get("num_key_value_heads") or heads),
                int(config.get("head_dim") or hidden // heads),
                int(config["vocab_size"]), bool(config.get("tie_word_embeddings", False)), biased,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise WrongInput(f"config.json of the base model lacks a number ({error})") from error

    @property
    def query(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head

    @property
    def key(self) -> int:
        """Width of all key (or value) heads together."""
        return self.kv_heads * self.head

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear layers of one decoder layer: name -> (numbers in, numbers out)."""
        h, i = self.hidden, self.inner
        return {
            "q_proj": (h, self.query), "k_proj": (h, self.key), "v_proj": (h, self.key),
            "o_proj": (self.query, h), "gate_proj": (h, i), "up_proj": (h, i), "down_proj": (i, h),
        }  # fmt: skip

    @property
    def in_linears(self) -> int:
        """Weights in the linear layers of all decoder layers; biases are not among them."""
        return self.layers * sum(a * b for a, b in self.linears.values())

    @property
    def parameters(self) -> int:
        """All parameters of the base model."""
        biases = self.layers * sum(self.linears[name][1] for name in self.biased)
        norms = (2 * self.layers + 1) * self.hidden
        return self.in_linears + biases + norms + (1 if self.tied else 2) * self.vocabulary * self.hidden


@dataclass(frozen=True)
class Fit:
    """Bytes at the moment of a run that takes most. The parts add up to `total`."""

    weights: int  # of the base model
    adapters: int
    gradients: int  # those that stand at that moment
    optimizer: int
    activations: int  # what the pass, or the step, keeps besides
    floor: int  # the process itself; 0 on a GPU, whose allocator does not count it
    trainable: int  # parameters, not bytes
    parameters: int  # of base and adapters together
    length: int  # padded tokens of the longest row
    device: str  # cpu | cuda
    moment: str  # which one it is
    first_pass: int  # bytes of a pass before there are gradients or an optimizer: what `try_step` measures

    @property
    def total(self) -> int:
        return self.weights + self.adapters + self.gradients + self.optimizer + self.activations + self.floor


def trainable_parameters(shape: Shape, settings: Settings) -> int:
    """Count what is trained: rank times (in + out) a target and layer, or all weights.

    Raises WrongInput when the model has none of the targets.
    """
    if settings.method == FULL:
        return shape.parameters
    targets = _targets(shape, settings)
    return shape.layers * settings.rank * sum(sum(shape.linears[name]) for name in targets)


def _targets(shape: Shape, settings: Settings) -> tuple[str, ...]:
    known = tuple(name for name in shape.linears if name in settings.targets)
    if not known:
        raise WrongInput(f"targets {', '.join(settings.targets)}: there are {', '.join(shape.linears)}")
    return known


def missing_targets(config: Mapping[str, Any] | None, settings: Settings) -> str:
    """Say which targets a base model does not have; "": it has all, or they are known only once it is loaded.

    peft passes over a name that no module has, as long as another one fits: a slip would train less than
    asked.
    """
    if config is None or settings.method == FULL or config.get("model_type") not in FAMILIES:
        return ""
    known = Shape.of(config).linears
    missing = [name for name in settings.targets if name not in known]
    if not missing:
        return ""
    return f"targets {', '.join(missing)}: the base model has no such modules; it has {', '.join(known)}"


def estimate(
    config: Mapping[str, Any], settings: Settings, device: str = CPU, length: int | None = None,
    padded: bool | None = None,
) -> Fit:  # fmt: skip
    """Say how many bytes training takes on one device, at the moment that takes most.

    `config` is the base model's config.json, `length` the tokens of the longest row (None: the cutoff).
    `padded`: rows of a micro-batch differ in length, so that a mask of length x length stands (None: they do
    when there is more than one, or the length is no multiple of 8). Precision is that of training/lora.py:
    float32 on the CPU (in a process that gives memory back, see `spare_memory`); on CUDA a bfloat16 base with
    float32 adapters, or float32 weights when all are trained, under bfloat16 autocast. Raises WrongInput for
    a model of an unknown family or without the targets.
    """
    shape = Shape.of(config)
    wanted = length or settings.cutoff
    counted = -(-wanted // MULTIPLE) * MULTIPLE
    is_padded = settings.micro_batch > 1 or counted != wanted if padded is None else padded
    count = _Count(shape, settings, device == CUDA, counted, is_padded)
    trainable = trainable_parameters(shape, settings)
    gradients, optimizer = 4 * trainable, _optimizer(shape, settings, trainable)
    held = gradients if settings.batch > settings.micro_batch else 0  # of earlier micro-batches
    moments = [
        (STEP, held, count.at_loss()),
        (STEP, held or count.of_output(), count.in_backward(shape.layers)),  # the last layer
        (STEP, gradients, count.in_backward(1)),  # the first: gradients came as activations went
        (UPDATE, gradients, _update(shape, settings, trainable, device == CUDA)),
        (EVALUATION, 0, count.at_evaluation()),
    ]
    moment, standing, activations = max(moments, key=lambda one: one[1] + one[2])
    passes = (
        count.at_loss(),
        count.of_output() + count.in_backward(shape.layers),
        gradients + count.in_backward(1),
    )
    is_lora = settings.method == LORA
    weights, adapters = _weights(shape, settings, device == CUDA), 4 * trainable if is_lora else 0
    floor = 0 if device == CUDA else FLOOR
    return Fit(
        weights=weights, adapters=adapters, gradients=standing, optimizer=optimizer,
        activations=activations, floor=floor, trainable=trainable,
        parameters=shape.parameters + (trainable if is_lora else 0),
        length=counted, device=device, moment=moment,
        first_pass=weights + adapters + floor + max(passes),
    )  # fmt: skip


def _weights(shape: Shape, settings: Settings, cuda: bool) -> int:
    if settings.method == FULL or not cuda:
        return 4 * shape.parameters
    if settings.quantize == "none":
        return 2 * shape.parameters
    # prepare_model_for_kbit_training casts what is not quantised (embedding, output, norms) to float32.
    return int(QUARTER_BYTE * shape.in_linears) + 4 * (shape.parameters - shape.in_linears)


def _optimizer(shape: Shape, settings: Settings, trainable: int) -> int:
    """AdamW keeps two float32 a parameter; Adafactor one a row and one a column of each matrix."""
    if settings.optimizer != "adafactor":
        return 8 * trainable
    if settings.method == LORA:
        sides = sum(a + b + 2 * settings.rank for a, b in (
            shape.linears[name] for name in _targets(shape, settings)))  # fmt: skip
        return 4 * shape.layers * sides
    ends = (1 if shape.tied else 2) * (shape.vocabulary + shape.hidden)
    return 4 * (shape.layers * sum(a + b for a, b in shape.linears.values()) + ends)


def _update(shape: Shape, settings: Settings, trainable: int, cuda: bool) -> int:
    """Working copies of the optimizer's step: torch's foreach AdamW makes one of all, else of the largest."""
    if cuda and settings.optimizer != "adafactor":
        return 4 * trainable
    if settings.method == FULL:
        largest = max([shape.vocabulary * shape.hidden, *(a * b for a, b in shape.linears.values())])
    else:
        largest = settings.rank * max(shape.hidden, shape.inner, shape.query)
    return (8 if settings.optimizer != "adafactor" else 12) * largest


@dataclass(frozen=True)
class _Count:
    """What the passes over one micro-batch keep. Bytes a token where not said otherwise."""

    shape: Shape
    settings: Settings
    cuda: bool
    length: int
    padded: bool

    @property
    def full(self) -> bool:
        return self.settings.method == FULL

    @property
    def tokens(self) -> int:
        return self.settings.micro_batch * self.length

    @property
    def size(self) -> int:
        """Bytes of a number that a matrix product reads."""
        return 2 if self.cuda else 4

    @property
    def stream(self) -> int:
        """Bytes of a number that flows from layer to layer."""
        is_half = self.cuda and not self.full and self.settings.quantize == "none"
        return 2 if is_half else 4

    def at_loss(self) -> int:
        """Bytes when the loss is differentiated: all that is kept, and three float32 of every logit.

        Three: the log-softmax, its gradient and the gradient of the loss, at once. Where the output layer is
        trained, the gradients of its weights come next, beside those of the logits.
        """
        logits = 12 * self.tokens * self.shape.vocabulary
        if self.full:
            weights = self.shape.vocabulary * self.shape.hidden
            logits = max(logits, self._product() * (self.tokens * self.shape.vocabulary + weights))
        return int(self._kept(self.shape.layers) + logits)

    def of_output(self) -> int:
        """Bytes of the gradient of an output layer that is trained: it is the first there is."""
        return 4 * self.shape.vocabulary * self.shape.hidden if self.full else 0

    def in_backward(self, layers: int) -> int:
        """Bytes in a layer's backward pass when `layers` are still to come, it among them.

        With activation checkpointing it is computed anew.
        """
        kept = self._kept(layers) + self._working()
        if self.settings.activation_checkpointing:
            shared = self.stream * self.shape.hidden * self.tokens if self.stream == 4 else 0
            kept += self._layer(first=False) - shared + self._copies()
        return int(kept)

    def _product(self) -> int:
        """Bytes a number of a weight's gradient takes as it is made: autocast makes it in both precisions."""
        return 6 if self.cuda else 4

    def _kept(self, layers: int) -> float:
        """Bytes that autograd keeps of so many layers and the loss, that of the logits left out."""
        shape = self.shape
        after = 4 * shape.hidden + 4 + 16  # the last norm; labels
        if self.full:
            after += (4 + self.size) * shape.hidden  # the norm's product; what the output layer reads
        kept: float = self.tokens * after + 2 * self.length * shape.head * self.stream  # and cosines, sines
        if self.padded:
            kept += self.settings.micro_batch * self.length**2  # the mask itself, as booleans
        if self.settings.activation_checkpointing:
            kept += layers * self.stream * shape.hidden * self.tokens
        else:
            kept += (layers - 1) * self._layer(first=False) + self._layer(first=not self.full)
            kept += layers * self._copies()
        if self.full and self.cuda:
            kept += 2 * shape.vocabulary * shape.hidden  # the output layer's copy in bfloat16
        return kept

    def _copies(self) -> int:
        """Bytes of the bfloat16 copies that autocast makes of a layer's float32 weights."""
        if not self.cuda:
            return 0
        each = self.shape.in_linears if self.full else trainable_parameters(self.shape, self.settings)
        return 2 * each // self.shape.layers

    def _layer(self, first: bool) -> float:
        """Bytes that one layer keeps; the first of a frozen model: nothing before its first adapter."""
        reached = not first
        kept = 0.0
        if reached:
            kept += self._norm()
        targets = () if self.full else _targets(self.shape, self.settings)
        kept += self._inputs(ATTENTION_IN, targets, reached)
        reached = reached or any(name in ATTENTION_IN for name in targets)
        if reached:
            kept += self._attention()
        kept += self._inputs(("o_proj",), targets, reached)
        reached = reached or "o_proj" in targets
        if reached:
            kept += self._norm()
        kept += self._inputs(MLP_IN, targets, reached)
        reached = reached or any(name in MLP_IN for name in targets)
        if reached:
            kept += 3 * self.size * self.shape.inner  # gate, its activation, up
        kept += self._inputs(("down_proj",), targets, reached)
        mask = reached and self.padded and (not first or any(name in ATTENTION_IN for name in targets))
        return kept * self.tokens + mask * self.size * self.settings.micro_batch * self.length**2

    def _norm(self) -> int:
        """RMSNorm works in float32: what it read, one number a token, and its product if it is trained."""
        return (8 if self.full else 4) * self.shape.hidden + 4

    def _attention(self) -> int:
        """Queries, keys, values, the result, and one float32 a head; a mask makes keys as many as queries."""
        keys = self.shape.query if self.padded else self.shape.key
        return self.size * (2 * self.shape.query + 2 * keys) + 4 * self.shape.heads

    def _inputs(self, names: Sequence[str], targets: Sequence[str], reached: bool) -> int:
        """What linear layers that read the same numbers keep of them.

        Trained ones keep what they read: one copy, or under autocast one each; attention's result is kept
        already. Frozen ones keep nothing. An adapter keeps its input after dropout, dropout's mask (a float32
        on the CPU, a byte on CUDA) and its inner numbers.
        """
        width = self.shape.linears[names[0]][0]
        if self.full:
            times = 0 if names == ("o_proj",) else len(names) if self.cuda else 1
            return times * self.size * width
        ours = [name for name in names if name in targets]
        kept = len(ours) * self.size * self.settings.rank
        if self.settings.dropout:
            mask = (1 if self.cuda else 4) * width if reached else 0
            return kept + len(ours) * (self.size * width + mask)
        times = len(ours) if self.cuda else min(1, len(ours))
        if names == ("o_proj",) and reached:  # attention keeps it
            times = 0 if not self.cuda else times
        return kept + times * self.size * width

    def _working(self) -> float:
        """Bytes that the backward pass of a layer holds for a moment: gradients on their way.

        Read off the greatest sum of live tensors of simulated steps (torch's FakeTensorMode) over widths.
        """
        h, i = self.shape.hidden, self.shape.inner
        again = self.settings.activation_checkpointing
        if self.full:
            made = self._product() * h * i
            if self.cuda:
                return made + (0 if again else 14 * h * self.tokens)
            return made + self.tokens * max(8 * i - 8 * h, 0 if again else 12 * h)
        if self.cuda:
            return float(self.tokens * (10 * i + 6 * h))
        return float(self.tokens * (4 * i + (12 if again else 16) * h))

    def at_evaluation(self) -> int:
        """Bytes of a batch of validation rows, whose logits are read without a gradient (trainer.losses)."""
        rows = max(1, EVAL_TOKENS // self.length)
        rows = min(rows, self.settings.eval_rows or rows)
        h, i, size = self.shape.hidden, self.shape.inner, self.stream
        of_layer = 4 * (3 * i + 4 * h) if self.full or not self.cuda else 12 * (i + h)
        # The logits, twice in float32 (log_softmax copies a transposed input), and its result.
        of_logits = (size + 8 + (4 if size == 2 else 0)) * self.shape.vocabulary
        mask = (1 + self.size) * self.length**2
        return rows * (self.length * max(of_layer, of_logits) + mask)


def answering(config: Mapping[str, Any], settings: Settings, device: str, length: int) -> int:
    """Bytes that answering with base and result takes on one device; `length`: tokens of prompt and answer.

    Weights as training holds them (twice where all were trained: base and result), the keys and values of
    one sequence, and the process. Raises WrongInput for a model whose config lacks a number.
    """
    shape = Shape.read(config)
    weights = _weights(shape, settings, device == CUDA)
    if settings.method == FULL:
        weights *= 2
    else:
        weights += 4 * trainable_parameters(shape, settings)
    size = 2 if device == CUDA else 4
    return weights + 2 * size * shape.layers * shape.key * length + (0 if device == CUDA else FLOOR)


def disk_needed(fit: Fit, settings: Settings) -> int:
    """Bytes of a run's folder: its checkpoints, one more while it is written, and the result.

    A checkpoint holds what is trained and the optimizer's state, in float32.
    """
    trained = 4 * fit.trainable
    kept = KEPT + 1 + (1 if settings.early_stop else 0)  # the best one is kept, too
    return kept * (trained + fit.optimizer) + trained


def disk_of(config: Mapping[str, Any] | None, settings: Settings) -> int:
    """Bytes of a run's folder as `disk_needed`; 0 of a base model that is not here or not known."""
    try:
        return disk_needed(estimate(config, settings), settings) if config else 0
    except WrongInput:
        return 0


def machine_memory() -> dict[str, Any]:
    """Bytes of this machine, and of its GPUs as nvidia-smi tells (torch is not asked).

    Gives {"total", "available", "gpus": [{"name", "total", "free"}]}; no GPU, or no nvidia-smi: no entry.
    """
    memory = psutil.virtual_memory()
    return {"total": memory.total, "available": memory.available, "gpus": _gpus()}


def _gpus() -> list[dict[str, Any]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
        rows = [line.rsplit(",", 2) for line in answer.splitlines() if line.strip()]
        return [
            {"name": name.strip(), "total": int(total) * 2**20, "free": int(free) * 2**20}
            for name, total, free in rows
        ]
    except (OSError, subprocess.SubprocessError, ValueError):  # a driver that does not answer is no GPU
        return []


def advice(
    fit: Fit, settings: Settings, available: int, config: Mapping[str, Any] | None = None
) -> list[str]:
    """Say which knobs to turn, in this order, when a run takes more than `available` bytes; []: it fits.

    Each line says what the knob saves by itself. With no `config` nothing can be estimated anew, and the
    lines name the knobs only.
    """
    if fit.total <= available:
        return []
    lines = []
    for what, changed in _knobs(fit, settings):
        if config is None:
            lines.append(what)
            continue
        after = estimate(config, changed, fit.device, min(fit.length, changed.cutoff))
        if after.total < fit.total:
            enough = "; then it fits" if after.total <= available else ""
            lines.append(f"{what}: saves {told(fit.total - after.total)}{enough}")
    lines.append(f"a smaller base model: this one's weights alone take {told(fit.weights)}")
    return lines


def _knobs(fit: Fit, settings: Settings) -> list[tuple[str, Settings]]:
    found = []
    if settings.micro_batch > 1:
        less = max(n for n in _divisors(settings.batch) if n < settings.micro_batch)
        found.append(
            (f"micro_batch {less} instead of {settings.micro_batch}", replace(settings, micro_batch=less))
        )
        if less > 1:
            found.append(
                (f"micro_batch 1 instead of {settings.micro_batch}", replace(settings, micro_batch=1))
            )
    if not settings.activation_checkpointing:
        found.append(
            ("activation_checkpointing (a third more time)", replace(settings, activation_checkpointing=True))
        )
    if settings.method == FULL:
        found.append(("method lora instead of full", replace(settings, method=LORA)))
    if fit.length >= 2 * MULTIPLE:
        half = fit.length // 2
        found.append((f"cutoff {half} instead of {fit.length}", replace(settings, cutoff=half)))
    if fit.device == CUDA and settings.method == LORA and settings.quantize == "none":
        found.append(("quantize 4bit (needs bitsandbytes)", replace(settings, quantize="4bit")))
    return found


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return [*small, *(number // n for n in small)]


def told(size: float) -> str:
    """Say bytes as a person reads them: 1.5 GB."""
    for unit in UNITS[:-1]:
        if abs(size) < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} {UNITS[-1]}"


def try_step(model: Any, examples: Sequence["Example"], pad: int, settings: Settings) -> dict[str, Any]:
    """Do one real pass, forward and backward, over the longest rows; nothing is learned.

    Gives `seconds`; `bytes`, the most that was in use (on CUDA by torch's tensors, on the CPU resident in
    this process); `rise`, how much more than before; `length`; and `estimate`, the bytes foreseen for it
    (None: the family is not known). Gradients are dropped and the random state is put back, so that training
    goes on bit by bit as without it. Raises what torch raises when memory runs out.
    """
    import torch

    from training.trainer import collate

    longest = sorted(examples, key=lambda one: len(one.ids), reverse=True)[: settings.micro_batch]
    device = next(model.parameters()).device
    batch = collate([{"ids": one.ids, "labels": one.labels} for one in longest], pad)
    was_training, began = model.training, time.perf_counter()
    model.train()
    ours = [device] if device.type == CUDA else []  # the other GPUs are other processes'
    with torch.random.fork_rng(devices=ours), _watched(device) as memory:
        on_device = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == CUDA):
            loss = model(**on_device).loss
        loss.backward()
        model.zero_grad(set_to_none=True)
        if device.type == CUDA:
            torch.cuda.synchronize(device)
    model.train(was_training)
    length = int(batch["input_ids"].shape[1])
    return {
        "seconds": round(time.perf_counter() - began, 3), **memory, "length": length,
        "estimate": _foreseen(model, batch, settings, device.type),
    }  # fmt: skip


def _foreseen(model: Any, batch: Mapping[str, Any], settings: Settings, device: str) -> int | None:
    rows, length = batch["input_ids"].shape
    is_padded = not bool(batch["attention_mask"].all())
    changed = replace(settings, batch=rows, micro_batch=rows)
    try:
        return estimate(model.config.to_dict(), changed, device, int(length), is_padded).first_pass
    except WrongInput:
        return None


@contextmanager
def _watched(device: Any) -> Iterator[dict[str, int]]:
    """Fill in `bytes` and `rise` of what runs inside; on the CPU by looking every 5 ms."""
    import torch

    found: dict[str, int] = {}
    if device.type == CUDA:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield found
        peak = torch.cuda.max_memory_allocated(device)
        found.update(bytes=peak, rise=peak - before)
        return
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def look() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=look, name="memory", daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
    found.update(bytes=peak, rise=peak - before)


def spare_memory(config: Mapping[str, Any], settings: Settings) -> bool:
    """Use memory sparingly from now on where a run takes more than a quarter of what is free; tells whether.

    It costs time: steps of small tensors were seen to take up to half as much processor time again.
    """
    try:
        foreseen = estimate(config, settings).total
    except WrongInput:
        return False
    return foreseen > psutil.virtual_memory().available / 4 and give_memory_back()


def give_memory_back() -> bool:
    """Make glibc return each freed block of a megabyte or more to the system at once. Tells whether it did.

    Left alone, glibc keeps blocks below 32 MB for later ones of other sizes: a run of small tensors was
    measured at three times its live activations. Elsewhere than on glibc nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 2**20) and mallopt(M_TRIM_THRESHOLD, 2**20))
