"""The pool: which server is up for which deployment, and what it does when one does not come up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.containers import ContainerFacts, Network
from pytest_servebench.errors import ControlError, MissingPieceError, ServerExitedError, ServerNotReadyError
from pytest_servebench.plan import Artifact, Deployment, LaunchSpec, ModelFormat, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Reply
from pytest_servebench.testing.clock import FakeClock
from pytest_servebench.testing.driver import FakeDriver
from pytest_servebench.testing.launcher import FakeLauncher, FakeServer
from tests.echo_house import ONNX, PYTORCH, EchoHouse, deployment
from tests.echo_stack import echo_artifact


def plan_of(stack: str) -> list[Deployment]:
    """Return six deployments of a stack."""
    return [
        deployment(stack, model_format, batch) for model_format, batch in product((ONNX, PYTORCH), (1, 8, 32))
    ]


def serve(house: EchoHouse, deployments: Sequence[Deployment]) -> None:
    """Have each ready, in order."""
    for one in deployments:
        ready = house.pool.ready(one)
        assert ready.server in house.launcher.running
        assert ready.endpoint.stack == one.stack


def test_one_start_serves_a_whole_plan_of_a_stack_that_loads_models() -> None:
    """A stack with a control API is launched once, able to serve all that will be asked for."""
    planned = plan_of("controlled")
    house = EchoHouse(planned=[*planned, deployment("echo")])
    serve(house, planned)
    assert house.pool.starts == ["controlled"]
    assert len(house.launcher.servers) == 1


def test_exactly_one_model_is_loaded_at_a_time() -> None:
    """The model of the deployment before is unloaded first, so that it does not compute beside."""
    planned = [deployment("controlled", ONNX), deployment("controlled", PYTORCH)]
    house = EchoHouse(planned=planned)
    serve(house, [planned[0], planned[0], planned[1]])
    assert house.commands == ["/load/resnet50_onnx", "/unload/resnet50_onnx", "/load/resnet50_pytorch"]


def test_a_model_that_is_compiled_when_it_is_loaded_may_take_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT tries its kernels at the first load; other loads that take so long are faults."""
    waited: list[tuple[str, float]] = []
    exchange = FakeDriver.exchange

    def recorded(driver: FakeDriver, endpoint: Endpoint, request: WireRequest, timeout_s: float) -> Reply:
        waited.append((request.path, timeout_s))
        return exchange(driver, endpoint, request, timeout_s)

    monkeypatch.setattr(FakeDriver, "exchange", recorded)
    planned = [deployment("controlled", one) for one in (ModelFormat.TENSORRT, ONNX)]
    serve(EchoHouse(planned=planned), planned)
    assert waited == [
        ("/load/resnet50_tensorrt", 900.0),
        ("/unload/resnet50_tensorrt", 120.0),
        ("/load/resnet50_onnx", 120.0),
    ]


def test_a_stack_without_control_is_restarted_per_deployment() -> None:
    """Equal deployments share a server, others get one of their own; commands are never sent."""
    planned = plan_of("echo")
    house = EchoHouse(planned=planned)
    serve(house, [one for one in planned for _ in range(2)])
    assert house.pool.starts == ["echo"] * 6
    assert house.commands == []
    assert sum(server.stopped for server in house.launcher.servers) == 5


@pytest.mark.parametrize("stack", ["echo", "controlled"])
def test_every_repeat_has_a_server_of_its_own(stack: str) -> None:
    """Also when one deployment is measured, and the running server could load models: cold every time."""
    house = EchoHouse(planned=plan_of(stack))
    launched = [house.pool.ready(deployment(stack), repeat).launched_ns for repeat in (1, 1, 2, 3)]
    assert [instant is not None for instant in launched] == [True, False, True, True]
    assert house.pool.starts == [stack] * 3
    assert len(house.launcher.running) == 1


def test_deployments_of_one_repeat_share_a_start() -> None:
    """Models are loaded into the running server within a repeat, as without repeats."""
    planned = plan_of("controlled")
    house = EchoHouse(planned=planned)
    for repeat in (1, 2):
        for one in planned:
            house.pool.ready(one, repeat)
    assert house.pool.starts == ["controlled"] * 2


def test_a_server_for_no_repeat_is_nobodys_replicate() -> None:
    """What is not repeated may use any server; a replicate needs one that was started for it."""
    house = EchoHouse()
    for repeat in (None, 1, None, 1):
        house.pool.ready(deployment(), repeat)
    assert house.pool.starts == ["echo"] * 2


def test_what_is_ready_says_from_which_file() -> None:
    """Each deployment's own; of somebody else's server none is known."""
    house = EchoHouse(planned=[deployment("controlled", model=model) for model in ("resnet50", "b")])
    for one in house.planned:
        assert house.pool.ready(one).artifact == house.artifact(one)
        assert house.pool.ready(one).artifact == house.artifact(one)
    assert EchoHouse(attached=["echo"]).pool.ready(deployment()).artifact is None


