"""Texts that would run, fetch, pose as Winnow's own words or hide, were they read as markup (S18-S21)."""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from curation import clean, decontaminate, near_duplicates, pair_settings, review
from curation.assemble import Settings as AssembleSettings
from curation.assemble import assemble
from curation.cutting import Policy
from curation.import_samples import Settings as ImportSettings
from curation.import_samples import import_samples
from curation.records import question_of
from curation.seeds import Settings as SeedSettings
from curation.seeds import add_seeds
from curation.store import samples
from curation.workspace import Workspace
from tests.browser.stores import keep_vectors, paired_vectors, write_lines
from tests.seed_projects import MIT, write

RTL, NO_WIDTH = "\u202e", "\u200b"
ICON, RED = "skull", "PAYLOADRED"  # neither is a word of the app
BENCHMARK = f":material/{ICON}: $\\frac{{1}}{{2}}$ :red[{RED}] [link](http://evil.example) <b>"


@dataclass
class Listener:
    """A server of somebody else; every request it gets is a leak."""

    port: int
    hits: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def listening() -> Iterator[Listener]:
    listener = Listener(0)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.hits.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    listener.port = server.server_port
    Thread(target=server.serve_forever, daemon=True).start()
    yield listener
    server.shutdown()
    server.server_close()


def corpus(beacon: str) -> list[str]:
    """Give one text for each way in. `beacon` is the address of the listener."""
    return [
        "<img src=x onerror=window.PWN=1>",
        f"<img src={beacon}/img.png>",
        "<script>window.PWN=2</script>",
        '<iframe srcdoc="<script>parent.PWN=3</script>"></iframe>',
        '<a href="javascript:window.PWN=4">javascript</a> [js](javascript:window.PWN=4)',
        "<svg onload=window.PWN=5></svg>",
        f"<form action={beacon}/form><input name=PWN><button>Send</button></form>",
        "<style>body{display:none}</style>",
        f"![beacon]({beacon}/markdown.png)",
        "[log in again](http://evil.example/PWN) http://evil.example/PWN <http://evil.example/PWN>",
        f":material/{ICON}: :red[{RED}] :red-background[{RED}] :red-badge[{RED}]",
        "$\\frac{1}{2}$ $$\\sum PWN$$",
        "```\n<img src=x onerror=window.PWN=6>\n```\n~~~html\n<b>PWN</b>\n~~~",
        f"if access == 'user{RTL} ⁦// check if admin⁩ ⁦' {NO_WIDTH}hidden{NO_WIDTH}",
        "# PWN heading\n\n- PWN item\n\n| PWN | table |\n|---|---|\n| a | b |",
    ]


def short(beacon: str, number: int = 0, most: int = 100) -> str:
    """Give a text for a place that holds few characters."""
    some = (
        f"<img src=x onerror=window.PWN=7> :material/{ICON}: :red[{RED}] $\\frac{{1}}{{2}}$ {RTL}x",
        f"![b]({beacon}/short.png) [l](http://evil.example/PWN) `<svg onload=window.PWN=8>`",
    )
    return some[number % len(some)][:most]


# --- a store in which every text is one of them ---


def store_of_payloads(folder: Path, listener: Listener) -> Workspace:
    """Make a store that ran every stage, with votes, a dispute and a frozen version, full of payloads."""
    texts = corpus(listener.url)
    everything = "\n\n".join(texts)
    workspace = Workspace(folder)
    name = short(listener.url)
    file = folder.parent / (f"<img src=x onerror=window.PWN=9> :material:{ICON}: {RTL}.jsonl")
    settings = ImportSettings(name, short(listener.url, 1))
    import_samples(workspace, str(write_lines(_rows(texts, everything), file)), settings)
    clean.clean(workspace)
    items = _benchmark(everything)
    _choose_vectors(workspace, items)
    near_duplicates.near_duplicates(workspace, pair_settings.Settings())
    bench = write_lines(items, folder.parent / "items.jsonl")
    decontaminate.decontaminate(workspace, decontaminate.Settings((f"{BENCHMARK}={bench}",)))
    _judge(workspace, listener.url)
    harvest(workspace, listener.url, folder.parent)
    assemble(workspace, "v1", AssembleSettings(open_cases="drop"))
    return workspace


def harvest(workspace: Workspace, beacon: str, folder: Path) -> Path:
    """Harvest a folder that is called so, of files called so, full of such texts; some of it is left out."""
    project = project_of_payloads(folder / short(beacon).replace("/", "|"), beacon)
    add_seeds(workspace, str(project), SeedSettings(Policy(max_lines=40), allow_unknown=True, workers=1))
    return project


