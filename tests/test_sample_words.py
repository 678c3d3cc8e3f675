"""A person's word on a sample: what it does to the first stage, and what is told of it; edits and parents."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation import clean, review
from curation.assemble import Settings as AssembleSettings
from curation.assemble import assemble, is_current, stale_rows
from curation.errors import WrongInput
from curation.explain import explain
from curation.records import Sample, digest
from curation.sample_words import edit, say
from curation.status import status
from curation.store import browsing, sample_words, samples, seeds
from curation.workspace import Workspace
from tests.made_up_seeds import made_up_seeds
from tests.workspaces import CommandLine

SEEDS = made_up_seeds(6)


def made(number: int, **more: Any) -> Sample:
    texts = {"instruction": f"Problem {number}", "input": "", "response": f"Solution {number}"}
    origin = {"source": SEEDS[number].source, "row": None, "name": "oss", "licence": "MIT"}
    facts = {"method": "oss-instruct", "seed_id": SEEDS[number].id, "extra": {"model": "m"}}
    return Sample(**{"id": digest("sample", str(number)), **texts, **origin, **facts, **more})


IDS = [made(number).id for number in range(6)]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Six samples, each from its own seed; the last repeats the question of the first, at more length."""
    opened = Workspace(tmp_path / "workspace")
    with opened.database.transaction() as connection:
        seeds.add(connection, SEEDS)
        rows = [made(number) for number in range(5)]
        samples.add(connection, [*rows, made(5, instruction="Problem 0", response="Solution 5, longer")])
    yield opened
    opened.database.close()


def seq(workspace: Workspace, id: str) -> int:
    row = samples.find(workspace.database, id)
    assert row is not None
    return int(row.seq)


def words(workspace: Workspace, id: str) -> list[tuple[str, str, str]]:
    with workspace.database.reading() as connection:
        found = sample_words.history(connection, seq(workspace, id))
    return [(one.word, one.person, one.note) for one in found]


def of_clean(workspace: Workspace, id: str) -> dict[str, Any]:
    """What explain tells of a row in the stage `clean`."""
    (told,) = [one for one in explain(workspace, id)["stages"] if one["stage"] == "clean"]
    return dict(told)


# --- what is said ---


def test_the_newest_word_counts_and_pressing_twice_changes_nothing(workspace: Workspace) -> None:
    first = say(workspace, IDS[1], "reject", "ann", "trivial")
    assert (first.sample, first.changed, first.message) == (IDS[1], True, f"{IDS[1]} is rejected by ann")
    for note in ("trivial", ""):
        again = say(workspace, IDS[1], "reject", "bob", note)
        assert (again.changed, again.message) == (False, f"{IDS[1]} is rejected by ann already")
    assert say(workspace, IDS[1], "reject", "bob", "and wrong").changed, "another note says something new"
    assert say(workspace, IDS[1], "accept", "cy").changed
    assert say(workspace, IDS[1], "none", "cy").message == f"{IDS[1]} has no word of a person any more"
    assert not say(workspace, IDS[1], "none", "cy").changed
    assert words(workspace, IDS[1]) == [
        ("reject", "ann", "trivial"),
        ("reject", "bob", "and wrong"),
        ("accept", "cy", ""),
        ("none", "cy", ""),
    ]


def test_taking_back_what_nobody_said_changes_nothing(workspace: Workspace) -> None:
    assert not say(workspace, IDS[1], "none").changed
    assert words(workspace, IDS[1]) == []


def test_a_word_that_cannot_be_is_refused(workspace: Workspace) -> None:
    for given, message in (
        ((IDS[0], "maybe"), "There is no word 'maybe'; say accept, reject, none"),
        (("ffffffff", "reject"), "No sample, or more than one, has an id that begins with 'ffffffff'"),
        ((IDS[0], "reject", " "), "Say who it is"),
        ((IDS[0], "reject", "a\0b"), "The name holds a NUL"),
        ((IDS[0], "reject", "me", "x" * 2_001), "The note has 2,001 characters"),
        ((IDS[0], "reject", "me", "\ud800"), "Character 1 of the note is half of one"),
    ):
        with pytest.raises(WrongInput, match=message):
            say(workspace, *given)
    with workspace.database.reading() as connection:
        assert sample_words.counts(connection) == {"accept": 0, "reject": 0}


