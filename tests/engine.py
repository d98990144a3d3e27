"""The Docker engine that live tests use, and what they build from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.launchers.docker import engine_facts
from pytest_servebench.launchers.docker.address import engine_address

REQUIRED = "SERVEBENCH_REQUIRE_DOCKER"
BASE = os.environ.get("SERVEBENCH_TEST_BASE", "servebench-base:bookworm")
"""An image with python3, which images are built from and small servers run in."""


def wheels() -> Path | None:
    """Return the folder of packages to build images from; None where images are built from the index."""
    folder = os.environ.get("SERVEBENCH_TEST_WHEELS", "")
    return Path(folder) if folder else None


def wheels_to_build_from() -> Path | None:
    """Return that folder; without one the test is skipped, or builds from the index where it must run."""
    folder = wheels()
    if folder is None and not os.environ.get(REQUIRED):
        pytest.skip("SERVEBENCH_TEST_WHEELS names no folder of wheels: sh deploy/wheels.sh FOLDER fills one")
    return folder


@contextmanager
def the_engine() -> Iterator[Any]:
    """Give the engine's client; without an engine the test is skipped, or fails where one is required."""
    why_not = engine_facts().absent or _no_base()
    if why_not and os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set: {why_not}", pytrace=False)
    if why_not:
        pytest.skip(why_not)
    client = _client()
    try:
        yield client
    finally:
        client.close()


def _client() -> Any:
    import docker

    return docker.DockerClient(base_url=engine_address(os.environ).host)


def _no_base() -> str:
    import docker

    client = _client()
    try:
        client.images.get(BASE)
    except docker.errors.ImageNotFound:
        return f"the image {BASE} is not there: docker pull it, or name another in SERVEBENCH_TEST_BASE"
    else:
        return ""
    finally:
        client.close()
