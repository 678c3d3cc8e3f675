"""What the card beside Train says: numbers known beforehand, the command, the settings as YAML."""

import json
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from curation.errors import WrongInput
from training import cli
from training.base_model import BaseModel
from training.launch_card import (
    GROUPS,
    all_parameters,
    base_choices,
    bounds,
    card,
    command,
    memory,
    read_changes,
    text_of,
    trainable_parameters,
)
from training.recipes import RECIPES, Settings, changed, settings_of
from training.settings_file import Asked, as_yaml, read_yaml

LLAMA_2 = {  # hidden, inner, layers, heads, heads of keys and values
    "7b": (4096, 11008, 32, 32, 32),
    "13b": (5120, 13824, 40, 40, 40),
    "70b": (8192, 28672, 80, 64, 8),
}
MANIFEST: dict[str, Any] = {
    "report": {"rows": 1_000, "validation": 40, "contamination_checked": True},
    "benchmarks": {"humaneval": {"items": 164}},
}


def llama(size: str) -> dict[str, Any]:
    hidden, inner, layers, heads, kv = LLAMA_2[size]
    return {
        "model_type": "llama", "vocab_size": 32_000, "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
        "max_position_embeddings": 4_096,
    }  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> BaseModel:
    (tmp_path / "config.json").write_text(json.dumps(llama("7b")))
    return BaseModel("meta-llama/Llama-2-7b-hf", "folder", str(tmp_path))


# --- parameters ---


@pytest.mark.parametrize(
    ("size", "adapter", "all_of_them"),
    [
        ("7b", 23_199_744, 6_738_415_616),
        ("13b", 36_372_480, 13_015_864_320),
        ("70b", 141_557_760, 68_976_648_192),
    ],
)
def test_parameters_are_those_that_were_published(size: str, adapter: int, all_of_them: int) -> None:
    assert trainable_parameters(llama(size), settings_of("platypus-7b")) == adapter
    assert all_parameters(llama(size)) == all_of_them
    assert trainable_parameters(llama(size), settings_of("platypus-7b", "full")) == all_of_them


def test_attention_with_fewer_keys_than_heads_has_narrow_adapters() -> None:
    settings = settings_of("practice", None, {"targets": "q_proj,k_proj,v_proj,o_proj", "rank": 8})
    wide, narrow = 8 * (8192 + 8192), 8 * (8192 + 1024)
    assert trainable_parameters(llama("70b"), settings) == 80 * (2 * wide + 2 * narrow)


@pytest.mark.parametrize("config", [{}, {"n_embd": 6144, "model_type": "gpt_bigcode"}, {"hidden_size": "x"}])
def test_a_model_of_another_build_is_not_guessed(config: dict[str, Any]) -> None:
    for method in ("lora", "full"):
        assert trainable_parameters(config, settings_of("practice", method)) is None
    assert memory(config, settings_of("practice")) is None


# --- the card ---


def test_the_card_says_rows_steps_and_parameters(base: BaseModel) -> None:
    told = card(MANIFEST, RECIPES["platypus-7b"], settings_of("platypus-7b"), base, open_cases=0)
    facts = {label: (value, more) for label, value, more in told.facts}
    assert facts["Rows to train on"] == ("960", "40 held out")
    assert facts["Steps"] == ("60", "4 warm up · 16 rows a step · 1.00 passes")
    assert facts["Trained parameters"] == ("23,199,744", "LoRA of rank 16 · 0.34% of 6,738,415,616")
    assert facts["Learning rate"] == ("0.0004", "cosine · not published for 7B: carried over from 13B by us")
    assert facts["Benchmarks checked"] == ("1", "humaneval, 164 tasks")
    assert not [note for note in told.notes if "Its paper trained" in note]


def test_what_stands_against_training_is_a_warning(base: BaseModel) -> None:
    report = {"rows": 9, "validation": 0, "contamination_checked": False}
    settings = settings_of("platypus-7b", None, {"cutoff": 8_192})
    told = card({"report": report, "benchmarks": {}}, RECIPES["platypus-7b"], settings, base, open_cases=1)
    for words in (
        "Contamination was not checked",
        "1 review case is open now",
        "No row is held out",
        "there are 9: fewer a step",
        "The base knows 4,096 positions",
    ):
        assert [one for one in told.warnings if words in one], words


