"""The stack ``fastapi`` in a container: the same server, with its model and its code mounted read-only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_servebench.containers import Container, ContainerImage
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import Artifact, Deployment, LaunchSpec, MissingPiece, ModelFormat, WorkFile
from pytest_servebench.stacks import fastapi_launch
from pytest_servebench.stacks.engine_files import ENGINE_FILES
from pytest_servebench.stacks.fastapi_asked import AskedFastapi
from pytest_servebench.stacks.images import TEMPORARY, as_seen_inside

_GUESTS = ("fastapi_app", "image_decoder.py", "imagenet.py", *ENGINE_FILES)


@dataclass(frozen=True, slots=True, kw_only=True)
class FastapiContainer(AskedFastapi):
    """One uvicorn worker in a container of ``image``, whose ``python3`` has the server's packages."""

    image: ContainerImage

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        """Return TensorRT, which our image does not have; what asks the server is always installed."""
        if ModelFormat.TENSORRT not in formats or self.image.build is None:
            return ()
        return (
            MissingPiece(
                what="TensorRT, which the image fastapi does not have",
                remedy="--serve-launcher=process with TensorRT installed, "
                "or --serve-image with an image of yours that has it",
            ),
        )

    def backend(self, deployment: Deployment) -> str:
        """Return the engine as the server's ``/health`` names it."""
        return AskedFastapi.backend(self, as_seen_inside(deployment))

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return one container that serves the one deployment; raises `PlanError` for several."""
        deployment, artifact = fastapi_launch.the_one(deployments, artifacts)
        model = f"model/model{artifact.path.suffix}"
        places = fastapi_launch.Places(
            python="python3",
            guests="${workdir}/handlers",
            model=f"${{workdir}}/{model}",
            card="${workdir}/model/card.json",
            labels="${workdir}/model/labels.json",
        )
        guests = shipped("handlers")
        return LaunchSpec(
            name=fastapi_launch.launch_name(deployment),
            argv=fastapi_launch.argv(places),
            environment={
                **fastapi_launch.environment(as_seen_inside(deployment), places),
                "HOME": TEMPORARY,
            },
            files=(
                WorkFile(path=model, source=artifact.path),
                WorkFile(path="model/card.json", source=artifact.card_path),
                WorkFile(path="model/labels.json", source=artifact.labels_path),
                *(WorkFile(path=f"handlers/{name}", source=guests / name) for name in _GUESTS),
            ),
            ready=fastapi_launch.ready(deployment),
            container=Container(image=self.image, scratch=(TEMPORARY,)),
        )
