"""The session: which launcher each stack has, one measurement at a time, and answers by name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench import session
from pytest_servebench.containers import ContainerSettings
from pytest_servebench.held import Held
from pytest_servebench.launchers.attach import AttachLauncher
from pytest_servebench.launchers.docker import DockerLauncher
from pytest_servebench.launchers.process import ProcessLauncher
from pytest_servebench.leasing.lanes import Gpu, lanes_of
from pytest_servebench.plan import (
    Artifact,
    Device,
    Image,
    InputDtype,
    LauncherKind,
    ModelFormat,
    Plan,
    Precision,
)
from pytest_servebench.results import CaseResult, Validity
from pytest_servebench.session import BenchSession, Servebench
from pytest_servebench.stacks import built_in_stacks
from tests.echo_house import Onlooker, case, deployment
from tests.echo_stack import Echo, echo_artifact, echo_images, echo_reference
from tests.recorded_onnxruntime import FLOAT16, onnx_file

ELSEWHERE = (Gpu(0, "GPU-d", 3), Gpu(1, "GPU-b", 1))
"""GPUs of servers, in an order that is not that of the machine."""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BenchSession]:
    """Return a session with one echo stack, which really starts."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(
        session, "artifact", lambda model, model_format, _, **_kind: echo_artifact(model, model_format)
    )
    monkeypatch.setattr(session, "reference_logits", lambda _, images: echo_reference(images))
    monkeypatch.setattr(session, "image_set", lambda _name, _card, count, _seed: echo_images(count))
    session._image_set.cache_clear()
    one = BenchSession(Plan(stacks=("echo",)), {"echo": Echo()}, lambda: tmp_path / "servers")
    yield one
    one.close()
    session._image_set.cache_clear()


