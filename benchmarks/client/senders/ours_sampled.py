"""Our sender, every sample kept: PORT IN_FLIGHT PER_S FOR_S OUT; PER_S 0 is a closed loop."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.client.senders.ours import Unwatched
from pytest_servebench.arrivals import Constant
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Outcome


def main(port: str, in_flight: str, per_s: str, for_s: str, out: str) -> None:
    """Send for ``for_s`` seconds and save the instants of every request."""
    endpoint = Endpoint(stack="scripted", host="127.0.0.1", ports={"http": int(port)}, launcher="attached")
    request = WireRequest(protocol=WireProtocol.HTTP, path="/", body=bytes(500))
    arrivals = Constant(float(per_s)) if float(per_s) else None
    load = Load(
        concurrency=int(in_flight),
        arrivals=arrivals,
        max_in_flight=2048,
        warmup_s=0.0,
        duration_s=float(for_s),
    )
    samples = LoadDriver().run(endpoint, [request], load, Unwatched())
    if (samples.outcome != Outcome.OK).any():
        sys.exit(f"not every request was answered: {samples.first_error}")
    np.savez(
        Path(out), intended_ns=samples.intended_ns, sent_ns=samples.sent_ns, received_ns=samples.received_ns
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
