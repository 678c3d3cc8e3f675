"""The model a run begins with: the practice base, a folder, an earlier run, or a name on the hub.

`look_up` needs no torch; `load` does. Weights are read from safetensors only, and code that comes with a
model never runs (faults.md S32, S33).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from curation.errors import SourceUnavailable, WrongInput
from curation.reading import sha256_of
from curation.workspace import Workspace
from training import run as runs
from training.recipes import FULL, Settings

PRACTICE = "practice"
LONGEST_NAME = 1_000  # characters of what a person gives as base model
HASHED_BYTES = 2_000_000_000  # weights beyond are named by size only: hashing them takes minutes


@dataclass(frozen=True)
class BaseModel:
    """Where a base model is, and what tells it from any other."""

    name: str  # as the person gave it
    kind: str  # practice | folder | run | hub
    location: str  # a folder, or a name on the hub
    adapters: tuple[str, ...] = ()  # folders of adapters to merge into it, in this order
    identity: str = ""  # sha256 over config and weights; of a hub name: none until it is loaded
    rope_theta: float = 0.0  # of an earlier run, whose adapter was trained with it; 0: the model's own
    positions: int = 0

    def facts(self) -> dict[str, Any]:
        """Say of it what a run's settings keep."""
        return {
            "name": self.name, "kind": self.kind, "location": self.location,
            "adapters": list(self.adapters), "identity": self.identity,
            "rope_theta": self.rope_theta, "positions": self.positions,
        }  # fmt: skip

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "BaseModel":
        return cls(**{**facts, "adapters": tuple(facts["adapters"])})

    @property
    def folder(self) -> Path | None:
        """Where its files are on this machine; None for a name on the hub that was not fetched yet."""
        if self.kind != "hub":
            return Path(self.location)
        import huggingface_hub

        try:
            found = huggingface_hub.try_to_load_from_cache(self.location, "config.json")
        except huggingface_hub.errors.HFValidationError:  # it cannot be a name: said when it is fetched
            return None
        return Path(found).parent if isinstance(found, str) else None

    def config(self) -> dict[str, Any] | None:
        """Give config.json; None for a name on the hub that was not fetched."""
        folder = self.folder
        file = folder / "config.json" if folder else None
        if file is None or not file.is_file():
            return None
        try:
            read = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise WrongInput(f"{file} cannot be read ({error}); is the base model whole?") from error
        if not isinstance(read, dict):
            raise WrongInput(f"{file} holds no settings of a model; is the base model whole?")
        return read


def practice_folder(workspace: Workspace) -> Path:
    return workspace.folder / "models" / PRACTICE


def look_up(workspace: Workspace, given: str) -> BaseModel:
    """Find a base model by what a person typed: `practice`, a folder, the name of a run, a name on the hub.

    Raises WrongInput when it cannot be any of them.
    """
    if len(given) > LONGEST_NAME or "\0" in given:
        raise WrongInput(f"{given[:60]!r}… is neither a folder nor a name of a model")
    if given == PRACTICE:
        folder = practice_folder(workspace)
        if not (folder / "config.json").is_file():
            raise WrongInput(
                "The practice base is not made yet; make it with `python -m training practice-base` "
                "(about two minutes on two cores)"
            )
        return _in_folder(PRACTICE, "practice", folder)
    if (workspace.folder / "runs" / given / runs.SETTINGS).is_file():
        return _of_run(workspace, given)
    folder = Path(given).expanduser()
    if folder.is_dir():
        return _in_folder(given, "folder", folder.resolve())
    if given.count("/") == 1 and not given.startswith((".", "/", "~")):
        return BaseModel(given, "hub", given)
    raise WrongInput(
        f"There is no base model {given!r}: neither a folder nor a run, and a name on the hub is OWNER/NAME; "
        "`practice` needs no download"
    )


def of_run(workspace: Workspace, run: runs.LoraRun) -> BaseModel:
    """Find the base that a run was frozen with, where it lies now: a workspace may have been moved.

    Raises WrongInput when it is gone, or another one lies in its place.
    """
    frozen = BaseModel.of(run.frozen["base_model"])
    if frozen.kind == "hub":
        return frozen
    now = look_up(workspace, frozen.location if frozen.kind == "folder" else frozen.name)
    if now.identity != frozen.identity:
        raise WrongInput(
            f"The base model {frozen.name} is not the one the run {run.name} began with; start a new run"
        )
    return now


def _in_folder(name: str, kind: str, folder: Path) -> BaseModel:
    if not (folder / "config.json").is_file():
        raise WrongInput(f"{folder} holds no config.json; give the folder of a transformers model")
    if not any(folder.glob("*.safetensors")):
        raise WrongInput(
            f"{folder} holds no *.safetensors; older formats can run code when they are read. "
            "Convert it with `save_pretrained` first"
        )
    return BaseModel(name, kind, str(folder), identity=_identity(folder))


