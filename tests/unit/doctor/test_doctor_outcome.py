"""The doctor says what a benchmark's own plan says, and its last line decides the exit code."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_servebench.checkup import CheckState, Checkup
from pytest_servebench.doctor.engine import EngineSeen
from pytest_servebench.doctor.gpu import MachineGpus
from pytest_servebench.doctor.judging import Seen, Unseen, checkup_of
from pytest_servebench.doctor.libraries import ONNXRUNTIME_GPU, CudaSeen, Package
from pytest_servebench.doctor.packages import JavaSeen, PackagesSeen
from pytest_servebench.doctor.quiet import CpuSeen
from pytest_servebench.doctor.serving import Question, check_question, merged
from pytest_servebench.doctor.space import DiskSeen, SpaceSeen
from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Stack
from pytest_servebench.launchers.docker.engine import EngineFacts
from pytest_servebench.options.given import Given
from pytest_servebench.options.placement import Surroundings
from pytest_servebench.options.planning import plan_for
from pytest_servebench.plan import MissingPiece, ModelFormat, Precision
from pytest_servebench.reports.doctor import doctor_json, doctor_lines
from pytest_servebench.telemetry.gpu_survey import GpuSeen, GpuSurvey
from tests.asking import offers
from tests.offered_stack import FASTAPI, ONNX, PYTORCH, TORCHSERVE, TRITON

NO_JAVA = MissingPiece(what="Java 17 or later", remedy='pip install "pytest-servebench[torchserve]"')
NO_DOCKER = EngineSeen(address="unix:///docker.sock", closed=errno.ENOENT)
WITH_DOCKER = EngineSeen(
    address="unix:///docker.sock", facts=EngineFacts(version="28"), has_package=True, compose="docker compose"
)
HERE = DiskSeen(path="/", free_bytes=10**12)
BARE = Seen(
    surroundings=Surroundings(logical_cores=2),
    engine=NO_DOCKER,
    gpus=MachineGpus(survey=GpuSurvey(absent="no NVIDIA driver"), on_bus=0),
    libraries=CudaSeen(),
    packages=PackagesSeen(absent="not looked for"),
    java=JavaSeen(version="25"),
    ports=(),
    space=SpaceSeen(cache=HERE, shared=HERE, memory_bytes=10**10, available_bytes=10**10),
    cpu=CpuSeen(usable_cores=2, online_cores=2),
    export=(),
    images_cuda={"the images": 13},
)
GPU_BOX = replace(
    BARE,
    surroundings=Surroundings(
        logical_cores=2, cuda_devices=("H100",), docker_engine="28", nvidia_runtime=True
    ),
    engine=replace(WITH_DOCKER, facts=EngineFacts(version="28", nvidia_runtime=True)),
    gpus=MachineGpus(survey=GpuSurvey(driver="580", cuda=(13, 0), gpus=(GpuSeen(name="H100", pids=()),))),
)
ALL = offers(FASTAPI, TRITON, TORCHSERVE)
LACKING = offers(FASTAPI, TRITON, replace(TORCHSERVE, lacks={ONNX: NO_JAVA, PYTORCH: NO_JAVA}))


def checkup(seen: Seen = BARE, offered: Mapping[str, Stack] | None = None, **asked: str) -> Checkup:
    """Return what the doctor says."""
    return checkup_of(Question(**asked), seen, offered or ALL)


def lines_of(found: Checkup, width: int = 80) -> list[str]:
    """Return the plain lines."""
    return doctor_lines(found, width=width, colour=False, encoding="utf-8")


def runs(found: Checkup) -> set[str]:
    """Return what would run, as ``stack/format/launcher``."""
    return {f"{one.stack}/{one.format}/{one.launcher}" for one in found.servings if one.runs}


def test_a_bare_machine_runs_local_processes() -> None:
    """Without engine and GPU all three run as processes, and the last line is what to type."""
    found = checkup()
    assert found.outcome.can_run
    assert (found.outcome.launcher, found.outcome.device) == ("process", "cpu")
    assert lines_of(found)[-1] == "--stack=all can run here: pytest benchmarks --stack=all"
    expected = {f"{name}/{form}/process" for name in ALL for form in ("onnx", "pytorch")}
    assert runs(found) == expected


def test_containers_on_a_gpu_are_what_auto_takes() -> None:
    """With an NVIDIA runtime it is docker and cuda:0, and no package here is needed for that."""
    found = checkup(GPU_BOX)
    assert (found.outcome.can_run, found.outcome.launcher, found.outcome.device) == (True, "docker", "cuda:0")
    assert "triton/onnx/docker" in runs(found)


def test_tensorrt_runs_where_a_plan_has_it() -> None:
    """In containers on a GPU, in every precision; on a CPU it does not, for the plan's reason."""
    on_gpu = {(one.stack, one.launcher): one for one in checkup(GPU_BOX).servings if one.format == "tensorrt"}
    found = on_gpu["triton", "docker"]
    assert (found.runs, found.precisions) == (True, tuple(map(str, Precision)))
    on_cpu = [one for one in checkup().servings if (one.stack, one.format) == ("triton", "tensorrt")]
    assert not any(one.runs for one in on_cpu)
    assert "tensorrt needs a CUDA device" in on_cpu[0].why_not


