"""The stack ``fastapi`` with a server that sleeps: launched like the shipped one, by another application."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_servebench.plan import Artifact, Deployment, LaunchSpec
from pytest_servebench.stacks.fastapi import Fastapi

SERVER = Path(__file__).with_name("server")
_SHIPPED, _SLOWED = "fastapi_app.app:create_app", "slow_app:create_app"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowedFastapi(Fastapi):
    """Answers to the name ``fastapi``: what it is compared with must not tell that it is another."""

    sleeps: float
    """Share of its service time; with 0 the same application runs and never sleeps."""

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return the shipped launch with the application that sleeps in the place of the shipped one."""
        # Not super(): a dataclass with slots is another class than the one its methods were written in.
        spec = Fastapi.launch_spec(self, deployments, artifacts)
        path = os.pathsep.join(filter(None, (str(SERVER), os.environ.get("PYTHONPATH", ""))))
        return replace(
            spec,
            argv=tuple(_SLOWED if word == _SHIPPED else word for word in spec.argv),
            environment={
                **spec.environment,
                "PYTHONPATH": path.replace("$", "$$"),
                "GATE_SLEEPS": str(self.sleeps),
            },
        )
