"""The official client of the inference protocol drives the real FastAPI server unchanged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.plan import Deployment, Image
from tests.serving import Served

pytestmark = pytest.mark.live


def test_tritonclient_drives_it_unchanged(
    fastapi_server: Served, deployment: Deployment, images: list[Image], logits: npt.NDArray[np.float32]
) -> None:
    """The official client finds the server, its model, and answers in both forms."""
    http = pytest.importorskip("tritonclient.http")
    name = deployment.served_name
    tensor = np.stack([image.tensor for image in images[:3]])
    with http.InferenceServerClient(fastapi_server.running.endpoint.authority()) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(name)
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        metadata = client.get_model_metadata(name)
        assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 224, 224]}]
        assert metadata["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [-1, 1000]}]
        for binary_in in (True, False):
            for binary_out in (True, False):
                wanted = http.InferInput("input", [3, 3, 224, 224], "FP32")
                wanted.set_data_from_numpy(tensor, binary_data=binary_in)
                output = http.InferRequestedOutput("output", binary_data=binary_out)
                result = client.infer(name, [wanted], outputs=[output], request_id="r 1", model_version="1")
                np.testing.assert_allclose(result.as_numpy("output"), logits[:3], atol=1e-3)
                assert result.get_response()["id"] == "r 1"


def test_tritonclient_reads_errors(fastapi_server: Served, deployment: Deployment) -> None:
    """What is wrong with a request reaches the official client as its message."""
    http = pytest.importorskip("tritonclient.http")
    utils = pytest.importorskip("tritonclient.utils")
    with http.InferenceServerClient(fastapi_server.running.endpoint.authority()) as client:
        wanted = http.InferInput("input", [9, 3, 224, 224], "FP32")
        wanted.set_data_from_numpy(np.zeros((9, 3, 224, 224), np.float32))
        with pytest.raises(utils.InferenceServerException, match="9 images in one request; at most 8"):
            client.infer(deployment.served_name, [wanted])
        with pytest.raises(utils.InferenceServerException, match="no model 'other'"):
            client.infer("other", [wanted])


def test_tritonclient_infers_concurrently(
    fastapi_server: Served, deployment: Deployment, images: list[Image], logits: npt.NDArray[np.float32]
) -> None:
    """The official client's own concurrency is batched and answered in order."""
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(fastapi_server.running.endpoint.authority(), concurrency=8) as client:
        pending = []
        for image in images:
            wanted = http.InferInput("input", [1, 3, 224, 224], "FP32")
            wanted.set_data_from_numpy(image.tensor[None])
            pending.append(client.async_infer(deployment.served_name, [wanted]))
        answers = np.concatenate([each.get_result().as_numpy("output") for each in pending])
    np.testing.assert_allclose(answers, logits, atol=1e-3)
