"""The inference request that clients over gRPC send: one FP32 tensor, as Triton's protocol has it."""

from __future__ import annotations

METHOD = "/inference.GRPCInferenceService/ModelInfer"
MODEL = "null"


def serialised(tensor: bytes) -> bytes:
    """Return the message that carries this tensor."""
    from tritonclient.grpc import service_pb2

    shape = [len(tensor) // 4]
    request = service_pb2.ModelInferRequest(
        model_name=MODEL,
        inputs=[{"name": "input", "datatype": "FP32", "shape": shape}],
        outputs=[{"name": "output"}],
        raw_input_contents=[tensor],
    )
    return bytes(request.SerializeToString())
