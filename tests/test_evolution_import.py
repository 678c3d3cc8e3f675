"""A round that somebody else evolved: which parents its rows have, and what the rules find in it."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from curation.clean import clean
from curation.errors import WrongInput
from curation.evolution_branch import find_step, keep_anyway, redo
from curation.evolution_import import reject_eliminated
from curation.evolution_report import report_of, round_report
from curation.evolution_tree import families
from curation.parent_likeness import measure_likeness
from curation.parent_links import LEAST, MARGIN, links
from curation.store import evolutions, sample_words, samples
from curation.store.database import Row
from curation.workspace import Workspace
from tests.workspaces import SHARED, CommandLine, needs_shared, write_jsonl

TASKS = [
    "Write a Python function that reverses a string.",
    "Explain how a hash map resolves collisions between keys.",
    "Sort a list of dates in descending order using SQL.",
    "Draw a red square with CSS.",
]


def test_a_child_is_linked_to_the_parent_whose_words_it_has() -> None:
    children = [
        "Sort a list of dates in descending order using SQL, and leave out duplicates.",
        "Write a Python function that reverses a string without slicing.",
        "Compute the convolution of two signals.",
    ]
    first, second, third = links(TASKS, children)
    assert (first.parent, second.parent, third.parent) == (2, 0, None)
    assert second.share > 0.9 and first.whole is False and second.whole is False
    assert "are needed" in third.why
    assert links(TASKS, [f"{TASKS[3]} Then animate it."])[0].whole


def test_each_parent_has_one_child_the_surest() -> None:
    children = [
        f"{TASKS[0]} Do it twice.",
        "Write a Python function that reverses a string of digits, or fails.",
    ]
    told = links(TASKS, children)
    assert told[0].parent == 0 and told[1].parent is None
    assert "another child" in told[1].why


def test_two_parents_as_near_leave_a_child_unlinked_unless_one_is_taken() -> None:
    parents = ["Print the sum of numbers in Python", "Print the sum of numbers in Pascal"]
    unsure = "Print the sum of numbers"
    (alone,) = links(parents, [unsure])
    assert alone.parent is None and "two tasks are as near" in alone.why
    both = links(parents, [unsure, "Print the sum of numbers in Pascal, doubled"])
    assert [one.parent for one in both] == [0, 1]  # the other parent is taken


def test_parents_of_one_text_stand_for_each_other() -> None:
    parents = [TASKS[0], TASKS[1], TASKS[0]]
    told = links(parents, [f"{TASKS[0]} Fast.", f"{TASKS[0]} In place."])
    assert sorted(one.parent or 0 for one in told) == [0, 2]


def test_nothing_to_link_is_no_error() -> None:
    assert links([], ["a"])[0].parent is None
    assert links(["a"], []) == []
    assert 0 < MARGIN < LEAST < 1


# --- real data ---


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Any]]:
    from curation.import_samples import Settings, import_samples

    workspace = Workspace(tmp_path_factory.mktemp("round") / "workspace")
    folder = SHARED / "instructions"
    import_samples(workspace, str(folder / "code_alpaca_2k.json.gz"), Settings("alpaca", "CC-BY-NC-4.0"))
    told = import_samples(
        workspace, str(folder / "evol_codealpaca_2k_round1.json.gz"),
        Settings("round1", "CC-BY-NC-4.0", round=1, parents="alpaca"),
    )  # fmt: skip
    return workspace, told.report["round"]


def steps_of(workspace: Workspace, id: str) -> list[Row[Any]]:
    with workspace.database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT id FROM evolution_step ORDER BY seq").all()
        found = evolutions.by_ids(connection, [row[0] for row in rows])
    return [one for one in found.values() if one.evolution_id == id]


@needs_shared
def test_the_published_round_links_to_its_parents_and_says_how(
    real: tuple[Workspace, dict[str, Any]],
) -> None:
    workspace, told = real
    assert (told["parents"], told["linked"], told["whole"], told["unlinked"]) == (1_966, 1_683, 262, 283)
    linked = [one for one in steps_of(workspace, told["evolution"]) if one.parent is not None]
    assert len({one.parent for one in linked}) == len(linked) == 1_683  # a parent has one child of a round
    wanted = {  # read by hand
        "Given a list of numbers, write a program that outputs the second largest and the second smallest "
        "numbers.":
            "Given a list of numbers, write a program that outputs the largest and the smallest numbers",
        "Generate a random prime number between 1 and 1000 in JavaScript.":
            "Generate a random integer in JavaScript.",
        "Output the least common vowel in a string.\nThis is a test string":
            "Output the most common letter in a string.",
    }  # fmt: skip
    children = {row.seq: row for row in samples.read(workspace.database, [one.child for one in linked])}
    parents = {row.seq: row for row in samples.read(workspace.database, [one.parent for one in linked])}
    found = {children[one.child].instruction: parents[one.parent].instruction for one in linked}
    for child, parent in wanted.items():
        assert found[child] == parent
    for one in linked:
        if one.evidence["link"]["whole"]:
            parent = parents[one.parent]
            text = f"{parent.instruction} {parent.input}".strip()
            child = children[one.child].instruction
            assert " ".join(text.casefold().split()) in " ".join(child.casefold().split())


@needs_shared
def test_the_report_shows_the_leaks_and_refusals_that_the_round_holds(
    real: tuple[Workspace, dict[str, Any]],
) -> None:
    workspace, told = real
    assert told["rejected"] == {"prompt_leak": 45, "equal": 1, "sorry": 1} and told["evolved"] == 1_919
    with gzip.open(SHARED / "instructions" / "evol_codealpaca_2k_round1.json.gz") as file:
        rows = json.load(file)
    headers = [row for row in rows if "#rewritten test" in row["instruction"].casefold()]
    leaked = {
        sample.instruction
        for one in steps_of(workspace, told["evolution"])
        if one.rule == "prompt_leak"
        for sample in samples.read(workspace.database, [one.child])
    }
    assert headers and {row["instruction"] for row in headers} <= leaked
    (sorry,) = [one for one in steps_of(workspace, told["evolution"]) if one.rule == "sorry"]
    assert sorry.evidence["words"] == 35
    report = report_of(workspace.database, told["evolution"])
    assert report["seeds"] == 2_015 and report["rounds"][0]["size"] == 2_015 + 1_919
    line = round_report(workspace, told["evolution"]).rounds[0]
    assert line.growth is not None and 2.0 < line.growth < 2.5 and line.calls == 0


@needs_shared
def test_importing_again_changes_nothing(real: tuple[Workspace, dict[str, Any]], capsys: Any) -> None:
    workspace, told = real
    before = steps_of(workspace, told["evolution"])
    cli = CommandLine(workspace.folder, capsys)
    file = SHARED / "instructions" / "evol_codealpaca_2k_round1.json.gz"
    again = cli.done("samples", "import", file, "--name", "round1", "--licence", "CC-BY-NC-4.0",
                     "--round", "1", "--parents", "alpaca")  # fmt: skip
    assert again["round"] == told and again["unchanged"]
    assert steps_of(workspace, told["evolution"]) == before


@needs_shared
def test_what_a_rule_speaks_against_is_rejected_by_a_person_and_dropped_by_clean(
    real: tuple[Workspace, dict[str, Any]],
) -> None:
    workspace, told = real
    done = reject_eliminated(workspace, told["evolution"], "ann")
    assert done["rejected"] == {"prompt_leak": 45, "equal": 1, "sorry": 1}
    assert reject_eliminated(workspace, told["evolution"], "ann")["rejected"] == {}
    report = clean(workspace).report
    assert report["dropped"]["rejected_by_person"] == 47
    with workspace.database.reading() as connection:
        word = next(iter(sample_words.rejected(connection).values()))
    assert word.person == "ann" and word.note.startswith("eliminated from round 1: ")


# --- small files ---


@pytest.fixture
def imported(tmp_path: Path, cli: CommandLine) -> tuple[CommandLine, dict[str, Any]]:
    seeds = write_jsonl(tmp_path / "seeds.jsonl", [{"instruction": one, "output": "x = 1"} for one in TASKS])
    cli.done("samples", "import", seeds, "--name", "seeds")
    first = [{"instruction": f"{TASKS[0]} In place.", "output": "y = 1"},
             {"instruction": f"{TASKS[1]} Name two ways.", "output": "Chaining and probing."},
             {"instruction": "Plot a sine wave with a legend.", "output": "plot()"}]  # fmt: skip
    one = write_jsonl(tmp_path / "round1.jsonl", first)
    told = cli.done("samples", "import", one, "--name", "first", "--round", "1", "--parents", "seeds")[
        "round"
    ]
    return cli, told


def test_a_second_round_grows_the_same_trees(
    imported: tuple[CommandLine, dict[str, Any]], tmp_path: Path
) -> None:
    cli, told = imported
    second = [{"instruction": f"{TASKS[0]} In place. Keep the case of letters.", "output": "z = 1"}]
    two = write_jsonl(tmp_path / "round2.jsonl", second)
    again = cli.done("samples", "import", two, "--name", "second", "--round", "2", "--parents", "first")[
        "round"
    ]
    assert again["evolution"] == told["evolution"] and (again["linked"], again["size"]) == (1, 8)
    workspace = Workspace(cli.workspace)
    with workspace.database.reading() as connection:
        (first_seed, *_) = samples.of_set(connection, "seeds")
    (tree,) = families(workspace, first_seed.seq)
    assert [(depth, node.step.round) for depth, node in tree.walk()] == [(0, 1), (1, 2)]


def test_a_row_without_a_parent_is_the_root_of_its_own_tree(
    imported: tuple[CommandLine, dict[str, Any]],
) -> None:
    cli, told = imported
    workspace = Workspace(cli.workspace)
    with workspace.database.reading() as connection:
        lonely = samples.of_set(connection, "first")[2]
    (tree,) = families(workspace, lonely.seq)
    (node,) = tree.nodes
    assert tree.root.id == lonely.id and node.step.parent is None and not node.grown
    assert "are needed" in node.step.evidence["link"]["why"]
    assert (told["linked"], told["unlinked"]) == (2, 1)


def test_an_imported_step_cannot_be_redone(imported: tuple[CommandLine, dict[str, Any]]) -> None:
    cli, told = imported
    workspace = Workspace(cli.workspace)
    step = steps_of(workspace, told["evolution"])[0]
    with pytest.raises(WrongInput, match="It was imported"):
        redo(workspace, step.id, None)
    assert not keep_anyway(workspace, step.id).changed
    assert find_step(workspace, step.id[:8]).id == step.id


@pytest.mark.parametrize(
    "words, told",
    [
        (["--round", "1"], "A round needs both"),
        (["--parents", "seeds"], "A round needs both"),
        (["--round", "0", "--parents", "seeds"], "between 1 and 99"),
        (["--round", "1", "--parents", "nobody"], "no set 'nobody'"),
    ],
)
def test_a_round_that_cannot_be_is_refused_before_anything_is_kept(
    imported: tuple[CommandLine, dict[str, Any]], tmp_path: Path, words: list[str], told: str
) -> None:
    cli, _ = imported
    file = write_jsonl(tmp_path / "more.jsonl", [{"instruction": "Another task", "output": "z"}])
    ran = cli("samples", "import", file, *words)
    assert ran.status == 2 and told in ran.err
    assert samples.count(Workspace(cli.workspace).database) == 7


def test_a_file_is_no_round_of_itself(tmp_path: Path, cli: CommandLine) -> None:
    file = write_jsonl(tmp_path / "seeds.jsonl", [{"instruction": one, "output": "x = 1"} for one in TASKS])
    cli.done("samples", "import", file, "--name", "seeds")
    ran = cli("samples", "import", file, "--name", "seeds", "--round", "1", "--parents", "seeds")
    assert ran.status == 2 and "is the set 'seeds' itself" in ran.err
    assert cli.done("evolution", "list")["evolutions"] == []


@pytest.mark.usefixtures("one_model")
def test_nearness_to_parents_is_measured_once(imported: tuple[CommandLine, dict[str, Any]]) -> None:
    cli, told = imported
    workspace = Workspace(cli.workspace)
    done = measure_likeness(workspace, told["evolution"])
    assert done["measured"] == 2
    cosines = [one.parent_cosine for one in steps_of(workspace, told["evolution"])]
    assert cosines[2] is None and all(0.5 < one <= 1.0 for one in cosines[:2])
    assert done["alike"] == sum(one >= 0.8 for one in cosines[:2])
    assert measure_likeness(workspace, told["evolution"])["measured"] == 0
    line = round_report(workspace, told["evolution"]).rounds[0]
    assert (line.alike, line.measured) == (done["alike"], 2)
