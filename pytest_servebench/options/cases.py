"""From the plan and one benchmark's marker to the cases that it measures (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from pytest_servebench.arrivals import Arrivals, Constant, Poisson
from pytest_servebench.counts import count_of, is_count
from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Stack
from pytest_servebench.k6.scenario import why_not
from pytest_servebench.models.catalogue import CATALOGUE
from pytest_servebench.objective import Objective, parse_objective
from pytest_servebench.options.arrivals import parse_arrivals
from pytest_servebench.options.given import Given
from pytest_servebench.options.pace import STAGED, pace_of
from pytest_servebench.options.planning import default_pace
from pytest_servebench.options.shape import shaped
from pytest_servebench.plan import (
    Case,
    Deployment,
    Engine,
    Load,
    ModelFormat,
    Payload,
    Plan,
    WireProtocol,
)
from pytest_servebench.words import Word, did_you_mean, listed

IMAGE_SETS = ("synthetic", "photographs")
OPEN = "open"
"""A marker's word: arrivals, or an objective, as the user asks for, and no case when nobody asks."""
WAITING = (OPEN, STAGED)
"""Words of a benchmark that is run on request only."""

Choice = TypeVar("Choice", bound=Word)


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
    payloads: Sequence[Payload] | None = None,
    protocols: Sequence[WireProtocol] | None = None,
    model: str | None = None,
    images: str = "synthetic",
) -> tuple[Case, ...]:
    """Return the cases of one benchmark, those of one deployment side by side.

    A marker narrows the plan's formats. Its payloads, protocols and batch sizes stand in
    for the plan's unless the user gave that option, which then narrows them; its model
    is what the benchmark means, so it always holds. With one request in flight a server
    has nothing to batch, so it is deployed with the largest batch size only.
    ``"2b"`` is twice the deployment's batch size; larger requests than that size are not
    made. The plan's concurrency wins over the benchmark's, and its quick form keeps the
    first of ``items_per_request``. A stack has no case with a payload or protocol of the
    marker that it does not offer, an attached one none with a model of the marker that is not the plan's.

    The plan's arrivals hold where the marker has none; a marker's own hold until the user
    gives that option, except None (``closed``), which is what a benchmark means. ``"open"``
    makes no case unless the user asks for an open loop, ``"staged"`` none unless stages or
    their scale are asked for.

    A marker with an objective looks for the rate that holds it; the user's objective wins over a
    marker's own, and ``"open"`` makes no case until there is one. The stages of ``"staged"`` are
    judged by the plan's. Raises `PlanError` for a load that the plan's engine
    cannot make.
    """
    searched = _objective(plan, objective)
    pace = None if searched else pace_of(plan, arrivals)
    if (objective == OPEN and searched is None) or (arrivals in WAITING and pace is None):
        return ()
    sizes = _chosen(plan, "batch-size", plan.batch_sizes, batch_sizes)
    if (plan.concurrency or concurrency) == 1 and batch_sizes is None and not (pace or searched):
        sizes = (max(sizes),)
    items = tuple(items_per_request)[: 1 if plan.quick else None]
    asked_payloads = _chosen(plan, "payload", (plan.payload,), payloads)
    asked_protocols = _chosen(plan, "protocol", (plan.protocol,), protocols)
    return tuple(
        Case(
            deployment=deployment,
            payload=payload,
            protocol=protocol,
            items_per_request=count,
            load=_made(
                replace(
                    _load(plan, concurrency, pace, deployment.max_batch_size, searched=searched is not None),
                    objective=plan.objective if arrivals == STAGED else None,
                    abort_after_s=plan.abort_after_s if arrivals == STAGED else None,
                ),
                plan,
                protocol,
                meant=protocols is not None,
                searched=searched is not None,
            ),
            objective=searched,
            images=images,
        )
        for deployment in _deployments(plan, stacks_offer, formats, sizes, model or plan.model)
        for payload, protocol in product(asked_payloads, asked_protocols)
        if _speaks(stacks_offer[deployment.stack], payload, protocol)
        for count in _item_counts(items, deployment.max_batch_size)
    )


