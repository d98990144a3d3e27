"""grpcio with a message serialised once, a channel and a thread each: PORT BODY_FILE IN_FLIGHT FOR_S."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from benchmarks.client.senders.infer_request import METHOD, serialised
from pytest_servebench.clock import monotonic_ns

OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1))


def one_after_another(authority: str, message: bytes, until_ns: int) -> int:
    """Send until then and return how many were answered."""
    answered = 0
    with grpc.insecure_channel(authority, options=OPTIONS) as channel:
        call = channel.unary_unary(METHOD)
        while monotonic_ns() < until_ns:
            answered += len(call(message)) > 0
    return answered


def main(port: str, body_file: str, in_flight: str, for_s: str) -> None:
    """Send and print how many requests were sent and answered."""
    message = serialised(Path(body_file).read_bytes())
    until_ns = monotonic_ns() + round(float(for_s) * 1e9)
    with ThreadPoolExecutor(int(in_flight)) as pool:
        ends = [
            pool.submit(one_after_another, f"127.0.0.1:{port}", message, until_ns)
            for _ in range(int(in_flight))
        ]
        answered = sum(end.result() for end in ends)
    sys.stdout.write(json.dumps({"sent": answered, "answered": answered}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
