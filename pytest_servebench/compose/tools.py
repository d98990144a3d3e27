"""What the commands do their work with, each as something to call; tests hand them others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.compose.command import find_compose
from pytest_servebench.containers import ContainerImage
from pytest_servebench.interfaces import Clock
from pytest_servebench.launchers.docker.engine import engine_facts, open_engine
from pytest_servebench.launchers.docker.images import have_image
from pytest_servebench.launchers.readiness import HttpProbe, http_probe
from pytest_servebench.models.export import artifact, default_cache_dir
from pytest_servebench.plan import Artifact, Deployment

Say = Callable[[str], None]
"""Told, line by line, what is done."""


def _image(image: ContainerImage, say: Say) -> str:
    """Return an image's name with its tag once it is there, pulled or built; raises `LaunchError`."""
    with closing(open_engine(os.environ, image.name)) as engine:
        return have_image(engine, image, lambda *line: say(": ".join(line))).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """This machine, as the commands see it."""

    environment: Mapping[str, str]
    say: Say
    artifact: Callable[[Deployment], Artifact] = lambda deployment: artifact(
        deployment.model, deployment.format, default_cache_dir()
    )
    image: Callable[[ContainerImage, Say], str] = _image
    find_compose: Callable[[Mapping[str, str]], tuple[str, ...]] = find_compose
    nvidia_runtime: Callable[[], bool] = lambda: engine_facts().nvidia_runtime
    clock: Clock = field(default_factory=MonotonicClock)
    probe: HttpProbe = http_probe
