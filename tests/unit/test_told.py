"""What a warm server tells of itself, and what becomes of a case whose server computes otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.errors import LoadError
from pytest_servebench.held import Held
from pytest_servebench.plan import Deployment, Device, Payload, Precision
from pytest_servebench.results import NOT_TOLD, REFUSED, CaseResult, Served, Validity
from pytest_servebench.runner import ask_case, run_case
from pytest_servebench.samples import Reply
from pytest_servebench.testing.clock import FakeClock
from pytest_servebench.testing.driver import FakeDriver
from pytest_servebench.testing.launcher import FakeServer
from pytest_servebench.told import told_by
from tests.echo_house import EchoHouse, Onlooker, case, deployment, said
from tests.echo_stack import Echo, TellingEcho

CPU_FACTS = {
    "engine": "onnxruntime 1.31.1",
    "provider": "CPUExecutionProvider",
    "device": "cpu",
    "precision": "fp32",
}
GPU_FACTS = {**CPU_FACTS, "provider": "CUDAExecutionProvider", "device": "cuda:0"}


def saying(facts: object, status: int = 200) -> Callable[[], Reply]:
    """Return what answers with these facts."""
    return lambda: Reply(status, {}, json.dumps(facts).encode())


def house(says: Callable[[], Reply], **more: Any) -> EchoHouse:
    """Return a house whose only stack tells what its server says."""
    return EchoHouse(stacks=[TellingEcho()], says=says, **more)


def run(in_house: EchoHouse, device: Device | None = None, precision: Precision | None = None) -> CaseResult:
    """Run one case there, asked for on that device in that precision."""
    of: Deployment = deployment("telling")
    for name, value in (("device", device), ("precision", precision)):
        if value is not None:
            object.__setattr__(of, name, value)
    return run_case(case(of), in_house.rooms, in_house.pool, Onlooker())


def test_what_a_server_says_is_in_the_result() -> None:
    """A server that does as it was asked is measured, and its own word is kept."""
    result = run(house(saying({**CPU_FACTS, "nodes": {"CPUExecutionProvider": 122}})))
    assert result.validity is Validity.VALID
    assert result.served == Served(**CPU_FACTS, nodes={"CPUExecutionProvider": 122})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("payload", "decoder", "tolerance"),
    [
        (Payload.JPEG, "nvjpeg", 0.5),
        (Payload.JPEG, "pillow", 1e-3),
        (Payload.JPEG, "", 1e-3),
        (Payload.TENSOR, "nvjpeg", 1e-3),
    ],
)
def test_answers_are_held_to_what_the_server_says_it_decodes_with(
    payload: Payload, decoder: str, tolerance: float
) -> None:
    """Another decoder's answers have more room, before the load and during it; nobody else's have."""
    facts = {**CPU_FACTS, "options": {"decoder": decoder} if decoder else {}}
    inside = house(saying(facts))
    result = run_case(
        replace(case(deployment("telling")), payload=payload), inside.rooms, inside.pool, Onlooker()
    )
    assert result.before is not None
    assert result.during is not None
    assert (result.before.tolerance, result.during.tolerance) == (tolerance, tolerance)


def test_a_fall_back_is_a_wrong_backend_and_is_not_measured() -> None:
    """Asked for a GPU and served by the CPU: the case fails by name, and no load is sent."""
    fell_back = house(saying(CPU_FACTS))
    result = run(fell_back, Device("cuda"))
    assert result.validity is Validity.WRONG_BACKEND
    assert result.reason == "asked for cuda:0, but onnxruntime 1.31.1 computes on CPUExecutionProvider"
    assert result.served.device == "cpu"
    assert not result.publishable
    assert fell_back.driver.loads == []
    assert result.waited_s is not None


def test_another_precision_is_a_wrong_backend() -> None:
    """What was asked for in half precision and runs in single is another case."""
    result = run(house(saying(CPU_FACTS)), precision=Precision.FP16)
    assert (result.validity, result.reason) == (
        Validity.WRONG_BACKEND,
        "asked for fp16, but onnxruntime 1.31.1 computes in fp32",
    )


def test_wrong_answers_are_graver_than_a_wrong_backend() -> None:
    """Where both are, the answers are the reason; what the server said is kept beside."""
    result = run(house(saying(CPU_FACTS), answers=lambda _: said([-1])), Device("cuda"))
    assert result.validity is Validity.WRONG_OUTPUT
    assert result.served.device == "cpu"


def test_nodes_left_on_the_cpu_are_a_warning_in_the_result() -> None:
    """The case is measured, and the record tells how many."""
    nodes = {"CUDAExecutionProvider": 90, "CPUExecutionProvider": 32}
    result = run(house(saying({**GPU_FACTS, "nodes": nodes})), Device("cuda"))
    assert result.validity is Validity.VALID
    (warning,) = result.served.warnings
    assert warning.startswith("32 of 122 nodes of the graph are computed on CPUExecutionProvider")


def silent() -> Reply:
    """Answer nothing."""
    raise LoadError("A request was not answered.", seen="no reply within 30 s")


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (saying(None), "GET /served does not say what it computes with"),
        (saying("not found", 404), 'GET /served was answered with status 404: "not found"'),
        (silent, "GET /served was not answered: no reply within 30 s"),
    ],
    ids=["nothing", "refused", "silent"],
)
def test_a_server_that_does_not_tell_is_measured_and_the_record_says_why(
    says: Callable[[], Reply], why: str
) -> None:
    """Unknown is neither pass nor failure: also where a GPU was asked for."""
    result = run(house(says), Device("cuda"))
    assert result.validity is Validity.VALID
    assert result.served == Served(absent=why)


def test_a_stack_that_does_not_tell_says_so() -> None:
    """A stack of the user's own needs no such method."""
    plain = EchoHouse(stacks=[Echo()])
    result = run_case(case(), plain.rooms, plain.pool, Onlooker())
    assert result.served == Served(absent="the stack echo does not tell what it computes with")
    assert result.validity is Validity.VALID


