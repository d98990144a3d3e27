"""The Dockerfiles: what they begin with, that engines are built once for all, that nobody is root."""

from __future__ import annotations

import re

import pytest

from pytest_servebench.folders.shipped import shipped
from pytest_servebench.stacks import images

NAMES = ("fastapi", "torchserve", "triton", "triton-cpu")
WITH_ENGINES = ("fastapi", "torchserve", "triton-cpu")
each_name = pytest.mark.parametrize("name", NAMES)


def text_of(name: str) -> str:
    """Return a Dockerfile's text."""
    return (shipped("deploy") / f"{name}.Dockerfile").read_text(encoding="utf-8")


def test_bases_are_those_of_the_stacks() -> None:
    """A build by hand begins with what the launcher's begins with."""
    pinned = {
        "fastapi": images.CUDA_BASE,
        "torchserve": images.CUDA_BASE,
        "triton": images.TRITON_BASE,
        "triton-cpu": images.CPU_BASE,
    }
    for name, base in pinned.items():
        assert re.findall(r"^ARG BASE=(.*)$", text_of(name), re.MULTILINE) == [base]
        assert re.search(r":\d[\w.-]*$", base), "a base is pinned by a version"
    for name in ("fastapi", "torchserve"):
        assert f"BASE={images.CPU_BASE}" in text_of(name), "the CPU's build is shown"


def test_engines_are_built_once_for_all_images() -> None:
    """The stages of the engines are equal line for line, so that an engine's cache gives the second image."""
    stages = {
        re.search(r"^FROM \$\{BASE\} AS python$.*?(?=^FROM engines)", text_of(name), re.MULTILINE | re.DOTALL)
        for name in WITH_ENGINES
    }
    texts = {match[0] for match in stages if match is not None}
    assert len(stages) == len(WITH_ENGINES)
    assert len(texts) == 1
    # A layer is shared by those that lie on equal ones.
    assert all(
        "\nFROM python\nCOPY --from=engines /opt/venv /opt/venv\n" in text_of(name) for name in WITH_ENGINES
    )


@each_name
def test_nobody_is_root_and_nothing_is_inside(name: str) -> None:
    """The last user is not root; no handler and no model is copied in."""
    text = text_of(name)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "1000:1000"
    copied = re.findall(r"^COPY (.*)$", text, re.MULTILINE)
    assert copied
    assert all(one.startswith(("requirements/", "--from=")) for one in copied)
    assert "--mount" not in text, "the classic builder has none"


@each_name
def test_what_is_copied_is_given(name: str) -> None:
    """Every list that a Dockerfile copies exists, for both kinds of engines."""
    for listed in re.findall(r"requirements/(\S+)", text_of(name)):
        for engines in ("cpu", "cuda"):
            path = shipped("deploy") / "requirements" / listed.replace("${ENGINES}", engines)
            assert path.is_file()
