"""What ``servebench up`` lays over the compose files, so that they start what the launcher would (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_servebench.compose.services import Service
from pytest_servebench.containers import WORKDIR, ContainerSettings
from pytest_servebench.launchers.docker.request import inside, scratch_paths
from pytest_servebench.launchers.workdir import Placeholders
from pytest_servebench.plan import LaunchSpec

_SCRATCH = "rw,exec,nosuid,nodev,mode=1777"
"""How a folder that a server writes to is mounted: some load libraries that they unpack there."""


def placeholders(service: Service, spec: LaunchSpec) -> Placeholders:
    """Return what the ``${...}`` of a spec stand for in the container of ``service``."""
    ports = {role: service.first_port + i for i, role in enumerate(spec.port_roles)}
    return inside(ContainerSettings(), "", ports)


def service_of(service: Service, spec: LaunchSpec, image: str, user: tuple[int, int]) -> dict[str, Any]:
    """Return the service that runs ``spec`` from ``image``, in compose's words; ``user`` is (UID, GID)."""
    assert spec.container is not None
    fill = placeholders(service, spec).fill
    argv = [_literal(fill(word)) for word in spec.argv]
    own = f"uid={user[0]},gid={user[1]}"
    return {
        "image": image,
        "working_dir": WORKDIR,
        **({} if spec.container.image_entrypoint else {"entrypoint": argv[:1]}),
        "command": argv if spec.container.image_entrypoint else argv[1:],
        "environment": {key: _literal(fill(value)) for key, value in spec.environment.items()},
        "tmpfs": [f"{path}:{_SCRATCH},{own}" for path in scratch_paths(spec.container)],
    }


def override_text(services: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a compose file of ``services``; JSON, which is YAML too."""
    return json.dumps({"services": services}, indent=2) + "\n"


def _literal(text: str) -> str:
    """Return ``text`` so that compose leaves it as it is."""
    return text.replace("$", "$$")
