"""The Docker Composes of this machine: the plugin, the command on the path, one in Python's environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

from tests.doc_blocks import ROOT

DEPLOY = ROOT / "deploy"
PASSWORD = "GRAFANA_ADMIN_PASSWORD"


@dataclass(frozen=True, slots=True)
class Program:
    """One Docker Compose."""

    argv: tuple[str, ...]
    version: str

    def config(
        self, files: Sequence[str], profiles: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Return what ``config`` says of compose files in ``deploy/``."""
        named = [word for file in files for word in ("-f", str(DEPLOY / file))]
        chosen = [word for profile in profiles for word in ("--profile", profile)]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
        clean.pop(PASSWORD, None)
        return subprocess.run(
            [*self.argv, *named, *chosen, "config"],
            env={**clean, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@lru_cache(maxsize=1)
def composes() -> tuple[Program, ...]:
    """Return every one that answers, the same program once."""
    beside = Path(sys.executable).parent / "docker-compose"
    found: dict[str, Program] = {}
    for argv in (("docker", "compose"), ("docker-compose",), (str(beside),)):
        if shutil.which(argv[0]) is None:
            continue
        done = subprocess.run([*argv, "version"], capture_output=True, text=True, timeout=60, check=False)
        version = done.stdout.partition("\n")[0].strip()
        if done.returncode == 0 and version:
            found.setdefault(version, Program(argv, version))
    return tuple(found.values())


def each_compose() -> pytest.MarkDecorator:
    """Run a test for every Compose of this machine; where there is none, skip it and say so."""
    absent = pytest.param(None, marks=pytest.mark.skip(reason="no Docker Compose is installed"), id="none")
    found = [pytest.param(one, id=one.version.replace(" ", "-")) for one in composes()]
    return pytest.mark.parametrize("compose", found or [absent])
