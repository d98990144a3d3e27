"""Model files of another precision or input than the export: which serves what, each made when asked for.

Every such file lies with a card, labels and a manifest of its own in a folder beside the
export it is made from, by the same rules (`kept_folder`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from pytest_servebench.errors import MissingPieceError, ModelError, PlanError, ServebenchError
from pytest_servebench.folders.manifest import file_sha256
from pytest_servebench.models.export_process import python_command, run_to_end
from pytest_servebench.models.kept_folder import CARD, exported_folder
from pytest_servebench.plan import InputDtype, ModelFormat, Precision
from pytest_servebench.words import listed

ACCOUNT = "account.json"
"""What the process that makes a file says of it: versions, calibration, errors that it measured."""
_TIMEOUT_S = 800.0
"""Less than others wait for the lock."""
_HERE = Path(__file__).resolve().parent
_SOURCES = tuple(
    f"{name}.py"
    for name in (
        *("variant_export", "half_precision", "quantisation", "onnx_pixel_input", "torch_pixel_input"),
        "torch_half",
        *("images", "preprocessing"),
    )
)
_ABSENT_MODULE = re.compile(r"No module named '([\w.]+)'")

_FP32, _TF32, _FP16, _BF16, _INT8 = Precision
_SUFFIXES = {ModelFormat.ONNX: ".onnx", ModelFormat.PYTORCH: ".pt"}
_STORED_AS = {
    ModelFormat.ONNX: ModelFormat.ONNX,
    ModelFormat.PYTORCH: ModelFormat.PYTORCH,
    # The engine is built of it on the GPU that serves it.
    ModelFormat.TENSORRT: ModelFormat.ONNX,
}
_HELD: Mapping[ModelFormat, Mapping[Precision, Precision]] = MappingProxyType(
    {
        ModelFormat.ONNX: {_FP32: _FP32, _TF32: _FP32, _FP16: _FP16, _INT8: _INT8},
        ModelFormat.PYTORCH: {_FP32: _FP32, _TF32: _FP32, _FP16: _FP32, _BF16: _FP32},
        ModelFormat.TENSORRT: {_FP32: _FP32, _TF32: _FP32, _FP16: _FP32, _BF16: _FP32, _INT8: _INT8},
    }
)
"""What the file of a format holds, by the precision served; where they differ the engine casts."""
_HELD_FOR_NO_CAST: Mapping[ModelFormat, Mapping[Precision, Precision]] = MappingProxyType(
    {ModelFormat.PYTORCH: {_FP16: _FP16, _BF16: _BF16}, ModelFormat.TENSORRT: {_FP16: _FP16}}
)
"""What it holds otherwise for a server that casts nothing. There is no ONNX file in bf16: TensorRT's
builder lowers one in fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model, as it lies on disk."""

    stored_as: ModelFormat
    """``onnx`` or ``pytorch``."""
    precision: Precision = Precision.FP32
    """Of the numbers in it."""
    input_dtype: InputDtype = InputDtype.FLOAT32

    @property
    def name(self) -> str:
        """``model.onnx``, ``model_fp16_uint8.onnx``, ``model_uint8.pt``."""
        return "_".join(("model", *self.unusual)) + _SUFFIXES[self.stored_as]

    @property
    def unusual(self) -> tuple[str, ...]:
        """What tells it from the exported file; empty for that one."""
        words = (self.precision, self.input_dtype)
        return tuple(str(word) for word in words if word not in {Precision.FP32, InputDtype.FLOAT32})

    @property
    def is_exported(self) -> bool:
        """Whether the export itself writes it."""
        return not self.unusual

    @property
    def made_from(self) -> ModelFile:
        """The file that it is made from: pixels are a step before the model of the same precision."""
        if self.input_dtype is InputDtype.UINT8:
            return ModelFile(stored_as=self.stored_as, precision=self.precision)
        return ModelFile(stored_as=self.stored_as)


def file_for(
    model_format: ModelFormat, precision: Precision, input_dtype: InputDtype, *, cast: bool = True
) -> ModelFile:
    """Return the file that serves a format in a precision; raises `PlanError` where none can.

    ``cast``: whether the server's engine casts what the file holds.
    """
    held = _HELD[model_format].get(precision)
    if not cast:
        held = _HELD_FOR_NO_CAST.get(model_format, {}).get(precision, held)
    if held is None:
        raise PlanError(
            f"there is no {model_format} file of a model that serves {precision}",
            seen=f"{model_format} is served in {listed(_HELD[model_format])}",
            next_step=f"--serve-dtype with one of these, or --serve-format={_other(precision)}",
        )
    return ModelFile(stored_as=_STORED_AS[model_format], precision=held, input_dtype=input_dtype)


def _other(precision: Precision) -> str:
    return ",".join(str(one) for one, held in _HELD.items() if precision in held)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantOrder:
    """A file that shall be made, with everything that shapes it."""

    file: ModelFile
    model: str
    base: Path
    """The folder of the export, whose name says what that was made of."""
    source: Path
    """The file that it is made from."""

    @property
    def title(self) -> str:
        """``resnet50 as model_fp16.onnx``."""
        return f"{self.model} as {self.file.name}"

    @property
    def folder_name(self) -> str:
        """The export's own name, what is unusual, and a key."""
        content = {
            "source": [self.source.parent.name, self.source.name],
            "file": self.file.name,
            "code": [file_sha256(_HERE / name) for name in _SOURCES],
            "onnxruntime": _onnxruntime_stamp(),
        }
        key = sha256(json.dumps(content).encode()).hexdigest()[:8]
        return "-".join((self.base.name, *self.file.unusual, self.file.stored_as, key))

    @property
    def model_files(self) -> tuple[str, ...]:
        """The one file."""
        return (self.file.name,)

    def card_content(self, hashes: Mapping[str, str], folder: Path) -> dict[str, object]:
        """Return the source's card with what is different, and what the making process says of it."""
        base = json.loads(self.source.with_name(CARD).read_text(encoding="utf-8"))
        account = json.loads((folder / ACCOUNT).read_text(encoding="utf-8"))
        return {
            **base,
            **account,
            "versions": {**base["versions"], **account["versions"]},
            "sha256": dict(hashes),
            "precision": str(self.file.precision),
            "input_dtype": str(self.file.input_dtype),
            "made_from": {"file": self.source.name, "sha256": file_sha256(self.source)},
        }