def _of_run(workspace: Workspace, name: str) -> BaseModel:
    """Go on from a run's result (Magicoder-S trains its second set on top of the first run)."""
    run = runs.find(workspace, name)
    weights = run.weights
    if weights is None:
        raise WrongInput(f"The run {name} is {run.state} and has no weights to go on from")
    if run.settings.method == FULL:
        return _in_folder(name, "run", weights)
    below = of_run(workspace, run)
    adapter = sha256_of(weights / "adapter_model.safetensors")
    rope_theta = run.settings.rope_theta or below.rope_theta
    positions = run.settings.positions or below.positions
    identity = sha256(f"{below.identity} {adapter} {rope_theta} {positions}".encode()).hexdigest()
    return replace(
        below, name=name, kind="run", adapters=(*below.adapters, str(weights)), identity=identity,
        rope_theta=rope_theta, positions=positions,
    )  # fmt: skip


def _identity(folder: Path) -> str:
    """Name a model's config, tokenizer and weights by one sha256."""
    state = sha256()
    weights = sorted(folder.glob("*.safetensors"))
    is_small = sum(file.stat().st_size for file in weights) <= HASHED_BYTES
    for file in [*sorted(folder.glob("*.json")), *(weights if is_small else ())]:
        state.update(f"{file.name} {sha256_of(file)}\n".encode())
    for file in () if is_small else weights:
        state.update(f"{file.name} {file.stat().st_size}\n".encode())
    return state.hexdigest()


def hush() -> None:
    """Keep transformers' bars and advice to programmers off the terminal; errors still come through."""
    import warnings

    import huggingface_hub.utils.logging as hub_logging
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # It tells of every retry; the last error is told in our words.
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def load_tokenizer(base: BaseModel) -> Any:
    """Raises SourceUnavailable when it cannot be read or fetched."""
    from transformers import AutoTokenizer

    hush()
    try:
        return AutoTokenizer.from_pretrained(base.location, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _unreadable(base, error) from error


def load_model(base: BaseModel, settings: Settings, dtype: str) -> Any:
    """Load the weights, with the run's RoPE base and length, and its earlier adapters merged in.

    `dtype` is "float32" or "bfloat16". Raises SourceUnavailable when it cannot be read or fetched, WrongInput
    for a setting that it cannot have.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    hush()
    try:
        config = AutoConfig.from_pretrained(base.location, trust_remote_code=False)
        _lengthen(config, settings.rope_theta or base.rope_theta, settings.positions or base.positions)
        model = AutoModelForCausalLM.from_pretrained(
            base.location, config=config, dtype=getattr(torch, dtype), use_safetensors=True,
            trust_remote_code=False, **_quantized(settings),
        )  # fmt: skip
    except (OSError, ValueError, SafetensorError) as error:
        raise _unreadable(base, error) from error
    for adapter in base.adapters:
        model = with_trained_adapter(model, Path(adapter)).merge_and_unload()
    return model


def with_trained_adapter(model: Any, folder: Path) -> Any:
    """Put a run's adapter upon its base. Raises WrongInput when its files are not whole."""
    from peft import PeftModel
    from safetensors import SafetensorError

    try:
        return PeftModel.from_pretrained(model, str(folder))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        first = " ".join(str(error).split())[:200]
        raise WrongInput(
            f"The adapter in {folder} cannot be loaded ({first}); restore it from a backup, or train again"
        ) from error


def _lengthen(config: Any, rope_theta: float, positions: int) -> None:
    """Set RoPE's base and the longest sequence (Code Llama section 2.4: 10,000 -> 1,000,000, 16,384)."""
    if rope_theta:
        parameters = getattr(config, "rope_parameters", None)
        if not isinstance(parameters, dict) or "rope_theta" not in parameters:
            raise WrongInput(f"rope_theta: a {config.model_type} model has no RoPE base to set")
        parameters["rope_theta"] = rope_theta
    if positions:
        config.max_position_embeddings = positions


def _quantized(settings: Settings) -> dict[str, Any]:
    """Give what loads the weights in 4 bits (QLoRA: NF4, double quantisation)."""
    if settings.quantize == "none":
        return {}
    import importlib.util

    import torch

    if not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
        raise WrongInput(
            "quantize 4bit needs a CUDA GPU and bitsandbytes (pip install bitsandbytes); "
            "train with quantize none here"
        )
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    }  # fmt: skip


def _unreadable(base: BaseModel, error: Exception) -> SourceUnavailable:
    first = str(error).strip().split("\n")[0][:300]
    hint = "is it reachable, and is HF_TOKEN set if it is gated" if base.kind == "hub" else "is it whole"
    return SourceUnavailable(f"The base model {base.name} cannot be loaded ({first}); {hint}?")