def marker_arguments(
    keywords: Mapping[str, Any],
    positional: Sequence[Any] = (),
    *,
    where: str = "",
    base: Path = Path(),
) -> dict[str, Any]:
    """Return the keywords of ``@pytest.mark.servebench`` as `cases_for` takes them.

    A relative path in it is relative to ``base``. Raises `PlanError` naming the marker's place
    ``where``, what is wrong and what is allowed.
    """
    readers: dict[str, Callable[[str, object, str], Any]] = {
        **_READERS,
        "arrivals": partial(_read_arrivals, base=base),
    }
    if positional:
        raise PlanError(
            f"the marker servebench takes keywords only, not {positional[0]!r}",
            where=where,
            next_step=f"allowed: {listed(readers)}",
        )
    read = {}
    for key, value in keywords.items():
        if key not in readers:
            raise PlanError(
                f"the marker servebench does not know {key!r}{did_you_mean(key, readers)}",
                where=where,
                next_step=f"allowed: {listed(readers)}",
            )
        read[key] = readers[key](key, value, where)
    if "objective" in read and "arrivals" in read:
        raise PlanError(
            "the marker servebench has both an objective and arrivals",
            where=where,
            next_step="leave the arrivals out: the rate that holds the objective is what is looked for",
        )
    return read


def _chosen(plan: Plan, option: str, planned: Sequence[Any], marked: Sequence[Any] | None) -> tuple[Any, ...]:
    if marked is None:
        return tuple(planned)
    if option in plan.settings:
        return tuple(one for one in planned if one in marked)
    return tuple(marked)


def _deployments(
    plan: Plan,
    stacks_offer: Mapping[str, Stack],
    formats: Sequence[ModelFormat] | None,
    sizes: Sequence[int],
    model: str,
) -> Iterator[Deployment]:
    for stack in plan.stacks:
        if stack in plan.attached and model != plan.model:
            continue  # it serves what it was started with, and nobody said that this is another model
        planned = plan.formats_by_stack.get(stack, plan.formats)
        served = [f for f in planned if f in stacks_offer[stack].formats]
        for model_format in served if formats is None else [f for f in served if f in formats]:
            # A server that already runs has one batch setting, whatever is asked here.
            for size in (max(sizes),) if stack in plan.attached else sizes:
                yield Deployment(
                    stack=stack,
                    model=model,
                    format=model_format,
                    max_batch_size=size,
                    device=plan.device,
                    threads=plan.threads,
                )


def _item_counts(items: Sequence[int | str], max_batch_size: int) -> tuple[int, ...]:
    counts = dict.fromkeys(count_of(one, max_batch_size) for one in items)
    return tuple(count for count in counts if count <= max_batch_size)


def _objective(plan: Plan, marked: Objective | str | None) -> Objective | None:
    """Return the objective of a benchmark whose marker says ``marked``; None: it has no use for one."""
    if marked is None:
        return None
    if "objective" in plan.settings:
        return plan.objective
    return None if isinstance(marked, str) else marked


def _load(
    plan: Plan,
    concurrency: int | str,
    arrivals: Arrivals | None,
    max_batch_size: int,
    *,
    searched: bool,
) -> Load:
    if arrivals is None:
        in_flight = plan.concurrency or count_of(concurrency, max_batch_size)
        return Load(
            concurrency=in_flight,
            max_in_flight=plan.max_in_flight,
            # The probes of a search are open loops, which keep all of them busy.
            workers=plan.load_workers if searched else plan.load_workers[:in_flight],
            warmup_s=plan.warmup_s,
            duration_s=plan.duration_s,
            steady=plan.steady,
            precision=plan.precision,
        )
    # What was asked to take a certain time does: by the option, or in one of the short forms.
    timed = plan.quick or "duration" in plan.settings
    load = Load(
        arrivals=arrivals,
        max_in_flight=plan.max_in_flight,
        workers=plan.load_workers[: plan.max_in_flight],
        warmup_s=plan.warmup_s,
        duration_s=plan.duration_s,
    )
    if isinstance(arrivals, (Constant, Poisson)):
        return replace(load, steady=plan.steady, precision=plan.precision)
    # A schedule that changes its rate is never steady, and is measured to its end.
    if plan.steady:
        load = replace(load, warmup_s=default_pace(quick=plan.quick).warmup_s)
    return shaped(load, timed=timed)


