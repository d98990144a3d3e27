"""The libraries of a GPU's packages: each by name, with the version that is wanted."""

from __future__ import annotations

from dataclasses import replace

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.doctor.libraries import (
    CUDNN,
    OF_CUDA,
    ONNXRUNTIME_GPU,
    CudaSeen,
    Library,
    Package,
    cuda_wanted,
    library_checks,
)

MAJORS = {"cufft": "12", "curand": "10", CUDNN: "9.10.2"}
WELL = CudaSeen(
    onnxruntime=Package(distribution="onnxruntime-gpu", version="1.31.1", cuda="13.0"),
    torch=Package(distribution="torch", version="2.13.0", cuda="13.0"),
    libraries={
        name: (Library(version=MAJORS.get(name, "13.0"), path=f"/lib/lib{name}.so"),)
        for name in (*OF_CUDA, CUDNN)
    },
    nvcc="/usr/local/cuda/bin/nvcc",
)


def checks_of(seen: CudaSeen, *, has_gpu: bool = True, is_needed: bool = True) -> dict[str, Check]:
    """Return the checks by subject."""
    return {each.subject: each for each in library_checks(seen, has_gpu=has_gpu, is_needed=is_needed)}


def without(name: str, *others: Library) -> CudaSeen:
    """Return what is well, but for one library."""
    return replace(WELL, libraries={**WELL.libraries, name: others})


def test_all_that_is_wanted_is_there() -> None:
    """Packages and libraries are told with version and place, and nothing has to be mended."""
    checks = checks_of(WELL)
    assert {each.state for each in checks.values()} == {CheckState.OK}
    assert checks["cuDNN"].seen == "9.10.2: /lib/libcudnn.so"
    assert dict(cuda_wanted(WELL)) == {"onnxruntime-gpu": 13, "torch": 13}


def test_without_a_gpu_nothing_is_missed() -> None:
    """A machine without a GPU needs none of it."""
    (check,) = checks_of(CudaSeen(), has_gpu=False).values()
    assert (check.state, check.remedy) == (CheckState.NOT_AVAILABLE, "")


def test_builds_for_cpus_are_named() -> None:
    """A package that is installed and cannot use the GPU is missing, and its remedy takes it away first."""
    cpu = Package(distribution="onnxruntime", version="1.31.1")
    checks = checks_of(replace(WELL, onnxruntime=cpu, torch=None))
    assert "built for CPUs" in checks["onnxruntime"].seen
    assert checks["onnxruntime"].remedy == ONNXRUNTIME_GPU
    assert checks["onnxruntime"].is_needed
    assert checks["torch"].seen == "not installed"
    assert checks["torch"].remedy == 'pip install --force-reinstall "torch>=2.11"'


def test_each_library_that_is_not_there_is_named() -> None:
    """Not one of them is passed over, and each names what installs it."""
    for name in (*OF_CUDA, CUDNN):
        check = checks_of(without(name))["cuDNN" if name == CUDNN else f"lib{name}"]
        assert (check.state, check.is_needed) == (CheckState.MISSING, True), name
        assert "not found" in check.seen
        assert check.remedy == 'pip install "onnxruntime-gpu[cuda,cudnn]"'


def test_another_version_is_not_the_one_that_is_wanted() -> None:
    """Version 8 of cuDNN does not do for 9, nor the libraries of CUDA 12 for 13; what was found is named."""
    old = Library(version="8.9.7", path="/old/libcudnn.so.8")
    check = checks_of(without(CUDNN, old))["cuDNN"]
    assert check.state is CheckState.MISSING
    assert check.seen == "version 9 is wanted, and found was 8.9.7 (/old/libcudnn.so.8)"
    twelve = Library(version="12.8", path="/old/libcublas.so.12")
    assert checks_of(without("cublas", twelve))["libcublas"].state is CheckState.MISSING
    both = (twelve, *WELL.libraries["cublas"])
    assert checks_of(without("cublas", *both))["libcublas"].state is CheckState.OK


def test_the_toolkit_is_needed_by_none() -> None:
    """No nvcc is nothing to mend: that is said, for who looks for it."""
    check = checks_of(replace(WELL, nvcc=""))["CUDA toolkit"]
    assert (check.state, check.remedy) == (CheckState.NOT_AVAILABLE, "")
    assert "none is needed" in check.seen


def test_two_cudnns_are_told_of() -> None:
    """Those for CUDA 12 and 13 lie in one folder; the one that ONNX Runtime was not built for goes."""
    thirteen = checks_of(replace(WELL, cudnn_twice=True))
    assert thirteen["cuDNN"].state is CheckState.OK, "the file itself is looked at too"
    first = next(
        one
        for one in library_checks(replace(WELL, cudnn_twice=True), has_gpu=True, is_needed=True)
        if one.subject == "cuDNN"
    )
    assert (first.state, first.is_needed) == (CheckState.MISSING, True)
    assert first.remedy.startswith("pip uninstall -y nvidia-cudnn-cu12 && ")
    assert first.remedy.endswith("nvidia-cudnn-cu13")


def test_two_builds_of_one_package_are_told_of() -> None:
    """They overwrite each other, whatever the machine has."""
    twice = replace(WELL, onnxruntime_twice=True)
    checks = list(library_checks(twice, has_gpu=False, is_needed=False))
    assert checks[0].state is CheckState.WARNING
    assert "pip uninstall -y onnxruntime" in checks[0].remedy
    needed = next(iter(library_checks(twice, has_gpu=True, is_needed=True)))
    assert (needed.state, needed.is_needed) == (CheckState.MISSING, True)
