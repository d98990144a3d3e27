from __future__ import annotations

import json
import platform

from pytest_servebench.telemetry.gpu_devices import Gpus
from pytest_servebench.telemetry.machine import machine_facts


def test_facts_go_into_a_record() -> None:
    """The facts survive JSON, and those every machine has are there."""
    facts = machine_facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["cores_logical"] >= facts["cores_usable"] >= 1
    assert facts["memory_bytes"] > 2**27
    assert facts["python"].endswith(platform.python_version())
    assert facts["packages"]["pytest"]


def test_a_package_that_is_missing_is_none() -> None:
    """A package that is not installed has no version; it is not left out in silence."""
    versions = machine_facts()["packages"]
    assert all(version is None or version for version in versions.values())
    assert "onnxruntime-gpu" in versions


def test_gpus_are_taken_as_given() -> None:
    """GPU names and driver come from what was read, or the reason does."""
    with_gpu = machine_facts(Gpus(names=("RTX 4090",), driver="550.54"))
    assert (with_gpu["gpus"], with_gpu["gpu_driver"], with_gpu["gpu_absent"]) == (
        ["RTX 4090"],
        "550.54",
        None,
    )
    without = machine_facts(Gpus(absent="no NVIDIA driver"))
    assert (without["gpus"], without["gpu_driver"], without["gpu_absent"]) == ([], None, "no NVIDIA driver")