def _made(load: Load, plan: Plan, protocol: WireProtocol, *, meant: bool, searched: bool) -> Load:
    """Return ``load`` with the plan's engine; raises `PlanError` when that cannot make it.

    A protocol that k6 does not speak, and that the benchmark means, is spoken by our own sender:
    no engine was asked for it.
    """
    if meant and protocol is not WireProtocol.HTTP and "protocol" not in plan.settings:
        return load
    flag = f"--serve-load-engine={plan.engine}"
    if searched and plan.engine is not Engine.SERVEBENCH:
        raise PlanError(
            f"{plan.engine} cannot look for a capacity",
            where=flag,
            seen="the search looks at every request, which only servebench's own engine keeps",
            next_step="use --serve-load-engine=servebench, or deselect the benchmarks with an objective",
        )
    trouble = why_not(load, protocol) if plan.engine is Engine.K6 else ""
    if trouble:
        raise PlanError(
            "k6 cannot make this load",
            where=flag,
            seen=trouble,
            next_step="use --serve-load-engine=servebench, or leave that to it and give k6 a closed loop, "
            "constant:RATE or stages:... over http, of a fixed length, from one process",
        )
    return replace(load, engine=plan.engine)


def _speaks(stack: Stack, payload: Payload, protocol: WireProtocol) -> bool:
    return payload in stack.payloads and protocol in stack.protocols


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def _wrong(key: str, value: object, where: str, expected: str) -> PlanError:
    return PlanError(
        f"the marker servebench has a wrong {key}: {value!r}",
        where=where,
        next_step=f"give {expected}",
    )


def _read_counts(key: str, value: object, where: str) -> tuple[int | str, ...]:
    relative = key == "items_per_request"
    counts = _list(value)
    if not counts or not all(is_count(one, relative=relative) for one in counts):
        raise _wrong(key, value, where, "whole numbers from 1" + ', or "b" for the batch size' * relative)
    return tuple(dict.fromkeys(counts))


def _read_concurrency(key: str, value: object, where: str) -> int | str:
    if not isinstance(value, (int, str)) or not is_count(value):
        raise _wrong(key, value, where, 'a whole number from 1, or "2b" for twice the batch size')
    return value


def _read_arrivals(key: str, value: object, where: str, base: Path) -> Arrivals | str | None:
    if not isinstance(value, str):
        raise _wrong(key, value, where, 'arrivals, as in "poisson:50", "closed", "open" or "staged"')
    if value in WAITING:
        return value
    return parse_arrivals(Given(flag="the marker servebench, arrivals:", text=value, source=where, base=base))


def _read_objective(key: str, value: object, where: str) -> Objective | str:
    if not isinstance(value, str):
        raise _wrong(key, value, where, 'an objective, as in "p95<=50ms,errors<2%", or "open"')
    if value == OPEN:
        return OPEN
    return parse_objective(value, flag="the marker servebench, objective:", where=where)


def _read_words(key: str, value: object, where: str) -> tuple[Word, ...]:
    vocabulary = _VOCABULARIES[key]
    words = [str(one) for one in _list(value)]
    if not words or not set(words) <= {str(word) for word in vocabulary}:
        raise _wrong(key, value, where, f"some of: {listed(vocabulary)}")
    return tuple(vocabulary(word) for word in dict.fromkeys(words))


def _read_model(key: str, value: object, where: str) -> str:
    if not isinstance(value, str) or value not in CATALOGUE:
        raise _wrong(key, value, where, f"the name of a model: {listed(CATALOGUE)}")
    return value


def _read_images(key: str, value: object, where: str) -> str:
    if value not in IMAGE_SETS:
        raise _wrong(key, value, where, f"one of: {listed(IMAGE_SETS)}")
    return str(value)


_VOCABULARIES: Mapping[str, type[Word]] = {
    "formats": ModelFormat,
    "payloads": Payload,
    "protocols": WireProtocol,
}
_READERS: Mapping[str, Callable[[str, object, str], Any]] = {
    "concurrency": _read_concurrency,
    "items_per_request": _read_counts,
    "objective": _read_objective,
    "batch_sizes": _read_counts,
    "formats": _read_words,
    "payloads": _read_words,
    "protocols": _read_words,
    "model": _read_model,
    "images": _read_images,
}
