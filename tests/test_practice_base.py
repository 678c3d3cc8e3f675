"""The practice base: the same files give the same weights, it learns, and nothing half made is ever left."""

import json
import multiprocessing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from curation.errors import StageCancelled, WrongInput
from curation.licences import ALLOWED_LICENCES
from curation.workspace import Workspace
from tests.lora_workspace import TINY
from training import base_model
from training.base_model import look_up, practice_folder
from training.format import PRACTICE_FIM as FIM
from training.practice_base import FACTS, Settings, practice_base


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Any]]:
    workspace = Workspace(tmp_path_factory.mktemp("practice") / "workspace")
    return workspace, practice_base(workspace, TINY)


def test_it_learns_and_says_how_it_came_about(made: tuple[Workspace, dict[str, Any]]) -> None:
    workspace, facts = made
    folder = practice_folder(workspace)

    assert facts["bits_per_byte"] < facts["bits_per_byte_before"] - 0.05
    assert facts["sha256"] == sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert facts == json.loads((folder / FACTS).read_text())
    assert set(facts["licences"]) <= {"PSF-2.0", *ALLOWED_LICENCES}
    assert sum(facts["licences"].values()) == facts["files"]
    assert 60_000 <= facts["bytes"] < 260_000  # the last file may be as long as files may be
    assert practice_base(workspace, TINY) == {**facts, "unchanged": True}


def test_the_same_files_give_the_same_weights(made: tuple[Workspace, dict[str, Any]], tmp_path: Path) -> None:
    again = practice_base(Workspace(tmp_path / "again"), TINY)

    assert again["sha256"] == made[1]["sha256"]
    assert again["bits_per_byte"] == made[1]["bits_per_byte"]


def test_template_and_tokens_are_there_after_loading(made: tuple[Workspace, dict[str, Any]]) -> None:
    tokenizer = base_model.load_tokenizer(look_up(made[0], "practice"))

    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", "<pad>")
    ids = tokenizer.convert_tokens_to_ids(list(FIM))
    assert len(set(ids)) == 4 and all(id < len(tokenizer) for id in ids)
    asked = [{"role": "user", "content": "Sort it"}]
    assert tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) == (
        "### Instruction:\nSort it\n\n### Response:\n"
    )
    told = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": "done"}], tokenize=False)
    assert told == "### Instruction:\nSort it\n\n### Response:\ndone</s>\n\n"
    text = "def f(x):\n\treturn 'Größe 你好'\r\n\x00"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_the_model_is_a_llama_that_transformers_loads(made: tuple[Workspace, dict[str, Any]]) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(practice_folder(made[0])))
    assert model.config.model_type == "llama"
    assert sum(one.numel() for one in model.parameters()) == made[1]["parameters"]
    assert model.config.eos_token_id == 1 and model.config.max_position_embeddings == TINY.positions
    with torch.no_grad():
        assert bool(torch.isfinite(model(torch.arange(7, 40)[None]).logits).all())


@pytest.mark.parametrize("doing", ["reading code", "training the tokenizer", "training", "writing it"])
def test_ctrl_c_leaves_nothing_half_made(tmp_path: Path, doing: str) -> None:
    workspace = Workspace(tmp_path / "workspace")

    def show(now: str, done: int, total: int) -> None:
        if now == doing:
            raise KeyboardInterrupt

    with pytest.raises(StageCancelled, match="is made anew at the next start"):
        practice_base(workspace, TINY, show)
    assert not [one.name for one in practice_folder(workspace).parent.glob("practice*") if one.is_dir()]
    with pytest.raises(WrongInput, match="not made yet"):
        look_up(workspace, "practice")


def test_a_base_that_is_there_outlives_an_interrupted_second_making(
    made: tuple[Workspace, dict[str, Any]],
) -> None:
    workspace, facts = made

    def show(now: str, done: int, total: int) -> None:
        if now == "writing it":
            raise KeyboardInterrupt

    with pytest.raises(StageCancelled):
        practice_base(workspace, TINY, show, again=True)
    assert practice_base(workspace, TINY)["sha256"] == facts["sha256"]
    assert (practice_folder(workspace) / "model.safetensors").is_file()


def _hold_while_writing(folder: Path, writing: Any) -> None:
    def show(now: str, done: int, total: int) -> None:
        if now == "reading code" and done:
            writing.set()
            multiprocessing.Event().wait(60)

    practice_base(Workspace(folder), TINY, show)


def test_a_kill_leaves_nothing_and_the_next_making_is_whole(
    made: tuple[Workspace, dict[str, Any]], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    context = multiprocessing.get_context("fork")
    writing = context.Event()
    process = context.Process(target=_hold_while_writing, args=(workspace.folder, writing))
    process.start()
    assert writing.wait(60)
    process.kill()
    process.join()

    with pytest.raises(WrongInput, match="not made yet"):
        look_up(workspace, "practice")
    assert practice_base(workspace, TINY)["sha256"] == made[1]["sha256"]
    assert not practice_folder(workspace).with_name("practice.partial").exists()


def test_two_at_once_make_one(made: tuple[Workspace, dict[str, Any]], tmp_path: Path) -> None:
    """A person's terminal and the worker: the second waits, and finds it made."""
    workspace = Workspace(tmp_path / "workspace")
    context = multiprocessing.get_context("fork")
    writing = context.Event()
    process = context.Process(target=_hold_while_writing, args=(workspace.folder, writing))
    process.start()
    assert writing.wait(60)
    shown: list[str] = []

    def show(now: str, done: int, total: int) -> None:
        shown.append(now)
        process.kill()  # while it is waited for: whoever waits must then make it

    assert practice_base(workspace, TINY, show)["sha256"] == made[1]["sha256"]
    process.join()
    assert shown[0] == "waiting: another process makes it"


@pytest.mark.parametrize(
    "given", [{"steps": 0}, {"bytes": 0}, {"vocabulary": 10}, {"batch": 0}, {"length": 2}]
)
def test_numbers_out_of_range_are_named(given: dict[str, int]) -> None:
    with pytest.raises(WrongInput, match=next(iter(given))):
        Settings(**given)