def test_a_recipe_trained_otherwise_than_published_says_so(base: BaseModel) -> None:
    told = card(MANIFEST, RECIPES["magicoder"], settings_of("magicoder", "lora"), base, 0)
    assert "magicoder was published as a full fine-tune; this trains a LoRA." in told.notes
    assert "Its paper trained codellama/CodeLlama-7b-Python-hf." in told.notes
    assert "ours: published as a full fine-tune" in {a: c for a, _, c in told.facts}["Learning rate"]


def test_a_base_that_was_not_fetched_is_said_to_be_unknown() -> None:
    hub = BaseModel("codellama/CodeLlama-7b-hf", "hub", "codellama/CodeLlama-7b-hf")
    told = card(MANIFEST, RECIPES["platypus-7b"], settings_of("platypus-7b"), hub, 0)
    assert ("Trained parameters", "not known yet", "the base is fetched when the run begins") in told.facts
    assert [note for note in told.notes if "fetched from the hub" in note]
    unknown = [label for label, value, _ in told.facts if value == "not known yet"]
    assert unknown == ["Tokens", "Time", "Memory", "Disk", "Trained parameters"]


def test_a_run_that_will_not_fit_says_what_helps(base: BaseModel) -> None:
    config = {**llama("70b"), "num_hidden_layers": 8_000}  # more than any machine has
    (Path(base.location) / "config.json").write_text(json.dumps(config))
    told = card(MANIFEST, RECIPES["platypus-70b"], settings_of("platypus-70b"), base, 0)
    assert told.warnings[0].startswith("It will not fit") and "activation_checkpointing" in told.warnings[0]


def test_runs_with_weights_can_be_gone_on_from() -> None:
    states = ("finished", "stopped", "failed", "waiting", "discarded", "running")
    assert base_choices([(state, state) for state in states]) == ["practice", "finished", "stopped"]


# --- changes ---


