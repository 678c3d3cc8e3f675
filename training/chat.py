"""Ask the base model and what a run made of it the same thing, and hear both answers as they come.

A question is put as in training: the run's template, the same first token, text of strangers tokenised as
text. Each stands alone, because the recipes train single turns. torch is loaded by `Chat.load`, and by
nothing before it: pages read the bounds here.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

from curation.errors import WrongInput
from curation.stage import silent
from curation.workspace import Workspace
from training import base_model, fit
from training import run as runs
from training.base_model import BaseModel
from training.format import prompt_ids
from training.recipes import FULL, LORA
from training.run import LoraRun

BASE, TUNED = "base", "tuned"
SIDES = (BASE, TUNED)  # in the order in which they answer
END, LENGTH, STOPPED = "end token", "length", "stopped"  # why an answer ended
UNFINISHED = "\ufffd"  # what a decoder makes of a character whose bytes are not all there
LONGEST_QUESTION = 100_000  # characters: beyond any model's positions, and quick to tokenise

# Bounds of ours: above a temperature of 2 answers are noise, and 4,096 tokens are more than most rows have.
BOUNDS: dict[str, tuple[float, float]] = {
    "max_new_tokens": (1, 4_096),
    "temperature": (0.0, 2.0),
    "top_p": (0.01, 1.0),
    "random_seed": (0, 2**31 - 1),
}
COOLEST = 0.01  # a temperature below it is greedy: probabilities would overflow, and say the same
SMALL = 50_000_000  # parameters: as fast on one thread, and several times as fast where cores are busy


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. A temperature of 0 is greedy: always the likeliest, whatever the seed."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0  # only among the likeliest tokens that together have this probability
    random_seed: int = 976  # of both answers alike

    def __post_init__(self) -> None:
        """Raises WrongInput when a number is out of its bounds, or none."""
        for name, (least, most) in BOUNDS.items():
            value, kind = getattr(self, name), type(getattr(Sampling, name))
            is_number = isinstance(value, (int, float) if kind is float else int)
            if isinstance(value, bool) or not is_number or not least <= value <= most:
                raise WrongInput(
                    f"{name} {value!r:.40} must be a number between {said(least)} and {said(most)}"
                )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Sampling":
        return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})


@dataclass(frozen=True)
class Piece:
    """A few characters of an answer, whole ones; all pieces of a side joined are its answer."""

    side: str
    text: str


@dataclass(frozen=True)
class Answer:
    """A whole answer. The end token is neither in `text` nor counted."""

    side: str  # base | tuned
    text: str
    ids: tuple[int, ...]  # its tokens
    reading: float  # seconds until the first token: the prompt is read
    seconds: float  # in all
    ended: str  # end token | length | stopped

    @property
    def tokens(self) -> int:
        return len(self.ids)

    def told(self) -> dict[str, Any]:
        """Say it for a report: text, tokens, their rate, and why it ended."""
        return {"text": self.text, "tokens": self.tokens, "tokens_per_second": self.rate,
                "seconds": round(self.seconds, 3), "ended": self.ended}  # fmt: skip

    @property
    def rate(self) -> float | None:
        """Tokens a second after the first one; None: there are none."""
        more, seconds = self.tokens - 1, self.seconds - self.reading
        return round(more / seconds, 1) if more > 0 and seconds > 0 else None


class Chat:
    """A run's base and its result in memory, to be asked as often as one likes. Not for two threads."""

    def __init__(self, run: LoraRun, tokenizer: Any, models: Mapping[str, Any]) -> None:
        """`models`: one a side; one and the same with an adapter, which is switched off for the base."""
        self.run = run
        self.tokenizer = tokenizer
        self.models = models
        self.template = run.settings.template
        self.positions = int(getattr(models[TUNED].config, "max_position_embeddings", 0) or 0)
        _spare_threads(models[TUNED])

    @classmethod
    def load(cls, workspace: Workspace, name: str, show: Callable[[str, int, int], None] = silent) -> "Chat":
        """Load a run's base and adapter once; of a full fine-tune two models.

        Raises WrongInput when the run has no weights, its base is another one by now, or memory is too small;
        SourceUnavailable when the base cannot be read.
        """
        run = runs.find(workspace, name)
        weights = run.weights
        if weights is None:
            raise WrongInput(f"The run {name} is {run.state}; it has no weights to answer with")
        show("loading the base model", 0, 0)
        base = base_model.of_run(workspace, run)
        refuse_without_memory(run, base)
        tokenizer = base_model.load_tokenizer(base)
        model = _placed(_loaded(run, base))
        if run.settings.method == FULL:
            show("loading the tuned model", 0, 0)
            tuned = _placed(_loaded(run, BaseModel(name, "run", str(weights))))
            return cls(run, tokenizer, {BASE: model, TUNED: tuned})
        show("loading the adapter", 0, 0)
        both = _placed(base_model.with_trained_adapter(model, weights))
        return cls(run, tokenizer, {BASE: both, TUNED: both})

    def prompt(self, instruction: str, input: str = "") -> list[int]:
        """Give the tokens of a question. Raises WrongInput for one that is empty or too long."""
        check_question(instruction, input)
        ids = prompt_ids({"instruction": instruction, "input": input}, self.tokenizer, self.template)
        if self.positions and len(ids) >= self.positions:
            raise WrongInput(
                f"The question takes {len(ids):,} tokens with its template, and the model knows "
                f"{self.positions:,} positions; shorten it so that an answer has room"
            )
        return ids

    def answers(
        self, instruction: str, input: str, sampling: Sampling, is_stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Piece | Answer]:
        """Answer with the base, then with the result: pieces as they come, then the whole answer, of each.

        An answer ends at the tokenizer's end token, which the run learned to end with, after
        `max_new_tokens` (fewer where the model's positions end), or when `is_stopped` says so: then the
        other side is not begun either. Raises WrongInput for a question that `prompt` refuses.
        """
        ids = self.prompt(instruction, input)
        most = sampling.max_new_tokens
        if self.positions:
            most = min(most, self.positions - len(ids))
        for side in SIDES:
            with self._as(side):
                yield from self._answer(side, ids, replace(sampling, max_new_tokens=most), is_stopped)

    def _as(self, side: str) -> AbstractContextManager[Any]:
        """Switch the adapter off for the base; two models of a full fine-tune need no switch."""
        if side == BASE and self.models[BASE] is self.models[TUNED]:
            off: AbstractContextManager[Any] = self.models[BASE].disable_adapter()
            return off
        return nullcontext()

    def _answer(
        self, side: str, prompt: list[int], sampling: Sampling, is_stopped: Callable[[], bool]
    ) -> Iterator[Piece | Answer]:
        began, pieces, text, ended = time.perf_counter(), Pieces(self.tokenizer), "", LENGTH
        reading = 0.0
        tokens = _tokens(self.models[side], prompt, sampling)
        while len(pieces.ids) < sampling.max_new_tokens:
            if is_stopped():
                ended = STOPPED
                break
            token = next(tokens)
            reading = reading or time.perf_counter() - began
            if token == self.tokenizer.eos_token_id:
                ended = END
                break
            if piece := pieces.add(token):
                text += piece
                yield Piece(side, piece)
        if rest := pieces.rest():
            text += rest
            yield Piece(side, rest)
        yield Answer(side, text, tuple(pieces.ids), reading, time.perf_counter() - began, ended)

    def about(self) -> dict[str, Any]:
        """Say with what it answers."""
        return {"run": self.run.name, "base_model": self.run.frozen["base_model"]["name"],
                "template": self.template, "positions": self.positions}  # fmt: skip


