"""The four kinds of request, and what comes back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sextant_serving.client import Client, Refused, Tensor
from sextant_serving.launch import Server, running_server

PIXELS = (np.arange(64, dtype=np.uint8) * 4).reshape(1, 8, 8, 1)


def expected() -> np.ndarray:
    """Return softmax of the written-down weights for the test picture, weight 1.5, zone south (index 1)."""
    weights = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    logits = PIXELS.mean() / 64 * np.array([2.0, -1.0, 0.5]) + np.array([1.5, 1.0]) @ weights
    return np.asarray(np.exp(logits) / np.exp(logits).sum())


def test_all_kinds_of_request_give_the_same_answer(client: Client, picture: bytes) -> None:
    """One row means the same as v1 JSON, v2 JSON, v2 binary and raw picture."""
    b64 = {"b64": base64.b64encode(picture).decode()}
    v1 = client.predict_v1([{"image": b64, "weight": 1.5, "zone": "south"}])[0]
    tensors: dict[str, Tensor] = {"image": PIXELS, "weight": np.array([1.5], np.float32), "zone": ["south"]}
    answers = [
        np.array(list(v1["probabilities"].values())),
        client.infer_json(tensors)["probabilities"][0],
        client.infer_binary(tensors)["probabilities"][0],
        client.infer_binary({**tensors, "image": [picture]})["probabilities"][0],
        client.infer_json({**tensors, "image": [b64["b64"]]})["probabilities"][0],
        client.infer_picture(picture, {"weight": 1.5, "zone": "south"})["probabilities"][0],
    ]
    for answer in answers:
        np.testing.assert_allclose(answer, expected(), atol=1e-5)


def test_a_v1_prediction_says_everything_about_a_row(client: Client, picture: bytes) -> None:
    """Label, probability, all classes, abstention, fallback and id are there, and agree."""
    image = {"b64": base64.b64encode(picture).decode()}
    first, second = client.predict_v1([{"image": image, "weight": 1.5, "zone": "south"}, {"image": image}])
    assert first["label"] == max(first["probabilities"], key=first["probabilities"].__getitem__)
    assert first["probability"] == first["probabilities"][first["label"]]
    assert (first["abstained"], first["fallback"]) == (False, None)
    assert [first["prediction_id"], second["prediction_id"]] == [f"{client.prediction_id}.{row}" for row in (0, 1)]


def test_binary_output_is_what_json_output_is(client: Client, server: Server) -> None:
    """Outputs can be named and asked for in binary one by one."""
    document = {
        "id": "mine",
        "inputs": [
            {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": PIXELS.ravel().tolist()},
            {"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [[1.5, 1.0]]},
        ],
        "outputs": [
            {"name": "label", "parameters": {"binary_data": True}},
            {"name": "prediction_id"},
            {"name": "probabilities", "parameters": {"binary_data": True}},
            {"name": "abstained"},
        ],
    }
    path = f"/v2/models/{server.model}/versions/3/infer"
    status, headers, body = client.request("POST", path, json.dumps(document).encode())
    assert status == 200
    split = int(headers["inference-header-content-length"])
    head = json.loads(body[:split])
    label, identifier, probabilities, abstained = head["outputs"]
    assert head["id"] == "mine"
    assert identifier["data"] == [headers["x-prediction-id"]]
    assert abstained["data"] == [False]
    first = label["parameters"]["binary_data_size"]
    assert body[split : split + first] == b"\x05\x00\x00\x00heavy"
    assert probabilities["shape"] == [1, 3]
    np.testing.assert_allclose(np.frombuffer(body[split + first :], "<f4"), expected(), atol=1e-5)


def test_missing_and_unknown_values_are_encoded_as_the_columns_say(client: Client) -> None:
    """A missing number is its default, an unknown category the index after the vocabulary."""
    by_name = client.infer_json({"image": PIXELS, "weight": np.array([np.nan], np.float32), "zone": ["west"]})
    tensor = client.infer_binary({"image": PIXELS, "features": np.array([[2.0, 2.0]], np.float32)})
    np.testing.assert_allclose(by_name["probabilities"], tensor["probabilities"], atol=1e-6)


def test_nested_lists_are_pictures_too(client: Client) -> None:
    """A v1 instance may hold its pixels as lists."""
    answer = client.predict_v1([{"image": PIXELS[0].tolist(), "weight": 1.5, "zone": "south"}])[0]
    np.testing.assert_allclose(list(answer["probabilities"].values()), expected(), atol=1e-5)


def test_metadata_names_what_a_request_carries(client: Client, server: Server) -> None:
    """Server and model metadata follow the protocol, and only known versions exist."""
    assert json.loads(client.request("GET", "/v2")[2])["extensions"] == ["binary_tensor_data", "model_repository"]
    metadata = json.loads(client.request("GET", f"/v2/models/{server.model}")[2])
    assert metadata["versions"] == ["3"]
    assert [(tensor["name"], tensor["datatype"]) for tensor in metadata["inputs"]] == [
        ("image", "UINT8"),
        ("weight", "FP32"),
        ("zone", "BYTES"),
    ]
    paths = {"ready": 200, "versions/3/ready": 200, "versions/4/ready": 404, "versions/3": 200, "nothing": 404}
    assert {path: client.request("GET", f"/v2/models/{server.model}/{path}")[0] for path in paths} == paths
    assert client.request("GET", "/v2/models/other")[0] == 404
    assert client.request("GET", "/v2/health/live")[0] == 200
    assert client.request("GET", f"/v1/models/{server.model}/")[0] == 200
    status, headers, _ = client.request("GET", f"/v1/models/{server.model}:predict")
    assert (status, headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        pytest.param(b"SECRET{", "not JSON", id="no-json"),
        pytest.param(b'{"instances": []}', "instances", id="no-rows"),
        pytest.param(b'{"instances": [{"SECRET": 1}]}', "instances[0]", id="unknown-field"),
        pytest.param(b'{"instances": [{"image": {"b64": "SECRET!"}}]}', "instances[0].image.b64", id="no-base64"),
        pytest.param(b'{"instances": [{"image": {"b64": "U0VDUkVU"}}]}', "JPEG or PNG", id="no-picture"),
        pytest.param(b'{"instances": [{"weight": 1}]}', "image", id="no-image"),
        pytest.param(b'{"instances": [{"image": [[["SECRET"]]]}]}', "image", id="pixels-of-text"),
        pytest.param(b'{"instances": [[1, 2]]}', "objects", id="lists-for-two-inputs"),
    ],
)
def test_a_bad_request_is_told_where_and_never_what(client: Client, server: Server, body: bytes, names: str) -> None:
    """The message names the field at fault and repeats nothing of the payload."""
    status, _, answer = client.request("POST", f"/v1/models/{server.model}:predict", body)
    assert status == 400
    assert names in json.loads(answer)["error"]
    assert b"SECRET" not in answer


def test_an_unreadable_picture_is_a_client_error(client: Client) -> None:
    """Bytes that only look like a PNG are refused by name, without an echo."""
    with pytest.raises(Refused, match="image: not a readable JPEG or PNG") as refusal:
        client.infer_picture(b"\x89PNG SECRET")
    assert refusal.value.status == 400
    assert "SECRET" not in str(refusal.value)


def test_text_for_a_number_is_refused(client: Client, picture: bytes) -> None:
    """A column's fault names the column and the row."""
    with pytest.raises(Refused, match="weight: row 0 is not a number"):
        client.infer_picture(picture, {"weight": "SECRET"})


