"""The transformer of a sentence-transformers model computed by OpenVINO; the rest of the model stays.

Optional (requirements-fast.txt). In float32 its vectors differ from torch's in the last bits only; in
bfloat16 they are drafts (draft_vectors.py).
"""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

PROBES = ["Sort a list of numbers.", "def add(a, b):\n    return a + b  # the sum of two numbers", "x"]
AGREES = 1e-4  # of vectors of length one; float32 differs by 3e-7, a wrong graph by far more


def is_there() -> bool:
    return find_spec("openvino") is not None


def take_over(model: Any, precision: str) -> None:
    """Let OpenVINO compute a sentence-transformers model's transformer in "f32" or "bf16".

    Raises ValueError when OpenVINO's float32 does not say what torch says.
    """
    import openvino

    before = model.encode(PROBES, normalize_embeddings=True, show_progress_bar=False)
    network, names = _converted(openvino, model)
    core = openvino.Core()
    _run_by(model, core, network, names, "f32")
    after = model.encode(PROBES, normalize_embeddings=True, show_progress_bar=False)
    if not np.allclose(before, after, atol=AGREES):
        del model[0].model.forward  # torch's own again
        raise ValueError("OpenVINO computes other vectors than torch")
    if precision != "f32":
        _run_by(model, core, network, names, precision)


def _converted(openvino: Any, model: Any) -> tuple[Any, list[str]]:
    """Trace the transformer. Gives the network and the names of its inputs in order."""
    import torch

    transformer = model[0].model
    example = dict(model.tokenizer(PROBES, padding=True, return_tensors="pt"))
    names = [name for name in example if name in model.tokenizer.model_input_names]

    class Traced(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = transformer

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            said = self.inner(**dict(zip(names, inputs, strict=True)), return_dict=True)
            found: torch.Tensor = said.last_hidden_state
            return found

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the tracer thinks of the model is not for users
        network = openvino.convert_model(
            Traced().eval(), example_input=tuple(example[name] for name in names)
        )
    return network, names


def _run_by(model: Any, core: Any, network: Any, names: list[str], precision: str) -> None:
    # Said outright: on processors with bfloat16 OpenVINO takes it unasked.
    compiled = core.compile_model(
        network, "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    )
    model[0].model.forward = _forward(compiled.create_infer_request(), names)


def _forward(request: Any, names: list[str]) -> Callable[..., Any]:
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    def forward(**inputs: Any) -> Any:
        found = request.infer([inputs[name].numpy() for name in names])[0]
        return BaseModelOutput(last_hidden_state=torch.from_numpy(np.array(found)))

    return forward
