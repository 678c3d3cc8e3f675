"""What is said of rows, tokenizer and time before a run begins, held against what training then does."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curation.assemble import read_rows
from curation.errors import WrongInput
from curation.workspace import Workspace
from tests.lora_workspace import QUICK, VERSION, trained_workspace
from training import base_model, pace, preflight
from training.base_model import BaseModel, load_tokenizer
from training.format import WIZARDCODER, infilling_ids, prepare
from training.launch_card import Counts, card
from training.lora import launch, train
from training.practice_base import EOS
from training.preflight import FolderTokenizer, check_rows
from training.recipes import RECIPES, Settings, settings_of
from training.run import LoraRun

ROOT = Path(__file__).resolve().parents[1]
HARD = ("def f():\n\treturn 'ä€😀'", f"{EOS}<PRE>x<MID>", "  \n\n\n", "", "a" * 500)


@pytest.fixture(scope="module")
def workspace(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_workspace(tmp_path_factory.mktemp("preflight") / "workspace")


@pytest.fixture(scope="module")
def base(workspace: Workspace) -> BaseModel:
    return base_model.look_up(workspace, "practice")


@pytest.fixture(scope="module")
def run(workspace: Workspace) -> LoraRun:
    """A run that was trained: what was said before is held against it."""
    made = launch(workspace, VERSION, changes=QUICK)
    train(workspace, made.name)
    return made


def rows_of(workspace: Workspace, split: str = "train") -> list[dict[str, Any]]:
    rows = map(json.loads, read_rows(workspace, VERSION)[1].read_text().splitlines())
    return [row for row in rows if row["split"] == split]


def other_base(base: BaseModel, folder: Path, **config: Any) -> BaseModel:
    """Give a copy of the practice base as a person's folder, its tokenizer's config changed."""
    shutil.copytree(base.location, folder, dirs_exist_ok=True)
    file = folder / "tokenizer_config.json"
    changed = {**json.loads(file.read_bytes()), **config}
    file.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))
    return replace(base, name="mine", kind="folder", location=str(folder))


# --- the tokenizer without torch ---


def test_it_makes_the_same_tokens_as_the_one_that_trains(workspace: Workspace, base: BaseModel) -> None:
    ours, theirs = FolderTokenizer(Path(base.location)), load_tokenizer(base)
    assert (ours.bos_token_id, ours.eos_token_id) == (theirs.bos_token_id, theirs.eos_token_id)
    assert len(ours) == len(theirs) and ours.get_vocab() == theirs.get_vocab()
    hard = [
        {"id": str(n), "instruction": text, "input": text, "response": text} for n, text in enumerate(HARD)
    ]
    for template in ("alpaca", "magicoder", "wizardcoder"):
        rows = [*rows_of(workspace), *hard]
        assert prepare(rows, ours, template, 192) == prepare(rows, theirs, template, 192)
    parts = HARD[:3]
    assert infilling_ids(ours, *parts, "spm") == infilling_ids(theirs, *parts, "spm")


def test_the_app_may_look_at_rows_without_torch(workspace: Workspace) -> None:
    looked = (
        "import sys\nfrom pathlib import Path\nfrom curation.workspace import Workspace\n"
        "from training import base_model, pace, preflight\nfrom training.recipes import settings_of\n"
        f"w = Workspace(Path({str(workspace.folder)!r}))\n"
        "b, s = base_model.look_up(w, 'practice'), settings_of('practice')\n"
        f"assert preflight.check_rows(w, {VERSION!r}, b, s).looked_at\n"
        "pace.expected(w, b, s, 1000.0, 0.0)\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", looked], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- rows ---


def test_what_is_said_of_the_rows_is_what_training_finds(
    workspace: Workspace, base: BaseModel, run: LoraRun
) -> None:
    looked = check_rows(workspace, VERSION, base, run.settings, looked_at=10_000)
    trained = run.data["train"]
    assert looked is not None and not looked.problem
    assert looked.looked_at == trained["rows"] + sum(trained["unusable"].values())
    assert looked.tokens * trained["rows"] == pytest.approx(trained["tokens"])
    assert looked.learned == pytest.approx(trained["learned_tokens"] / trained["tokens"])
    assert looked.cut == trained["cut"] / looked.looked_at

    counts = Counts.of(read_rows(workspace, VERSION)[0], run.settings, looked)
    seen = [one for one in run.measurements() if "loss" in one]
    assert counts.steps == len(seen) and counts.usable == trained["rows"]
    assert counts.tokens == pytest.approx(seen[-1]["tokens"], rel=0.05)
    evaluations = [one for one in run.measurements() if "eval_loss" in one]
    assert counts.measured_tokens == pytest.approx(looked.tokens * counts.measured * len(evaluations))


@pytest.mark.parametrize(
    ("changes", "passes"), [({"max_steps": 0, "epochs": 2}, 2.0), ({"max_steps": 0}, 1.0)]
)
def test_whole_passes_read_each_row_as_often(
    changes: dict[str, Any], passes: float, workspace: Workspace, base: BaseModel
) -> None:
    settings = settings_of("practice", None, {**QUICK, **changes, "batch": 10})
    looked = check_rows(workspace, VERSION, base, settings)
    counts = Counts.of(read_rows(workspace, VERSION)[0], settings, looked)
    assert looked is not None and counts.tokens == pytest.approx(passes * looked.tokens * counts.usable)


def test_only_so_many_rows_are_looked_at_from_all_over_the_split(
    workspace: Workspace, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    whole = preflight.prepare

    def noted(rows: Any, *given: Any) -> Any:
        seen.extend(row["id"] for row in rows)
        return whole(rows, *given)

    monkeypatch.setattr(preflight, "prepare", noted)
    looked = check_rows(workspace, VERSION, base, settings_of("practice"), looked_at=8)
    ids = [row["id"] for row in rows_of(workspace)]
    assert looked is not None and looked.looked_at == 8
    assert seen == ids[:: len(ids) // 8][:8]


def test_rows_that_cannot_be_trained_on_are_a_warning(workspace: Workspace, base: BaseModel) -> None:
    lengths = sorted(len(one.ids) for one in prepare(
        rows_of(workspace), load_tokenizer(base), "alpaca", 10_000).examples)  # fmt: skip
    settings = settings_of("practice", None, {"cutoff": lengths[0] - 5})
    looked = check_rows(workspace, VERSION, base, settings, looked_at=10_000)
    trained = prepare(rows_of(workspace), load_tokenizer(base), "alpaca", settings.cutoff)
    assert looked is not None
    assert looked.unusable == len(trained.unusable) / len(rows_of(workspace))
    told = card(read_rows(workspace, VERSION)[0], RECIPES["practice"], settings, base, 0, looked)
    if looked.unusable:
        assert any(
            f"About {looked.unusable:.0%} of the rows cannot be trained on" in w for w in told.warnings
        )
    assert any("do not learn to end" in note for note in told.notes)


def test_a_cutoff_below_every_prompt_stops_the_button(workspace: Workspace, base: BaseModel) -> None:
    settings = settings_of("practice", None, {"cutoff": 8})
    looked = check_rows(workspace, VERSION, base, settings)
    told = card(read_rows(workspace, VERSION)[0], RECIPES["practice"], settings, base, 0, looked)
    assert told.problems and "has a response within 8 tokens; raise cutoff" in told.problems[0]


# --- the tokenizer and its model ---


def test_a_tokenizer_without_an_end_stops_the_button(
    workspace: Workspace, base: BaseModel, tmp_path: Path
) -> None:
    looked = check_rows(workspace, VERSION, other_base(base, tmp_path, eos_token=None), Settings(cutoff=192))
    assert looked is not None and "no end token" in looked.problem


def test_more_tokens_than_the_model_has_places_for(
    workspace: Workspace, base: BaseModel, tmp_path: Path
) -> None:
    mine = other_base(base, tmp_path)
    config = json.loads((tmp_path / "config.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
    looked = check_rows(workspace, VERSION, mine, Settings(cutoff=192))
    assert looked is not None and "only 100 places" in looked.problem


def test_a_base_that_was_tuned_for_chat_is_told_of(
    workspace: Workspace, base: BaseModel, tmp_path: Path
) -> None:
    settings = Settings(cutoff=192)
    ours = check_rows(workspace, VERSION, base, settings)
    mine = check_rows(workspace, VERSION, other_base(base, tmp_path), settings)
    assert ours is not None and not ours.warnings  # the practice base is ours: everybody would be warned
    assert mine is not None and ["chat template of its own" in one for one in mine.warnings] == [True]


def test_a_damaged_tokenizer_is_a_problem_and_a_missing_one_is_not_known(
    workspace: Workspace, base: BaseModel, tmp_path: Path
) -> None:
    mine = other_base(base, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    looked = check_rows(workspace, VERSION, mine, Settings(cutoff=192))
    assert looked is not None and "cannot be read" in looked.problem
    (tmp_path / "tokenizer.json").unlink()
    assert check_rows(workspace, VERSION, mine, Settings(cutoff=192)) is None
    facts = card(read_rows(workspace, VERSION)[0], RECIPES["practice"], Settings(), mine, 0).facts
    assert {name: value for name, value, _ in facts}["Tokens"] == "not known yet"


def test_a_joined_newline_is_counted(base: BaseModel, tmp_path: Path) -> None:
    """A vocabulary with two newlines in one token joins the template's last with a response's first."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    shutil.copytree(base.location, tmp_path, dirs_exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: n for n, piece in enumerate(["<s>", "</s>", *alphabet, "ĊĊ"])}
    made = Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.add_special_tokens(["<s>", "</s>"])
    made.save(str(tmp_path / "tokenizer.json"))
    tokenizer = FolderTokenizer(tmp_path)
    row = {"id": "1", "instruction": "a", "input": "", "response": "\nx = 1"}
    assert preflight._is_joined(row, tokenizer, "alpaca")
    assert not preflight._is_joined({**row, "response": "x = 1"}, tokenizer, "alpaca")
    assert not WIZARDCODER.endswith("\n") and not preflight._is_joined(row, tokenizer, "wizardcoder")


