"""The model repository API: tell what is there, load it anew, take it out of service.

The repository is what the server was started with: a bundle's folder, or the model that the home names.
Source: Open Inference Protocol, "Model Repository Extension".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol

import orjson

from sextant_plan.errors import SextantError
from sextant_serving.access import Access
from sextant_serving.codec_v1 import parse_json
from sextant_serving.errors import BadRequest, LoadFailed, NoSuchModel, NotReady
from sextant_serving.http_types import Request, Response
from sextant_serving.routes import Route
from sextant_serving.siblings import Siblings
from sextant_serving.variants import Variants

READY, UNAVAILABLE = "READY", "UNAVAILABLE"

Named = tuple[str, str]
"""A model's name and version."""


class Serving(Protocol):
    """The part of the application that is changed here: the variants in service."""

    variants: Variants | None
    draining: bool


class Repository:
    """Loads and unloads what the server has; `swap` puts it in place once it has proved itself."""

    def __init__(
        self,
        serving: Serving,
        swap: Callable[[], Awaitable[None]],
        access: Access,
        siblings: Siblings | None = None,
    ) -> None:
        self._serving, self._swap, self.access, self._siblings = serving, swap, access, siblings
        self._unloaded: list[Named] = []  # not the models, whose memory is wanted back

    def index(self, *, ready_only: bool = False) -> list[dict[str, str]]:
        """Return name, version, state and reason of each variant's model, none before the first was loaded."""
        serving, known = self._serving, self._known()
        ready = serving.variants is not None and not serving.draining
        if ready_only and not ready:
            return []
        reason = "" if ready else ("shutting down" if serving.draining else "unloaded")
        state = READY if ready else UNAVAILABLE
        return [{"name": name, "version": version, "state": state, "reason": reason} for name, version in known]

    async def load(self, name: str) -> None:
        """Load the model again, beside the one in service, and put it in place. Raises NoSuchModel, LoadFailed."""
        self._check(name)
        await self.load_here()
        await self._tell_siblings(b"/load")

    async def unload(self, name: str) -> None:
        """Take no more requests for the model; those that have begun are answered. Raises NoSuchModel."""
        self._check(name)
        self.unload_here()
        await self._tell_siblings(b"/unload")

    async def load_here(self) -> None:
        """Load in this process alone. Raises LoadFailed."""
        try:
            await self._swap()
        except SextantError as error:
            raise LoadFailed(str(error)) from error

    def unload_here(self) -> None:
        """Unload in this process alone; nothing if that is done already."""
        variants = self._serving.variants
        if variants is None:
            return
        self._unloaded, self._serving.variants = self._known(), None
        for model in variants.models:
            model.metrics.ready = False

    async def _tell_siblings(self, target: bytes) -> None:
        """Have the other workers do the same, this one having succeeded. Raises LoadFailed."""
        answers = await self._siblings.tell_all(target) if self._siblings else ()
        if any(answer.status != HTTPStatus.OK for answer in answers):
            raise LoadFailed("another worker of this server could not follow; they differ until the next load")

    def _known(self) -> list[Named]:
        """Return each variant's model, the champion's first: those in service, else those last unloaded."""
        variants = self._serving.variants
        return self._unloaded if variants is None else [(model.name, model.version) for model in variants.models]

    def _check(self, name: str) -> None:
        known = self._known()
        if not known:
            raise NotReady
        if name != known[0][0]:
            raise NoSuchModel(*known[0])

    async def handle(self, request: Request, route: Route) -> Response:
        """Answer a request of the API over HTTP; raises RequestError."""
        self.access.check_admin(request.headers.get(b"authorization"))
        asked = parse_json(request.body, "body") if request.body else {}
        if route.action == "repository-index":
            return Response(200, orjson.dumps(self.index(ready_only=asked.get("ready") is True)))
        check_parameters(asked.get("parameters"))
        name = route.model or ""
        if route.action == "repository-load":
            await self.load(name)
            return Response(200, orjson.dumps({"name": name, "load": True}))
        await self.unload(name)
        return Response(200, orjson.dumps({"name": name, "unload": True}))


def check_parameters(parameters: Any) -> None:
    """Raise BadRequest for parameters that would bring a model along: what is served comes from the repository."""
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest("parameters", "not an object", "Send parameters by name, or none")
    for name in parameters or {}:
        if name != "unload_dependents":
            raise BadRequest("parameters", "a parameter of another kind of server", "Change the repository, then load")
