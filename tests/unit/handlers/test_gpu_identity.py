"""Which GPU an engine is kept for, and memory that a GPU reads, with stand-ins for NVIDIA's libraries."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gpu_identity
import numpy as np
import pinned_memory
import pytest
from gpu_identity import GpuUnknownError, engine_folder


def library(monkeypatch: pytest.MonkeyPatch, **calls: Any) -> list[str]:
    """Put a library with these calls in the place of all; return the names it was loaded by."""
    loaded: list[str] = []

    def load(name: str, **_: Any) -> SimpleNamespace:
        loaded.append(name)
        return SimpleNamespace(**calls)

    monkeypatch.setattr(ctypes, "CDLL", load)
    return loaded


def driver(*, gpus: int = 2) -> dict[str, Any]:
    """Return the driver's calls, for that many GPUs."""

    def get(device: Any, index: int) -> int:
        device._obj.value = index
        return 0 if index < gpus else 101

    get.__name__ = "cuDeviceGet"

    def name(text: Any, room: int, device: Any) -> int:
        text.value = f"NVIDIA T{device.value + 4}".encode()[:room]
        return 0

    def attribute(value: Any, which: int, _: Any) -> int:
        value._obj.value = {75: 7, 76: 5}[which]
        return 0

    return {
        "cuInit": lambda _: 0,
        "cuDeviceGet": get,
        "cuDeviceGetName": name,
        "cuDeviceGetAttribute": attribute,
    }


def test_a_gpu_is_its_name_and_its_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver says both of the GPU that CUDA calls by that number."""
    loaded = library(monkeypatch, **driver())
    assert gpu_identity.gpu_identity(1) == "NVIDIA T5 sm75"
    assert loaded == ["libcuda.so.1"]
    with pytest.raises(GpuUnknownError, match="CUDA does not know GPU 2: error 101 of cuDeviceGet"):
        gpu_identity.gpu_identity(2)


def test_without_a_driver_no_gpu_is_known() -> None:
    """For real, on this machine, unless it has one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(GpuUnknownError, match="the CUDA driver cannot be asked: libcuda"):
            gpu_identity.gpu_identity(0)


def test_engines_are_kept_with_the_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the folder that was chosen, else beside the exported models, else in the user's cache."""
    model = tmp_path / "model.onnx"
    model.write_bytes(b"weights")
    monkeypatch.setenv("SERVEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert engine_folder(str(tmp_path / "mine"), model, "a GPU").parent == tmp_path / "mine"
    assert engine_folder("", model, "a GPU").parent == tmp_path / "cache" / "engines"
    monkeypatch.delenv("SERVEBENCH_CACHE")
    folder = engine_folder("", model, "a GPU")
    assert folder.parent == tmp_path / "user" / "pytest-servebench" / "engines"
    assert folder.is_dir()
    model.write_bytes(b"other weights")
    assert engine_folder("", model, "a GPU") != folder


def test_memory_is_pinned_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime of onnxruntime's CUDA is given the array's own address, for every context."""
    given: list[tuple[int | None, int, int]] = []

    def register(at: ctypes.c_void_p, size: ctypes.c_size_t, flags: int) -> int:
        given.append((at.value, size.value, flags))
        return 0

    loaded = library(monkeypatch, cudaHostRegister=register, cudaGetLastError=lambda: 0)
    buffer = np.zeros((4, 3, 8, 8), np.float32)
    assert pinned_memory.pin(buffer, "13.0")
    assert loaded == ["libcudart.so.13"]
    assert given == [(buffer.ctypes.data, buffer.nbytes, 1)]


def test_memory_that_cannot_be_pinned_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No runtime, or one that refuses: batches are copied as they are, and the facts say off."""
    assert not pinned_memory.pin(np.zeros(4), "0.0")
    forgotten: list[int] = []
    library(monkeypatch, cudaHostRegister=lambda *_: 712, cudaGetLastError=lambda: forgotten.append(712))
    assert not pinned_memory.pin(np.zeros(4), "13.0")
    # Else the next kernel of this thread would be said to have failed by it.
    assert forgotten == [712]
    assert "libcudart.so.0" in caplog.messages[0]
    assert caplog.messages[1] == "batches are not pinned: error 712 of cudaHostRegister"
