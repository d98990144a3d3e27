"""The stack ``triton`` in a container: NVIDIA's image, or the wheel's server in an image of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_servebench.containers import Container, ContainerImage, ImageChoice, Preparation
from pytest_servebench.interfaces import Stack
from pytest_servebench.plan import (
    Artifact,
    Decoder,
    Deployment,
    Device,
    LaunchSpec,
    MissingPiece,
    ModelFormat,
    WireRequest,
)
from pytest_servebench.stacks import triton_asked, triton_plan, triton_precision, triton_wire
from pytest_servebench.stacks.images import TEMPORARY, as_seen_inside, engine_image, triton_image
from pytest_servebench.stacks.triton_asked import AskedTriton
from pytest_servebench.stacks.triton_files import native_repository, python_repository
from pytest_servebench.stacks.triton_repository import config_json, derived_configs, native_configs

_CPU_PROVIDER, _CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"


def triton_in_container(choice: ImageChoice, device: Device) -> Stack:
    """Return how Triton is served from an image: on a CPU without one of the user's, from the wheel's."""
    if choice.reference or device.kind == "cuda":
        plans = ContainerImage(name=choice.plan_image) if choice.plan_image else None
        return TritonContainer(image=triton_image(choice), plan_image=plans, native=True)
    return TritonContainer(image=engine_image("triton-cpu", choice, device), native=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonContainer(AskedTriton):
    """Triton in a container of ``image``.

    A `Stack` with `ModelControl`, `LaunchGrouping`, `Preparing`, `CastingNothing` and `MemorySharing`.
    """

    image: ContainerImage
    plan_image: ContainerImage | None = None
    """What builds TensorRT plans; None: ``image``."""
    native: bool
    """Whether the image has the backends of the formats; else the Python backend runs every model."""

    @property
    def casts_nothing(self) -> bool:
        """Whether its backends run model files as they are; the Python backend's engines cast them."""
        return self.native

    @property
    def decoders(self) -> frozenset[Decoder]:
        """What decodes: NVIDIA's image has DALI and no torch, ours for a CPU Pillow alone."""
        return frozenset({Decoder.PILLOW, Decoder.DALI} if self.native else {Decoder.PILLOW})

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

    def launch_group(self, deployment: Deployment) -> str:
        """Return which deployments share a server: all of them where the Python backend runs them."""
        return triton_precision.launch_group(deployment) if self.native else ""

    def preparation(self, deployment: Deployment, artifact: Artifact) -> Preparation | None:
        """Return how the plan of a ``tensorrt`` deployment is built; None for other formats.

        Raises `ModelError` where the file cannot be served in the deployment's precision.
        """
        if not self.native:
            return None
        if deployment.format is not ModelFormat.TENSORRT:
            triton_precision.refuse_other_precision(deployment, artifact)
            return None
        inside = as_seen_inside(deployment)
        return triton_plan.plan_preparation(inside, artifact, self.plan_image or self.image, entrypoint=True)

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return a container with a repository for ``deployments`` and no model loaded.

        Raises `ModelError` for a ``tensorrt`` deployment without a plan.
        """
        inside = [as_seen_inside(deployment) for deployment in deployments]
        for deployment in inside:
            triton_plan.refuse_unbuilt(deployment, artifacts[deployment.served_name])
        repository = native_repository if self.native else python_repository
        arithmetic = triton_precision.environment_of(inside) if self.native else {}
        return LaunchSpec(
            name=self.name,
            argv=("tritonserver", "--model-repository=${workdir}/repository", *triton_asked.FLAGS),
            port_roles=triton_asked.PORT_ROLES,
            environment={**triton_asked.threads_environment(inside), **arithmetic, "HOME": TEMPORARY},
            files=repository(inside, artifacts),
            ready=triton_asked.READY,
            # The entry point of NVIDIA's image sets CUDA up for the driver that is there.
            container=Container(image=self.image, scratch=(TEMPORARY,), image_entrypoint=self.native),
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