def project_of_payloads(folder: Path, beacon: str) -> Path:
    """Write it: each text in a file that is used, a copy, near-copies, and one that a tool says it wrote."""
    texts = corpus(beacon)
    everything = "\n".join(texts)
    for n, text in enumerate(texts):
        name = text.replace("/", "|").replace("\n", " ")[:60]
        # Enough lines of its own: whether one is a near-copy shall not hang on the digits of the port.
        own = "\n".join(f"step_{n}_{k} = {n * 977 + k * 31}" for k in range(40))
        write(folder, f"{name} {n}.py", f"# {n}\n{everything}\nlast_{n} = {n * 977}\n{text}\n{own}\n" * 2)
    body = "\n".join(f"value_{n} = {n * n}  # {texts[n % 9]}" for n in range(60))
    for name in ("one", "two"):
        write(folder, f"<img src=x onerror=window.PWN=13> {name}.rs", f"{body}\nname = {name!r}\n")
        write(folder, f":material|{ICON}: :red[{RED}] {name}.ts", f"{body}\nboth = 1\n")
    write(
        folder,
        f"{RTL}made.py",
        f"# Code generated by <b>PWN</b> ![x]({beacon}/made.png). DO NOT EDIT.\n{body}",
    )
    write(folder, "licensed/LICENSE", f"{MIT}\n{everything}")
    write(folder, f"licensed/{RTL}a.py", body.replace("value", "other"))
    write(
        folder, "package/package.json", json.dumps({"name": texts[0], "license": f"{texts[0]} {texts[10]}"})
    )
    write(folder, "package/b.ts", body.replace("value", "third"))
    return folder


def archive_of_payloads(file: Path, beacon: str) -> Path:
    """Pack texts under names that are texts themselves, addresses and ways out of a folder included."""
    with tarfile.open(file, "w:gz") as archive:
        for n, text in enumerate(corpus(beacon)):
            for name in (f"{text.replace(chr(10), ' ')[:80]} {n}.py", f"../<b>{RED}</b> {n}.py"):
                data = f"# {n} {name}\n{text}\nx = {n * 7919}\n".encode()
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return file


def _rows(texts: list[str], everything: str) -> list[dict[str, Any]]:
    """Give pairs of rows that lie beside each other, then a repeated row, then one that cannot be used."""
    rows = [_row(f"{n} {everything}", f"{everything} {n}", everything[: 40 * n]) for n in range(4)]
    rows += [_row(f"{text} one {n}", f"{text} two {n}", "") for n, text in enumerate(texts)]
    rows += [_row(f"holds a benchmark task: {everything}", f"{everything} last", "")]
    rows += [_row(rows[0]["instruction"], "<img src=x onerror=window.PWN=10>", rows[0]["input"])]
    return [*rows, {**_row("", everything, ""), "instruction": ""}]


def _row(instruction: str, response: str, input: str) -> dict[str, Any]:
    more = {f"<img src=x onerror=window.PWN=11> :red[{RED}]": [response, {"[l](http://evil.example)": 1}]}
    return {"instruction": instruction, "input": input, "output": response, **more}


def _benchmark(everything: str) -> list[dict[str, Any]]:
    name = f"<img src=x onerror=window.PWN=12> :red[{RED}]"
    return [
        {"task_id": f"{name} {n}", "prompt": text, "solution": f"{text}!"}
        for n, text in enumerate((everything, f"asked about: {everything[:300]}"))
    ]


def _choose_vectors(workspace: Workspace, items: list[dict[str, Any]]) -> None:
    """Let rows 0-1 and 2-3 be gray pairs, and the fifth row be like the second task."""
    rows = list(samples.stream(workspace.database, ("instruction", "input", "response")))
    whole = list(dict.fromkeys(question_of(row.instruction, row.input) for row in rows))
    groups = [whole[0:2], whole[2:4], [whole[4], items[1]["prompt"].strip()]]
    rest = [*whole[5:], *(row.response for row in rows), *(i["prompt"] for i in items)]
    rest += [text for item in items for text in (item["solution"], item["prompt"].strip())]
    keep_vectors(workspace.folder, paired_vectors([*groups, *([text] for text in rest)]))


def _judge(workspace: Workspace, beacon: str) -> None:
    """Let two people with such names, and notes, differ about a pair; let one question be open still."""
    asked = review.items(workspace)
    kinds = [one["kind"] for one in asked]
    assert kinds.count("near-duplicates") == 2 and kinds.count("decontaminate") == 1, kinds
    for number, verdict in enumerate(("keep-left", "keep-right")):
        person, note = short(beacon, number), corpus(beacon)[number * 8]
        review.vote(workspace, asked[0]["item"], verdict, person, note)
