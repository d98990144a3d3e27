"""The stack ``triton`` in a container: NVIDIA's image, or the wheel's server in an image of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_servebench.containers import Container, ContainerImage, ImageChoice
from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import (
    Artifact,
    Deployment,
    Device,
    LaunchSpec,
    MissingPiece,
    ModelFormat,
    WireRequest,
)
from pytest_servebench.stacks import triton_asked, triton_wire
from pytest_servebench.stacks.images import TEMPORARY, as_seen_inside, engine_image, triton_image
from pytest_servebench.stacks.triton_asked import AskedTriton
from pytest_servebench.stacks.triton_files import native_repository, python_repository
from pytest_servebench.stacks.triton_repository import config_json, derived_configs, native_configs

_CPU_PROVIDER, _CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"


def triton_in_container(choice: ImageChoice, device: Device) -> Stack:
    """Return how Triton is served from an image: on a CPU without one of the user's, from the wheel's."""
    if choice.reference or device.kind == "cuda":
        return TritonContainer(image=triton_image(choice), native=True)
    return TritonContainer(image=engine_image("triton-cpu", choice, device), native=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonContainer(AskedTriton):
    """Triton in a container of ``image``; a `Stack` with `ModelControl` and `MemorySharing`."""

    image: ContainerImage
    native: bool
    """Whether the image has the backends of the formats; else the Python backend runs every model."""

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        """Return what of Triton's client is not here, and TensorRT where the image does not have it."""
        lacks_tensorrt = MissingPiece(
            what="the TensorRT backend, which only NVIDIA's image of Triton has",
            remedy="--serve-device=cuda where there is an NVIDIA GPU, or --serve-format=onnx,pytorch",
        )
        refused = ModelFormat.TENSORRT in formats and not self.native
        return (*triton_asked.missing_client(), *((lacks_tensorrt,) if refused else ()))

    def backend(self, deployment: Deployment) -> str:
        """Return Triton's backend and the engine in it."""
        inside = as_seen_inside(deployment)
        if not self.native:
            return triton_asked.python_backend(inside)
        if deployment.format is ModelFormat.PYTORCH:
            return f"pytorch backend: libtorch {inside.device}"
        if deployment.format is ModelFormat.TENSORRT:
            return f"tensorrt backend: {inside.device}"
        return f"onnxruntime backend: {_CPU_PROVIDER if inside.device.kind == 'cpu' else _CUDA_PROVIDER}"

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return a container with a repository for ``deployments`` and no model loaded."""
        inside = [as_seen_inside(deployment) for deployment in deployments]
        repository = native_repository if self.native else python_repository
        return LaunchSpec(
            name=self.name,
            argv=("tritonserver", "--model-repository=${workdir}/repository", *triton_asked.FLAGS),
            port_roles=triton_asked.PORT_ROLES,
            environment={**triton_asked.threads_environment(inside), "HOME": TEMPORARY},
            files=repository(inside, artifacts),
            ready=triton_asked.READY,
            container=Container(image=self.image, scratch=(TEMPORARY,)),
        )

    def load_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the requests after which ``deployment`` answers tensors and encoded images.

        Triton replies to each when its model is ready, warm-up included.
        """
        configs = native_configs if self.native else derived_configs
        return tuple(
            triton_wire.load_request(name, config_json(config))
            for name, config in configs(as_seen_inside(deployment)).items()
        )
