"""A session whose load is sent by workers: shown, recorded, and over when it is over."""

from __future__ import annotations

import psutil
import pytest

from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite

BOOTSTRAP = "exec(eval(sys.stdin.readline()))"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return a suite of one benchmark with two requests in flight."""
    one = echo_suite(pytester, monkeypatch)
    one.write()
    return one


def workers_left() -> list[int]:
    """Return the processes that execnet started for this one and that still run."""
    children = psutil.Process().children(recursive=True)
    return [one.pid for one in children if any(BOOTSTRAP in word for word in one.cmdline())]


def test_workers_are_shown_and_recorded(suite: EchoSuite) -> None:
    """In the header, in the table's load, and in the record with what each of them did."""
    result = suite.run("--stack=echo", ONNX, "--serve-load-workers=2")
    assert result.ret == 0, result.outlines
    result.stdout.fnmatch_lines(
        [
            "servebench load workers: 2[*]popen; a case with fewer requests in flight uses as many *",
            "*2 in flight by 2 workers*",
        ]
    )
    (record,) = suite.records.values()
    assert record["validity"] == "valid"
    assert record["load"]["workers"] == ["popen", "popen"]
    assert [one["name"] for one in record["workers"]] == ["1:popen", "2:popen"]
    assert all(one["sent"] > 0 and one["clock_uncertainty_ms"] == 0 for one in record["workers"])
    assert list(record["client_cpu_shares"]) == ["1:popen", "2:popen"]
    assert sum(record["client_cpu_shares"].values()) == pytest.approx(record["client_cpu_share"])
    assert sum(one["sent"] for one in record["workers"]) == pytest.approx(
        record["achieved_per_s"] * record["window_s"]
    )
    (entry, *_) = suite.json["benchmarks"]
    assert "in_flight=2 workers=2:" in entry["group"]
    assert workers_left() == []


def test_a_case_uses_no_more_workers_than_it_has_in_flight(suite: EchoSuite) -> None:
    """The third has nothing to do, and the record says how many there were."""
    result = suite.run("--stack=echo", ONNX, "--serve-load-workers=3", "--serve-concurrency=1")
    assert result.ret == 0, result.outlines
    (record,) = suite.records.values()
    assert record["load"]["workers"] == ["popen"]
    assert "1 in flight by 1 worker" in result.stdout.str()


def test_without_workers_nothing_is_said_of_them(suite: EchoSuite) -> None:
    """The default is this process, as it ever was."""
    result = suite.run("--stack=echo", ONNX)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("servebench load workers*")
    (record,) = suite.records.values()
    assert (record["load"]["workers"], record["workers"], record["client_cpu_shares"]) == ([], [], {})


def test_a_worker_that_cannot_start_fails_its_case_and_no_other(suite: EchoSuite) -> None:
    """The case is recorded as `errors` with the worker's name, and the session goes on."""
    result = suite.run("--stack=echo", ONNX, "--serve-load-workers=popen//python=/nowhere/python")
    assert result.ret == 1
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*Worker 1:popen//python=/nowhere/python cannot be started.*"])
    (record,) = suite.records.values()
    assert record["validity"] == "errors"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--serve-load-workers=none", "--serve-load-workers has no worker in 'none'"),
        ("--serve-load-workers=ssh=far", "--serve-load-workers has workers on other hosts (ssh=far)*"),
        ("--serve-host=0.0.0.0", "--serve-host is no address that load can be sent to: 0.0.0.0"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(suite: EchoSuite, option: str, message: str) -> None:
    """A usage error that names the option."""
    result = suite.run("--stack=echo", ONNX, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_an_address_of_another_machine_is_told(suite: EchoSuite) -> None:
    """A server cannot listen on an address that this machine has not (RFC 5737: nobody has it)."""
    result = suite.run("--stack=echo", ONNX, "--serve-host=192.0.2.1")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["*echo cannot be launched: 192.0.2.1 is no address of this machine", "*--serve-host: ip -brief*"]
    )


def test_another_loopback_address_is_where_servers_listen(suite: EchoSuite) -> None:
    """What --serve-host names is where the server listens and the load goes; loopback warns nobody."""
    result = suite.run("--stack=echo", ONNX, "--serve-host=127.0.0.2")
    assert result.ret == 0, result.outlines
    result.stdout.no_fnmatch_line("servebench warning: *")
    (record,) = suite.records.values()
    assert record["validity"] == "valid"
