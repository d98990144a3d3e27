from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.errors import MissingPieceError, ModelError, PlanError
from pytest_servebench.models import variants
from pytest_servebench.models.kept_folder import exported_folder
from pytest_servebench.models.variants import (
    ACCOUNT,
    ModelFile,
    VariantOrder,
    file_for,
    make_variant,
    variant_folder,
)
from pytest_servebench.plan import InputDtype, ModelFormat, Precision
from tests.unit.models.small_export import Builder, order

FP32, TF32, FP16, BF16, INT8 = Precision
ONNX, PYTORCH, TENSORRT = ModelFormat
FLOAT32, UINT8 = InputDtype


@pytest.mark.parametrize(
    ("model_format", "precision", "input_dtype", "name"),
    [
        (ONNX, FP32, FLOAT32, "model.onnx"),
        (ONNX, TF32, FLOAT32, "model.onnx"),
        (ONNX, FP16, FLOAT32, "model_fp16.onnx"),
        (ONNX, INT8, FLOAT32, "model_int8.onnx"),
        (ONNX, FP32, UINT8, "model_uint8.onnx"),
        (ONNX, FP16, UINT8, "model_fp16_uint8.onnx"),
        (ONNX, INT8, UINT8, "model_int8_uint8.onnx"),
        (PYTORCH, FP32, FLOAT32, "model.pt"),
        (PYTORCH, TF32, FLOAT32, "model.pt"),
        (PYTORCH, FP16, FLOAT32, "model.pt"),
        (PYTORCH, BF16, FLOAT32, "model.pt"),
        (PYTORCH, BF16, UINT8, "model_uint8.pt"),
        (TENSORRT, FP32, FLOAT32, "model.onnx"),
        (TENSORRT, FP16, FLOAT32, "model.onnx"),
        (TENSORRT, BF16, UINT8, "model_uint8.onnx"),
        (TENSORRT, INT8, FLOAT32, "model_int8.onnx"),
    ],
)
def test_one_file_serves_each_format_precision_and_input(
    model_format: ModelFormat, precision: Precision, input_dtype: InputDtype, name: str
) -> None:
    """Where an engine casts, the fp32 file serves; where the file decides, there is one of that precision."""
    assert file_for(model_format, precision, input_dtype).name == name


@pytest.mark.parametrize(
    ("model_format", "precision", "input_dtype", "name"),
    [
        (ONNX, FP16, FLOAT32, "model_fp16.onnx"),
        (PYTORCH, FP32, FLOAT32, "model.pt"),
        (PYTORCH, FP16, FLOAT32, "model_fp16.pt"),
        (PYTORCH, BF16, UINT8, "model_bf16_uint8.pt"),
        (TENSORRT, TF32, FLOAT32, "model.onnx"),
        (TENSORRT, FP16, FLOAT32, "model_fp16.onnx"),
        (TENSORRT, BF16, FLOAT32, "model.onnx"),
        (TENSORRT, INT8, FLOAT32, "model_int8.onnx"),
    ],
)
def test_a_server_that_casts_nothing_has_files_that_hold_the_precision(
    model_format: ModelFormat, precision: Precision, input_dtype: InputDtype, name: str
) -> None:
    """But bf16 for TensorRT, whose builder lowers fp32: there is no ONNX file in bf16."""
    assert file_for(model_format, precision, input_dtype, cast=False).name == name


@pytest.mark.parametrize(
    ("model_format", "precision", "next_step"),
    [
        (ONNX, BF16, "--serve-dtype with one of these, or --serve-format=pytorch,tensorrt"),
        (PYTORCH, INT8, "--serve-dtype with one of these, or --serve-format=onnx,tensorrt"),
    ],
)
def test_what_no_file_serves_is_refused_in_words(
    model_format: ModelFormat, precision: Precision, next_step: str
) -> None:
    """The error names the option and where the precision can be had."""
    with pytest.raises(PlanError) as caught:
        file_for(model_format, precision, FLOAT32)
    assert caught.value.what == f"there is no {model_format} file of a model that serves {precision}"
    assert caught.value.next_step == next_step


def test_pixels_are_put_before_the_file_of_the_same_precision() -> None:
    """A file for pixels in int8 is made from the calibrated one, not calibrated a second time."""
    int8 = ModelFile(stored_as=ONNX, precision=INT8)
    assert replace(int8, input_dtype=UINT8).made_from == int8
    assert int8.made_from == ModelFile(stored_as=ONNX)
    assert int8.made_from.is_exported


# In the cache, without torch or onnx


class Maker:
    """Writes a small file instead of a model, and counts how often."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, wanted: VariantOrder, folder: Path) -> None:
        self.made.append(wanted.file.name)
        (folder / wanted.file.name).write_bytes(wanted.source.read_bytes() + b"!")
        calibrated = wanted.file.input_dtype is FLOAT32 and {"calibration": {"method": "minmax"}}
        (folder / ACCOUNT).write_text(json.dumps({**(calibrated or {}), "versions": {"onnxruntime": "9"}}))


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Return what makes the files of this test."""
    one = Maker()
    monkeypatch.setattr(variants, "make_variant", one)
    return one


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return the folder of an export."""
    return exported_folder(order(), tmp_path, Builder())[0]


INT8_PIXELS = ModelFile(stored_as=ONNX, precision=INT8, input_dtype=UINT8)


def test_a_file_and_what_it_is_made_from_are_made_once(tmp_path: Path, base: Path, maker: Maker) -> None:
    """Each file is made when first asked for, and the export's own folder stays as it was."""
    before = sorted(base.iterdir())
    first = variant_folder(INT8_PIXELS, "resnet50", base, tmp_path)
    assert variant_folder(INT8_PIXELS, "resnet50", base, tmp_path) == first
    variant_folder(INT8_PIXELS.made_from, "resnet50", base, tmp_path)
    assert maker.made == ["model_int8.onnx", "model_int8_uint8.onnx"]
    assert sorted(base.iterdir()) == before
    assert (first[0] / "model_int8_uint8.onnx").read_bytes().endswith(b"onnx!!")


