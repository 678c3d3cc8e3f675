"""Push: which bytes arrive at a hub, what never leaves this machine, and what each refusal says.

The hub is a server on loopback (`tests/loopback_hub.py`) that `huggingface_hub` itself talks to.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from curation.errors import CurationError, SourceUnavailable, WrongInput
from curation.file_lock import tried
from curation.workspace import Workspace
from jobs.steps import STEPS, check, queue_of, title_of
from tests.loopback_hub import OWNER, TOKEN, WITHOUT_TOKEN, Fault, LoopbackHub, loopback_hub
from tests.lora_workspace import QUICK, VERSION, trained_workspace
from tests.workspaces import ROOT
from training import run as runs
from training.cli import main
from training.lora import launch, train
from training.merge import merge
from training.push import LOCK, PARTIAL, push

SECRET = "ann-keeps-secrets-here"  # a folder's name that nobody else shall read
ADAPTER = {
    "README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tokenizer.json",
    "tokenizer_config.json", "winnow-run.json",
}  # fmt: skip
MODEL = (ADAPTER - {"adapter_config.json", "adapter_model.safetensors"}) | {
    "config.json", "generation_config.json", "model.safetensors"
}  # fmt: skip
NAME = f"{OWNER}/tiny-coder"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Runs on a base in a folder, on top of that run, of all weights, and one that never started."""
    import torch

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(SECRET)
    made = trained_workspace(folder / "workspace", 30)
    base = folder / "tiny-base"
    shutil.copytree(made.folder / "models" / "practice", base)
    quick = {**QUICK, "max_steps": 2}
    for name, given, method in (
        ("mine", str(base), "lora"), ("upon", "mine", "lora"), ("full", "practice", "full"),
    ):  # fmt: skip
        launch(made, VERSION, base=given, method=method, changes=quick, name=name)
        train(made, name)
    launch(made, VERSION, changes=quick, name="waiting")
    return made


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    def without_certificates() -> httpx2.Client:  # reading them takes longer than a push
        hooks = {"request": [_http.hf_request_event_hook]}
        return httpx2.Client(event_hooks=hooks, follow_redirects=True, verify=False)

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(_http, "default_client_factory", without_certificates)
    waits: list[float] = []
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=waits.append))  # it waits between attempts
    with loopback_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        yield running


def files_of(hub: LoopbackHub, name: str = NAME) -> dict[str, bytes]:
    """Give what a repository holds, but for what every new one begins with."""
    found = dict(hub.repositories[name].files)
    assert found.pop(".gitattributes")
    return found


def front_of(card: bytes) -> dict[str, Any]:
    front: dict[str, Any] = yaml.safe_load(card.decode().split("---\n")[1])
    return front


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def refusal(workspace: Workspace, *words: Any, **options: Any) -> CurationError:
    """Push, and give the one line that it is refused with; nothing of it lies about afterwards."""
    with pytest.raises(CurationError) as caught:
        push(workspace, *words, **options)
    line = str(caught.value)
    assert "\n" not in line and TOKEN not in line and len(line) < 700
    assert not (workspace.folder / "runs" / str(words[0]) / PARTIAL).exists()
    return caught.value


def assert_nothing_leaked(hub: LoopbackHub, workspace: Workspace) -> None:
    """No word that only this machine knows stands in what was sent, whatever it was wrapped in."""
    canaries = (TOKEN, SECRET, str(workspace.folder), str(ROOT), str(Path.home()) + "/")
    for sent in hub.said_to_it():
        for canary in canaries:
            assert canary.encode() not in sent, (canary, sent[:300])
    for one in hub.asked:
        has_token = any(TOKEN in value for value in one.headers.values())
        assert has_token == (one.kind not in WITHOUT_TOKEN), one.kind
        if has_token:  # the library's own word on what is installed, and on who runs it, stays here, too
            assert "torch/" not in one.headers["user-agent"] and "agent/" not in one.headers["user-agent"]


# --- what arrives ---


