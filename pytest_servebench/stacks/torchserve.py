"""The stack ``torchserve``: TorchServe with the handler of `handlers/torchserve`, as a local process.

TorchServe is no longer maintained upstream and gets no security patches. It is measured
here because people still run it; keep it on loopback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from pytest_servebench.containers import ImageChoice
from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import Artifact, Deployment, Device, LaunchSpec, MissingPiece, ModelFormat
from pytest_servebench.stacks.images import engine_image
from pytest_servebench.stacks.java import OLDEST_MAJOR, find_java, too_old_java
from pytest_servebench.stacks.tensorrt_pieces import missing_for_torch
from pytest_servebench.stacks.torchserve_asked import ENGINES, AskedTorchserve
from pytest_servebench.stacks.torchserve_container import TorchserveContainer
from pytest_servebench.stacks.torchserve_launch import frontend_jar, torchserve_launch_spec

_REMEDY = 'pip install "pytest-servebench[torchserve]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Torchserve(AskedTorchserve):
    """TorchServe: one server for a whole plan, models registered by its management API."""

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        """Return what must be installed: TorchServe, what its worker imports, the engines, a Java."""
        absent = []
        if frontend_jar() is None:
            absent.append("torchserve")
        # TorchServe's worker always imports torch, and yaml, which its package does not ask for.
        engines = {ENGINES[each] for each in formats if each is not ModelFormat.TENSORRT}
        modules = {"torch", "yaml", *engines}
        absent += [module for module in sorted(modules) if find_spec(module) is None]
        if find_java() is None:
            old = too_old_java()
            absent.append(f"Java {OLDEST_MAJOR} or later" + (f" ({old} is older)" if old else ""))
        compiler = missing_for_torch() if ModelFormat.TENSORRT in formats else ()
        return (*(MissingPiece(what=what, remedy=_REMEDY) for what in absent), *compiler)

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return how it comes up with no model loaded, an unpacked archive in store for each."""
        return torchserve_launch_spec(deployments, artifacts)

    def in_container(self, choice: ImageChoice, device: Device) -> Stack:
        """Return the stack as it is served from the image ``torchserve`` of ``deploy/``, or the user's."""
        return TorchserveContainer(image=engine_image("torchserve", choice, device))
