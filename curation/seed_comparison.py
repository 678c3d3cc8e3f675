"""Comparing documents: equal ones, near-duplicates, quotas; and the seeds that are cut from those used.

What comes of it depends on the documents only, never on the order in which they were read. What persons said
of single documents (curation/rescued_documents.py) goes before every rule but one: an equal document, whose
snippet is there already.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from curation.cutting import NoCut, Policy, cut
from curation.document_twins import RULE, Twin, sign, twins
from curation.file_lock import locked
from curation.languages import quotas
from curation.records import DocumentSignature, SeedSnippet, digest
from curation.stage import Progress, silent
from curation.store import documents, seeds
from curation.store.database import Connection, Row
from curation.store.documents import COMPARING, READING, RESCUED, Decision
from curation.workspace import Workspace

POLICIES = ("magicoder", "syntax")
SAME, TWIN, OVER_QUOTA = "same_document", "near_duplicate_document", "over_quota"
LOCK = "seeds.lock"
SHOWN = 100  # documents between two looks at how far the work is

Reasons = dict[int, tuple[str, dict[str, Any]]]  # by the document's number
Asked = dict[str, dict[str, Any]]  # settings of each harvest, by its id
Signed = tuple[str, DocumentSignature]  # a document's hash, and what it is compared by


@dataclass(frozen=True)
class Compared:
    """What comparing came to: only what differs from what is on record."""

    documents: int  # that were compared
    decisions: list[Decision]
    seeds: list[SeedSnippet]  # new, or in another form
    gone: list[str]  # ids of seeds that no document brings any more
    signed: list[Signed]  # documents that had no signature yet


def comparing(workspace: Workspace) -> AbstractContextManager[None]:
    """Hold what allows to change which documents are used; waits while somebody else does."""
    return locked(workspace.folder / LOCK)


def compare(workspace: Workspace, show: Progress = silent) -> Compared:
    """Decide which of equal and nearly equal documents is used, and which are over a quota.

    Of equal ones the first by source and path. The order of documents is that of their hashes, mixed by the
    harvest's random seed for quotas, so that a larger quota takes more and never others.
    """
    show("comparing documents", 0, 0)
    asked = {row.id: row.settings for row in documents.harvests(workspace.database)}
    signed: list[Signed] = []
    with workspace.database.reading() as connection:
        found = list(documents.candidates(connection))
        # Rescued ones are not compared: they stay, and no other document goes because of them.
        hashes = {row.hash for row in found if row.rescue is None}
        signatures = _signatures(connection, hashes, signed, show)
        near = twins(signatures, lambda hash: documents.text_in(connection, hash) or "", show=show)
        decisions = _decisions(connection, found, near, asked)
        used = [row for row in found if decisions[row.seq].state == documents.KEPT]
        known = seeds.known(connection, POLICIES)
        in_use = seeds.in_use(connection)  # may be of another method, and stay as they are
        wanted = {
            digest(row.hash, str(first), str(last)): (row, first, last)
            for row in used
            for first, last in decisions[row.seq].cuts
        }
        changed = [
            (id, *where)
            for id, where in wanted.items()
            if id not in in_use and known.get(id) != _facts(where[0], asked)
        ]
        snippets = list(_snippets(connection, changed, asked, show))
    new = [decisions[row.seq] for row in found if _differs(row, decisions[row.seq])]
    return Compared(len(found), new, snippets, [id for id in known if id not in wanted], signed)


def keep_compared(connection: Connection, compared: Compared) -> None:
    """Write what comparing came to."""
    documents.keep_signatures(connection, compared.signed)
    documents.decide(connection, compared.decisions)
    seeds.remove(connection, compared.gone)
    seeds.replace(connection, compared.seeds)


def lines_of(text: str) -> list[bytes]:
    """Give the lines with their ends, as curation/cutting.py numbers them: str.splitlines knows more ends."""
    return text.encode().splitlines(keepends=True)


def policy_of(asked: Mapping[str, Any]) -> Policy:
    """Give the policy that a harvest was asked for; what is not said is Magicoder's. Raises WrongInput."""
    names = ("min_lines", "max_lines", "random_seed", "per_document")
    said = {name: asked[name] for name in names if name in asked}
    return Policy(asked.get("policy", "magicoder"), **said)


def snippet_of(row: Row[Any], cuts: tuple[int, int], text: str, method: str) -> SeedSnippet:
    """Cut a snippet out of a document's text, secrets replaced."""
    first, last = cuts
    snippet = b"".join(lines_of(text)[first - 1 : last]).decode()
    return SeedSnippet(
        digest(row.hash, str(first), str(last)), row.hash, first, last, snippet, row.language, row.source,
        row.path, row.licence, row.licence_evidence, method,
    )  # fmt: skip


def cut_anew(connection: Connection, row: Row[Any], asked: dict[str, Any]) -> list[tuple[int, int]] | NoCut:
    """Cut a document that was left out before it came to be cut."""
    text = documents.text_in(connection, row.hash) or ""
    found = cut(row.hash, text, row.language, policy_of(asked))
    return found if isinstance(found, NoCut) else [(one.first_line, one.last_line) for one in found]