# --- what it does ---


@pytest.mark.parametrize("rule", ["platypus", "magicoder"])
def test_clean_drops_what_a_person_rejected_and_says_who(workspace: Workspace, rule: str) -> None:
    say(workspace, IDS[2], "reject", "ann", "trivial")
    say(workspace, IDS[3], "accept", "ann")
    report = clean.clean(workspace, rule).report
    repeated = {"platypus": "exact_duplicate", "magicoder": "duplicate_problem"}[rule]
    assert report["dropped"] == {repeated: 1, "rejected_by_person": 1}
    assert report["in"] == 6 == report["kept"] + sum(report["dropped"].values()) + report["pending"]
    told = of_clean(workspace, IDS[2])
    (why,) = told["rejections"]
    assert (told["state"], why["reason"]) == ("dropped", "rejected_by_person")
    (word,) = explain(workspace, IDS[2])["words"]
    assert why["evidence"] == {"person": "ann", "at": word["at"], "note": "trivial"}
    assert of_clean(workspace, IDS[3])["state"] == "kept"


def test_a_rejected_row_is_nobodys_keeper(workspace: Workspace) -> None:
    """Row 5 repeats row 0 at more length: without the word it would stay in place of row 0."""
    say(workspace, IDS[5], "reject")
    assert clean.clean(workspace).report["dropped"] == {"rejected_by_person": 1}
    assert of_clean(workspace, IDS[0])["state"] == "kept"
    say(workspace, IDS[5], "none")
    assert clean.clean(workspace).report["dropped"] == {"exact_duplicate": 1}
    assert of_clean(workspace, IDS[0])["rejections"][0]["evidence"]["keeper"] == IDS[5]


def stale(workspace: Workspace) -> int:
    """What status, assembly and pages say of `clean`, which must be one and the same."""
    told = status(workspace)["stages"]["clean"]["stale"]
    assert told == stale_rows(workspace, "clean")
    assert told == browsing.funnel(workspace.database).stages[0]["stale"]
    return int(told)


def test_a_new_word_makes_the_run_stale_until_it_runs_again(workspace: Workspace) -> None:
    clean.clean(workspace)
    assert stale(workspace) == 0
    stamp = browsing.change_stamp(workspace.database)
    say(workspace, IDS[1], "reject")
    say(workspace, IDS[2], "reject")
    assert browsing.change_stamp(workspace.database) != stamp
    assert stale(workspace) == 2
    with pytest.raises(WrongInput, match="clean is stale: 2 rows changed"):
        assemble(workspace, "v1", AssembleSettings())
    assert not clean.clean(workspace).unchanged
    assert stale(workspace) == 0 and clean.clean(workspace).unchanged
    say(workspace, IDS[1], "accept")
    assert stale(workspace) == 1
    clean.clean(workspace)
    say(workspace, IDS[3], "accept")
    assert stale(workspace) == 0 and clean.clean(workspace).unchanged, "to accept a kept row changes nothing"
    assert status(workspace)["words"] == {"accept": 2, "reject": 1}


def test_a_row_that_clean_never_saw_shows_its_word(workspace: Workspace) -> None:
    say(workspace, IDS[4], "reject", "ann", "off topic")
    told = explain(workspace, IDS[4])
    assert told["stages"] == []
    assert [(one["word"], one["person"], one["note"]) for one in told["words"]] == [
        ("reject", "ann", "off topic")
    ]
    assert "words" not in explain(workspace, IDS[3]) and "edits" not in explain(workspace, IDS[3])
    with pytest.raises(WrongInput, match="People rejected 1 rows; run `python -m curation clean`"):
        assemble(workspace, "v1", AssembleSettings())


