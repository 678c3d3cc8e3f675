"""Recipes: how the papers trained, number by number, each with its source.

A number that no paper gives says "ours" and why. Standard library only: pages read this without torch.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from curation.errors import WrongInput

LORA, FULL = "lora", "full"
MLP = ("gate_proj", "up_proj", "down_proj")
PLATYPUS_STEPS = 1_558  # [computed] 24,926 rows / 16: the run that warmed up for 100 steps
PLATYPUS_WARM_UP = 0.064  # 100 / 1,558

OURS_LORA_RATE = (
    "ours: published as a full fine-tune; the rate lies where Platypus's LoRA rates do (3e-4 to 4e-4)"
)
PLATYPUS = "Platypus fine-tuning.sh, README"


@dataclass(frozen=True)
class Settings:
    """What a run trains with. Every field can be changed; `Recipe.sources` says where its value is from."""

    method: str = LORA  # or "full"
    template: str = "alpaca"  # see training/format.py
    learning_rate: float = 3e-4
    scheduler: str = "cosine"  # or "linear", "cosine_with_min_lr" (to 1/30 of the peak), "constant"
    warm_up_steps: int = 100
    warm_up_share: float = 0.0  # of the steps, where it asks for fewer than `warm_up_steps`; 0: not used
    batch: int = 16  # rows a step, over all devices
    micro_batch: int = 1  # rows at once on a device; the rest of the batch is accumulated
    epochs: float = 1.0
    max_steps: int = 0  # 0: as many as the epochs need
    cutoff: int = 4_096  # tokens of a row; what is longer is cut there
    weight_decay: float = 0.0
    optimizer: str = "adamw_torch"  # or "adafactor"
    beta_2: float = 0.999
    max_grad_norm: float = 1.0  # 0: gradients are not clipped
    rank: int = 16
    alpha: int = 16
    dropout: float = 0.05
    targets: tuple[str, ...] = MLP
    # Code Llama's long-context stage (section 2.4): 1,000,000, positions and cutoff 16,384, rate 2e-5.
    rope_theta: float = 0.0  # 0: the base model's own
    positions: int = 0  # the longest sequence the model is told of; 0: the base model's own
    quantize: str = "none"  # or "4bit" (QLoRA: NF4, double quantisation), with CUDA and bitsandbytes
    activation_checkpointing: bool = False  # less memory for a third more time
    eval_every: int = 50  # steps
    eval_rows: int = 200  # rows of the validation split that are looked at; 0: all of it
    save_every: int = 50  # steps
    early_stop: int = 0  # evaluations without a better loss after which to stop; 0: never
    random_seed: int = 976

    def __post_init__(self) -> None:
        """Raises WrongInput when a value is out of range."""
        for name in ("batch", "micro_batch", "cutoff", "rank", "alpha", "eval_every", "save_every"):
            if getattr(self, name) < 1:
                raise WrongInput(f"{name} {getattr(self, name)} must be at least 1")
        for name, value in asdict(self).items():
            if isinstance(value, (int, float)) and value > MOST.get(name, MOST_NUMBER):
                raise WrongInput(f"{name} {_short(value)} is more than {MOST.get(name, MOST_NUMBER):,.0f}")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:  # NaN is neither
                raise WrongInput(f"{name} {getattr(self, name)} must be 0 or more")
        if not self.targets:
            raise WrongInput("targets is empty; name at least one module, e.g. down_proj")
        if self.cutoff < 8:
            raise WrongInput(f"cutoff {self.cutoff} must be at least 8 tokens")
        if self.batch % self.micro_batch:
            raise WrongInput(f"batch {self.batch} must be a multiple of micro_batch {self.micro_batch}")
        if not 0.0 < self.learning_rate < 1.0:
            raise WrongInput(f"learning_rate {self.learning_rate} must be between 0 and 1")
        if not 0.0 <= self.dropout < 1.0:
            raise WrongInput(f"dropout {self.dropout} must be at least 0 and less than 1")
        if not 0.0 <= self.epochs < math.inf or (self.epochs == 0 and self.max_steps < 1):
            raise WrongInput(f"epochs {self.epochs} must be more than 0")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise WrongInput(f"{name} {getattr(self, name)!r} must be one of {', '.join(known)}")

    def steps_of(self, rows: int) -> int:
        """Say how many optimizer steps so many rows take: the last, smaller batch of an epoch counts."""
        if self.max_steps:
            return self.max_steps
        a_pass = -(-rows // self.batch)
        return max(1, int(-(-a_pass * self.epochs // 1)))

    def warm_up_of(self, steps: int) -> int:
        """Say how many of these steps warm up."""
        if not self.warm_up_share:
            return min(self.warm_up_steps, steps)
        return min(self.warm_up_steps, max(1, round(self.warm_up_share * steps)))


def _short(value: Any) -> str:
    """Write a value that may be as long as a stranger likes."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


