"""Short loads over a scripted server, and what must be true of every one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Progress
from pytest_servebench.samples import Outcome, Samples
from pytest_servebench.testing.server import ScriptedReply, ScriptedServer, SeenRequest

SHORT = Load(concurrency=4, warmup_s=0.0, duration_s=0.2, timeout_s=5.0, verify_share=0.05)
STEADY = ScriptedReply(delay_s=0.002)


class Onlooker:
    """A watch that remembers what it saw and says of the server what it is told to say."""

    def __init__(self, gone: Callable[[], str | None] = lambda: None) -> None:
        self.seen: list[Progress] = []
        self.asked = 0
        self._gone = gone

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def server_gone(self) -> str | None:
        self.asked += 1
        return self._gone()


def posts(count: int, size: int = 100) -> list[WireRequest]:
    """Return requests whose bodies tell which they are."""
    bodies = [f"{i}:".encode().ljust(size, b".") for i in range(count)]
    return [WireRequest(protocol=WireProtocol.HTTP, path=f"/r/{i}", body=b) for i, b in enumerate(bodies)]


def echo(seen: SeenRequest) -> ScriptedReply:
    """Answer with the number that the request carries."""
    return ScriptedReply(body=seen.body.split(b":")[0], delay_s=0.001)


def mortal(lives_for: int) -> ScriptedServer:
    """Return a server that dies, socket and connections at once, when so many requests have come."""

    def script(seen: SeenRequest) -> ScriptedReply:
        if seen.number == lives_for:
            server.crash()
        return STEADY

    server = ScriptedServer(script)
    return server


def run(
    server: ScriptedServer,
    load: Load = SHORT,
    requests: Sequence[WireRequest] | None = None,
    watch: Onlooker | None = None,
) -> Samples:
    """Run the load against the server."""
    return LoadDriver().run(server.endpoint(), requests or posts(3), load, watch or Onlooker())


def outcomes(samples: Samples) -> dict[Outcome, int]:
    """Return how often each outcome is among the samples."""
    found, counts = np.unique(samples.outcome, return_counts=True)
    return {Outcome(int(o)): int(n) for o, n in zip(found, counts, strict=True)}


def assert_sound(samples: Samples, server: ScriptedServer) -> None:
    """Arrays agree, times are ordered, and no request is lost or counted twice."""
    begin, end = samples.window_ns
    assert begin < end
    arrays = (samples.intended_ns, samples.received_ns, samples.outcome, samples.request_index)
    assert {len(a) for a in arrays} == {len(samples)}
    assert np.all(samples.intended_ns == samples.sent_ns)
    assert np.all(np.diff(samples.sent_ns) >= 0)
    assert np.all(samples.received_ns >= samples.sent_ns)
    assert np.all(samples.sent_ns <= end)
    assert len(server.requests) <= len(samples)
    answered = np.isin(samples.outcome, (Outcome.OK, Outcome.HTTP_ERROR)).sum()
    assert answered <= len(server.requests)
    assert set(samples.replies) <= set(range(len(samples)))
    assert all(samples.outcome[i] == Outcome.OK for i in samples.replies)
    assert all(begin <= samples.received_ns[i] <= end for i in samples.replies)