def test_the_file_served_is_that_of_the_precision_and_the_input(
    opened: BenchSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment in fp16 for pixels is served by the file made for both."""
    asked: list[object] = []

    def made(model: str, model_format: ModelFormat, _cache: Path, **kind: object) -> Artifact:
        asked.append(kind)
        return echo_artifact(model, model_format)

    monkeypatch.setattr(session, "artifact", made)
    wanted = replace(deployment(), precision=Precision.FP16, input_dtype=InputDtype.UINT8)
    opened.artifact_sha256(wanted)
    assert asked == [{"precision": Precision.FP16, "input_dtype": InputDtype.UINT8, "cast": True}]


def test_torchscript_is_what_torch_tensorrt_compiles(
    opened: BenchSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchServe's tensorrt is given a TorchScript file, the others ONNX: neither compiler reads both."""
    asked: list[ModelFormat] = []

    def made(model: str, model_format: ModelFormat, _cache: Path, **_kind: object) -> Artifact:
        asked.append(model_format)
        return echo_artifact(model, model_format)

    monkeypatch.setattr(session, "artifact", made)
    stacks = {stack.name: stack for stack in built_in_stacks()}
    several = BenchSession(Plan(stacks=tuple(stacks)), stacks, lambda: Path("servers"))
    compiled = [replace(deployment(), stack=name, format=ModelFormat.TENSORRT) for name in stacks]
    for one in (*compiled, replace(deployment(), stack="torchserve")):
        assert several._artifact(one).format is one.format
    by_stack = dict(zip((*stacks, "as it is"), asked, strict=True))
    onnx = ModelFormat.ONNX
    assert by_stack.pop("torchserve") is ModelFormat.PYTORCH
    assert by_stack == {"fastapi": ModelFormat.TENSORRT, "triton": ModelFormat.TENSORRT, "as it is": onnx}


def test_nothing_is_up_before_it_is_needed(opened: BenchSession) -> None:
    """A session that measures nothing launches nothing and has nothing to close."""
    assert opened.log_tail("echo") == ""
    opened.close()
    assert "pool" not in vars(opened)


def test_a_stack_with_an_address_is_attached_and_others_are_launched() -> None:
    """The launcher follows from the plan, stack by stack."""
    plan = Plan(stacks=("echo", "far"), attached={"far": "http://127.0.0.1:9"})
    opened = BenchSession(plan, {}, Path)
    assert isinstance(opened._launcher("far"), AttachLauncher)
    assert isinstance(opened._launcher("echo"), ProcessLauncher)


def test_a_plan_of_containers_launches_containers() -> None:
    """Where the launcher is docker, whatever is not attached runs in a container, as asked for."""
    plan = Plan(
        stacks=("echo", "far"),
        attached={"far": "http://127.0.0.1:9"},
        launcher=LauncherKind.DOCKER,
        device=Device("cuda", 1),
        container=ContainerSettings(user="7:7"),
        host="192.0.2.7",
    )
    opened = BenchSession(plan, {}, Path)
    assert isinstance(opened._launcher("far"), AttachLauncher)
    launcher = opened._launcher("echo")
    assert isinstance(launcher, DockerLauncher)
    asked = launcher._surround
    assert (asked.device, asked.user, asked.host) == (Device("cuda", 1), "7:7", "192.0.2.7")
    # What servers see as their first GPU may be another one of the machine's.
    plan = replace(plan, device=Device("cuda", 0), lanes=lanes_of((ELSEWHERE[:1],), ()))
    launcher = BenchSession(plan, {}, Path)._launcher("echo")
    assert isinstance(launcher, DockerLauncher)
    assert launcher._surround.device == Device("cuda", 3)
    plan = replace(plan, device=Device("cuda", 0, (1,)), lanes=lanes_of((ELSEWHERE,), ()))
    launcher = BenchSession(plan, {}, Path)._launcher("echo")
    assert isinstance(launcher, DockerLauncher)
    assert launcher._surround.device == Device("cuda", 3, (1,))
    assert launcher._surround.part == ""


def test_a_container_is_given_the_part_of_a_gpu_that_was_named() -> None:
    """CUDA_VISIBLE_DEVICES=MIG-... does not reach into a container, whose engine is told the part's UUID."""
    lanes = lanes_of(((Gpu(0, "MIG-c6d4", 3),),), ())
    plan = Plan(stacks=("echo",), launcher=LauncherKind.DOCKER, device=Device("cuda", 0), lanes=lanes)
    launcher = BenchSession(plan, {}, Path)._launcher("echo")
    assert isinstance(launcher, DockerLauncher)
    assert launcher._surround.part == "MIG-c6d4"


@pytest.mark.parametrize(
    ("cpu_sets", "kept_to", "told"),
    [((), (1, 3), "1,3"), ((), (), ""), (((2,),), (1, 2), "2")],
    ids=["taskset", "all cores", "a lane of its own"],
)
def test_a_container_is_kept_to_our_cores(
    monkeypatch: pytest.MonkeyPatch,
    cpu_sets: tuple[tuple[int, ...], ...],
    kept_to: tuple[int, ...],
    told: str,
) -> None:
    """The engine starts it, so it inherits nothing: the record's cores are true only if it is told them."""
    monkeypatch.setattr(session, "narrowed", lambda: kept_to)
    plan = Plan(stacks=("echo",), launcher=LauncherKind.DOCKER, lanes=lanes_of((), cpu_sets))
    launcher = BenchSession(plan, {}, Path)._launcher("echo")
    assert isinstance(launcher, DockerLauncher)
    assert launcher._surround.cpu_set == told


def test_a_case_is_measured_from_launch_to_telemetry(opened: BenchSession) -> None:
    """All rooms at once, with a real server: valid, verified, timed, and its process tree was read."""
    results: list[CaseResult] = []
    bench = Servebench(opened, lambda _: nullcontext(Onlooker()), results.append)
    result = bench.measure(case(concurrency=2))
    assert results == [result]
    assert result.validity is Validity.VALID, result.reason
    assert result.endpoint.launcher == "process"
    assert result.cold_start_s is not None
    assert 0 < result.cold_start_s < 5
    assert result.telemetry.server_memory_bytes
    assert result.telemetry.batch_size_achieved == 1
    assert opened.log_tail("echo").endswith("serving resnet50_onnx")
    opened.close()
    assert opened.log_tail("echo") == ""


def test_answers_carry_their_names(opened: BenchSession) -> None:
    """What is asked comes back by image name, with the class names of ImageNet, and is not recorded."""
    results: list[CaseResult] = []
    bench = Servebench(opened, lambda _: nullcontext(Onlooker()), results.append)
    answers = bench.ask(case(items=4))
    reference = echo_reference(echo_images(16)).argmax(axis=1)
    assert list(answers) == [f"image-{i}" for i in range(16)]
    assert [one.class_ids[0] for one in answers.values()] == reference.tolist()
    assert all(one.reference_class_id == one.class_ids[0] for one in answers.values())
    assert all(isinstance(one.class_names[0], str) for one in answers.values())
    assert results == []


def test_what_a_test_makes_itself_belongs_to_its_repeat(opened: BenchSession) -> None:
    """A case without a number, measured in a replicate, is one of the same, with the same server."""
    results: list[CaseResult] = []
    for repeat in (1, 2):
        bench = Servebench(opened, lambda _: nullcontext(Onlooker()), results.append, repeat=repeat)
        bench.measure(replace(case(), repeat=repeat))
        bench.measure(case(concurrency=2))
    assert [result.case.repeat for result in results] == [1, 1, 2, 2]
    assert [result.cold_start_s is not None for result in results] == [True, False, True, False]
    assert opened.pool.starts == ["echo"] * 2


class Waited(Exception):  # noqa: N818 (no error: how a test learns that somebody waits)
    """Somebody would wait."""


def refuse_to_wait(text: str, _waited_s: float) -> None:
    """Be told what is waited for, and end the waiting."""
    raise Waited(text)


def test_no_two_measurements_at_once(opened: BenchSession) -> None:
    """Another session's window is waited for; the locks are this user's, among the temporary files."""
    other = BenchSession(opened.plan, {}, Path, tell=refuse_to_wait)
    with opened.rooms.measuring(case()):
        (folder,) = Path(tempfile.gettempdir()).glob("servebench-leases-*")
        assert folder.name == f"servebench-leases-{os.getuid()}"
        for room in (other.rooms.measuring, other.rooms.starting):
            with pytest.raises(Waited, match="waiting for the machine"), room(case()):
                pass
    with other.rooms.measuring(case()) as waited_s:
        assert waited_s >= 0


def test_sessions_on_disjoint_cores_measure_at_once(opened: BenchSession) -> None:
    """The plan's lane decides who excludes whom."""
    lanes = lanes_of((), ((0,), (1,)))
    first, second, third = (
        BenchSession(replace(opened.plan, lanes=lanes, turn=turn), {}, Path, tell=refuse_to_wait)
        for turn in (0, 1, 2)
    )
    with first.rooms.measuring(case()), second.rooms.measuring(case()):
        with pytest.raises(Waited, match="waiting for core 0"), third.rooms.measuring(case()):
            pass
        opened._tell = refuse_to_wait
        with pytest.raises(Waited), opened.rooms.starting(case()):
            pass


def test_a_model_file_is_read_for_its_arithmetic(opened: BenchSession, tmp_path: Path) -> None:
    """By what reads it really: a session whose rooms read nothing would leave every precision unknown."""
    path = onnx_file(tmp_path / "model.onnx", weights=FLOAT16)
    assert opened.rooms.held(path) == Held(precision="fp16")


def test_a_server_ends_beside_no_window(opened: BenchSession) -> None:
    """In its turn it waits for another session's window; interrupted in that wait, it ends all the same."""
    opened._tell = refuse_to_wait
    Servebench(opened, lambda _: nullcontext(Onlooker()), lambda _: None).up(case())
    with BenchSession(opened.plan, {}, Path).rooms.measuring(case()):
        with pytest.raises(Waited, match="waiting for the machine"):
            opened.close(in_turn=True)
        assert not opened.pool.has_own
        opened.close(in_turn=True)  # nothing is up, so nothing is waited for


def test_a_session_that_is_cut_short_waits_for_nobody(opened: BenchSession) -> None:
    """Clearing away comes before other people's measurements."""
    opened._tell = refuse_to_wait
    Servebench(opened, lambda _: nullcontext(Onlooker()), lambda _: None).up(case())
    with BenchSession(opened.plan, {}, Path).rooms.measuring(case()):
        opened.close()
        assert not opened.pool.has_own


def test_images_are_made_once(opened: BenchSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cases of a model share the images of one size."""
    made = []

    def images(name: str, _card: object, count: int, _seed: int) -> tuple[Image, ...]:
        made.append((name, count))
        return echo_images(count)

    monkeypatch.setattr(session, "image_set", images)
    for count in (16, 16, 32):
        opened.rooms.images(case(), count)
    assert made == [("synthetic", 16), ("synthetic", 32)]


def test_one_reference_for_every_format(opened: BenchSession) -> None:
    """The model in process is its ONNX file, whatever format is served."""
    rows = [opened.rooms.reference(case(deployment("echo", f)), echo_images(3)) for f in Echo().formats]
    assert np.array_equal(rows[0], rows[1])
