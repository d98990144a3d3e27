"""The lists of packages in images: pinned as everywhere else, complete, and nothing twice."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pytest_servebench.shipped import shipped

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
    """Both lists differ in the builds of onnxruntime and torch, and in what those builds need."""
    cpu, cuda = pins("engines-cpu"), pins("engines-cuda")
    assert set(cpu) - set(cuda) == {"onnxruntime"}
    assert set(cuda) - set(cpu) == {"onnxruntime-gpu", "cuda-bindings", "cuda-pathfinder"}
    assert all(cuda[name] == cpu[name] for name in set(cpu) & set(cuda))
    text = (LISTS / "engines-cuda.txt").read_text(encoding="utf-8")
    assert "torch===" in text, "with == the CPU's build would do as well"
