"""The classification routes: images in, named top-5 out."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter
from imagenet import top_predictions
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fastapi_app.batcher import Inference
from fastapi_app.body import limited, read_body
from fastapi_app.refusal import Refusal
from fastapi_app.service import Numbers, Service, answering, service_of

router = APIRouter()


class Prediction(BaseModel):
    """One class, with its softmax probability."""

    class_id: int
    class_name: str
    confidence: float


class Classification(BaseModel):
    """The answer to one image."""

    predictions: list[Prediction]
    image_index: int
    processing_time_ms: float
    batch_size: int
    """Images in the execution that answered, other clients' included."""


class ImageResult(BaseModel):
    """One image of a batch."""

    image_index: int
    predictions: list[Prediction]


class BatchClassification(BaseModel):
    """The answer to several images, in the order they came."""

    results: list[ImageResult]
    processing_time_ms: float
    batch_size: int
    """Images in the execution that answered, other clients' included."""


@dataclass(frozen=True)
class _Upload:
    name: str
    data: bytes


def render(refusal: Refusal) -> Response:
    """Return a refusal as FastAPI writes errors."""
    return JSONResponse({"detail": refusal.reason}, refusal.status, refusal.headers)


def _docs(field: str, *, several: bool = False) -> dict[str, Any]:
    """Describe the body for OpenAPI; it is read by hand, so FastAPI cannot."""
    image: dict[str, Any] = {"type": "string", "format": "binary"}
    value = {"type": "array", "items": image} if several else image
    form: dict[str, Any] = {"schema": {"type": "object", "required": [field], "properties": {field: value}}}
    content: dict[str, Any] = {"multipart/form-data": form}
    if not several:
        content["image/*"] = {"schema": image}
    return {"requestBody": {"required": True, "content": content}}


@router.post("/classify", response_model=Classification, openapi_extra=_docs("file"))
@answering(render)
async def classify(request: Request) -> Response:
    """Classify one image, in an execution of its own."""
    return await _classify_one(request, alone=True)


@router.post("/classify_batched", response_model=Classification, openapi_extra=_docs("file"))
@answering(render)
async def classify_batched(request: Request) -> Response:
    """Classify one image, in an execution shared with other clients' images."""
    return await _classify_one(request, alone=False)


@router.post(
    "/classify_batch", response_model=BatchClassification, openapi_extra=_docs("files", several=True)
)
@answering(render)
async def classify_batch(request: Request) -> Response:
    """Classify up to max batch size images; they stay together in one execution."""
    began_s = time.perf_counter()
    service = service_of(request)
    if _content_type(request) != "multipart/form-data":
        raise Refusal(415, "send multipart/form-data with image files in the field 'files'")
    uploads = await _read_form(request, service, "files", service.settings.max_batch_size)
    inference = await service.infer(request, await _decode(service, uploads))
    results = [{"image_index": i, "predictions": p} for i, p in enumerate(_predictions(service, inference))]
    return JSONResponse({"results": results, **_cost(inference, began_s)})


async def _classify_one(request: Request, *, alone: bool) -> Response:
    began_s = time.perf_counter()
    service = service_of(request)
    uploads = await _read_one(request, service)
    inference = await service.infer(request, await _decode(service, uploads), alone=alone)
    (predictions,) = _predictions(service, inference)
    return JSONResponse({"predictions": predictions, "image_index": 0, **_cost(inference, began_s)})


def _cost(inference: Inference, began_s: float) -> dict[str, Any]:
    elapsed_ms = (time.perf_counter() - began_s) * 1e3
    return {"processing_time_ms": round(elapsed_ms, 3), "batch_size": inference.batch_size}


def _predictions(service: Service, inference: Inference) -> list[list[dict[str, Any]]]:
    return [top_predictions(row, service.labels) for row in inference.logits]


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read_one(request: Request, service: Service) -> list[_Upload]:
    content_type = _content_type(request)
    if content_type == "multipart/form-data":
        return await _read_form(request, service, "file", 1)
    if not content_type.startswith("image/"):
        reason = "send an image as multipart/form-data in the field 'file', or as a body of type image/*"
        raise Refusal(415, f"content type {content_type!r}: {reason}")
    data = bytes(await read_body(request, service.settings.max_body_bytes))
    if not data:
        raise Refusal(400, "the body is empty")
    return [_Upload("the body", data)]


async def _read_form(request: Request, service: Service, field: str, at_most: int) -> list[_Upload]:
    # One file more than allowed is let in, so that the refusal can say what is wrong.
    form_of = limited(request, service.settings.max_body_bytes).form(max_files=at_most + 1)
    async with form_of as form:
        files = form.getlist(field)
        if not files:
            raise Refusal(400, f"no image in the form field '{field}'")
        if len(files) > at_most:
            raise Refusal(400, f"{at_most} image(s) at most in the form field '{field}'")
        return [await _read_file(file, field) for file in files]


async def _read_file(file: UploadFile | str, field: str) -> _Upload:
    if isinstance(file, str):
        raise Refusal(400, f"the form field '{field}' is text, not a file")
    name = file.filename or field
    declared = (file.content_type or "application/octet-stream").partition(";")[0].lower()
    if not declared.startswith("image/") and declared != "application/octet-stream":
        raise Refusal(415, f"{name} is {declared}, not an image")
    data = await file.read()
    if not data:
        raise Refusal(400, f"{name} is empty")
    return _Upload(name, data)


async def _decode(service: Service, uploads: list[_Upload]) -> tuple[Numbers, ...]:
    """Return each image preprocessed, [1, 3, crop, crop], by the pool of decoding threads."""
    loop = asyncio.get_running_loop()
    parts = [uploads] if service.decoder.takes_batches else [[upload] for upload in uploads]
    read = await asyncio.gather(
        *(loop.run_in_executor(service.decoders, _decode_part, part, service) for part in parts)
    )
    return tuple(image for part in read for image in part)


def _decode_part(uploads: list[_Upload], service: Service) -> list[Numbers]:
    read = service.decoder.read([upload.data for upload in uploads], service.card, service.input_dtype)
    for upload, image in zip(uploads, read, strict=True):
        if isinstance(image, ValueError):
            raise Refusal(422, f"{upload.name}: {image}") from image
    return [np.expand_dims(image, 0) for image in read if not isinstance(image, ValueError)]
