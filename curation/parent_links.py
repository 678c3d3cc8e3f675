"""Which task an evolved one came of, told by the words of both. Pure: texts in, links out.

A published round names no parents, and its order is another. What survives of a task in its rewriting are its
rare words and what stands beside them, so a link is told by the share of a parent's words that its child has.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curation.stage import Progress, silent

# From 40 links each on both sides of these, read by hand (code_alpaca_2k and its first published round).
LEAST = 0.6  # share of a parent's weight of words that its child has
MARGIN = 0.1  # by which the next best parent has to lie below
PASSES = 4  # a parent that is taken stands in no other child's way; real rounds end after three
BLOCK = 400  # children compared at a time: with 20,000 parents 64 MB
WORDS = r"\w+|[^\w\s]"


@dataclass(frozen=True, slots=True)
class Link:
    """The parent that a child most likely came of, and how surely. `parent`: None where no one is sure."""

    parent: int | None
    nearest: int  # the best of all, sure or not
    share: float  # of its words that the child has, weighted by rarity, 0 to 1
    next: float  # the share of the next best
    whole: bool  # the child holds its text from beginning to end
    why: str = ""  # why nobody is sure


def links(parents: Sequence[str], children: Sequence[str], show: Progress = silent) -> list[Link]:
    """Find the parent of each child; each parent has one child of a round at most, the surest.

    A link is sure when the child has at least LEAST of the parent's words, MARGIN more than of any other
    parent's. Parents of the same text stand for each other.
    """
    out: dict[int, Link] = {}
    free, left = list(range(len(parents))), list(range(len(children)))
    for _ in range(PASSES):
        found = _pass([parents[at] for at in free], [children[at] for at in left], show)
        for at, link in zip(left, found, strict=True):
            parent = None if link.parent is None else free[link.parent]
            # What is told of an unsure one is how it stood beside all parents.
            if parent is not None or at not in out:
                out[at] = replace(link, parent=parent, nearest=free[link.nearest] if free else -1)
        taken = {link.parent for link in out.values()}
        news = sum(link.parent is not None for link in found)
        free, left = [at for at in free if at not in taken], [at for at in left if out[at].parent is None]
        if not news or not free or not left:
            break
    return [out[at] for at in range(len(children))]


def _pass(parents: Sequence[str], children: Sequence[str], show: Progress) -> list[Link]:
    """Find links among the parents that are free."""
    texts: dict[str, list[int]] = defaultdict(list)
    for number, parent in enumerate(parents):
        texts[_plain(parent)].append(number)
    if not texts or not children:
        return [Link(None, -1, 0.0, 0.0, False, "there is no parent") for _ in children]
    distinct = list(texts)
    found = _nearest(distinct, [_plain(child) for child in children], show)
    return _taken(found, [texts[one] for one in distinct])


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


@dataclass(frozen=True, slots=True)
class _Near:
    text: int  # of the distinct ones
    share: float
    next: float
    whole: bool


def _nearest(parents: Sequence[str], children: Sequence[str], show: Progress) -> list[_Near]:
    """Give the best and the next best parent of each child by the share of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    reader: Any = TfidfVectorizer(
        token_pattern=WORDS, ngram_range=(1, 2), lowercase=False, dtype=np.float32
    ).fit([*parents, *children])
    weights = reader.transform(parents)
    weights.data = reader.idf_[weights.indices].astype(np.float32)  # each word once, by its rarity
    total = np.maximum(np.asarray(weights.sum(axis=1)).ravel(), 1e-9)
    turned = weights.T.tocsr()
    found = []
    for start in range(0, len(children), BLOCK):
        block = children[start : start + BLOCK]
        has = reader.transform(block)
        has.data[:] = 1.0
        shares = (has @ turned).toarray() / total
        found += [_best(row, child, parents) for row, child in zip(shares, block, strict=True)]
        show("looking for parents", start + len(block), len(children))
    return found


def _best(shares: Any, child: str, parents: Sequence[str]) -> _Near:
    """Of the parents whose words a child has all, the longest is meant: it may hold the others."""
    most = float(shares.max())
    alike = np.flatnonzero(shares >= most - 1e-6)
    best = max((int(one) for one in alike), key=lambda one: (len(parents[one]), -one))
    whole = parents[best] in child
    others = np.delete(shares, alike if whole else best)
    return _Near(best, most, float(others.max()) if len(others) else 0.0, whole)


def _taken(found: Sequence[_Near], groups: Sequence[Sequence[int]]) -> list[Link]:
    """Give each parent to the child that has most of it."""
    free = [list(group) for group in groups]
    out: list[Link | None] = [None] * len(found)
    order = sorted(range(len(found)), key=lambda at: (-found[at].share, found[at].next, at))
    for at in order:
        one = found[at]
        why = _why_unsure(one) or ("" if free[one.text] else "another child has more of its parent's words")
        parent = None if why else free[one.text].pop(0)
        out[at] = Link(parent, groups[one.text][0], one.share, one.next, one.whole, why)
    return [one for one in out if one is not None]


def _why_unsure(one: _Near) -> str:
    if one.share < LEAST:
        return f"it has {one.share:.0%} of the words of the nearest task; {LEAST:.0%} are needed"
    if one.share - one.next < MARGIN:
        return f"two tasks are as near: it has {one.share:.0%} and {one.next:.0%} of their words"
    return ""
