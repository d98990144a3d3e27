"""The Open Inference Protocol's bytes, both ways."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from fastapi_app.refusal import Refusal
from fastapi_app.wire import TensorLimits, TensorRequest, decode_request, encode_response

LIMITS = TensorLimits((3, 2, 2), max_batch_size=4)
PIXELS = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
BYTES = PIXELS.tobytes()


def head(*, shape: Any = (2, 3, 2, 2), name: Any = "input", datatype: Any = "FP32", **more: Any) -> Any:
    """Return a request's JSON; ``tensor`` holds more keys of its input, the rest are the request's."""
    tensor = {"name": name, "shape": shape, "datatype": datatype, **more.pop("tensor", {})}
    return {"inputs": [tensor], **more}


def binary(size: Any = 96) -> dict[str, Any]:
    """Return the input's keys that announce binary data."""
    return {"parameters": {"binary_data_size": size}}


def body_of(document: Any, data: bytes = b"") -> tuple[memoryview, int]:
    """Return a body and the length of its JSON."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return memoryview(text + data), len(text)


def decoded(document: Any, data: bytes | None = None) -> TensorRequest:
    """Return the decoded request; without ``data`` the body is JSON alone."""
    body, length = body_of(document, data or b"")
    return decode_request(body, None if data is None else length, LIMITS)


def refusal(document: Any, data: bytes | None = None) -> str:
    """Return why a request is refused."""
    with pytest.raises(Refusal) as refused:
        decoded(document, data)
    assert refused.value.status == 400
    return refused.value.reason


def test_binary_tensor_is_read_without_a_copy() -> None:
    """A binary tensor is a view of the body it came in."""
    body, length = body_of(head(tensor=binary()), BYTES)
    padded = np.zeros(64 + len(body), dtype=np.uint8)
    start = -length % 64
    padded[start : start + len(body)] = np.frombuffer(body, np.uint8)
    request = decode_request(padded.data[start : start + len(body)], length, LIMITS)
    assert np.array_equal(request.tensor, PIXELS)
    assert np.shares_memory(request.tensor, padded)


def test_tensor_that_lies_askew_is_aligned() -> None:
    """Engines get aligned floats wherever the JSON before them ends."""
    for blanks in range(4):
        document = json.dumps(head(tensor=binary())).encode() + b" " * blanks
        tensor = decoded(document, BYTES).tensor
        assert tensor.flags.aligned
        assert np.array_equal(tensor, PIXELS)


@pytest.mark.parametrize("data", [PIXELS.ravel().tolist(), PIXELS.tolist()])
def test_json_tensor_may_be_flat_or_nested(data: list[Any]) -> None:
    """JSON data is row-major, nested or not, as the protocol allows."""
    tensor = decoded(head(tensor={"data": data})).tensor
    assert tensor.dtype == np.float32
    assert np.array_equal(tensor, PIXELS)


def test_integers_are_numbers() -> None:
    """JSON writes whole floats without a point."""
    assert decoded(head(shape=[1, 3, 2, 2], tensor={"data": [1] * 12})).tensor.dtype == np.float32


@pytest.mark.parametrize(
    ("more", "binary_output"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "output", "parameters": {"binary_data": True}}]}, True),
        (
            {
                "outputs": [{"name": "output", "parameters": {"binary_data": False}}],
                "parameters": {"binary_data_output": True},
            },
            False,
        ),
        ({"outputs": [{"name": "output"}], "parameters": {"binary_data_output": True}}, True),
    ],
)
def test_client_chooses_how_the_output_comes(more: dict[str, Any], *, binary_output: bool) -> None:
    """JSON unless asked otherwise, and an output's own wish comes before the request's."""
    assert decoded(head(tensor=binary(), **more), BYTES).binary_output is binary_output


@pytest.mark.parametrize(
    ("document", "data", "reason"),
    [
        (b"{", None, "the request is not JSON"),
        (b"\xff\xfe", None, "the request is not JSON"),
        (b"[" * 100_000, None, "the request is not JSON"),
        (b"[]", None, "the request is not a JSON object"),
        ({}, None, "'inputs' must hold exactly one tensor, 'input'"),
        ({"inputs": [1]}, None, "'inputs' must hold exactly one tensor, 'input'"),
        (head(name="x"), None, "no tensor 'x' in 'inputs' of this model: it has 'input'"),
        (head(datatype="FP16"), None, "datatype of 'input' is 'FP16', must be FP32"),
        (head(shape=[3, 2, 2]), None, "must be [n, 3, 2, 2]"),
        (head(shape=[0, 3, 2, 2]), None, "n of at least 1"),
        (head(shape=[-1, 3, 2, 2]), None, "n of at least 1"),
        (head(shape=[True, 3, 2, 2]), None, "must be [n, 3, 2, 2]"),
        (head(shape="2,3,2,2"), None, "must be [n, 3, 2, 2]"),
        (head(shape=[5, 3, 2, 2]), None, "5 images in one request; at most 4 (max batch size)"),
        (head(), None, "'input' has no rectangular 'data'"),
        (head(tensor={"data": [[1], [1, 2]]}), None, "'input' has no rectangular 'data'"),
        (head(tensor={"data": [1.5] * 23}), None, "'data' of 'input' must be 24 numbers"),
        (head(tensor={"data": ["1"] * 24}), None, "'data' of 'input' must be 24 numbers"),
        (head(tensor={"data": None}), None, "'data' of 'input' must be 24 numbers"),
        (head(tensor=binary()), None, "binary_data_size without the header"),
        (head(tensor=binary(4)), BYTES, "takes 96 bytes; binary_data_size says 4, 96 came"),
        (head(tensor=binary()), BYTES[:-1], "takes 96 bytes; binary_data_size says 96, 95 came"),
        (head(tensor=binary()), BYTES + b"x", "binary_data_size says 96, 97 came"),
        (head(tensor=binary("96")), BYTES, "binary_data_size says '96'"),
        (head(tensor={"parameters": {"shared_memory_region": "r"}}), None, "shared memory is not supported"),
        (head(tensor=binary(), parameters=1), BYTES, "'parameters' is not an object"),
        (head(tensor=binary(), id=7), BYTES, "'id' is not a string"),
        (head(tensor=binary(), outputs=[{"name": "y"}]), BYTES, "no tensor 'y' in 'outputs'"),
        (
            head(tensor=binary(), outputs=[{"name": "output", "parameters": {"classification": 3}}]),
            BYTES,
            "the classification extension is not supported",
        ),
    ],
)
def test_wrong_request_is_refused_with_its_reason(document: Any, data: bytes | None, reason: str) -> None:
    """Whatever is wrong with a request is a 400 that says what."""
    assert reason in refusal(document, data)


@pytest.mark.parametrize("length", [0, 1000])
def test_header_length_must_lie_in_the_body(length: int) -> None:
    """An Inference-Header-Content-Length that cannot be is refused."""
    body, _ = body_of(head(tensor=binary()), BYTES)
    with pytest.raises(Refusal, match=f"is {length}, the body has {len(body)} bytes"):
        decode_request(body, length, LIMITS)


def test_binary_response_carries_the_logits_after_its_json() -> None:
    """The response's JSON says how many bytes of output follow it, and whose they are."""
    logits = np.arange(6, dtype=np.float32).reshape(2, 3)
    body, length = encode_response("m", TensorRequest("r7", PIXELS, binary_output=True), logits)
    assert json.loads(body[:length]) == {
        "model_name": "m",
        "model_version": "1",
        "id": "r7",
        "outputs": [
            {
                "name": "output",
                "datatype": "FP32",
                "shape": [2, 3],
                "parameters": {"binary_data_size": 24},
            }
        ],
    }
    assert np.array_equal(np.frombuffer(body[length:], np.float32), logits.ravel())


