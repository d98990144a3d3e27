"""What only some cases on a GPU need is named with its use and its remedy, and stops nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.doctor.gpu_extras import LOOKED_FOR_PACKAGES, extra_checks
from pytest_servebench.doctor.libraries import TENSORRT, CudaSeen, Library, Package, by_cuda_12

BARE = CudaSeen(
    onnxruntime=Package(distribution="onnxruntime-gpu", version="1.31.1", cuda="13.0"),
    torch=Package(distribution="torch", version="2.13.0+cu130", cuda="13.0"),
)
TWELVE = replace(BARE, onnxruntime=Package(distribution="onnxruntime-gpu", version="1.23.2", cuda="12.8"))
ELEVENTH = Library(version="11.4.0", path="/lib/libnvinfer.so.11")
TENTH = Library(version="10.16.1", path="/lib/libnvinfer.so.10")


def checks_of(seen: CudaSeen) -> dict[str, Check]:
    """Return the checks of a machine with a GPU, by subject."""
    return {each.subject: each for each in extra_checks(seen, has_gpu=True)}


def test_nothing_of_it_is_needed_by_what_asks_for_nothing() -> None:
    """Each is missing with its use and a remedy, and a machine without a GPU hears of none."""
    checks = checks_of(BARE)
    assert {one.state for one in checks.values()} == {CheckState.MISSING}
    assert not [one for one in checks.values() if one.is_needed or not one.remedy]
    assert list(extra_checks(BARE, has_gpu=False)) == []


@pytest.mark.parametrize(
    ("seen", "remedies"),
    [
        (BARE, {"TensorRT-RTX plugin": "onnxruntime-ep-nv-tensorrt-rtx-cu13", "DALI": "nvidia-dali-cuda130"}),
        (
            TWELVE,
            {"TensorRT-RTX plugin": "onnxruntime-ep-nv-tensorrt-rtx-cu12", "DALI": "nvidia-dali-cuda120"},
        ),
    ],
    ids=["CUDA 13", "CUDA 12"],
)
def test_remedies_are_for_the_cuda_that_is_here(seen: CudaSeen, remedies: dict[str, str]) -> None:
    """A package for another CUDA brings libraries that nobody here loads."""
    checks = checks_of(seen)
    assert {name: checks[name].remedy.removeprefix("pip install ") for name in remedies} == remedies


def test_everything_is_there() -> None:
    """Versions are told, and nothing has to be mended."""
    torchvision = Package(distribution="torchvision", version="0.28.0", cuda="13.0")
    installed = dict.fromkeys(LOOKED_FOR_PACKAGES, "1.0") | {"torch-tensorrt": "2.13.0"}
    libraries = {TENSORRT: (TENTH,)}
    checks = checks_of(replace(BARE, torchvision=torchvision, installed=installed, libraries=libraries))
    assert {one.state for one in checks.values()} == {CheckState.OK}
    assert not [one.remedy for one in checks.values() if one.remedy]


def test_tensorrt_of_another_version_is_not_the_one_that_is_wanted() -> None:
    """The newest TensorRT is not what ONNX Runtime's provider is linked against, and does not load."""
    check = checks_of(replace(BARE, libraries={TENSORRT: (ELEVENTH,)}, tensorrt_wanted=10))["TensorRT"]
    assert check.state is CheckState.MISSING
    assert check.seen == (
        "ONNX Runtime's provider wants version 10, and found was 11.4.0 (/lib/libnvinfer.so.11)"
    )
    index = "--extra-index-url https://pypi.nvidia.com"
    assert check.remedy == f'pip install "tensorrt-cu13-libs>=10,<11" {index}'
    newer = replace(BARE, libraries={TENSORRT: (TENTH, ELEVENTH)}, tensorrt_wanted=11)
    assert checks_of(newer)["TensorRT"].seen == "11.4.0: /lib/libnvinfer.so.11"


def test_torch_tensorrt_is_for_one_release_of_torch() -> None:
    """One built for another release does not load; its newest brings the torch that it is for."""
    missing = checks_of(BARE)["torch-tensorrt"]
    newest = "pip install --upgrade torch-tensorrt --extra-index-url https://pypi.nvidia.com"
    assert missing.remedy == newest, "torch's newest release has none on PyPI yet"
    assert '"torch-tensorrt==2.13.*" --extra-index-url' in checks_of(TWELVE)["torch-tensorrt"].remedy
    other = checks_of(replace(BARE, installed={"torch-tensorrt": "2.14.0"}))["torch-tensorrt"]
    assert other.state is CheckState.MISSING
    assert other.seen == "2.14.0 is built for torch 2.14, and torch here is 2.13"
    assert checks_of(CudaSeen())["torch-tensorrt"].remedy == newest


def test_a_torchvision_for_cpus_decodes_on_the_cpu() -> None:
    """It is there, and not what decodes on a GPU."""
    seen = replace(BARE, torchvision=Package(distribution="torchvision", version="0.28.0+cpu"))
    check = checks_of(seen)["torchvision (nvJPEG)"]
    assert check.state is CheckState.MISSING
    assert "built for CPUs" in check.seen
    assert check.remedy == 'pip install --force-reinstall torchvision "torch>=2.11"'
    older = checks_of(replace(seen, onnxruntime=TWELVE.onnxruntime))["torchvision (nvJPEG)"].remedy
    assert older == 'pip install --force-reinstall "torchvision<0.26" "torch<2.11"'
    assert by_cuda_12(check.remedy) == older, "alone, the newest torchvision brings torch for CUDA 13"
