"""The numbers that requests carry: normalised or as pixels, in the bytes that every server reads."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pytest_servebench.errors import ModelError
from pytest_servebench.plan import Case, Deployment, InputDtype, ModelFormat, Payload, WireProtocol
from pytest_servebench.stacks import built_in_stacks
from pytest_servebench.stacks.tensors import datatype_of, tensor_of
from tests.every_stack import images

TAKING = Deployment(
    stack="triton", model="tiny", format=ModelFormat.ONNX, input_dtype=InputDtype.UINT8, max_batch_size=4
)
STACKS = {stack.name: stack for stack in built_in_stacks()}


def asked(stack: str, protocol: WireProtocol = WireProtocol.HTTP) -> Case:
    """Return a case that asks a stack with the pixels of two images."""
    deployment = replace(TAKING, stack=stack)
    return Case(deployment=deployment, payload=Payload.UINT8, protocol=protocol, items_per_request=2)


def test_pixels_are_a_quarter_of_the_bytes() -> None:
    """150,528 bytes an image in place of 602,112, of the type that the protocol calls UINT8."""
    some = images(2)
    pixels, normalised = (tensor_of(payload, some) for payload in (Payload.UINT8, Payload.TENSOR))
    assert (pixels.nbytes, normalised.nbytes) == (2 * 150_528, 2 * 602_112)
    assert (datatype_of(pixels), datatype_of(normalised)) == ("UINT8", "FP32")
    assert np.array_equal(pixels, np.stack([image.pixels for image in some if image.pixels is not None]))


def test_an_image_without_pixels_is_told_in_words() -> None:
    """Nothing is made up of the normalised numbers: which image, and what to do."""
    bare = replace(images(1)[0], pixels=None, name="cat")
    with pytest.raises(ModelError) as caught:
        tensor_of(Payload.UINT8, [bare])
    assert str(caught.value) == (
        "an image has no pixels to send\n"
        "  where: image 10 cat\n"
        "  seen: it was kept normalised and encoded only\n"
        "  next: make it with its pixels (models.preprocessing.pixels_of), or ask with another payload"
        " than uint8"
    )
    assert tensor_of(Payload.TENSOR, [bare]).dtype == np.float32


@pytest.mark.parametrize("stack", ["fastapi", "triton"])
def test_over_http_pixels_are_a_binary_tensor_of_the_v2_protocol(stack: str) -> None:
    """Name, type and shape stand in the head of JSON, whose length a header has; the bytes follow it."""
    some = images(2)
    request = STACKS[stack].encode(asked(stack), some)
    assert request.path == "/v2/models/tiny_onnx_uint8/infer"
    length = int({name.lower(): value for name, value in request.headers}["inference-header-content-length"])
    (tensor,) = json.loads(request.body[:length])["inputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("input", "UINT8", [2, 3, 224, 224])
    assert tensor["parameters"]["binary_data_size"] == 2 * 150_528
    assert request.body[length:] == tensor_of(Payload.UINT8, some).tobytes()


def test_over_grpc_pixels_are_the_raw_content_of_a_uint8_tensor() -> None:
    """As Triton's own client sends them."""
    from tritonclient.grpc import service_pb2

    some = images(2)
    request = STACKS["triton"].encode(asked("triton", WireProtocol.GRPC), some)
    message = service_pb2.ModelInferRequest.FromString(request.body)
    assert (message.model_name, message.inputs[0].datatype) == ("tiny_onnx_uint8", "UINT8")
    assert list(message.raw_input_contents) == [tensor_of(Payload.UINT8, some).tobytes()]


def test_torchserve_reads_pixels_by_their_content_type() -> None:
    """The body is the bytes alone: nothing in it could tell them from numbers or from an encoded image."""
    some = images(2)
    request = STACKS["torchserve"].encode(asked("torchserve"), some)
    assert dict(request.headers)["content-type"] == "application/x-tensor-uint8"
    assert request.body == tensor_of(Payload.UINT8, some).tobytes()
