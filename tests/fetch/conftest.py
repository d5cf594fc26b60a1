"""A hub on loopback: the few routes that fetching needs, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from ptb_core.fetch import FetchContext
from ptb_core.fetch import download as download_module

COMMIT = "c" * 40


@dataclass
class Hub:
    """What the server holds, and what it was asked.

    Attributes:
        files: Content by repository path, such as ``datasets/org/set`` or ``org/model``.
        plain: Content of other addresses by path.
        gated: Repositories that want the token ``good``.
        cut_after: Bytes after which the next answers break off, one entry per answer.
        statuses: Statuses of the next answers, instead of content.
        requests: Method, path and headers of what came.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    plain: dict[str, bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def paths(self, method: str = "GET") -> list[str]:
        return [path for asked, path, _ in self.requests if asked == method]


def _listing(files: dict[str, bytes]) -> bytes:
    siblings = []
    for name, content in files.items():
        entry: dict[str, object] = {"rfilename": name, "size": len(content)}
        if name.endswith(".safetensors"):
            entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest()}
        siblings.append(entry)
    return json.dumps({"sha": COMMIT, "siblings": siblings}).encode()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path, dict(self.headers)))
            if with_body and hub.statuses:
                self.send(hub.statuses.pop(0), b"", with_body)
            elif path in hub.redirects:
                self.send(302, b"", with_body, {"Location": hub.redirects[path]})
            elif path in hub.plain:
                self.content(hub.plain[path], with_body)
            elif path.startswith("/api/"):
                self.listing(path, with_body)
            else:
                self.file(path, with_body)

        def listing(self, path: str, with_body: bool) -> None:
            kind, org, name, _, revision = path.removeprefix("/api/").split("/")
            repo = f"{org}/{name}" if kind == "models" else f"datasets/{org}/{name}"
            found = repo in hub.files and revision in (COMMIT, "main")
            if found:
                self.content(_listing(hub.files[repo]), with_body)
            else:
                self.send(404, b"", with_body)

        def file(self, path: str, with_body: bool) -> None:
            repo, _, rest = path.removeprefix("/").partition("/resolve/")
            commit, _, name = rest.partition("/")
            if repo in hub.gated and self.headers.get("Authorization") != "Bearer good":
                self.send(403, b"", with_body, {"X-Error-Code": "GatedRepo"})
            elif commit == COMMIT and name in hub.files.get(repo, {}):
                self.content(hub.files[repo][name], with_body)
            else:
                self.send(404, b"", with_body)

        def content(self, content: bytes, with_body: bool) -> None:
            start, status = 0, 200
            headers = {
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
            }
            asked = self.headers.get("Range")
            if asked and with_body:
                start, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                if start >= len(content):
                    headers["Content-Range"] = f"bytes */{len(content)}"
                    self.send(416, b"", with_body, headers)
                    return
            self.send(status, content[start:], with_body, headers)

        def send(
            self,
            status: int,
            body: bytes,
            with_body: bool,
            headers: dict[str, str] | None = None,
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body and status in (200, 206) and hub.cut_after:
                body = body[: hub.cut_after.pop(0)]
                self.close_connection = True
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on loopback, named by HF_ENDPOINT."""
    served = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FetchContext:
    """An empty cache, no mirror, and no waiting between attempts."""
    monkeypatch.setattr(download_module, "FIRST_WAIT_S", 0.0)
    for name in ("HF_TOKEN", "PTB_MIRROR", "PTB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.setenv("PTB_CACHE", str(tmp_path / "cache"))
    return FetchContext(root=tmp_path / "cache")


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without the hub's own client."""
    from importlib.util import find_spec

    from ptb_core.fetch import hub as hub_module

    def find(name: str) -> object:
        return None if name == "huggingface_hub" else find_spec(name)

    monkeypatch.setattr(hub_module.importlib.util, "find_spec", find)


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Write a wheel that pip accepts."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    facts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
        for member, text in facts.items():
            archive.writestr(f"{stem}.dist-info/{member}", text)
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder
