"""Artifacts and deployments that nobody opens, for tests of descriptions."""

from __future__ import annotations

from pathlib import Path

from pytest_servebench.plan import Artifact, Deployment, ModelFormat


def unopened_artifact(folder: Path, deployment: Deployment) -> Artifact:
    """Return the deployment's artifact as if it lay in ``folder``."""
    return Artifact(
        model=deployment.model,
        format=deployment.format,
        path=folder / ("model.onnx" if deployment.format is ModelFormat.ONNX else "model.pt"),
        card_path=folder / "card.json",
        labels_path=folder / "labels.json",
        sha256="0",
        weights="seeded-random:0",
    )


def torchserve_deployment(
    model_format: ModelFormat = ModelFormat.ONNX, batch: int = 8, delay_ms: float = 2.0
) -> Deployment:
    """Return ResNet50 under one batch setting."""
    return Deployment(
        stack="torchserve",
        model="resnet50",
        format=model_format,
        max_batch_size=batch,
        max_queue_delay_ms=delay_ms,
    )
