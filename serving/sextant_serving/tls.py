"""TLS of both ports from one certificate and key."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sextant_serving.errors import CertificateUnusable


@dataclass(frozen=True)
class KeyPair:
    """A PEM certificate chain, the server's own first, and its unencrypted private key."""

    certificate: Path
    key: Path

    def http_context(self) -> ssl.SSLContext:
        """Return the context of the HTTP port, TLS 1.2 or later. Raises CertificateUnusable."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise CertificateUnusable(self.certificate, self.key, _reason(error)) from error
        return context

    def peer_context(self) -> ssl.SSLContext:
        """Return the context for asking servers that show this certificate too, or one that the system trusts."""
        context = ssl.create_default_context()
        context.load_verify_locations(self.certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it is trusted itself, whoever issued it
        return context

    def grpc_credentials(self) -> Any:
        """Return the credentials of the gRPC port."""
        import grpc

        return grpc.ssl_server_credentials([(self.key.read_bytes(), self.certificate.read_bytes())])


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # instead of a prompt on the terminal


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
