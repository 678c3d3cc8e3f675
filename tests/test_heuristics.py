"""Heuristics: weights as people write them, and draws that are the same for ever."""

from collections import Counter

import pytest

from curation.errors import WrongInput
from curation.heuristics import chosen, heuristics, said, title_of, weights_in

FIVE = ["constraints", "rarer", "reasoning", "erroneous-code", "complexity"]


def test_five_for_code_stand_first_and_are_the_default() -> None:
    assert [name for name, one in heuristics().items() if one.family == "code"] == FIVE
    assert weights_in("") == dict.fromkeys(FIVE, 1.0)


def test_every_heuristic_says_its_aim_and_its_way() -> None:
    assert len({one.method for one in heuristics().values()}) == len(heuristics()) == 9
    for one in heuristics().values():
        goal, way = one.method.split("\n\n")
        assert goal and way and "{" not in one.method


def test_weights_are_read_and_said_in_one_form() -> None:
    assert weights_in(" rarer=2 , constraints ") == {"rarer": 2.0, "constraints": 1.0}
    assert said(weights_in("rarer=2,constraints")) == said(weights_in("constraints=1,rarer=2.0"))
    assert weights_in("rarer=0,breadth=0.5") == {"breadth": 0.5}


@pytest.mark.parametrize(
    "text, told",
    [
        ("harder", "no heuristic 'harder'"),
        ("rarer,rarer", "twice"),
        ("rarer=-1", "'-1'"),
        ("rarer=nan", "'nan'"),
        ("rarer=much", "'much'"),
        ("rarer=0", "leaves none"),
        ("rarer,,", "no heuristic ''"),
    ],
)
def test_what_is_no_weight_is_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(WrongInput, match=told):
        weights_in(text)


def test_draws_follow_the_weights_and_stay_what_they_are() -> None:
    weights = weights_in("constraints=3,complexity=1")
    drawn = [chosen(weights, 976, str(number), "1.0") for number in range(4_000)]
    share = Counter(drawn)["constraints"] / len(drawn)
    assert 0.72 < share < 0.78  # four standard deviations around 3 of 4
    assert drawn == [chosen(weights, 976, str(number), "1.0") for number in range(4_000)]
    others = [chosen(weights, 977, str(number), "1.0") for number in range(4_000)]
    assert drawn != others


def test_uniform_draws_are_uniform() -> None:
    drawn = Counter(chosen(weights_in(""), 976, str(number), "1.0") for number in range(5_000))
    assert set(drawn) == set(FIVE)
    assert sum((number - 1_000) ** 2 / 1_000 for number in drawn.values()) < 18.5  # chi squared, p = 0.001


def test_an_unknown_one_has_a_name_for_people() -> None:
    assert (title_of(None), title_of("of yesterday")) == ("unknown", "of yesterday")
