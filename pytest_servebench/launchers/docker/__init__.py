"""Servers in containers; the only package that imports the docker SDK."""

from __future__ import annotations

from pytest_servebench.launchers.docker.container import remove_all
from pytest_servebench.launchers.docker.engine import EngineFacts, engine_facts
from pytest_servebench.launchers.docker.launcher import DockerLauncher
from pytest_servebench.launchers.docker.workshop import Workshop

__all__ = ["DockerLauncher", "EngineFacts", "Workshop", "engine_facts", "remove_all"]
