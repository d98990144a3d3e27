from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.errors import ServerExitedError, ServerNotReadyError
from pytest_servebench.plan import LaunchSpec, ReadyCheck
from pytest_servebench.testing.launcher import FakeLauncher

SPEC = LaunchSpec(name="fake", argv=("x",), port_roles=("http", "grpc"), ready=ReadyCheck(path="/"))
NOWHERE = Path("/nowhere")


def test_keeps_what_was_asked_of_it() -> None:
    """A test can ask which specs were started and which servers still run, each on ports of its own."""
    launcher = FakeLauncher()
    first, second = (launcher.start("s", SPEC, NOWHERE) for _ in range(2))
    assert launcher.specs == [SPEC, SPEC]
    assert len({*first.endpoint.ports.values(), *second.endpoint.ports.values()}) == 4
    first.stop()
    assert launcher.running == (second,)


def test_dies_on_demand() -> None:
    """A fake that dies has the exit code and the last words it was given, also after a stop."""
    launcher = FakeLauncher()
    server = launcher.start("s", SPEC, NOWHERE)
    server.die(-9, "out of memory\n")
    server.stop()
    assert (server.exit_code(), server.log_tail(1)) == (-9, "out of memory")
    assert launcher.running == ()


def test_cannot_die_after_a_stop() -> None:
    """A fake that was stopped did not end by itself."""
    server = FakeLauncher().start("s", SPEC, NOWHERE)
    server.stop()
    server.die(1)
    assert server.exit_code() is None


def test_fails_like_a_real_one() -> None:
    """A fake fails with the errors of a real launcher and leaves nothing running."""
    exits = FakeLauncher(exits_with=3, log="no model\n")
    with pytest.raises(ServerExitedError, match="no model") as caught:
        exits.start("s", SPEC, NOWHERE)
    assert caught.value.exit_code == 3
    with pytest.raises(ServerNotReadyError, match="was not ready after 90 s"):
        FakeLauncher(never_ready=True).start("s", SPEC, NOWHERE)
    assert exits.running == ()
