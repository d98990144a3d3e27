"""The doctor on this very machine: it ends soon, agrees with pytest, and imports nothing that computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.doc_blocks import ROOT, blocks_of
from tests.nvml_stand_in import StandInGpu, build_nvml_stand_in

pytestmark = pytest.mark.live

HEAVY = ("torch", "onnxruntime", "tensorrt", "cuda", "tritonclient", "ts", "numba", "cupy")
COLLECTED = ("--stack=available", "--collect-only")
PROGRAM = f"""
import sys
from pytest_servebench.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
imported = [name for name in {HEAVY!r} if name in sys.modules]
libraries = [line for line in open("/proc/self/maps") if "libcudart" in line or "libcudnn" in line]
print(imported, libraries, file=sys.stderr)
sys.exit(code)
"""


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Return how a call in a process of its own ended."""
    return subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, "doctor", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_says_what_runs_here_and_loads_none_of_it() -> None:
    """All three are installed for these tests, so all run as processes; no library for CUDA is loaded."""
    done = doctor("--launcher=process", "--device=cpu")
    assert done.returncode == 0, done.stdout
    assert done.stderr == "[] []\n"
    command = "pytest benchmarks --stack=all --serve-launcher=process --serve-device=cpu"
    assert done.stdout.splitlines()[-1] == f"--stack=all can run here: {command}"
    assert "noise: measured now:" in done.stdout


def test_it_agrees_with_pytest(tmp_path: Path) -> None:
    """What it says of launcher and device is what the header of a session says."""
    told: dict[str, Any] = json.loads(doctor("--no-noise", "--json").stdout)
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            str(ROOT / "benchmarks"),
            *COLLECTED,
        ],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "400"},  # a long reason is wrapped otherwise
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    for what in ("launcher", "device"):
        assert f"servebench {what}: {told[what]} ({told[f'{what}_reason']})" in done.stdout, done.stdout[
            :2000
        ]


def test_what_cannot_run_ends_with_1_and_wrong_words_with_2() -> None:
    """A GPU that no machine has cannot be used; a device that is none is no device."""
    absent = doctor("--no-noise", "--device=cuda:99")
    assert absent.returncode == 1
    assert absent.stdout.splitlines()[-1].startswith(
        "--stack=all cannot run here; once that is mended: pytest"
    )
    wrong = doctor("--no-noise", "--device=gpu")
    assert wrong.returncode == 2
    assert "--device does not know 'gpu'" in wrong.stderr


def test_a_gpu_is_told_as_nvml_tells_it(tmp_path: Path) -> None:
    """By the real nvidia-ml-py on a stand-in for its library: driver, CUDA, name, and who is on it."""
    stand_in = build_nvml_stand_in(tmp_path)
    gpu = StandInGpu(name="NVIDIA H100", memory_bytes=10**9, persistence=0, processes={os.getpid(): 5})
    stand_in.say(gpu, cuda_version=12040)
    told = json.loads(doctor("--no-noise", "--json", **stand_in.environment()).stdout)
    seen = {one["subject"]: (one["state"], one["seen"]) for one in told["checks"] if one["section"] == "GPU"}
    assert seen["driver"] == ("ok", "550.54, for CUDA up to 12.4")
    assert seen["CUDA of the image triton"][0] == "warning"
    assert "NVIDIA H100" in seen["cuda:0"][1]
    assert f"({os.getpid()}) on it" in seen["cuda:0 users"][1]
    assert seen["cuda:0 persistence"][0] == "warning"


def test_json_has_the_documented_shape() -> None:
    """The keys are those of docs/doctor.md, of the whole and of what its lists hold."""
    (shape,) = (
        json.loads(block.body)
        for block in blocks_of(ROOT / "docs" / "doctor.md")
        if block.body.startswith("{")
    )
    told = json.loads(doctor("--no-noise", "--json").stdout)
    assert told.keys() == shape.keys()
    assert told["asked"] == shape["asked"]
    for each in ("stacks", "checks"):
        assert {frozenset(one) for one in told[each]} == {frozenset(shape[each][0])}