class Pieces:
    """Makes text of tokens one by one; a character is given when all its bytes are there.

    A token is decoded together with those of the piece before it, because some tokenizers leave out a space
    at the start of a text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.ids: list[int] = []
        self._tokenizer = tokenizer
        self._before = 0  # where the piece before begins
        self._given = 0  # tokens whose text was given

    def add(self, token: int) -> str:
        """Take a token and give the characters it completes, "" when there is none."""
        self.ids.append(token)
        text = self._text()
        return "" if text.endswith(UNFINISHED) else self._give(text)

    def rest(self) -> str:
        """Give what was held back, once no token comes any more: bytes that are no whole character."""
        return self._give(self._text())

    def _give(self, text: str) -> str:
        self._before, self._given = self._given, len(self.ids)
        return text

    def _text(self) -> str:
        before = self._decoded(self.ids[self._before : self._given])
        return self._decoded(self.ids[self._before :])[len(before) :]

    def _decoded(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def check_question(instruction: str, input: str) -> None:
    """Raises WrongInput for what no model need be loaded to refuse."""
    if not instruction.strip():
        raise WrongInput("There is no question; write an instruction")
    try:
        (instruction + input).encode()
    except UnicodeEncodeError:  # a terminal in another encoding gives halves of characters
        raise WrongInput("The question is not UTF-8 text; write it otherwise") from None
    length = len(instruction) + len(input)
    if length > LONGEST_QUESTION:
        raise WrongInput(f"The question has {length:,} characters; at most {LONGEST_QUESTION:,} are read")


def refuse_without_memory(run: LoraRun, base: BaseModel) -> None:
    """Raises WrongInput when the weights do not fit in what is free; a model of unknown shape is tried."""
    config, settings = base.config(), run.settings
    if config is None:
        return
    machine = fit.machine_memory()
    gpus = machine["gpus"]
    free, device = (gpus[0]["free"], fit.CUDA) if gpus else (machine["available"], fit.CPU)
    try:
        needed = fit.answering(config, settings, device, Sampling().max_new_tokens)
    except WrongInput:
        return
    if needed > free:
        two = " (base and result of a full fine-tune)" if settings.method == FULL else ""
        raise WrongInput(
            f"Answering with {run.name} takes about {fit.told(needed)}{two}, and {fit.told(free)} are free; "
            "close other programs or wait until a training is over"
        )


def _loaded(run: LoraRun, base: BaseModel) -> Any:
    """Load a model as training did: bfloat16 under an adapter on a GPU, else float32."""
    import torch

    cuda, settings = torch.cuda.is_available(), run.settings
    if not cuda:
        settings = replace(settings, quantize="none")  # 4-bit weights need a GPU; here they are whole
    dtype = "bfloat16" if cuda and settings.method == LORA else "float32"
    return base_model.load_model(base, settings, dtype)


def _placed(model: Any) -> Any:
    """Put a model where it computes, with dropout off."""
    import torch

    if torch.cuda.is_available() and not getattr(model, "is_quantized", False):
        model = model.to("cuda")
    return model.eval()


def _spare_threads(model: Any) -> None:
    """Compute on one thread where more would only wait for each other."""
    import torch

    if sum(one.numel() for one in model.parameters()) < SMALL:
        torch.set_num_threads(1)


def _tokens(model: Any, prompt: list[int], sampling: Sampling) -> Iterator[int]:
    """Give token after token, without an end. No token is computed before it is asked for.

    Nothing but `sampling` decides: what a model's generation_config would add (a repetition penalty, say)
    would compare two settings rather than two models.
    """
    import torch

    device = next(model.parameters()).device
    chance = torch.Generator(device).manual_seed(sampling.random_seed)
    ids, past = torch.tensor([prompt], device=device), None
    while True:
        with torch.no_grad():
            out = model(input_ids=ids, past_key_values=past, use_cache=True, logits_to_keep=1)
        past = out.past_key_values
        token = _chosen(out.logits[0, -1].float(), sampling, chance)
        ids = torch.tensor([[token]], device=device)
        yield token


def _chosen(logits: Any, sampling: Sampling, chance: Any) -> int:
    """Choose one token. `logits` has the shape (vocabulary,)."""
    import torch

    if sampling.temperature < COOLEST:
        return int(logits.argmax())
    likely, order = torch.softmax(logits / sampling.temperature, dim=-1).sort(descending=True, stable=True)
    # Kept are the likeliest tokens up to the one that reaches top_p; the first always.
    likely[likely.cumsum(dim=-1) - likely >= sampling.top_p] = 0.0
    return int(order[torch.multinomial(likely, 1, generator=chance)])


def is_practice(workspace: Workspace, run: LoraRun) -> bool:
    """Tell whether a run's weights began as the practice base, through earlier runs, too."""
    base = run.frozen["base_model"]
    return bool(base["kind"] == "practice" or base["location"] == str(base_model.practice_folder(workspace)))


def said(value: float) -> str:
    """Write a bound or a setting: whole numbers with commas."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
