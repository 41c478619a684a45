"""A stand-in of the Hugging Face Hub's HTTP API on the loopback interface, as far as `huggingface_hub` uses it."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit


class Hub:
    """Repositories in memory, and what clients asked for.

    `commits` maps a repository to its commits, each a mapping from paths to bytes; `branches` to its branches and tags.
    """

    def __init__(self):
        self.commits, self.branches, self.private, self.gated = {}, {}, set(), set()
        self.requests, self.headers, self.bodies, self.blobs = [], [], [], {}
        self.tokens, self.writers = {"reader": "hf_read", "writer": "hf_write"}, {"hf_write"}
        self.cut_after = None
        """Number of bytes of the next answer with weights after which the connection is cut."""
        self.status = None
        """Status of all answers, for a Hub that is down."""

    def add(self, repository, files, branch="main"):
        """Commits files to a branch, on top of those that it has, and returns the commit."""
        held = self.files(repository, branch) if branch in self.branches.get(repository, {}) else {}
        made = {**held, **files}
        made = {path: content for path, content in made.items() if content is not None}
        content = json.dumps({path: hashlib.sha1(content).hexdigest() for path, content in made.items()})
        number = len(self.commits.setdefault(repository, {}))
        commit = hashlib.sha1(f"{repository}{number}{content}".encode()).hexdigest()
        self.commits[repository][commit] = made
        self.branches.setdefault(repository, {})[branch] = commit
        return commit

    def find(self, repository, revision):
        """The commit of a branch, a tag or a commit; None if there is none."""
        commit = self.branches.get(repository, {}).get(revision, revision)
        return commit if commit in self.commits.get(repository, {}) else None

    def files(self, repository, revision="main"):
        return self.commits[repository][self.find(repository, revision)]

    def downloads(self):
        """Paths of the files whose contents were asked for."""
        return [path for method, path in self.requests if method == "GET" and "/resolve/" in path]

    @contextmanager
    def serve(self):
        """Yields the address of the server."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Answers,), {"hub": self}))
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *arguments):
        pass

    def reply(self, status, document=None, headers=(), content=None):
        content = json.dumps(document).encode() if content is None else content
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status, code):
        self.reply(status, {"error": code}, {"X-Error-Code": code})

    def handle_any(self):
        parts = urlsplit(self.path)
        self.hub.requests.append((self.command, unquote(parts.path)))
        self.hub.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.hub.bodies.append(self.body)
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.hub.status is not None:
            return self.refuse(self.hub.status, "down")
        path = [unquote(part) for part in parts.path.strip("/").split("/")]
        if self.command in ("GET", "HEAD"):
            return self.read(path, parse_qs(parts.query))
        if path[:1] != ["upload"] and self.token not in self.hub.writers:
            return self.refuse(401 if not self.token else 403, "no right to write")
        return self.write(path)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    # Reading

    def read(self, path, query):
        if path[:2] == ["api", "models"]:
            repository, rest = "/".join(path[2:4]), path[4:]
            revision = "/".join(rest[1:]) or "main"
            kind = rest[0] if rest else "revision"
        else:
            repository, kind, revision = "/".join(path[:2]), path[2], path[3]
        hidden = repository in self.hub.private and self.token not in self.hub.tokens.values()
        if hidden or repository not in self.hub.commits:
            return self.refuse(401 if hidden else 404, "RepoNotFound")
        if repository in self.hub.gated:
            return self.refuse(403, "GatedRepo")
        if (commit := self.hub.find(repository, revision)) is None:
            return self.refuse(404, "RevisionNotFound")
        files = self.hub.commits[repository][commit]
        if kind == "resolve":
            return self.send_file(files, "/".join(path[4:]), commit)
        if kind == "tree":
            return self.reply(200, [describe(name, content) for name, content in files.items()])
        about = {"_id": "0", "id": repository, "modelId": repository, "sha": commit, "tags": [], "downloads": 0}
        siblings = [{"rfilename": name} for name in files]
        return self.reply(200, {**about, "siblings": siblings, "private": repository in self.hub.private})

    def send_file(self, files, name, commit):
        if name not in files:
            return self.refuse(404, "EntryNotFound")
        content = files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit}
        headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        status = 200
        if (asked := self.headers.get("Range")) is not None:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[start:]
        cut = self.hub.cut_after
        if self.command == "GET" and name.endswith(".safetensors") and cut is not None and len(content) > cut:
            self.hub.cut_after = None
            self.send_response(status)
            for header, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(content[:cut])
            self.close_connection = True
            return None
        return self.reply(status, headers=headers, content=content)

    # Writing

    def write(self, path):
        address = f"http://{self.headers['Host']}"
        if path == ["api", "repos", "create"]:
            asked = json.loads(self.body)
            repository = f"{asked['organization']}/{asked['name']}"
            if asked.get("visibility") == "private" or asked.get("private"):
                self.hub.private.add(repository)
            exists = repository in self.hub.commits
            if not exists:
                self.hub.add(repository, {".gitattributes": b"*.safetensors filter=lfs\n"})
            return self.reply(409 if exists else 200, {"url": f"{address}/{repository}", "name": repository})
        if path == ["api", "validate-yaml"]:
            return self.reply(200, {"errors": [], "warnings": []})
        if path[:1] == ["upload"]:
            self.hub.blobs[path[1]] = self.body
            return self.reply(200, {})
        if path[-2:] == ["objects", "batch"]:
            return self.reply(200, {"transfer": "basic", "objects": [plan(o, address) for o in self.json("objects")]})
        repository, kind, revision = "/".join(path[2:4]), path[4], "/".join(path[5:])
        if kind == "branch":
            exists = revision in self.hub.branches[repository]
            self.hub.branches[repository].setdefault(revision, self.hub.branches[repository]["main"])
            return self.reply(409 if exists else 200, {})
        if kind == "preupload":
            modes = [
                (file["path"], "lfs" if file["path"].endswith(".safetensors") else "regular")
                for file in self.json("files")
            ]
            return self.reply(
                200, {"files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes]}
            )
        commit = self.hub.add(repository, dict(self.operations()), revision)
        return self.reply(
            200, {"success": True, "commitOid": commit, "commitUrl": f"{address}/{repository}/commit/{commit}"}
        )

    def json(self, key):
        return json.loads(self.body)[key]

    def operations(self):
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                yield value["path"], base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                yield value["path"], self.hub.blobs[value["oid"]]
            elif operation["key"] == "deletedFile":
                yield value["path"], None


@contextmanager
def use_hub(monkeypatch, folder):
    """Yields an empty Hub, which this process uses, with an empty cache and a token that may write."""
    from huggingface_hub import constants

    made = Hub()
    with made.serve() as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        yield made


def describe(name, content):
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def plan(asked, address):
    return {**asked, "actions": {"upload": {"href": f"{address}/upload/{asked['oid']}"}}}
