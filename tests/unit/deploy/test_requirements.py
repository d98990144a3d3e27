"""The lists of packages in images: pinned as everywhere else, complete, and nothing twice."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pytest_servebench.doctor.gpu_extras import TENSORRT_MAJOR
from pytest_servebench.folders.shipped import shipped

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN = "pytest-servebench"
_PYPROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
_EXTRAS_OF_OURS = _PYPROJECT["project"]["optional-dependencies"]
LISTS = shipped("deploy") / "requirements"
CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"
SERVERS = ("fastapi", "torchserve", "triton-cpu")
NEWER_PYTHONS = {"python_version": "3.12"}
"""What the images have: 3.11 on Debian 12, 3.12 on Ubuntu 24.04; their pins are the same."""
OTHER_BUILDS = {"onnxruntime-gpu": "onnxruntime"}
NOT_CONSTRAINED = {"setuptools"}
"""Torch asks for it; environments bring their own."""
LEFT_OUT = {
    # Only the server and its backend are taken out of the wheel, nothing imports the package.
    "nvidia-pytriton": {
        "pyzmq",
        "sh",
        "tritonclient",
        "grpcio",
        "typing-inspect",
        "wrapt",
        "typer",
        "importlib-metadata",
    },
    # It packs archives with wheels in them, which ours have not.
    "torchserve": {"wheel"},
}


def pins(name: str) -> dict[str, str]:
    """Return the versions in a list by canonical name, the build (``+cpu``) left out."""
    lines = (LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([\w.-]+)={2,3}([\w.]+)(\+cpu)?", line)
            assert match, f"{name}.txt: {line!r} is no pin"
            found[str(canonicalize_name(match[1]))] = match[2]
    return found


def constraints() -> dict[str, str]:
    """Return the versions that were tested together under a newer Python."""
    found = {}
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(NEWER_PYTHONS):
            found[str(canonicalize_name(wanted.name))] = str(wanted.specifier).removeprefix("==")
    return found


@pytest.mark.parametrize("path", sorted(LISTS.glob("*.txt")), ids=lambda path: path.stem)
def test_images_have_the_versions_that_were_tested(path: Path) -> None:
    """Every pin is that of constraints.txt: an image serves with what a local process serves with."""
    tested = constraints()
    for name, pinned in pins(path.stem).items():
        if name not in NOT_CONSTRAINED:
            assert pinned == tested.get(OTHER_BUILDS.get(name, name)), name


@pytest.mark.parametrize("server", SERVERS)
def test_a_list_is_complete(server: str) -> None:
    """Nothing is fetched beside what is listed: images are built from lists without their dependencies."""
    engines = pins("engines-cpu")
    listed = {**engines, **pins(server)}
    for name, pinned in listed.items():
        try:
            if not version(name).startswith(pinned):
                pytest.skip(f"{name} {version(name)} is installed here, not {pinned}")
            asked = requires(name) or []
        except PackageNotFoundError:
            pytest.fail(f"{name} is in an image and not in the environment of tests")
        for text in asked:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({**NEWER_PYTHONS, "extra": ""}):
                needed = str(canonicalize_name(wanted.name))
                assert needed in listed or needed in LEFT_OUT.get(name, set()), f"{name} needs {needed}"


@pytest.mark.parametrize("server", SERVERS)
def test_nothing_is_installed_twice(server: str) -> None:
    """What the engines bring, no server's list brings again."""
    assert not set(pins("engines-cpu")) & set(pins(server))


def test_engines_are_the_same_on_a_gpu() -> None:
    """Both lists differ in the builds of onnxruntime and torch, what those need, and what decodes JPEG."""
    cpu, cuda = pins("engines-cpu"), pins("engines-cuda")
    assert set(cpu) - set(cuda) == {"onnxruntime"}
    decodes = {"torchvision", "pillow"}
    assert set(cuda) - set(cpu) == {"onnxruntime-gpu", "cuda-bindings", "cuda-pathfinder", *decodes}
    assert all(cuda[name] == cpu[name] for name in set(cpu) & set(cuda))
    text = (LISTS / "engines-cuda.txt").read_text(encoding="utf-8")
    for name in ("torch", "torchvision"):
        assert f"\n{name}===" in text, "with == the CPU's build would do as well"


def extra_of(name: str) -> dict[str, Requirement]:
    """Return what an extra of ours asks for, on Linux with a newer Python, the extras in it included."""
    asked = [Requirement(text) for text in _EXTRAS_OF_OURS[name]]
    found = {one.name: one for one in asked if one.name != OWN}
    for one in asked:
        if one.name == OWN:
            for other in one.extras:
                found = {**extra_of(other), **found}
    return found


def test_what_is_for_gpus_is_all_of_it_with_one_build_of_onnxruntime() -> None:
    """Both builds beside each other compute on no GPU; all else that ``all`` brings, ``gpu`` brings."""
    everything, gpu = extra_of("all"), extra_of("gpu")
    assert set(everything) - set(gpu) == {"onnxruntime"}
    assert set(gpu) - set(everything) == {"onnxruntime-gpu"}
    assert gpu["onnxruntime-gpu"].extras == {"cuda", "cudnn"}
    assert constraints()["onnxruntime-gpu"] == constraints()["onnxruntime"]
    assert gpu["onnxruntime-gpu"].specifier.contains(constraints()["onnxruntime-gpu"])
    assert gpu["torch"].specifier.contains(constraints()["torch"])


def test_what_is_for_cuda_12_is_the_same_with_older_engines() -> None:
    """PyPI's onnxruntime-gpu is for CUDA 13 from 1.27 on, its torch from 2.11 on: other libraries."""
    gpu, older = extra_of("gpu"), extra_of("gpu-cuda12")
    assert set(older) - set(gpu) == {"cuda-python"}, "which tritonclient brings there"
    assert set(gpu) <= set(older)
    assert older["onnxruntime-gpu"].extras == {"cuda", "cudnn"}
    for name, last, first in (("onnxruntime-gpu", "1.26.0", "1.27.0"), ("torch", "2.10.0", "2.11.0")):
        assert older[name].specifier.contains(last)
        assert not older[name].specifier.contains(first)
        assert not gpu[name].specifier.contains(last)


def test_tensorrt_is_what_onnxruntime_is_linked_against() -> None:
    """A newer one has libraries of another name, which the provider does not find."""
    (wanted,) = extra_of("tensorrt").values()
    assert wanted.name == "tensorrt-cu13-libs"
    assert not wanted.specifier.contains(f"{TENSORRT_MAJOR + 1}.0.0")
    assert wanted.specifier.contains(f"{TENSORRT_MAJOR}.16.1")