def test_an_attached_server_is_not_restarted_and_says_so() -> None:
    """It is somebody else's: every repeat asks the same one."""
    house = EchoHouse(attached=["echo"])
    assert [house.pool.ready(deployment(), repeat).restarted for repeat in (1, 2)] == [False, False]
    assert house.pool.starts == ["echo"]
    assert EchoHouse().pool.ready(deployment(), 1).restarted


@pytest.mark.parametrize("repeats", [1, 3])
def test_what_came_up_before_has_another_try_in_the_next_repeat(repeats: int) -> None:
    """One bad start costs its repeat, and not those after it; what never came up is not tried again."""
    house = EchoHouse()
    for repeat in range(1, repeats):
        house.pool.ready(deployment(), repeat)
    house.launcher.exits_with = 3
    for _ in range(2):
        with pytest.raises(ServerExitedError):
            house.pool.ready(deployment(), repeats)
    house.launcher.exits_with = None
    if repeats == 1:
        with pytest.raises(ServerExitedError):
            house.pool.ready(deployment(), 2)
    else:
        house.pool.ready(deployment(), repeats + 1)
    assert len(house.launcher.specs) == (1 if repeats == 1 else repeats + 1)


@given(st.lists(st.sampled_from([*plan_of("echo"), *plan_of("controlled")]), max_size=12))
def test_never_two_servers_at_once(order: list[Deployment]) -> None:
    """Whatever the order, one server is up, and none after the end."""
    house = EchoHouse(planned=order)
    for one in order:
        house.pool.ready(one)
        assert len(house.launcher.running) == 1
    house.pool.close()
    assert house.launcher.running == ()


def test_a_dead_server_is_replaced_for_the_next_case() -> None:
    """A server that crashed in one case does not take the next one along, with or without control."""
    for stack in ("echo", "controlled"):
        house = EchoHouse()
        assert house.pool.ready(deployment(stack)).launched_ns is not None
        house.server.die(7)
        assert house.pool.ready(deployment(stack)).launched_ns is not None
        assert house.pool.starts == [stack] * 2


def test_a_server_that_is_not_trusted_is_replaced() -> None:
    """A server that hangs lives on; the next case gets a fresh one all the same."""
    house = EchoHouse()
    first = house.pool.ready(deployment()).server
    house.pool.distrust()
    assert house.pool.ready(deployment()).server is not first
    assert house.pool.ready(deployment()).launched_ns is None
    assert house.launcher.servers[0].stopped


def test_only_a_fresh_server_has_a_launch_time() -> None:
    """A cold start is that of a launch; what was exported before it, and what was up already, is none."""

    def slow_artifact(one: Deployment) -> Artifact:
        house.clock.advance_s(60)
        return echo_artifact(one.model, one.format)

    house = EchoHouse(artifact=slow_artifact)
    began_ns = house.clock.now_ns()
    assert house.pool.ready(deployment()).launched_ns == began_ns + 60 * 10**9
    assert house.pool.ready(deployment()).launched_ns is None


class BuildingLauncher(FakeLauncher):
    """Builds an image for a minute before it starts a container."""

    def start(self, stack: str, spec: LaunchSpec, workdir: Path) -> FakeServer:
        self.clock.advance_s(60)
        server = super().start(stack, spec, workdir)
        self.clock.advance_s(self.started_s)
        facts = ContainerFacts(id="c", image="i:1", image_id="sha256:1", network=Network.BRIDGE, user="7:7")
        server.endpoint = replace(server.endpoint, container=facts)
        return server

    clock: FakeClock


def test_making_an_image_is_no_part_of_a_cold_start() -> None:
    """A container is launched when its image is there: the first run's figure is that of every other."""
    launcher = BuildingLauncher(started_s=2.0)
    house = EchoHouse(launcher=launcher)
    launcher.clock = house.clock
    began_ns = house.clock.now_ns()
    assert house.pool.ready(deployment()).launched_ns == began_ns + 60 * 10**9


@pytest.mark.parametrize(
    ("stack", "starts_of_six"), [("controlled", 1), ("echo", 6)], ids=["by stack", "by deployment"]
)
def test_a_failed_launch_is_not_tried_again(stack: str, starts_of_six: int) -> None:
    """A server that never gets ready costs its deadline once, not once for each of its cases."""
    planned = plan_of(stack)
    house = EchoHouse(planned=planned, launcher=FakeLauncher(never_ready=True))
    seen = []
    for one in [*planned, *planned]:
        with pytest.raises(ServerNotReadyError) as caught:
            house.pool.ready(one)
        seen.append(caught.value)
    assert len(house.launcher.specs) == starts_of_six
    assert len(set(map(id, seen))) == starts_of_six


