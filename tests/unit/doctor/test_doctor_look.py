"""What is looked at is found where it lies, and nothing that hangs keeps the doctor waiting."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.doctor.engine import EngineSeen, engine_problem
from pytest_servebench.doctor.judging import Unseen
from pytest_servebench.doctor.libraries import Package
from pytest_servebench.doctor.look import Deadline, Glance
from pytest_servebench.doctor.look_cuda import (
    LIBCUDA,
    kernel_driver,
    libcuda_in,
    libraries_in,
    look_for_libraries,
    on_bus,
    tensorrt_wanted,
)
from pytest_servebench.doctor.look_engine import look_at_engine
from pytest_servebench.doctor.look_machine import (
    Watch,
    look_at_cpu,
    look_at_packages,
    look_at_ports,
    look_for_java,
    measure_noise,
)
from pytest_servebench.doctor.quiet import NoiseSeen
from pytest_servebench.launchers.docker.engine import EngineFacts, engine_facts
from pytest_servebench.launchers.ports import free_ports
from pytest_servebench.telemetry.gpu_survey import GpuSeen, GpuSurvey
from tests.jumping_clock import JumpingClock
from tests.nvml_stand_in import Fault, NvmlStandIn, StandInGpu, build_nvml_stand_in
from tests.unit.telemetry.test_cgroup import Machine, put

SURVEY = """
import json, sys
from dataclasses import asdict
from pytest_servebench.telemetry.gpu_survey import survey_gpus
for _ in sys.stdin:
    print(json.dumps(asdict(survey_gpus())), flush=True)
"""


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the environment of an engine that takes connections and never answers."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        yield {**os.environ, "DOCKER_HOST": f"unix://{path}"}


def engine_at(path: Path, **environment: str) -> EngineSeen:
    """Return what is seen of an engine at a socket."""
    at = {"PATH": str(path.parent), "DOCKER_HOST": f"unix://{path}", **environment}
    return look_at_engine(engine_facts(at), at)


def test_an_engine_that_hangs_is_given_up(hanging: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody listens and nobody answers: that is said, with the command, within the time of a question."""
    monkeypatch.setattr("pytest_servebench.launchers.docker.engine.TIMEOUT_S", 0.2)
    seen = look_at_engine(engine_facts(hanging), {**hanging, "PATH": "/nowhere"})
    assert (seen.closed, seen.facts.version) == (None, "")
    problem, remedy = engine_problem(seen)
    assert problem.startswith("one listens, and does not answer")
    assert "restart" in remedy


def test_no_socket_and_a_socket_without_a_listener_are_told_apart(tmp_path: Path) -> None:
    """The errno decides between an engine that is not there and one that is not running."""
    path = tmp_path / "docker.sock"
    assert engine_at(path).closed == errno.ENOENT
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert engine_at(path).closed == errno.ECONNREFUSED


