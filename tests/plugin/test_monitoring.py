"""A session that measures a server which `servebench up --monitoring` started says where it is watched."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.compose import project as books
from pytest_servebench.compose.project import STATE_VARIABLE, Project
from pytest_servebench.launchers.process import ProcessLauncher, ProcessServer
from pytest_servebench.plan import ModelFormat
from tests.echo_house import deployment
from tests.echo_stack import Echo, echo_artifact
from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite


class Ready(http.server.BaseHTTPRequestHandler):
    """Answers as a Prometheus that is ready."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/-/ready" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite, with a state folder of its own."""
    monkeypatch.setenv(STATE_VARIABLE, str(pytester.path / "state"))
    return echo_suite(pytester, monkeypatch)


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[ProcessServer]:
    """Return a server that somebody else runs."""
    artifact = echo_artifact("resnet50", ModelFormat.ONNX)
    spec = Echo().launch_spec([deployment()], {deployment().served_name: artifact})
    server = ProcessLauncher().start("theirs", spec, tmp_path / "theirs")
    yield server
    server.stop()


@pytest.fixture
def prometheus() -> Iterator[str]:
    """Return the address of something that answers as Prometheus does."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def known(theirs: ProcessServer, prometheus: str) -> Project:
    """Return a project that has the server, by the name of a stack that it can start, and watches it."""
    return Project(
        name="p",
        files=(),
        folder="",
        settings={},
        stacks={"fastapi": dict(theirs.endpoint.ports)},
        prometheus=prometheus,
        grafana="http://127.0.0.1:3999",
    )


def test_the_record_and_the_table_say_where_a_server_is_watched(
    suite: EchoSuite, theirs: ProcessServer, prometheus: str
) -> None:
    """The record has both addresses, and under the table is a link to the dashboard of just this time."""
    books.save(known(theirs, prometheus), suite.pytester.path / "state")
    suite.write()
    result = suite.run(f"--stack=echo=http://{theirs.endpoint.authority()}", ONNX)
    result.assert_outcomes(passed=2)
    (record,) = suite.records.values()
    assert record["monitoring"] == {"prometheus": prometheus, "grafana": "http://127.0.0.1:3999"}
    result.stdout.re_match_lines(
        [r"dashboard: http://127\.0\.0\.1:3999/d/servebench\?from=\d{13}&to=\d{13}$"]
    )


def test_without_grafana_the_line_is_prometheus(
    suite: EchoSuite, theirs: ProcessServer, prometheus: str
) -> None:
    """There is no dashboard to link to, so it is Prometheus itself."""
    books.save(replace(known(theirs, prometheus), grafana=""), suite.pytester.path / "state")
    suite.write()
    result = suite.run(f"--stack=echo=http://{theirs.endpoint.authority()}", ONNX)
    (record,) = suite.records.values()
    assert record["monitoring"] == {"prometheus": prometheus, "grafana": None}
    result.stdout.fnmatch_lines([f"Prometheus: {prometheus}"])


def test_a_server_that_nobody_watches_has_no_link(suite: EchoSuite, theirs: ProcessServer) -> None:
    """Without a project the field is null, and no line speaks of it."""
    suite.write()
    result = suite.run(f"--stack=echo=http://{theirs.endpoint.authority()}", ONNX)
    (record,) = suite.records.values()
    assert record["monitoring"] is None
    result.stdout.no_re_match_line("(dashboard|Prometheus):")