def test_another_stack_goes_on_after_a_failed_launch() -> None:
    """What one stack cannot do is not held against another."""
    house = EchoHouse(launcher=FakeLauncher(exits_with=3))
    with pytest.raises(ServerExitedError):
        house.pool.ready(deployment("echo"))
    house.launcher.exits_with = None
    serve(house, [deployment("controlled"), deployment("echo", PYTORCH)])


def test_a_refused_load_names_the_command_and_the_log() -> None:
    """The message says what was refused, what the server said, and its last log lines."""
    house = EchoHouse(launcher=FakeLauncher(log="cannot allocate"), refuses=["/load/resnet50_onnx"])
    with pytest.raises(ControlError) as caught:
        house.pool.ready(deployment("controlled"))
    assert caught.value.what == "controlled refused to load resnet50_onnx"
    assert caught.value.where == "POST /load/resnet50_onnx"
    assert caught.value.seen == "status 400: no room\ncannot allocate"


def test_a_refused_load_leaves_the_pool_able_to_go_on() -> None:
    """The server in doubt is ended, the refusal is remembered, and other models still load."""
    good, bad = deployment("controlled", PYTORCH), deployment("controlled", ONNX)
    house = EchoHouse(planned=[good, bad], refuses=["/load/resnet50_onnx"])
    serve(house, [good])
    for _ in range(2):
        with pytest.raises(ControlError):
            house.pool.ready(bad)
        assert house.launcher.running == ()
    assert house.commands.count("/load/resnet50_onnx") == 2, "once in the used server, once in a fresh one"
    serve(house, [good])
    assert len(house.launcher.servers) == 3


def test_a_refused_unload_costs_a_restart_and_no_case() -> None:
    """A model that stays in the way is ended with its server; the next deployment is not to blame."""
    first, second = deployment("controlled", ONNX), deployment("controlled", PYTORCH)
    house = EchoHouse(planned=[first, second], refuses=["/unload/resnet50_onnx"])
    serve(house, [first, second])
    assert house.pool.starts == ["controlled"] * 2


def test_a_server_that_dies_of_a_model_is_a_refusal() -> None:
    """A command without an answer is a `ControlError` too, with the server's last words."""
    house = EchoHouse(launcher=FakeLauncher(log="out of memory"))
    house.pool.ready(deployment("controlled"))

    def answer(endpoint: Endpoint, request: WireRequest) -> Reply:
        house.server.die(9)
        return house.answer(endpoint, request)

    house.driver.answering = answer
    with pytest.raises(ControlError, match="controlled did not load resnet50_pytorch") as caught:
        house.pool.ready(deployment("controlled", PYTORCH))
    assert caught.value.seen == "connection refused\nout of memory"


def test_a_deployment_nobody_planned_gets_a_server_that_knows_it() -> None:
    """A running server can load only what it was launched with; for anything else it is restarted."""
    house = EchoHouse(planned=[deployment("controlled", ONNX)])
    serve(house, [deployment("controlled", ONNX), deployment("controlled", PYTORCH)])
    assert house.pool.starts == ["controlled"] * 2


def test_a_model_that_cannot_be_had_hurts_its_own_cases_only() -> None:
    """A server for several models is launched without the one whose package is missing."""
    good, bad = deployment("controlled"), deployment("controlled", model="efficientnet_lite0")

    def artifact(one: Deployment) -> Artifact:
        if one is bad:
            raise MissingPieceError("no weights")
        return echo_artifact(one.model, one.format)

    house = EchoHouse(planned=[good, bad], artifact=artifact)
    serve(house, [good])
    with pytest.raises(MissingPieceError):
        house.pool.ready(bad)


def test_an_attached_server_is_never_told_what_to_load() -> None:
    """Somebody else's server is asked, not commanded, and its start is not ours to time."""
    house = EchoHouse(attached=["controlled"])
    for one in (deployment("controlled", ONNX), deployment("controlled", PYTORCH)):
        assert house.pool.ready(one).launched_ns is None
    assert not house.pool.has_own
    house.pool.close()
    assert house.commands == []


def test_an_attached_server_that_does_not_answer_is_asked_for_once() -> None:
    """A wrong address costs its deadline once for the whole plan."""
    house = EchoHouse(attached=["echo"], launcher=FakeLauncher(never_ready=True))
    for one in plan_of("echo"):
        with pytest.raises(ServerNotReadyError):
            house.pool.ready(one)
    assert len(house.launcher.specs) == 1


def test_log_lines_are_those_of_the_stack_in_question() -> None:
    """A failing test is not shown the log of somebody else's server."""
    house = EchoHouse(launcher=FakeLauncher(log="echo speaks"))
    assert house.pool.log_tail("echo") == ""
    house.pool.ready(deployment("echo"))
    assert house.pool.log_tail("echo") == "echo speaks"
    assert house.pool.log_tail("controlled") == ""
