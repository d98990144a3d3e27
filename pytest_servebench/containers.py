"""Nouns of containers: the image a server runs in, and how its container is run. All frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_servebench.words import Word

WORKDIR = "/servebench"
"""Where a container sees its server's private folder, read-only."""
GPU_REMEDY = (
    "install the package nvidia-container-toolkit, then run"
    " nvidia-ctk runtime configure --runtime=docker and restart the engine"
    " (systemctl restart docker); or use --serve-device=cpu"
)
"""What to do where the engine gives containers no GPU."""


class Network(Word):
    """How a container's ports are reached."""

    BRIDGE = "bridge"
    """Through ports that the engine publishes on one address of this machine."""
    HOST = "host"
    """Directly: the server shares the network of this machine."""


class Ipc(Word):
    """Whose shared memory a container sees."""

    PRIVATE = "private"
    """One of its own, of ``shm_bytes``."""
    HOST = "host"
    """That of this machine: what the payload ``shm`` needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """How every container of a run is run."""

    network: Network = Network.BRIDGE
    ipc: Ipc = Ipc.PRIVATE
    shm_bytes: int = 2**30
    """Size of its own ``/dev/shm``: Triton's Python models and torch's workers talk through it."""
    memory_bytes: int | None = None
    """Limit, swap included; None: none."""
    cpus: float | None = None
    """CPU seconds per second it may use; None: all."""
    init: bool = True
    """A first process that reaps orphans and passes signals on."""
    user: str = ""
    """``UID``, ``UID:GID`` or ``image``, whom the image names; empty: who runs this, 1000:1000 for root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChoice:
    """What a user said of the image of one stack; empty: nothing."""

    reference: str = ""
    """An image to use as it is."""
    base: str = ""
    """What an image that is built begins with, in place of the pinned one."""
    wheels_path: Path | None = None
    """Folder of Python packages to build from; None: the package index."""
    plan_image: str = ""
    """What builds TensorRT plans, where it is not the image that serves them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuild:
    """How an image is built when it is missing."""

    dockerfile_path: Path
    files: Mapping[str, Path] = field(default_factory=dict)
    """What its COPY lines find, files or folders by name."""
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerImage:
    """An image that a server runs in: pulled when it is missing, or built."""

    name: str
    """With tag or digest to be pulled; one that is built is named without, and tagged by its content."""
    build: ImageBuild | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What of a launch is only said of a container."""

    image: ContainerImage
    scratch: tuple[str, ...] = ()
    """Folders the server writes to: absolute, or relative to its private folder; each lies in memory."""
    image_entrypoint: bool = False
    """Whether the image's entry point is given ``argv`` (NGC's sets CUDA up); else ``argv`` alone runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """A file that only the tools of an image make, on the GPU that will serve it.

    ``argv`` and ``environment`` may hold ``${source}`` and ``${made}``: the folder of `source`, read-only,
    and that in which the file has to be when the command has ended with 0. It is made once for an image, a
    GPU, a source and ``settings``, and kept.
    """

    name: str
    """What it is made for, as on the wire: ``resnet50_tensorrt_fp16``."""
    image: ContainerImage
    argv: tuple[str, ...]
    source: Path
    source_sha256: str
    product: str
    """Name of the file that is made."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What else shapes it."""
    kept: tuple[str, ...] = ()
    """Names of files beside it that make the next one of this image and GPU quicker."""
    environment: Mapping[str, str] = field(default_factory=dict)
    image_entrypoint: bool = False
    """As `Container.image_entrypoint`."""
    limit_s: float = 1800.0
    """How long it may take."""
    next_step: str
    """What to do where it cannot be made."""
    next_step_without_tool: str = ""
    """What to do where the image has no ``argv[0]``; empty: the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """Which container a server runs in, for the record."""

    id: str
    image: str
    """Name and tag."""
    image_id: str
    """``sha256:...``: the same image has the same."""
    network: Network
    user: str
    gpus: tuple[str, ...] = ()
    """Ids of the GPUs that it was given."""
    cpu_set: str = ""
    """The cores it may use, as in ``0-3``; empty: all."""
    cpus: float | None = None
    """CPU seconds per second it may use; None: no limit."""
    memory_bytes: int | None = None
    """Limit of its memory; None: none."""
    ipc: Ipc = Ipc.PRIVATE
    shm_bytes: int | None = None
    """Size of its own ``/dev/shm``; None: it has the host's."""
    tf32_override: str | None = None
    """``NVIDIA_TF32_OVERRIDE`` in its environment, by which 0 forbids TF32; None: it is not set."""