def test_the_adapter_arrives_whole_and_says_nothing_of_this_machine(
    workspace: Workspace, hub: LoopbackHub
) -> None:
    run = runs.find(workspace, "mine")
    before = contents(run.output)
    assert SECRET.encode() in before["adapter_config.json"] and SECRET.encode() in before["README.md"]
    shown: list[tuple[str, int, int]] = []

    report = push(workspace, "mine", NAME, show=lambda *said: shown.append(said))

    arrived, repository = files_of(hub), hub.repositories[NAME]
    assert set(arrived) == ADAPTER and report["files"] == sorted(ADAPTER)
    for name in ADAPTER - {"README.md", "adapter_config.json", "winnow-run.json"}:
        assert sha256(arrived[name]).digest() == sha256(before[name]).digest(), name
    assert report == {
        "run": "mine", "repository": NAME, "url": f"{hub.address}/{NAME}", "commit": repository.newest,
        "files": sorted(ADAPTER), "bytes": sum(map(len, arrived.values())), "unchanged": False,
    }  # fmt: skip
    assert repository.private and len(repository.commits) == 1
    assert_nothing_leaked(hub, workspace)
    assert contents(run.output) == before and not (run.folder / PARTIAL).exists()
    assert shown[-1] == ("uploading", report["bytes"], report["bytes"])
    assert [done for _, done, _ in shown if done > report["bytes"]] == []


def test_what_is_pushed_names_the_base_by_its_plain_name(workspace: Workspace, hub: LoopbackHub) -> None:
    push(workspace, "mine", NAME)
    arrived = files_of(hub)

    config = json.loads(arrived["adapter_config.json"])
    kept = json.loads((runs.find(workspace, "mine").output / "adapter_config.json").read_bytes())
    assert config == {**kept, "base_model_name_or_path": "tiny-base"}
    card = arrived["README.md"].decode()
    assert "| name | `tiny-base` |" in card and "| location | `tiny-base` |" in card
    assert front_of(arrived["README.md"]) == {
        "tags": ["code", "winnow"], "library_name": "peft", "pipeline_tag": "text-generation",
    }  # fmt: skip
    told = json.loads(arrived["winnow-run.json"])
    frozen = runs.find(workspace, "mine").frozen
    assert told.pop("base_model")["name"] == "tiny-base" and told.pop("pushed") == "adapter"
    assert told == {"run": "mine"} | {key: value for key, value in frozen.items() if key != "base_model"}


