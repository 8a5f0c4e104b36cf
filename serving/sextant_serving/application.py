"""The paths of the server: what each answers, and how errors and codes are counted."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any

import orjson

from sextant_plan import __version__
from sextant_plan.feedback import Feedback
from sextant_serving.attachments import attach_files
from sextant_serving.call import Call
from sextant_serving.codec_v1 import describe_rows, render_v1
from sextant_serving.codec_v2 import Served, Wanted, describe_inputs, describe_outputs, render_v2
from sextant_serving.decoders import Decoders, decode_all, decode_small
from sextant_serving.errors import (
    NoSuchModel,
    NoSuchPath,
    NotReady,
    NotRemembered,
    RequestError,
    WrongMethod,
)
from sextant_serving.feedback import FeedbackBook
from sextant_serving.http_types import Request, Response
from sextant_serving.logs import log_failure
from sextant_serving.lookups import Found
from sextant_serving.metrics_page import CONTENT_TYPE, MetricsPage, merge, render
from sextant_serving.mirror import Copied, Unread
from sextant_serving.model import Model
from sextant_serving.openapi import describe_api
from sextant_serving.peers import PASSED_ON, Peers
from sextant_serving.reading import JSON_BYTES, read_feedback, read_rows, wants_attachments
from sextant_serving.routes import Route, read_query, resolve
from sextant_serving.rows import Answer, Rows, Times
from sextant_serving.siblings import Siblings
from sextant_serving.variants import VARIANT_HEADER, Variants

_log = logging.getLogger(__name__)

EXTENSIONS = ["binary_tensor_data", "model_repository"]
POSTED = frozenset({"predict", "infer", "feedback", "repository-index", "repository-load", "repository-unload"})

Headers = tuple[tuple[bytes, bytes], ...]


def respond(document: object, status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(status, orjson.dumps(document))


def refuse(error: RequestError) -> Response:
    """Return the response for a request error."""
    return Response(error.status, orjson.dumps({"error": str(error)}), headers=error.headers)


class Application:
    """Answers requests with the models in `variants`, which a hot swap replaces; None until one is ready.

    `pool` runs the user's attachment function; `siblings` are the other worker processes, if the server has several.
    `json_bytes` limits what is parsed as JSON.
    """

    def __init__(
        self,
        page: MetricsPage,
        feedback: FeedbackBook,
        pool: Executor,
        decoders: Decoders,
        siblings: Siblings | None = None,
        *,
        json_bytes: int = JSON_BYTES,
    ) -> None:
        self._variants: Variants | None = None
        self._draining = False
        self._siblings, self._json_bytes = siblings, json_bytes
        self.note_stages: Callable[[Times], None] | None = None
        self.repository: Callable[[Request, Route], Awaitable[Response]]  # set by the server, which can load models
        self._page, self._feedback, self._pool, self._decoders = page, feedback, pool, decoders
        self._loop = asyncio.get_running_loop()
        self._id_prefix, self._id_count = siblings.id_prefix if siblings else os.urandom(6).hex(), 0
        self._pod_prefix = siblings.common_prefix if siblings else self._id_prefix
        self.peers: Peers | None = None  # set by the server, once it knows where it listens

    @property
    def variants(self) -> Variants | None:
        """The models in service."""
        return self._variants

    @variants.setter
    def variants(self, variants: Variants | None) -> None:
        self._variants = variants
        self._tell_siblings()

    @property
    def draining(self) -> bool:
        """Whether the server is about to end."""
        return self._draining

    @draining.setter
    def draining(self, draining: bool) -> None:
        self._draining = draining
        self._tell_siblings()

    def _tell_siblings(self) -> None:
        if self._siblings is not None:
            self._siblings.mark(ready=self._variants is not None and not self._draining)

    @property
    def is_ready(self) -> bool:
        """Tell whether requests are taken, by every worker."""
        if self._variants is None or self._draining:
            return False
        return self._siblings is None or self._siblings.all_ready

    @property
    def model(self) -> Model | None:
        """The champion: the model whose name, version and inputs the paths speak of."""
        return self.variants.champion if self.variants else None

    async def handle(self, request: Request) -> Response:
        """Answer a request; never raises."""
        try:
            path, _, query = request.target.partition(b"?")
            route = resolve(path)
            if route is None:
                return refuse(NoSuchPath())
            posted = route.action in POSTED
            if request.method not in ((b"POST",) if posted else (b"GET", b"HEAD")):
                return refuse(WrongMethod("POST" if posted else "GET"))
            if route.action in ("predict", "infer"):
                return await self._infer_and_count(request, route, read_query(query) if query else {})
            if route.action == "feedback":
                return await self._receive_feedback(request)
            if route.action == "metrics":
                return await self._show_metrics()
            if posted:
                return await self.repository(request, route)
            return self._describe(route)
        except RequestError as error:
            return refuse(error)
        except Exception as error:
            log_failure(_log, "a request failed", error)
            return respond({"error": "internal error; the server's log has it."}, 500)

    # health, metadata, metrics

    def _describe(self, route: Route) -> Response:
        ready = self.is_ready
        match route.action:
            case "alive":
                return respond({"status": "alive"})
            case "live":
                return respond({"live": True})
            case "ready":
                return respond({"ready": ready}, 200 if ready else 503)
            case "v2":
                return respond({"name": "sextant", "version": __version__, "extensions": EXTENSIONS})
            case "v1-models":
                return respond({"models": [self.model.name] if self.model else []})
            case "openapi.json":
                if self.model is None:
                    raise NotReady
                return respond(describe_api(self.model.name, self.model.version, self.model.signature))
        model = self.served(route.model, route.version)
        match route.action:
            case "v1-model":
                return respond({"name": model.name, "ready": ready}, 200 if ready else 503)
            case "v2-model-ready":
                return respond({"name": model.name, "ready": ready}, 200 if ready else 503)
        return respond(
            {
                "name": model.name,
                "versions": [model.version],
                "platform": f"sextant_{model.spec.engine}",
                "inputs": describe_inputs(model.signature),
                "outputs": describe_outputs(model.signature),
            }
        )

    def served(self, name: str | None, version: str | None) -> Model:
        """Return the champion if it has this name, and this version unless None. Raises NotReady or NoSuchModel."""
        model = self.model
        if model is None:
            raise NotReady
        if name != model.name or version not in (None, model.version):
            raise NoSuchModel(model.name, model.version)
        return model

    # inference

    async def _show_metrics(self) -> Response:
        """Return what this process and its siblings have counted together. Raises WorkerSilent."""
        state = self._page.state()
        if self._siblings is not None:
            state = merge([state, *await self._siblings.states()])
        return Response(200, render(state), CONTENT_TYPE.encode())

    async def _infer_and_count(self, request: Request, route: Route, query: dict[str, str]) -> Response:
        if self.variants is None:
            raise NotReady

        def read_for(model: Model) -> Rows:
            return self._parse(model, request, route, query)[0]

        call = Call(self.variants, request.headers, read_for, len(request.body))
        try:
            response = await self._infer(self.served(route.model, route.version), call, request, route, query)
        except RequestError as error:
            response = refuse(error)
        except Exception as error:
            log_failure(_log, "inference failed", error)
            response = respond({"error": "internal error; the server's log has it."}, 500)
        call.finish(response.status, request.received)
        return response

    async def _infer(
        self, champion: Model, call: Call, request: Request, route: Route, query: dict[str, str]
    ) -> Response:
        attach = wants_attachments(champion, query)
        rows, wanted = self._parse(champion, request, route, query, keep_fields=attach)
        fields, rows = rows.fields, call.assign(rows)
        rows.fields, model = fields, call.model
        answer, identifier, ids = await self.predict(call, rows, request.received)
        files = await self._attach(champion, answer, rows, ids) if attach else None
        header: Headers = ((b"x-prediction-id", identifier.encode()),)
        if call.variants.named_in_answers:
            header += ((VARIANT_HEADER, model.variant.encode()),)
        if wanted is None:
            return Response(200, render_v1(answer, model.form, ids, files), headers=header)
        served = Served(model.name, model.version, model.form)
        body, json_length = render_v2(answer, wanted, served, ids, files[0] if files else None)
        if json_length is None:
            return Response(200, body, headers=header)
        length = (b"inference-header-content-length", str(json_length).encode())
        return Response(200, body, b"application/octet-stream", (*header, length))

    def _parse(
        self, model: Model, request: Request, route: Route, query: Mapping[str, str], *, keep_fields: bool = False
    ) -> tuple[Rows, Wanted | None]:
        """Return a request's rows, and what a v2 response is to hold; None answers in v1."""
        return read_rows(model, request, route, query, keep_fields=keep_fields, json_bytes=self._json_bytes)

    async def predict(self, call: Call, rows: Rows, received: float) -> tuple[Answer, str, list[str]]:
        """Answer the rows of an assigned call; returns the answer, its id and those of its rows. Raises RequestError.

        `received` is the loop's time from which the deadline counts.
        """
        model, ahead = call.model, None
        if rows.pictures is not None:
            with model.batcher.reserve(rows.count):
                ahead = await self._decode(model, rows, rows.pictures, received)
        stages, queued = model.metrics.stages, time.monotonic()
        stages.preprocess.observe(queued - received)
        waiting = model.batcher.submit(rows, received, ahead)
        identifier, ids = self._new_ids(rows.count)
        for mirror in call.variants.mirrors:
            if mirror.model is not model:
                mirror.offer(Copied(ids, rows, model, Unread(partial(_read_whole, call), call.size)))
        try:
            answer = await waiting
        finally:
            ended = time.monotonic()
            stages.predict.observe(ended - queued)
        call.answered = ended
        if self.note_stages is not None and answer.times is not None:
            self.note_stages(answer.times)
        self._feedback.remember(ids, model.form.labels(answer), model.metrics, call.unit)
        if model.log is not None:
            model.log.offer(ids, call.assignment, answer, rows, time.monotonic() - received)
        return answer, identifier, ids

    def record_copy(self, shadow: Model, ids: list[str], answer: Answer, rows: Rows, seconds: float) -> None:
        """Note what a shadow says of a request that another variant has answered."""
        self._feedback.remember_copies(ids, shadow.form.labels(answer), shadow.metrics)
        if shadow.log is not None:
            shadow.log.offer(ids, "mirror", answer, rows, seconds)

    async def _decode(
        self, model: Model, rows: Rows, pictures: list[bytes], received: float
    ) -> asyncio.Future[Found] | None:
        """Decode a request's pictures, on threads unless it is a small one; returns what is looked up meanwhile.

        Raises BadPicture, Overloaded and DeadlineExceeded.
        """
        spec, deadline = model.signature.image, model.spec.serving.deadline
        assert spec is not None
        decoded = decode_small(pictures, spec)
        if decoded is not None:
            ahead = model.look_ahead(rows)
        else:
            decoding = self._decoders.start(pictures, spec, received + deadline, deadline)
            ahead = model.look_ahead(rows)
            decoded = await decoding
        rows.image, rows.pictures = decoded.image, None
        for one in decoded.seconds:
            model.metrics.decode_seconds.observe(one)
        return ahead

    def _new_ids(self, count: int) -> tuple[str, list[str]]:
        """Return the id of an answer and those of its rows; they are the same for a single row."""
        self._id_count += 1
        identifier = f"{self._id_prefix}-{self._id_count:x}"
        return identifier, [identifier] if count == 1 else [f"{identifier}.{row}" for row in range(count)]

    async def _attach(self, model: Model, answer: Answer, rows: Rows, ids: list[str]) -> list[dict[str, bytes]]:
        """Call the user's function for each row, in the pool; raises AttachmentFailed."""
        assert model.attach is not None
        assert model.spec.serving.attachment is not None
        predictions = describe_rows(answer, model.form, ids)
        fields: list[dict[str, Any]] = rows.fields or [{} for _ in ids]
        stored = answer.stored or [None] * rows.count
        seen = [{**sent, **(row or {})} for sent, row in zip(fields, stored, strict=True)]
        entrypoint = model.spec.serving.attachment.entrypoint
        return await self._loop.run_in_executor(self._pool, attach_files, model.attach, entrypoint, predictions, seen)

    # feedback

    async def _receive_feedback(self, request: Request) -> Response:
        """Take a label, or hand it to the worker or the pod whose answer it is for."""
        feedback, passed_on = read_feedback(request), PASSED_ON in request.headers
        identifier = feedback.prediction_id
        owner = self._siblings.owner_of(identifier) if self._siblings is not None else None
        if self._siblings is not None and owner is not None:
            target = b"/passed-on-feedback" if passed_on else b"/feedback"
            return await self._siblings.pass_on(owner, target, request.body)
        if self.peers is not None and not passed_on and not identifier.startswith(self._pod_prefix):
            answer = await self._ask_peers(self.peers, identifier, request)
            if answer is not None:
                return answer
        return self._take(feedback, passed_on=passed_on)

    async def _ask_peers(self, peers: Peers, identifier: str, request: Request) -> Response | None:
        """Return the answer of the pod that made a prediction, None if there is none. Raises NotReady."""
        if self.model is None:
            raise NotReady
        inquiry = await peers.ask(identifier, request)
        if self.model is not None:
            self.model.metrics.passed_on[inquiry.outcome] += 1
        return inquiry.answer

    def receive_own_feedback(self, request: Request, *, passed_on: bool = False) -> Response:
        """Take a label for an answer of this process, or of nobody unless it was `passed_on`. Raises RequestError."""
        return self._take(read_feedback(request), passed_on=passed_on)

    def _take(self, feedback: Feedback, *, passed_on: bool) -> Response:
        if passed_on and not self._feedback.remembers(feedback.prediction_id):
            raise NotRemembered
        if self.model is None:
            raise NotReady
        outcome = self._feedback.receive(feedback, self.model.metrics)
        return respond({"prediction_id": feedback.prediction_id, "outcome": outcome})


def _read_whole(call: Call, model: Model) -> Rows:
    """Read a request for `model`, and decode its pictures; raises RequestError."""
    rows = call.read_for(model)
    if rows.pictures is not None:
        assert model.signature.image is not None
        rows.image = decode_all(rows.pictures, model.signature.image).image
        rows.pictures = None
    return rows
