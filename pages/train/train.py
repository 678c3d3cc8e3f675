"""Train: three fields, a card that says what will happen, and a button. All else stands under Advanced."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

import jobs
import ui
from curation.export import licence_notes
from curation.hidden_characters import revealed
from curation.store import versions
from training import base_model, launch_card, lora, pace, preflight
from training import run as training_runs
from training.base_model import PRACTICE, BaseModel
from training.launch_card import Card, Counts
from training.pace import Pace
from training.preflight import RowCheck
from training.recipes import CHOICES, FULL, LORA, RECIPES, Recipe, Settings, settings_of
from training.settings_file import as_yaml, read_yaml

OTHER = ":other"  # no run can have this name
SET = "set_"  # begins the name of a changed setting in the address
SETTINGS = [name for group in launch_card.GROUPS.values() for name in group]
CLEARED = tuple(f"{SET}{name}" for name in SETTINGS)
WIDE = ("targets", "activation_checkpointing")  # boxes that a quarter of a narrow window cannot hold
CONFIRMED = 60  # seconds for which a base model is believed to be as it was: its weights are hashed


def _offered() -> list[str]:
    """Name the bases that need no typing: the practice base, and runs that have weights."""
    runs = [run for run in training_runs.runs(ui.workspace()) if run.name != PRACTICE]
    return launch_card.base_choices([(run.name, run.state) for run in runs if run.weights is not None])


def _choose_base() -> str:
    """Give the base model as `look_up` takes it; "": none was typed yet."""
    words = {PRACTICE: "practice (made here)", OTHER: "folder or OWNER/NAME"}
    options = [*_offered(), OTHER]
    chosen = ui.choose(
        "Base model",
        "base",
        options,
        shown=lambda name: words.get(name, f"{name} (a run)"),
        default=PRACTICE,
        help="What training begins with: the practice base, an earlier run, a folder, or a name "
        "on the hub. Weights are read from safetensors only; code of a model never runs.",
    )
    if chosen != OTHER:
        return chosen
    return ui.type_in(
        "Folder, or OWNER/NAME",
        "base_at",
        placeholder="codellama/CodeLlama-7b-Python-hf",
        help="A name on the hub is fetched when the run begins; gated ones need HF_TOKEN.",
    ).strip()


def _warn_of_unknown(names: list[str]) -> None:
    """Say what the address asks for and is not here: a link of somebody else's would train something else."""
    bases, methods = [*_offered(), OTHER], [*CHOICES["method"]]
    for parameter, known in (
        ("base", bases),
        ("version", names),
        ("recipe", [*RECIPES]),
        ("method", methods),
    ):
        asked = st.query_params.get(parameter, "")
        if asked and asked not in known:
            st.warning(
                f"The address asks for the {parameter} {ui.plain(asked[:80])}, which is not here; "
                "what is shown is chosen instead.",
                icon=":material/warning:",
            )


def _fields(names: list[str]) -> tuple[str, str, Recipe, str]:
    """Show the three fields, and the method beside the recipe."""
    a, b, c, d = st.columns([3, 2, 2, 2])
    with a:
        base = _choose_base()
    with b:
        newest = list(reversed(names))
        version = ui.choose("Dataset version", "version", newest, default=newest[0], help="The newest first.")
    with c:
        named = ui.choose(
            "Recipe",
            "recipe",
            list(RECIPES),
            default="practice",
            clear=(*CLEARED, "method"),
            help="A paper's numbers. Choosing another one takes your changes back.",
        )
    _warn_of_unknown(names)
    recipe = RECIPES[named]
    own = recipe.settings.method
    with d:
        method = ui.switch("Method", "method", [own, FULL if own == LORA else LORA], hide_label=False)
    st.caption(ui.plain(f"{recipe.about}."))
    return base, version, recipe, method


@st.cache_data(ttl=CONFIRMED, max_entries=16, show_spinner="Reading the base model")
def _known(path: str, given: str) -> BaseModel:
    return base_model.look_up(ui.workspace(), given)


def _look_up(given: str) -> BaseModel | None:
    """Find the base model, or say what is wrong with what was given."""
    if not given:
        st.info("Type the folder of a model, or its name on the hub.", icon=":material/edit:")
        return None
    if given == PRACTICE and not (base_model.practice_folder(ui.workspace()) / "config.json").is_file():
        _offer_practice_base()
        return None
    try:
        return _known(str(ui.folder()), given)
    except Exception as error:
        ui.say_error(error)
        return None


def _offer_practice_base() -> None:
    if ui.show_jobs_of(("practice-base",)):
        return
    with st.container(border=True):
        st.markdown("**The practice base is not made yet.**")
        st.markdown(
            "It is a small language model trained here, from scratch, on the code of the Python packages on "
            "this machine: no download. It takes about two minutes on two cores. It is too small to solve "
            "tasks, and good for seeing that training learns."
        )
        st.button(
            "Make the practice base",
            type="primary",
            key="train_practice",
            icon=":material/play_arrow:",
            on_click=ui.start,
            args=("practice-base", {}),
        )


