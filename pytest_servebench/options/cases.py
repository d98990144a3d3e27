"""From the plan and one benchmark's marker to the cases that it measures (pure).

A marker narrows the plan's formats. Its precisions, payloads, protocols and batch sizes stand in
for the plan's unless the user gave that option, which then narrows them; its model
is what the benchmark means, so it always holds. With one request in flight a server
has nothing to batch, so it is deployed with the largest batch size only.
``"2b"`` is twice the deployment's batch size; larger requests than that size are not
made. The plan's concurrency wins over the benchmark's, and its quick form keeps the
first of ``items_per_request``. There is no case of a precision that its format cannot be
computed in. A stack has no case with a payload or protocol of the marker that it does not
offer, an attached one none with a model of the marker that is not the plan's; none has one in
a GPU's memory where it computes on a CPU. Pixels are asked of a deployment that takes them, JPEG of
one that decodes by what the plan has.

The plan's arrivals hold where the marker has none; a marker's own hold until the user
gives that option, except None (``closed``), which is what a benchmark means. ``"open"``
makes no case unless the user asks for an open loop, ``"staged"`` none unless stages or
their scale are asked for.

A marker with an objective looks for the rate that holds it; the user's objective wins over a
marker's own, and ``"open"`` makes no case until there is one. The stages of ``"staged"`` are
judged by the plan's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, TypeAlias

from pytest_servebench.arrivals import Arrivals
from pytest_servebench.counts import count_of
from pytest_servebench.interfaces import Stack
from pytest_servebench.objective import Objective
from pytest_servebench.options.arithmetic import compiles_torchscript, runs
from pytest_servebench.options.decoding import decoder_for
from pytest_servebench.options.loads import Wish, load_of, wish_of
from pytest_servebench.plan import (
    Case,
    Deployment,
    InputDtype,
    ModelFormat,
    Payload,
    Plan,
    Precision,
    WireProtocol,
)


def cases_for(
    plan: Plan,
    *,
    stacks_offer: Mapping[str, Stack],
    concurrency: int | str = 1,
    arrivals: Arrivals | str | None = "",
    objective: Objective | str | None = None,
    items_per_request: Sequence[int | str] = (1,),
    batch_sizes: Sequence[int] | None = None,
    formats: Sequence[ModelFormat] | None = None,
    precisions: Sequence[Precision] | None = None,
    payloads: Sequence[Payload] | None = None,
    protocols: Sequence[WireProtocol] | None = None,
    model: str | None = None,
    images: str = "synthetic",
    once: bool = False,
) -> tuple[Case, ...]:
    """Return the cases of one benchmark, within a repeat those of one deployment side by side.

    There are as many repeats of every case as the plan has, with ``once`` only the case itself. Raises
    `PlanError` for a load that the plan's engine cannot make.
    """
    wish = wish_of(plan, concurrency, arrivals, objective)
    if wish is None:
        return ()
    sizes = _sizes(plan, wish, batch_sizes)
    served = model or plan.model
    arithmetic = _chosen(plan, "dtype", plan.precisions, precisions)
    models = _models(plan, stacks_offer, formats, arithmetic, served)
    deployments = _deployments(plan, models, sizes, served)
    ways = product(
        _chosen(plan, "payload", (plan.payload,), payloads),
        _chosen(plan, "protocol", (plan.protocol,), protocols),
        tuple(items_per_request)[: 1 if plan.quick else None],
    )
    found = [
        _case(plan, wish, asked, images, meant=protocols is not None)
        for asked in _asked(plan, deployments, tuple(ways), stacks_offer)
    ]
    return tuple(found) if once else repeated(found, plan.repeats)


def repeated(cases: Sequence[Case], repeats: int) -> tuple[Case, ...]:
    """Return every case so often, all of them before any again; once is no repeat, and has no number."""
    if repeats == 1:
        return tuple(cases)
    return tuple(replace(case, repeat=number) for number in range(1, repeats + 1) for case in cases)


Asked: TypeAlias = tuple[Deployment, Payload, WireProtocol, int]
"""A deployment, and how it is asked: the last are items per request."""


def _asked(
    plan: Plan,
    deployments: Iterable[Deployment],
    ways: Sequence[tuple[Payload, WireProtocol, int | str]],
    stacks_offer: Mapping[str, Stack],
) -> Iterator[Asked]:
    """Yield every deployment in each way that its stack speaks, but requests larger than its batches."""
    for deployment in deployments:
        largest, stack = deployment.max_batch_size, stacks_offer[deployment.stack]
        counted = [(payload, protocol, count_of(items, largest)) for payload, protocol, items in ways]
        for payload, protocol, count in dict.fromkeys(counted):
            if _speaks(stack, payload, protocol) and count <= largest and _can_share(deployment, payload):
                yield _taking(plan, deployment, payload, stack), payload, protocol, count


def _case(plan: Plan, wish: Wish, asked: Asked, images: str, *, meant: bool) -> Case:
    deployment, payload, protocol, count = asked
    return Case(
        deployment=deployment,
        payload=payload,
        protocol=protocol,
        items_per_request=count,
        load=load_of(wish, plan, deployment.max_batch_size, protocol, meant=meant),
        objective=wish.searched,
        images=images,
    )


def _sizes(plan: Plan, wish: Wish, marked: Sequence[int] | None) -> tuple[int, ...]:
    sizes = _chosen(plan, "batch-size", plan.batch_sizes, marked)
    return (max(sizes),) if wish.has_one_in_flight and marked is None else sizes


def _chosen(plan: Plan, option: str, planned: Sequence[Any], marked: Sequence[Any] | None) -> tuple[Any, ...]:
    if marked is None:
        return tuple(planned)
    if option in plan.settings:
        return tuple(one for one in planned if one in marked)
    return tuple(marked)


def _deployments(
    plan: Plan, models: Iterable[tuple[str, ModelFormat, Precision]], sizes: Sequence[int], model: str
) -> Iterator[Deployment]:
    for stack, model_format, precision in models:
        # A server that already runs has one batch setting, whatever is asked here.
        for size in (max(sizes),) if stack in plan.attached else sizes:
            yield Deployment(
                stack=stack,
                model=model,
                format=model_format,
                max_batch_size=size,
                device=plan.device,
                precision=precision,
                threads=plan.threads,
            )


def _models(
    plan: Plan,
    stacks_offer: Mapping[str, Stack],
    formats: Sequence[ModelFormat] | None,
    precisions: Sequence[Precision],
    model: str,
) -> Iterator[tuple[str, ModelFormat, Precision]]:
    """Yield each stack with each format that it serves, and each precision that this is computed in."""
    for stack in plan.stacks:
        attached = stack in plan.attached
        if attached and model != plan.model:
            continue  # it serves what it was started with, and nobody said that this is another model
        torchscript = compiles_torchscript(stacks_offer[stack])
        planned = plan.formats_by_stack.get(stack, plan.formats)
        served = [f for f in planned if f in stacks_offer[stack].formats]
        for model_format in served if formats is None else [f for f in served if f in formats]:
            able = runs(model_format, plan.device, attached=attached, torchscript=torchscript)
            yield from ((stack, model_format, each) for each in precisions if each in able)


def _taking(plan: Plan, deployment: Deployment, payload: Payload, stack: Stack) -> Deployment:
    """Return the deployment that takes such a payload: pixels need a graph that normalises them."""
    if payload is Payload.JPEG:
        attached = deployment.stack in plan.attached
        decoder = decoder_for(plan.decoder, stack, deployment.device, attached=attached)
        return replace(deployment, decoder=decoder)
    return replace(deployment, input_dtype=InputDtype.UINT8) if payload is Payload.UINT8 else deployment


def _can_share(deployment: Deployment, payload: Payload) -> bool:
    return payload is not Payload.CUDASHM or deployment.device.kind == "cuda"


def _speaks(stack: Stack, payload: Payload, protocol: WireProtocol) -> bool:
    return payload in stack.payloads and protocol in stack.protocols
