"""A model hub on loopback: it keeps repositories and says what the Hugging Face hub says to its own library.

Answers as `huggingface_hub` 2.4 expects them (read from its source, held by running it): create, model info,
validate-yaml, preupload, LFS batch, upload in one or several parts, verify, commit. A commit counts only when
its parent is the newest one and all its large files have arrived.
"""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_CANARYcanaryCANARYcanary5309"
OWNER = "ann"
LARGE = ".safetensors"  # what goes through LFS, as the .gitattributes of a new repository says
WITHOUT_TOKEN = ("put", "complete")  # the storage's addresses are signed
KINDS: dict[str, str] = {
    "create": r"POST /api/repos/create",
    "info": r"GET /api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?",
    "yaml": r"POST /api/validate-yaml",
    "preupload": r"POST /api/models/([^/]+/[^/]+)/preupload/main",
    "batch": r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch",
    "put": r"PUT /storage/(\w+)(?:/(\d+))?",
    "complete": r"POST /storage/(\w+)/complete",
    "verify": r"POST /verify",
    "commit": r"POST /api/models/([^/]+/[^/]+)/commit/main",
}


@dataclass(frozen=True)
class Fault:
    """What a request meets instead of an answer. `status` 0: a cut, before or `after` it is done."""

    status: int = 0
    says: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False
    times: int = 1_000  # requests it meets


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def newest(self) -> str:
        return sha1(f"{len(self.commits)} {sorted(self.files)}".encode()).hexdigest()


@dataclass(frozen=True)
class Asked:
    kind: str
    path: str
    headers: dict[str, str]
    body: bytes


class Refused(Exception):
    def __init__(self, status: int, says: str, **more: str) -> None:
        super().__init__(says)
        self.status, self.told = status, {"error": says, **more}


