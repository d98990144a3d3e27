"""What ``servebench up`` lays over the compose files, so that they start what the launcher would (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_servebench.compose.services import Service
from pytest_servebench.containers import WORKDIR
from pytest_servebench.launchers.workdir import Placeholders
from pytest_servebench.plan import LaunchSpec

ANY = "0.0.0.0"  # noqa: S104 (inside a container, whose ports are published on 127.0.0.1)
SCRATCH = "rw,exec,nosuid,nodev,mode=1777"
"""How a folder that a server writes to is mounted: some load libraries that they unpack there."""


def inside(service: Service, spec: LaunchSpec) -> Placeholders:
    """Return what the ``${...}`` of a spec stand for in the container of ``service``."""
    ports = {role: service.first_port + i for i, role in enumerate(spec.port_roles)}
    return Placeholders.of(Path(WORKDIR), ANY, ports)


def service_of(service: Service, spec: LaunchSpec, image: str, user: str) -> dict[str, Any]:
    """Return the service that runs ``spec`` from ``image``, in compose's words; ``user`` is ``UID:GID``."""
    assert spec.container is not None
    fill = inside(service, spec).fill
    argv = [_literal(fill(word)) for word in spec.argv]
    program = {"command": argv}
    if not spec.container.image_entrypoint:
        program = {"entrypoint": argv[:1], "command": argv[1:]}
    uid, _, gid = user.partition(":")
    return {
        "image": image,
        "user": user,
        "working_dir": WORKDIR,
        **program,
        "environment": {key: _literal(fill(value)) for key, value in spec.environment.items()},
        "tmpfs": [
            f"{PurePosixPath(WORKDIR) / path}:{SCRATCH},uid={uid},gid={gid or uid}"
            for path in spec.container.scratch
        ],
    }


def override_text(services: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a compose file of ``services``; JSON, which is YAML too."""
    return json.dumps({"services": services}, indent=2) + "\n"


def _literal(text: str) -> str:
    """Return ``text`` so that compose leaves it as it is."""
    return text.replace("$", "$$")
