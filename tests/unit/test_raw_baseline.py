"""The raw baseline: for which batch, how often, and what is said where there is none."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.arrivals import Poisson
from pytest_servebench.errors import ModelError
from pytest_servebench.objective import DEFAULT_OBJECTIVE
from pytest_servebench.plan import Artifact, Case, Deployment, Device, ModelFormat, Precision
from pytest_servebench.raw_baseline import PATIENCE_S, RawBaselines, batch_size_of, computed, patience_of
from pytest_servebench.results import Endpoint, RawBaseline
from pytest_servebench.stacks import fastapi_launch
from tests.echo_stack import echo_artifact
from tests.made_up import made_up_case

HERE = Endpoint(stack="triton", host="127.0.0.1", ports={"http": 1}, launcher="process")


@dataclass
class House:
    """Baselines whose program says 100 images a second for each of a batch, and what it was told."""

    cases: list[Case] = field(default_factory=list)
    fails: Exception | None = None
    told: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.baselines = RawBaselines(self.artifact, self.cases, self.compute)

    def artifact(self, one: Deployment) -> Artifact:
        if isinstance(self.fails, ModelError):
            raise self.fails
        return echo_artifact(one.model, one.format)

    def compute(self, _deployment: Deployment, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        self.told.append(asked)
        if self.fails is not None:
            raise self.fails
        return [{"batch_size": n, "images_per_s": 100.0 * n, "batches": 5} for n in asked["batch_sizes"]]

    def of(self, case: Case, endpoint: Endpoint = HERE) -> RawBaseline:
        return self.baselines.of(case, endpoint)


def with_load(case: Case, **changes: Any) -> Case:
    """Return ``case`` under another load."""
    return replace(case, load=replace(case.load, **changes))


CASE = made_up_case(batch=8)


@pytest.mark.parametrize(
    ("case", "size"),
    [
        (CASE, 8),
        (with_load(CASE, concurrency=1), 1),
        (replace(with_load(CASE, concurrency=3), items_per_request=2), 6),
        (with_load(CASE, concurrency=1, arrivals=Poisson(10.0)), 8),
        (replace(with_load(CASE, concurrency=1), objective=DEFAULT_OBJECTIVE), 8),
    ],
    ids=["full", "alone", "in between", "open loop", "capacity"],
)
def test_the_batch_is_the_largest_that_can_form(case: Case, size: int) -> None:
    """A server cannot put more together than is in flight; of an open loop that is not bounded."""
    assert batch_size_of(case) == size


def test_stacks_share_it_and_sizes_are_measured_together() -> None:
    """One program for all that serve the model file, on all sizes that the session needs of it."""
    alone = with_load(made_up_case("fastapi"), concurrency=1)
    house = House([CASE, alone, made_up_case("triton", ModelFormat.PYTORCH)])
    assert house.of(CASE) == RawBaseline(batch_size=8, images_per_s=800.0, batches=5)
    assert house.of(made_up_case("torchserve")) == house.of(CASE)
    assert house.of(alone).images_per_s == 100.0
    assert [told["batch_sizes"] for told in house.told] == [(1, 8)]


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "other"},
        {"format": ModelFormat.PYTORCH},
        {"threads": 7},
        {"device": Device("cuda", 1)},
        {"precision": Precision.FP16},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_computes_otherwise_is_measured_anew(changed: dict[str, Any]) -> None:
    """A baseline is of one model, format, device, precision and number of threads."""
    house = House()
    house.of(CASE)
    house.of(replace(CASE, deployment=replace(CASE.deployment, **changed)))
    assert len(house.told) == 2


def test_each_compiler_has_a_baseline_of_its_own() -> None:
    """TorchServe's TensorRT is another library than FastAPI's, and reads another file."""
    house = House()
    for stack in ("fastapi", "torchserve", "fastapi"):
        compiled = made_up_case(stack, ModelFormat.TENSORRT)
        deployment = replace(compiled.deployment, device=Device("cuda", 0))
        house.of(replace(compiled, deployment=deployment))
    assert len(house.told) == 2


def compiled_case(stack: str = "fastapi", batch: int = 8, **load: Any) -> Case:
    """Return a case that is compiled for a GPU."""
    case = made_up_case(stack, ModelFormat.TENSORRT, batch=batch)
    deployment = replace(case.deployment, device=Device("cuda", 0))
    return with_load(replace(case, deployment=deployment), **load)


@pytest.mark.parametrize("stack", ["fastapi", "torchserve"])
def test_the_engine_that_a_server_compiled_is_used_again(stack: str) -> None:
    """It is kept for its largest batch, whatever of it a load can fill; another largest is another engine."""
    cases = [compiled_case(stack, concurrency=1), compiled_case(stack), compiled_case(stack, batch=32)]
    house = House(cases)
    for case in cases:
        house.of(case)
    assert [(told["batch_sizes"], told["max_batch_size"]) for told in house.told] == [
        ((1, 8), 8),
        ((32,), 32),
    ]


def test_what_is_not_compiled_is_shared_by_batch_sizes() -> None:
    """Nothing is built, so one program computes all sizes, and says itself which is the largest."""
    house = House([CASE, made_up_case(batch=32)])
    house.of(CASE)
    house.of(made_up_case(batch=32))
    assert [(told["batch_sizes"], told["max_batch_size"]) for told in house.told] == [((8, 32), 0)]


def test_the_folder_of_engines_is_that_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI's may be chosen, and TorchServe's handler knows no such choice."""
    monkeypatch.setenv("SERVEBENCH_ENGINE_CACHE_PATH", "/kept/engines")
    house = House()
    house.of(compiled_case("fastapi"))
    house.of(compiled_case("torchserve"))
    assert [told["cache_path"] for told in house.told] == ["/kept/engines", ""]


