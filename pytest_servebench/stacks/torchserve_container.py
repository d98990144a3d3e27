"""The stack ``torchserve`` in a container: the same server and handler, its model store mounted read-only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_servebench.containers import Container, ContainerImage
from pytest_servebench.plan import Artifact, Deployment, LaunchSpec, MissingPiece, ModelFormat, WireRequest
from pytest_servebench.stacks import torchserve_launch
from pytest_servebench.stacks.images import TEMPORARY, as_seen_inside
from pytest_servebench.stacks.torchserve_asked import AskedTorchserve

_FIND_HOME = "import importlib.util as u, pathlib as p; print(p.Path(u.find_spec('ts').origin).parents[1])"
_START = (
    f'cd "$1" && shift && home=$(python3 -c "{_FIND_HOME}") && export TS_MODEL_SERVER_HOME="$home"'
    ' && exec java "-Djava.io.tmpdir=$PWD/tmp" "-Dmodel_server_home=$home"'
    ' -cp "$home/ts/frontend/model-server.jar" "$@" --python "$(command -v python3)"'
)
"""Where TorchServe lies is the image's to know: it is asked there, and nothing of it is imported for that."""
_UPSTREAM = re.compile(r"(?:docker\.io/)?pytorch/torchserve(?:-nightly)?(?:[:@].*)?")
"""PyTorch's own images: they have torch, and no onnxruntime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchserveContainer(AskedTorchserve):
    """TorchServe in a container of ``image``, whose ``python3`` has ``ts``, and which has a ``java``."""

    image: ContainerImage

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        """Return what the image does not have of engines; what asks the server is always installed."""
        return (*self._missing_compiler(formats), *self._missing_onnxruntime(formats))

    def _missing_compiler(self, formats: Sequence[ModelFormat]) -> Iterator[MissingPiece]:
        ours = self.image.build is not None or _UPSTREAM.fullmatch(self.image.name)
        if ModelFormat.TENSORRT in formats and ours:
            yield MissingPiece(
                what="torch-tensorrt, which the image torchserve does not have",
                remedy="--serve-launcher=process with torch-tensorrt installed, "
                "or --serve-image with an image of yours that has it",
            )

    def _missing_onnxruntime(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        if ModelFormat.ONNX not in formats or not _UPSTREAM.fullmatch(self.image.name):
            return ()
        return (
            MissingPiece(
                what=f"onnxruntime, which the image {self.image.name} does not have",
                remedy="--serve-format=pytorch, or leave the image away: the one built in its place has it",
            ),
        )

    def backend(self, deployment: Deployment) -> str:
        """Return the engine in the handler and how TorchServe holds requests to fill a batch."""
        return AskedTorchserve.backend(self, as_seen_inside(deployment))

    def load_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the request that registers the archive under this batch setting."""
        return AskedTorchserve.load_requests(self, as_seen_inside(deployment))

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return a container that starts with no model loaded, an unpacked archive in store for each."""
        inside = [as_seen_inside(deployment) for deployment in deployments]
        command = (*torchserve_launch.JVM, *torchserve_launch.SERVER, *torchserve_launch.OPTIONS)
        return LaunchSpec(
            name=self.name,
            argv=("/bin/sh", "-c", _START.replace("$", "$$"), self.name, "${workdir}", *command),
            port_roles=torchserve_launch.PORT_ROLES,
            environment={**torchserve_launch.environment(inside), **_gpus(inside), "HOME": TEMPORARY},
            files=torchserve_launch.work_files(inside, artifacts),
            ready=torchserve_launch.READY,
            container=Container(image=self.image, scratch=("tmp", "logs", TEMPORARY)),
        )


def _gpus(inside: Sequence[Deployment]) -> dict[str, str]:
    """Return by what TorchServe counts several GPUs, whether or not the image has ``nvidia-smi``."""
    counted = torchserve_launch.counted_gpus(inside)
    return {"CUDA_VISIBLE_DEVICES": counted} if counted else {}