class LoopbackHub:
    """What the hub holds, what it was asked, and what goes wrong."""

    def __init__(self) -> None:
        self.address = ""
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}  # by sha256
        self.parts: dict[tuple[str, int], bytes] = {}
        self.part_bytes = 0  # upload in parts of so many bytes; 0: in one
        self.asked: list[Asked] = []
        self.faults: dict[str, Fault] = {}
        self._met: dict[str, int] = {}

    def fault(self, kind: str) -> Fault | None:
        fault = self.faults.get(kind)
        self._met[kind] = self._met.get(kind, 0) + 1
        return fault if fault is not None and self._met[kind] <= fault.times else None

    def break_at(self, kind: str, fault: Fault | None) -> None:
        self._met.clear()
        self.faults = {kind: fault} if fault else {}

    def kinds(self) -> list[str]:
        return [one.kind for one in self.asked]

    def said_to_it(self) -> list[bytes]:
        """Give all bytes it was sent but the Authorization header, also decoded where they were base64."""
        told = []
        for one in self.asked:
            headers = {name: value for name, value in one.headers.items() if name.lower() != "authorization"}
            told += [one.body, one.path.encode(), json.dumps(headers).encode()]
            for text in re.findall(rb'"(?:content|sample)": ?"([A-Za-z0-9+/=]+)"', one.body):
                told.append(base64.b64decode(text))
        return told

    # --- what it answers ---

    def create(self, asked: Asked) -> dict[str, Any]:
        given = json.loads(asked.body)
        name = f"{given['organization']}/{given['name']}"
        if given["organization"] != OWNER:
            raise Refused(403, f"You don't have the rights to create a model under {given['organization']}")
        if name in self.repositories:
            raise Refused(409, "You already created this model repo", url=f"{self.address}/{name}")
        start = {".gitattributes": b"*.safetensors filter=lfs\n"}
        self.repositories[name] = Repository(given.get("visibility") == "private", start)
        return {"url": f"{self.address}/{name}", "name": name}

    def info(self, asked: Asked, name: str) -> dict[str, Any]:
        one = self._repository(name)
        siblings = [{"rfilename": path} for path in sorted(one.files)]
        return {"id": name, "sha": one.newest, "private": one.private, "siblings": siblings}

    def yaml(self, asked: Asked) -> dict[str, Any]:
        content = json.loads(asked.body)["content"]
        _, front, _ = content.split("---\n", 2)
        yaml.safe_load(front)
        return {"errors": [], "warnings": []}

    def preupload(self, asked: Asked, name: str) -> dict[str, Any]:
        one = self._repository(name, to_write=True)
        told = []
        for file in json.loads(asked.body)["files"]:
            path, known = file["path"], one.files.get(file["path"])
            large = path.endswith(LARGE)
            oid = None if known is None else sha256(known).hexdigest() if large else git_blob(known)
            told.append({"path": path, "uploadMode": "lfs" if large else "regular",
                         "shouldIgnore": False, "oid": oid})  # fmt: skip
        return {"files": told}

    def batch(self, asked: Asked, name: str) -> dict[str, Any]:
        self._repository(name, to_write=True)
        objects = []
        for one in json.loads(asked.body)["objects"]:
            told = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.stored:
                told["actions"] = {
                    "upload": self._upload(one["oid"], one["size"]),
                    "verify": {"href": f"{self.address}/verify"},
                }
            objects.append(told)
        return {"transfer": "basic", "objects": objects}

    def _upload(self, oid: str, size: int) -> dict[str, Any]:
        place = f"{self.address}/storage/{oid}"
        if not self.part_bytes:
            return {"href": place}
        parts = -(-size // self.part_bytes)
        header = {"chunk_size": str(self.part_bytes)} | {str(n + 1): f"{place}/{n}" for n in range(parts)}
        return {"href": f"{place}/complete", "header": header}

    def put(self, asked: Asked, oid: str, part: str | None) -> dict[str, Any]:
        if part is not None:
            self.parts[oid, int(part)] = asked.body
        elif sha256(asked.body).hexdigest() != oid:
            raise Refused(400, "these bytes are not what was announced")
        else:
            self.stored[oid] = asked.body
        return {}

    def complete(self, asked: Asked, oid: str) -> dict[str, Any]:
        whole = b"".join(self.parts[oid, one["partNumber"] - 1] for one in json.loads(asked.body)["parts"])
        if sha256(whole).hexdigest() != oid:
            raise Refused(400, "these parts are not what was announced")
        self.stored[oid] = whole
        return {}

    def verify(self, asked: Asked) -> dict[str, Any]:
        given = json.loads(asked.body)
        if len(self.stored.get(given["oid"], b"")) != given["size"]:
            raise Refused(404, "this file has not arrived")
        return {}

    def commit(self, asked: Asked, name: str) -> dict[str, Any]:
        one = self._repository(name, to_write=True)
        header, *operations = [json.loads(line) for line in asked.body.splitlines()]
        if header["value"].get("parentCommit", one.newest) != one.newest:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(one.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
            else:
                del files[value["path"]]
        one.commits.append({"summary": header["value"]["summary"], "operations": operations})
        one.files = files
        url = f"{self.address}/{name}/commit/{one.newest}"
        return {"success": True, "commitOid": one.newest, "commitUrl": url}

    def _repository(self, name: str, to_write: bool = False) -> Repository:
        if name not in self.repositories:
            raise Refused(404, "Repository not found")
        if to_write and not name.startswith(f"{OWNER}/"):
            raise Refused(403, "you must use a write token to upload to a repository")
        return self.repositories[name]


def git_blob(data: bytes) -> str:
    return sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    hub = LoopbackHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms

        def answer(self) -> None:
            line = f"{self.command} {self.path.partition('?')[0]}"
            found = [(kind, match) for kind, one in KINDS.items() if (match := re.fullmatch(one, line))]
            assert found, line
            ((kind, match),) = found
            fault = hub.fault(kind)
            length = int(self.headers.get("Content-Length") or 0)
            if fault and not fault.status and not fault.after:
                self.rfile.read(length // 2)
                self.close_connection = True
                return
            asked = Asked(kind, self.path, dict(self.headers), self.rfile.read(length))
            hub.asked.append(asked)
            if fault and fault.status:
                self.say(fault.status, {"error": fault.says}, fault.headers)
                return
            try:
                if kind not in WITHOUT_TOKEN and asked.headers.get("authorization") != f"Bearer {TOKEN}":
                    raise Refused(401, "Invalid username or password.")
                do: Callable[..., dict[str, Any]] = getattr(hub, kind)
                told, status = do(asked, *match.groups()), 200
            except Refused as error:
                told, status = error.told, error.status
            if fault:
                self.close_connection = True
                return
            self.say(status, told, {})

        def say(self, status: int, told: dict[str, Any], headers: dict[str, str]) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            for name, value in {"ETag": "part", **headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
