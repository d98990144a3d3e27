"""What is said of images and containers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st

from pytest_servebench.containers import ContainerSettings, ImageChoice, Ipc, Network
from pytest_servebench.containing import stacks_of
from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.interfaces import Stack
from pytest_servebench.options.containers import parse_container
from pytest_servebench.options.placement import computing_cores, hardware_of
from pytest_servebench.plan import CPU, Device, LauncherKind, MissingPiece, ModelFormat, Plan
from pytest_servebench.reports.terminal import header_lines
from tests.asking import DOCKER, NO_GPU, given, offers, plan
from tests.offered_stack import ONNX, SHM, TENSOR, TENSORRT, BareStack


@dataclass(frozen=True)
class Inside(BareStack):
    """A stack as its image makes it."""

    image: str = ""


@dataclass(frozen=True)
class Boxed(BareStack):
    """Comes as a container that serves ``inside_formats``."""

    inside_formats: frozenset[ModelFormat] = frozenset({ONNX, TENSORRT})
    inside_lacks: Mapping[ModelFormat, MissingPiece] = field(default_factory=dict)

    def in_container(self, choice: ImageChoice, device: Device) -> Stack:
        image = f"{choice.reference or choice.base} on {device}"
        made = Inside(self.name, formats=self.inside_formats, lacks=self.inside_lacks, image=image)
        return replace(made, payloads=self.payloads)


BOXED = Boxed("fastapi")


def docker_plan(**asked: str) -> Plan:
    """Return the plan of a stack that comes as a container."""
    asked = {"launcher": "docker", "stack": "fastapi", "format": "onnx", **asked}
    return plan(DOCKER, offered=offers(BOXED), **asked)


def test_every_setting_of_a_container_is_read() -> None:
    """What is given replaces the default, each by its key."""
    text = "network=host,ipc=host,shm=2g,memory=512m,cpus=1.5,init=no,user=1000:1000"
    assert docker_plan(container=text).container == ContainerSettings(
        network=Network.HOST,
        ipc=Ipc.HOST,
        shm_bytes=2 * 2**30,
        memory_bytes=512 * 2**20,
        cpus=1.5,
        init=False,
        user="1000:1000",
    )


def test_what_is_not_said_keeps_its_default() -> None:
    """Containers are on a bridge, with an init and 1 GiB of shared memory, when nobody says."""
    assert docker_plan().container == ContainerSettings()
    assert docker_plan(container="cpus=2").container == ContainerSettings(cpus=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network=overlay", "--serve-container: network does not know 'overlay'.*\n.*\n.*bridge, host"),
        ("netwrok=host", "does not know 'netwrok': did you mean network?"),
        ("memory=5", "is not a size from 6m to 1024t: '5'"),
        ("memory=lots", "is not a size from 6m to 1024t: 'lots'"),
        ("memory=99999999t", "is not a size from 6m to 1024t: '99999999t'"),
        ("shm=\u0662g", "is not a size from 6m to 1024t"),
        ("cpus=\u0662", "is not a number of CPUs"),
        ("user=\u0662", "is not a user"),
        ("user=4294967295", "is not a user: '4294967295'"),
        ("user=1:2147483648", "is not a user: '1:2147483648'"),
        ("cpus=0", "is not a number of CPUs: '0'"),
        ("cpus=nan", "is not a number of CPUs: 'nan'"),
        ("init=maybe", "is neither true nor false: 'maybe'"),
        ("user=root", "is not a user: 'root'"),
        ("memory", "has a part that is not KEY=VALUE: 'memory'"),
        ("memory=", "has a part that is not KEY=VALUE: 'memory='"),
        ("cpus=1,cpus=2", "gives cpus twice"),
    ],
)
def test_a_setting_that_cannot_be_meant_names_itself(text: str, message: str) -> None:
    """A wrong key or value is an error with what is allowed."""
    with pytest.raises(PlanError, match=message):
        docker_plan(container=text)


SHARES = Boxed("triton", payloads=frozenset({TENSOR, SHM}))


def sharing_plan(stack: str = "triton", payload: str = "shm", **asked: str) -> Plan:
    """Return the plan of a stack that comes as a container and reads shared memory."""
    asked = {"launcher": "docker", "stack": stack, "format": "onnx", "payload": payload, **asked}
    return plan(DOCKER, offered=offers(SHARES), **asked)


@pytest.mark.parametrize("container", ["", "memory=8g", "ipc=host", "shm=2g,ipc=host"])
def test_a_container_that_is_sent_shared_memory_sees_that_of_this_machine(container: str) -> None:
    """The payload is all that has to be asked for; the header and the record say what it brings."""
    chosen = sharing_plan(**({"container": container} if container else {}))
    assert chosen.container.ipc is Ipc.HOST
    header = header_lines(chosen, machine={}, model="tiny", weights="seeded")
    assert any("containers" in line and "ipc host" in line for line in header)
    assert chosen.container.memory_bytes == (8 * 2**30 if "memory" in container else None)


def test_other_payloads_and_processes_have_no_use_for_it() -> None:
    """A container sees no more of this machine than it needs."""
    assert sharing_plan(payload="tensor").container == ContainerSettings()
    process = plan(NO_GPU, offered=offers(SHARES), stack="triton", format="onnx", payload="shm")
    assert process.container == ContainerSettings()


@pytest.mark.parametrize("container", ["ipc=private", "shm=2g", "memory=8g,shm=2g"])
def test_a_container_with_memory_of_its_own_is_refused_shared_memory(container: str) -> None:
    """Both were asked for, and cannot be: said before anything starts, with the words to type."""
    with pytest.raises(PlanError) as caught:
        sharing_plan(container=container)
    error = caught.value
    assert error.what == "--serve-payload=shm does not reach into a container with shared memory of its own"
    assert error.next_step.startswith("--serve-container=ipc=host")


@generated(st.text(max_size=30))
def test_no_text_breaks_the_reading(text: str) -> None:
    """Any text is settings or a PlanError."""
    with suppress(PlanError):
        assert isinstance(parse_container(given(text)), ContainerSettings)


@pytest.mark.parametrize(
    ("asked", "threads", "cores"),
    [
        ({"container": "cpus=0.5"}, 1, 1),
        ({"container": "cpus=2.5"}, 3, 3),
        ({"container": "cpus=99"}, 16, 16),
        ({"container": "cpus=2.5", "threads": "9"}, 9, 3),
        ({"container": "cpus=2.5", "cpu_sets": "0-7/8-15"}, 3, 3),
        ({"container": "cpus=2.5", "cpu_sets": "0-1/2-3"}, 2, 2),
        ({"container": "memory=1g"}, 16, 16),
    ],
)
def test_a_limit_of_cpus_is_what_a_container_computes_on(
    asked: dict[str, str], threads: int, cores: int
) -> None:
    """Neither threads nor the record's hardware are more than it may use; threads asked for stay."""
    chosen = docker_plan(**asked)
    assert chosen.threads == threads
    hardware = hardware_of(chosen, "fastapi", DOCKER)
    assert hardware is not None
    assert hardware.logical_cores == cores


