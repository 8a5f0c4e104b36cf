"""What a worker answers to the other workers of its server."""

from __future__ import annotations

import logging

from sextant_serving.application import Application, refuse, respond
from sextant_serving.errors import NoSuchPath, RequestError
from sextant_serving.http_types import Request, Response
from sextant_serving.logs import log_failure
from sextant_serving.metrics_page import MetricsPage, pack
from sextant_serving.repository import Repository

_log = logging.getLogger(__name__)


class SiblingCalls:
    """Carries out in this process alone what a sibling was asked of all, or of this one."""

    def __init__(self, application: Application, repository: Repository, page: MetricsPage) -> None:
        self._application, self._repository, self._page = application, repository, page

    async def handle(self, request: Request) -> Response:
        """Answer a sibling; never raises."""
        try:
            return await self._answer(request)
        except RequestError as error:
            return refuse(error)
        except Exception as error:
            log_failure(_log, "a sibling's call failed", error)
            return respond({"error": "internal error; the server's log has it."}, 500)

    async def _answer(self, request: Request) -> Response:
        match request.target:
            case b"/counters":
                return Response(200, pack(self._page.state()))
            case b"/feedback":
                return self._application.receive_own_feedback(request)
            case b"/passed-on-feedback":
                return self._application.receive_own_feedback(request, passed_on=True)
            case b"/load":
                await self._repository.load_here()
            case b"/unload":
                self._repository.unload_here()
            case _:
                raise NoSuchPath
        return respond({})