def test_what_is_compiled_may_take_as_long_as_a_servers_start() -> None:
    """TensorRT tries its kernels for minutes, which is no reason to have no baseline."""
    compiled = compiled_case().deployment
    assert patience_of(compiled) >= fastapi_launch.ready(compiled).deadline_s + PATIENCE_S
    assert patience_of(CASE.deployment) == PATIENCE_S


def test_a_replicate_has_its_own() -> None:
    """A drifting machine must not be held against what it did an hour ago."""
    house = House([replace(CASE, repeat=n) for n in (1, 2)])
    for case in (*house.cases, *house.cases):
        house.of(case)
    assert len(house.told) == 2


@pytest.mark.parametrize(
    ("window_s", "enough_s", "limit_s"),
    [(2.0, 1.0, 1.0), (0.3, 0.15, 0.15), (6.0, 1.0, 3.0), (600.0, 1.0, 3.0)],
)
def test_it_is_as_short_as_the_window(window_s: float, enough_s: float, limit_s: float) -> None:
    """Half of the window and three seconds at most; a second is enough."""
    house = House()
    house.of(with_load(CASE, duration_s=window_s))
    assert (house.told[0]["enough_s"], house.told[0]["limit_s"]) == (enough_s, limit_s)


def test_paths_hold_wherever_the_program_runs() -> None:
    """A cache beside the tests has a relative path."""
    house = House()
    house.of(CASE)
    assert house.told[0]["model_path"].startswith("/")
    assert house.told[0]["card_path"].startswith("/")


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        (ModelError("no such model"), "no such model"),
        (subprocess.TimeoutExpired("python", 180.0), "the model in process took longer than 180 s"),
        (OSError("no memory"), "the model does not run in process: no memory"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_cannot_be_measured_is_absent_and_not_tried_again(fails: Exception, reason: str) -> None:
    """Never 0, and never three times the same wait."""
    house = House([CASE], fails=fails)
    assert house.of(CASE) == RawBaseline(batch_size=8, absent=reason)
    house.fails = None
    assert house.of(CASE).absent == reason


def test_one_that_takes_too_long_is_waited_for_once() -> None:
    """Minutes are waited for a program that hangs, and not again in every repeat."""
    again = replace(CASE, repeat=2)
    house = House([replace(CASE, repeat=1), again], fails=subprocess.TimeoutExpired("python", 180.0))
    assert house.of(replace(CASE, repeat=1)).absent
    house.fails = None
    assert house.of(again).absent == "the model in process took longer than 180 s"


def test_a_server_elsewhere_has_none() -> None:
    """What this machine does says nothing of a server on another; one on our loopback is taken for ours."""
    house = House()
    attached = replace(HERE, launcher="attach")
    assert house.of(CASE, attached).images_per_s == 800.0
    far = house.of(CASE, replace(attached, host="10.0.0.7"))
    assert far.absent == "the attached server is not known to be on this machine: 10.0.0.7"
    assert house.of(CASE, replace(HERE, host="10.0.0.7")).images_per_s == 800.0, "we launched it here"


def test_tensorrt_has_none() -> None:
    """There is no engine of ours for it; no program is started to find that out."""
    house = House()
    assert "no engine runs tensorrt" in house.of(made_up_case("triton", ModelFormat.TENSORRT)).absent
    assert house.told == []


@pytest.mark.parametrize("stack", ["fastapi", "torchserve"])
def test_a_stack_that_compiles_in_its_engine_has_one(stack: str) -> None:
    """What onnxruntime or torch compiles in a server it compiles in process as well."""
    house = House()
    assert house.of(made_up_case(stack, ModelFormat.TENSORRT)).images_per_s is not None
    assert house.told[0]["format"] == "tensorrt"


PROGRAM = """
import json, sys, time
from pathlib import Path
asked = json.loads(sys.argv[1])
here = Path(__file__).parent
(here / asked["device"]).touch()
deadline = time.monotonic() + 20
while len(list(here.glob("cuda:*"))) < 2 and time.monotonic() < deadline:
    time.sleep(0.01)
together = len(list(here.glob("cuda:*"))) == 2
gpu = int(asked["device"].partition(":")[2])
for size in asked["batch_sizes"]:
    line = {"batch_size": size, "images_per_s": 100.0 * size * (gpu + 1), "batches": 5, "computed_s": 1.0}
    lost = {"batch_size": size, "absent": "out of memory"}
    ok = together and (size < 32 or gpu == 1)
    print(json.dumps({**line, "engine": "torch " + asked["device"]} if ok else lost), flush=True)
"""


def test_on_several_gpus_each_computes_at_the_same_time_and_rates_are_added(tmp_path: Path) -> None:
    """A server over two GPUs is held against both; where one cannot, there is no figure of half of them."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    deployment = replace(CASE.deployment, device=Device("cuda", 1, (3,)))
    full, lost = computed(deployment, {"batch_sizes": (8, 32), "device": "cuda:1,3"}, program)
    assert full == {
        "batch_size": 8,
        "images_per_s": 100.0 * 8 * (2 + 4),
        "batches": 10,
        "computed_s": 1.0,
        "engine": "torch cuda:1 and torch cuda:3",
    }
    assert lost == {"batch_size": 32, "absent": "cuda:3: out of memory"}


def test_on_one_device_its_own_word_is_told(tmp_path: Path) -> None:
    """Nothing is added up, and the device is the one that was asked for."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("< 2", "< 1").replace("== 2", "== 1"), encoding="utf-8")
    deployment = replace(CASE.deployment, device=Device("cuda", 1))
    (line,) = computed(deployment, {"batch_sizes": (8,), "device": "cuda:1"}, program)
    assert (line["images_per_s"], line["engine"]) == (1600.0, "torch cuda:1")
