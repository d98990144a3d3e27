"""Routes of the Open Inference Protocol v2, so that ``tritonclient.http`` drives this server unchanged.

Plain Starlette routes: on the tensor path FastAPI's dependency solving and validation
would cost more than the protocol itself.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fastapi_app import wire
from fastapi_app.body import read_body
from fastapi_app.refusal import Refusal
from fastapi_app.service import Service, answering, service_of

VERSION = "1"
HEADER_LENGTH = "Inference-Header-Content-Length"
_LARGE_JSON_BYTES = 64 * 1024


def render(refusal: Refusal) -> Response:
    """Return a refusal as this protocol writes errors."""
    return JSONResponse({"error": refusal.reason}, refusal.status, refusal.headers)


def _check_model(request: Request) -> Service:
    service = service_of(request)
    name = request.path_params["name"]
    version = request.path_params.get("version", VERSION)
    if name != service.model_name or version != VERSION:
        reason = f"no model '{name}' version {version} here; this server has '{service.model_name}' version 1"
        raise Refusal(404, reason)
    return service


def _header_length(request: Request) -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise Refusal(400, f"{HEADER_LENGTH} is {text!r}, not a number of bytes")
    return int(text)


@answering(render)
async def infer(request: Request) -> Response:
    """Answer one inference request through the dynamic batcher."""
    service = _check_model(request)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "compressed requests are not supported")
    header_length = _header_length(request)
    body = await read_body(request, service.settings.max_body_bytes, align_at=header_length or 0)
    limits = wire.TensorLimits(service.image_shape, service.settings.max_batch_size, service.input_dtype)
    decode = partial(wire.decode_request, body, header_length, limits)
    if (header_length or len(body)) > _LARGE_JSON_BYTES:
        tensors = await asyncio.get_running_loop().run_in_executor(service.decoders, decode)
    else:
        tensors = decode()
    inference = await service.infer(request, (tensors.tensor,))
    return _response(*wire.encode_response(service.model_name, tensors, inference.logits))


def _response(body: bytes, header_length: int | None) -> Response:
    if header_length is None:
        return Response(body, media_type="application/json")
    headers = {HEADER_LENGTH: str(header_length)}
    return Response(body, headers=headers, media_type="application/octet-stream")


async def server_metadata(_: Request) -> Response:
    """Say who this is."""
    return JSONResponse(
        {"name": "servebench-fastapi", "version": VERSION, "extensions": ["binary_tensor_data"]}
    )


async def live(_: Request) -> Response:
    """Say that the event loop turns."""
    return Response()


async def ready(request: Request) -> Response:
    """Say whether inference requests are taken."""
    return Response(status_code=200 if service_of(request).batcher.alive else 503)


async def model_ready(request: Request) -> Response:
    """Say whether inference requests for this model are taken."""
    try:
        _check_model(request)
    except Refusal as refusal:
        return render(refusal)
    return await ready(request)


async def model_metadata(request: Request) -> Response:
    """Say what the model takes and gives."""
    try:
        service = _check_model(request)
    except Refusal as refusal:
        return render(refusal)
    return JSONResponse(_metadata(service))


def _metadata(service: Service) -> dict[str, Any]:
    platforms = {"onnx": "onnxruntime_onnx", "pytorch": "pytorch_libtorch", "tensorrt": "tensorrt"}
    datatype = wire.DATATYPES[service.input_dtype]
    return {
        "name": service.model_name,
        "versions": [VERSION],
        "platform": platforms[service.settings.format],
        "inputs": [{"name": wire.INPUT, "datatype": datatype, "shape": [-1, *service.image_shape]}],
        "outputs": [{"name": wire.OUTPUT, "datatype": wire.DATATYPE, "shape": [-1, len(service.labels)]}],
    }


def _model_routes(model: str) -> list[Route]:
    return [
        Route(f"{model}/infer", infer, methods=["POST"]),
        Route(f"{model}/ready", model_ready),
        Route(model, model_metadata),
    ]


ROUTES = [
    *_model_routes("/v2/models/{name}"),
    *_model_routes("/v2/models/{name}/versions/{version}"),
    Route("/v2/health/ready", ready),
    Route("/v2/health/live", live),
    Route("/v2", server_metadata),
]
