"""The practice base: a small Llama trained in minutes on the code that lies on this machine.

It is there so that the whole path is real without any download: too small to solve tasks, good for seeing
that training learns. Byte-level BPE, infilling tokens, an end token and a chat template; its measure is
held-out loss in bits a byte, before and after. Seeded: the same files on the same machine give the same
weights.
"""

import json
import math
import random
import shutil
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from curation.atomic import place_folder
from curation.errors import StageCancelled, WrongInput
from curation.file_lock import tried
from curation.installed_code import package_files
from curation.licences import ALLOWED_LICENCES
from curation.reading import sha256_of
from curation.stage import silent
from curation.workspace import Workspace
from training.base_model import hush, practice_folder
from training.format import PRACTICE_FIM, infilling_ids, text_ids
from training.lora import WATCH_SECONDS, Show

FACTS = "practice.json"  # beside the weights: how they came about
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
LEFT_OUT = frozenset({"test", "tests", "idle_test", "lib2to3", "site-packages", "__pycache__"})
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}### Instruction:\n"
    "{{ message['content'] }}\n\n{% elif message['role'] == 'assistant' %}### Response:\n"
    "{{ message['content'] }}" + EOS + "\n\n{% else %}{{ message['content'] }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)


@dataclass(frozen=True)
class Settings:
    """Numbers of ours, tried on two cores until it took about two minutes."""

    bytes: int = 6_000_000  # of code
    held_out: float = 0.02  # of the files, never trained on
    vocabulary: int = 3_072
    hidden: int = 128
    inner: int = 352
    layers: int = 4
    heads: int = 4
    positions: int = 1_024
    length: int = 256  # tokens of a training row
    batch: int = 16
    steps: int = 250
    learning_rate: float = 5e-3
    fim_rate: float = 0.5  # "Efficient Training of Language Models to Fill in the Middle", its default
    random_seed: int = 976

    def __post_init__(self) -> None:
        """Raises WrongInput when a number is out of range."""
        for name, least in (
            ("steps", 1),
            ("bytes", 20_000),
            ("vocabulary", 300),
            ("batch", 1),
            ("length", 16),
        ):
            if getattr(self, name) < least:
                raise WrongInput(f"{name} {getattr(self, name)} must be at least {least}")


def practice_base(
    workspace: Workspace, settings: Settings | None = None, show: Show = silent, again: bool = False
) -> dict[str, Any]:
    """Make the base named `practice`, unless it is there. Gives its facts.

    Raises StageCancelled after Ctrl-C; nothing half made is left under its name.
    """
    settings = settings or Settings()
    folder = practice_folder(workspace)
    if (folder / FACTS).is_file() and not again:
        return {**json.loads((folder / FACTS).read_bytes()), "unchanged": True}
    try:
        with _alone(folder, show):
            if (folder / FACTS).is_file() and not again:  # another process made it while we waited
                return {**json.loads((folder / FACTS).read_bytes()), "unchanged": True}
            return _made(folder, settings, show)
    except KeyboardInterrupt:
        raise StageCancelled("Stopped; the practice base is made anew at the next start") from None


@contextmanager
def _alone(folder: Path, show: Show) -> Iterator[None]:
    """Keep other processes from making it at the same time; the system ends that however we end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with tried(folder.with_name(f"{folder.name}.lock")) as ours:
            if ours:
                yield
                return
        show("waiting: another process makes it", 0, 0)
        time.sleep(WATCH_SECONDS)


def _made(folder: Path, settings: Settings, show: Show) -> dict[str, Any]:
    """Make it beside, and give it its name when it is whole and on disk."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        facts = _make(partial, settings, show)
    except KeyboardInterrupt:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    place_folder(partial, folder)
    return facts


