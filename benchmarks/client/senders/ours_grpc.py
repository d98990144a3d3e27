"""pytest-servebench's own sender over gRPC: PORT BODY_FILE IN_FLIGHT FOR_S."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.client.senders.infer_request import METHOD, serialised
from benchmarks.client.senders.ours import Unwatched
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Outcome


def main(port: str, body_file: str, in_flight: str, for_s: str) -> None:
    """Send for ``for_s`` seconds and print how many requests were sent and answered."""
    endpoint = Endpoint(stack="null", host="127.0.0.1", ports={"grpc": int(port)}, launcher="attached")
    body = serialised(Path(body_file).read_bytes())
    request = WireRequest(protocol=WireProtocol.GRPC, path=METHOD, body=body, port_role="grpc")
    load = Load(concurrency=int(in_flight), warmup_s=0.0, duration_s=float(for_s))
    samples = LoadDriver().run(endpoint, [request], load, Unwatched())
    answered = int((samples.outcome == Outcome.OK).sum())
    sys.stdout.write(json.dumps({"sent": len(samples), "answered": answered}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
