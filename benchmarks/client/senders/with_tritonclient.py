"""tritonclient over gRPC, a client and a thread for each in flight: PORT BODY_FILE IN_FLIGHT FOR_S."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

from benchmarks.client.senders.infer_request import MODEL
from pytest_servebench.clock import monotonic_ns


def one_after_another(url: str, tensor: npt.NDArray[np.float32], until_ns: int) -> int:
    """Send until then and return how many were answered."""
    answered = 0
    with InferenceServerClient(url) as client:
        while monotonic_ns() < until_ns:
            given = InferInput("input", [len(tensor)], "FP32")
            given.set_data_from_numpy(tensor)
            reply = client.infer(MODEL, [given], outputs=[InferRequestedOutput("output")])
            answered += reply.as_numpy("output") is not None
    return answered


def main(port: str, body_file: str, in_flight: str, for_s: str) -> None:
    """Send and print how many requests were sent and answered."""
    tensor = np.frombuffer(Path(body_file).read_bytes(), np.float32)
    until_ns = monotonic_ns() + round(float(for_s) * 1e9)
    with ThreadPoolExecutor(int(in_flight)) as pool:
        ends = [
            pool.submit(one_after_another, f"127.0.0.1:{port}", tensor, until_ns)
            for _ in range(int(in_flight))
        ]
        answered = sum(end.result() for end in ends)
    sys.stdout.write(json.dumps({"sent": answered, "answered": answered}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
