"""The files of a model repository: configurations, and what its models are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import Artifact, Decoder, Deployment, WorkFile
from pytest_servebench.stacks.engine_files import engine_files
from pytest_servebench.stacks.triton_repository import (
    ModelConfig,
    ServedNames,
    config_text,
    derived_configs,
    model_names,
    native_configs,
)

_NO_BYTECODE = "A file, so that Python keeps no bytecode here: Triton would take it for a changed model.\n"
"""Triton reloads an ensemble's models from their files, and forgets what was asked at
their load, when anything in their folders is younger than that load."""


def python_repository(
    deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]
) -> tuple[WorkFile, ...]:
    """Return the repository in which the Python backend runs every model."""
    return _repository(deployments, artifacts, native=False)


def native_repository(
    deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]
) -> tuple[WorkFile, ...]:
    """Return the repository in which each model has the backend of its format."""
    return _repository(deployments, artifacts, native=True)


def literal(text: object) -> str:
    """Return ``text`` so that the launcher's placeholders leave it as it is."""
    return str(text).replace("$", "$$")


def _repository(
    deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact], *, native: bool
) -> tuple[WorkFile, ...]:
    """Return each model's folder once, however many batch settings it is served with."""
    by_names = {ServedNames.of(deployment): deployment for deployment in deployments}
    files = (
        file
        for deployment in by_names.values()
        for file in _files_of(deployment, artifacts[deployment.served_name], native=native)
    )
    return tuple({file.path: file for file in files}.values())


def _files_of(deployment: Deployment, artifact: Artifact, *, native: bool) -> Iterator[WorkFile]:
    yield from _config_files((native_configs if native else derived_configs)(deployment))
    yield from _model_files(deployment, artifact, native=native)
    if len(model_names(deployment)) > 1:
        by_dali = deployment.decoder is Decoder.DALI
        yield from (_dali_files if by_dali else _preprocess_files)(deployment, artifact)


def _config_files(configs: Mapping[str, ModelConfig]) -> Iterator[WorkFile]:
    for name, config in configs.items():
        yield WorkFile(path=f"repository/{name}/config.pbtxt", text=literal(config_text(config)))
        yield WorkFile(path=f"repository/{name}/1/__pycache__", text=_NO_BYTECODE)


def _model_files(deployment: Deployment, artifact: Artifact, *, native: bool) -> Iterator[WorkFile]:
    folder, guests = f"repository/{ServedNames.of(deployment).model}/1", shipped("handlers")
    yield WorkFile(path=f"{folder}/model{artifact.path.suffix}", source=artifact.path)
    if not native:
        yield WorkFile(path=f"{folder}/model.py", source=guests / "triton_backend" / "model.py")
        for name, source in engine_files().items():
            yield WorkFile(path=f"{folder}/{name}", source=source)


def _preprocess_files(deployment: Deployment, artifact: Artifact) -> Iterator[WorkFile]:
    folder, guests = f"repository/{ServedNames.of(deployment).preprocess}/1", shipped("handlers")
    yield WorkFile(path=f"{folder}/model.py", source=guests / "triton_backend" / "preprocess.py")
    for name in ("image_decoder.py", "imagenet.py"):
        yield WorkFile(path=f"{folder}/{name}", source=guests / name)
    yield WorkFile(path=f"{folder}/card.json", source=artifact.card_path)


def _dali_files(deployment: Deployment, artifact: Artifact) -> Iterator[WorkFile]:
    """Yield the pipeline as Python, which DALI's backend serialises at load with the DALI that it has.

    A file that was serialised before would have to be of that very DALI.
    """
    folder = f"repository/{ServedNames.of(deployment).preprocess}/1"
    source = shipped("handlers") / "triton_backend" / "dali_preprocess.py"
    yield WorkFile(path=f"{folder}/dali.py", source=source)
    yield WorkFile(path=f"{folder}/card.json", source=artifact.card_path)