def test_json_response_carries_the_logits_inside() -> None:
    """Without binary output the data is in the JSON, exactly, and no id is made up."""
    logits = np.array([[0.1, -2.5]], dtype=np.float32)
    body, length = encode_response("m", TensorRequest(None, PIXELS, binary_output=False), logits)
    document = json.loads(body)
    assert length is None
    assert "id" not in document
    assert np.array_equal(np.array(document["outputs"][0]["data"], np.float32), logits.ravel())


PIXEL_LIMITS = TensorLimits((3, 2, 2), max_batch_size=4, dtype="uint8")


def test_pixels_are_a_quarter_of_the_bytes() -> None:
    """A model of uint8 takes UINT8, in binary as it lies or as whole numbers in JSON."""
    pixels = PIXELS.astype(np.uint8)
    body, length = body_of(head(datatype="UINT8", tensor=binary(24)), pixels.tobytes())
    request = decode_request(body, length, PIXEL_LIMITS)
    assert request.tensor.dtype == np.uint8
    assert np.array_equal(request.tensor, pixels)
    listed = head(datatype="UINT8", tensor={"data": pixels.ravel().tolist()})
    assert np.array_equal(decode_request(body_of(listed)[0], None, PIXEL_LIMITS).tensor, pixels)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"datatype": "FP32"}, "datatype of 'input' is 'FP32', must be UINT8"),
        ({"tensor": {"data": [0.5] * 24}}, "'data' of 'input' must be whole numbers from 0 to 255"),
        ({"tensor": {"data": [256] * 24}}, "'data' of 'input' must be whole numbers from 0 to 255"),
        ({"tensor": {"data": [-1] * 24}}, "'data' of 'input' must be whole numbers from 0 to 255"),
    ],
)
def test_what_are_no_pixels_is_refused(change: dict[str, Any], reason: str) -> None:
    """Nothing is rounded, cut off or taken for another type."""
    body, _ = body_of(head(**{"datatype": "UINT8", **change}))
    with pytest.raises(Refusal, match=reason):
        decode_request(body, None, PIXEL_LIMITS)
