"""The comparison of clients: the null server counts rightly, and every client is measured the same way."""

from __future__ import annotations

import http.client
import json
import shutil
from pathlib import Path

import pytest

from benchmarks.client.__main__ import main
from benchmarks.client.null_server import compile_server, serving
from benchmarks.client.peers import all_peers
from pytest_servebench.errors import MissingPieceError

pytestmark = pytest.mark.live
QUICK = ("--rounds=1", "--window=0.1", "--settle=0.05", "--in-flight=4", "--payload=60000")
SIZES = (0, 1, 500, 8100, 8191, 8192, 60_000, 602_112, 5_000_000)
"""Bodies on both sides of the server's buffer, and one larger than what it drains at once."""

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt install gcc")


@needs_compiler
def test_the_server_counts_every_request_and_byte(tmp_path: Path) -> None:
    """Bodies of any size on one connection are read to the end, answered and counted once."""
    with serving(compile_server(tmp_path), tmp_path, None) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        for size in SIZES:
            connection.request("POST", "/any", body=b"x" * size)
            reply = connection.getresponse()
            assert reply.status == 200
            assert len(json.loads(reply.read())["predictions"]) == 8
        connection.close()
        assert (server.counts().requests, server.counts().body_bytes) == (len(SIZES), sum(SIZES))


@needs_compiler
def test_clients_and_server_agree_on_what_was_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a client says it sent is what the server counted, and the table shows a row for each client."""
    path = tmp_path / "readings.json"
    left_out = [f"--without={name}" for name in ("wrk", "k6", "locust")]
    assert main([*QUICK, *left_out, f"--json={path}"]) == 0
    readings = json.loads(path.read_text(encoding="utf-8"))["readings"]
    assert {reading["peer"] for reading in readings} >= {"ours", "httpx"}
    for reading in readings:
        assert 0 < reading["requests"] <= reading["served"]
        assert reading["client_cpu_s"] > 0
        # The last of those in flight may be answered after the client has stopped counting.
        assert reading["sent"] <= reading["served"] <= reading["sent"] + 4
    table = capsys.readouterr().out
    assert "60,000" in table
    assert all(reading["peer"] in table for reading in readings)


@needs_compiler
def test_absent_clients_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is not installed is named with the command that installs it, and the others run."""
    only = tmp_path / "bin"
    only.mkdir()
    for name in ("cc", "ld", "as"):
        found = shutil.which(name)
        if found:
            (only / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(only))
    others = [f"--without={peer.name}" for peer in all_peers() if peer.name not in {"wrk", "ours"}]
    assert main([*QUICK, *others]) == 0
    said = capsys.readouterr().out
    assert "wrk is absent: apt install wrk" in said
    assert "ratios to ours" in said


def test_without_a_compiler_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a C compiler hears what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPieceError, match="needs a C compiler") as caught:
        compile_server(tmp_path)
    assert "apt install gcc" in caught.value.next_step