MOST_NUMBER = 1_000_000_000  # of steps, rows, tokens: what a number box of a browser can hold, and enough
MOST = {"random_seed": 2**32 - 1, "rope_theta": 1e12}  # numpy takes no larger seed
NOT_NEGATIVE = (
    "max_steps", "warm_up_steps", "warm_up_share", "weight_decay", "max_grad_norm", "rope_theta", "positions",
    "eval_rows", "early_stop", "random_seed",
)  # fmt: skip
CHOICES: dict[str, tuple[str, ...]] = {
    "method": (LORA, FULL),
    "template": ("alpaca", "magicoder", "wizardcoder"),
    "scheduler": ("cosine", "linear", "cosine_with_min_lr", "constant"),
    "optimizer": ("adamw_torch", "adafactor"),
    "quantize": ("none", "4bit"),
}


@dataclass(frozen=True)
class Recipe:
    """A named way to train: its settings, what it is for, and where each number is from."""

    name: str
    about: str
    settings: Settings
    sources: Mapping[str, str]  # field of Settings -> source; what is missing is ours, as `Settings` has it
    published_as: str  # the method of the paper
    base: str  # the base model that the paper trained
    lora_rate: float = 0.0  # the learning rate when a recipe published as full trains a LoRA; 0: the same

    def with_method(self, method: str | None) -> Settings:
        """Give the settings for a method; None: the recipe's own."""
        if method is None or method == self.settings.method:
            return self.settings
        if method == LORA and self.lora_rate:
            return replace(self.settings, method=method, learning_rate=self.lora_rate)
        return replace(self.settings, method=method)

    def source_of(self, field: str, settings: Settings) -> str:
        """Say where a value is from: the paper, or "ours", or the person who changed it."""
        value = getattr(settings, field)
        if field == "method" and value != self.published_as:
            return f"{self.name} was published as {self.published_as}"
        if (
            field == "learning_rate"
            and settings.method == LORA
            and self.lora_rate
            and value == self.lora_rate
        ):
            return OURS_LORA_RATE
        if value != getattr(self.with_method(settings.method), field):
            return "changed here"
        return self.sources.get(field, "ours")


def _platypus(size: str, rate: float, rate_source: str) -> Recipe:
    table = (
        "rank", "alpha", "dropout", "targets", "batch", "micro_batch", "epochs", "warm_up_steps", "scheduler",
        "weight_decay", "optimizer", "cutoff", "template", "method",
    )  # fmt: skip
    return Recipe(
        name=f"platypus-{size.lower()}",
        about=f"Platypus, LLaMA-2 {size}: a LoRA of rank 16 on the MLP, one pass, loss on responses only",
        settings=Settings(learning_rate=rate, warm_up_share=PLATYPUS_WARM_UP),
        sources={
            **dict.fromkeys(table, PLATYPUS),
            "learning_rate": rate_source,
            "warm_up_share": f"computed: 100 of {PLATYPUS_STEPS:,} steps; for runs of fewer steps",
            "max_grad_norm": "transformers' default, which Platypus's script did not change",
        },
        published_as=LORA,
        base=f"meta-llama/Llama-2-{size.lower()}-hf",
    )


