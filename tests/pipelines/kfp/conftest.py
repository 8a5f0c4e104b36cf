"""A stand-in for the KFP API server, and a plan with a cluster profile to submit.

The stand-in is not a backend: it runs nothing. It speaks the REST API v2beta1 with the message types of KFP's own
generated client, refuses fields that they do not have, and follows the 2.17 server where that is known from its
source: the version is in /healthz, a filter's keys are those of the model, arguments are not checked, names are unique.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
import pytest

ROOT = Path(__file__).parents[3]
IMAGE = "registry.example/sextant-train@sha256:" + "a" * 64
FILTER_KEYS = {
    "pipelines": {"pipeline_id", "name", "display_name", "created_at", "description", "namespace"},
    "versions": {"pipeline_version_id", "name", "display_name", "created_at", "description"},
    "runs": {"run_id", "display_name", "created_at", "state", "experiment_id", "namespace"},
    "experiments": {"experiment_id", "name", "display_name", "created_at", "namespace"},
    "recurringruns": {"recurring_run_id", "name", "display_name", "created_at"},
}

EQUALS = ("EQUALS", 1)  # an enumeration's name or its number, as in all of protobuf's JSON


@dataclass
class StandIn:
    """What the stand-in holds, and how it behaves; `script` is what a run shows, one entry a look."""

    version: str = "2.17.0"
    multi_user: bool = False
    token: str | None = None
    script: list[dict[str, Any]] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    refuse: dict[tuple[str, str], int] = field(default_factory=dict)
    outages: int = 0
    logs: dict[str, str] = field(default_factory=dict)
    kept: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {kind: [] for kind in FILTER_KEYS})
    uploads: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    retried: list[str] = field(default_factory=list)
    url: str = ""
    looks: int = 0

    def look(self) -> dict[str, Any]:
        """Return the next entry of the script; the last one stays."""
        entry = self.script[min(self.looks, len(self.script) - 1)]
        self.looks += 1
        return entry


class Refusal(Exception):
    """An answer other than 200, in the gateway's form."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _checked(body: bytes, model: Any) -> dict[str, Any]:
    """Return a request's body if it has only fields of the API's message."""
    found: dict[str, Any] = json.loads(body)
    unknown = found.keys() - set(model.attribute_map.values())
    if unknown:
        raise Refusal(400, f"unknown field {min(unknown)}")
    return found


