"""A model of 100 kB with ResNet50's shapes, so that tests of servers start in a second."""

from __future__ import annotations

import json
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

from pytest_servebench.plan import Artifact, InputDtype, ModelFormat

LABELS = [f"class {i}" for i in range(1000)]
CARD = {
    "name": "tiny",
    "resize": 256,
    "crop": 224,
    "interpolation": "bilinear",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "input_shape": [3, 224, 224],
    "classes": 1000,
}


def build_tiny_model(
    folder: Path, model_format: ModelFormat, input_dtype: InputDtype = InputDtype.FLOAT32
) -> Artifact:
    """Return a seeded artifact: ``input`` [n, 3, 224, 224] to float32 ``output`` [n, 1000].

    One that takes uint8 normalises the pixels by `CARD`, and then is the one that takes float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # torch announces the end of TorchScript at each call; it is the format under test.
        warnings.simplefilter("ignore")
        path = _export(folder, model_format, input_dtype)
    (folder / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    (folder / "labels.json").write_text(json.dumps(LABELS), encoding="utf-8")
    return Artifact(
        model="tiny",
        format=model_format,
        path=path,
        card_path=folder / "card.json",
        labels_path=folder / "labels.json",
        sha256=sha256(path.read_bytes()).hexdigest(),
        weights="seeded-random:7",
        input_dtype=input_dtype,
    )


def _export(folder: Path, model_format: ModelFormat, input_dtype: InputDtype) -> Path:
    import torch

    torch.manual_seed(7)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 32, stride=32),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 49, 1000),
    ).eval()
    with torch.no_grad():
        next(net[3].parameters()).mul_(8)
    example = torch.zeros(2, 3, 224, 224)
    if input_dtype is InputDtype.UINT8:
        net, example = torch.nn.Sequential(_normalising(), *net), example.to(torch.uint8)
    if model_format is ModelFormat.ONNX:
        path = folder / "model.onnx"
        torch.onnx.export(
            net,
            (example,),
            str(path),
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
            dynamo=False,
        )
    else:
        path = folder / "model.pt"
        torch.jit.trace(net, example).save(str(path))
    return path


def _normalising() -> Any:
    """Return what makes of pixels the numbers that the client makes of them."""
    import torch

    class Normalising(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            mean, std = (torch.tensor(CARD[name]).reshape(3, 1, 1) for name in ("mean", "std"))
            return (pixels.float() / 255 - mean) / std

    return Normalising()