def test_no_package_is_asked_for_that_could_not_be_used() -> None:
    """What lacks both a GPU and packages is told of the GPU: no installation makes up for it."""
    bare = offers(replace(TRITON, lacks={ModelFormat.TENSORRT: NO_JAVA}))
    found = {one.launcher: one for one in checkup(offered=bare).servings if one.format == "tensorrt"}
    assert "tensorrt needs a CUDA device" in found["process"].why_not
    assert NO_JAVA.remedy not in found["process"].remedy


def test_what_to_type_names_the_benchmarks_where_they_lie() -> None:
    """A project that has installed the wheel has no folder of that name."""
    found = checkup(suite="site-packages/its/benchmarks")
    assert found.outcome.command == "pytest site-packages/its/benchmarks --stack=all"


def test_what_lacks_is_told_with_its_remedy_once() -> None:
    """The stack's own words are taken; the exit is not good, and what can run is proposed."""
    found = checkup(offered=LACKING)
    lines = lines_of(found)
    assert not found.outcome.can_run
    assert "torchserve/onnx/process" not in runs(found)
    told = [line for line in lines if NO_JAVA.remedy in line and "mend:" in line]
    assert len(told) == 2, "below the table, and at the end"
    assert lines[-1] == (
        "--stack=all cannot run here; once that is mended: pytest benchmarks --stack=all; "
        "what can now: pytest benchmarks --stack=available"
    )
    assert checkup(offered=LACKING, stack="fastapi,triton").outcome.can_run
    assert checkup(offered=LACKING, stack="available").outcome.can_run


def test_containers_that_were_asked_for_need_an_engine() -> None:
    """Asked for and not there is not good, and the engine's remedy stands in the matrix and its section."""
    found = checkup(launcher="docker")
    assert not found.outcome.can_run
    (engine,) = (check for check in found.checks if check.subject == "engine")
    assert (engine.state, engine.is_needed) == (CheckState.MISSING, True)
    stopped = {one.remedy for one in found.servings if one.launcher == "docker" and one.format == "onnx"}
    assert stopped == {engine.remedy}


def test_an_engine_far_away_starts_no_containers() -> None:
    """It answers, and sees no files of this machine: a plan alone would not notice."""
    far = replace(WITH_DOCKER, is_here=False, address="ssh://far")
    seen = replace(BARE, surroundings=Surroundings(logical_cores=2, docker_engine="28"), engine=far)
    found = checkup(seen, launcher="docker")
    assert "another machine (ssh://far)" in found.outcome.why_not
    assert not any(one.endswith("docker") for one in runs(found))


def test_a_gpu_that_was_asked_for_needs_a_gpu() -> None:
    """The driver is missing then, and the command keeps what was asked."""
    found = checkup(device="cuda:1")
    assert "no GPU can be used" in found.outcome.why_not
    assert found.outcome.command == "pytest benchmarks --stack=all --serve-device=cuda:1"


def test_local_processes_on_a_gpu_need_its_libraries() -> None:
    """A GPU that is there and packages that are built for CPUs: each is named, and what installs it."""
    seen = replace(
        GPU_BOX,
        surroundings=replace(GPU_BOX.surroundings, cuda_unusable="onnxruntime-gpu is not installed"),
    )
    asked = checkup(seen, launcher="process", device="cuda")
    assert not asked.outcome.can_run
    assert "CUDA libraries: torch: not installed" in asked.outcome.why_not
    assert {one.remedy for one in asked.servings if one.launcher == "process" and one.format == "onnx"} == {
        ONNXRUNTIME_GPU
    }
    loaded = checkup(GPU_BOX, launcher="process")
    assert (loaded.outcome.device, loaded.outcome.can_run) == ("cuda:0", False)
    assert "CUDA libraries: cuDNN: not found of version 9" in loaded.outcome.why_not


