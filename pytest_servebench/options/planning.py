"""From what was asked to the frozen plan (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from pytest_servebench.containing import containerised, stacks_of
from pytest_servebench.interfaces import Stack
from pytest_servebench.k6.binary import missing_k6
from pytest_servebench.leasing.lanes import lanes_of
from pytest_servebench.models.catalogue import CATALOGUE
from pytest_servebench.objective import Objective, parse_objective
from pytest_servebench.options.arithmetic import (
    DEFAULT_PRECISIONS,
    ArithmeticWish,
    parse_precisions,
    precisions_served,
)
from pytest_servebench.options.arrivals import parse_arrivals, parse_scale
from pytest_servebench.options.containers import check_used, container_for, parse_images
from pytest_servebench.options.cpu_sets import cores_of, parse_cpu_sets
from pytest_servebench.options.decoding import check_decodes
from pytest_servebench.options.gate import parse_gate
from pytest_servebench.options.given import (
    Asked,
    Given,
    StackWish,
    parse_count,
    parse_counts,
    parse_formats,
    parse_member,
    parse_model,
    parse_path,
    parse_percent,
    parse_seconds,
    parse_stacks,
    parse_truth,
    parse_warmup,
)
from pytest_servebench.options.placement import Placement, Surroundings, choose_placement, computing_cores
from pytest_servebench.options.selection import DEFAULT_FORMATS, Wish, select
from pytest_servebench.options.workers import check_reach, parse_host, parse_workers
from pytest_servebench.plan import Decoder, Engine, ModelFormat, Payload, Plan, WireProtocol

MODELS = tuple(CATALOGUE)
MOST_IMAGES = MOST_THREADS = 1024
"""As of `servebench up`: a request of more images fits into no memory, and no engine starts more threads."""
MOST_REPEATS = 1000
"""Days of measuring; pytest holds a test for each in memory before the first."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is measured when nobody says."""

    batch_sizes: tuple[int, ...]
    duration_s: float
    warmup_s: float


# A slow 2-core CPU does 8 to 20 images/s of ResNet50. A request of 8 images then takes up to 1 s, and fewer
# than 5 replies are undecided: hence 6 s. Three stacks x two formats of these stay within 6 minutes, the
# quick ones within 2.
NORMAL = Pace(batch_sizes=(1, 8), duration_s=6.0, warmup_s=1.0)
AUTO_WARMUPS = 10
"""How many times the fixed warm-up one may take that ends by itself: a CPU at 10 replies/s needs six."""
QUICK = Pace(batch_sizes=(8,), duration_s=2.0, warmup_s=0.5)


BASELINE_REPEATS = 10
"""How often every case is measured when nobody says and the run is compared: where equal servers differ by 5%
from start to start, five starts find a slow-down of 10% in three of four comparisons (docs/gate-proof.md)."""


def default_repeats(asked: Asked) -> int:
    """Return how often every case is measured where nobody says: several times where the run is compared."""
    return 1 if parse_gate(asked) is None else BASELINE_REPEATS


def default_pace(*, quick: bool) -> Pace:
    """Return how much is measured where nobody says."""
    return QUICK if quick else NORMAL


def plan_for(
    asked: Asked,
    offered: Mapping[str, Stack],
    surroundings: Surroundings,
    models: Sequence[str] = MODELS,
) -> Plan:
    """Return the plan for ``asked``; an option that is absent takes its default.

    Without ``stack`` the plan has no stacks; everything else is checked all the same.
    Explicit values win over what ``quick`` stands for. Raises `PlanError` for a wrong
    value and `MissingPieceError` for a stack that was asked for and cannot run.
    """
    no_sets: tuple[tuple[int, ...], ...] = ()
    sets = _value(asked, "cpu-sets", partial(parse_cpu_sets, cores=cores_of(surroundings)), no_sets)
    threads = len(sets[0]) if sets else surroundings.logical_cores
    plan = _measuring(asked, Plan(threads=threads, turn=surroundings.turn))
    plan = _with_engine(asked, plan, surroundings)
    plan = replace(
        plan,
        model=_value(asked, "model", partial(parse_model, models=models), models[0]),
        payload=_value(asked, "payload", partial(parse_member, vocabulary=Payload), plan.payload),
        decoder=_value(asked, "decoder", partial(parse_member, vocabulary=Decoder), plan.decoder),
        protocol=_value(asked, "protocol", partial(parse_member, vocabulary=WireProtocol), plan.protocol),
        thresholds_path=_value(asked, "thresholds", parse_path, None),
        raw=_value(asked, "raw", parse_truth, default=True),
        require_thresholds=_value(asked, "require-thresholds", parse_truth, default=False),
        report_dir=_value(asked, "report", partial(parse_path, what="folder"), None),
        gate=parse_gate(asked),
        settings={key: given.text for key, given in asked.items()},
    )
    return _placed(asked, plan, offered, surroundings, sets)


