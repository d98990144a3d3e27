"""The thresholds file, and which of its limits hold for a case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_servebench.arrivals import Poisson
from pytest_servebench.errors import PlanError
from pytest_servebench.objective import DEFAULT_OBJECTIVE, parse_objective
from pytest_servebench.plan import CPU, Case, Deployment, Device, Load, ModelFormat, Precision
from pytest_servebench.thresholds import Hardware, parse_thresholds, thresholds_for, why_ungated

TWO_CORES = Hardware(device=CPU, logical_cores=2)
RTX = Hardware(device=Device("cuda"), logical_cores=16, gpu_names=("NVIDIA GeForce RTX 4090",))

TEXT = """
[profiles.cpu]
device = "cpu"
min_cores = 2

[profiles.big]
device = "cpu"
min_cores = 16

[[limits]]
profile = "cpu"
stack = ["triton", "fastapi"]
format = "onnx"
max_batch_size = 8
concurrency = "2b"
p95_ms = 500
images_per_s = 10

[[limits]]
profile = "big"
stack = "triton"
images_per_s = 100
p95_ms = 900
"""


P = '[profiles.cpu]\ndevice = "cpu"\n'
ROW = '[[limits]]\nprofile = "cpu"\n'


def case(
    stack: str = "triton",
    model_format: ModelFormat = ModelFormat.ONNX,
    batch: int = 8,
    concurrency: int = 16,
    items: int = 1,
) -> Case:
    """Return a ResNet50 case."""
    return Case(
        deployment=Deployment(stack=stack, model="resnet50", format=model_format, max_batch_size=batch),
        items_per_request=items,
        load=Load(concurrency=concurrency),
    )


def in_precision(one: Case, precision: Precision) -> Case:
    """Return the case in another precision."""
    return replace(one, deployment=replace(one.deployment, precision=precision))


def limits(text: str, one: Case, hardware: Hardware | None = TWO_CORES) -> dict[str, tuple[float, str]]:
    """Return limit and profile by metric."""
    found = thresholds_for(parse_thresholds(text), one, hardware)
    return {threshold.metric: (threshold.limit, threshold.profile) for threshold in found}


def test_a_row_holds_for_the_cases_it_names() -> None:
    """Each selector excludes the cases that differ in it."""
    both = {"response_time_p95_ms": (500.0, "cpu"), "images_per_s": (10.0, "cpu")}
    assert limits(TEXT, case()) == both
    assert limits(TEXT, case("fastapi")) == both
    assert limits(TEXT, case("torchserve")) == {}
    assert limits(TEXT, case(model_format=ModelFormat.PYTORCH)) == {}
    assert limits(TEXT, case(batch=4)) == {}
    assert limits(TEXT, case(concurrency=1)) == {}


def test_a_limit_can_be_of_one_precision() -> None:
    """What fp16 must serve says nothing of fp32; without the word a limit holds in all of them."""
    half = replace(case(), deployment=replace(case().deployment, precision=Precision.FP16))
    assert limits(P + ROW + 'precision = "fp16"\np50_ms = 1\n', half)
    assert not limits(P + ROW + 'precision = "fp16"\np50_ms = 1\n', case())
    assert not limits(P + ROW + 'precision = ["fp32", "tf32"]\np50_ms = 1\n', half)
    assert limits(P + ROW + "p50_ms = 1\n", half)
    with pytest.raises(PlanError, match="'precision' does not know 'half'"):
        parse_thresholds(P + ROW + 'precision = "half"\np50_ms = 1\n')


def test_a_direction_comes_with_the_metric() -> None:
    """Times have ceilings and rates have floors; the file cannot mix them up."""
    found = thresholds_for(parse_thresholds(TEXT), case(), TWO_CORES)
    assert {one.metric: one.at_most for one in found} == {"response_time_p95_ms": True, "images_per_s": False}


def test_relative_counts_follow_the_batch_size() -> None:
    """``2b`` is twice the case's own batch size, ``b`` the same."""
    text = P + ROW + 'concurrency = [1, "2b"]\nitems_per_request = "b"\np50_ms = 1\n'
    assert limits(text, case(batch=4, concurrency=8, items=4))
    assert limits(text, case(batch=8, concurrency=1, items=8))
    assert not limits(text, case(batch=8, concurrency=8, items=8))
    assert not limits(text, case(batch=8, concurrency=16, items=1))


