"""wheels.sh asks pip for the lists of the images named, and says what it does not know."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_servebench.folders.shipped import shipped

SCRIPT = shipped("deploy") / "wheels.sh"


@pytest.fixture
def pip(tmp_path: Path) -> Path:
    """Return an interpreter that writes down what its pip was asked, and fails where a file says so."""
    program = tmp_path / "python"
    fails = f'[ -e "{tmp_path}/fails" ] && case "$*" in *extra-index*) ;; *) exit 1 ;; esac'
    program.write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/asked"\n{fails}\nexit 0\n')
    program.chmod(0o755)
    return program


def run(pip: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it with that interpreter."""
    variables = {**os.environ, "PYTHON": str(pip), **environment}
    return subprocess.run(
        ["sh", str(SCRIPT), *arguments], env=variables, capture_output=True, text=True, check=False
    )


def asked(pip: Path) -> list[str]:
    """Return what pip was asked, a line each time."""
    return (pip.parent / "asked").read_text().splitlines()


def lists(pip: Path) -> list[str]:
    """Return the lists that pip was given, in order."""
    return [Path(word).stem for line in asked(pip) for word in line.split() if word.endswith(".txt")]


def test_all_images_of_a_cpu_are_the_default(pip: Path, tmp_path: Path) -> None:
    """Without names: the engines once, then each server; for Python 3.11, whatever Python downloads."""
    done = run(pip, str(tmp_path / "a folder"))
    assert done.returncode == 0, done.stderr
    assert lists(pip) == ["engines-cpu", "fastapi", "torchserve", "triton-cpu"]
    assert all("--python-version 3.11" in line for line in asked(pip))
    assert all("--only-binary :all:" in line and "--no-deps" in line for line in asked(pip))
    assert all(f"--dest {tmp_path / 'a folder'}" in line for line in asked(pip))
    assert (tmp_path / "a folder").is_dir()


def test_nvidias_triton_has_its_engines(pip: Path, tmp_path: Path) -> None:
    """For the image triton only what decodes images is fetched."""
    assert run(pip, str(tmp_path / "w"), "triton").returncode == 0
    assert lists(pip) == ["triton"]


def test_engines_of_a_gpu_come_with_what_they_pin_themselves(pip: Path, tmp_path: Path) -> None:
    """CUDA's packages are not listed one by one: torch names their versions; Ubuntu 24.04 has Python 3.12."""
    assert run(pip, str(tmp_path / "w"), "fastapi", ENGINES="cuda").returncode == 0
    engines, server = asked(pip)
    assert "engines-cuda.txt" in engines
    assert "--no-deps" not in engines
    assert "--no-deps" in server
    assert "--python-version 3.12" in engines


def test_the_cpu_build_of_torch_comes_from_its_own_index_where_pip_does_not_know_it(
    pip: Path, tmp_path: Path
) -> None:
    """First where pip already looks, then PyTorch's index, and only for the engines."""
    (tmp_path / "fails").touch()
    run(pip, str(tmp_path / "w"), "fastapi")
    first, second = asked(pip)[:2]
    assert "--extra-index-url" not in first
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in second


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("w", "nope"), {}, "no image is called nope: fastapi torchserve triton-cpu triton"),
        (("w",), {"ENGINES": "tpu"}, "ENGINES is tpu: allowed are cpu and cuda"),
    ],
)
def test_what_it_does_not_know_it_says(
    pip: Path, tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    """A wrong name ends it with what is allowed, and nothing is fetched."""
    folder, *names = arguments
    done = run(pip, str(tmp_path / folder), *names, **environment)
    assert (done.returncode, done.stderr.strip()) == (2, said)
    assert not (pip.parent / "asked").exists()