# --- the card ---


@st.cache_data(max_entries=32, show_spinner="Looking at the rows")
def _looked(path: str, version: str, sha256: str, base: BaseModel, settings: Settings) -> RowCheck | None:
    """See what the rows come to; a frozen version and a model with the same hash never change."""
    return preflight.check_rows(ui.workspace(), version, base, settings)


@st.cache_data(ttl=CONFIRMED, max_entries=32, show_spinner=False)
def _pace(path: str, base: BaseModel, settings: Settings, tokens: float, held_out: float) -> Pace | None:
    return pace.expected(ui.workspace(), base, settings, tokens, held_out)


def _told(
    name: str, manifest: Mapping[str, Any], recipe: Recipe, settings: Settings, base: BaseModel
) -> Card:
    """Put together what is known before anything starts."""
    folder = str(ui.folder())
    # Of the settings only these change what rows come to: a new learning rate asks nothing anew.
    of_rows = Settings(template=settings.template, cutoff=settings.cutoff)
    looked = _looked(folder, name, manifest["report"]["sha256"], base, of_rows)
    counts = Counts.of(manifest, settings, looked)
    asked = ui.review_counts()
    known = counts.tokens is not None and counts.measured_tokens is not None
    takes = _pace(folder, base, settings, counts.tokens, counts.measured_tokens) if known else None
    return launch_card.card(
        manifest, recipe, settings, base, asked["open"] + asked["disputed"], looked, takes
    )


def _card(name: str, manifest: Mapping[str, Any], told: Card, base: BaseModel) -> None:
    st.markdown(f"**What will happen** when {ui.plain(base.name)} is trained on {ui.plain(name)}")
    for first in range(0, len(told.facts), 3):
        for column, fact in zip(st.columns(3), told.facts[first : first + 3], strict=False):
            with column:
                ui.show_fact(*fact)
    for problem in told.problems:
        st.error(ui.plain(problem), icon=":material/block:")
    for warning in told.warnings:
        st.warning(ui.plain(warning), icon=":material/warning:")
    for note in licence_notes(manifest["licences"]):
        st.warning(note, icon=":material/license:")
    for note in told.notes:
        st.caption(ui.plain(note))


def _train(version: str, recipe: str, base: str, method: str, changes: Mapping[str, Any], name: str) -> None:
    """Freeze the run and queue it; pressing twice gives the same run and the same job."""
    run = lora.launch(ui.workspace(), version, recipe, base, method, changes, name or None)
    jobs.start(ui.folder(), "train", {"run": run.name})
    st.session_state["train_started"] = run.name


def _button(base: str, version: str, recipe: str, method: str, changes: Mapping[str, Any], ok: bool) -> None:
    name = st.query_params.get("name", "").strip()  # the box for it stands under Advanced
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Train",
            type="primary",
            key="train_start",
            icon=":material/play_arrow:",
            disabled=not ok,
            on_click=ui.act,
            args=(_train, version, recipe, base, method, changes, name),
        )
        waiting = len(ui.training_queue())
        st.caption(
            f"Waits for {ui.count_of(waiting, 'other')}: one trains at a time."
            if waiting
            else "Begins at once, in a process of its own: closing this tab stops nothing."
        )
        if name:
            st.caption(f"Its name: {ui.plain(name)}")


# --- everything else ---


def _advanced(settings: dict[str, Any], own: Settings, recipe: Recipe, method: str, n: int) -> None:
    """Show every setting, each with where its value is from."""
    label = f"Advanced ({n} changed)" if n else "Advanced"
    with st.expander(label, key="train_advanced", icon=":material/tune:"):
        ui.type_in(
            "Name of the run",
            "name",
            placeholder="VERSION-RECIPE-NUMBER",
            help="Letters, digits, dots, _ and -. Without one it is named after version and recipe.",
            max_chars=80,
        )
        for group, names in launch_card.GROUPS.items():
            st.markdown(f"**{group}**")
            if group == "LoRA" and method == FULL:
                st.caption("All weights are trained: these are not used.")
                continue
            columns = st.columns(4)
            for place, name in enumerate(one for one in names if one not in WIDE):
                with columns[place % 4]:
                    _setting(name, settings[name], getattr(own, name), recipe, own)
            for name in WIDE:
                if name in names:
                    _setting(name, settings[name], getattr(own, name), recipe, own)
        if n:
            st.button(
                f"Take {ui.count_of(n, 'change')} back",
                key="train_undo",
                icon=":material/undo:",
                on_click=ui.set_query,
                args=(CLEARED,),
            )


