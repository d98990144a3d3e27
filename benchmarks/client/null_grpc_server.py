"""The null gRPC server's replies: what Triton's clients ask of a server before and while they send."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.client.null_server import NullServer, compile_server, serving

SOURCE = Path(__file__).with_name("null_grpc_server.c")
MODEL = "null"
FLOAT_BYTES = 4
CLASSES = 1000
EXTENSIONS = ("classification", "model_configuration", "model_repository")
"""Without ``statistics``: a client would ask for figures that this server does not have."""


@contextmanager
def serving_grpc(folder: Path, core: int | None, payload_bytes: int) -> Iterator[NullServer]:
    """Run the gRPC server for tensors of so many bytes until the block ends; raises as `serving` does."""
    replies = folder / "replies"
    replies.mkdir(exist_ok=True)
    for method, reply in replies_for(payload_bytes).items():
        (replies / method).write_bytes(reply)
    with serving(compile_server(folder, SOURCE), folder, core, str(replies)) as server:
        yield server


def replies_for(payload_bytes: int) -> dict[str, bytes]:
    """Return the serialised reply of each method, for one FP32 tensor in and 1,000 scores out."""
    from tritonclient.grpc import model_config_pb2, service_pb2

    floats = payload_bytes // FLOAT_BYTES
    sides = (("input", "input", floats), ("output", "output", CLASSES))
    tensors = {f"{side}s": [{"name": n, "datatype": "FP32", "shape": [count]}] for side, n, count in sides}
    dims = {side: [{"name": n, "data_type": "TYPE_FP32", "dims": [count]}] for side, n, count in sides}
    scores = [{"name": "output", "datatype": "FP32", "shape": [CLASSES]}]
    ready: dict[str, Any] = {"name": MODEL, "version": "1"}
    index = [{**ready, "state": "READY"}]
    messages: dict[str, Any] = {
        "ServerLive": service_pb2.ServerLiveResponse(live=True),
        "ServerReady": service_pb2.ServerReadyResponse(ready=True),
        "ModelReady": service_pb2.ModelReadyResponse(ready=True),
        "ServerMetadata": service_pb2.ServerMetadataResponse(name="null", version="1", extensions=EXTENSIONS),
        "ModelMetadata": service_pb2.ModelMetadataResponse(
            name=MODEL, versions=["1"], platform="null", **tensors
        ),
        "ModelConfig": service_pb2.ModelConfigResponse(
            config=model_config_pb2.ModelConfig(name=MODEL, platform="null", **dims)
        ),
        "ModelStatistics": service_pb2.ModelStatisticsResponse(model_stats=[ready]),
        "RepositoryIndex": service_pb2.RepositoryIndexResponse(models=index),
        "ModelInfer": service_pb2.ModelInferResponse(
            model_name=MODEL,
            model_version="1",
            outputs=scores,
            raw_output_contents=[bytes(CLASSES * FLOAT_BYTES)],
        ),
    }
    return {method: message.SerializeToString() for method, message in messages.items()}