def test_a_key_longer_than_any_store_takes_is_refused(make_bundle: Callable[..., Path], picture: bytes) -> None:
    """1,024 characters are taken; one more is a 400 that names the entity, in JSON, in tensors and for a picture."""
    with running_server(bundle=make_bundle(entity="parcel_id")) as server, server.client() as client:

        def ways(key: str) -> list[Callable[[], object]]:
            row = {"image": PIXELS[0].tolist(), "weight": 1.5, "zone": "south", "parcel_id": key}
            tensors: dict[str, Tensor] = {"image": PIXELS, "parcel_id": [key]}
            return [
                partial(client.predict_v1, [row]),
                partial(client.infer_json, tensors),
                partial(client.infer_binary, tensors),
                partial(client.infer_picture, picture, {"parcel_id": key}),
            ]

        for ask in ways("k" * 1024):
            ask()
        for ask in ways("k" * 1025):
            with pytest.raises(Refused, match="parcel_id: too long a key") as refusal:
                ask()
            assert refusal.value.status == 400


def test_other_media_are_refused(client: Client, server: Server) -> None:
    """A GIF is 415, not a decoding fault."""
    path = f"/v2/models/{server.model}/infer"
    assert client.request("POST", path, b"GIF89a", {"content-type": "image/gif"})[0] == 415


def test_feedback_is_counted_once_and_logged(client: Client, server: Server, picture: bytes) -> None:
    """The first label of a prediction counts by agreement, and every label is a line of the log."""
    row = {"image": {"b64": base64.b64encode(picture).decode()}, "weight": 1.5, "zone": "south"}
    right, wrong = client.predict_v1([row, {**row, "weight": 9}])
    assert right["label"] != wrong["label"]
    assert client.send_feedback(right["prediction_id"], right["label"]) == "agree"
    assert client.send_feedback(right["prediction_id"], "light") == "repeated"
    assert client.send_feedback(wrong["prediction_id"], right["label"]) == "disagree"
    assert client.send_feedback("0-0", "light") == "unmatched"
    arguments = server.process.args
    assert isinstance(arguments, list)
    log = Path(str(arguments[arguments.index("--feedback-log") + 1]))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["outcome"] for line in lines[-4:]] == ["agree", "repeated", "disagree", "unmatched"]
    assert lines[-4]["predicted"] == lines[-4]["label"] == right["label"]
    assert client.request("POST", "/feedback", b'{"prediction_id": 3}')[0] == 400


def test_feedback_is_no_longer_than_a_label_needs(client: Client) -> None:
    """A longer body is refused before it is read: what is read costs a hundred times its length."""
    body = b'{"prediction_id": "0-0", "label": "light"}'
    assert client.request("POST", "/feedback", body.ljust(1 << 14))[0] == 200
    status, _, answer = client.request("POST", "/feedback", body.ljust((1 << 14) + 1))
    assert (status, b"16384 bytes" in answer) == (413, True)
    longest = json.dumps({"prediction_id": "\U0001f600" * 256, "label": "\U0001f600" * 256, "rating": 5}).encode()
    assert client.request("POST", "/feedback", longest)[0] == 200