def test_all_extras_are_one_command() -> None:
    """A bare installation is mended by one line; what is no extra of ours follows, each once."""
    remedies = ('pip install "pytest-servebench[triton]"', "pip install 'pytest-servebench[models]'")
    told = merged([*remedies, "apt-get install bash", "\n".join(remedies), "apt-get install bash", ""])
    assert told == 'pip install "pytest-servebench[models,triton]"\napt-get install bash'
    lacks = {ONNX: NO_JAVA, PYTORCH: MissingPiece(what="torch", remedy=remedies[1])}
    offered = offers(replace(FASTAPI, lacks=lacks), replace(TRITON, lacks=lacks))
    found = checkup(offered=offered)
    assert found.outcome.remedy == 'pip install "pytest-servebench[models,torchserve]"'
    assert lines_of(found)[-1] == (
        "--stack=all cannot run here; once that is mended: pytest benchmarks --stack=all"
    )


def test_no_model_without_what_exports_one() -> None:
    """Every launcher serves a model that is exported here."""
    piece = MissingPiece(what="exporting resnet50 needs the package torch", remedy="pip install torch")
    found = checkup(replace(GPU_BOX, export=(piece,)))
    assert not found.outcome.can_run
    assert "exporting resnet50 needs the package torch" in found.outcome.why_not


def test_what_could_not_be_seen_is_said_and_the_rest_goes_on() -> None:
    """A look that hung is n/a in its section; an engine that hung starts no containers."""
    hung = Unseen("it did not answer in time")
    seen = replace(
        BARE,
        engine=hung,
        gpus=hung,
        libraries=hung,
        packages=hung,
        java=hung,
        ports=hung,
        space=hung,
        cpu=hung,
    )
    found = checkup(replace(seen, export=hung))
    assert {check.state for check in found.checks} == {CheckState.NOT_AVAILABLE}
    assert {check.seen for check in found.checks} == {hung.reason}
    assert not any(one.endswith("docker") for one in runs(found))
    assert found.outcome.can_run


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"stack": "tritn"}, "--stack does not know 'tritn': did you mean triton?"),
        ({"launcher": "dokcer"}, "--launcher"),
        ({"device": "gpu"}, "--device does not know 'gpu'"),
    ],
    ids=str,
)
def test_a_wrong_word_is_a_usage_error(asked: dict[str, str], told: str) -> None:
    """It names the option and what is allowed."""
    with pytest.raises(PlanError, match="use one of") as caught:
        check_question(Question(**asked), ALL)
    assert told in str(caught.value)


def test_remedies_are_never_wrapped() -> None:
    """What is to be copied stays one line however narrow the terminal is; all else keeps to it."""
    found = checkup(replace(BARE, engine=replace(WITH_DOCKER, has_package=False)), launcher="docker")
    lines = lines_of(found, width=40)
    assert '        mend: pip install "pytest-servebench[docker]"' in lines
    wide = [line for line in lines[:-3] if len(line) > 40 and "mend: " not in line]
    assert wide == []


def test_plain_terminals_have_plain_lines() -> None:
    """Without colour there is no escape, and an encoding without lines gets ASCII."""
    lines = doctor_lines(checkup(), width=80, colour=False, encoding="ascii")
    assert not any("\x1b" in line for line in lines)
    assert all(line.isascii() for line in lines)
    assert any("\x1b" in line for line in doctor_lines(checkup(), width=80, colour=True, encoding="utf-8"))


def test_programs_read_the_same() -> None:
    """JSON has the outcome, every pair and every check; what is not known is null, and remedies are lists."""
    told: dict[str, Any] = json.loads(doctor_json(checkup(offered=LACKING)))
    assert (told["schema"], told["can_run"], told["launcher"]) == (1, False, "process")
    assert told["asked"] == {"stack": "all", "launcher": "auto", "device": "auto"}
    assert len(told["stacks"]) == 3 * 3 * 2
    (torchserve,) = (
        one
        for one in told["stacks"]
        if (one["stack"], one["format"], one["launcher"]) == ("torchserve", "onnx", "process")
    )
    assert (torchserve["runs"], torchserve["remedy"]) == (False, [NO_JAVA.remedy])
    assert {one["state"] for one in told["checks"]} <= {str(state) for state in CheckState}
    nowhere = json.loads(doctor_json(checkup(launcher="docker")))
    assert nowhere["launcher"] is None


