"""What can be wrong with a request, one class for each HTTP status; no message repeats what was sent.

A request error names the field at fault, what it has to be, and nothing of its value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from sextant_plan.errors import InfrastructureError, SextantError

LOG_KEY = "SEXTANT_LOG_KEY"


class RequestError(SextantError):
    """Base of the errors that become an HTTP answer; `status` is its code, `headers` what it adds."""

    status = 400
    headers: tuple[tuple[bytes, bytes], ...] = ()


class BadRequest(RequestError):
    """400: a field of the request is not what the protocol or the model's signature says."""

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        super().__init__(f"{where}: {problem}. {remedy}.")


class BadPicture(RequestError):
    """400: bytes that are not a picture the server is willing to decode."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"image: {problem}. Send a whole JPEG or PNG within the size limit.")


class BadColumn(RequestError):
    """400: a value that cannot become the number its column needs; `row` counts from 0."""

    def __init__(self, column: str, row: int) -> None:
        super().__init__(f"{column}: row {row} is not a number. Send a number, or null where it is missing.")


class BadCategory(RequestError):
    """400: a list or an object where a category belongs; `row` counts from 0."""

    def __init__(self, column: str, row: int) -> None:
        super().__init__(f"{column}: row {row} is no single value. Send text or a number, or null where it is missing.")


class Unauthorized(RequestError):
    """401: the request bears no token, or another than the server's."""

    status = 401
    headers = ((b"www-authenticate", b"Bearer"),)

    def __init__(self) -> None:
        super().__init__("authorization: not the server's token. Send `Authorization: Bearer TOKEN`.")


class Forbidden(RequestError):
    """403: the model repository API of a server that has no administrator's token."""

    status = 403

    def __init__(self) -> None:
        super().__init__("the model repository API is off. Start the server with --admin-token-file.")


class NoSuchPath(RequestError):
    """404: the server has no such path."""

    status = 404

    def __init__(self) -> None:
        super().__init__("no such path. GET /v2 lists what this server speaks.")


class NoSuchModel(RequestError):
    """404: another model, or another version, than the one that is served."""

    status = 404

    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"no such model or version. This server has {model}, version {version}.")


class NoSuchVariant(RequestError):
    """404: the request names a variant that this process does not have."""

    status = 404

    def __init__(self, variants: Sequence[str]) -> None:
        super().__init__(f"x-sextant-variant: no such variant. This server has {', '.join(variants)}.")


class NotRemembered(RequestError):
    """404: a label that was passed on, for a prediction that this server does not remember; nothing is counted."""

    status = 404

    def __init__(self) -> None:
        super().__init__("prediction_id: not remembered here. The server that passed the label on answers for it.")


class WrongMethod(RequestError):
    """405: the path exists for another method."""

    status = 405

    def __init__(self, allowed: str) -> None:
        self.headers = ((b"allow", allowed.encode()),)
        super().__init__(f"this path takes {allowed} only.")


class SlowClient(RequestError):
    """408: the request was begun and not finished in time."""

    status = 408

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no complete request came within {seconds:g} s.")


class LoadFailed(RequestError):
    """409: what was asked to be loaded cannot be served; the model in service stays."""

    status = 409

    def __init__(self, problem: str) -> None:
        super().__init__(f"not loaded: {problem}")


class TooLarge(RequestError):
    """413: a body or a row count over the limit."""

    status = 413

    def __init__(self, what: str, limit: int, unit: str) -> None:
        super().__init__(f"{what}: over the limit of {limit} {unit}. Send it in parts.")


class WrongMediaType(RequestError):
    """415: a content type that the path does not take."""

    status = 415

    def __init__(self) -> None:
        super().__init__("content-type: send application/json, application/octet-stream, image/jpeg or image/png.")


class MissingFeatures(RequestError):
    """422: the feature store has nothing fresh for an entity and the plan says reject; `row` counts from 0."""

    status = 422

    def __init__(self, entity: str, row: int) -> None:
        super().__init__(f"{entity}: the feature store has no fresh features for row {row}, and the plan says reject.")


class FeatureFailure(RequestError):
    """422: an on-demand function fails on a row of the request, and the plan says reject."""

    status = 422

    def __init__(self, entity: str) -> None:
        super().__init__(f"{entity}: the on-demand features of a row cannot be computed, and the plan says reject.")


class Overloaded(RequestError):
    """429: the queue is full, or so long that the answer would come after the deadline."""

    status = 429

    def __init__(self, seconds: float = 1.0) -> None:
        wait = max(1, math.ceil(seconds))
        self.headers = ((b"retry-after", b"%d" % wait),)
        super().__init__(f"the queue is too long for an answer within the deadline. Retry after {wait} s.")


class HeaderTooLarge(RequestError):
    """431: request line and headers over the limit."""

    status = 431

    def __init__(self, limit: int) -> None:
        super().__init__(f"request line and headers are over {limit} bytes.")


