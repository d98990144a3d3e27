"""The export process: one model written as ONNX and as TorchScript, from the same weights.

Run as ``python -m pytest_servebench.models.torch_export MODEL FOLDER [--weights FILE]`` by
`pytest_servebench.models.export`, so that torch is never loaded into the pytest process.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_servebench.models.catalogue import ModelCard, model_card
from pytest_servebench.models.export_process import end_with_parent
from pytest_servebench.models.weights import SEED, Weights

Floats = npt.NDArray[np.float32]

OPSET = 17
"""The newest that every engine here and TensorRT 8.6 read."""
_AGREEMENT = 1e-4
"""Both files must agree this well, relative to the spread of the logits."""


def export(card: ModelCard, weights: Weights, folder: Path) -> None:
    """Write ``model.onnx`` and ``model.pt`` into ``folder``.

    Both: float32 ``input`` [n, *card.input_shape] to ``output`` [n, card.classes], any n.
    Raises ``RuntimeError`` when the weights do not fit or the two files disagree.
    """
    import torch

    module = importlib.import_module(f"pytest_servebench.models.{card.name}")
    model: torch.nn.Module = module.build(weights)
    # A batch of one would be traced as a constant in places.
    example = torch.randn(2, *card.input_shape, generator=torch.Generator().manual_seed(SEED))
    with torch.inference_mode():
        torch.onnx.export(
            model,
            (example,),
            str(folder / "model.onnx"),
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
            opset_version=OPSET,
            # The exporter by torch.export takes several times as long and needs onnxscript.
            dynamo=False,
        )
        # Its own check runs the model twice more; the one below covers both files.
        torch.jit.trace(model, example, check_trace=False).save(str(folder / "model.pt"))
    _check_agreement(card, folder)


def _check_agreement(card: ModelCard, folder: Path) -> None:
    """Read both files back and compare them on a batch size that was not traced."""
    import onnxruntime
    import torch

    batch = np.random.default_rng(SEED).standard_normal((3, *card.input_shape)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (onnx_logits,) = session.run(["output"], {"input": batch})
    with torch.inference_mode():
        torch_logits = torch.jit.load(str(folder / "model.pt"))(torch.from_numpy(batch)).numpy()
    difference = _relative_difference(onnx_logits, torch_logits)
    if onnx_logits.shape != (3, card.classes) or not difference <= _AGREEMENT:
        raise RuntimeError(f"model.onnx and model.pt differ by {difference:.2g} of the logits' spread")


def _relative_difference(seen: Floats, expected: Floats) -> float:
    return float(np.abs(seen - expected).max() / np.ptp(expected))


def main(argv: list[str] | None = None) -> None:
    """Export what the command line names; on failure exit with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="torch_export", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--parent-pid", type=int, required=True)
    arguments = parser.parse_args(argv)
    # Before torch is loaded, which takes seconds.
    end_with_parent(arguments.parent_pid)
    weights = Weights(label="", path=arguments.weights)
    try:
        export(model_card(arguments.model), weights, arguments.folder)
    except Exception as error:  # noqa: BLE001 (the process boundary: the parent prints the reason)
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