def test_a_slip_in_targets_is_refused(workspace: Workspace, base: BaseModel) -> None:
    """peft would train the others and say nothing."""
    settings = settings_of("practice", None, {"targets": "gate_proj,up_prj"})
    told = card(read_rows(workspace, VERSION)[0], RECIPES["practice"], settings, base, 0)
    assert [one.split(";")[0] for one in told.problems] == [
        "targets up_prj: the base model has no such modules"
    ]
    with pytest.raises(WrongInput, match="targets up_prj"):
        launch(workspace, VERSION, changes={"targets": "gate_proj,up_prj"})


def test_a_base_that_was_fetched_before_is_known(
    workspace: Workspace, base: BaseModel, tmp_path: Path
) -> None:
    """As the hub's library keeps it: a name of a snapshot, and the snapshot."""
    kept = tmp_path / "hub" / "models--some--model"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("ab12")
    shutil.copytree(base.location, kept / "snapshots" / "ab12")
    told = (
        "import sys\nfrom pathlib import Path\nfrom curation.workspace import Workspace\n"
        "from training import base_model, preflight\nfrom training.recipes import settings_of\n"
        f"w, s = Workspace(Path({str(workspace.folder)!r})), settings_of('practice')\n"
        "for name in ('some/model', 'some/other', 'some/m..odel'):\n"
        "    base = base_model.look_up(w, name)\n"
        f"    looked = preflight.check_rows(w, {VERSION!r}, base, s)\n"
        "    print(base.folder is not None, base.config() is not None, looked is not None)\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["True True True", "False False False", "False False False"]


# --- time ---


def test_time_is_told_by_an_earlier_run(workspace: Workspace, base: BaseModel, run: LoraRun) -> None:
    seen = [one for one in run.measurements() if one.get("tokens_per_second")]
    found = pace.expected(workspace, base, run.settings, seen[-1]["tokens"], 0.0)
    assert found is not None and found.by == run.name and found.same_base
    by_hand = sorted(one["tokens_per_second"] for one in seen)
    assert found.tokens_per_second == pytest.approx((by_hand[3] + by_hand[4]) / 2)
    assert found.seconds == pytest.approx(seen[-1]["tokens"] / found.tokens_per_second)
    longer = pace.expected(workspace, base, run.settings, seen[-1]["tokens"], 100.0)
    assert longer is not None  # an evaluation goes forward only: half of a LoRA's operations
    assert longer.seconds - found.seconds == pytest.approx(50.0 / found.tokens_per_second)


def test_another_model_takes_as_much_longer_as_it_has_operations(
    workspace: Workspace, base: BaseModel, run: LoraRun, tmp_path: Path
) -> None:
    config = {**json.loads((Path(base.location) / "config.json").read_bytes()), "num_hidden_layers": 20}
    (tmp_path / "config.json").write_text(json.dumps(config))
    other = BaseModel("other", "folder", str(tmp_path), identity="another")
    own = pace.operations(base.config() or {}, run.settings)
    theirs = pace.operations(config, run.settings)
    assert own is not None and theirs is not None and theirs > own
    here = pace.expected(workspace, base, run.settings, 1_000.0, 0.0)
    there = pace.expected(workspace, other, run.settings, 1_000.0, 0.0)
    assert here is not None and there is not None and not there.same_base
    assert there.seconds / here.seconds == pytest.approx(theirs / own)


def test_operations_are_those_of_kaplan(base: BaseModel) -> None:
    config = {
        "model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3,
        "num_attention_heads": 2, "vocab_size": 100,
    }  # fmt: skip
    weights = 3 * (4 * 8 * 8 + 3 * 8 * 16) + 100 * 8
    assert pace.operations(config, Settings(method="full")) == 6 * weights
    assert pace.operations(config, Settings()) == 4 * weights
    assert pace.operations(config, Settings(activation_checkpointing=True)) == 6 * weights
    assert pace.operations({"model_type": "gpt_bigcode"}, Settings()) is None


def test_without_an_earlier_run_no_time_is_told(base: BaseModel, tmp_path: Path) -> None:
    empty = Workspace(tmp_path / "empty")
    assert pace.expected(empty, base, settings_of("practice"), 1_000.0, 0.0) is None
