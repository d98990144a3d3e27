"""`servebench up` keeps a real FastAPI in a container beside a real Prometheus, and `down` leaves nothing.

Grafana is not started here: no package has it. Its provisioning and its dashboard are checked in
tests/unit/deploy, and the dashboard's queries are asked of this Prometheus.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.compose.command import find_compose
from pytest_servebench.errors import MissingPieceError
from pytest_servebench.launchers.ports import free_ports
from tests.composes import DEPLOY
from tests.engine import BASE, REQUIRED, the_engine, wheels
from tests.prometheus_image import prometheus_image

pytestmark = [pytest.mark.live, pytest.mark.docker]

LABEL = "com.docker.compose.project"
TIMEOUT_S = 900
PROMETHEUS_SEES_S = 60.0


@dataclass(frozen=True, slots=True)
class Up:
    """The command ``servebench`` on one project of its own."""

    engine: Any
    project: str
    environment: dict[str, str]
    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Return how a call ended."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "pytest_servebench.cli", *words, "--project", self.project],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def containers(self) -> dict[str, Any]:
        """Return its containers by service, those that ended too."""
        found = self.engine.containers.list(all=True, filters={"label": f"{LABEL}={self.project}"})
        return {one.labels["com.docker.compose.service"]: one for one in found}

    def left(self) -> list[str]:
        """Return the names of all that is there of the project."""
        of_it = {"label": f"{LABEL}={self.project}"}
        networks = [one.name for one in self.engine.networks.list(filters=of_it)]
        volumes = [one.name for one in self.engine.volumes.list(filters=of_it)]
        return [*self.containers(), *networks, *volumes]

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return what Prometheus answers to a query."""
        url = f"http://127.0.0.1:{self.environment['PROMETHEUS_PORT']}/api/v1/query"
        found: list[dict[str, Any]] = (
            httpx.get(url, params={"query": query}).raise_for_status().json()["data"]["result"]
        )
        return found


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """Return the engine, where there is a Docker Compose too."""
    with the_engine() as client:
        try:
            find_compose(os.environ)
        except MissingPieceError as error:
            pytest.fail(str(error), pytrace=False) if os.environ.get(REQUIRED) else pytest.skip(error.what)
        yield client


def project_of(engine: Any, folder: Path, **environment: str) -> Up:
    """Return a project with a state folder and ports of its own."""
    ports = free_ports(("FASTAPI_PORT", "PROMETHEUS_PORT"))
    own = {name: str(port) for name, port in ports.items()}
    own |= {"SERVEBENCH_STATE": str(folder / "state"), **environment}
    return Up(engine, f"servebench-test-{os.getpid()}-{folder.name}".lower(), {**os.environ, **own}, folder)


