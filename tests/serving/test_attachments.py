"""Files that the user's own code makes beside a prediction."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sextant_plan.bundle import CodeRef
from sextant_plan.entrypoints import entrypoint_digest
from sextant_serving.client import Refused
from sextant_serving.launch import ServerDidNotStart, running_server

MakeBundle = Callable[..., Path]
ENTRYPOINT = "warehouse_labels:render"
CODE = """
def render(prediction, row):
    if row.get("weight") == 13:
        raise ValueError("SECRET")
    return {"label.txt": f"{prediction['label']} {row['zone']}", "raw.bin": b"\\x00\\x01"}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's installed module, found by this process and by the server's."""
    (tmp_path / "warehouse_labels.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path / "warehouse_labels.py"


def bundle_with_code(make_bundle: MakeBundle) -> Path:
    """Return a bundle that names the user's function as it is now."""
    return make_bundle(serving={"attachment": CodeRef(entrypoint=ENTRYPOINT, digest=entrypoint_digest(ENTRYPOINT))})


def test_attachments_come_when_asked_for(make_bundle: MakeBundle, package: Path, picture: bytes) -> None:
    """Both protocols carry the files on request, none otherwise; a failing function harms one request only."""
    log = package.with_name("log")
    with running_server(bundle=bundle_with_code(make_bundle), log=log) as server, server.client() as client:
        row = {"image": {"b64": base64.b64encode(picture).decode()}, "weight": 1, "zone": "south"}
        first = client.predict_v1([row], attachments=True)[0]
        files = {name: base64.b64decode(file["b64"]) for name, file in first["attachments"].items()}
        assert files == {"label.txt": f"{first['label']} south".encode(), "raw.bin": b"\x00\x01"}
        assert "attachments" not in client.predict_v1([row])[0]
        outputs = client.infer_picture(picture, {"weight": 1, "zone": "south"}, attachments=True)
        assert base64.b64decode(outputs["raw.bin"][0]) == b"\x00\x01"
        assert outputs["label"] == [first["label"]]
        with pytest.raises(Refused, match=r"warehouse_labels:render raised ValueError") as refusal:
            client.predict_v1([{**row, "weight": 13}], attachments=True)
        assert refusal.value.status == 500
        assert "SECRET" not in str(refusal.value)
        tensor = {"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}
        path = "/v2/models/parcels/infer?attachments=true"
        assert client.request("POST", path, json.dumps({"inputs": [tensor]}).encode())[0] == 400
        np.testing.assert_equal(client.ready(), True)
    assert "warehouse_labels:render raised: ValueError at " in log.read_text()
    assert "SECRET" not in log.read_text()


def test_code_that_has_changed_since_it_was_sealed_is_not_run(make_bundle: MakeBundle, package: Path) -> None:
    """The server refuses to start with other code than was evaluated."""
    bundle = bundle_with_code(make_bundle)
    package.write_text(CODE + "\n# changed\n")
    with pytest.raises(ServerDidNotStart, match="its package has changed since the bundle was sealed") as failure:
        running_server(bundle=bundle).__enter__()
    assert failure.value.returned == 4