class AttachmentFailed(RequestError):
    """500: the user's attachment function raised, or gave something else than files."""

    status = 500

    def __init__(self, entrypoint: str, problem: str) -> None:
        super().__init__(f"attachment: {entrypoint} {problem}. The prediction itself can be had without attachments.")


class NotReady(RequestError):
    """503: no model is loaded yet, or the server is shutting down."""

    status = 503
    headers = ((b"retry-after", b"1"),)

    def __init__(self) -> None:
        super().__init__("the server is not ready: the model is loading, or the server is shutting down.")


class BodiesFull(RequestError):
    """503: the bodies of the requests under way take all the memory that is set aside for them."""

    status = 503
    headers = ((b"retry-after", b"1"),)

    def __init__(self) -> None:
        super().__init__("body: there is no room for it beside those of other requests. Retry after 1 s.")


class WorkerSilent(RequestError):
    """503: another worker process of this server does not answer; `number` counts from 0."""

    status = 503
    headers = ((b"retry-after", b"1"),)

    def __init__(self, number: int) -> None:
        super().__init__(f"worker {number} of this server does not answer. Try again, or look into the server's log.")


class LabelNotKept(RequestError):
    """503: the feedback log cannot be written; nothing was counted."""

    status = 503
    headers = ((b"retry-after", b"10"),)

    def __init__(self) -> None:
        super().__init__("label: the feedback log cannot be written, and nothing was counted. Send it again later.")


class FeatureOutage(RequestError):
    """503: the feature store does not answer and the plan says reject."""

    status = 503
    headers = ((b"retry-after", b"1"),)

    def __init__(self) -> None:
        super().__init__("the feature store does not answer, and the plan says reject.")


class DeadlineExceeded(RequestError):
    """504: the answer was not there within the plan's deadline."""

    status = 504

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within the deadline of {seconds:g} s.")


class PortInUse(InfrastructureError):
    """The port to listen on belongs to another process; `option` gives another."""

    def __init__(self, host: str, port: int, option: str = "--port") -> None:
        super().__init__(
            f"{host}:{port} is in use by another process. Stop it (`ss -ltnp sport = :{port}` names it), "
            f"or give another {option}; 0 takes any free one."
        )


class CannotListen(InfrastructureError):
    """The operating system refuses the address."""

    def __init__(self, host: str, port: int, problem: str) -> None:
        super().__init__(f"{host}:{port}: cannot listen there ({problem}). Give another --host or --port.")


class TokenUnreadable(InfrastructureError):
    """A file that should hold a token does not."""

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file}: no token can be read from it ({problem}). Write one word in ASCII, one line.")


class TracingMissing(InfrastructureError):
    """Traces were asked for, and OpenTelemetry is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "traces were asked for (--otlp-endpoint or OTEL_EXPORTER_OTLP_ENDPOINT), and OpenTelemetry is not there. "
            "Install the extra: pip install 'sextant-mlops[tracing]'."
        )


class CertificateUnusable(InfrastructureError):
    """The certificate and the key are no pair that TLS can use."""

    def __init__(self, certificate: Path, key: Path, problem: str) -> None:
        super().__init__(
            f"{certificate}, {key}: no TLS with these ({problem}). "
            "Give a PEM certificate chain and its unencrypted PEM key."
        )


class LogUnwritable(InfrastructureError):
    """A log cannot be opened; `option` is the one that names its place."""

    def __init__(self, path: Path, option: str, problem: str) -> None:
        super().__init__(f"{path}: cannot be appended to ({problem}). Give a {option} in a writable folder.")


class LogKeyMissing(InfrastructureError):
    """The plan wants inputs logged as digests, and there is no key to make them with."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(
            f"serving.log.hashed: {', '.join(columns)} cannot be logged as digests without a key. "
            f"Set the variable {LOG_KEY} to a secret text, the same for every server whose logs are joined."
        )


class NothingActive(InfrastructureError):
    """The home holds no promoted model."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: no active model. Promote one with `sextant run`, or serve one with --bundle DIR.")


class StoreUnavailable(InfrastructureError):
    """The Feast repository cannot be opened, or lacks the feature service that the bundle names."""

    def __init__(self, repo: Path, service: str, problem: str) -> None:
        super().__init__(
            f"{repo}: feature service {service} cannot be opened ({problem}). "
            "Give the repository that the prepare step applied, and see that its registry answers."
        )


class CodeDiffers(InfrastructureError):
    """The user's code beside the server is not what it was when the bundle was sealed."""

    def __init__(self, entrypoint: str) -> None:
        super().__init__(
            f"{entrypoint}: its package has changed since the bundle was sealed. "
            "Install the version that was evaluated, or run the life cycle with the new one."
        )
