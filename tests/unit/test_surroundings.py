"""Whether packages here can compute on a GPU is told by files, also where one build lies over another."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.surroundings import cuda_unusable

PROVIDER, BUILD = "libonnxruntime_providers_cuda.so", "build_and_package_info.py"
FOR_GPUS, FOR_CPUS = (
    "package_name = 'onnxruntime-gpu'\ncuda_version = '13.0'\n",
    "package_name = 'onnxruntime'\n",
)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({PROVIDER: "", BUILD: FOR_GPUS}, ""),
        ({PROVIDER: ""}, ""),
        ({BUILD: FOR_CPUS}, "onnxruntime-gpu is not installed"),
        ({PROVIDER: "", BUILD: FOR_CPUS}, "onnxruntime was installed over onnxruntime-gpu"),
    ],
    ids=["for GPUs", "without a word", "for CPUs", "one over the other"],
)
def test_the_build_that_lies_there_is_told(
    files: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that the other build left behind computes nothing; nothing is imported to know that."""
    monkeypatch.syspath_prepend(str(tmp_path))
    capi = tmp_path / "someonnx" / "capi"
    capi.mkdir(parents=True)
    (tmp_path / "someonnx" / "__init__.py").write_text("raise SystemExit", encoding="utf-8")
    for name, text in files.items():
        (capi / name).write_text(text, encoding="utf-8")
    assert cuda_unusable("someonnx").startswith(told)
    assert bool(cuda_unusable("someonnx")) == bool(told)
    assert cuda_unusable("nosuchonnx") == "onnxruntime-gpu is not installed"


def test_a_plugin_computes_on_a_gpu_beside_the_build_for_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It serves tensorrt with the plain onnxruntime that its maker asks for."""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cuda_unusable("nosuchonnx")
    (tmp_path / "onnxruntime_ep_nv_tensorrt_rtx").mkdir()
    (tmp_path / "onnxruntime_ep_nv_tensorrt_rtx" / "__init__.py").write_text(
        "raise SystemExit", encoding="utf-8"
    )
    assert cuda_unusable("nosuchonnx") == ""