def test_the_card_says_how_a_file_was_made(tmp_path: Path, base: Path, maker: Maker) -> None:
    """The guests read the same preprocessing, and the provenance is that of this file and its source."""
    folder, files = variant_folder(INT8_PIXELS, "resnet50", base, tmp_path)
    card, exported = (json.loads((one / "card.json").read_text()) for one in (folder, base))
    assert (card["mean"], card["std"], card["weights"]) == (
        exported["mean"],
        exported["std"],
        exported["weights"],
    )
    assert (card["precision"], card["input_dtype"]) == ("int8", "uint8")
    assert card["sha256"] == {"model_int8_uint8.onnx": files["model_int8_uint8.onnx"]}
    assert card["made_from"]["file"] == "model_int8.onnx"
    assert card["calibration"] == {"method": "minmax"}
    assert card["versions"] == {"torch": "2.13.0", "onnxruntime": "9"}
    assert (folder / "labels.json").read_bytes() == (base / "labels.json").read_bytes()
    assert maker.made


def test_a_broken_file_is_noticed_and_made_again(tmp_path: Path, base: Path, maker: Maker) -> None:
    """A variant is held to its hashes as the export is; what it was made from is left alone."""
    folder, files = variant_folder(INT8_PIXELS, "resnet50", base, tmp_path)
    (folder / "model_int8_uint8.onnx").write_bytes(b"half")
    assert variant_folder(INT8_PIXELS, "resnet50", base, tmp_path) == (folder, files)
    assert maker.made == ["model_int8.onnx", "model_int8_uint8.onnx", "model_int8_uint8.onnx"]


def test_what_a_killed_making_left_is_cleared(tmp_path: Path, base: Path, maker: Maker) -> None:
    """A half-written folder neither counts nor stays."""
    half = ModelFile(stored_as=ONNX, precision=FP16)
    name = VariantOrder(file=half, model="resnet50", base=base, source=base / "model.onnx").folder_name
    staging = base.with_name(f".building-{name}")
    staging.mkdir()
    (staging / "model_fp16.onnx").write_bytes(b"on")
    folder, _ = variant_folder(half, "resnet50", base, tmp_path)
    assert (folder / "model_fp16.onnx").read_bytes().endswith(b"onnx!")
    assert not staging.exists()
    assert maker.made == ["model_fp16.onnx"]


def test_files_of_another_export_are_others(tmp_path: Path, maker: Maker) -> None:
    """A file is never taken for one that was made of other weights."""
    folders = set()
    for version in ("2.13.0", "2.14.0"):
        base, _ = exported_folder(order(versions={"torch": version}), tmp_path, Builder())
        folders.add(variant_folder(INT8_PIXELS, "resnet50", base, tmp_path)[0])
    assert len(folders) == 2
    assert len(maker.made) == 4


def test_another_onnxruntime_makes_another_file(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The converters and the quantiser are onnxruntime's."""
    one = VariantOrder(file=INT8_PIXELS, model="resnet50", base=base, source=base / "model.onnx")
    before = one.folder_name
    monkeypatch.setattr(variants, "_onnxruntime_stamp", lambda: "another")
    assert one.folder_name != before


# When it cannot be made


def failing(base: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> VariantOrder:
    """Return an order whose process ends with ``said`` on stderr."""
    monkeypatch.setattr(
        variants, "python_command", lambda *_: [sys.executable, "-c", f"import sys; sys.exit({said!r})"]
    )
    return VariantOrder(file=INT8_PIXELS, model="resnet50", base=base, source=base / "model.onnx")


def test_a_making_that_fails_says_what_was_seen(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names file and model, and a way on."""
    wanted = failing(base, monkeypatch, "RuntimeError: outputs that are not finite")
    with pytest.raises(ModelError) as caught:
        make_variant(wanted, base)
    assert caught.value.what == "resnet50 as model_int8_uint8.onnx could not be made"
    assert caught.value.seen == "exit code 1: RuntimeError: outputs that are not finite"
    assert caught.value.next_step.startswith("serve resnet50 in fp32 with payload tensor, or report it")


def test_a_missing_package_is_named_with_the_extra(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a converter imports and is not there is a missing piece, not a failed model."""
    wanted = failing(base, monkeypatch, "ModuleNotFoundError: No module named 'sympy'")
    with pytest.raises(MissingPieceError) as caught:
        make_variant(wanted, base)
    assert caught.value.what == (
        "making resnet50 as model_int8_uint8.onnx needs the package sympy, which is not installed"
    )
    assert caught.value.next_step == "pip install 'pytest-servebench[models]'"