def test_a_limit_of_a_number_in_flight_is_none_of_an_open_loops() -> None:
    """An open loop has its own selector; a limit for one request in flight must not judge it."""
    calm = replace(case(), load=Load(arrivals=Poisson(50)))
    assert not limits(P + ROW + "concurrency = 1\np50_ms = 1\n", calm)
    assert limits(P + ROW + 'arrivals = "poisson:50"\np50_ms = 1\n', calm)
    assert not limits(P + ROW + 'arrivals = ["closed", "poisson:60"]\np50_ms = 1\n', calm)
    assert limits(P + ROW + 'arrivals = "closed"\np50_ms = 1\n', case())


def test_a_wrong_objective_is_told_with_its_line() -> None:
    """A text that no case can have would never hold, in silence."""
    with pytest.raises(PlanError) as told:
        parse_thresholds(P + ROW + 'objective = "p95<=banana"\ncapacity_per_s = 40\n')
    assert told.value.what == "'objective' has no limit in 'p95<=banana'"
    assert (told.value.where, told.value.seen) == ("thresholds.toml, line 5", "'p95<=banana'")
    assert "p95<=50ms,errors<2%" in told.value.next_step


def test_a_limit_of_a_capacity_is_that_of_searches_alone() -> None:
    """No other case has a capacity, and at a rate that is looked for the other figures mean nothing."""
    searched = replace(case(), objective=DEFAULT_OBJECTIVE)
    both = P + ROW + "p95_ms = 9\ncapacity_per_s = 40\n"
    assert limits(both, searched) == {"capacity_per_s": (40.0, "cpu")}
    assert limits(both, case()) == {"response_time_p95_ms": (9.0, "cpu")}
    named = P + ROW + 'objective = "p95<=50ms,errors<2%"\ncapacity_per_s = 40\n'
    assert limits(named, searched)
    assert not limits(named, replace(case(), objective=parse_objective("p99<=50ms")))
    spaced = P + ROW + 'objective = ["p99<1s", "p95 <= 50ms, errors<2.0%"]\ncapacity_per_s = 40\n'
    assert limits(spaced, searched) == {"capacity_per_s": (40.0, "cpu")}
    assert not limits(P + ROW + "concurrency = 16\ncapacity_per_s = 40\n", searched)
    two = P + ROW + "capacity_per_s = 40\n" + ROW + "capacity_per_s = 50\n"
    assert limits(two, searched) == {"capacity_per_s": (50.0, "cpu")}


def test_all_matching_rows_hold_and_the_strictest_is_kept() -> None:
    """A further row or profile can only tighten."""
    sixteen = Hardware(device=CPU, logical_cores=16)
    assert limits(TEXT, case(), sixteen) == {
        "response_time_p95_ms": (500.0, "cpu"),
        "images_per_s": (100.0, "big"),
    }


def test_a_profile_speaks_of_its_hardware_only() -> None:
    """Device, GPU name and cores must all hold."""
    assert limits(TEXT, case(), Hardware(device=CPU, logical_cores=1)) == {}
    assert limits(TEXT, case(), RTX) == {}
    text = '[profiles.c]\ngpu_name="rtx 4090"\nmax_cores=32\n[[limits]]\nprofile="c"\np50_ms=1\n'
    assert limits(text, case(), RTX) == {"response_time_p50_ms": (1.0, "c")}
    assert (
        limits(text, case(), Hardware(device=Device("cuda"), logical_cores=64, gpu_names=RTX.gpu_names)) == {}
    )
    assert limits(text, case(), Hardware(device=CPU, logical_cores=16, gpu_names=RTX.gpu_names)) == {}


