"""Base beside tuned: their answers are what the models say, and the process that asks them is replaced."""

import io
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from curation.errors import WrongInput
from curation.file_lock import is_held
from curation.workspace import Workspace
from tests.lora_workspace import QUICK, VERSION, trained_workspace
from training import chat, fit
from training.base_model import practice_folder
from training.chat import BASE, END, LENGTH, SIDES, STOPPED, TUNED, Answer, Chat, Piece, Pieces, Sampling
from training.chat_process import LOCK, Desk, Talk, _answer_all, _Inbox, threads_beside
from training.cli import main
from training.format import encode
from training.lora import launch, train
from training.run import LoraRun

QUESTIONS = ("sort a list (3)", "merge two queues (40)", "print the naïve 🙂 漢字")
# Enough for the adapter to say something else than its base; 3 s.
LEARNS = {**QUICK, "max_steps": 40, "learning_rate": 0.03, "eval_every": 40, "save_every": 40}
SHORT = Sampling(max_new_tokens=24)
LIMIT = 120.0  # seconds on a busy machine: the process loads torch


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run that learned something, one of all weights, and one that was not trained."""
    workspace = trained_workspace(tmp_path_factory.mktemp("chat") / "workspace", 30)
    train(workspace, launch(workspace, VERSION, changes=LEARNS, name="lora").name)
    train(workspace, launch(workspace, VERSION, method="full", changes=QUICK, name="full").name)
    launch(workspace, VERSION, changes=QUICK, name="waits")
    return workspace


@pytest.fixture(scope="module")
def loaded(workspace: Workspace) -> Chat:
    return Chat.load(workspace, "lora")


def asked(
    loaded: Chat, question: str, sampling: Sampling = SHORT, input: str = ""
) -> tuple[dict[str, Answer], dict[str, list[str]]]:
    """Give both answers, and the pieces they came in."""
    answers: dict[str, Answer] = {}
    pieces: dict[str, list[str]] = {side: [] for side in SIDES}
    for one in loaded.answers(question, input, sampling):
        if isinstance(one, Piece):
            pieces[one.side].append(one.text)
        else:
            answers[one.side] = one
    return answers, pieces


def generated(model: Any, prompt: Sequence[int], most: int) -> list[int]:
    """Give what transformers' own greedy search makes of a prompt."""
    ids = torch.tensor([prompt])
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False
    )
    return list(made[0, len(prompt) :].tolist())


