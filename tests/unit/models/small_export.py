"""An export of small files instead of models, for tests of the cache."""

from __future__ import annotations

from pathlib import Path

from pytest_servebench.models.catalogue import model_card
from pytest_servebench.models.export import ExportOrder
from pytest_servebench.models.weights import Weights


def order(**changes: object) -> ExportOrder:
    """Return an order for ResNet50 with seeded weights, but for ``changes``."""
    fields = {
        "card": model_card("resnet50"),
        "weights": Weights(label="seeded-random:0"),
        "versions": {"torch": "2.13.0"},
    }
    return ExportOrder(**(fields | changes))  # type: ignore[arg-type]


class Builder:
    """Builds small files instead of models, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, _order: ExportOrder, folder: Path) -> None:
        self.calls += 1
        (folder / "model.onnx").write_bytes(b"onnx" * 1000)
        (folder / "model.pt").write_bytes(b"torch" * 1000)
