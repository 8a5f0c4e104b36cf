"""The client's promises to the steps and the command line that use it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.programs import free_port

from sextant_serving.client import Client
from sextant_serving.launch import running_server


def test_a_client_that_was_refused_reaches_the_server_once_it_is_there(make_bundle: Callable[..., Path]) -> None:
    """A failed request leaves nothing behind on the connection: the next one starts afresh."""
    port = free_port()
    with Client(f"http://127.0.0.1:{port}") as client:
        assert not client.ready()
        assert not client.ready()
        with running_server(bundle=make_bundle(), port=port):
            assert client.ready()