def _signatures(
    connection: Connection, hashes: set[str], signed: list[Signed], show: Progress
) -> Iterator[Signed]:
    """Give the signature of every document. One that has none on record is signed now, and noted in `signed`:
    it is of an older workspace, or signed by an older rule."""
    missing = set(hashes)
    for hash, signature in documents.signatures(connection, RULE):
        if hash in missing:
            missing.discard(hash)
            yield hash, signature
    for done, (hash, text) in enumerate(documents.texts(connection, sorted(missing))):
        if done % SHOWN == 0:
            show("reading documents to compare", done, len(missing))
        signed.append((hash, sign(text)))
        yield signed[-1]


def _decisions(
    connection: Connection, found: Sequence[Row[Any]], near: Mapping[str, Twin], asked: Asked
) -> dict[int, Decision]:
    """Decide on every document; persons' words stand above all but equality."""
    reasons = _same(found)
    left = [row for row in found if row.seq not in reasons]
    alike = _twins(left, near)
    wanted = {row.seq for row in left if row.rescue is not None}
    reasons |= {seq: why for seq, why in alike.items() if seq not in wanted}
    left = [row for row in left if row.seq not in reasons and row.seq not in wanted]
    reasons |= _over_quota(left, asked)
    words = documents.overruled(connection)
    return {row.seq: _decision(connection, row, reasons, words, asked) for row in found}


def _decision(
    connection: Connection, row: Row[Any], reasons: Reasons, words: dict[int, Row[Any]], asked: Asked
) -> Decision:
    cuts: Any = [(first, last) for first, last in row.cuts]
    if row.rescue is not None and not cuts:
        cuts = cut_anew(connection, row, asked[row.harvest_id])
        if isinstance(cuts, NoCut):
            return Decision(row.seq, READING, cuts.reason)
    if row.seq in reasons:
        return Decision(row.seq, COMPARING, *reasons[row.seq], cuts)
    if row.rescue is not None:
        word = words[row.rescue]
        return Decision(row.seq, RESCUED, word.reason, word.evidence, cuts)
    return Decision(row.seq, cuts=cuts)


def _differs(row: Row[Any], now: Decision) -> bool:
    before = (row.state, row.stage, row.reason, row.evidence, [tuple(one) for one in row.cuts])
    return before != (now.state, now.stage, now.reason, dict(now.evidence), list(now.cuts))


def _same(found: Iterable[Row[Any]]) -> Reasons:
    by_hash: dict[str, list[Row[Any]]] = {}
    for row in found:
        by_hash.setdefault(row.hash, []).append(row)
    reasons: Reasons = {}
    for rows in by_hash.values():
        keeper, *others = sorted(rows, key=lambda row: (row.source, row.path, row.harvest_id))
        reasons |= {row.seq: (SAME, _place_of(keeper)) for row in others}
    return reasons


def _place_of(row: Row[Any]) -> dict[str, Any]:
    return {"kept": {"source": row.source, "path": row.path}}


def _twins(left: Sequence[Row[Any]], near: Mapping[str, Twin]) -> Reasons:
    by_hash = {row.hash: row for row in left}
    return {
        by_hash[hash].seq: (TWIN, {**_place_of(by_hash[twin.keeper]), "jaccard": round(twin.score, 4)})
        for hash, twin in near.items()
    }


def _over_quota(left: Sequence[Row[Any]], asked: Asked) -> Reasons:
    groups: dict[tuple[str, str], list[Row[Any]]] = {}
    for row in left:
        groups.setdefault((row.harvest_id, row.language), []).append(row)
    reasons: Reasons = {}
    for (harvest, language), rows in groups.items():
        limit = _limit(asked[harvest], language)
        if limit is not None:
            mixed = str(asked[harvest]["random_seed"])
            rows.sort(key=lambda row: digest(mixed, row.hash))
            reasons |= {row.seq: (OVER_QUOTA, {"limit": limit}) for row in rows[limit:]}
    return reasons


def _limit(asked: dict[str, Any], language: str) -> int | None:
    """Give how many documents of a language a harvest may bring; None: all."""
    if asked.get("total"):  # absent in harvests of before there was such a setting
        return quotas(asked["total"]).get(language, 0)
    return asked["per_language"] or None


def _facts(row: Row[Any], asked: Asked) -> seeds.Facts:
    method = asked[row.harvest_id]["policy"]
    return (row.hash, row.language, row.source, row.path, row.licence, row.licence_evidence, method)


def _snippets(
    connection: Connection, wanted: Sequence[tuple[str, Row[Any], int, int]], asked: Asked, show: Progress
) -> Iterator[SeedSnippet]:
    for done, (_, row, first, last) in enumerate(wanted):
        if done % SHOWN == 0:
            show("cutting snippets", done, len(wanted))
        text = documents.text_in(connection, row.hash) or ""
        yield snippet_of(row, (first, last), text, asked[row.harvest_id]["policy"])
