"""Which numbers a TorchScript file holds, read without torch from files that torch wrote."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from zipfile import ZipFile

import pytest

from pytest_servebench.models.torchscript_types import numbers_by_precision

PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8"}


def written(path: Path, dtype: str, *, scripted: bool = False) -> Path:
    """Write a convolution and a normalisation, with weights of that type."""
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()
    if dtype == "int8":
        module.register_buffer("packed", torch.zeros(1000, dtype=torch.int8))
    else:
        module.to(getattr(torch, dtype))
    with warnings.catch_warnings():
        # torch announces the end of TorchScript; it is the format that is served here.
        warnings.simplefilter("ignore", DeprecationWarning)
        example = torch.zeros((2, 3, 8, 8), dtype=getattr(torch, dtype) if dtype != "int8" else None)
        script = torch.jit.script(module) if scripted else torch.jit.trace(module, example)
        script.save(str(path))
    return path


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_numbers_of_a_file_are_told_by_precision(tmp_path: Path, dtype: str, scripted: bool) -> None:
    """Weights, biases and statistics; counters of batches are no weights."""
    found = numbers_by_precision(written(tmp_path / "model.pt", dtype, scripted=scripted))
    small = 4 * 3 * 9 + 4 + 4 * 4
    assert found == ({"fp32": small, "int8": 1000} if dtype == "int8" else {PRECISIONS[dtype]: small})


def with_pickle(path: Path, text: bytes) -> Path:
    """Write a zip that looks like TorchScript, with that pickle."""
    with ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", text)
    return path


class _Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1/0",)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    """A pickle may name any function: none is called, and none is even looked up."""
    assert numbers_by_precision(with_pickle(tmp_path / "model.pt", pickle.dumps(_Harm()))) == {}


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02.", b"\x80\x02]q\x00(Q.", b"\x80\x02K\x01Q."])
def test_what_is_no_torchscript_is_told(tmp_path: Path, content: bytes) -> None:
    """Neither a file that is no zip, nor a zip without tensors, nor a broken pickle."""
    plain = tmp_path / "plain.pt"
    plain.write_bytes(content)
    empty = tmp_path / "empty.pt"
    with ZipFile(empty, "w") as archive:
        archive.writestr("model/version", "3")
    for path in (plain, empty, with_pickle(tmp_path / "broken.pt", content)):
        with pytest.raises(ValueError, match=r"\.pt is no TorchScript file"):
            numbers_by_precision(path)