def plain(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()


# --- what is answered ---


def test_both_sides_answer_token_by_token_as_base_and_adapter_do(workspace: Workspace, loaded: Chat) -> None:
    from peft import PeftModel

    run = LoraRun(workspace.folder / "runs" / "lora")
    base = plain(practice_folder(workspace))
    tuned = PeftModel.from_pretrained(plain(practice_folder(workspace)), str(run.output)).eval()
    different = 0
    for question in QUESTIONS:
        prompt = loaded.prompt(question)
        answers, _ = asked(loaded, question)
        assert list(answers[BASE].ids) == generated(base, prompt, 24)
        assert list(answers[TUNED].ids) == generated(tuned, prompt, 24)
        different += answers[BASE].ids != answers[TUNED].ids
    assert different == len(QUESTIONS), "an adapter that changes nothing would prove nothing"


def test_a_full_fine_tune_is_asked_beside_its_base(workspace: Workspace, loaded: Chat) -> None:
    both = Chat.load(workspace, "full")
    answers, _ = asked(both, QUESTIONS[0])
    prompt = both.prompt(QUESTIONS[0])
    assert list(answers[BASE].ids) == list(asked(loaded, QUESTIONS[0])[0][BASE].ids)
    tuned = plain(workspace.folder / "runs" / "full" / "model")
    assert list(answers[TUNED].ids) == generated(tuned, prompt, 24) != list(answers[BASE].ids)


@pytest.mark.parametrize("input", ["", "a, b"])
@pytest.mark.parametrize("template", ["alpaca", "magicoder", "wizardcoder"])
def test_a_question_is_put_as_in_training(loaded: Chat, template: str, input: str) -> None:
    """What is read before the answer is what training masked, first token and all, and no more."""
    row = {"id": "1", "instruction": "sort </s> <PRE>", "input": input, "response": "\ndef f(): ..."}
    example = encode(row, loaded.tokenizer, template, 4_096)
    masked = sum(label != one for label, one in zip(example.labels, example.ids, strict=True))
    asked_otherwise = Chat(loaded.run, loaded.tokenizer, loaded.models)
    asked_otherwise.template, asked_otherwise.positions = template, 0
    prompt = asked_otherwise.prompt(row["instruction"], input)
    assert prompt == list(example.ids[:masked]) and prompt[0] == loaded.tokenizer.bos_token_id
    special = set(loaded.tokenizer.all_special_ids)
    assert not special & set(prompt[1:]), "what looks like a special token in a question stays text"


def test_pieces_are_whole_characters_and_join_to_the_answer(loaded: Chat) -> None:
    answers, pieces = asked(loaded, QUESTIONS[2], Sampling(max_new_tokens=40))
    for side in SIDES:
        whole = loaded.tokenizer.decode(list(answers[side].ids), clean_up_tokenization_spaces=False)
        assert "".join(pieces[side]) == answers[side].text == whole
        assert len(pieces[side]) > 5, "it came at once"


def test_a_character_is_held_back_until_its_bytes_are_there(loaded: Chat) -> None:
    text = "naïve 🙂🙂 漢字 \x1b[0m end"
    ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = Pieces(loaded.tokenizer)
    given = [pieces.add(token) for token in ids]
    assert "".join(given) + pieces.rest() == text
    assert given.count("") >= 4 and not any(chat.UNFINISHED in piece for piece in given)
    cut = Pieces(loaded.tokenizer)
    emoji = loaded.tokenizer("🙂", add_special_tokens=False)["input_ids"]
    assert [cut.add(token) for token in emoji[:2]] == ["", ""]
    assert cut.rest() == chat.UNFINISHED and cut.rest() == "", "what never became whole is shown as such"


# --- how it ends ---


def test_an_answer_ends_at_the_end_token_which_is_neither_shown_nor_counted(
    loaded: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asked(loaded, QUESTIONS[0])[0]
    assert {one.ended for one in told.values()} == {LENGTH} and told[TUNED].tokens == 24
    ids = told[TUNED].ids
    end = next(token for token in ids if ids.index(token) > 1)
    monkeypatch.setattr(type(loaded.tokenizer), "eos_token_id", end, raising=False)
    now = asked(loaded, QUESTIONS[0])[0][TUNED]
    assert (now.ended, now.ids) == (END, ids[: ids.index(end)])


def test_a_stop_ends_both_and_keeps_what_came(loaded: Chat) -> None:
    seen: list[str] = []
    answers = {}
    for one in loaded.answers(QUESTIONS[0], "", SHORT, lambda: len(seen) >= 3):
        if isinstance(one, Piece):
            seen.append(one.text)
        else:
            answers[one.side] = one
    assert [answers[side].ended for side in SIDES] == [STOPPED, STOPPED]
    assert answers[BASE].text == "".join(seen) and answers[TUNED].tokens == 0


def test_an_answer_stays_within_the_positions(loaded: Chat) -> None:
    prompt = loaded.prompt(QUESTIONS[0])
    answers, _ = asked(loaded, QUESTIONS[0], Sampling(max_new_tokens=4_096))
    assert {one.tokens for one in answers.values()} == {loaded.positions - len(prompt)}
    with pytest.raises(WrongInput, match=r"takes [\d,]+ tokens with its template.*knows 256 positions"):
        next(loaded.answers("sort " * 300, "", SHORT))


# --- how tokens are chosen ---


def test_both_sides_draw_by_the_same_seed(loaded: Chat) -> None:
    warm = Sampling(max_new_tokens=24, temperature=1.0)
    first, again = asked(loaded, QUESTIONS[0], warm)[0], asked(loaded, QUESTIONS[0], warm)[0]
    other = asked(loaded, QUESTIONS[0], replace(warm, random_seed=1))[0]
    greedy = asked(loaded, QUESTIONS[0])[0]
    for side in SIDES:
        assert first[side].ids == again[side].ids
        assert first[side].ids not in (other[side].ids, greedy[side].ids)
        # Among the likeliest one per cent there is one token: the greedy one.
        narrow = asked(loaded, QUESTIONS[0], replace(warm, temperature=0.05, top_p=0.01))[0]
        assert narrow[side].ids == greedy[side].ids
    before = torch.random.get_rng_state()
    asked(loaded, QUESTIONS[0], warm)
    assert torch.equal(before, torch.random.get_rng_state()), "nobody else's chance is touched"


def test_drawn_tokens_are_those_of_the_models_alone(workspace: Workspace, loaded: Chat) -> None:
    """Draws tell more than the likeliest token: an adapter half switched off would be seen here."""
    base = plain(practice_folder(workspace))
    alone = Chat(loaded.run, loaded.tokenizer, dict.fromkeys(SIDES, base))
    alone._as = lambda side: nullcontext()  # type: ignore[method-assign]
    warm = Sampling(max_new_tokens=40, temperature=1.0)
    answers, _ = asked(alone, QUESTIONS[1], warm)
    assert answers[BASE].ids == answers[TUNED].ids, "equal models draw equally: one seed for both"
    both, _ = asked(loaded, QUESTIONS[1], warm)
    assert both[BASE].ids == answers[BASE].ids != both[TUNED].ids
    assert len(set(both[BASE].ids)) > 10


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens 0 must be a number between 1 and 4,096"),
        ({"max_new_tokens": 5_000}, "max_new_tokens 5000"),
        ({"max_new_tokens": 2.5}, "max_new_tokens 2.5"),
        ({"max_new_tokens": True}, "max_new_tokens True"),
        ({"temperature": 2.1}, "temperature 2.1 must be a number between 0 and 2"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"temperature": "hot"}, "temperature 'hot'"),
        ({"top_p": 0}, "top_p 0 must be a number between 0.01 and 1"),
        ({"random_seed": -1}, "random_seed -1 must be a number between 0 and 2,147,483,647"),
    ],
)
def test_bounds_are_kept(values: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongInput) as raised:
        Sampling(**values)
    assert str(raised.value).startswith(says)


