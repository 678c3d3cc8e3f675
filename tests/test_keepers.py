"""The keep rule, held against random graphs: who stays, who goes, and for whom."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.keepers import Decisions, Fate, Graph, Policy, Ruling, Zone, decide

MIDDLE = 0.84
COSINES = (0.80, 0.82, 0.835, 0.84, 0.845, 0.86, 0.95, 0.95, 1.0)  # few, so that ties are common
Pair = tuple[int, int]


def for_all(*strategies: st.SearchStrategy) -> Callable[[Callable], Callable]:
    """Run a test on many cases, however long one takes on a busy machine."""
    return lambda test: settings(deadline=None, max_examples=60)(given(*strategies)(test))


@dataclass(frozen=True)
class Case:
    """A graph with everything that bears on its fates; pairs by their ends, so that order is free."""

    size: int
    edges: tuple[tuple[int, int, float, Zone], ...]
    order: tuple[int, ...]
    rulings: dict[Pair, Ruling]
    rescued: frozenset[int] = frozenset()
    budget: int = 0
    asked_before: frozenset[Pair] = frozenset()
    disputed: frozenset[Pair] = frozenset()  # people disagree about them

    @property
    def graph(self) -> Graph:
        return graph(self.size, self.edges)

    def decide(self, open_pairs: str = "ask") -> Decisions:
        number = {(left, right): n for n, (left, right, _, _) in enumerate(self.edges)}
        rulings = {number[pair]: ruling for pair, ruling in self.rulings.items()}
        policy = Policy(MIDDLE, self.budget, self.asked_before, open_pairs)
        disputed = {number[pair] for pair in self.disputed}
        return decide(self.graph, self.order, policy, rulings, self.rescued, disputed)


def graph(size: int, edges: Iterable[tuple[int, int, float, Zone]]) -> Graph:
    edges = list(edges)
    return Graph(
        size,
        np.array([e[0] for e in edges], dtype=np.int64),
        np.array([e[1] for e in edges], dtype=np.int64),
        np.array([e[2] for e in edges], dtype=np.float64),
        np.array([e[3] for e in edges], dtype=np.int64),
    )


@st.composite
def cases(draw: st.DrawFn, verdicts: bool = True, rescues: bool = True) -> Case:
    size = draw(st.integers(1, 25))
    ends = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda e: e[0] != e[1])
    pairs = draw(st.lists(ends, max_size=3 * size, unique_by=frozenset)) if size > 1 else []
    edges = tuple(
        (left, right, draw(st.sampled_from(COSINES)), draw(st.sampled_from(list(Zone))))
        for left, right in pairs
    )
    rulings: dict[Pair, Ruling] = {}
    disputed: frozenset[Pair] = frozenset()
    if verdicts and pairs:
        some = st.dictionaries(st.sampled_from(pairs), st.sampled_from(list(Ruling)), max_size=8)
        rulings = draw(some)
        disputed = draw(st.frozensets(st.sampled_from(pairs), max_size=4)) - rulings.keys()
    return Case(
        size,
        edges,
        tuple(draw(st.permutations(range(size)))),
        rulings,
        draw(st.frozensets(st.integers(0, size - 1), max_size=4)) if rescues else frozenset(),
        draw(st.integers(0, 10)),
        draw(st.frozensets(st.sampled_from(pairs), max_size=5)) if pairs else frozenset(),
        disputed,
    )


def kept(decisions: Decisions) -> set[int]:
    return {row for row, fate in enumerate(decisions.fate) if fate == Fate.KEPT}


def fates(decisions: Decisions) -> list[Fate]:
    return [Fate(int(fate)) for fate in decisions.fate]


def counting(case: Case) -> list[int]:
    """Number the pairs that still say something: all but those that people called different."""
    return [n for n, (a, b, _, _) in enumerate(case.edges) if case.rulings.get((a, b)) != Ruling.KEEP_BOTH]


def winners(case: Case) -> dict[Pair, int]:
    """Give the better row of each pair of which people said which one is better."""
    return {
        (a, b): a if ruling == Ruling.LEFT else b
        for (a, b), ruling in case.rulings.items()
        if ruling in (Ruling.LEFT, Ruling.RIGHT)
    }


def chosen(case: Case) -> set[int]:
    """Give the rows that a person decided to keep."""
    both = {row for pair, ruling in case.rulings.items() if ruling == Ruling.KEEP_BOTH for row in pair}
    return both | set(winners(case).values())


def argued_about(case: Case) -> set[int]:
    return {row for pair in case.disputed for row in pair}


def dropped_by_people(case: Case) -> set[int]:
    return {row for pair, ruling in case.rulings.items() if ruling == Ruling.DROP_BOTH for row in pair}


def kept_before(case: Case, row: int, stay: set[int]) -> list[int]:
    """Number the pairs of a row with kept rows that were walked before it, where no person moved it."""
    rank = {other: place for place, other in enumerate(case.order)}
    return [
        n
        for n in counting(case)
        for one, other in (case.edges[n][:2], case.edges[n][1::-1])
        if one == row and other in stay and rank[other] < rank[row] and not winners(case)
    ]


# --- properties ---


@for_all(cases())
def test_no_two_kept_rows_are_alike(case: Case):
    stay = kept(case.decide())
    for number in counting(case):
        left, right, *_ = case.edges[number]
        assert not {left, right} <= stay, f"both halves of {left}~{right} stayed"


@for_all(cases())
def test_a_row_only_goes_for_a_row_that_it_directly_resembles_and_that_stays(case: Case):
    decisions = case.decide()
    stay = kept(decisions)
    for row, fate in enumerate(fates(decisions)):
        if fate == Fate.KEPT:
            assert decisions.edge[row] == -1
            continue
        pair = case.edges[decisions.edge[row]][:2]
        assert row in pair, f"{row} goes by the pair {pair}, which it is not part of"
        other = pair[0] if pair[1] == row else pair[1]
        assert other in stay or case.rulings.get(pair) == Ruling.DROP_BOTH, f"{row} goes for {other}: {fate}"
        if fate in (Fate.NEAR_DUPLICATE, Fate.OVER_BUDGET):
            assert other in stay


@for_all(cases())
def test_nobody_goes_or_waits_without_a_conflict(case: Case):
    """The kept rows are as many as can be: each other row resembles a kept one, or a person dropped it."""
    decisions = case.decide()
    stay, by_people = kept(decisions), dropped_by_people(case)
    meets_kept = {
        row
        for number in counting(case)
        for row, other in (case.edges[number][:2], case.edges[number][1::-1])
        if other in stay
    }
    assert set(range(case.size)) - stay <= meets_kept | by_people
    assert not stay & by_people


@for_all(cases())
def test_the_budget_bounds_the_new_gray_questions(case: Case):
    """Questions that people raise by a keep or by disagreeing come on top: no machine may answer them."""
    decisions = case.decide()
    by_person = {
        number
        for row in chosen(case) | argued_about(case)
        for number in decisions.asked
        if row in case.edges[number][:2] and decisions.fate[row] == Fate.ASKED
    }
    new = [n for n in decisions.asked if n not in by_person and case.edges[n][:2] not in case.asked_before]
    assert len(new) <= case.budget


@for_all(cases())
def test_each_asked_pair_joins_a_kept_row_and_a_pending_one(case: Case):
    decisions = case.decide()
    assert len(set(decisions.asked)) == len(decisions.asked), "a pair is asked once"
    for number in decisions.asked:
        ends = sorted(Fate(int(decisions.fate[row])) for row in case.edges[number][:2])
        assert ends == [Fate.KEPT, Fate.ASKED]
        assert case.rulings.get(case.edges[number][:2]) not in (Ruling.KEEP_BOTH, Ruling.DROP_BOTH)


@for_all(cases())
def test_a_row_is_asked_about_whole_or_not_at_all(case: Case):
    decisions = case.decide()
    stay = kept(decisions)
    for row, fate in enumerate(fates(decisions)):
        of_row = {n for n in decisions.asked if row in case.edges[n][:2]}
        if fate == Fate.ASKED:
            assert of_row >= set(kept_before(case, row, stay)), f"{row} waits for an answer nobody is asked"
        elif fate != Fate.KEPT:
            assert not of_row, f"people are asked about {row}, which is settled: {fate}"


@for_all(cases())
def test_a_persons_keep_is_never_dropped_by_the_machine(case: Case):
    decisions = case.decide()
    for row in chosen(case):
        assert decisions.fate[row] not in (Fate.NEAR_DUPLICATE, Fate.OVER_BUDGET), f"{row} was chosen"


@for_all(cases())
def test_the_row_a_person_called_worse_never_stands_in_the_way_of_the_better_one(case: Case):
    """Unless people contradict each other in a circle of which both are part."""
    decisions = case.decide()
    beats = {(winner, a + b - winner) for (a, b), winner in winners(case).items()}
    for winner, loser in beats:
        number = next(n for n, e in enumerate(case.edges) if {winner, loser} == set(e[:2]))
        if winner in beaten_by(loser, beats):
            continue
        assert number not in decisions.asked, f"{winner} over {loser} is settled, and asked again"
        if decisions.fate[winner] == Fate.KEPT and loser not in dropped_by_people(case):
            assert decisions.fate[loser] == Fate.BY_VERDICT, f"{winner} was preferred to {loser}"


def beaten_by(row: int, beats: set[Pair]) -> set[int]:
    """Give the rows that this one beats, directly or through others."""
    found: set[int] = set()
    new = {row}
    while new:
        found |= new
        new = {loser for winner, loser in beats if winner in new} - found
    return found


@for_all(cases())
def test_a_pair_called_different_decides_nothing(case: Case):
    decisions = case.decide()
    different = {n for n in range(len(case.edges)) if n not in counting(case)}
    assert not different & set(decisions.asked)
    assert not different & set(decisions.edge.tolist())


@for_all(cases())
def test_both_rows_of_a_drop_both_go_by_verdict(case: Case):
    decisions = case.decide()
    for row in dropped_by_people(case):
        assert decisions.fate[row] == Fate.BY_VERDICT
        assert case.rulings[case.edges[decisions.edge[row]][:2]] == Ruling.DROP_BOTH


@for_all(cases())
def test_only_a_verdict_drops_a_rescued_row(case: Case):
    decisions = case.decide()
    for row in case.rescued:
        assert decisions.fate[row] in (Fate.KEPT, Fate.RESCUED, Fate.BY_VERDICT)
    for row in np.flatnonzero(decisions.fate == Fate.BY_VERDICT):
        pair = case.edges[decisions.edge[row]][:2]
        assert case.rulings.get(pair, Ruling.KEEP_BOTH) != Ruling.KEEP_BOTH
        assert winners(case).get(pair) != row, f"{row} goes although a person preferred it"


@for_all(cases(), st.randoms(use_true_random=False))
def test_the_order_in_which_pairs_are_listed_decides_nothing(case: Case, random):
    shuffled = list(case.edges)
    random.shuffle(shuffled)
    rulings = list(case.rulings.items())
    random.shuffle(rulings)
    again = replace(case, edges=tuple(shuffled), rulings=dict(rulings))
    first, second = case.decide(), again.decide()

    assert fates(first) == fates(second)
    assert _named(case, first.edge) == _named(again, second.edge), "another pair is named as the evidence"
    assert _named(case, first.asked) == _named(again, second.asked), (
        "other pairs are asked, or in another order"
    )


@for_all(cases(), st.randoms(use_true_random=False))
def test_which_row_of_a_pair_stands_left_decides_nothing(case: Case, random):
    """Left and right follow the order of import; ties go to the smaller id, whatever that order was."""
    other_way = {
        Ruling.LEFT: Ruling.RIGHT,
        Ruling.RIGHT: Ruling.LEFT,
        Ruling.KEEP_BOTH: Ruling.KEEP_BOTH,
        Ruling.DROP_BOTH: Ruling.DROP_BOTH,
    }
    turned = {edge[:2] for edge in case.edges if random.random() < 0.5}
    again = replace(
        case,
        edges=tuple((b, a, c, z) if (a, b) in turned else (a, b, c, z) for a, b, c, z in case.edges),
        rulings={
            (p[::-1] if p in turned else p): (other_way[r] if p in turned else r)
            for p, r in case.rulings.items()
        },
        asked_before=frozenset(p[::-1] if p in turned else p for p in case.asked_before),
        disputed=frozenset(p[::-1] if p in turned else p for p in case.disputed),
    )
    first, second = case.decide(), again.decide()

    assert fates(first) == fates(second)
    assert first.edge.tolist() == second.edge.tolist()
    assert first.asked == second.asked


def _named(case: Case, numbers: Iterable[int]) -> list[Pair | None]:
    return [case.edges[n][:2] if n >= 0 else None for n in numbers]


@for_all(cases(verdicts=False, rescues=False))
def test_without_people_the_kept_rows_are_those_of_a_plain_greedy_walk(case: Case):
    """Asking changes who waits, never who stays: style.md habit 4 is the rule."""
    stay: set[int] = set()
    neighbours = {row: {a + b - row for a, b, *_ in case.edges if row in (a, b)} for row in range(case.size)}
    for row in case.order:
        if not neighbours[row] & stay:
            stay.add(row)
    assert kept(case.decide()) == stay


@for_all(cases(verdicts=False, rescues=False))
def test_a_budget_of_nothing_is_the_rule_of_the_paper(case: Case):
    asking, paper = case.decide(), replace(case, budget=0, asked_before=frozenset()).decide()
    assert kept(paper) == kept(asking)
    assert paper.asked == []
    assert {fate for fate in fates(paper) if fate != Fate.KEPT} <= {Fate.NEAR_DUPLICATE, Fate.OVER_BUDGET}


@for_all(cases(verdicts=False, rescues=False))
def test_what_is_alike_beyond_doubt_is_never_asked_about(case: Case):
    decisions = case.decide()
    for row, fate in enumerate(fates(decisions)):
        if fate == Fate.NEAR_DUPLICATE:
            assert case.edges[decisions.edge[row]][3] == Zone.DROP
        elif fate in (Fate.ASKED, Fate.OVER_BUDGET):
            met = kept_before(case, row, kept(decisions))
            assert met and all(case.edges[n][3] != Zone.DROP for n in met)


@for_all(cases(verdicts=False, rescues=False))
def test_the_evidence_is_the_closest_pair_of_those_that_decide(case: Case):
    decisions = case.decide()
    stay = kept(decisions)
    for row, fate in enumerate(fates(decisions)):
        if fate == Fate.KEPT:
            continue
        met = [case.edges[n] for n in kept_before(case, row, stay)]
        decisive = [e for e in met if e[3] == Zone.DROP] or met
        shown = case.edges[decisions.edge[row]]
        assert shown in decisive
        assert shown[2] == max(edge[2] for edge in decisive)


@for_all(cases(rescues=False))
def test_with_open_pairs_dropped_only_what_people_raised_is_pending(case: Case):
    decisions = case.decide(open_pairs="drop")
    assert kept(decisions) == kept(case.decide())
    pending = {row for row, fate in enumerate(fates(decisions)) if fate == Fate.ASKED}
    assert pending <= chosen(case) | argued_about(case)


# --- worked examples ---


def settle(
    edges: list[tuple[int, int, float, Zone]],
    rulings: dict[Pair, Ruling] | None = None,
    order: tuple[int, ...] | None = None,
    **more: object,
) -> tuple[Case, Decisions]:
    """Decide a small graph whose rows are walked by their numbers."""
    size = 1 + max(max(edge[:2]) for edge in edges)
    case = Case(size, tuple(edges), order or tuple(range(size)), rulings or {}, **more)  # type: ignore[arg-type]
    return case, case.decide()


def test_look_alikes_do_not_chain():
    """0~1 and 1~2 says nothing about 0~2, so 2 stays."""
    _, decisions = settle([(0, 1, 0.95, Zone.DROP), (1, 2, 0.99, Zone.DROP)])
    assert fates(decisions) == [Fate.KEPT, Fate.NEAR_DUPLICATE, Fate.KEPT]
    assert decisions.edge.tolist() == [-1, 0, -1], "2 is closer to 1, but was not kept yet when 1 was judged"


def test_the_order_says_who_stays():
    _, decisions = settle([(0, 1, 0.95, Zone.DROP)], order=(1, 0))
    assert fates(decisions) == [Fate.NEAR_DUPLICATE, Fate.KEPT]


def test_between_two_kept_rows_of_like_cosine_the_one_with_the_smaller_id_is_named():
    """Whichever of the pairs was imported left before right."""
    _, decisions = settle([(0, 2, 0.95, Zone.DROP), (2, 1, 0.95, Zone.DROP)])
    assert decisions.edge[2] == 0
    _, decisions = settle([(2, 0, 0.95, Zone.DROP), (1, 2, 0.95, Zone.DROP)])
    assert decisions.edge[2] == 0


def test_the_most_uncertain_pair_is_asked_first():
    """Nearest the middle of the band first, whatever the side; then the pairs whose responses differ."""
    edges = [
        (0, 1, 0.85, Zone.RESPONSE),
        (2, 3, 0.80, Zone.BAND),
        (4, 5, 0.85, Zone.BAND),
        (6, 7, 0.84, Zone.BAND),
        (8, 9, 0.99, Zone.RESPONSE),
        (10, 11, 0.85, Zone.BAND),
    ]
    case, decisions = settle(edges, budget=6)
    assert _named(case, decisions.asked) == [(6, 7), (4, 5), (10, 11), (2, 3), (0, 1), (8, 9)]


def test_the_budget_goes_to_the_most_uncertain_and_the_rest_falls_to_the_rule_of_the_paper():
    edges = [(0, 1, 0.80, Zone.BAND), (2, 3, 0.84, Zone.BAND), (4, 5, 0.95, Zone.RESPONSE)]
    case, decisions = settle(edges, budget=2)
    assert _named(case, decisions.asked) == [(2, 3), (0, 1)]
    assert fates(decisions)[1::2] == [Fate.ASKED, Fate.ASKED, Fate.OVER_BUDGET]


def test_a_row_with_more_questions_than_are_left_is_passed_over_for_one_that_fits():
    """2 resembles two kept rows: one answer would not settle it, so it takes both or none."""
    edges = [(0, 2, 0.84, Zone.BAND), (1, 2, 0.85, Zone.BAND), (3, 4, 0.81, Zone.BAND)]
    case, decisions = settle(edges, budget=1)
    assert fates(decisions)[2] == Fate.OVER_BUDGET
    assert _named(case, decisions.asked) == [(3, 4)]

    case, decisions = settle(edges, budget=2)
    assert _named(case, decisions.asked) == [(0, 2), (1, 2)]
    assert fates(decisions)[4] == Fate.OVER_BUDGET


def test_a_row_is_as_uncertain_as_the_most_uncertain_of_its_pairs():
    edges = [(0, 2, 0.80, Zone.BAND), (1, 2, 0.84, Zone.BAND), (3, 4, 0.83, Zone.BAND)]
    case, decisions = settle(edges, budget=2)
    assert _named(case, decisions.asked) == [(1, 2), (0, 2)]
    assert fates(decisions)[4] == Fate.OVER_BUDGET


def test_what_was_asked_before_is_asked_again_at_no_cost():
    edges = [(0, 1, 0.84, Zone.BAND), (2, 3, 0.80, Zone.BAND)]
    case, decisions = settle(edges, budget=0, asked_before=frozenset({(2, 3)}))
    assert _named(case, decisions.asked) == [(2, 3)]
    assert fates(decisions)[1] == Fate.OVER_BUDGET


def test_keep_both_lets_both_stay_and_the_third_still_goes():
    edges = [(0, 1, 0.9, Zone.DROP), (1, 2, 0.9, Zone.DROP)]
    _, decisions = settle(edges, {(0, 1): Ruling.KEEP_BOTH})
    assert fates(decisions) == [Fate.KEPT, Fate.KEPT, Fate.NEAR_DUPLICATE]


def test_keep_right_lets_the_worse_placed_row_stay():
    _, decisions = settle([(0, 1, 0.9, Zone.DROP)], {(0, 1): Ruling.RIGHT})
    assert fates(decisions) == [Fate.BY_VERDICT, Fate.KEPT]


def test_a_row_that_a_person_kept_and_that_resembles_another_kept_row_is_asked_about():
    """1 was called different from 2, and is alike beyond doubt to 0: only a person may drop it."""
    edges = [(0, 1, 0.99, Zone.DROP), (1, 2, 0.9, Zone.DROP)]
    case, decisions = settle(edges, {(1, 2): Ruling.KEEP_BOTH})
    assert fates(decisions) == [Fate.KEPT, Fate.ASKED, Fate.KEPT]
    assert _named(case, decisions.asked) == [(0, 1)]


def test_a_pair_on_which_people_disagree_stays_a_question_whatever_the_budget():
    edges = [(0, 1, 0.99, Zone.DROP), (2, 3, 0.84, Zone.BAND)]
    case, decisions = settle(edges, disputed=frozenset({(0, 1), (2, 3)}))
    assert _named(case, decisions.asked) == [(2, 3), (0, 1)]
    assert fates(decisions) == [Fate.KEPT, Fate.ASKED, Fate.KEPT, Fate.ASKED]


def test_a_rescued_row_waits_instead_of_going():
    _, decisions = settle([(0, 1, 0.99, Zone.DROP)], rescued=frozenset({1}))
    assert fates(decisions) == [Fate.KEPT, Fate.RESCUED]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_verdicts_in_a_circle_do_not_hang_and_the_order_decides(order: tuple[int, ...]):
    """0 over 1, 1 over 2, 2 over 0. One stays, its loser goes, and the third is left to people."""
    edges = [(0, 1, 0.9, Zone.BAND), (1, 2, 0.9, Zone.BAND), (0, 2, 0.9, Zone.BAND)]
    circle = {(0, 1): Ruling.LEFT, (1, 2): Ruling.LEFT, (0, 2): Ruling.RIGHT}
    _, decisions = settle(edges, circle, order)
    best = order[0]
    assert decisions.fate[best] == Fate.KEPT
    assert decisions.fate[(best + 1) % 3] == Fate.BY_VERDICT
    assert decisions.fate[(best + 2) % 3] == Fate.ASKED


def test_a_circle_of_verdicts_does_not_put_an_outsider_before_the_row_that_beat_it():
    """0 lost to 1 and to nobody else; that 1, 2 and 3 form a circle does not make 0 the better one."""
    edges = [
        (1, 0, 0.9, Zone.BAND),
        (1, 2, 0.9, Zone.BAND),
        (2, 3, 0.9, Zone.BAND),
        (3, 1, 0.9, Zone.BAND),
    ]
    rulings = dict.fromkeys([(1, 0), (1, 2), (2, 3), (3, 1)], Ruling.LEFT)
    _, decisions = settle(edges, rulings)
    assert fates(decisions)[:2] == [Fate.BY_VERDICT, Fate.KEPT]


def test_a_graph_without_rows_or_pairs_has_no_conflicts():
    nobody = decide(graph(0, []), [], Policy(MIDDLE, 5), {})
    assert fates(nobody) == [] and nobody.asked == []
    alone = decide(graph(2, []), [1, 0], Policy(MIDDLE, 5), {}, rescued=[1])
    assert fates(alone) == [Fate.KEPT, Fate.KEPT]
