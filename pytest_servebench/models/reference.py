"""Reference outputs: what the model itself says of each image, in process, on the CPU.

One reference for all stacks, formats and payloads of a model: its ONNX file in fp32.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import MissingPieceError, ModelError
from pytest_servebench.folders.manifest import file_sha256
from pytest_servebench.plan import Artifact, Image

Floats = npt.NDArray[np.float32]

_BATCH = 8
_MOST_THREADS = 2
_ANEW = "see what is said of it; to have the model exported anew, remove {folder}"


def reference_logits(artifact: Artifact, images: Sequence[Image]) -> Floats:
    """Return float32 [len(images), classes] for the images' tensors.

    Kept beside the artifact, by content of model and images, so that a session that asks
    again reads it. Raises `MissingPieceError` without onnxruntime and `ModelError` when
    the model cannot run or its outputs are not finite.
    """
    if not images:
        raise ModelError("a reference needs at least one image", next_step="ask for one or more")
    tensors = np.stack([image.tensor for image in images])
    model = artifact.path.with_name("model.onnx")
    kept = artifact.path.with_name(f"reference-{_key(model, tensors)}.npy")
    logits = _read(kept, len(images))
    if logits is None:
        logits = _compute(model, tensors)
        _keep(kept, logits)
    return logits


def _key(model: Path, tensors: Floats) -> str:
    try:
        digest = sha256(file_sha256(model).encode())
    except OSError as error:
        raise ModelError(
            "the reference is computed with the ONNX file of the model, which cannot be read",
            where=str(model),
            seen=str(error),
            next_step=_ANEW.format(folder=model.parent),
        ) from error
    digest.update(repr(tensors.shape).encode())
    digest.update(tensors.tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path, count: int) -> Floats | None:
    try:
        logits = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = logits.dtype == np.float32 and logits.ndim == 2 and len(logits) == count  # noqa: PLR2004 (a table)
    return logits if whole and np.isfinite(logits).all() else None


def _keep(path: Path, logits: Floats) -> None:
    # A reference that cannot be kept is computed again next time: slower, not wrong.
    with contextlib.suppress(OSError):
        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            np.save(file, logits)
        partial.replace(path)


def _compute(model: Path, tensors: Floats) -> Floats:
    session = _session(model)
    try:
        batches = [tensors[start : start + _BATCH] for start in range(0, len(tensors), _BATCH)]
        rows = [session.run(["output"], {"input": batch})[0] for batch in batches]
    except Exception as error:
        # onnxruntime's exceptions have no common base of their own.
        raise ModelError(
            "the model could not run",
            where=str(model),
            seen=str(error),
            next_step=_ANEW.format(folder=model.parent),
        ) from error
    logits: Floats = np.concatenate(rows).astype(np.float32)
    if not np.isfinite(logits).all():
        raise ModelError(
            "the model's own outputs are not finite, so there is nothing to compare with",
            where=str(model),
            next_step="use other weights",
        )
    return logits


def _session(model: Path) -> Any:  # noqa: ANN401 (onnxruntime has no types)
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPieceError(
            "the reference outputs need onnxruntime, which is not installed",
            next_step="pip install 'pytest-servebench[models]'",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(_MOST_THREADS, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    # Threads that spin would take the cores from the servers that are measured next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            "the model could not be loaded",
            where=str(model),
            seen=str(error),
            next_step=_ANEW.format(folder=model.parent),
        ) from error
