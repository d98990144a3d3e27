"""An objective makes cases whose rate is looked for, and only where a benchmark wants one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_servebench.arrivals import Poisson
from pytest_servebench.errors import PlanError
from pytest_servebench.load.shares import shares_of
from pytest_servebench.objective import parse_objective
from pytest_servebench.options.cases import cases_for
from pytest_servebench.options.marker import marker_arguments
from pytest_servebench.plan import Case, Plan, WireProtocol
from tests.offered_stack import THREE

ASKED, OWN = "p95<=50ms,errors<2%", "p99<1s"


def cases(asked: str = "", *, plan: dict[str, Any] | None = None, **marker: Any) -> tuple[Case, ...]:
    """Return a benchmark's cases when the user asked for this objective."""
    fields: dict[str, Any] = {"stacks": ("triton",), "batch_sizes": (1, 8), **(plan or {})}
    if asked:
        fields["objective"] = parse_objective(asked)
        fields["settings"] = {**fields.get("settings", {}), "objective": asked}
    return cases_for(Plan(**fields), stacks_offer=THREE, **marker_arguments(marker, where="t.py::t"))


def objectives(of: tuple[Case, ...]) -> set[str]:
    """Return the objectives of some cases as texts."""
    return {str(case.objective) for case in of}


def test_an_open_objective_waits_for_the_option() -> None:
    """Without it there is no case; with it one per deployment, of every batch size."""
    assert cases(objective="open") == ()
    found = cases(ASKED, objective="open", formats="onnx")
    assert [case.id for case in found] == [
        "triton-onnx-tensor-http-b1-i1-capacity-p95-50ms-errors-2",
        "triton-onnx-tensor-http-b8-i1-capacity-p95-50ms-errors-2",
    ]


def test_a_markers_own_objective_holds_until_the_user_gives_one() -> None:
    """As arrivals do."""
    assert objectives(cases(objective=OWN)) == {OWN}
    assert objectives(cases(ASKED, objective=OWN)) == {ASKED}


def test_other_benchmarks_have_no_use_for_the_objective() -> None:
    """The option turns no benchmark of a load into a search."""
    assert objectives(cases(ASKED)) == {"None"}
    assert objectives(cases(ASKED, arrivals="poisson:5")) == {"None"}


def test_the_load_of_a_search_is_the_closed_loop_it_begins_with() -> None:
    """Arrivals that were asked for are those of other benchmarks: its rate is looked for."""
    asked = {"arrivals": Poisson(5.0), "settings": {"arrivals": "poisson:5"}, "max_in_flight": 64}
    found = cases(ASKED, objective="open", concurrency="2b", plan=asked)
    assert {case.load.arrivals for case in found} == {None}
    assert {case.load.concurrency for case in found} == {2, 16}
    assert {case.load.max_in_flight for case in found} == {64}


def test_a_search_keeps_every_worker_for_its_probes() -> None:
    """They are open loops; only one of three has part in a first loop of one request in flight."""
    (one,) = cases(ASKED, objective="open", plan={"load_workers": ("popen",) * 3, "batch_sizes": (8,)})[:1]
    assert (one.load.concurrency, one.load.workers) == (1, ("popen",) * 3)
    assert [share.concurrency for share in shares_of(one.load)] == [1]
    assert len(shares_of(replace(one.load, arrivals=Poisson(50.0)))) == 3


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ({"objective": 50}, "the marker servebench has a wrong objective: 50"),
        ({"objective": "p95=1ms"}, "the marker servebench, objective: has no limit in 'p95=1ms'"),
        (
            {"objective": "open", "arrivals": "open"},
            "the marker servebench has both an objective and arrivals",
        ),
    ],
)
def test_a_wrong_marker_says_where(marker: dict[str, Any], message: str) -> None:
    """A marker is checked like the option."""
    with pytest.raises(PlanError) as caught:
        marker_arguments(marker, where="t.py::t")
    assert (caught.value.what, caught.value.where) == (message, "t.py::t")
    assert caught.value.next_step


def test_a_search_goes_over_grpc_too() -> None:
    """Its probes are open loops, which gRPC has as well as HTTP."""
    found = cases(ASKED, objective="open", protocols="grpc")
    assert found
    assert {case.protocol for case in found} == {WireProtocol.GRPC}