@pytest.mark.parametrize(
    ("stated", "gpus", "holds"),
    [
        ('device = "cuda"', 1, True),
        ('device = "cuda"', 2, False),
        ('gpu_name = "H100"', 2, False),
        ('gpu_name = "H100"\ngpus = 2', 2, True),
        ('gpu_name = "H100"\ngpus = 2', 1, False),
        ("gpus = 2", 2, True),
        ("min_cores = 2", 2, True),
    ],
)
def test_a_profile_of_one_gpu_does_not_judge_two(stated: str, gpus: int, holds: bool) -> None:
    """Two GPUs serve about twice as much: what limits one, limits nothing of theirs."""
    text = f'[profiles.g]\n{stated}\n[[limits]]\nprofile = "g"\np50_ms = 1\n'
    device = Device("cuda", 0, tuple(range(1, gpus)))
    hardware = Hardware(device=device, logical_cores=8, gpu_names=("NVIDIA H100 80GB HBM3",) * gpus)
    assert bool(limits(text, case(), hardware)) is holds
    mixed = replace(hardware, gpu_names=("NVIDIA H100 80GB HBM3", "Tesla T4")[:gpus])
    assert bool(limits(text, case(), mixed)) is (holds and ("H100" not in stated or gpus == 1))


def test_a_precision_is_selected() -> None:
    """A limit of fp16 says nothing of fp32; one that names no precision speaks of all."""
    half, single = in_precision(case(), Precision.FP16), case()
    text = P + ROW + 'precision = ["fp16", "bf16"]\np95_ms = 5\n' + ROW + "p50_ms = 9\n"
    assert set(limits(text, half)) == {"response_time_p95_ms", "response_time_p50_ms"}
    assert set(limits(text, single)) == {"response_time_p50_ms"}
    with pytest.raises(PlanError, match="'precision' does not know 'half'"):
        parse_thresholds(P + ROW + 'precision = "half"\np95_ms = 5\n')


def test_a_server_elsewhere_has_no_limits_from_here() -> None:
    """This machine's profile says nothing about another's server."""
    assert limits(TEXT, case(), None) == {}
    assert why_ungated(parse_thresholds(TEXT, "t.toml"), case(), None) == (
        "triton runs on hardware this session cannot see, so no profile of t.toml applies"
    )


def test_why_a_case_is_ungated_tells_the_profile_from_the_row() -> None:
    """The user knows whether to add a profile or a row."""
    file = parse_thresholds(TEXT, "t.toml")
    assert why_ungated(file, case(), RTX) == (
        "no profile of t.toml matches cuda:0 (NVIDIA GeForce RTX 4090), 16 logical cores; it has: cpu, big"
    )
    assert why_ungated(file, case(batch=4), TWO_CORES) == (
        "no limit of t.toml in profile cpu speaks of resnet50 as it was asked here"
    )


def test_cases_that_lack_a_limit_alike_share_a_reason() -> None:
    """A suite of many cases without limits has one line below its table, not one for each."""
    file = parse_thresholds(TEXT, "t.toml")
    assert why_ungated(file, case(batch=4), TWO_CORES) == why_ungated(file, case(batch=2), TWO_CORES)


