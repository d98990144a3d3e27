"""What is up is remembered, and a measured server's watchers are found by its address."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.compose import project as books
from pytest_servebench.compose.project import Project, watchers
from pytest_servebench.errors import ServebenchError
from pytest_servebench.launchers.readiness import ProbeAnswer

PROJECT = Project(
    name="servebench",
    files=("compose.cpu.yaml", "serving.json"),
    folder="/somewhere",
    settings={"SERVEBENCH_FOLDER": "/somewhere"},
    stacks={"triton": {"http": 8010, "grpc": 8011, "metrics": 8012}},
    served={"model": "resnet50"},
    prometheus="http://127.0.0.1:9090",
    grafana="http://127.0.0.1:3000",
)
BOTH = {"prometheus": "http://127.0.0.1:9090", "grafana": "http://127.0.0.1:3000"}


def ready(host: str, port: int, path: str) -> ProbeAnswer:
    """Answer as a Prometheus that is ready at its default port."""
    assert (host, port, path) == ("127.0.0.1", 9090, "/-/ready")
    return ProbeAnswer(200, "OK")


def gone(host: str, port: int, path: str) -> ProbeAnswer:
    """Answer as nobody does."""
    del host, port, path
    return ProbeAnswer(None, "connection refused")


def test_a_project_is_remembered_until_it_is_down(tmp_path: Path) -> None:
    """The next command finds it as it was; after `forget` there is none."""
    assert books.find("servebench", tmp_path) is None
    books.save(PROJECT, tmp_path)
    assert books.find("servebench", tmp_path) == PROJECT
    books.forget("servebench", tmp_path)
    assert books.find("servebench", tmp_path) is None


def test_a_book_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A file that is none of ours is an error that says how to get rid of what is up."""
    books.save(PROJECT, tmp_path)
    (path,) = tmp_path.rglob("*.json")
    path.write_text('{"name": 3}', encoding="utf-8")
    with pytest.raises(ServebenchError, match=r"com\.docker\.compose\.project=servebench"):
        books.find("servebench", tmp_path)


@pytest.mark.parametrize(
    ("field", "edited"),
    [
        ("stacks", "triton"),
        ("stacks", {"triton": 8010}),
        ("stacks", {"triton": {"http": "8010"}}),
        ("stacks", {"vllm": {"http": 8010}}),
        ("settings", {"A": 1}),
        ("settings", None),
        ("files", [1]),
        ("prometheus", "ftp://127.0.0.1"),
        ("prometheus", 9090),
        ("grafana", []),
    ],
)
def test_a_book_that_was_edited_is_no_traceback(tmp_path: Path, field: str, edited: object) -> None:
    """Commands say what to remove, and a session that attaches passes it over."""
    books.save(PROJECT, tmp_path)
    (path,) = tmp_path.rglob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), field: edited}), "utf-8")
    with pytest.raises(ServebenchError, match="is known of the project servebench cannot be read"):
        books.find("servebench", tmp_path)
    assert watchers({"triton": "http://127.0.0.1:8010"}, tmp_path, ready) == {}


def test_services_are_those_that_were_started() -> None:
    """Stacks, and the watchers that have an address."""
    assert PROJECT.services == ("triton", "prometheus", "grafana")
    assert replace(PROJECT, grafana="").services == ("triton", "prometheus")
    assert replace(PROJECT, grafana="", prometheus="").services == ("triton",)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8010", "http://localhost:8010?grpc=8011&metrics=8012"])
def test_a_watched_server_is_found_by_its_address(tmp_path: Path, url: str) -> None:
    """Who attaches to a published port is told where it is watched."""
    books.save(PROJECT, tmp_path)
    assert watchers({"triton": url}, tmp_path, ready) == {"triton": BOTH}


@pytest.mark.parametrize("url", ["http://127.0.0.1:8011", "http://other.example:8010"])
def test_another_server_is_not_watched(tmp_path: Path, url: str) -> None:
    """Another port is another server, and so is the same port of another machine."""
    books.save(PROJECT, tmp_path)
    assert watchers({"triton": url}, tmp_path, ready) == {}


def test_a_prometheus_that_is_gone_watches_nothing(tmp_path: Path) -> None:
    """A project that was ended behind our back is in the books still, and is not claimed to watch."""
    books.save(PROJECT, tmp_path)
    assert watchers({"triton": "http://127.0.0.1:8010"}, tmp_path, gone) == {}


def test_without_grafana_there_is_no_link_to_it(tmp_path: Path) -> None:
    """What was not started is null; without Prometheus nothing is watched at all."""
    books.save(replace(PROJECT, grafana=""), tmp_path)
    found = watchers({"triton": "http://127.0.0.1:8010"}, tmp_path, ready)
    assert found == {"triton": {"prometheus": "http://127.0.0.1:9090", "grafana": None}}
    books.save(replace(PROJECT, grafana="", prometheus=""), tmp_path)
    assert watchers({"triton": "http://127.0.0.1:8010"}, tmp_path, ready) == {}


def test_a_broken_book_does_not_end_a_session(tmp_path: Path) -> None:
    """What is measured does not depend on who watches it."""
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "a.json").write_text("{", encoding="utf-8")
    books.save(PROJECT, tmp_path)
    assert watchers({"triton": "http://127.0.0.1:8010"}, tmp_path, ready) == {"triton": BOTH}
