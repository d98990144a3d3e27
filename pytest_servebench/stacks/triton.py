"""NVIDIA Triton as a local process: how it comes up from Python packages alone.

The server is the real ``tritonserver`` of the ``nvidia-pytriton`` wheel, which has the
Python backend only: `backend` says which engine that backend really runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from pytest_servebench.containers import ImageChoice
from pytest_servebench.errors import MissingPieceError
from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import (
    Artifact,
    Deployment,
    Device,
    LaunchSpec,
    MissingPiece,
    ModelFormat,
    WireRequest,
    WorkFile,
)
from pytest_servebench.stacks import triton_asked, triton_wire
from pytest_servebench.stacks.gpu_order import gpu_order
from pytest_servebench.stacks.triton_asked import AskedTriton
from pytest_servebench.stacks.triton_container import triton_in_container
from pytest_servebench.stacks.triton_files import literal, python_repository
from pytest_servebench.stacks.triton_own_gpus import own_gpus_environment, own_gpus_flags
from pytest_servebench.stacks.triton_repository import config_json, derived_configs
from pytest_servebench.stacks.triton_wheel import (
    INSTALL,
    Interpreter,
    TritonWheel,
    find_wheel,
    libpython_path,
    missing_server,
    running_interpreter,
)

_MODELS = 'pip install "pytest-servebench[models]"'
_ENGINES = {ModelFormat.ONNX: ("onnxruntime", INSTALL), ModelFormat.PYTORCH: ("torch", _MODELS)}
"""The package that runs a format inside the Python backend, and how to get it."""

# The backend starts its stubs by an unquoted shell command, so no path it sees may hold
# a space: it is started inside the working folder and sees relative paths only. The stub
# ignores PYTHONPATH and finds its packages by the first python3 in PATH.
_START = (
    'cd "$$1" && export PATH="$$2:$$PATH"'
    ' LD_LIBRARY_PATH="$$3$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"'
    ' && shift 3 && exec "$$@"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Triton(AskedTriton):
    """The stack ``triton``; a `Stack` with `ModelControl` and `MemorySharing`.

    It counts ``tensorrt`` among its formats because its container serves it; as a local
    process `missing` refuses it.
    """

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        """Return what must be installed before it can serve ``formats`` as a local process."""
        return (
            *missing_server(find_wheel(), running_interpreter()),
            *_missing_packages(formats),
        )

    def backend(self, deployment: Deployment) -> str:
        """Return the engine inside the Python backend, as the guest's `Engine.name` has it."""
        return triton_asked.python_backend(deployment)

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return how to launch it with a repository for ``deployments`` and no model loaded.

        Raises `MissingPieceError` when the wheel is not there.
        """
        wheel, interpreter = find_wheel(), running_interpreter()
        pieces = missing_server(wheel, interpreter)
        libpython = libpython_path(interpreter)
        if wheel is None or libpython is None or pieces:
            raise MissingPieceError("; ".join(piece.what for piece in pieces), next_step=pieces[0].remedy)
        return LaunchSpec(
            name=self.name,
            argv=(
                *("bash", "-c", _START, "tritonserver", "${workdir}", literal(interpreter.bin_path)),
                f"{literal(wheel.libraries_path)}:{literal(libpython)}",
                literal(wheel.server_path),
                "--model-repository=repository",
                "--backend-directory=backends",
                *triton_asked.FLAGS,
                *own_gpus_flags(deployments),
            ),
            port_roles=triton_asked.PORT_ROLES,
            environment={
                **triton_asked.threads_environment(deployments),
                **own_gpus_environment(deployments),
                **gpu_order(deployments),
            },
            files=(*_backend_files(wheel, interpreter), *python_repository(deployments, artifacts)),
            ready=triton_asked.READY,
        )

    def load_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the requests after which ``deployment`` answers tensors and encoded images.

        Triton replies to each when its model is ready, warm-up included.
        """
        return tuple(
            triton_wire.load_request(name, config_json(config))
            for name, config in derived_configs(deployment).items()
        )

    def in_container(self, choice: ImageChoice, device: Device) -> Stack:
        """Return the stack as it is served from NVIDIA's image or the user's.

        On a CPU, and without an image of the user's, it is the wheel's server in an image of ours.
        """
        return triton_in_container(choice, device)


def _missing_packages(formats: Sequence[ModelFormat]) -> Iterator[MissingPiece]:
    yield from triton_asked.missing_client()
    for model_format in formats:
        if model_format is ModelFormat.TENSORRT:
            yield MissingPiece(
                what="the TensorRT backend, which only Triton's container has",
                remedy="--serve-launcher=docker where there is an NVIDIA GPU, or --serve-format=onnx,pytorch",
            )
        elif find_spec(_ENGINES[model_format][0]) is None:
            package, remedy = _ENGINES[model_format]
            yield MissingPiece(what=f"{package}, which runs {model_format} models in Triton", remedy=remedy)


def _backend_files(wheel: TritonWheel, interpreter: Interpreter) -> tuple[WorkFile, ...]:
    # Copied, not linked: Triton changes the mode of a stub that it can not run.
    folder = "backends/python"
    return (
        WorkFile(path=folder, source=wheel.python_backend_path, copy=True),
        WorkFile(
            path=f"{folder}/triton_python_backend_stub",
            source=wheel.stub_path(interpreter.version),
            copy=True,
        ),
    )