def test_limits_of_stacks_that_are_not_offered_are_listed() -> None:
    """Another plugin's stack is allowed, and a slip of the pen is seen."""
    assert parse_thresholds(TEXT).stacks_not_in(["triton"]) == ("fastapi",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[profile.cpu]\n",
            "unknown key 'profile': did you mean profiles?|line 1|allowed here: profiles, limits",
        ),
        (
            "[profiles.cpu]\ncores = 2\n",
            "unknown key 'cores'|line 2|allowed here: device, gpu_name, gpus, min_cores, max_cores",
        ),
        (
            "[profiles.cpu]\n",
            "profile 'cpu' does not say which hardware it means|line 1|at least one of: device",
        ),
        ("profiles = 3\n", "'profiles' must hold tables|line 1|write [profiles.NAME]"),
        ("profiles.cpu = 3\n", "'profiles' must hold tables|line 1|write [profiles.NAME]"),
        ("[limits]\np95_ms = 1\n", "'limits' must be tables|line 1|write [[limits]]"),
        ('[profiles.x]\ndevice = "gpu"\n', "'device' does not know 'gpu'|line 2|use one of: cpu, cuda"),
        ('[profiles.x]\ndevice = ["cpu"]\n', "'device' must be a word|line 2|seen: ['cpu']"),
        ("[profiles.x]\ngpu_name = 4090\n", "'gpu_name' must be a word|line 2|seen: 4090"),
        ('[profiles.x]\nmin_cores = "2b"\n', "'min_cores' must be a whole number from 1\n|line 2|seen: '2b'"),
        (P + "[[limits]]\np95_ms = 1\n", "a limit must name its profile|line 3|profiles here: cpu"),
        (
            P + '[[limits]]\nprofile = "cqu"\n',
            "'profile' does not know 'cqu': did you mean cpu?|line 4|use one of: cpu",
        ),
        (P + ROW, "a limit without any figure|line 3|p50_ms, p95_ms, p99_ms, images_per_s, requests_per_s"),
        (
            P + ROW + "p95 = 5\n",
            "unknown key 'p95': did you mean p95_ms?|line 5|allowed here: profile, model",
        ),
        (P + ROW + 'p95_ms = "5"\n', "'p95_ms' must be a number above 0|line 5|seen: '5'"),
        (P + ROW + "p95_ms = true\n", "'p95_ms' must be a number above 0|line 5|seen: True"),
        (P + ROW + "p95_ms = nan\n", "'p95_ms' must be a number above 0|line 5|seen: nan"),
        (P + ROW + f"p95_ms = {10**400}\n", "'p95_ms' must be a number above 0|line 5|seen: 1000"),
        (P + ROW + "images_per_s = 0\n", "'images_per_s' must be a number above 0|line 5|seen: 0"),
        (
            P + ROW + 'p95_ms = 1\nformat = ["onnx", "onyx"]\n',
            "'format' does not know 'onyx': did you mean onnx?|line 6|onnx, pytorch, tensorrt",
        ),
        (
            P + ROW + 'p95_ms = 1\nmodel = "resnet5"\n',
            "'model' does not know 'resnet5': did you mean resnet50?|line 6|resnet50, efficientnet_lite0",
        ),
        (P + ROW + "p95_ms = 1\nstack = []\n", "'stack' must be a word, or a list of words|line 6|seen: []"),
        (
            P + ROW + 'p95_ms = 1\nconcurrency = ["2x"]\n',
            "'concurrency' must be a whole number from 1, or like \"2b\"|line 6|seen: ['2x']",
        ),
        (
            P + ROW + 'p95_ms = 1\nmax_batch_size = "b"\n',
            "'max_batch_size' must be a whole number from 1, or a list of them|line 6|seen: 'b'",
        ),
    ],
)
def test_what_is_not_understood_names_file_line_key_and_remedy(text: str, message: str) -> None:
    """No key is ignored: a limit that is misspelt must not look like one that is held."""
    with pytest.raises(PlanError) as caught:
        parse_thresholds(text, "t.toml")
    what, line, hint = message.split("|")
    shown = str(caught.value)
    assert shown.startswith(what)
    assert f"\n  where: t.toml, {line}\n" in shown
    assert hint in shown


def test_an_empty_file_has_no_limits() -> None:
    """Everything is ungated then, which the gate reports."""
    assert thresholds_for(parse_thresholds(""), case(), TWO_CORES) == ()
