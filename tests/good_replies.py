"""What each stack's server says when it answers well, made from logits, for tests of decoding."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.plan import Case, Payload, WireProtocol
from pytest_servebench.samples import Reply
from pytest_servebench.verification import softmax

Logits = npt.NDArray[np.float32]


def fastapi_reply(case: Case, logits: Logits) -> Reply:
    """Return a v2 reply for tensors, the named top 5 for JPEG."""
    if case.payload is not Payload.JPEG:
        return _v2(logits)
    return _json([{"image_index": i, "predictions": _top5(row)} for i, row in enumerate(logits)])


def triton_reply(case: Case, logits: Logits) -> Reply:
    """Return a v2 reply, over HTTP or gRPC."""
    if case.protocol is WireProtocol.HTTP:
        return _v2(logits)
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferResponse(model_name=case.deployment.served_name)
    message.outputs.add(name="output", datatype="FP32", shape=logits.shape)
    message.raw_output_contents.append(logits.tobytes())
    return Reply(0, {}, message.SerializeToString())


def torchserve_reply(case: Case, logits: Logits) -> Reply:
    """Return the named top 5 of each image."""
    return _json([{"image_index": i, "predictions": _top5(row)} for i, row in enumerate(logits)])


def plainhttp_reply(case: Case, logits: Logits) -> Reply:
    """Return the logits as they are."""
    return Reply(200, {}, logits.tobytes())


GOOD_REPLIES: Mapping[str, Callable[[Case, Logits], Reply]] = {
    "fastapi": fastapi_reply,
    "triton": triton_reply,
    "torchserve": torchserve_reply,
    "plainhttp": plainhttp_reply,
}


def _v2(logits: Logits) -> Reply:
    data = logits.tobytes()
    output = {
        "name": "output",
        "datatype": "FP32",
        "shape": list(logits.shape),
        "parameters": {"binary_data_size": len(data)},
    }
    head = json.dumps({"model_name": "m", "model_version": "1", "outputs": [output]}).encode()
    return Reply(200, {"inference-header-content-length": str(len(head))}, head + data)


def _json(results: list[dict[str, Any]]) -> Reply:
    content: dict[str, Any] = {"results": results} if len(results) > 1 else results[0]
    return Reply(200, {"content-type": "application/json"}, json.dumps(content).encode())


def _top5(logits: Logits) -> list[dict[str, Any]]:
    confidences = softmax(logits)
    best = np.argsort(-confidences)[:5]
    return [
        {"class_id": int(i), "class_name": f"class {i}", "confidence": float(confidences[i])} for i in best
    ]
