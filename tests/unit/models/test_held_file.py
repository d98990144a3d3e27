"""The arithmetic of a model file is read from the file: not from its name, nor from what was asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_servebench.held import LAYERS, Held
from pytest_servebench.models.held_file import held_in
from tests.recorded_onnxruntime import BFLOAT16, FLOAT, FLOAT16, INT8, onnx_file
from tests.unit.models.test_torchscript_types import written

SINGLE = {"Layers": [{"LayerType": "CublasConvolution", "Weights": {"Type": "Float"}}]}


@pytest.mark.parametrize(
    ("weights", "found"), [(FLOAT, "fp32"), (FLOAT16, "fp16"), (BFLOAT16, "bf16"), (INT8, "int8")]
)
def test_an_onnx_file_tells_it_by_its_weights(tmp_path: Path, weights: int, found: str) -> None:
    """By the reader that the guests have, so that a server and we say the same of a file."""
    path = onnx_file(tmp_path / "model_fp64.onnx", weights=weights)
    assert held_in(path) == Held(precision=found)


@pytest.mark.parametrize(("dtype", "found"), [("float32", "fp32"), ("bfloat16", "bf16")])
def test_a_torchscript_file_tells_it_by_its_weights(tmp_path: Path, dtype: str, found: str) -> None:
    """The file's name has no part in it."""
    assert held_in(written(tmp_path / "model_fp16.pt", dtype)) == Held(precision=found)


def test_neither_needs_torch_or_onnx() -> None:
    """Heavy libraries are not loaded into the process that measures."""
    code = "import sys, pytest_servebench.models.held_file as h; h._onnx_reader(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "servebench_guest_onnx_file" in loaded
    assert not {"'torch'", "'onnx'", "'onnxruntime'"} & set(loaded.strip("[]\n").split(", "))


@pytest.mark.parametrize("name", ["model.onnx", "model.pt"])
def test_a_file_that_cannot_be_read_is_not_known(tmp_path: Path, name: str) -> None:
    """With the reason, which names it: also where it is not there at all."""
    path = tmp_path / name
    assert held_in(path).absent.startswith(f"{name} does not say it: ")
    path.write_bytes(b"not a model")
    held = held_in(path)
    assert held.precision is None
    assert held.absent.startswith(f"{name} does not say it: {name} is no ")


def plan(folder: Path, layers: str | None, argv: list[str] | None) -> Path:
    """Write a plan with what lies beside one that was built here."""
    if layers is not None:
        (folder / LAYERS).write_text(layers)
    if argv is not None:
        (folder / "made.json").write_text(json.dumps({"made_from": {"argv": argv}}))
    (folder / "model.plan").write_bytes(b"plan")
    return folder / "model.plan"


@pytest.mark.parametrize(
    ("argv", "found"), [(["trtexec", "--noTF32"], "fp32"), (["trtexec"], None), (None, None)]
)
def test_a_plan_tells_it_by_its_layers_and_by_how_it_was_built(
    tmp_path: Path, argv: list[str] | None, found: str | None
) -> None:
    """A kernel without a name is fp32 where the builder was told to leave TF32, else it may be either."""
    assert held_in(plan(tmp_path, json.dumps(SINGLE), argv)).precision == found


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        (None, f"no {LAYERS} of TensorRT lies beside the plan"),
        ("{", f"the {LAYERS} beside the plan is no JSON"),
    ],
)
def test_a_plan_of_somebody_elses_is_not_known(tmp_path: Path, layers: str | None, why: str) -> None:
    """A user's own plan comes without its layers."""
    held = held_in(plan(tmp_path, layers, ["trtexec"]))
    assert held.precision is None
    assert held.absent.startswith(why)