def _make(folder: Path, settings: Settings, show: Show) -> dict[str, Any]:
    began = time.monotonic()
    hush()
    show("reading code", 0, settings.bytes)
    texts, licences = _texts(settings.bytes, show)
    kept = max(1, round(len(texts) * settings.held_out))
    held_out, train = texts[:kept], texts[kept:]
    show("training the tokenizer", 0, 0)
    tokenizer = _tokenizer(train, settings)
    model = _model(tokenizer, settings)
    before = bits_per_byte(model, tokenizer, held_out, settings.length)
    _train(model, tokenizer, train, settings, show)
    after = bits_per_byte(model, tokenizer, held_out, settings.length)
    show("writing it", 0, 0)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    facts = {
        "base": "practice",
        "files": len(texts),
        "licences": dict(licences.most_common()),
        "bytes": sum(len(text.encode()) for text in texts),
        "parameters": sum(one.numel() for one in model.parameters()),
        "settings": asdict(settings),
        "bits_per_byte_before": round(before, 4),
        "bits_per_byte": round(after, 4),
        "sha256": sha256_of(folder / "model.safetensors"),
        "seconds": round(time.monotonic() - began, 1),
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def _texts(size: int, show: Show) -> tuple[list[str], Counter[str]]:
    """Give code of the standard library and of installed packages, mixed by a hash of the files' names."""
    texts: list[str] = []
    licences: Counter[str] = Counter()
    read = 0
    for _, path, licence in sorted(_files(), key=lambda one: sha256(one[0].encode()).digest()):
        if read >= size:
            break
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if 200 < len(text) < 200_000:  # empty files say nothing, tables of data are no code
            texts.append(text)
            licences[licence] += 1
            read += len(text.encode())
            show("reading code", min(read, size), size)
    if len(texts) < 2:
        raise WrongInput("No code was found on this machine: neither a standard library nor packages")
    return texts, licences


def _files() -> Iterator[tuple[str, Path, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    for file in root.rglob("*.py"):
        relative = file.relative_to(root)
        if not LEFT_OUT & set(relative.parts):
            yield f"stdlib/{relative.as_posix()}", file, "PSF-2.0"
    for one in package_files(Counter()):
        if one.licence in ALLOWED_LICENCES:
            yield one.relative, one.path, one.licence


def _tokenizer(texts: Sequence[str], settings: Settings) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary, special_tokens=[BOS, EOS, PAD, *PRACTICE_FIM], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=BOS, eos_token=EOS, pad_token=PAD,
        additional_special_tokens=list(PRACTICE_FIM), model_max_length=settings.positions,
    )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _model(tokenizer: Any, settings: Settings) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    set_seed(settings.random_seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=settings.hidden, intermediate_size=settings.inner,
            num_hidden_layers=settings.layers, num_attention_heads=settings.heads,
            num_key_value_heads=settings.heads, max_position_embeddings=settings.positions,
            tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def _train(model: Any, tokenizer: Any, texts: Sequence[str], settings: Settings, show: Show) -> None:
    """Plain next-token training: one-cycle AdamW over rows cut from a shuffled stream of files."""
    import torch

    rows = _packed(tokenizer, texts, settings)
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.1
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.1
    )
    model.train()
    for step in range(settings.steps):
        show("training", step, settings.steps)
        first = step * settings.batch % max(1, len(rows) - settings.batch)
        batch = rows[first : first + settings.batch]
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def _packed(tokenizer: Any, texts: Sequence[str], settings: Settings) -> Any:
    """Give rows of `length` tokens, shape (rows, length): a pretraining stream, files parted by EOS."""
    import torch

    chance = random.Random(settings.random_seed)
    stream: list[int] = []
    for text in chance.sample(list(texts), len(texts)):
        if chance.random() < settings.fim_rate and len(text) > 2:
            low, high = sorted(chance.sample(range(len(text) + 1), 2))
            mode = "psm" if chance.random() < 0.5 else "spm"
            parts = (text[:low], text[low:high], text[high:])
            stream += [tokenizer.bos_token_id, *infilling_ids(tokenizer, *parts, mode)]
        else:
            stream += [tokenizer.bos_token_id, *text_ids(tokenizer, text), tokenizer.eos_token_id]
    whole = len(stream) // settings.length * settings.length
    rows = torch.tensor(stream[:whole]).view(-1, settings.length)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(settings.random_seed))
    return rows[order]


def bits_per_byte(model: Any, tokenizer: Any, texts: Sequence[str], length: int) -> float:
    """Give the loss of texts in bits a byte of UTF-8, read in windows of `length` tokens."""
    import torch

    nats, size = 0.0, 0
    model.eval()
    with torch.no_grad():
        for text in texts:
            ids = [tokenizer.bos_token_id, *text_ids(tokenizer, text)]
            size += len(text.encode())
            for start in range(0, len(ids) - 1, length):
                window = torch.tensor([ids[start : start + length + 1]])
                if window.shape[1] > 1:
                    nats += float(model(input_ids=window, labels=window).loss) * (window.shape[1] - 1)
    return nats / math.log(2) / max(1, size)
