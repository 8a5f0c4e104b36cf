"""The connection to the API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from sextant_serving.rollout.kube import ApiFailed, Kube


def test_without_a_cluster_the_error_says_what_to_set_and_stdout_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands write data to stdout, where the client of Kubernetes would print what it tries."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ApiFailed, match=r"not set\. Set KUBECONFIG, or run inside a pod"):
        Kube()
    assert capsys.readouterr().out == ""