@pytest.fixture(scope="module")
def up(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Bring FastAPI and Prometheus up; nothing of them is left after the last test."""
    if wheels() is None:
        why_not = "SERVEBENCH_TEST_WHEELS names no folder to build FastAPI's image from"
        pytest.fail(why_not, pytrace=False) if os.environ.get(REQUIRED) else pytest.skip(why_not)
    with prometheus_image(engine) as image:
        project = project_of(engine, tmp_path_factory.mktemp("up"), PROMETHEUS_IMAGE=image)
        try:
            asked = ("--stack", "fastapi", "--monitoring=prometheus", "--device", "cpu", "--batch-size", "4")
            done = project.run("up", *asked, "--base", BASE, "--wheels", str(wheels()))
            assert done.returncode == 0, done.stdout
            (project.folder / "said").write_text(done.stdout, encoding="utf-8")
            yield project
        finally:
            done = project.run("down", "--volumes")
            assert done.returncode == 0, done.stdout
            assert project.left() == []


def eventually(look: Any) -> Any:
    """Return what ``look`` returns once it is something."""
    clock, began_ns = MonotonicClock(), MonotonicClock().now_ns()
    while not (seen := look()):
        assert clock.now_ns() - began_ns < PROMETHEUS_SEES_S * 1e9, f"still {seen!r}"
        clock.sleep_s(0.5)
    return seen


def classify(up: Up) -> dict[str, Any]:
    """Return what FastAPI says of a picture."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (256, 256), "green").save(file, "JPEG")
    url = f"http://127.0.0.1:{up.environment['FASTAPI_PORT']}/classify"
    reply = httpx.post(url, files={"file": ("photo.jpg", file.getvalue())}, timeout=60)
    answer: dict[str, Any] = reply.raise_for_status().json()
    return answer


def test_it_says_what_to_do_next(up: Up) -> None:
    """There is a curl line, the pytest command, where Prometheus is and how it ends."""
    said = (up.folder / "said").read_text(encoding="utf-8")
    fastapi, prometheus = (up.environment[f"{name}_PORT"] for name in ("FASTAPI", "PROMETHEUS"))
    assert f"fastapi is ready: curl -F file=@photo.jpg http://127.0.0.1:{fastapi}/classify" in said
    assert f"--stack=fastapi=http://127.0.0.1:{fastapi} --serve-format=onnx --serve-batch-size=4" in said
    assert f"Prometheus: http://127.0.0.1:{prometheus}" in said
    assert f"end it: servebench down --project {up.project}" in said


def test_the_server_answers(up: Up) -> None:
    """The model that was asked for is behind the address."""
    assert len(classify(up)["predictions"]) == 5
    health = httpx.get(f"http://127.0.0.1:{up.environment['FASTAPI_PORT']}/health").json()
    assert health["model"].startswith("resnet50")


def test_the_containers_are_as_the_files_promise(up: Up) -> None:
    """Loopback ports, read-only mounts, no rights, an init, shared memory: as the engine has them."""
    containers = up.containers()
    assert set(containers) == {"fastapi", "prometheus"}
    for name, container in containers.items():
        host = container.attrs["HostConfig"]
        addresses = [one["HostIp"] for ports in host["PortBindings"].values() for one in ports]
        assert addresses == ["127.0.0.1"]
        assert host["CapDrop"] == ["ALL"]
        assert [option.partition(":")[0] for option in host["SecurityOpt"]] == ["no-new-privileges"]
        assert host["Init"] is True
        assert not host["DeviceRequests"]
        writable = [mount["Destination"] for mount in container.attrs["Mounts"] if mount["RW"]]
        assert writable == (["/prometheus"] if name == "prometheus" else [])
    fastapi = containers["fastapi"].attrs
    assert fastapi["HostConfig"]["ShmSize"] == 2**30
    assert fastapi["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert fastapi["Config"]["User"].split(":")[0] not in ("", "0", "root")


def test_the_checks_of_health_pass(up: Up) -> None:
    """What the compose files ask of a container's health, its image can answer."""

    def healthy() -> bool:
        containers = up.containers().values()
        return {one.attrs["State"]["Health"]["Status"] for one in containers} == {"healthy"}

    eventually(healthy)


def test_prometheus_scrapes_what_is_up(up: Up) -> None:
    """FastAPI is a target that is up; the stacks that were not started are no targets, and no errors."""
    (target,) = eventually(lambda: up.ask("up == 1"))
    assert target["metric"] == {"__name__": "up", "instance": "fastapi", "job": "fastapi", "stack": "fastapi"}
    assert up.ask("up == 0") == []


def test_the_dashboard_has_something_to_show(up: Up) -> None:
    """The dashboard's own queries of FastAPI have an answer once it was asked something."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "servebench.json").read_text("utf-8"))
    queries = {
        target["expr"].replace("$__rate_interval", "1m")
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
        if 'stack="fastapi"' in target["expr"] and "gpu" not in target["expr"]
    }
    of_failures = {query for query in queries if 'status!="200"' in query}
    assert len(queries - of_failures) > 8
    for query in queries - of_failures:

        def answered(query: str = query) -> list[dict[str, Any]]:
            classify(up)
            return up.ask(query)

        assert float(eventually(answered)[0]["value"][1]) >= 0
    assert [up.ask(query) for query in of_failures] == [[]]


def test_a_session_that_measures_it_says_where_it_is_watched(up: Up) -> None:
    """The printed option attaches pytest to it, and its record and its last lines have Prometheus."""
    said = (up.folder / "said").read_text(encoding="utf-8")
    (line,) = (line for line in said.splitlines() if "measure it:" in line)
    option = next(word for word in line.split() if word.startswith("--stack="))
    (up.folder / "test_it.py").write_text(
        "import pytest\n\n@pytest.mark.servebench()\ndef test_it(servebench, case):\n"
        "    servebench.measure(case)\n",
        encoding="utf-8",
    )
    brief = ("--serve-format=onnx", "--serve-batch-size=4", "--serve-warmup=0.1", "--serve-duration=1")
    command = ("pytest", "-p", "no:cacheprovider", "test_it.py", "--benchmark-json=out.json")
    done = subprocess.run(
        [sys.executable, "-P", "-m", *command, option, *brief],
        cwd=up.folder,
        env=up.environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    prometheus = f"http://127.0.0.1:{up.environment['PROMETHEUS_PORT']}"
    saved = json.loads((up.folder / "out.json").read_text(encoding="utf-8"))
    (record,) = saved["servebench"]["records"]
    assert record["monitoring"] == {"prometheus": prometheus, "grafana": None}, done.stdout
    assert f"Prometheus: {prometheus}" in done.stdout.splitlines()


def test_what_is_up_can_be_looked_at(up: Up) -> None:
    """`ps` shows the containers, `logs` what one of them says."""
    shown = up.run("ps")
    assert shown.returncode == 0
    assert "fastapi" in shown.stdout
    assert "prometheus" in shown.stdout
    logs = up.run("logs", "prometheus")
    assert "Server is ready to receive web requests" in logs.stdout


def test_a_server_that_cannot_start_leaves_nothing(engine: Any, tmp_path: Path) -> None:
    """An image without the server in it: what it said is shown, and all of the project is gone."""
    project = project_of(engine, tmp_path, FASTAPI_IMAGE=BASE)
    try:
        done = project.run("up", "--stack", "fastapi", "--device", "cpu", "--deadline", "60")
        assert done.returncode == 1
        assert "fastapi ended before it was ready" in done.stdout
        assert "No module named uvicorn" in done.stdout
        assert project.containers() == {}
    finally:
        left = project.left()
        project.run("down", "--volumes")
    assert left == []


def test_a_gpu_that_is_not_there_leaves_nothing(engine: Any, tmp_path: Path) -> None:
    """Asked for a GPU, compose asks the engine for one; one without refuses, and nothing stays created."""
    if "nvidia" in engine.info().get("Runtimes", {}):
        pytest.skip("this engine has NVIDIA's runtime")
    project = project_of(engine, tmp_path, FASTAPI_IMAGE=BASE)
    try:
        done = project.run("up", "--stack", "fastapi", "--device", "cuda")
        assert done.returncode == 1
        assert "could not select device driver" in done.stdout
        assert project.containers() == {}
    finally:
        left = project.left()
        project.run("down", "--volumes")
    assert left == []
