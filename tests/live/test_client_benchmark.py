"""The comparison of clients: the null server counts rightly, and every client is measured the same way."""

from __future__ import annotations

import http.client
import json
import shutil
from pathlib import Path

import grpc
import numpy as np
import pytest

from benchmarks.client.__main__ import main
from benchmarks.client.grpc_peers import perf_analyzer_path
from benchmarks.client.measuring import Plan
from benchmarks.client.memory import AIM_BYTES, footprints, growth_line
from benchmarks.client.null_grpc_server import replies_for, serving_grpc
from benchmarks.client.null_server import Truth, compile_server, serving
from benchmarks.client.peers import all_peers
from benchmarks.client.senders.infer_request import serialised
from benchmarks.client.truth import Case, find, judged
from benchmarks.client.workers import SETTINGS, Turn, aim_line, ratios_of
from pytest_servebench.errors import LoadError, MissingPieceError

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
    assert main([*QUICK, "--over=http", *left_out, f"--json={path}"]) == 0
    readings = json.loads(path.read_text(encoding="utf-8"))["http"]["readings"]
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
def test_the_grpc_server_drains_what_a_client_by_others_sends(tmp_path: Path) -> None:
    """Another client gets Triton's fixed replies from it, call after call; tensors are counted."""
    tensor = bytes(602_112)
    with (
        serving_grpc(tmp_path, None, len(tensor)) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        service = "/inference.GRPCInferenceService/"
        for method, reply in replies_for(len(tensor)).items():
            message = serialised(tensor) if method == "ModelInfer" else b""
            for _ in range(3):
                assert channel.unary_unary(service + method)(message, timeout=10) == reply
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(service + "ModelInferr")(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        counts = server.counts()
    assert counts.requests == 3
    assert counts.body_bytes >= 3 * len(tensor)


@needs_compiler
def test_grpc_clients_and_server_agree_on_what_was_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over gRPC as over HTTP; the client that ours is to be compared with is there or named."""
    path = tmp_path / "readings.json"
    assert main([*QUICK, "--over=grpc", "--without=tritonclient", f"--json={path}"]) == 0
    said = capsys.readouterr().out
    readings = json.loads(path.read_text(encoding="utf-8"))["grpc"]["readings"]
    told = [reading for reading in readings if reading["sent"] is not None]
    assert {reading["peer"] for reading in told} == {"ours-grpc", "grpcio"}
    for reading in told:
        assert 0 < reading["requests"] <= reading["served"]
        assert reading["client_cpu_s"] > 0
        assert reading["sent"] <= reading["served"] <= reading["sent"] + 4
    assert ("aim 2 of perf_analyzer" in said) == (perf_analyzer_path() is not None and "602,112" in said)
    assert ("perf_analyzer is absent: " in said) == (perf_analyzer_path() is None)


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
    assert main([*QUICK, "--over=http", *others]) == 0
    said = capsys.readouterr().out
    assert "wrk is absent: apt install wrk" in said
    assert "ratios to ours" in said


def test_without_a_compiler_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a C compiler hears what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPieceError, match="needs a C compiler") as caught:
        compile_server(tmp_path)
    assert "apt install gcc" in caught.value.next_step


@needs_compiler
@pytest.mark.parametrize(
    "case",
    [
        Case(script="mix", in_flight=16, for_s=0.6, aim_share=0.0),
        Case(script="mix", per_s=400, for_s=0.6, aim_share=0.0),
    ],
    ids=lambda case: case.load,
)
def test_a_scripted_server_keeps_to_its_script(case: Case) -> None:
    """No reply is earlier than its service time, and the client reports no less than the server's log."""
    plan = Plan(in_flight=16, settle_s=0.0, window_s=0.0, client_core=None, server_core=None)
    finding = find(case, plan)
    assert finding.requests > 200
    assert finding.true_ms[0] >= 5.0
    assert finding.true_ms[1] >= 19.9  # the 20 ms ones are 8 of 100, less at the window's rim
    assert all(np.greater_equal(finding.reported_ms, finding.true_ms))


def test_what_is_reported_too_late_misses_the_aim() -> None:
    """A p95 reported 1 ms more than the truth is an error of 1 ms, and the table says missed."""
    case = Case(script="fixed", per_s=1000, for_s=1, aim_share=0.02)
    intended_ns = np.arange(1000) * 1_000_000
    log = Truth(intended_ns + 10_000, intended_ns + 5_000_000)
    instants = {"intended_ns": intended_ns, "sent_ns": intended_ns + 3_000}
    late = judged(case, {**instants, "received_ns": intended_ns + 6_000_000}, log)
    assert late.error_ms == pytest.approx(1.0)
    assert not late.meets_aim
    assert late.send_lag_us == pytest.approx((3.0, 3.0))
    assert judged(case, {**instants, "received_ns": intended_ns + 5_050_000}, log).meets_aim


def test_a_log_of_other_requests_is_refused() -> None:
    """Client and server that disagree on how many requests there were are not compared."""
    case = Case(script="fixed", in_flight=1, for_s=1, aim_share=0.02)
    none = np.zeros(0, np.int64)
    one = np.zeros(1, np.int64)
    with pytest.raises(LoadError, match="do not agree"):
        judged(case, {"intended_ns": one, "sent_ns": one, "received_ns": one}, Truth(none, none))


def test_a_long_load_takes_little_more_memory_than_a_short_one() -> None:
    """Beyond the bound of rows nothing grows with the run, and every request is still counted."""
    short, long = footprints((1_100_000, 3_000_000))
    assert (short.folded < 200_000, long.folded > 1_900_000) == (True, True)
    assert long.peak_bytes - short.peak_bytes < AIM_BYTES
    assert growth_line([short, long]).endswith("aim below 50 MB: met")


@needs_compiler
def test_what_a_second_worker_adds_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """One and two workers on either server, with the use of the cores beside the ratio."""
    assert main(["--workers", "--rounds=1", "--window=0.3", "--in-flight=4"]) == 0
    shown = capsys.readouterr().out
    assert all(setting.name.split(":")[0] in shown for setting in SETTINGS)
    assert "two workers to one, the server leaving the cores free: " in shown


def test_ratios_are_taken_within_rounds() -> None:
    """The machine changes from round to round: two workers are compared with the one beside them."""
    rates = {(0, 1): 100.0, (0, 2): 190.0, (1, 1): 50.0, (1, 2): 90.0}
    found = [
        Turn(
            setting=SETTINGS[0],
            round=number,
            workers=workers,
            per_s=per_s,
            worker_cores=(1.0,) * workers,
            server_cores=0.1,
        )
        for (number, workers), per_s in rates.items()
    ]
    assert ratios_of(found, SETTINGS[0], 2) == [1.9, 1.8]
    assert ratios_of(found, SETTINGS[0], 1) == [1.0, 1.0]
    assert aim_line(found).endswith("1.85, aim 1.8: met")
    assert found[1].cores == pytest.approx(2.1)
