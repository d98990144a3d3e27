"""The process that makes one model file of another: in fp16, quantised, or for pixels.

Run as ``python -m pytest_servebench.models.variant_export MODEL SOURCE TARGET ...`` by
`pytest_servebench.models.variants`. Beside the file it writes its account: how the file was
made, and how far its answers on the CPU are from those of the fp32 export.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.models.catalogue import ModelCard, model_card
from pytest_servebench.models.export_process import end_with_parent
from pytest_servebench.models.half_precision import onnx_in_half
from pytest_servebench.models.images import image_set
from pytest_servebench.models.preprocessing import normalised
from pytest_servebench.models.quantisation import METHODS, calibration_account, quantised
from pytest_servebench.models.variants import ACCOUNT
from pytest_servebench.plan import InputDtype, Precision

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_CALIBRATION_SEED, _CALIBRATION_IMAGES = 1, 32
_CHOICE_SEED = 2
_MEASURED_SEED = 0
"""The images that are served, by default."""
_MEASURED_IMAGES = 8
_SAME = 1e-5
"""A file for pixels computes what its source does: only the order of sums may differ."""
_TOP = 5


def make(card: ModelCard, source: Path, target: Path, wanted: tuple[Precision, InputDtype]) -> dict[str, Any]:
    """Write ``target``, made of ``source``, and return what is to say of how.

    Raises ``RuntimeError`` when the file does not compute what its source does.
    """
    precision, input_dtype = wanted
    if input_dtype is InputDtype.UINT8:
        _make_pixel_input(card, source, target)
        _check_same(card, source, target)
        return {}
    if target.suffix == ".pt" and precision in {Precision.FP16, Precision.BF16}:
        from pytest_servebench.models.torch_half import torchscript_in_half

        torchscript_in_half(source, target, precision, card.input_shape)
        return {}
    if precision is Precision.FP16:
        onnx_in_half(source, target)
        return {}
    if precision is Precision.INT8:
        return _calibrate(card, source, target)
    raise RuntimeError(f"{precision} is cast by engines, no file holds it")


def _make_pixel_input(card: ModelCard, source: Path, target: Path) -> None:
    if target.suffix == ".onnx":
        from pytest_servebench.models.onnx_pixel_input import onnx_with_pixel_input

        onnx_with_pixel_input(source, target, card)
    else:
        from pytest_servebench.models.torch_pixel_input import torchscript_with_pixel_input

        torchscript_with_pixel_input(source, target, card)


def _calibrate(card: ModelCard, source: Path, target: Path) -> dict[str, Any]:
    """Quantise by every method, and keep the one that errs least on images that calibrated none."""
    calibration = _tensors(_pixels(card, _CALIBRATION_SEED, _CALIBRATION_IMAGES), card)
    judging = _tensors(_pixels(card, _CHOICE_SEED, _MEASURED_IMAGES), card)
    expected = logits_of(source, judging)
    tried = {}
    # The quantiser writes beside what it reads, and the export's own folder stays as it is.
    copy = Path(shutil.copyfile(source, target.with_name("source.onnx")))
    for method in METHODS:
        file = target.with_name(f"{method}.onnx")
        quantised(copy, file, calibration, method)
        tried[method] = compared(logits_of(file, judging), expected)["largest_error"]
    copy.unlink()
    best = min(METHODS, key=tried.__getitem__)
    for method in METHODS:
        file = target.with_name(f"{method}.onnx")
        file.replace(target) if method == best else file.unlink()
    said = f"{_CALIBRATION_IMAGES} synthetic ones of seed {_CALIBRATION_SEED}"
    return calibration_account(best, said, tuple(tried.items()))


def _check_same(card: ModelCard, source: Path, target: Path) -> None:
    pixels = _pixels(card, _MEASURED_SEED, 3)
    seen, expected = logits_of(target, pixels), logits_of(source, _tensors(pixels, card))
    difference = compared(seen, expected)["largest_error"]
    if not difference <= _SAME:
        raise RuntimeError(
            f"{target.name} and {source.name} differ by {difference:.2g} of the logits' spread"
        )


def measured(card: ModelCard, target: Path, reference: Path, input_dtype: InputDtype) -> dict[str, Any]:
    """Return how far ``target`` is from ``reference``, the fp32 export, both on the CPU.

    Raises ``RuntimeError`` when an output is not finite.
    """
    pixels = _pixels(card, _MEASURED_SEED, _MEASURED_IMAGES)
    tensors = _tensors(pixels, card)
    seen = logits_of(target, pixels if input_dtype is InputDtype.UINT8 else tensors)
    if not np.isfinite(seen).all():
        raise RuntimeError(
            f"{target.name} has outputs that are not finite: the precision cannot hold its values"
        )
    said = f"{_MEASURED_IMAGES} synthetic ones of seed {_MEASURED_SEED}"
    return {"images": said, **compared(seen, logits_of(reference, tensors))}


def compared(seen: Floats, expected: Floats) -> dict[str, float]:
    """Return the largest error and the agreement of classes, for logits [n, classes].

    The error of an image is the largest absolute one by the spread of its expected logits, as
    `pytest_servebench.verification` has it; the agreement is the share of images with the same
    class first, and of the five first classes that are the same.
    """
    errors = np.abs(seen - expected).max(axis=1) / np.ptp(expected, axis=1)
    ranks = [np.argsort(-logits, axis=1)[:, :_TOP] for logits in (seen, expected)]
    shared = [len(set(mine) & set(theirs)) / _TOP for mine, theirs in zip(*ranks, strict=True)]
    return {
        "largest_error": float(errors.max()),
        "same_first": float((ranks[0][:, 0] == ranks[1][:, 0]).mean()),
        "same_five": float(np.mean(shared)),
    }


def logits_of(file: Path, batch: Floats | Pixels) -> Floats:
    """Return float32 [n, classes] of a model file on the CPU."""
    if file.suffix == ".pt":
        import torch

        with torch.inference_mode():
            return np.asarray(torch.jit.load(str(file))(torch.from_numpy(batch)).numpy())
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["output"], {"input": batch})[0])


def _pixels(card: ModelCard, seed: int, count: int) -> Pixels:
    pixels = [image.pixels for image in image_set("synthetic", card, count, seed)]
    return np.stack([one for one in pixels if one is not None])


def _tensors(pixels: Pixels, card: ModelCard) -> Floats:
    return np.stack([normalised(one, card) for one in pixels])


def _versions() -> Mapping[str, str]:
    import onnx
    import onnxruntime

    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def main(argv: list[str] | None = None) -> None:
    """Make what the command line names; on failure exit with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="variant_export", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--precision", type=Precision, required=True)
    parser.add_argument("--input-dtype", type=InputDtype, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    given = parser.parse_args(argv)
    end_with_parent(given.parent_pid)
    # The quantiser advises further steps, at each call.
    logging.disable(logging.WARNING)
    card = model_card(given.model)
    try:
        account = make(card, given.source, given.target, (given.precision, given.input_dtype))
        account["error"] = measured(card, given.target, given.reference, given.input_dtype)
        account["versions"] = _versions()
        given.target.with_name(ACCOUNT).write_text(json.dumps(account), encoding="utf-8")
    except Exception as error:  # noqa: BLE001 (the process boundary: the parent prints the reason)
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
