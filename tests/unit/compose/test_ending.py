"""Who is told to end while stacks come up leaves nothing behind, as with Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from pytest_servebench.compose.command import Compose
from pytest_servebench.compose.ending import ToldToEnd, told_to_end
from pytest_servebench.launchers.readiness import ProbeAnswer
from tests.servebench_command import command_in

NOTING = """
import os, pathlib, signal, sys, threading
def noted(*_):
    pathlib.Path(sys.argv[1]).write_text("told")
    sys.exit(0)
signal.signal(signal.SIGTERM, noted)
os.kill(os.getppid(), signal.SIGTERM)
threading.Event().wait(60)
"""


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_up_that_is_told_to_end_ends_what_it_started(tmp_path: Path, told: signal.Signals) -> None:
    """Its containers go down and the books forget them; its own exit code is not 0."""
    servebench = command_in(tmp_path)
    before = signal.getsignal(told)
    heard = signal.signal(told, signal.SIG_DFL)

    def tell(*_: object) -> ProbeAnswer:
        os.kill(os.getpid(), told)
        return ProbeAnswer(None, "nobody")

    try:
        done = servebench("up", "--stack", "fastapi", probe=tell)
    finally:
        signal.signal(told, heard)
    assert done.exit_code == 1, done.output
    assert "ending what was started of the project servebench" in done.output
    assert servebench.stand.told("down")
    assert signal.getsignal(told) == before


def test_a_second_signal_does_not_cut_the_end_short() -> None:
    """Inside, the first raises and the next ones are nothing; outside, all is as it was."""
    before = signal.getsignal(signal.SIGTERM)
    with told_to_end():
        with pytest.raises(ToldToEnd):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_nohup_goes_on() -> None:
    """A closed terminal that is ignored stays ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with told_to_end():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_compose_is_told_too(tmp_path: Path) -> None:
    """A signal that this process alone got is passed on: compose would go on starting."""
    noted = tmp_path / "noted"
    program = tmp_path / "noting.py"
    program.write_text(NOTING, encoding="utf-8")
    compose = Compose(
        argv=(sys.executable, str(program), str(noted)),
        project="made-up",
        files=(),
        profiles=(),
        environment=dict(os.environ),
    )
    with pytest.raises(ToldToEnd), told_to_end():
        compose.run("up")
    assert noted.read_text(encoding="utf-8") == "told"