def test_a_rejected_row_can_be_rescued_and_rejected_again(workspace: Workspace) -> None:
    say(workspace, IDS[1], "reject", "ann")
    clean.clean(workspace)
    review.rescue(workspace, IDS[1], "bob")
    assert of_clean(workspace, IDS[1])["state"] == "pending"
    report = clean.clean(workspace, again=True).report
    assert (report["pending"], report["kept"]) == (1, 4), "the rescue holds when the stage runs again"
    assert of_clean(workspace, IDS[1])["rejections"][0]["reason"] == "rejected_by_person"
    assert stale(workspace) == 0

    assert say(workspace, IDS[1], "reject", "ann").changed, "it stands against the rescue"
    assert of_clean(workspace, IDS[1])["state"] == "dropped"
    assert clean.clean(workspace, again=True).report["pending"] == 0
    assert not say(workspace, IDS[1], "reject", "ann").changed
    review.rescue(workspace, IDS[1])
    review.rescue(workspace, IDS[1], undo=True)
    assert of_clean(workspace, IDS[1])["state"] == "dropped"


def test_a_rejection_goes_before_an_older_rescue(workspace: Workspace) -> None:
    clean.clean(workspace)
    review.rescue(workspace, IDS[0])  # it repeats row 5
    say(workspace, IDS[0], "reject")
    assert clean.clean(workspace).report["dropped"] == {"rejected_by_person": 1}
    assert of_clean(workspace, IDS[0])["rejections"][0]["reason"] == "rejected_by_person"


def test_a_version_holds_no_rejected_row(workspace: Workspace) -> None:
    say(workspace, IDS[1], "reject")
    clean.clean(workspace)
    report = assemble(workspace, "v1", AssembleSettings()).report
    assert report["rows"] == 4 and report["dropped"]["clean"] == 2 and is_current(workspace, "v1")


# --- edits ---


def test_an_edit_is_a_new_row_that_names_its_parent(workspace: Workspace) -> None:
    done = edit(workspace, IDS[1], response="Solution 1, mended", person="ann")
    new = samples.find(workspace.database, done.sample)
    assert new is not None and done.changed
    assert new.id == digest(IDS[1], "edit", "Problem 1", "", "Solution 1, mended")
    assert (new.instruction, new.response) == ("Problem 1", "Solution 1, mended")
    parent = made(1)
    kept = ("source", "licence", "name", "seed_id", "row", "file_hash")
    assert all(getattr(new, name) == getattr(parent, name) for name in kept)
    assert (new.method, new.extra) == ("edited", {"parent": IDS[1], "person": "ann"})
    assert words(workspace, IDS[1]) == [("reject", "ann", "edited")]
    old = samples.find(workspace.database, IDS[1])
    assert old is not None and old.response == "Solution 1", "no text of a row is ever changed"
    assert explain(workspace, IDS[1])["edits"] == [new.id]
    assert explain(workspace, new.id)["origin"]["extra"]["parent"] == IDS[1]
    assert explain(workspace, new.id)["origin"]["seed"]["id"] == SEEDS[1].id


def test_an_edit_takes_the_place_of_its_parent_in_the_stages(workspace: Workspace) -> None:
    new = edit(workspace, IDS[1], instruction="Problem 1, clearer").sample
    report = clean.clean(workspace, "magicoder").report
    assert report["dropped"] == {"duplicate_problem": 1, "rejected_by_person": 1} and report["in"] == 7
    assert of_clean(workspace, new)["state"] == "kept", (
        "its parent has the same seed and solution, and is gone"
    )
    assert of_clean(workspace, IDS[1])["rejections"][0]["evidence"]["note"] == "edited"


def test_the_same_edit_again_changes_nothing(workspace: Workspace) -> None:
    first = edit(workspace, IDS[1], response="mended")
    again = edit(workspace, IDS[1], response="mended", person="bob")
    assert (again.sample, again.changed) == (first.sample, False)
    assert again.message == f"{first.sample} is there already"
    assert samples.count(workspace.database) == 7 and len(words(workspace, IDS[1])) == 1
    nothing = edit(workspace, IDS[2], response="Solution 2")
    assert (nothing.sample, nothing.changed) == (IDS[2], False)
    assert words(workspace, IDS[2]) == []


def test_an_edit_that_was_given_up_can_be_made_again(workspace: Workspace) -> None:
    new = edit(workspace, IDS[1], response="mended").sample
    say(workspace, new, "reject")
    say(workspace, IDS[1], "none")
    assert edit(workspace, IDS[1], response="mended").changed
    assert clean.clean(workspace).report["dropped"] == {"exact_duplicate": 1, "rejected_by_person": 1}
    assert of_clean(workspace, new)["state"] == "kept" and of_clean(workspace, IDS[1])["state"] == "dropped"