def test_an_address_elsewhere_is_not_knocked_at(tmp_path: Path) -> None:
    """Of an engine on another machine only the address is told."""
    far = look_at_engine(EngineFacts(), {"PATH": str(tmp_path), "DOCKER_HOST": "tcp://192.0.2.1:2375"})
    assert (far.is_here, far.closed) == (False, None)
    unknown = look_at_engine(
        EngineFacts(),
        {"PATH": str(tmp_path), "DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "far"},
    )
    assert "docker context far has no engine" in engine_problem(unknown)[0]


def test_what_hangs_is_left_behind() -> None:
    """After the deadline a look that has not come back is n/a, and one that fails says why."""
    clock, never = JumpingClock(), threading.Event()
    passed, far = Deadline(clock, clock.now_ns()), Deadline(clock, clock.now_ns() + 60 * 10**9)

    def fail() -> None:
        raise ValueError("broken")

    try:
        assert Glance(never.wait, passed).seen() == Unseen("it did not answer in time")
        assert Glance(fail, far).seen() == Unseen("ValueError: broken")
        assert Glance(lambda: 7, far).seen() == 7
    finally:
        never.set()


def test_a_port_that_somebody_has_is_taken(tmp_path: Path) -> None:
    """The holder is this very process, which may see itself."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        free = free_ports(("GRAFANA_PORT",))["GRAFANA_PORT"]
        environment = {
            "FASTAPI_PORT": str(port),
            "GRAFANA_PORT": str(free),
            "SERVEBENCH_STATE": str(tmp_path),
        }
        ports = {each.variable: each for each in look_at_ports(environment)}
    assert ports["FASTAPI_PORT"].is_taken
    assert ports["FASTAPI_PORT"].holder.endswith(f"({os.getpid()})")
    assert not ports["GRAFANA_PORT"].is_taken
    assert len(ports) == 9


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where JAVA_HOME's ``java`` shall be written; there is no other one."""
    monkeypatch.setattr("pytest_servebench.stacks.java.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin" / "java"


def write(program: Path, script: str) -> None:
    """Write a program."""
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def test_a_java_is_run_for_its_version(java: Path) -> None:
    """One that tells it is well, one that ends otherwise is not, and none is none."""
    assert look_for_java().path == ""
    write(java, "echo 'openjdk version \"21.0.1\"' >&2")
    assert look_for_java().version == 'openjdk version "21.0.1"'
    write(java, "exit 3")
    seen = look_for_java()
    assert (seen.path, seen.version) == (str(java), "")
    assert "exit status 3" in seen.problem


def test_a_java_that_is_too_old_is_named(java: Path) -> None:
    """It is not run: what its home says is enough."""
    write(java, "exit 3")
    (java.parent.parent / "release").write_text('JAVA_VERSION="11.0.2"\n', encoding="utf-8")
    seen = look_for_java()
    assert (seen.path, seen.too_old) == ("", str(java))


def test_packages_are_those_of_our_own_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are the installed ones; without metadata that is said."""
    seen = look_at_packages()
    assert seen.installed["pytest"] == metadata.version("pytest")
    assert "triton" in seen.extras

    def none(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", none)
    assert "is not installed" in look_at_packages().absent


def test_libraries_are_found_as_files(tmp_path: Path) -> None:
    """Links lead to the full version, one library has one line, and other files are none."""
    (tmp_path / "libcudnn.so.9.10.2").touch()
    (tmp_path / "libcudnn.so.9").symlink_to("libcudnn.so.9.10.2")
    (tmp_path / "libcublas.so.12").touch()
    (tmp_path / "libcublasLt.so.13").touch()
    (tmp_path / "libcudnn_ops.so.9").touch()
    (tmp_path / "libcudart.so.13").symlink_to("gone")
    found = libraries_in(iter(sorted(tmp_path.iterdir())))
    assert {name: [each.version for each in all_of] for name, all_of in found.items()} == {
        "cudnn": ["9.10.2"],
        "cublas": ["12"],
        "cublasLt": ["13"],
    }


def test_builds_are_told_by_files_and_not_by_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CUDA of each stands in a file of it, torchvision's in its version; without, it is for CPUs."""
    for name, file, text in (
        ("torch", "version.py", "cuda: Optional[str] = '13.0'\n"),
        ("onnxruntime", "capi/build_and_package_info.py", "cuda_version = '12.8'\n"),
        # As in the wheel on PyPI, whose metadata says 0.29.2.
        ("torchvision", "version.py", "__version__ = '0.29.2+cu132'\n    cuda = _check_cuda_version()\n"),
    ):
        (tmp_path / name / file).parent.mkdir(parents=True)
        (tmp_path / name / file).write_text(text, encoding="utf-8")
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")
        (tmp_path / f"{name}-9.dist-info").mkdir()
        (tmp_path / f"{name}-9.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 9\n", encoding="utf-8"
        )
    (tmp_path / "nvidia" / "cudnn" / "lib").mkdir(parents=True)
    (tmp_path / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("torch", "onnxruntime", "torchvision"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    seen = look_for_libraries({})
    assert seen.torch
    assert (seen.torch.version, seen.torch.cuda) == ("9", "13.0")
    assert seen.onnxruntime
    assert seen.onnxruntime.cuda == "12.8"
    assert seen.torchvision
    assert seen.torchvision.cuda == "13.2"
    (tmp_path / "torchvision" / "version.py").write_text("__version__ = '0.29.2+cpu'\n", encoding="utf-8")
    assert look_for_libraries({}).torchvision == Package(distribution="torchvision", version="9")
    assert str(tmp_path) in seen.libraries["cudnn"][0].path


def test_gpus_on_the_bus_are_counted(tmp_path: Path) -> None:
    """NVIDIA's display devices count, its other devices and others' GPUs do not."""
    for name, vendor, kind in (
        ("0", "0x10de", "0x030200"),
        ("1", "0x10de", "0x040300"),
        ("2", "0x8086", "0x030000"),
    ):
        put(tmp_path / name, vendor=vendor, **{"class": kind})
    assert on_bus(tmp_path) == 1
    assert on_bus(tmp_path / "none") is None


def test_the_kernels_driver_tells_its_version(tmp_path: Path) -> None:
    """Both of NVIDIA's modules are understood; none is an empty text."""
    file = tmp_path / "version"
    for kind in ("NVIDIA UNIX x86_64 Kernel Module", "NVIDIA UNIX Open Kernel Module for x86_64"):
        file.write_text(f"NVRM version: {kind}  580.65.06  Sun Jul 27 07:19:08 UTC 2025\n", encoding="utf-8")
        assert kernel_driver(file) == "580.65.06"
    assert kernel_driver(tmp_path / "none") == ""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> NvmlStandIn:
    """Return NVIDIA's libraries without a GPU."""
    return build_nvml_stand_in(tmp_path_factory.mktemp("stand-in"))


def survey_of(told: Any) -> GpuSurvey:
    """Return a survey from its JSON."""
    gpus = tuple(
        GpuSeen(**{**each, "pids": None if each["pids"] is None else tuple(each["pids"])})
        for each in told["gpus"]
    )
    return GpuSurvey(**{**told, "gpus": gpus, "cuda": told["cuda"] and tuple(told["cuda"])})


def test_nvml_tells_driver_cuda_and_every_gpu(stand_in: NvmlStandIn) -> None:
    """What it does not say is None; what keeps it from speaking is the reason."""
    well = StandInGpu(
        name="H100", memory_bytes=7, memory_total_bytes=9, persistence=1, processes={71: 5}, is_split=True
    )
    with stand_in.asking(SURVEY) as ask:
        stand_in.say(well, StandInGpu(processes=Fault.NO_PERMISSION), cuda_version=13020)
        seen = survey_of(ask())
        assert (seen.driver, seen.cuda, seen.absent) == ("550.54", (13, 2), "")
        assert seen.gpus[0] == GpuSeen(
            name="H100", memory_bytes=9, used_bytes=7, is_split=True, is_persistent=True, pids=(71,)
        )
        assert (seen.gpus[1].is_persistent, seen.gpus[1].pids) == (None, None)
        stand_in.say(StandInGpu())
        assert survey_of(ask()).cuda is None
    stand_in.say(fault=Fault.LIB_RM_VERSION_MISMATCH)
    with stand_in.asking(SURVEY) as ask:
        assert "NVML/RM version mismatch" in survey_of(ask()).absent


@pytest.mark.parametrize("v2", [True, False], ids=["v2", "v1"])
def test_limits_of_a_cgroup_are_the_tightest_above_it(tmp_path: Path, *, v2: bool) -> None:
    """A limit of CPU time is in cores; where nothing limits, there is none."""
    from pytest_servebench.telemetry.cgroup import cgroup_of

    machine = Machine(tmp_path, v2=v2)
    machine.use("a", 0, 0, 0)
    machine.use("a/b", 0, 0, 0)
    machine.process(7, "/a/b")
    cpu, memory = (machine.fs, machine.fs) if v2 else (machine.fs / "cpu,cpuacct", machine.fs / "memory")
    found = cgroup_of(7, proc=machine.proc, mounts=machine.mounts)
    assert found
    assert (found.cpu_limit_cores(), found.memory_limit_bytes()) == (None, None)
    if v2:
        put(cpu / "a", cpu__max="150000 100000", memory__max="1000")
        put(cpu / "a/b", cpu__max="max 100000", memory__max="max")
    else:
        put(cpu / "a", cpu__cfs_quota_us="150000", cpu__cfs_period_us="100000")
        put(cpu / "a/b", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
        put(memory / "a", memory__limit_in_bytes="1000")
        put(memory / "a/b", memory__limit_in_bytes="9223372036854771712")
    assert (found.cpu_limit_cores(), found.memory_limit_bytes()) == (1.5, 1000)


def test_governor_turbo_and_clock_are_read_where_they_are(tmp_path: Path) -> None:
    """Each governor is told once; a system without these files tells none."""
    for core, governor in enumerate(("powersave", "powersave", "performance")):
        put(tmp_path / f"cpu{core}" / "cpufreq", scaling_governor=governor)
    put(tmp_path / "intel_pstate", no_turbo="1")
    put(tmp_path, source="tsc")
    seen = look_at_cpu(Watch(MonotonicClock()), NoiseSeen(), tmp_path, tmp_path / "source")
    assert seen.governors == ("performance", "powersave")
    assert (seen.turbo, seen.clock_source) == (False, "tsc")
    bare = look_at_cpu(Watch(MonotonicClock()), NoiseSeen(), tmp_path / "x", tmp_path / "x")
    assert (bare.governors, bare.turbo, bare.clock_source) == ((), None, "")


def test_noise_is_measured_as_long_as_it_is_told() -> None:
    """Pieces fill the time, each with how long it took."""
    seen = measure_noise(MonotonicClock(), duration_s=0.05)
    assert seen.pieces_ms
    assert sum(seen.pieces_ms) >= 50
    assert seen.cpu_share is not None


def test_nvml_tells_modes_and_capabilities(stand_in: NvmlStandIn) -> None:
    """Who may compute on a GPU and what it can are told as they are; a mode that is not said is empty."""
    stand_in.say(StandInGpu(compute_mode=3, capability=75), StandInGpu())
    with stand_in.asking(SURVEY) as ask:
        one, mute = survey_of(ask()).gpus
    assert (one.compute_mode, tuple(one.capability or ())) == ("exclusive", (7, 5))
    assert (mute.compute_mode, mute.capability) == ("", None)


def test_the_drivers_library_is_found_as_a_file(tmp_path: Path) -> None:
    """A link that leads nowhere is not the library."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / LIBCUDA).symlink_to("gone")
    assert libcuda_in(iter([tmp_path / "broken" / LIBCUDA])) == ""
    (tmp_path / LIBCUDA).touch()
    assert libcuda_in(iter([tmp_path / "broken" / LIBCUDA, tmp_path / LIBCUDA])) == str(tmp_path / LIBCUDA)


def test_the_tensorrt_that_a_provider_wants_is_read_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the name of the library that it is linked against; without a provider none is wanted."""
    monkeypatch.syspath_prepend(str(tmp_path))
    capi = tmp_path / "someruntime" / "capi"
    capi.mkdir(parents=True)
    (tmp_path / "someruntime" / "__init__.py").touch()
    assert tensorrt_wanted("someruntime") is None
    (capi / "libonnxruntime_providers_tensorrt.so").write_bytes(
        b"\x7fELF\x00libnvinfer.so.10\x00libc.so.6\x00"
    )
    assert tensorrt_wanted("someruntime") == 10
    assert tensorrt_wanted("nosuchruntime") is None
