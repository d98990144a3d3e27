"""What is said on Triton's wire when tensors lie in shared memory: requests only say where.

The v2 extensions for system and for CUDA shared memory, over HTTP and gRPC. Only the input lies in the
region. The logits come back in the reply (4 KB an image): in a region they would be overwritten by the
next reply, and nothing of a load could be verified after it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pytest_servebench.plan import Image, WireProtocol, WireRequest
from pytest_servebench.sharing.shared_requests import SharedRequests
from pytest_servebench.stacks.triton_wire import OUTPUT

_SERVICE = "/inference.GRPCInferenceService"
_INPUT = "input"
_SYSTEM, _CUDA = "systemsharedmemory", "cudasharedmemory"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the tensor of one request lies."""

    region: str
    offset_bytes: int
    shape: tuple[int, ...]

    @property
    def byte_size(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(np.float32).itemsize


def shared_requests(
    model: str,
    protocol: WireProtocol,
    groups: Sequence[Sequence[Image]],
    region: str,
    *,
    gpu: int | None = None,
) -> SharedRequests:
    """Return the requests for ``groups``, whose tensors lie one after another in ``region``.

    With ``gpu`` the region is of that GPU's memory; the server numbers it as this machine does. An image
    that is in several groups lies in the region as often: those of a request must be side by side. Groups
    are equally long.
    """
    tensors = tuple(image.tensor for group in groups for image in group)
    ask = _http_request if protocol is WireProtocol.HTTP else _grpc_request
    requests, offset_bytes = [], 0
    for group in groups:
        place = _Place(region, offset_bytes, (len(group), *group[0].tensor.shape))
        requests.append(ask(model, place, tuple(image.index for image in group)))
        offset_bytes += place.byte_size
    register, unregister = _telling(protocol, region, offset_bytes, gpu)
    return SharedRequests(
        region=region,
        tensors=tensors,
        requests=tuple(requests),
        register=register,
        unregister=unregister,
        gpu=gpu,
    )


def _http_request(model: str, place: _Place, indexes: tuple[int, ...]) -> WireRequest:
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    tensor = InferInput(_INPUT, list(place.shape), "FP32")
    tensor.set_shared_memory(place.region, place.byte_size, place.offset_bytes)
    body, _ = InferenceServerClient.generate_request_body(
        [tensor], outputs=[InferRequestedOutput(OUTPUT, binary_data=True)]
    )
    return WireRequest(
        protocol=WireProtocol.HTTP,
        path=f"/v2/models/{model}/infer",
        headers=(("Content-Type", "application/json"),),
        body=body,
        image_indexes=indexes,
    )


def _grpc_request(model: str, place: _Place, indexes: tuple[int, ...]) -> WireRequest:
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferRequest(model_name=model)
    tensor = message.inputs.add(name=_INPUT, datatype="FP32", shape=place.shape)
    tensor.parameters["shared_memory_region"].string_param = place.region
    tensor.parameters["shared_memory_byte_size"].int64_param = place.byte_size
    tensor.parameters["shared_memory_offset"].int64_param = place.offset_bytes
    message.outputs.add(name=OUTPUT)
    return _call("ModelInfer", message.SerializeToString(), indexes)


Register = WireRequest | Callable[[bytes], WireRequest]


def _telling(
    protocol: WireProtocol, region: str, byte_size: int, gpu: int | None
) -> tuple[Register, WireRequest]:
    """Return what tells the server of the region, and of its end."""
    if gpu is None:
        tell = _http_telling if protocol is WireProtocol.HTTP else _grpc_telling
        return tell(region, byte_size)
    if protocol is WireProtocol.HTTP:
        return partial(_http_cuda_register, region, byte_size, gpu), _http_verb(_CUDA, region, "unregister")
    return partial(_grpc_cuda_register, region, byte_size, gpu), _grpc_cuda_unregister(region)


def _http_telling(region: str, byte_size: int) -> tuple[WireRequest, WireRequest]:
    where = {"key": f"/{region}", "offset": 0, "byte_size": byte_size}
    return _http_verb(_SYSTEM, region, "register", where), _http_verb(_SYSTEM, region, "unregister")


def _http_cuda_register(region: str, byte_size: int, gpu: int, raw_handle: bytes) -> WireRequest:
    """Return the request for a region whose handle is ``raw_handle``, in base64."""
    handle = {"b64": raw_handle.decode("ascii")}
    where = {"raw_handle": handle, "device_id": gpu, "byte_size": byte_size}
    return _http_verb(_CUDA, region, "register", where)


def _http_verb(kind: str, region: str, verb: str, content: Mapping[str, object] | None = None) -> WireRequest:
    return WireRequest(
        protocol=WireProtocol.HTTP,
        path=f"/v2/{kind}/region/{region}/{verb}",
        headers=(("Content-Type", "application/json"),),
        body=json.dumps(content or {}).encode(),
    )


def _grpc_cuda_register(region: str, byte_size: int, gpu: int, raw_handle: bytes) -> WireRequest:
    from tritonclient.grpc import service_pb2

    message = service_pb2.CudaSharedMemoryRegisterRequest(
        name=region, raw_handle=base64.b64decode(raw_handle), device_id=gpu, byte_size=byte_size
    )
    return _call("CudaSharedMemoryRegister", message.SerializeToString())


def _grpc_cuda_unregister(region: str) -> WireRequest:
    from tritonclient.grpc import service_pb2

    message = service_pb2.CudaSharedMemoryUnregisterRequest(name=region)
    return _call("CudaSharedMemoryUnregister", message.SerializeToString())


def _grpc_telling(region: str, byte_size: int) -> tuple[WireRequest, WireRequest]:
    from tritonclient.grpc import service_pb2

    register = service_pb2.SystemSharedMemoryRegisterRequest(
        name=region, key=f"/{region}", offset=0, byte_size=byte_size
    )
    unregister = service_pb2.SystemSharedMemoryUnregisterRequest(name=region)
    return (
        _call("SystemSharedMemoryRegister", register.SerializeToString()),
        _call("SystemSharedMemoryUnregister", unregister.SerializeToString()),
    )


def _call(method: str, message: bytes, indexes: tuple[int, ...] = ()) -> WireRequest:
    return WireRequest(
        protocol=WireProtocol.GRPC,
        path=f"{_SERVICE}/{method}",
        body=message,
        port_role="grpc",
        image_indexes=indexes,
    )