def test_what_is_pushed_loads_as_an_adapter(workspace: Workspace, hub: LoopbackHub, tmp_path: Path) -> None:
    """As anybody would who has the base: with peft, and the same logits come out."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    push(workspace, "mine", NAME)
    for name, data in files_of(hub).items():
        (tmp_path / name).write_bytes(data)
    run = runs.find(workspace, "mine")
    ids = AutoTokenizer.from_pretrained(tmp_path)("def f(x):", return_tensors="pt").input_ids

    def logits(adapter: Path) -> Any:
        base = AutoModelForCausalLM.from_pretrained(run.frozen["base_model"]["location"])
        with torch.no_grad():
            return PeftModel.from_pretrained(base, str(adapter)).eval()(input_ids=ids).logits

    assert torch.equal(logits(tmp_path), logits(run.output))


def test_only_files_of_the_result_go_up(workspace: Workspace, hub: LoopbackHub, tmp_path: Path) -> None:
    """Optimizer state, a script, a folder and links, whatever their names, stay here."""
    output = runs.find(workspace, "mine").output
    (tmp_path / "private.txt").write_text("nobody's business")
    others = ["optimizer.pt", "training_args.bin", "modeling.py", "config.json", ".env", "notes.md"]
    for name in others:
        (output / name).write_text("nobody's business")
    for link in ("merges.txt", "vocab.json"):
        (output / link).symlink_to(tmp_path / "private.txt")
    (output / "vocab.txt").mkdir()
    try:
        push(workspace, "mine", NAME)
    finally:
        for name in (*others, "merges.txt", "vocab.json"):
            (output / name).unlink()
        (output / "vocab.txt").rmdir()
    assert set(files_of(hub)) == ADAPTER
    assert not any(b"nobody's business" in sent for sent in hub.said_to_it())


def test_weights_that_are_a_link_are_no_weights(workspace: Workspace, hub: LoopbackHub) -> None:
    file = runs.find(workspace, "mine").output / "adapter_model.safetensors"
    file.rename(file.with_name("elsewhere"))
    file.symlink_to(file.with_name("elsewhere"))
    try:
        error = refusal(workspace, "mine", NAME)
    finally:
        file.with_name("elsewhere").rename(file)
    assert isinstance(error, WrongInput) and "mine has no weights to push" in str(error)
    assert hub.asked == []


def test_an_adapter_upon_another_says_what_it_needs(workspace: Workspace, hub: LoopbackHub) -> None:
    """On the plain base it would be another model, so loading it by that name must not be possible."""
    push(workspace, "upon", NAME)
    arrived = files_of(hub)

    assert json.loads(arrived["adapter_config.json"])["base_model_name_or_path"] == "mine"
    assert "it was trained on `tiny-base` with `mine` merged in" in arrived["README.md"].decode()
    assert "| adapters | `mine` |" in arrived["README.md"].decode()
    assert_nothing_leaked(hub, workspace)


def test_a_run_of_all_weights_is_pushed_as_a_model(workspace: Workspace, hub: LoopbackHub) -> None:
    output = runs.find(workspace, "full").output
    push(workspace, "full", NAME, private=False)
    arrived = files_of(hub)

    assert set(arrived) == MODEL and not hub.repositories[NAME].private
    assert arrived["model.safetensors"] == (output / "model.safetensors").read_bytes()
    assert front_of(arrived["README.md"])["library_name"] == "transformers"
    assert "The base is the practice base" in arrived["README.md"].decode()  # allowed, and told
    assert_nothing_leaked(hub, workspace)


def test_a_model_in_several_files_needs_all_of_them(
    workspace: Workspace, hub: LoopbackHub, tmp_path: Path
) -> None:
    output = runs.find(workspace, "full").output
    kept = output.rename(tmp_path / "kept")
    try:
        shutil.copytree(kept, output)
        shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
        index = {"metadata": {}, "weight_map": {"a": shards[0], "b": shards[1], "c": shards[1]}}
        (output / "model.safetensors").rename(output / shards[0])
        (output / "model.safetensors.index.json").write_text(json.dumps(index))
        assert f"{shards[1]} is missing" in str(refusal(workspace, "full", NAME))
        (output / shards[1]).write_bytes(b"more")
        push(workspace, "full", NAME)
        index["weight_map"] = {"a": "../../settings.json"}
        (output / "model.safetensors.index.json").write_text(json.dumps(index))
        assert "names files that are no weights" in str(refusal(workspace, "full", NAME))
    finally:
        shutil.rmtree(output)
        kept.rename(output)
    assert set(files_of(hub)) == (MODEL - {"model.safetensors"}) | {*shards, "model.safetensors.index.json"}


def test_merged_pushes_the_model_that_merge_writes(
    workspace: Workspace, hub: LoopbackHub, tmp_path: Path
) -> None:
    push(workspace, "mine", NAME)
    report = push(workspace, "mine", NAME, merged=True)
    merge(workspace, "mine", tmp_path / "merged")
    arrived = files_of(hub)

    assert set(arrived) == MODEL == set(report["files"])  # the adapter left: a mixture would load wrongly
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert arrived[name] == (tmp_path / "merged" / name).read_bytes(), name
    assert front_of(arrived["README.md"])["library_name"] == "transformers"
    assert "added into one model" in arrived["README.md"].decode()
    assert len(hub.repositories[NAME].commits) == 2
    assert push(workspace, "mine", NAME, merged=True)["unchanged"]
    assert not list((workspace.folder / "runs" / "mine").glob("*.partial"))
    assert_nothing_leaked(hub, workspace)


def test_merged_needs_room_first(
    workspace: Workspace, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    error = refusal(workspace, "mine", NAME, merged=True)
    assert isinstance(error, SourceUnavailable) and "The merged model needs" in str(error)
    assert hub.asked == []


def test_large_files_go_in_parts(workspace: Workspace, hub: LoopbackHub) -> None:
    hub.part_bytes = 4_000
    push(workspace, "mine", NAME)
    name = "adapter_model.safetensors"
    weights = (runs.find(workspace, "mine").output / name).read_bytes()
    assert files_of(hub)[name] == weights
    assert hub.kinds().count("put") == -(-len(weights) // 4_000) > 1
    assert_nothing_leaked(hub, workspace)


def test_a_base_on_the_hub_is_named_in_the_front_matter(workspace: Workspace) -> None:
    from training.model_card import card

    class OnHub(runs.LoraRun):
        @property
        def frozen(self) -> dict[str, Any]:
            base = {**super().frozen["base_model"], "name": "o/b", "kind": "hub", "location": "o/b"}
            return {**super().frozen, "base_model": base}

    run = OnHub(runs.find(workspace, "mine").folder)
    assert run.result is not None
    front = front_of(card(run, run.result, public=True).encode())
    assert front["base_model"] == "o/b" and "license" not in front and "datasets" not in front


# --- again, and over what is there ---


def test_a_push_repeated_changes_nothing(workspace: Workspace, hub: LoopbackHub) -> None:
    first = push(workspace, "mine", NAME)
    again = push(workspace, "mine", NAME)

    assert again == {**first, "unchanged": True}
    assert len(hub.repositories[NAME].commits) == 1 and hub.kinds().count("put") == 1


def test_files_that_somebody_added_stay(workspace: Workspace, hub: LoopbackHub) -> None:
    push(workspace, "mine", NAME)
    hub.repositories[NAME].files |= {"LICENSE": b"mine", "samples/one.txt": b"text", "vocab.txt": b"old"}
    push(workspace, "upon", NAME)

    assert set(files_of(hub)) == ADAPTER | {"LICENSE", "samples/one.txt"}
    assert len(hub.repositories[NAME].commits) == 2


@pytest.mark.parametrize(
    ("is_private", "files", "private", "says"),
    [
        (False, (), True, "exists already and everybody can read it"),
        (True, (), False, "exists already and is private"),
        (True, ("pytorch_model.bin",), True, "holds a model that Winnow did not push; nothing was changed"),
        (True, (".gitignore",), True, "has a .gitignore"),
    ],
)
def test_a_repository_that_is_not_for_it_is_left_alone(
    workspace: Workspace, hub: LoopbackHub, is_private: bool, files: tuple[str, ...], private: bool, says: str
) -> None:
    push(workspace, "mine", NAME)
    repository = hub.repositories[NAME]
    repository.private, repository.commits = is_private, []
    repository.files = dict.fromkeys(files, b"x")
    hub.asked.clear()

    error = refusal(workspace, "mine", NAME, private=private)
    assert isinstance(error, WrongInput) and says in str(error)
    assert repository.commits == [] and hub.kinds() == ["create", "info"]


def test_a_commit_of_somebody_else_meanwhile_is_not_overwritten(
    workspace: Workspace, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(workspace, "upon", NAME)
    preupload = hub.preupload

    def meanwhile(*given: Any) -> dict[str, Any]:
        hub.repositories[NAME].files["LICENSE"] = b"added while we upload"
        return preupload(*given)

    monkeypatch.setattr(hub, "preupload", meanwhile)
    error = refusal(workspace, "mine", NAME)
    assert isinstance(error, SourceUnavailable) and "Somebody else changed it meanwhile" in str(error)
    assert len(hub.repositories[NAME].commits) == 1


# --- what is wrong before anything is sent ---


@pytest.mark.parametrize(
    ("run", "name", "options", "says"),
    [
        ("nope", NAME, {}, "There is no run 'nope'"),
        ("waiting", NAME, {}, "The run waiting is waiting; it has no weights to push"),
        ("full", NAME, {"merged": True}, "there is nothing to merge, push it without --merged"),
        ("mine", "tiny-coder", {}, "'tiny-coder' is no OWNER/NAME"),
        ("mine", "a/b/c", {}, "is no OWNER/NAME"),
        ("mine", "ann/two words", {}, "is no OWNER/NAME"),
        ("mine", "ann/..", {}, "is no OWNER/NAME"),
        ("mine", "ann/", {}, "is no OWNER/NAME"),
        ("mine", "ann/x.git", {}, "is no OWNER/NAME"),
        ("mine", "ann/" + "x" * 97, {}, "at most 96"),
        ("mine", "https://huggingface.co/ann/x", {}, "is no OWNER/NAME"),
    ],
)
def test_bad_input_is_told_before_the_hub_is_asked(
    workspace: Workspace, hub: LoopbackHub, run: str, name: str, options: dict[str, Any], says: str
) -> None:
    error = refusal(workspace, run, name, **options)
    assert isinstance(error, WrongInput) and says in str(error)
    assert hub.asked == []


@pytest.mark.parametrize("token", [None, "", "  \n", "hf_two words", "hf_line\nbreak", "hf_ä"])
def test_without_a_token_it_says_how_to_set_one(
    workspace: Workspace, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    error = refusal(workspace, "mine", NAME)
    assert isinstance(error, WrongInput) and "HF_TOKEN" in str(error) and hub.asked == []
    assert ("write access" in str(error) and "`export HF_TOKEN=...`" in str(error)) == (
        not (token or "").strip()
    )
    assert not (token or "").strip() or token not in str(error)


def test_a_token_of_the_library_s_own_cache_is_not_used(
    workspace: Workspace, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN")
    assert "HF_TOKEN is not set" in str(refusal(workspace, "mine", NAME))


def test_two_pushes_of_one_run_do_not_meet(workspace: Workspace, hub: LoopbackHub) -> None:
    folder = workspace.folder / "runs" / "mine"
    with tried(folder / LOCK) as ours:
        assert ours
        assert "mine is being pushed already" in str(refusal(workspace, "mine", NAME))


def test_what_a_killed_push_left_is_swept(workspace: Workspace, hub: LoopbackHub) -> None:
    left = workspace.folder / "runs" / "mine" / PARTIAL / "files"
    left.mkdir(parents=True)
    (left / "vocab.txt").write_text("of another push")
    push(workspace, "mine", NAME)
    assert set(files_of(hub)) == ADAPTER and not left.exists()


# --- what a hub or a network refuses ---

CUT = Fault()
SAYS = f"no, {TOKEN} is not welcome"
REFUSALS = [
    ("create", Fault(401, SAYS), WrongInput, "does not know the token in HF_TOKEN"),
    ("create", Fault(403, SAYS), WrongInput, "HF_TOKEN may not write there"),
    ("create", Fault(429, SAYS), SourceUnavailable, "asks for fewer requests"),
    ("create", Fault(500, SAYS), SourceUnavailable, "The hub is in trouble"),
    ("create", CUT, SourceUnavailable, "Check the network and push again"),
    ("info", Fault(404, SAYS), WrongInput, "There is no such repository"),
    ("yaml", Fault(400, SAYS), SourceUnavailable, "gave an answer that is none of a hub"),
    ("preupload", Fault(401, "", {"X-Error-Code": "RepoNotFound"}), WrongInput, "HTTP 401: no reason given"),
    ("preupload", Fault(403, SAYS, {"X-Error-Code": "GatedRepo"}), WrongInput, "HF_TOKEN may not write"),
    ("preupload", Fault(503, SAYS), SourceUnavailable, "The hub is in trouble"),
    ("batch", Fault(402, SAYS), WrongInput, "The account has no room for it"),
    ("batch", CUT, SourceUnavailable, "Check the network and push again"),
    ("put", Fault(413, SAYS), WrongInput, "It takes no files of this size; push the adapter"),
    ("put", Fault(429, SAYS, {"Retry-After": "7"}), SourceUnavailable, "asks for fewer requests"),
    ("put", Fault(403, SAYS), SourceUnavailable, "storage refused a file (HTTP 403"),
    ("put", Fault(500, SAYS), SourceUnavailable, "The hub is in trouble"),
    ("put", CUT, SourceUnavailable, "Check the network and push again"),
    ("verify", Fault(500, SAYS), SourceUnavailable, "The hub is in trouble"),
    ("commit", Fault(403, SAYS), WrongInput, "HF_TOKEN may not write there"),
    ("commit", Fault(409, SAYS), SourceUnavailable, "Somebody else is changing it"),
    ("commit", Fault(413, SAYS), WrongInput, "It takes no files of this size"),
    ("commit", Fault(500, SAYS), SourceUnavailable, "The hub is in trouble"),
    ("commit", CUT, SourceUnavailable, "all arrives in one commit or nothing does"),
]


@pytest.mark.parametrize(
    ("at", "fault", "kind", "says"),
    REFUSALS,
    ids=[f"{at}-{fault.status or 'cut'}" for at, fault, *_ in REFUSALS],
)
def test_each_refusal_is_one_line_and_leaves_nothing_to_be_seen(
    workspace: Workspace, hub: LoopbackHub, at: str, fault: Fault, kind: type[CurationError], says: str
) -> None:
    hub.break_at(at, fault)
    error = refusal(workspace, "mine", NAME)
    assert type(error) is kind and says in str(error)
    assert NAME not in hub.repositories or files_of(hub) == {}

    hub.break_at(at, None)  # the same push again, when the hub is well
    report = push(workspace, "mine", NAME)
    assert set(files_of(hub)) == ADAPTER and not report["unchanged"]
    assert len(hub.repositories[NAME].commits) == 1
    assert_nothing_leaked(hub, workspace)


@pytest.mark.parametrize("at", ["preupload", "batch", "put", "verify"])
def test_a_hub_that_is_back_at_once_is_asked_again(workspace: Workspace, hub: LoopbackHub, at: str) -> None:
    hub.break_at(at, Fault(503, times=2))
    push(workspace, "mine", NAME)
    assert set(files_of(hub)) == ADAPTER and hub.kinds().count(at) == 3


def test_a_commit_whose_answer_is_lost_is_found_by_the_next_push(
    workspace: Workspace, hub: LoopbackHub
) -> None:
    hub.break_at("commit", Fault(after=True))
    error = refusal(workspace, "mine", NAME)
    assert isinstance(error, SourceUnavailable) and set(files_of(hub)) == ADAPTER

    hub.break_at("commit", None)
    assert push(workspace, "mine", NAME)["unchanged"] and len(hub.repositories[NAME].commits) == 1


def test_a_cut_between_two_pushes_leaves_the_first(workspace: Workspace, hub: LoopbackHub) -> None:
    push(workspace, "upon", NAME)
    before = files_of(hub)
    for at in ("put", "commit"):
        hub.break_at(at, CUT)
        refusal(workspace, "mine", NAME)
        assert files_of(hub) == before


def test_a_namespace_of_somebody_else_is_refused(workspace: Workspace, hub: LoopbackHub) -> None:
    hub.repositories["bob/open"] = type(hub.repositories.setdefault("bob/closed", _empty(True)))(False)
    new = refusal(workspace, "mine", "bob/new")
    assert isinstance(new, WrongInput) and "rights to create a model under bob" in str(new)
    taken = refusal(workspace, "mine", "bob/open", private=False)
    assert isinstance(taken, WrongInput) and "a repository of your own" in str(taken)
    assert hub.repositories["bob/open"].commits == [] and "put" not in hub.kinds()


def _empty(private: bool) -> Any:
    from tests.loopback_hub import Repository

    return Repository(private)


def test_a_hub_that_is_not_there_or_silent(
    workspace: Workspace, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("training.push.SECONDS", 0.2)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        error = refusal(workspace, "mine", NAME)
        assert isinstance(error, SourceUnavailable) and "ReadTimeout" in str(error)
    error = refusal(workspace, "mine", NAME)  # now nobody listens there
    assert isinstance(error, SourceUnavailable) and "ConnectError" in str(error)
    monkeypatch.setattr(constants, "ENDPOINT", "hub.example")
    assert "HF_ENDPOINT is no address" in str(refusal(workspace, "mine", NAME))


def test_a_password_in_the_address_is_not_repeated(
    workspace: Workspace, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    secret = hub.address.replace("//", "//ann:opensesame@")
    monkeypatch.setattr(constants, "ENDPOINT", secret)
    hub.break_at("create", Fault(500))
    assert "opensesame" not in str(refusal(workspace, "mine", NAME))


def test_a_token_that_a_line_break_follows_works_and_is_not_repeated(
    workspace: Workspace, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `HF_TOKEN=$(cat file)` in some shells gives it. It begins as no token of the hub's own does."""
    monkeypatch.setenv("HF_TOKEN", "mirror-5309\r\n")
    hub.break_at("create", Fault(403, "mirror-5309 may not"))
    assert "(HTTP 403: *** may not)" in str(refusal(workspace, "mine", NAME))
    assert hub.asked[0].headers["authorization"] == "Bearer mirror-5309"


