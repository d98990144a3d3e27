"""NVIDIA Triton: how it comes up from Python packages alone, and what is said to it.

The server is the real ``tritonserver`` of the ``nvidia-pytriton`` wheel, which has the
Python backend only: `backend` says which engine that backend really runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.plan import (
    Artifact,
    Case,
    Deployment,
    Image,
    LaunchSpec,
    MissingPiece,
    ModelFormat,
    Payload,
    ReadyCheck,
    SharedRequests,
    WireProtocol,
    WireRequest,
    WorkFile,
)
from pytest_servebench.results import Answer
from pytest_servebench.samples import Reply
from pytest_servebench.shipped import shipped
from pytest_servebench.stacks import triton_shared_memory, triton_wire
from pytest_servebench.stacks.triton_repository import (
    ServedNames,
    config_json,
    config_text,
    derived_configs,
)
from pytest_servebench.stacks.triton_wheel import (
    INSTALL,
    Interpreter,
    TritonWheel,
    find_wheel,
    libpython_path,
    missing_server,
    running_interpreter,
)

_ENGINES = {ModelFormat.ONNX: ("onnxruntime", INSTALL), ModelFormat.PYTORCH: ("torch", "pip install torch")}
"""The package that runs a format inside the Python backend, and how to get it."""

# The backend starts its stubs by an unquoted shell command, so no path it sees may hold
# a space: it is started inside the working folder and sees relative paths only. The stub
# ignores PYTHONPATH and finds its packages by the first python3 in PATH.
_START = (
    'cd "$$1" && export PATH="$$2:$$PATH"'
    ' LD_LIBRARY_PATH="$$3$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"'
    ' && shift 3 && exec "$$@"'
)

_FLAGS = (
    "--model-repository=repository",
    "--backend-directory=backends",
    "--model-control-mode=explicit",
    # The configurations are complete; completing them would start each stub twice.
    "--disable-auto-complete-config",
    "--http-address=${host}",
    "--http-port=${http_port}",
    "--grpc-address=${host}",
    "--grpc-port=${grpc_port}",
    "--metrics-address=${host}",
    "--metrics-port=${metrics_port}",
    # Its own sampling of the devices runs beside the load and holds the exit up for 2 s.
    "--allow-cpu-metrics=false",
    "--allow-gpu-metrics=false",
    "--exit-timeout-secs=5",
)


@dataclass(frozen=True, slots=True)
class Triton:
    """The stack ``triton``; a `Stack` with `ModelControl` and `MemorySharing`.

    It counts ``tensorrt`` among its formats because its container serves it; as a local
    process `missing` refuses it.
    """

    name: str = "triton"
    formats: frozenset[ModelFormat] = frozenset(ModelFormat)
    payloads: frozenset[Payload] = frozenset(Payload)
    protocols: frozenset[WireProtocol] = frozenset(WireProtocol)

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        """Return what must be installed before it can serve ``formats`` as a local process."""
        return (
            *missing_server(find_wheel(), running_interpreter()),
            *_missing_packages(formats),
        )

    def backend(self, deployment: Deployment) -> str:
        """Return the engine inside the Python backend, as the guest's `Engine.name` has it."""
        if deployment.format is ModelFormat.PYTORCH:
            return f"python backend: torch {deployment.device}"
        provider = "CPUExecutionProvider" if deployment.device.kind == "cpu" else "CUDAExecutionProvider"
        return f"python backend: onnxruntime {provider}"

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return how to launch it with a repository for ``deployments`` and no model loaded.

        Raises `MissingPieceError` when the wheel is not there.
        """
        wheel, interpreter = find_wheel(), running_interpreter()
        pieces = missing_server(wheel, interpreter)
        libpython = libpython_path(interpreter)
        if wheel is None or libpython is None or pieces:
            raise MissingPieceError("; ".join(piece.what for piece in pieces), next_step=pieces[0].remedy)
        by_name = {deployment.served_name: deployment for deployment in deployments}
        return LaunchSpec(
            name=self.name,
            argv=(
                *("bash", "-c", _START, "tritonserver", "${workdir}", _literal(interpreter.bin_path)),
                f"{_literal(wheel.libraries_path)}:{_literal(libpython)}",
                _literal(wheel.server_path),
                *_FLAGS,
            ),
            port_roles=("http", "grpc", "metrics"),
            environment={
                "OMP_NUM_THREADS": str(max(deployment.threads for deployment in deployments)),
                # Torch's threads, left alone, spin after each batch on the cores that the server needs.
                "OMP_WAIT_POLICY": "PASSIVE",
            },
            files=(
                *_backend_files(wheel, interpreter),
                *(
                    file
                    for name, deployment in by_name.items()
                    for file in _repository_files(deployment, artifacts[name])
                ),
            ),
            ready=ReadyCheck(path="/v2/health/ready"),
        )

    def encode(self, case: Case, images: Sequence[Image]) -> WireRequest:
        """Return the request that asks for ``images``; encoded ones go to the ensemble.

        Raises `PlanError` for the payload ``shm``: `share` knows where its tensors lie.
        """
        if case.payload is Payload.SHM:
            raise PlanError(
                "a request for shared memory cannot be made of images alone",
                where=case.id,
                next_step="ask Triton.share for it, with the region that the images lie in",
            )
        names = ServedNames.of(case.deployment)
        model = names.jpeg if case.payload is Payload.JPEG else names.model
        if case.protocol is WireProtocol.GRPC:
            return triton_wire.grpc_request(model, case.payload, images)
        return triton_wire.http_request(model, case.payload, images)

    def share(self, case: Case, groups: Sequence[Sequence[Image]], region: str) -> SharedRequests:
        """Return what lies in the region, and the requests that only say where; a `MemorySharing`."""
        return triton_shared_memory.shared_requests(
            ServedNames.of(case.deployment).model, case.protocol, groups, region
        )

    def decode(self, case: Case, reply: Reply) -> tuple[Answer, ...]:
        """Return one answer per image, with all logits; raises `AnswerError`."""
        return triton_wire.answers(case.protocol, reply, case.items_per_request)

    def counters_request(self, deployment: Deployment) -> WireRequest | None:
        """Return the request for the model's statistics.

        The statistics endpoint, not the metrics page: it answers for one model alone, in
        nanoseconds, on the port in use. The model, not the ensemble: an ensemble executes
        nothing, so it has neither batches nor compute time.
        """
        return triton_wire.statistics_request(deployment.served_name)

    def counters(self, deployment: Deployment, reply: Reply) -> ServerCounters:
        """Return the counters in the reply to `counters_request`."""
        return triton_wire.counters(deployment.served_name, reply)

    def load_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the requests after which ``deployment`` answers tensors and encoded images.

        Triton replies to each when its model is ready, warm-up included.
        """
        return tuple(
            triton_wire.load_request(name, config_json(config))
            for name, config in derived_configs(deployment).items()
        )

    def unload_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the requests after which ``deployment`` answers no more.

        Triton replies at once; its stub process ends one to two seconds later.
        """
        names = ServedNames.of(deployment)
        return tuple(triton_wire.unload_request(name) for name in (names.jpeg, names.preprocess, names.model))


def _missing_packages(formats: Sequence[ModelFormat]) -> Iterator[MissingPiece]:
    client = [name for name in ("tritonclient", "grpc", "geventhttpclient") if find_spec(name) is None]
    if client:
        yield MissingPiece(what=f"Triton's client (package {', '.join(client)})", remedy=INSTALL)
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


_NO_BYTECODE = "A file, so that Python keeps no bytecode here: Triton would take it for a changed model.\n"
"""Triton reloads an ensemble's models from their files, and forgets what was asked at
their load, when anything in their folders is younger than that load."""


def _repository_files(deployment: Deployment, artifact: Artifact) -> Iterator[WorkFile]:
    guests = shipped("handlers")
    names = ServedNames.of(deployment)
    for name, config in derived_configs(deployment).items():
        yield WorkFile(path=f"repository/{name}/config.pbtxt", text=_literal(config_text(config)))
        yield WorkFile(path=f"repository/{name}/1/__pycache__", text=_NO_BYTECODE)
    model, preprocess = f"repository/{names.model}/1", f"repository/{names.preprocess}/1"
    yield WorkFile(path=f"{model}/model.py", source=guests / "triton_backend" / "model.py")
    yield WorkFile(path=f"{model}/engine.py", source=guests / "engine.py")
    yield WorkFile(path=f"{model}/model{artifact.path.suffix}", source=artifact.path)
    yield WorkFile(path=f"{preprocess}/model.py", source=guests / "triton_backend" / "preprocess.py")
    yield WorkFile(path=f"{preprocess}/imagenet.py", source=guests / "imagenet.py")
    yield WorkFile(path=f"{preprocess}/card.json", source=artifact.card_path)


def _literal(text: object) -> str:
    """Return ``text`` so that the launcher's placeholders leave it as it is."""
    return str(text).replace("$", "$$")
