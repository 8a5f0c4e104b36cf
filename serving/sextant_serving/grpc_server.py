"""The gRPC port: the service of `inference.proto` on the application that answers HTTP, in the same event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
import grpc.aio

from sextant_plan import __version__
from sextant_serving.application import EXTENSIONS, Application
from sextant_serving.batching import Traffic
from sextant_serving.call import Call
from sextant_serving.codec_grpc import InferRequest, ModelInferResponse, read_message, render_grpc
from sextant_serving.codec_v2 import Served, describe_inputs, describe_outputs
from sextant_serving.errors import CannotListen, NotReady, PortInUse, RequestError
from sextant_serving.grpc_gate import CONCURRENT, Gate, headers_of, next_message, refuse
from sextant_serving.grpc_protocol import message, service
from sextant_serving.http_types import Limits
from sextant_serving.logs import log_failure
from sextant_serving.repository import Repository, check_parameters
from sextant_serving.tls import KeyPair
from sextant_serving.tracing import Tracing

_log = logging.getLogger(__name__)

IDLE_MS = 300_000
INTERNAL = "internal error; the server's log has it."
Method = Callable[[Any, dict[bytes, bytes], str], Awaitable[Any]]


class GrpcServer:
    """One listening gRPC port; `address` is where it listens once it has started."""

    def __init__(
        self,
        application: Application,
        repository: Repository,
        traffic: Traffic,
        tracing: Tracing | None,
        limits: Limits,
    ) -> None:
        self._application, self._repository, self._traffic, self._limits = application, repository, traffic, limits
        self._infer: Method = tracing.traced_call("ModelInfer", self._ModelInfer) if tracing else self._ModelInfer
        self._loop = asyncio.get_running_loop()
        self.address = ""

    async def start(self, host: str, port: int, *, tls: KeyPair | None, shared: bool) -> None:
        """Listen, on a `shared` port beside other processes; raises PortInUse or CannotListen."""
        options = [
            ("grpc.max_receive_message_length", self._limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_connection_idle_ms", IDLE_MS),
            ("grpc.server_handshake_timeout_ms", int(self._limits.read_seconds * 1000)),
            ("grpc.so_reuseport", int(shared)),  # else a second server would silently share the port
        ]
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=CONCURRENT)
        handlers = {method.name: self._handler(method) for method in service.methods}
        self._server.add_generic_rpc_handlers((Gate(handlers, self._repository.access, self._limits),))
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                bound = self._server.add_insecure_port(where)
            else:
                bound = self._server.add_secure_port(where, tls.grpc_credentials())
        except RuntimeError as error:  # gRPC's only class for it; errno is in the text
            if "in use" in str(error):
                raise PortInUse(host, port, "--grpc-port") from error
            raise CannotListen(host, port, "see the log for gRPC's reason") from error
        await self._server.start()
        self.address = f"{host}:{bound}"

    async def drain(self, seconds: float) -> None:
        """Take no new calls, finish those that have begun, break them off after `seconds`."""
        await self._server.stop(seconds)

    # calls

    def _handler(self, method: Any) -> Any:
        """Return gRPC's handler of a method of the service, whose implementation has the method's name."""
        codecs = {"response_serializer": message(method.output_type.name).SerializeToString}
        if method.name == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(self._stream, **codecs)
        read: Callable[[bytes], Any] = partial(read_message, message(method.input_type.name))
        implementation: Method = self._infer if method.name == "ModelInfer" else getattr(self, f"_{method.name}")
        if method.name == "ModelInfer":
            read, codecs = InferRequest.read, {}  # its answers are serialized already

        async def answer(sent: bytes, context: Any) -> Any:
            metadata = headers_of(context.invocation_metadata())
            try:
                return await implementation(read(sent), metadata, context.peer())
            except RequestError as error:
                return await refuse(context, error)
            except Exception as error:
                log_failure(_log, "a gRPC call failed", error)
                return await context.abort(grpc.StatusCode.INTERNAL, INTERNAL)

        return grpc.unary_unary_rpc_method_handler(answer, **codecs)

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        """Answer a stream's requests in their order; a refusal is an answer, not the stream's end."""
        metadata, peer = headers_of(context.invocation_metadata()), context.peer()
        answered = message("ModelStreamInferResponse")
        patience = self._limits.read_seconds
        while True:
            try:
                sent = await next_message(requests, patience)
            except StopAsyncIteration:
                return
            except RequestError as error:
                await refuse(context, error)
            identifier, patience = "", self._limits.idle_seconds
            try:
                request = InferRequest.read(sent)
                identifier = request.identifier
                response = await self._infer(request, metadata, peer)
            except RequestError as error:
                yield answered(error_message=str(error), infer_response={"id": identifier})
            except Exception as error:
                log_failure(_log, "a gRPC stream's request failed", error)
                yield answered(error_message=INTERNAL, infer_response={"id": identifier})
            else:
                yield answered(infer_response=ModelInferResponse.FromString(response))

    async def _ModelInfer(self, request: InferRequest, metadata: dict[bytes, bytes], peer: str) -> bytes:  # noqa: N802
        """Answer one inference request, counted and batched like those over HTTP. Raises RequestError."""
        application, received = self._application, time.monotonic()
        if application.variants is None:
            raise NotReady
        call = Call(application.variants, metadata, lambda model: request.rows(model.signature), request.size)
        with self._counted(call, peer, received):
            head = request.head
            champion = application.served(head.model, head.version or None)
            names, rows = head.outputs(champion.signature.form.outputs), request.rows(champion.signature)
            answer, identifier, ids = await application.predict(call, call.assign(rows), received)
            return render_grpc(
                answer,
                names,
                Served(call.model.name, call.model.version, call.model.form),
                ids,
                prediction_id=identifier,
                request_id=request.identifier,
                raw=bool(request.raw),
            )

    @contextmanager
    def _counted(self, call: Call, peer: str, received: float) -> Iterator[None]:
        """Count a request in the batcher's traffic and in the metrics of the model that answers it."""
        self._traffic.begin(peer)
        try:
            yield
        except asyncio.CancelledError:  # the client has gone: nothing is answered
            self._traffic.leave(peer, 1)
            raise
        except Exception as error:
            self._finish(call, peer, received, error.status if isinstance(error, RequestError) else 500)
            raise
        self._finish(call, peer, received, 200)

    def _finish(self, call: Call, peer: str, received: float, status: int) -> None:
        self._traffic.answer(peer, self._loop.time())
        call.finish(status, received)

    async def _ServerLive(self, _request: Any, _metadata: dict[bytes, bytes], _peer: str) -> Any:  # noqa: N802
        return message("ServerLiveResponse")(live=True)

    async def _ServerReady(self, _request: Any, _metadata: dict[bytes, bytes], _peer: str) -> Any:  # noqa: N802
        return message("ServerReadyResponse")(ready=self._is_ready())

    async def _ModelReady(self, request: Any, _metadata: dict[bytes, bytes], _peer: str) -> Any:  # noqa: N802
        if self._is_ready():
            self._application.served(request.name, request.version or None)
        return message("ModelReadyResponse")(ready=self._is_ready())

    async def _ServerMetadata(self, _request: Any, _metadata: dict[bytes, bytes], _peer: str) -> Any:  # noqa: N802
        return message("ServerMetadataResponse")(name="sextant", version=__version__, extensions=EXTENSIONS)

    async def _ModelMetadata(self, request: Any, _metadata: dict[bytes, bytes], _peer: str) -> Any:  # noqa: N802
        model = self._application.served(request.name, request.version or None)
        return message("ModelMetadataResponse")(
            name=model.name,
            versions=[model.version],
            platform=f"sextant_{model.spec.engine}",
            inputs=describe_inputs(model.signature),
            outputs=describe_outputs(model.signature),
        )

    async def _RepositoryIndex(self, request: Any, metadata: dict[bytes, bytes], _peer: str) -> Any:  # noqa: N802
        self._repository.access.check_admin(metadata.get(b"authorization"))
        return message("RepositoryIndexResponse")(models=self._repository.index(ready_only=request.ready))

    async def _RepositoryModelLoad(self, request: Any, metadata: dict[bytes, bytes], _peer: str) -> Any:  # noqa: N802
        self._repository.access.check_admin(metadata.get(b"authorization"))
        check_parameters(dict(request.parameters))
        name = _model_name(request)
        await self._repository.load(name)
        return message("RepositoryModelLoadResponse")(model_name=name, isLoaded=True)

    async def _RepositoryModelUnload(self, request: Any, metadata: dict[bytes, bytes], _peer: str) -> Any:  # noqa: N802
        self._repository.access.check_admin(metadata.get(b"authorization"))
        check_parameters(dict(request.parameters))
        name = _model_name(request)
        await self._repository.unload(name)
        return message("RepositoryModelUnloadResponse")(model_name=name, isUnloaded=True)

    def _is_ready(self) -> bool:
        return self._application.is_ready


def _model_name(request: Any) -> str:
    """Return the model's name, which KServe's clients write where Triton's have the repository's."""
    name: str = request.model_name or request.repository_name
    return name