def test_every_setting_has_one_place_on_the_page() -> None:
    placed = [name for names in GROUPS.values() for name in names]
    assert sorted([*placed, "method"]) == sorted(one.name for one in fields(Settings))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_lies_within_the_bounds_of_the_boxes(recipe: str) -> None:
    settings = settings_of(recipe)
    for names in GROUPS.values():
        clean, wrong = read_changes({name: text_of(getattr(settings, name)) for name in names})
        assert not wrong
        assert clean == {name: getattr(settings, name) for name in names}
    assert bounds("batch") == (1, 1_000_000_000) and bounds("dropout")[1] < 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("batch", "0"), ("batch", "x"), ("batch", "9" * 30), ("max_steps", "-1"), ("epochs", "nan"),
        ("learning_rate", "inf"), ("dropout", "1"), ("targets", " , "), ("method", "full"), ("nope", "1"),
        ("activation_checkpointing", "maybe"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_and_the_others_count(name: str, text: str) -> None:
    clean, (line,) = read_changes({name: text, "rank": "8"})
    assert clean == {"rank": 8}
    assert name in line and "\n" not in line


# --- the same in other words ---

CHANGES = {
    "learning_rate": 1e-5, "targets": ("q_proj", "v_proj"), "activation_checkpointing": True, "batch": 64,
}  # fmt: skip


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_command_line_starts_the_same_run(recipe: str, method: str) -> None:
    text = command("v 1", recipe, "a folder's/with spaces", method, CHANGES)
    words = shlex.split(text)
    assert words[:3] == ["python", "-m", "training"]
    given = cli._parser().parse_args(words[3:])
    assert (given.version, given.recipe, given.base_model) == ("v 1", recipe, "a folder's/with spaces")
    read = settings_of(given.recipe, given.method, dict(given.set))
    assert read == settings_of(recipe, method, CHANGES)


def test_the_command_line_names_only_what_was_changed() -> None:
    assert command("v1", "practice", "practice", "lora", {"batch": 16, "rank": 8}) == (
        "python -m training train v1 --recipe practice --base-model practice --set rank=8"
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_yaml_reads_back_as_the_settings_and_names_their_sources(recipe: str) -> None:
    settings = replace(settings_of(recipe), learning_rate=1e-5, dropout=0.5)
    text = as_yaml("v1: x", recipe, "a'b # c", settings)
    read = yaml.safe_load(text)
    assert (read["version"], read["recipe"], read["base_model"]) == ("v1: x", recipe, "a'b # c")
    assert settings_of(recipe, None, read["settings"]) == settings
    assert read["settings"]["learning_rate"] == 1e-5, "YAML takes 1e-05 for a text"
    assert set(changed(recipe, settings)) >= {"learning_rate", "dropout"}
    (line,) = (one for one in text.splitlines() if one.strip().startswith("dropout:"))
    assert line.endswith("# changed here")


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_the_page_writes_is_read_again(recipe: str) -> None:
    other = "full" if RECIPES[recipe].settings.method == "lora" else "lora"
    changes = {"learning_rate": 1e-5, "targets": ("q_proj", "down_proj"), "activation_checkpointing": True}
    for method, given in ((None, {}), (other, {}), (other, changes), (None, changes)):
        settings = settings_of(recipe, method, given)
        asked = read_yaml(as_yaml("v1: x", recipe, "a'b # c", settings))
        assert (asked.version, asked.recipe, asked.base) == ("v1: x", recipe, "a'b # c")
        assert settings_of(recipe, asked.method, asked.changes) == settings
        assert asked.method == method and asked.changes == {
            name: value
            for name, value in given.items()
            if value != getattr(settings_of(recipe, method), name)
        }


def test_a_short_file_changes_only_what_it_names() -> None:
    assert read_yaml("settings:\n  rank: 8\n") == Asked(changes={"rank": 8})
    assert read_yaml("version: 12\nrecipe: magicoder\n") == Asked("12", "magicoder")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "These are no settings"),
        ("- a\n- b", "These are no settings"),
        ("version: [1\nrecipe: x", "Line 2 of these settings is no YAML"),
        ("a" * 64_001, "64,001 characters"),
        ("[" * 20_000, "is no YAML"),
        ("recipe: nope", "There is no recipe 'nope'"),
        ("run: x\nversion: y", "have no run; they have version"),
        ("settings: 3", "settings: must be lines"),
        ("settings:\n  rank: {a: 1}", "settings, rank: must be a number"),
        ("settings:\n  rank: 2.5", "rank 2.5 is no whole number"),
        ("settings:\n  rank: true", "rank True is no whole number"),
        ("settings:\n  rank: .inf", "rank inf is no whole number"),
        ("settings:\n  dropout: .nan", "dropout nan"),
        ("settings:\n  targets: 3", "targets 3 is no list of names"),
        ("settings:\n  ranks: 2", "There is no setting 'ranks'"),
        ("settings:\n  learning_rate: 7", "learning_rate 7"),
        ("version: {a: b}", "version: must be a name"),
        ("version: !!python/object/apply:os.system [ls]", "is no YAML"),
        ("version: 2026-13-45", "is no YAML"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(text: str, message: str) -> None:
    with pytest.raises(WrongInput) as refused:
        read_yaml(text)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_flags_count_more_than_a_file_of_settings(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("version: v1\nrecipe: magicoder\nsettings:\n  method: lora\n  rank: 8\n  batch: 64\n")

    def asked(*more: str) -> Asked:
        return cli._asked(cli._parser().parse_args(["train", *more, "--settings", str(file)]))

    whole = Asked("v1", "magicoder", None, "lora", {"rank": 8, "batch": 64})
    assert asked() == whole
    assert asked("v2", "--set", "rank=4") == replace(whole, version="v2", changes={"rank": "4", "batch": 64})
    # Another recipe has other numbers: what the file changed of its own says nothing about them.
    assert asked("--recipe", "practice") == Asked("v1", "practice", None, None, {})
    with pytest.raises(WrongInput, match=r"nowhere\.yaml cannot be read"):
        cli._asked(cli._parser().parse_args(["train", "--settings", str(tmp_path / "nowhere.yaml")]))
