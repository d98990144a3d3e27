from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.attach import AttachLauncher
from pytest_servebench.launchers.readiness import ProbeAnswer
from pytest_servebench.plan import LaunchSpec, ReadyCheck
from tests.jumping_clock import JumpingClock

SPEC = LaunchSpec(
    name="triton",
    argv=("tritonserver",),
    port_roles=("http", "grpc", "metrics"),
    ready=ReadyCheck(path="/v2/health/ready"),
)


def test_attaches_to_what_answers(tmp_path: Path) -> None:
    """The spec's ready path is asked, and the URL's ports win over the defaults."""
    asked: list[tuple[str, int, str]] = []

    def probe(host: str, port: int, path: str) -> ProbeAnswer:
        asked.append((host, port, path))
        return ProbeAnswer(200, "OK")

    launcher = AttachLauncher(
        "http://h:8000?grpc=9", default_ports={"grpc": 8001, "metrics": 8002}, probe=probe
    )
    server = launcher.start("triton", SPEC, tmp_path)
    assert asked == [("h", 8000, "/v2/health/ready")]
    assert server.endpoint.ports == {"http": 8000, "grpc": 9, "metrics": 8002}
    assert (server.endpoint.pid, server.endpoint.started_s, server.exit_code()) == (None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_says_when_nobody_answers(tmp_path: Path) -> None:
    """A server that does not answer by the deadline is an error with the address and the last answer."""
    clock = JumpingClock()
    launcher = AttachLauncher(
        "http://h:8000", clock=clock, probe=lambda *_: ProbeAnswer(None, "connection refused")
    )
    with pytest.raises(LaunchError) as caught:
        launcher.start("triton", SPEC, tmp_path)
    assert str(caught.value).splitlines() == [
        "no triton server is ready at http://h:8000",
        "  where: GET http://h:8000/v2/health/ready",
        "  seen: last answer after 10 s: connection refused",
        "  next: start it, or leave the address away (--stack=triton) to have one launched",
    ]
    assert clock.elapsed_s == pytest.approx(10, abs=0.1)


def test_asks_for_the_port_it_needs(tmp_path: Path) -> None:
    """A ready check on a role whose port nobody named says how to name it."""
    spec = LaunchSpec(name="t", argv=("t",), ready=ReadyCheck(path="/ping", port_role="management"))
    with pytest.raises(LaunchError, match=r"name it in the address: http://h:8080\?management=PORT"):
        AttachLauncher("http://h:8080").start("torchserve", spec, tmp_path)
