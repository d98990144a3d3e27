"""pytest-servebench's own sender, the way benchmarks use it: PORT BODY_FILE IN_FLIGHT FOR_S."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint, Progress
from pytest_servebench.samples import Outcome


class Unwatched:
    """Looks away."""

    def progress(self, progress: Progress) -> None:
        """See nothing."""

    def server_gone(self) -> str | None:
        """Believe in the server."""
        return None


def main(port: str, body_file: str, in_flight: str, for_s: str) -> None:
    """Send for ``for_s`` seconds and print how many requests were sent and answered."""
    endpoint = Endpoint(stack="null", host="127.0.0.1", ports={"http": int(port)}, launcher="attached")
    body = Path(body_file).read_bytes()
    kind = ("Content-Type", "application/octet-stream")
    request = WireRequest(protocol=WireProtocol.HTTP, path="/", body=body, headers=(kind,))
    load = Load(concurrency=int(in_flight), warmup_s=0.0, duration_s=float(for_s))
    samples = LoadDriver().run(endpoint, [request], load, Unwatched())
    answered = int((samples.outcome == Outcome.OK).sum())
    sys.stdout.write(json.dumps({"sent": len(samples), "answered": answered}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
