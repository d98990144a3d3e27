"""What keeps containers from being started is told apart, each with the command that mends it."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.doctor.engine import ENGINE, EngineSeen, engine_checks, engine_problem
from pytest_servebench.launchers.docker.engine import EngineFacts

WELL = EngineSeen(
    address="unix:///var/run/docker.sock",
    facts=EngineFacts(version="28.1", nvidia_runtime=True),
    has_daemon=True,
    has_package=True,
    user="ada",
    compose="docker compose",
    has_toolkit=True,
)
SILENT = EngineFacts(absent="no Docker engine answers: timed out")


def checks_of(seen: EngineSeen, *, has_gpu: bool = False, is_needed: bool = False) -> dict[str, Check]:
    """Return the checks by subject."""
    return {each.subject: each for each in engine_checks(seen, has_gpu=has_gpu, is_needed=is_needed)}


def test_an_engine_that_answers_is_well() -> None:
    """It says its version, and nothing has to be mended."""
    checks = checks_of(WELL, has_gpu=True)
    assert {each.state for each in checks.values()} == {CheckState.OK}
    assert "28.1" in checks[ENGINE].seen
    assert not [each.remedy for each in checks.values() if each.remedy]
    assert engine_problem(WELL) == ("", "")


@pytest.mark.parametrize(
    ("changes", "told", "remedy"),
    [
        ({"closed": errno.EACCES}, "permission denied", "sudo usermod -aG docker ada && newgrp docker"),
        ({"closed": errno.EACCES, "is_member": True}, "older than the membership", "newgrp docker"),
        ({"closed": errno.ENOENT, "has_daemon": False}, "not installed", "sudo apt-get install docker.io"),
        ({"closed": errno.ENOENT}, "not running", "sudo systemctl start docker"),
        ({"closed": errno.ECONNREFUSED}, "not running", "sudo systemctl start docker"),
        (
            {"closed": errno.ECONNREFUSED, "has_systemd": False},
            "not running",
            "sudo service docker start",
        ),
        ({"closed": errno.ETIMEDOUT}, "takes no connection", "sudo systemctl restart docker"),
        ({"has_package": False}, "the Python package docker", 'pip install "pytest-servebench[docker]"'),
        ({"facts": SILENT}, "does not answer: no Docker engine answers: timed out", "docker info"),
        ({"is_here": False, "address": "ssh://far"}, "on another machine (ssh://far)", "unset DOCKER_HOST"),
        ({"unknown": "docker context far has no engine"}, "context far has no engine", "docker context ls"),
    ],
    ids=str,
)
def test_each_trouble_has_its_remedy(changes: dict[str, object], told: str, remedy: str) -> None:
    """Not installed, not running, not allowed, hanging, far away: each by its own words and command."""
    seen = replace(WELL, **changes)  # type: ignore[arg-type]
    check = checks_of(seen, is_needed=True)[ENGINE]
    assert (check.state, check.is_needed) == (CheckState.MISSING, True)
    assert told in check.seen
    assert remedy in check.remedy
    assert engine_problem(seen) == (check.seen, check.remedy)


def test_what_nobody_asked_for_is_not_needed() -> None:
    """Without containers being asked for, an absent engine keeps nothing from running."""
    assert not checks_of(replace(WELL, closed=errno.ENOENT), is_needed=False)[ENGINE].is_needed


def test_a_gpu_is_given_to_containers_or_it_is_said_how() -> None:
    """A toolkit that is not installed is another trouble than an engine that is not told of it."""
    bare = replace(WELL, facts=EngineFacts(version="28.1"))
    untold = checks_of(bare, has_gpu=True)["NVIDIA runtime"]
    assert untold.state is CheckState.MISSING
    assert (
        untold.remedy == "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
    )
    absent = checks_of(replace(bare, has_toolkit=False), has_gpu=True)["NVIDIA runtime"]
    assert absent.remedy.startswith("sudo apt-get install nvidia-container-toolkit")
    assert untold.remedy in absent.remedy


def test_without_a_gpu_or_an_engine_the_runtime_is_no_matter() -> None:
    """What has no use here is neither missing nor well."""
    bare = replace(WELL, facts=EngineFacts(version="28.1"))
    for seen, has_gpu in ((bare, False), (replace(WELL, closed=errno.ENOENT, facts=EngineFacts()), True)):
        check = checks_of(seen, has_gpu=has_gpu)["NVIDIA runtime"]
        assert (check.state, check.remedy) == (CheckState.NOT_AVAILABLE, "")


def test_compose_is_missed_by_name() -> None:
    """Only servebench up needs it, and the remedy names both packages."""
    check = checks_of(replace(WELL, compose=""))["compose"]
    assert (check.state, check.is_needed) == (CheckState.MISSING, False)
    assert "docker-compose-plugin" in check.remedy
