"""Real servers take pixels: a graph that normalises them says what the other one says of the tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import Case, Deployment, Image, InputDtype, ModelFormat, Payload, WireProtocol
from pytest_servebench.stacks import built_in_stacks
from tests.serving import Served, start
from tests.tiny_model import build_tiny_model

pytestmark = pytest.mark.live

FORMATS = (ModelFormat.ONNX, ModelFormat.PYTORCH)


def deployment_of(stack: Stack, model_format: ModelFormat) -> Deployment:
    """Return a deployment whose graph takes pixels."""
    return Deployment(stack=stack.name, model="tiny", format=model_format, input_dtype=InputDtype.UINT8)


@pytest.mark.parametrize("model_format", FORMATS, ids=str)
@pytest.mark.parametrize("stack", built_in_stacks(), ids=lambda stack: str(stack.name))
def test_answers_of_pixels_equal_the_model_in_process(
    stack: Stack,
    model_format: ModelFormat,
    images: list[Image],
    logits: npt.NDArray[np.float32],
    tmp_path: Path,
) -> None:
    """Over every protocol, for one image and for several, with a quarter of the bytes on the wire."""
    deployment = deployment_of(stack, model_format)
    artifact = build_tiny_model(tmp_path / "model", model_format, InputDtype.UINT8)
    with start(stack, [deployment], {deployment.served_name: artifact}, tmp_path / "work") as server:
        if stack.name == "fastapi":
            _ask(server, deployment, images, logits)
            return
        with server.loaded(deployment):
            _ask(server, deployment, images, logits)


def _ask(
    server: Served, deployment: Deployment, images: list[Image], logits: npt.NDArray[np.float32]
) -> None:
    for protocol in sorted(server.stack.protocols):
        for items in (1, 3):
            case = Case(
                deployment=deployment,
                payload=Payload.UINT8,
                protocol=WireProtocol(protocol),
                items_per_request=items,
            )
            request = server.stack.encode(case, images[:items])
            assert len(request.body) < items * 150_528 + 1000
            answers = server.stack.decode(case, server.send(request))
            assert [answer.class_ids[0] for answer in answers] == list(logits[:items].argmax(axis=1))
            for answer, row in zip(answers, logits[:items], strict=True):
                if answer.logits is not None:
                    np.testing.assert_allclose(answer.logits, row, atol=1e-3)
