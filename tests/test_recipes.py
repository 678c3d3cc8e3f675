"""The papers' numbers, each with its source, and what a person may change."""

from dataclasses import asdict, fields

import pytest

from curation.errors import WrongInput
from training.recipes import FULL, LORA, OURS_LORA_RATE, RECIPES, Settings, changed, find, settings_of


def test_platypus_is_as_published() -> None:
    """Platypus fine-tuning.sh and README (recipes.md 3.7)."""
    for name, rate in (("platypus-13b", 4e-4), ("platypus-70b", 3e-4)):
        s = find(name).settings
        assert (s.rank, s.alpha, s.dropout, s.targets) == (
            16,
            16,
            0.05,
            ("gate_proj", "up_proj", "down_proj"),
        )
        assert (s.batch, s.micro_batch, s.epochs, s.cutoff) == (16, 1, 1.0, 4_096)
        assert (s.scheduler, s.warm_up_steps, s.weight_decay, s.template) == ("cosine", 100, 0.0, "alpaca")
        assert s.learning_rate == rate


def test_the_rate_that_was_never_published_says_so() -> None:
    recipe = find("platypus-7b")

    assert "not published for 7B" in recipe.source_of("learning_rate", recipe.settings)
    assert "not published" not in find("platypus-13b").source_of(
        "learning_rate", find("platypus-13b").settings
    )


@pytest.mark.parametrize(("rows", "steps", "warm_up"), [
    (24_926, 1_558, 100),  # the published run
    (25_000, 1_563, 100),
    (2_200, 138, 9),  # 6.4 % of fewer steps
    (10, 1, 1),
])  # fmt: skip
def test_warm_up_is_6_4_percent_when_steps_are_few(rows: int, steps: int, warm_up: int) -> None:
    settings = find("platypus-13b").settings

    assert settings.steps_of(rows) == steps
    assert settings.warm_up_of(steps) == warm_up


def test_full_fine_tunes_are_marked_when_they_train_a_lora() -> None:
    for name in ("magicoder", "wizardcoder"):
        recipe = find(name)
        assert recipe.settings.method == FULL == recipe.published_as
        lora = settings_of(name, LORA)
        assert recipe.source_of("learning_rate", lora) == OURS_LORA_RATE
        assert "published as full" in recipe.source_of("method", lora)
        full = settings_of(name)
        assert "ours" not in recipe.source_of("learning_rate", full)
    assert (find("magicoder").settings.batch, find("magicoder").settings.cutoff) == (512, 1_216)
    assert find("magicoder").settings.max_grad_norm == 0.0  # clipping was off
    assert (find("wizardcoder").settings.max_steps, find("wizardcoder").settings.warm_up_steps) == (200, 30)


@pytest.mark.parametrize("name", RECIPES)
def test_every_number_has_a_source(name: str) -> None:
    recipe = find(name)
    known = {field.name for field in fields(Settings)}

    assert set(recipe.sources) <= known
    for field in known:
        assert recipe.source_of(field, recipe.settings)


def test_changes_are_read_from_text_and_listed() -> None:
    settings = settings_of("practice", None, {"max_steps": "7", "targets": "q_proj, v_proj",
                                              "activation_checkpointing": "true"})  # fmt: skip

    assert (settings.max_steps, settings.targets, settings.activation_checkpointing) == (
        7, ("q_proj", "v_proj"), True,
    )  # fmt: skip
    assert changed("practice", settings) == {
        "max_steps": 7, "targets": ("q_proj", "v_proj"), "activation_checkpointing": True,
    }  # fmt: skip
    assert find("practice").source_of("max_steps", settings) == "changed here"


def test_frozen_settings_read_from_json_are_the_same() -> None:
    import json

    for name, recipe in RECIPES.items():
        kept = json.loads(json.dumps(asdict(recipe.settings)))
        assert settings_of(name, kept["method"], kept) == recipe.settings


@pytest.mark.parametrize(("changes", "said"), [
    ({"rang": 8}, "There is no setting 'rang'"),
    ({"rank": "many"}, "rank 'many' is no whole number"),
    ({"rank": 0}, "rank 0 must be at least 1"),
    ({"learning_rate": 3}, "learning_rate 3.0 must be between 0 and 1"),
    ({"learning_rate": "nan"}, "learning_rate nan must be between 0 and 1"),
    ({"batch": 10, "micro_batch": 4}, "batch 10 must be a multiple of micro_batch 4"),
    ({"scheduler": "magic"}, "scheduler 'magic' must be one of"),
    ({"epochs": 0, "max_steps": 0}, "epochs 0.0 must be more than 0"),
    ({"max_steps": "9" * 400}, f"max_steps {'9' * 40}… is more than 1,000,000,000"),
    ({"random_seed": 2**32}, "random_seed 4294967296 is more than 4,294,967,295"),
    ({"epochs": 1e300}, "epochs 1e+300 is more than 1,000,000,000"),
    ({"rank": "x" * 500}, f"rank '{'x' * 39}… is no whole number"),
    ({"activation_checkpointing": "maybe"}, "activation_checkpointing 'maybe' is neither true nor false"),
])  # fmt: skip
def test_a_wrong_change_names_its_setting(changes: dict[str, object], said: str) -> None:
    with pytest.raises(WrongInput) as error:
        settings_of("practice", None, changes)
    assert said in str(error.value)


def test_recipe_and_method_are_named_when_they_do_not_exist() -> None:
    with pytest.raises(WrongInput, match="no recipe 'alpaca'; choose one of practice"):
        find("alpaca")
    with pytest.raises(WrongInput, match="no method 'dora'"):
        settings_of("practice", "dora")
