"""KServe's own client and codec talk to the server unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from sextant_serving.launch import Server

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

IMAGE = (np.arange(128, dtype=np.uint8)).reshape(2, 8, 8, 1)


async def infer(server: Server, *, binary: bool) -> tuple[Any, list[bool]]:
    """Send one v2 request with KServe's REST client, the protocol's checks first."""
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
    from kserve.protocol.infer_type import RequestedOutput

    image = InferInput("image", [2, 8, 8, 1], "UINT8")
    image.set_data_from_numpy(IMAGE, binary_data=binary)
    weight = InferInput("weight", [2], "FP32")
    weight.set_data_from_numpy(np.array([1.5, 3.0], np.float32), binary_data=binary)
    zone = InferInput("zone", [2], "BYTES")
    zone.set_data_from_numpy(np.array([b"south", b"north"], dtype=object), binary_data=binary)
    outputs = [RequestedOutput(name, {"binary_data": binary}) for name in ("probabilities", "label")]
    request = InferRequest(server.model, [image, weight, zone], request_outputs=outputs)
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    try:
        checks = [
            await client.is_server_live(server.url),
            await client.is_server_ready(server.url),
            await client.is_model_ready(server.url, server.model),
        ]
        return await client.infer(server.url, request, model_name=server.model), checks
    finally:
        await client.close()


@pytest.mark.parametrize("binary", [pytest.param(False, id="json"), pytest.param(True, id="binary")])
def test_kserve_rest_client_talks_unchanged(server: Server, *, binary: bool) -> None:
    """Health, inference and both encodings work through KServe's client, and agree with ours."""
    response, checks = asyncio.run(infer(server, binary=binary))
    assert checks == [True, True, True]
    outputs = {output.name: output.as_numpy() for output in response.outputs}
    with server.client() as client:
        ours = client.infer_binary(
            {"image": IMAGE, "weight": np.array([1.5, 3.0], np.float32), "zone": ["south", "north"]}
        )
    np.testing.assert_allclose(outputs["probabilities"], ours["probabilities"], rtol=1e-6)
    labels = [label.decode() if isinstance(label, bytes) else label for label in outputs["label"].tolist()]
    assert labels == ours["label"]