def _onnxruntime_stamp() -> str:
    """Return text that differs between versions; its distribution has several names."""
    spec = find_spec("onnxruntime")
    return file_sha256(Path(spec.origin)) if spec is not None and spec.origin else ""


def variant_folder(
    file: ModelFile, model: str, base: Path, cache_dir: Path
) -> tuple[Path, Mapping[str, str]]:
    """Return the folder that holds ``file`` of ``model``, and its hashes; made now where it is not whole.

    ``base`` is the folder of the export. Raises `MissingPieceError` and `ModelError`.
    """
    source, folder = file.made_from, base
    if not source.is_exported:
        folder, _ = variant_folder(source, model, base, cache_dir)
    order = VariantOrder(file=file, model=model, base=base, source=folder / source.name)
    return exported_folder(order, cache_dir, make_variant)


def make_variant(order: VariantOrder, folder: Path) -> None:
    """Write the file and `ACCOUNT` into ``folder`` by a process of its own; raises `ModelError`."""
    command = python_command(
        "pytest_servebench.models.variant_export",
        *(order.model, str(order.source), str(folder / order.file.name)),
        *("--precision", str(order.file.precision), "--input-dtype", str(order.file.input_dtype)),
        *("--reference", str(order.base / ModelFile(stored_as=ModelFormat.ONNX).name)),
    )
    run_to_end(command, folder, _TIMEOUT_S, partial(_failed, order, folder))


def _failed(order: VariantOrder, folder: Path, seen: str) -> ServebenchError:
    absent = _ABSENT_MODULE.search(seen)
    if absent:
        return MissingPieceError(
            f"making {order.title} needs the package {absent[1]}, which is not installed",
            next_step="pip install 'pytest-servebench[models]'",
        )
    return ModelError(
        f"{order.title} could not be made",
        where=str(folder),
        seen=seen,
        next_step=f"serve {order.model} in fp32 with payload tensor, or report it with these lines",
    )
