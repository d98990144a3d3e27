"""What the tests of this room rest on: a session inside this process is as strict as one of its own."""

from __future__ import annotations

import pytest

LEAVES_A_SOCKET = """
import socket

def test_leaves_a_socket():
    ring = [socket.socket()]
    ring.append(ring)
"""


def test_what_a_session_leaves_open_is_found(pytester: pytest.Pytester) -> None:
    """Also in a ring that only a search for garbage finds, though it leaves out what was there before."""
    pytester.makepyfile(LEAVES_A_SOCKET)
    result = pytester.runpytest_inprocess("-p", "no:servebench", "-p", "no:cacheprovider", "-W", "error")
    assert result.ret != pytest.ExitCode.OK
    assert "unclosed <socket.socket" in result.stdout.str() + result.stderr.str()