def test_the_server_is_asked_once_and_while_nothing_is_measured() -> None:
    """After its answers, so that it is warm; before the window, so that nobody is disturbed."""
    held: list[tuple[str, int]] = []

    def says() -> Reply:
        held.append((in_house.holding.partition(" ")[0], in_house.asked))
        return saying(CPU_FACTS)()

    in_house = house(says)
    run(in_house)
    ((holding, asked),) = held
    assert holding == "starting"
    assert asked == 16


def test_asking_alone_does_not_judge_the_backend() -> None:
    """`ask_case` is about answers: right ones are right, whoever computed them."""
    of = deployment("telling")
    object.__setattr__(of, "device", Device("cuda"))
    in_house = house(saying(CPU_FACTS))
    assert len(ask_case(case(of), in_house.rooms, in_house.pool)) == 16


class RunsFilesAsTheyAre(TellingEcho):
    """A stack like Triton with NVIDIA's backends."""

    casts_nothing = True


NO_PRECISION = {name: value for name, value in CPU_FACTS.items() if name != "precision"}


def with_file(
    held: Held, stack: TellingEcho, says: object = NO_PRECISION, **more: Any
) -> tuple[EchoHouse, list[Path]]:
    """Return a house of that stack, whose model file holds this, and the files that are read."""
    in_house, read = EchoHouse(stacks=[stack], says=saying(says), **more), []

    def reading(path: Path) -> Held:
        read.append(path)
        return held

    in_house.rooms = replace(in_house.rooms, held=reading)
    return in_house, read


def test_where_files_run_as_they_are_the_file_tells_the_precision() -> None:
    """That of the very file which the server was given: the case fails when it is another than was asked."""
    in_house, read = with_file(Held(precision="fp32"), RunsFilesAsTheyAre())
    assert run(in_house).served.precision == "fp32"
    assert read == [in_house.artifact(deployment("telling")).path]
    half, _ = with_file(Held(precision="fp32"), RunsFilesAsTheyAre())
    result = run(half, precision=Precision.FP16)
    assert (result.validity, result.reason) == (
        Validity.WRONG_BACKEND,
        "asked for fp16, but onnxruntime 1.31.1 computes in fp32",
    )


def test_no_file_is_read_where_the_server_says_it_or_may_cast() -> None:
    """Its own word is nearer to what it computes than the file is."""
    told, read = with_file(Held(precision="fp16"), RunsFilesAsTheyAre(), CPU_FACTS)
    assert run(told).served.precision == "fp32"
    casting, read_too = with_file(Held(precision="fp16"), TellingEcho())
    (warning,) = run(casting).served.warnings
    assert warning.endswith("onnxruntime 1.31.1 does not tell it, and it may cast what its model file holds")
    assert read == read_too == []


def test_an_unknown_precision_is_neither_as_asked_nor_otherwise_and_is_told() -> None:
    """The case is valid, its precision is None, and the record says why, beside what its answers say."""
    in_house, _ = with_file(Held(absent="no layers lie beside it"), RunsFilesAsTheyAre())
    result = run(in_house, precision=Precision.FP16)
    assert (result.validity, result.served.precision) == (Validity.VALID, None)
    unknown, closer = result.served.warnings
    assert unknown.endswith("does not tell it, and no layers lie beside it")
    assert closer.startswith("asked for fp16, but no answer lies further than 0 from the fp32 reference")


@pytest.mark.parametrize("stack", [RunsFilesAsTheyAre(), TellingEcho()])
def test_the_file_of_an_attached_server_is_not_ours_to_read(stack: TellingEcho) -> None:
    """Somebody else chose it: what lies here says nothing of it."""
    in_house, read = with_file(Held(precision="fp16"), stack, attached=["telling"])
    ready = in_house.pool.ready(deployment("telling"))
    endpoint = replace(ready.endpoint, launcher="attach")
    driver = FakeDriver(answering=lambda *_: saying(NO_PRECISION)(), clock=FakeClock())
    served = told_by(FakeServer(endpoint), stack, deployment("telling"), driver)
    assert ready.artifact is None
    assert served.precision is None
    assert served.warnings[-1].endswith("and its model file is not ours to read")
    assert read == []


def test_nothing_refused_is_ever_published() -> None:
    """One list for all: what may not be shown, and what fails its test without a limit."""
    assert REFUSED == (Validity.WRONG_OUTPUT, Validity.WRONG_BACKEND, Validity.ERRORS)
    assert NOT_TOLD.absent
