"""Which image a stack's container is made from, and how the container sees its GPU."""

from __future__ import annotations

from dataclasses import replace

from pytest_servebench.containers import ContainerImage, ImageBuild, ImageChoice
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import Deployment, Device

CUDA_BASE = "nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04"
"""CUDA 13 and cuDNN 9, as the onnxruntime-gpu and the torch in ``deploy/requirements`` want them."""
CPU_BASE = "python:3.11.14-slim-bookworm"
TRITON_BASE = "nvcr.io/nvidia/tritonserver:25.10-py3"
"""NVIDIA's Triton; the last part is the month of its release."""
TRITON_CUDA = "13.0.2"
"""The CUDA of that release, by NVIDIA's release notes of Triton 25.10."""

TENSORRT_IMAGE = "nvcr.io/nvidia/tensorrt:25.10-py3"
"""NVIDIA's TensorRT of the same month, with ``trtexec``: as a rule the TensorRT of Triton's image.

In 23.05 it was not (issue 5975 of Triton's server); a server refuses plans of another one.
"""

TEMPORARY = "/tmp"  # noqa: S108 (of a container, where it lies in memory)
"""What every server may write to."""


def engine_image(name: str, choice: ImageChoice, device: Device) -> ContainerImage:
    """Return the image ``name`` of ``deploy/``, which runs models with onnxruntime and torch."""
    engines = "cuda" if device.kind == "cuda" else "cpu"
    base = CUDA_BASE if device.kind == "cuda" else CPU_BASE
    lists = (f"engines-{engines}.txt", f"{name}.txt")
    return _image(name, choice, lists, {"BASE": choice.base or base, "ENGINES": engines})


def triton_image(choice: ImageChoice) -> ContainerImage:
    """Return NVIDIA's Triton with what decodes images."""
    return _image("triton", choice, ("triton.txt",), {"BASE": choice.base or TRITON_BASE})


def as_seen_inside(deployment: Deployment) -> Deployment:
    """Return ``deployment`` as its container sees it: the GPUs that it is given are its first ones."""
    outside = deployment.device
    inside = Device(outside.kind, 0, tuple(range(1, len(outside.indexes))))
    return replace(deployment, device=inside)


def _image(
    name: str, choice: ImageChoice, lists: tuple[str, ...], arguments: dict[str, str]
) -> ContainerImage:
    if choice.reference:
        return ContainerImage(name=choice.reference)
    deploy = shipped("deploy")
    files = {f"requirements/{each}": deploy / "requirements" / each for each in lists}
    if choice.wheels_path is not None:
        files["wheels"] = choice.wheels_path
    build = ImageBuild(dockerfile_path=deploy / f"{name}.Dockerfile", files=files, arguments=arguments)
    return ContainerImage(name=name, build=build)