def test_an_edit_of_an_edit_names_the_edit(workspace: Workspace) -> None:
    first = edit(workspace, IDS[1], response="mended").sample
    second = edit(workspace, first, instruction="Problem 1, clearer").sample
    assert explain(workspace, second)["origin"]["extra"]["parent"] == first
    assert explain(workspace, first)["edits"] == [second] and explain(workspace, IDS[1])["edits"] == [first]


def test_what_the_student_is_told_before_the_row_stays_with_it(workspace: Workspace) -> None:
    with workspace.database.transaction() as connection:
        samples.add(connection, [made(0, id=digest("told"), extra={"system": "Be brief.", "model": "m"})])
    new = samples.find(workspace.database, edit(workspace, digest("told"), response="Yes").sample)
    assert new is not None
    assert new.extra == {"parent": digest("told"), "person": "me", "system": "Be brief."}


def test_an_edit_that_cannot_be_a_row_changes_nothing(workspace: Workspace) -> None:
    for texts, message in (
        ({"instruction": " \n"}, "The instruction is empty; to take the row out, reject it"),
        ({"response": ""}, "The response is empty"),
        ({"response": "a\0"}, "The response holds a NUL"),
        ({"response": "ab\udc00"}, "Character 3 of the response is half of one"),
        ({"response": "x" * 1_000_001}, "The response has 1,000,001 characters"),
    ):
        with pytest.raises(WrongInput, match=message):
            edit(workspace, IDS[1], **texts)
    assert samples.count(workspace.database) == 6 and words(workspace, IDS[1]) == []


def test_an_infilling_row_is_not_edited(workspace: Workspace) -> None:
    parts = {"prefix": "a", "middle": "b", "suffix": "c"}
    with workspace.database.transaction() as connection:
        samples.add(connection, [made(0, id=digest("fim"), extra=parts)])
    with pytest.raises(WrongInput, match="trained from its columns prefix, middle, suffix"):
        edit(workspace, digest("fim"), response="x")


# --- the terminal ---


@pytest.fixture
def terminal(cli: CommandLine, workspace: Workspace) -> CommandLine:
    assert cli.workspace == workspace.folder
    return cli


def test_words_from_the_terminal(terminal: CommandLine) -> None:
    words = ("samples", "word", IDS[1][:8], "reject", "--as", "ann", "--note", "trivial")
    assert terminal.done(*words) == {
        "sample": IDS[1], "changed": True, "message": f"{IDS[1]} is rejected by ann"
    }  # fmt: skip
    assert terminal.done(*words)["changed"] is False
    assert "rejected by person: 1" in terminal("clean", json_wanted=False).out
    assert terminal.done("status")["stages"]["clean"]["reasons"]["rejected_by_person"] == 1
    assert "note: trivial" in terminal("explain", IDS[1], json_wanted=False).out
    assert terminal("samples", "word", IDS[1], "maybe").status == 2
    assert terminal("samples", "word", IDS[1], "accept", "--as", "").status == 2


def test_edits_from_files_and_standard_input(
    terminal: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "problem.txt").write_bytes("Größe 1\nin zwei Zeilen\r\n".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"mended\n\n")))
    done = terminal.done(
        "samples", "edit", IDS[1], "--instruction", tmp_path / "problem.txt", "--response", "-"
    )
    told = terminal.done("explain", done["sample"])
    assert told["instruction"] == "Größe 1\nin zwei Zeilen" and told["response"] == "mended\n"
    for wrong, message in (
        ((), "Say what is edited"),
        (("--response", "-", "--input", "-"), "Only one text can come from standard input"),
        (("--response", tmp_path / "none.txt"), "none.txt"),
        (("--response", tmp_path), "give another file"),
    ):
        refused = terminal("samples", "edit", IDS[1], *wrong)
        assert refused.status == 2 and message in refused.err
    (tmp_path / "latin.txt").write_bytes(b"Gr\xf6\xdfe")
    refused = terminal("samples", "edit", IDS[1], "--response", tmp_path / "latin.txt")
    assert refused.status == 2 and "latin.txt is not UTF-8" in refused.err