# --- what cannot be asked ---


def test_a_run_without_weights_is_refused(workspace: Workspace) -> None:
    with pytest.raises(WrongInput, match="The run waits is waiting; it has no weights"):
        Chat.load(workspace, "waits")


def test_another_base_in_its_place_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    moved = Workspace(shutil.copytree(workspace.folder, tmp_path / "workspace"))
    answers, _ = asked(Chat.load(moved, "lora"), QUESTIONS[0])
    assert answers[TUNED].tokens == 24, "a workspace that was moved as a whole still answers"
    (practice_folder(moved) / "config.json").write_text(
        (practice_folder(moved) / "config.json").read_text() + "\n"
    )
    with pytest.raises(WrongInput, match="practice is not the one the run lora began with"):
        Chat.load(moved, "lora")


def test_what_does_not_fit_in_memory_is_refused_before_it_is_loaded(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((practice_folder(workspace) / "config.json").read_bytes())
    one, two = (
        fit.answering(config, LoraRun(workspace.folder / "runs" / name).settings, fit.CPU, 0)
        for name in ("lora", "full")
    )
    parameters = fit.Shape.read(config).parameters
    assert one == fit.FLOOR + 4 * (parameters + 2_304) and two == fit.FLOOR + 8 * parameters

    def free(size: int) -> Any:
        return lambda: {"total": size, "available": size, "gpus": []}

    monkeypatch.setattr(fit, "machine_memory", free(1_000_000))
    monkeypatch.setattr(chat.base_model, "load_model", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(
        WrongInput, match=r"Answering with full takes about 52\d MB \(base and .* 1 MB are free"
    ):
        Chat.load(workspace, "full")


@pytest.mark.parametrize(
    ("question", "says"),
    [(" \n", "There is no question"), ("x" * 100_001, "100,001 characters"), ("\udce9", "not UTF-8")],
)
def test_no_question_is_refused_by_model_and_app(
    workspace: Workspace, loaded: Chat, question: str, says: str
) -> None:
    with pytest.raises(WrongInput, match=says):
        loaded.prompt(question)
    desk = Desk(workspace.folder)
    with pytest.raises(WrongInput, match=says):
        desk.ask("lora", question, "", SHORT)
    assert desk.process is None, "no process for nothing"


# --- in a terminal ---


def terminal(workspace: Workspace, capsys: Any, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["chat", *words, "--workspace", str(workspace.folder)])
    out, err = capsys.readouterr()
    return status, out, err


def test_one_question_from_the_terminal(
    workspace: Workspace, loaded: Chat, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("lora", "--prompt", QUESTIONS[0], "--input", "x", "--max-new-tokens", "7")
    status, out, _ = terminal(workspace, capsys, *words, "--json")
    report = json.loads(out.splitlines()[-1])
    answers, _ = asked(loaded, QUESTIONS[0], Sampling(max_new_tokens=7), "x")
    assert status == 0 and report["run"] == "lora"
    for side in SIDES:
        assert report[side]["text"] == answers[side].text
        assert report[side]["tokens"] == 7 and report[side]["ended"] == LENGTH
    status, _, err = terminal(workspace, capsys, "lora", "--prompt", "x", "--temperature", "3")
    assert status == 2 and err == "winnow: temperature 3.0 must be a number between 0 and 2\n"


def test_question_after_question_and_a_bad_one_between(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{QUESTIONS[0]}\n\n{'sort ' * 300}\n{QUESTIONS[1]}\n"))
    status, out, err = terminal(workspace, capsys, "lora", "--max-new-tokens", "5")
    assert status == 0 and "questions: 2" in out
    assert out.count("[base]\n") == out.count("[tuned: lora]\n") == 2
    assert out.count("(5 tokens, ") == 4 and out.count("ended by length") == 4
    assert err.count("winnow:") == 1 and "knows 256 positions" in err


def test_control_characters_of_a_model_do_not_steer_the_terminal(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(*_: Any) -> Iterator[Piece | Answer]:
        for side in SIDES:
            yield Piece(side, "\x1b[2Jgone\u202e")
            yield Answer(side, "\x1b[2Jgone\u202e", (1,), 0.1, 0.2, END)

    monkeypatch.setattr(Chat, "answers", answers)
    monkeypatch.setattr("sys.stdin", io.StringIO("x\n"))
    for words in (("lora",), ("lora", "--prompt", "x")):
        status, out, _ = terminal(workspace, capsys, *words)
        assert status == 0 and out.count("\\x1b[2Jgone\\x202e") == 2 and "\x1b" not in out


# --- the process ---


@pytest.fixture
def desk(workspace: Workspace) -> Iterator[Desk]:
    made = Desk(workspace.folder, environment=os.environ | {"OMP_NUM_THREADS": "1"})
    yield made
    made.close()


def over(talk: Talk) -> Talk:
    assert talk.wait(LIMIT), "nobody ended it"
    return talk


# One test, because a process loads torch for longer than all the rest takes.
def test_a_process_answers_tabs_in_turn_and_survives_its_end(
    workspace: Workspace, loaded: Chat, desk: Desk
) -> None:
    killed = desk.ask("lora", QUESTIONS[0], "", SHORT)
    assert desk.process is not None
    first = desk.process
    os.kill(first.pid, signal.SIGKILL)
    assert over(killed).error is not None and "was killed (signal 9)" in killed.error
    assert killed.answers == {}

    talks: dict[int, Talk] = {}

    def tab(n: int) -> None:
        talks[n] = desk.ask("lora", QUESTIONS[n], "", SHORT)

    tabs = [threading.Thread(target=tab, args=(n,)) for n in (0, 1)]
    for one in tabs:
        one.start()
    for one in tabs:
        one.join()
    process = desk.process
    assert process is not first and process is not None, "the next question starts a new one"
    with pytest.raises(WrongInput, match="lora is answering, perhaps in another tab"):
        desk.ask("full", QUESTIONS[0], "", SHORT)
    for n in (0, 1):
        assert over(talks[n]).error is None
        answers, _ = asked(loaded, QUESTIONS[n])
        assert {side: talks[n].texts[side] for side in SIDES} == {s: a.text for s, a in answers.items()}
        assert [talks[n].answers[side]["ended"] for side in SIDES] == [LENGTH, LENGTH]
    assert desk.process is process and process.is_alive, "one process for both"
    assert is_held(workspace.folder / "runs" / "lora" / LOCK)

    bad = over(desk.ask("lora", "sort " * 300, "", SHORT))
    assert bad.error is not None and "knows 256 positions" in bad.error
    longest = desk.ask("lora", QUESTIONS[0], "", Sampling(max_new_tokens=4_096))
    stopped = desk.ask("lora", QUESTIONS[1], "", SHORT)
    desk.stop(stopped)
    assert [over(stopped).answers[side]["ended"] for side in SIDES] == [STOPPED, STOPPED]
    assert stopped.texts == dict.fromkeys(SIDES, "") and over(longest).answers[TUNED]["tokens"] > 24

    began = time.monotonic()
    switched = desk.ask("full", QUESTIONS[0], "", SHORT)  # nobody waits for lora now
    assert process._process.returncode == 0 and time.monotonic() - began < 3, "it left by itself"
    assert desk.process is not None and desk.process.run == "full"
    desk.close()
    assert over(switched).error is not None and not is_held(workspace.folder / "runs" / "lora" / LOCK)


def test_a_process_gives_its_memory_back_when_nobody_asks(workspace: Workspace, loaded: Chat) -> None:
    reading, writing = os.pipe()
    said: list[dict[str, Any]] = []
    ended = threading.Event()
    with os.fdopen(reading, "rb") as lines:
        inbox = _Inbox(lines, ended.set)
        question = {"ask": 1, "instruction": QUESTIONS[0], "input": "", "sampling": {"max_new_tokens": 3}}
        os.write(writing, json.dumps(question).encode() + b"\n")
        began = time.monotonic()
        _answer_all(workspace, loaded, inbox, 0.5, lambda **one: said.append(one))
        assert time.monotonic() - began >= 0.5
        os.close(writing)
        assert ended.wait(10)
    assert said[0] == {"talk": 1} and said[-1] == {"talk": 1, "over": True}
    assert "".join(one.get("piece", "") for one in said if one.get("side") == BASE) == (
        asked(loaded, QUESTIONS[0], Sampling(max_new_tokens=3))[0][BASE].text
    )


def test_what_cannot_be_loaded_is_told_to_whoever_asked(workspace: Workspace, desk: Desk) -> None:
    talk = over(desk.ask("waits", QUESTIONS[0], "", SHORT))
    assert talk.error == "The run waits is waiting; it has no weights to answer with"


def test_one_thread_beside_a_training(workspace: Workspace) -> None:
    assert threads_beside(workspace, 8) == 8
    with LoraRun(workspace.folder / "runs" / "waits").locked() as ours:
        assert ours and threads_beside(workspace, 8) == 1


def test_a_question_that_no_tab_waits_for_holds_up_nobody() -> None:
    talk = Talk(1, "lora")
    assert talk.is_watched
    talk._looked_at -= 100
    assert not talk.is_watched
    talk.look()
    assert talk.is_watched
    talk.end()
    assert not talk.is_watched
