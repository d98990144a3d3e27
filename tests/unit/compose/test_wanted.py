"""What is asked of `servebench up` is checked before anything is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.compose.services import PASSWORD, STACKS, attach_option
from pytest_servebench.compose.wanted import Wanted, check_wanted, choose_device, files_for, parse_stacks
from pytest_servebench.errors import PlanError
from pytest_servebench.launchers.server_address import parse_address
from pytest_servebench.plan import CPU, Device, ModelFormat

WANTED = Wanted(
    stacks=("fastapi", "triton"),
    model="resnet50",
    format=ModelFormat.ONNX,
    max_batch_size=4,
    threads=2,
    device=CPU,
    folder=Path("/somewhere"),
    project="servebench",
)


def test_stacks_are_named_once_each() -> None:
    """A list is read as everywhere: by commas, each once."""
    assert parse_stacks("triton, fastapi,triton") == ("triton", "fastapi")


@pytest.mark.parametrize(
    ("text", "what"),
    [("tritn", "--stack does not know 'tritn': did you mean triton?"), (" , ", "--stack names no stack")],
)
def test_a_stack_that_is_none_is_refused(text: str, what: str) -> None:
    """The error has the word, a guess and the stacks there are."""
    with pytest.raises(PlanError) as raised:
        parse_stacks(text)
    assert raised.value.what == what
    assert "fastapi, triton, torchserve" in raised.value.next_step


@pytest.mark.parametrize(
    ("text", "runtime", "device"),
    [
        ("auto", True, Device("cuda")),
        ("auto", False, CPU),
        ("cpu", True, CPU),
        ("cuda", False, Device("cuda")),
        ("cuda:2", False, Device("cuda", 2)),
    ],
)
def test_the_device_is_the_asked_one(text: str, runtime: bool, device: Device) -> None:
    """Only ``auto`` looks at the engine, and then it says why; what is asked for is never made smaller."""
    chosen, why = choose_device(text, nvidia_runtime=runtime)
    assert chosen == device
    assert bool(why) == (text == "auto")


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_a_device_that_is_none_is_refused(text: str) -> None:
    """The error names the words there are."""
    with pytest.raises(PlanError, match="auto, cpu, cuda, cuda:N"):
        choose_device(text, nvidia_runtime=True)


def test_the_gpu_reservation_is_of_gpus_only() -> None:
    """A GPU takes compose.yaml, a CPU the file without a reservation; ours is laid over either."""
    names = [
        [file.name for file in files_for(d, Path("deploy"), Path("o.json"))] for d in (Device("cuda"), CPU)
    ]
    assert names == [["compose.yaml", "o.json"], ["compose.cpu.yaml", "o.json"]]


def test_a_container_numbers_its_gpu_zero() -> None:
    """Whichever GPU a container is given, it is its first."""
    assert replace(WANTED, device=Device("cuda", 3)).deployment("triton").device == Device("cuda", 0)


def test_grafana_needs_a_password() -> None:
    """Without one nothing is started; Prometheus alone, and the stacks alone, need none."""
    for monitoring in ("", "prometheus"):
        check_wanted(replace(WANTED, monitoring=monitoring), {})
    check_wanted(replace(WANTED, monitoring="grafana"), {PASSWORD: "x"})
    with pytest.raises(PlanError) as raised:
        check_wanted(replace(WANTED, monitoring="grafana"), {PASSWORD: ""})
    assert raised.value.what == f"Grafana needs a password for its administrator: {PASSWORD} is not set"
    assert "--monitoring=prometheus" in raised.value.next_step


@pytest.mark.parametrize("text", ["no", "0", "65536", "-1", "80 "])
def test_a_port_that_is_none_is_refused(text: str) -> None:
    """The error names the variable and what is in it."""
    with pytest.raises(PlanError, match="FASTAPI_PORT is no port") as raised:
        check_wanted(WANTED, {"FASTAPI_PORT": text})
    assert raised.value.seen == repr(text)


def test_two_services_cannot_share_a_port() -> None:
    """Two of one number are named, both of them, before the engine says it in its own words."""
    with pytest.raises(PlanError, match="fastapi's http port and triton's grpc port are both 8011"):
        check_wanted(WANTED, {"FASTAPI_PORT": "8011"})


def test_a_folder_with_a_colon_is_refused() -> None:
    """Compose would take the rest of the path for the place in the container."""
    with pytest.raises(PlanError, match="colon"):
        check_wanted(replace(WANTED, folder=Path("/some:where")), {})


@pytest.mark.parametrize("name", STACKS)
def test_pytest_reaches_what_is_published(name: str) -> None:
    """The option that `up` prints is an address that pytest reads, with every port."""
    published = STACKS[name].published({})
    stack, _, url = attach_option(STACKS[name], published).removeprefix("--stack=").partition("=")
    address = parse_address(url)
    assert (stack, address.host, dict(address.ports)) == (name, "127.0.0.1", published)
