"""The trigger as a small HTTP service: Alertmanager posts to /alerts, Prometheus scrapes /metrics.

It answers 2xx only after the launcher has accepted what was started; on a 5xx Alertmanager sends the notification
again, which then completes it. The bearer token is read anew for each request, so that a Secret may be rotated.
"""

from __future__ import annotations

import hmac
import json
import logging
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sextant_monitoring.trigger import Action, Trigger
from sextant_monitoring.webhook import Notification
from sextant_plan.catalogue.trigger import TRIGGER_DECISIONS, TRIGGER_ERRORS
from sextant_plan.errors import SextantError

_log = logging.getLogger(__name__)

MOST_BYTES = 1 << 20  # 500 alerts with long annotations; Alertmanager sends groups of one plan
REQUEST_SECONDS = 10.0  # for a peer that connects and sends nothing
ALERTS, METRICS, HEALTH = "/alerts", "/metrics", "/healthz"


class TriggerServer(ThreadingHTTPServer):
    """The service; `serve_forever` until `shutdown`. Requests under way are answered before it closes."""

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], trigger: Trigger, token_file: Path) -> None:
        from prometheus_client import CollectorRegistry, Counter

        super().__init__(address, _Handler)
        self.trigger, self.token_file = trigger, token_file
        self.registry = CollectorRegistry()
        self.decisions, self.errors = (
            Counter(series.name, series.help, series.labels, registry=self.registry)
            for series in (TRIGGER_DECISIONS, TRIGGER_ERRORS)
        )
        for action in Action:
            self.decisions.labels(action.value)

    @property
    def url(self) -> str:
        """The service's address, with the port that was chosen if it was 0."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"


class _Refused(Exception):
    """An answer that is not 200."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: TriggerServer
    timeout = REQUEST_SECONDS
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sextant-trigger", ""

    def do_GET(self) -> None:
        """Answer health and metrics, which need no token and tell nothing of the plan's data."""
        if self.path == HEALTH:
            self._send(HTTPStatus.OK, b"ok\n", "text/plain")
        elif self.path == METRICS:
            from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

            self._send(HTTPStatus.OK, generate_latest(self.server.registry), CONTENT_TYPE_LATEST)
        else:
            self._send_json(HTTPStatus.NOT_FOUND, {"error": f"known: POST {ALERTS}, GET {METRICS}, GET {HEALTH}"})

    def do_POST(self) -> None:
        """Take a notification of Alertmanager."""
        try:
            decisions = self.server.trigger.receive(self._notification())
        except _Refused as refusal:
            self._send_json(refusal.status, {"error": str(refusal)})
        except SextantError as error:
            self.server.errors.inc()
            _log.error("%s", error)
            self._send_json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "not started; the service's log says why"})
        except Exception:
            self.server.errors.inc()
            _log.exception("a notification could not be acted on")
            self._send_json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "not started; the service's log says why"})
        else:
            for decision in decisions:
                self.server.decisions.labels(decision.action.value).inc()
                _log.info("%s: %s (%s) %s", decision.criterion, decision.action, decision.reason, decision.request_id)
            self._send_json(HTTPStatus.OK, {"decisions": [vars(decision) for decision in decisions]})

    def _notification(self) -> Notification:
        """Return the body if the request may be acted on; raises _Refused."""
        self.close_connection = True  # a body that is not read must not be taken for the next request
        if self.path != ALERTS:
            raise _Refused(HTTPStatus.NOT_FOUND, f"notifications go to {ALERTS}")
        if not self._is_authentic():
            raise _Refused(HTTPStatus.UNAUTHORIZED, "give the token as Authorization: Bearer")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal():
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "give the body's length")
        if int(length) > MOST_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a notification has at most {MOST_BYTES} bytes")
        try:
            return Notification.model_validate_json(self.rfile.read(int(length)))
        except ValidationError as error:
            where = ".".join(map(str, error.errors(include_input=False)[0]["loc"])) or "the document"
            reason = f"not a notification of Alertmanager (version 4): a fault at {where}"
            raise _Refused(HTTPStatus.BAD_REQUEST, reason) from error

    def _is_authentic(self) -> bool:
        expected = self.server.token_file.read_text(encoding="utf-8").strip()
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())

    def _send_json(self, status: HTTPStatus, answer: dict[str, Any]) -> None:
        self._send(status, (json.dumps(answer) + "\n").encode(), "application/json")

    def _send(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log requests at debug level: health checks would fill the log."""
        _log.debug(format, *args)
