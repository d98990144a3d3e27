"""FastAPI with onnxruntime or torch: the server in ``handlers/fastapi_app`` as a local process."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_servebench.containers import ImageChoice
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import Artifact, Deployment, Device, LaunchSpec, MissingPiece, ModelFormat
from pytest_servebench.stacks import fastapi_launch
from pytest_servebench.stacks.fastapi_asked import AskedFastapi
from pytest_servebench.stacks.fastapi_container import FastapiContainer
from pytest_servebench.stacks.gpu_order import gpu_order
from pytest_servebench.stacks.images import engine_image
from pytest_servebench.stacks.tensorrt_pieces import missing_for_onnx

_PIECES = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "uvloop": "uvloop",
    "httptools": "httptools",
    "python_multipart": "python-multipart",
    "pydantic_settings": "pydantic-settings",
}
"""Modules the server imports, and the distributions they come in."""
_ENGINES = {ModelFormat.ONNX: ("onnxruntime", "fastapi"), ModelFormat.PYTORCH: ("torch", "models")}
"""By format: the module that runs it, and the extra that installs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fastapi(AskedFastapi):
    """The stack ``fastapi``: one process, one model, dynamic batching in front of one engine."""

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        """Return the packages that are not installed, looked for without importing them."""
        wanted = [(module, name, "fastapi") for module, name in _PIECES.items()]
        wanted += [(_ENGINES[f][0], _ENGINES[f][0], _ENGINES[f][1]) for f in formats if f in _ENGINES]
        packages = (
            MissingPiece(what=f"the package {name}", remedy=f'pip install "pytest-servebench[{extra}]"')
            for module, name, extra in wanted
            if importlib.util.find_spec(module) is None
        )
        compiler = missing_for_onnx() if ModelFormat.TENSORRT in formats else ()
        return (*packages, *compiler)

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return one uvicorn worker that serves the one deployment; raises `PlanError` for several."""
        deployment, artifact = fastapi_launch.the_one(deployments, artifacts)
        places = fastapi_launch.Places(
            python=_literal(sys.executable),
            guests=_literal(shipped("handlers")),
            model=_literal(artifact.path),
            card=_literal(artifact.card_path),
            labels=_literal(artifact.labels_path),
        )
        return LaunchSpec(
            name=fastapi_launch.launch_name(deployment),
            argv=fastapi_launch.argv(places),
            environment={**fastapi_launch.environment(deployment, places), **gpu_order(deployments)},
            ready=fastapi_launch.ready(deployment),
        )

    def in_container(self, choice: ImageChoice, device: Device) -> Stack:
        """Return the stack as it is served from the image ``fastapi`` of ``deploy/``, or the user's."""
        return FastapiContainer(image=engine_image("fastapi", choice, device))


def _literal(text: object) -> str:
    """Return ``text`` so that the launcher's template leaves it as it is."""
    return str(text).replace("$", "$$")