def _measuring(asked: Asked, plan: Plan) -> Plan:
    quick = _value(asked, "quick", parse_truth, default=False)
    pace = default_pace(quick=quick)
    warmup_s, steady = _value(
        asked, "warmup", partial(parse_warmup, auto_s=AUTO_WARMUPS * pace.warmup_s), (pace.warmup_s, False)
    )
    return replace(
        plan,
        quick=quick,
        batch_sizes=_value(asked, "batch-size", partial(parse_counts, most=MOST_IMAGES), pace.batch_sizes),
        repeats=_value(asked, "repeats", partial(parse_count, most=MOST_REPEATS), default_repeats(asked)),
        duration_s=_value(asked, "duration", partial(parse_seconds, least_s=0.1), pace.duration_s),
        warmup_s=warmup_s,
        steady=steady,
        precision=_value(asked, "precision", parse_percent, None),
        concurrency=_value(asked, "concurrency", parse_count, None),
        objective=_value(asked, "objective", _objective, plan.objective),
        arrivals=_value(asked, "arrivals", parse_arrivals, None),
        load_scale=_value(asked, "load-scale", parse_scale, None),
        abort_after_s=_value(asked, "abort-on-fail", partial(parse_seconds, least_s=0.0), None),
        max_in_flight=_value(asked, "max-in-flight", parse_count, plan.max_in_flight),
        load_workers=_value(asked, "load-workers", parse_workers, ()),
        host=_value(asked, "host", parse_host, plan.host),
        threads=_value(asked, "threads", partial(parse_count, most=MOST_THREADS), plan.threads),
    )


def _objective(given: Given) -> Objective:
    return parse_objective(given.text, flag=given.flag, where=given.source)


def _with_engine(asked: Asked, plan: Plan, surroundings: Surroundings) -> Plan:
    """Return ``plan`` with its engine; raises `MissingPieceError` for one that is not installed."""
    engine = _value(asked, "load-engine", partial(parse_member, vocabulary=Engine), plan.engine)
    if engine is Engine.K6 and not surroundings.k6:
        raise missing_k6(f"{asked['load-engine'].flag}=k6 ({asked['load-engine'].source})")
    return replace(plan, engine=engine, engine_reason=surroundings.k6 if engine is Engine.K6 else "")


def _placed(
    asked: Asked,
    plan: Plan,
    offered: Mapping[str, Stack],
    surroundings: Surroundings,
    cpu_sets: Sequence[tuple[int, ...]],
) -> Plan:
    """Return ``plan`` with launcher, device and lanes, and with stacks where any were asked for."""
    formats = parse_formats(asked["format"]) if "format" in asked else DEFAULT_FORMATS
    wish = _value(asked, "stack", partial(parse_stacks, offered=offered), StackWish(attached={}))
    only_urls = bool(wish.names) and not wish.everything and set(wish.names) == set(wish.attached)
    placement = choose_placement(asked, surroundings, all_attached=only_urls)
    check_decodes(asked, plan.decoder, plan.payload)
    arithmetic = _arithmetic(asked, formats_named="format" in asked and formats is not None)
    check_used(asked, placement)
    plan = replace(
        _launched(asked, plan, placement, offered),
        formats=formats or tuple(ModelFormat),
        precisions=arithmetic.asked,
        attached=wish.attached,
        lanes=lanes_of(placement.gpu_sets, cpu_sets),
    )
    if "stack" not in asked:
        return plan
    whole = Wish(
        stacks=wish,
        stack_option=asked["stack"],
        formats=formats,
        formats_option=asked.get("format"),
        arithmetic=arithmetic,
        payload=plan.payload,
        decoder=plan.decoder,
        protocol=plan.protocol,
        placement=placement,
        ipc=plan.container.ipc,
        bare=frozenset(name for name, stack in offered.items() if containerised(stack) is None),
    )
    return _with_stacks(asked, plan, whole, offered)


def _arithmetic(asked: Asked, *, formats_named: bool) -> ArithmeticWish:
    precisions = parse_precisions(asked["dtype"]) if "dtype" in asked else DEFAULT_PRECISIONS
    return ArithmeticWish(precisions=precisions, option=asked.get("dtype"), formats_named=formats_named)


def _launched(asked: Asked, plan: Plan, placement: Placement, offered: Mapping[str, Stack]) -> Plan:
    """Return ``plan`` with launcher and device, what containers are given, and threads for their cores."""
    container = container_for(asked, plan.payload, placement.launcher)
    cores = computing_cores(plan.threads, placement.launcher, container)
    return replace(
        plan,
        launcher=placement.launcher,
        launcher_reason=placement.launcher_reason,
        device=placement.device,
        device_reason=placement.device_reason,
        threads=plan.threads if "threads" in asked else cores,
        container=container,
        images=parse_images(asked, offered),
    )


def _with_stacks(asked: Asked, plan: Plan, wish: Wish, offered: Mapping[str, Stack]) -> Plan:
    """Return ``plan`` with the stacks that were wished for and can run, each with its formats."""
    chosen = select(wish, stacks_of(plan, offered))
    check_reach(asked, plan.load_workers, plan.host, chosen.formats_by_stack, plan.attached)
    served = {model_format for formats in chosen.formats_by_stack.values() for model_format in formats}
    attached = any(name in plan.attached for name in chosen.formats_by_stack)
    return replace(
        plan,
        stacks=tuple(chosen.formats_by_stack),
        formats=tuple(model_format for model_format in plan.formats if model_format in served),
        formats_by_stack=chosen.formats_by_stack,
        precisions=precisions_served(
            plan.precisions, chosen.formats_by_stack, offered, plan.device, attached=attached
        ),
        left_out=chosen.left_out,
    )


def _value(asked: Asked, key: str, parse: Callable[[Given], Value], default: Value) -> Value:
    given = asked.get(key)
    return default if given is None else parse(given)