def _setting(name: str, value: Any, own: Any, recipe: Recipe, recipes_own: Settings) -> None:
    """Show one setting. Its box holds what the address says, and writes there what a person changes."""
    key = f"query_{SET}{name}"
    source = recipe.source_of(name, recipes_own)
    label = name.replace("_", " ")
    kind = type(getattr(Settings, name))
    more: dict[str, Any] = {
        "key": key,
        "on_change": _changed,
        "args": (key, name, own),
        "help": ui.plain(f"{launch_card.text_of(own)}: {source}"),
    }
    st.session_state[key] = list(value) if kind is tuple else kind(value)
    if name in CHOICES:
        st.selectbox(label, CHOICES[name], **more)
    elif kind is tuple:
        offered = list(dict.fromkeys([*launch_card.MODULES, *value]))
        st.multiselect(label, offered, format_func=revealed, accept_new_options=True, **more)
    elif kind is bool:
        st.toggle(label, **more)
    else:
        least, most = (kind(bound) for bound in launch_card.bounds(name))
        step = 1 if kind is int else STEPS.get(name, 0.01)
        st.number_input(label, least, most, step=step, format=None if kind is int else "%g", **more)


STEPS = {"learning_rate": 1e-5, "epochs": 0.5, "max_grad_norm": 0.1, "rope_theta": 10_000.0, "beta_2": 0.001}


def _changed(key: str, name: str, own: Any) -> None:
    value = st.session_state[key]
    is_own = value is None or (tuple(value) if isinstance(value, list) else value) == own
    ui.set_query(**{f"{SET}{name}": None if is_own else launch_card.text_of(value) or " "})


def _preview(version: str, recipe: str, base: str, settings: Settings, changes: Mapping[str, Any]) -> None:
    with st.expander("Command and settings", key="train_preview", icon=":material/terminal:"):
        st.caption("The same run from a terminal:")
        name = st.query_params.get("name", "").strip()
        told = launch_card.command(version, recipe, base, settings.method, changes, name)
        ui.show_text(told, "bash")
        st.caption("The settings as they will be frozen, each with its source:")
        text = revealed(as_yaml(version, recipe, base, settings))
        st.code(text, language="yaml", height=360)
        st.caption("The other way round: settings that somebody sent you, or that a run page shows.")
        with st.form("train_settings", border=False):
            given = st.text_area(
                "Settings as YAML", key="train_settings_text", height=120, placeholder=text[:200]
            )
            if st.form_submit_button("Use these settings", icon=":material/input:"):
                _use(given)


def _use(given: str) -> None:
    """Put the settings of a file into the address, or say what is wrong with them."""
    try:
        asked = read_yaml(given)
        names = versions.names(ui.workspace().database)
        if asked.version is not None and asked.version not in names:
            raise ui.WrongInput(f"There is no version {asked.version!r} here; there are: {', '.join(names)}")
    except ui.WrongInput as error:
        ui.say_error(error)
        return
    is_offered = asked.base in _offered()
    ui.set_query(
        (*CLEARED, "method", *(("base", "base_at") if asked.base is not None else ())),
        version=asked.version or st.query_params.get("version"),
        recipe=asked.recipe or st.query_params.get("recipe"),
        **({} if asked.base is None else {"base": asked.base if is_offered else OTHER}),
        **({} if asked.base is None or is_offered else {"base_at": asked.base}),
        method=asked.method,
        **{f"{SET}{name}": launch_card.text_of(value) for name, value in asked.changes.items()},
    )
    st.rerun()


def _asked_changes() -> tuple[dict[str, Any], bool]:
    """Give the changed settings that the address holds, and whether all of them can be used."""
    given = {
        name.removeprefix(SET): value
        for name, value in st.query_params.to_dict().items()
        if name.startswith(SET)
    }
    changes, wrong = launch_card.read_changes(given)
    for line in wrong:
        ui.say_error(ui.WrongInput(line))
    return changes, not wrong


def _settings(recipe: Recipe, method: str, changes: Mapping[str, Any]) -> Settings | None:
    """Put recipe and changes together, or say why they do not fit each other."""
    try:
        return settings_of(recipe.name, method, changes)
    except ui.WrongInput as error:
        ui.say_error(error)
        return None


def _page(names: list[str]) -> None:
    given, name, recipe, method = _fields(names)
    changes, ok = _asked_changes()
    own = recipe.with_method(method)
    changes = {key: value for key, value in changes.items() if value != getattr(own, key)}
    settings = _settings(recipe, method, changes)
    base = _look_up(given)
    version = versions.find(ui.workspace().database, name)
    if settings is not None and base is not None and version is not None:
        told = _told(name, version.manifest, recipe, settings, base)
        with st.container(border=True, key="train_card"):
            _card(name, version.manifest, told, base)
            _button(given, name, recipe.name, method, changes, ok and not told.problems)
    shown = {key: changes.get(key, getattr(own, key)) for key in SETTINGS}
    _advanced(shown, own, recipe, method, len(changes))
    if settings is not None and given:
        _preview(name, recipe.name, given, settings, changes)


started = st.session_state.pop("train_started", None)
if started:
    ui.go("run", run=started)
ui.heading("Train", "Choose what to train on what. The card says what will happen before anything starts.")
names = versions.names(ui.workspace().database)
if names:
    _page(names)
else:
    ui.empty("There is no frozen version to train on yet.", "datasets", "Freeze a version")