def test_a_limit_of_containers_says_nothing_of_processes() -> None:
    """A limit in a configuration file does not slow down what runs in no container."""
    settings = ContainerSettings(cpus=0.5)
    assert computing_cores(4, LauncherKind.PROCESS, settings) == 4
    assert computing_cores(4, LauncherKind.DOCKER, settings) == 1


def test_an_image_is_given_by_stack_and_a_base_to_all(tmp_path: Path) -> None:
    """An image is one stack's; base and wheels are every image's that is built."""
    chosen = docker_plan(image="fastapi=mine:1", image_base="debian:12", image_wheels=str(tmp_path))
    assert chosen.images == {
        "fastapi": ImageChoice(reference="mine:1", base="debian:12", wheels_path=tmp_path.resolve())
    }


def test_what_builds_plans_is_said_of_no_stack() -> None:
    """Triton alone asks for it; the image that serves stays its own."""
    assert docker_plan(plan_image="trt:1").images == {"fastapi": ImageChoice(plan_image="trt:1")}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"image": "triton=x:1"}, "--serve-image does not know 'triton'"),
        ({"image": "fastapi=UPPER CASE"}, "is not the name of an image: 'UPPER CASE'"),
        ({"image_base": "-v"}, "--serve-image-base is not the name of an image: '-v'"),
        ({"plan_image": "-v"}, "--serve-plan-image is not the name of an image: '-v'"),
        ({"image_wheels": "/not/there"}, "--serve-image-wheels is not a folder: /not/there"),
        ({"image_wheels": "/" + "n" * 5000}, "--serve-image-wheels is not a folder: /nnn"),
    ],
)
def test_an_image_that_cannot_be_meant_is_refused(asked: dict[str, str], message: str) -> None:
    """A wrong image is an error before anything is pulled or built."""
    with pytest.raises(PlanError, match=message):
        docker_plan(**asked)


