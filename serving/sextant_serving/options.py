"""The server's options, as a value and as command-line arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from sextant_serving.hardware import usable_cores, visible_gpus
from sextant_serving.lineup_options import BundleChallenger, add_challenger_options, gather_challengers
from sextant_serving.logs import FORMATS

MOST_WORKERS = 256  # the id of an answer names its worker in two hexadecimal digits


class PeerName(NamedTuple):
    """A name whose addresses are a service's pods; `port` None means the server's own HTTP port."""

    host: str
    port: int | None = None


@dataclass(frozen=True)
class Options:
    """What `serve` needs: exactly one of `bundle` and `home`, and where to listen.

    Port 0 takes any free one; `grpc_port` None means no gRPC.
    """

    bundle: Path | None = None
    home: Path | None = None
    previous_bundle: Path | None = None
    feature_repo: Path | None = None
    model_name: str | None = None
    variant: str = "stable"
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = 8081
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token_file: Path | None = None
    admin_token_file: Path | None = None
    log_format: str = "text"
    otlp_endpoint: str | None = None
    threads: int = 1
    workers: int = 1
    max_body_bytes: int = 1 << 25
    max_held_bytes: int = 1 << 28
    read_seconds: float = 10.0
    idle_seconds: float = 75.0
    linger_seconds: float = 0.0
    drain_seconds: float = 30.0
    remember: int = 65536
    feedback_log: Path | None = None
    peers: tuple[PeerName, ...] = ()
    prediction_log: Path | None = None
    challengers: tuple[BundleChallenger, ...] = ()
    experiment: str | None = None


def parse_options(arguments: Sequence[str]) -> Options:
    """Parse command-line arguments; exits 2 on a usage error, as argparse does."""
    parser = options_parser()
    values = gather_challengers(parser, vars(parser.parse_args(arguments)))
    options = Options(**values | {"peers": tuple(values["peers"] or ())})
    _refuse_contradictions(parser, options)
    return options


def options_parser() -> argparse.ArgumentParser:
    """Return the parser of every option, each with its help."""
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m sextant_serving", description="Serve a model bundle over HTTP.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bundle", type=Path, metavar="DIR", help="serve this bundle")
    source.add_argument("--home", type=Path, metavar="DIR", help="serve what DIR/active.json names, and follow it")
    parser.add_argument(
        "--previous-bundle",
        type=Path,
        metavar="DIR",
        help="with --bundle: the version before, for previous-version in the plan's serving.fallback.engine_failure",
    )
    parser.add_argument("--feature-repo", type=Path, metavar="DIR", help="Feast repository, with --bundle")
    parser.add_argument("--model-name", metavar="NAME", help="name to serve under (default: the bundle's)")
    parser.add_argument("--variant", default=default.variant, help="label of every metric (default: %(default)s)")
    parser.add_argument("--host", default=default.host, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=default.port, help="TCP port, 0 for any (default: %(default)s)")
    parser.add_argument(
        "--grpc-port",
        type=_port_or_off,
        default=default.grpc_port,
        metavar="PORT",
        help="gRPC's TCP port, 0 for any, off for none (default: %(default)s)",
    )
    _add_safety(parser)
    parser.add_argument(
        "--workers",
        type=_count_or_auto,
        default=default.workers,
        metavar="N",
        help="processes on the same ports; auto: one for each GPU, without one for each core (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=default.threads, help="engine threads (default: %(default)s)")
    parser.add_argument(
        "--max-body-bytes",
        type=int,
        default=default.max_body_bytes,
        help="largest body, bytes; of JSON a quarter (default: %(default)s)",
    )
    parser.add_argument(
        "--max-held-bytes",
        type=int,
        default=default.max_held_bytes,
        help="bodies of all requests together, bytes (default: %(default)s)",
    )
    parser.add_argument(
        "--read-seconds", type=float, default=default.read_seconds, help="seconds for a request (default: %(default)s)"
    )
    parser.add_argument(
        "--idle-seconds", type=float, default=default.idle_seconds, help="seconds between them (default: %(default)s)"
    )
    parser.add_argument(
        "--linger-seconds",
        type=float,
        default=default.linger_seconds,
        help="seconds to go on after SIGTERM, not ready, while routes move; another ends it (default: %(default)s)",
    )
    parser.add_argument(
        "--drain-seconds", type=float, default=default.drain_seconds, help="seconds to finish (default: %(default)s)"
    )
    parser.add_argument(
        "--remember", type=int, default=default.remember, help="predictions kept for feedback (default: %(default)s)"
    )
    parser.add_argument("--feedback-log", type=Path, metavar="FILE", help="append each label as a JSON line")
    parser.add_argument(
        "--peers",
        action="append",
        type=_peer_name,
        metavar="HOST[:PORT]",
        help="DNS name of all pods of the service: a label for a prediction of another goes there (default port: this "
        "server's own); repeatable",
    )
    parser.add_argument(
        "--prediction-log", type=Path, metavar="DIR", help="write the predictions that the plan's serving.log samples"
    )
    add_challenger_options(parser)
    return parser


def _refuse_contradictions(parser: argparse.ArgumentParser, options: Options) -> None:
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    if options.max_held_bytes < options.max_body_bytes:
        parser.error("--max-held-bytes is less than one body of --max-body-bytes may have; raise it")
    if options.home and options.previous_bundle:
        parser.error("--previous-bundle goes with --bundle; with --home, active.json names the version before")
    if options.home and options.feature_repo:
        parser.error("--feature-repo goes with --bundle; with --home, active.json names the repository")
    if options.home and (options.challengers or options.experiment):
        parser.error("--challenger, --shadow and --experiment go with --bundle; with --home, active.json names them")


def _add_safety(parser: argparse.ArgumentParser) -> None:
    """Add who may ask, over what, and what is told of it."""
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM certificate chain: TLS on both ports")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its PEM key, unencrypted")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="bearer token that every request needs")
    parser.add_argument("--admin-token-file", type=Path, metavar="FILE", help="token of the model repository API")
    parser.add_argument("--log-format", choices=FORMATS, default="text", help="text or json lines (default: text)")
    parser.add_argument("--otlp-endpoint", metavar="URL", help="send OpenTelemetry traces there, over OTLP/HTTP")


def _count_or_auto(text: str) -> int:
    if text == "auto":
        return min(len(visible_gpus()) or usable_cores(), MOST_WORKERS)
    if text.isdigit() and 1 <= int(text) <= MOST_WORKERS:
        return int(text)
    raise argparse.ArgumentTypeError(f"give a number from 1 to {MOST_WORKERS}, or auto")


def _peer_name(text: str) -> PeerName:
    try:
        parts = urlsplit(f"//{text}")
        name = PeerName(parts.hostname or "", parts.port)
        name.host.encode("idna")
    except ValueError:  # a UnicodeError is one
        name = PeerName("")
    if not name.host or name.port == 0 or parts.netloc != text or "@" in text:
        raise argparse.ArgumentTypeError("give a host name or address, and a port after a colon if it is another")
    return name


def _port_or_off(text: str) -> int | None:
    if text == "off":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError("give a port, 0 or off") from None