@pytest.mark.parametrize("seen", [BARE, GPU_BOX], ids=["cpu", "gpu"])
def test_precisions_are_those_that_a_plan_accepts(seen: Seen) -> None:
    """What is said to be computed here is planned when it is asked for by name, and the rest is refused."""
    servings = [one for one in checkup(seen).servings if one.runs]
    assert servings
    for one in servings:
        for precision in map(str, Precision):
            words = {"stack": one.stack, "format": one.format, "launcher": one.launcher, "dtype": precision}
            asked = {
                key: Given(flag=f"--serve-{key}" if key != "stack" else "--stack", text=word)
                for key, word in words.items()
            }
            if precision in one.precisions:
                plan = plan_for(asked, ALL, seen.surroundings)
                assert plan.precisions == (Precision(precision),)
            else:
                with pytest.raises(PlanError):
                    plan_for(asked, ALL, seen.surroundings)


def test_the_matrix_has_precisions() -> None:
    """A cell of the matrix names what is computed, and one that does not run none."""
    lines = lines_of(checkup(), width=120)
    row = next(line for line in lines if "fastapi" in line and "onnx" in line)
    assert row.split() == ["fastapi", "onnx", "fp32,", "int8", "no"]
    stopped = [one.precisions for one in checkup().servings if not one.runs]
    assert set(stopped) == {()}


def test_both_builds_of_onnxruntime_stop_a_gpu() -> None:
    """They break each other, and what is asked for on a GPU cannot run until one is gone."""
    broken = replace(GPU_BOX, libraries=CudaSeen(onnxruntime_twice=True))
    found = checkup(broken, launcher="process", device="cuda")
    assert not found.outcome.can_run
    assert "onnxruntime and onnxruntime-gpu are both installed" in found.outcome.why_not
    assert "pip uninstall -y onnxruntime onnxruntime-gpu && " in found.outcome.remedy


def test_a_variable_that_hides_the_gpus_is_told_where_they_are_looked_for() -> None:
    """It is the surroundings that know it, as a plan does."""
    hidden = replace(
        GPU_BOX,
        surroundings=replace(
            GPU_BOX.surroundings,
            cuda_devices=(),
            cuda_visible="",
            cuda_absent="CUDA_VISIBLE_DEVICES= names no GPU",
        ),
    )
    found = checkup(hidden, device="cuda")
    assert not found.outcome.can_run
    assert "unset CUDA_VISIBLE_DEVICES" in found.outcome.remedy


def test_remedies_are_what_the_driver_runs() -> None:
    """The newest packages are for CUDA 13, which a driver for CUDA 12 does not run."""
    old = MachineGpus(survey=GpuSurvey(driver="550.54", cuda=(12, 4), gpus=(GpuSeen(name="T4", pids=()),)))
    newest, older = (checkup(replace(GPU_BOX, gpus=gpus), launcher="process") for gpus in (GPU_BOX.gpus, old))
    assert '"onnxruntime-gpu[cuda,cudnn]"' in newest.outcome.remedy
    assert '"torch>=2.11"' in newest.outcome.remedy
    assert '"onnxruntime-gpu[cuda,cudnn]<1.27"' in older.outcome.remedy
    assert '"torch<2.11"' in older.outcome.remedy


def test_a_remedy_does_not_bring_the_other_build() -> None:
    """Where onnxruntime-gpu is installed, what a stack lacks comes with the extra gpu."""
    there = CudaSeen(onnxruntime=Package(distribution="onnxruntime-gpu", version="1.31.1", cuda="13.0"))
    lacking = MissingPiece(what="uvloop", remedy='pip install "pytest-servebench[fastapi]"')
    offered = offers(replace(FASTAPI, lacks={ONNX: lacking, PYTORCH: lacking}))
    asked = {"launcher": "process", "device": "cpu", "stack": "fastapi"}
    assert checkup(BARE, offered, **asked).outcome.remedy == lacking.remedy
    found = checkup(replace(BARE, libraries=there), offered, **asked)
    assert found.outcome.remedy == 'pip install "pytest-servebench[gpu]"'