def test_what_is_said_of_containers_is_refused_where_nothing_runs_in_one() -> None:
    """An option of the command line that would do nothing is an error that says why."""
    with pytest.raises(PlanError, match="is about containers, and the launcher is process") as caught:
        plan(NO_GPU, offered=offers(BOXED), stack="fastapi", container="memory=8g")
    assert "no Docker engine answers" in str(caught.value)
    assert "add --serve-launcher=docker" in str(caught.value)


def test_the_container_of_a_stack_says_what_it_serves() -> None:
    """Formats are those of the image, not those of the local process."""
    assert docker_plan(format="all", device="cuda").formats_by_stack == {"fastapi": (ONNX, TENSORRT)}


def test_a_stack_without_a_container_is_named() -> None:
    """Asked for by name or by all it is an error, under available it is left out with the reason."""
    both = offers(BOXED, BareStack("torchserve"))
    asked = {"launcher": "docker", "format": "onnx"}
    with pytest.raises(PlanError, match="torchserve does not come as a container"):
        plan(DOCKER, offered=both, stack="all", **asked)
    chosen = plan(DOCKER, offered=both, stack="available", **asked)
    assert chosen.stacks == ("fastapi",)
    assert "does not come as a container" in chosen.left_out["torchserve"]


def test_what_this_machine_lacks_to_talk_to_a_container_is_missing() -> None:
    """The client's packages are asked for also when the server runs in an image."""
    lacks = {ONNX: MissingPiece(what="tritonclient", remedy="pip install it")}
    with pytest.raises(MissingPieceError, match="tritonclient is missing; pip install it"):
        plan(
            DOCKER,
            offered=offers(Boxed("fastapi", inside_lacks=lacks)),
            stack="fastapi",
            format="onnx",
            launcher="docker",
        )


def test_a_stack_is_as_its_launcher_brings_it_up() -> None:
    """Under docker it is what its image makes of it, with the image and device asked for."""
    stacks = {"fastapi": BOXED}
    images = {"fastapi": ImageChoice(reference="mine:1")}
    assert stacks_of(Plan(launcher=LauncherKind.PROCESS, device=CPU, images=images), stacks) == stacks
    launched = stacks_of(Plan(launcher=LauncherKind.DOCKER, device=CPU, images=images), stacks)
    assert isinstance(launched["fastapi"], Inside)
    assert launched["fastapi"].image == "mine:1 on cpu"


def test_an_attached_stack_stays_what_it_is() -> None:
    """A server that already runs is in no container of ours."""
    both = offers(BOXED, Boxed("other"))
    chosen = plan(
        DOCKER, offered=both, stack="fastapi=http://127.0.0.1:8000,other", format="onnx", launcher="docker"
    )
    assert stacks_of(chosen, both)["fastapi"] is BOXED
    assert stacks_of(chosen, both)["other"] is not both["other"]