class Handler(BaseHTTPRequestHandler):
    """Routes as in backend/api/v2beta1 and backend/src/apiserver/main.go of KFP 2.17."""

    state: StandIn

    def do_GET(self) -> None:
        """Answer a read."""
        self._answer("GET")

    def do_POST(self) -> None:
        """Answer a write."""
        self._answer("POST")

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.state.requests.append(f"{method} {parts.path}")
        try:
            self._admit(method, parts.path)
            status, answer = 200, self._route(method, parts.path, query, body)
        except Refusal as refusal:
            status, answer = refusal.status, {"error": str(refusal), "message": str(refusal), "code": 3}
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _admit(self, method: str, path: str) -> None:
        if self.state.token is not None and self.headers.get("authorization") != f"Bearer {self.state.token}":
            raise Refusal(401, "Unauthenticated: no token")
        for (verb, ending), status in self.state.refuse.items():
            if verb == method and path.endswith(ending):
                raise Refusal(status, "User ada is not authorized")
        if method == "GET" and re.fullmatch(r"/apis/v2beta1/runs/[^/]+", path) and self.state.outages:
            self.state.outages -= 1
            raise Refusal(503, "the API server is rolled out anew")

    def _route(self, method: str, path: str, query: dict[str, str], body: bytes) -> Any:
        state = self.state
        if path == "/apis/v2beta1/healthz":
            return {"commit_sha": "0", "tag_name": state.version, "multi_user": state.multi_user}
        log = re.fullmatch(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", path)
        if log:
            if log[2] not in state.logs:
                raise Refusal(404, "pod not found")
            return state.logs[log[2]].encode()
        if path == "/apis/v2beta1/pipelines/upload_version":
            return self._upload(query, body)
        retried = re.fullmatch(r"/apis/v2beta1/runs/([^/]+):retry", path)
        if retried:
            state.retried.append(retried[1])
            return {}
        one = re.fullmatch(r"/apis/v2beta1/runs/([^/]+)", path)
        if one:
            return {**next(run for run in state.kept["runs"] if run["run_id"] == one[1]), **state.look()}
        kinds: dict[str, tuple[str, Any, str]] = {
            "/apis/v2beta1/pipelines": ("pipelines", api.V2beta1Pipeline, "pipeline_id"),
            "/apis/v2beta1/runs": ("runs", api.V2beta1Run, "run_id"),
            "/apis/v2beta1/experiments": ("experiments", api.V2beta1Experiment, "experiment_id"),
            "/apis/v2beta1/recurringruns": ("recurringruns", api.V2beta1RecurringRun, "recurring_run_id"),
        }
        if re.fullmatch(r"/apis/v2beta1/pipelines/[^/]+/versions", path):
            return {"pipeline_versions": self._filtered("versions", query)}
        if path not in kinds:
            raise Refusal(404, "Not Found")
        kind, model, identifier = kinds[path]
        if method == "GET":
            answer = {"recurringruns": "recurringRuns"}.get(kind, kind)
            return {answer: self._filtered(kind, query)}
        created = _checked(body, model)
        created |= {identifier: f"{kind}-{len(state.kept[kind])}", "created_at": "2026-01-01T00:00:00Z"}
        state.kept[kind].append(created)
        return created

    def _filtered(self, kind: str, query: dict[str, str]) -> list[dict[str, Any]]:
        if self.state.multi_user and kind != "versions" and not query.get("namespace"):
            raise Refusal(400, "Namespace is required in multi-user mode")
        found = self.state.kept[kind]
        for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
            if predicate["key"] not in FILTER_KEYS[kind] or predicate["operation"] not in EQUALS:
                raise Refusal(400, f"no filter on {predicate['key']}")
            wanted = predicate.get("string_value", predicate.get("stringValue"))  # the gateway takes either
            found = [each for each in found if each.get(predicate["key"]) == wanted]
        return found

    def _upload(self, query: dict[str, str], body: bytes) -> dict[str, Any]:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        part: Any = message_from_bytes(head + body).get_payload(0)
        self.state.uploads.append(part.get_payload(decode=True).decode())
        version = {"pipeline_version_id": f"versions-{len(self.state.uploads)}", "display_name": query["name"]}
        version |= {"pipeline_id": query["pipelineid"]}
        self.state.kept["versions"].append(version)
        return version


@pytest.fixture
def backend() -> Iterator[StandIn]:
    """A stand-in for the KFP API server on a free port."""
    state = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"state": state}))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def plan_path() -> Path:
    """The tiny example's plan."""
    return ROOT / "examples" / "tiny" / "plan.yaml"


@pytest.fixture
def write_profile(tmp_path: Path) -> Callable[..., Path]:
    """Write a cluster profile whose runs lie in `store` below the test's folder, with `more` YAML at its end."""

    def write(more: str = "", *, image: str = IMAGE) -> Path:
        path = tmp_path / "cluster.yaml"
        text = f"images: {{train: '{image}'}}\nstore: {tmp_path / 'store'}\nhome: /var/lib/sextant\ndata: /data\n"
        path.write_text(text + more, encoding="utf-8")
        return path

    return write


@pytest.fixture
def pipeline_text() -> Callable[[str], str]:
    """The committed text of a pipeline, which a test of its own holds equal to what the code compiles to."""
    return lambda name: (ROOT / "pipelines" / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def proto() -> Any:
    """KFP's messages, by which the backend parses a package."""
    from kfp.pipeline_spec import pipeline_spec_pb2

    return pipeline_spec_pb2