_MAGICODER = "Magicoder README and section 3"
_WIZARD = "WizardCoder section 4.1, README"
_FIM = "Code Llama section 2"
_RECIPES = (
    Recipe(
        name="practice",
        about="For the practice base: Platypus's LoRA with a higher rate and short rows, done in minutes",
        settings=Settings(
            learning_rate=2e-3,
            warm_up_steps=10,
            micro_batch=8,
            cutoff=384,
            max_steps=120,
            eval_every=30,
            save_every=30,
            eval_rows=64,
        ),
        sources={
            **dict.fromkeys(
                ("rank", "alpha", "dropout", "targets", "batch", "scheduler", "template"), PLATYPUS
            ),
            "learning_rate": "ours: tried on the practice base; a small model takes a higher rate",
            "max_steps": "ours: so that it ends in minutes on two cores",
            "cutoff": "ours: so that it ends in minutes on two cores",
        },
        published_as=LORA,
        base="practice",
    ),
    _platypus("7B", 4e-4, "not published for 7B: carried over from 13B by us"),
    _platypus("13B", 4e-4, PLATYPUS),
    _platypus("70B", 3e-4, PLATYPUS),
    Recipe(
        name="magicoder",
        about="Magicoder on OSS-Instruct: published as a full fine-tune, two passes, batches of 512. "
        "Magicoder-S goes on from the finished run on Evol rows (cutoff 1,024 there)",
        settings=Settings(
            method=FULL,
            template="magicoder",
            learning_rate=5e-5,
            scheduler="linear",
            warm_up_steps=15,
            batch=512,
            micro_batch=2,
            epochs=2,
            cutoff=1_216,
            optimizer="adafactor",
            max_grad_norm=0.0,
        ),
        sources=dict.fromkeys(
            (
                "method",
                "template",
                "learning_rate",
                "scheduler",
                "warm_up_steps",
                "batch",
                "micro_batch",
                "epochs",
                "cutoff",
                "optimizer",
                "max_grad_norm",
            ),
            _MAGICODER,
        ),
        published_as=FULL,
        base="codellama/CodeLlama-7b-Python-hf",
        lora_rate=3e-4,
    ),
    Recipe(
        name="wizardcoder",
        about="WizardCoder on Evol rows: published as a full fine-tune of 200 steps, batches of 512",
        settings=Settings(
            method=FULL,
            template="wizardcoder",
            learning_rate=2e-5,
            warm_up_steps=30,
            batch=512,
            micro_batch=16,
            max_steps=200,
            cutoff=2_048,
        ),
        sources={
            **dict.fromkeys(
                (
                    "method",
                    "template",
                    "learning_rate",
                    "scheduler",
                    "warm_up_steps",
                    "batch",
                    "cutoff",
                    "optimizer",
                ),
                _WIZARD,
            ),
            "micro_batch": "WizardCoder README: 16 x 4 accumulation x 8 GPUs",
            "max_steps": "the paper's 200; the README's three passes over 78K rows would be about 457",
        },
        published_as=FULL,
        base="bigcode/starcoder",
        lora_rate=3e-4,
    ),
    Recipe(
        name="code-llama-fim",
        about="Infilling rows as Code Llama trains them: loss on every part of an infilling row, on the "
        "response only of any other row",
        settings=Settings(
            learning_rate=3e-4,
            scheduler="cosine_with_min_lr",
            warm_up_share=PLATYPUS_WARM_UP,
            beta_2=0.95,
            weight_decay=0.0,
            cutoff=4_096,
        ),
        sources={
            "scheduler": f"{_FIM}.1: cosine to 1/30 of the peak",
            "beta_2": f"{_FIM}.1: AdamW 0.9, 0.95",
            "cutoff": f"{_FIM}.1: sequences of 4,096",
            "learning_rate": f"{_FIM}.1: 3e-4 for 7B and 13B from LLaMA-2; as a LoRA rate it is ours",
            "method": "ours: Code Llama trained all weights on 500B tokens",
            "rank": "ours: as Platypus",
            "warm_up_share": "ours: Code Llama's 1,000 steps belong to 500B tokens",
        },
        published_as=FULL,
        base="codellama/CodeLlama-7b-hf",
    ),
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}


def find(name: str) -> Recipe:
    """Raises WrongInput for a name that is not one of RECIPES."""
    if name not in RECIPES:
        raise WrongInput(f"There is no recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def settings_of(recipe: str, method: str | None = None, changes: Mapping[str, Any] | None = None) -> Settings:
    """Give a recipe's settings for a method, with a person's changes.

    Raises WrongInput for a recipe, a setting or a value that does not exist.
    """
    if method is not None and method not in CHOICES["method"]:
        raise WrongInput(f"There is no method {method!r}; choose lora or full")
    settings = find(recipe).with_method(method)
    clean = {name: value_of(name, value) for name, value in (changes or {}).items()}
    return replace(settings, **clean)


def value_of(name: str, given: Any) -> Any:
    """Read one setting as a person wrote it: "2e-4", "true", "q_proj,v_proj".

    Raises WrongInput for a setting that does not exist, or a value of another kind.
    """
    kinds = {field.name: type(field.default) for field in fields(Settings)}
    if name not in kinds:
        raise WrongInput(f"There is no setting {name!r}; there are {', '.join(kinds)}")
    return _as(name, kinds[name], given)


def _as(name: str, kind: type, value: Any) -> Any:
    try:
        if kind is bool:
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
        if kind is tuple:
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(part.strip() for part in parts if part.strip())
        if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
            raise ValueError(value)  # int(True) is 1, int(2.5) is 2: neither is what was meant
        return kind(value)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        wrong = {
            int: "is no whole number", float: "is no number", bool: "is neither true nor false",
            tuple: "is no list of names",
        }  # fmt: skip
        raise WrongInput(f"{name} {_short(repr(value))} {wrong.get(kind, 'is no text')}") from None


def changed(recipe: str, settings: Settings) -> dict[str, Any]:
    """Give the settings that differ from the recipe's."""
    own = asdict(find(recipe).with_method(settings.method))
    return {name: value for name, value in asdict(settings).items() if value != own[name]}