def test_offline_mode_is_named(
    workspace: Workspace, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = refusal(workspace, "mine", NAME)
    assert isinstance(error, WrongInput) and "HF_HUB_OFFLINE" in str(error) and hub.asked == []


# --- the doors ---


def test_from_the_terminal(workspace: Workspace, hub: LoopbackHub) -> None:
    """In a process of its own, which reads HF_ENDPOINT as a person's would."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("WINNOW_", "HF_"))}
    done = subprocess.run(
        [sys.executable, "-m", "training", "push", "mine", NAME, "--public",
         "--workspace", str(workspace.folder), "--json"],
        cwd=ROOT, env=ours | {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr
    report = json.loads(done.stdout)
    assert report["url"] == f"{hub.address}/{NAME}" and report["files"] == sorted(ADAPTER)
    assert set(files_of(hub)) == ADAPTER and not hub.repositories[NAME].private
    assert TOKEN not in done.stdout
    assert_nothing_leaked(hub, workspace)


def test_a_refusal_in_the_terminal(
    workspace: Workspace, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.break_at("commit", Fault(403, SAYS))
    capsys.readouterr()
    status = main(["push", "mine", NAME, "--merged", "--workspace", str(workspace.folder)])
    out, err = capsys.readouterr()
    assert status == 2 and out == "" and len(err.splitlines()) == 1 and "HTTP 403" in err
    assert TOKEN not in err and hub.repositories[NAME].private
    assert any(b'"model.safetensors"' in sent for sent in hub.said_to_it())


def test_as_a_job(workspace: Workspace, hub: LoopbackHub) -> None:
    """It does not wait for training; private unless the settings clearly say otherwise."""
    assert queue_of("push") == "jobs" != queue_of("train")
    for given, private in (({}, True), ({"private": None}, True), ({"private": False}, False)):
        name = f"{NAME}-{len(hub.repositories)}"
        settings = {"run": "mine", "repository": name, **given}
        check("push", settings)
        done = STEPS["push"].run(workspace, dict(settings), lambda *said: None)
        assert done["ok"] and done["report"]["repository"] == name
        assert hub.repositories[name].private is private
    assert title_of("push", settings) == f"Push mine to {name}"
    with pytest.raises(WrongInput, match="push needs the setting 'repository'"):
        check("push", {"run": "mine"})
