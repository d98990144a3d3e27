"""The sets of cores that workers take in turn (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from pytest_servebench.leasing.lanes import in_equal_sets, set_text
from pytest_servebench.options.given import Given
from pytest_servebench.options.placement import Surroundings

FORMS = "N|CORES/CORES"
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def cores_of(surroundings: Surroundings) -> tuple[tuple[int, ...], ...]:
    """Return the logical cores that may be used, those of one physical core together."""
    return surroundings.cores or tuple((number,) for number in range(surroundings.logical_cores))


def parse_cpu_sets(given: Given, cores: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Return disjoint, equally large sets of ``cores``, which are logical ones by physical core.

    ``2`` is two sets; ``0-3/4-7`` and ``0,2/1,3`` name them, ``2-2`` is core 2 alone. Raises `PlanError`.
    """
    text = given.text.strip()
    usable = sorted(number for siblings in cores for number in siblings)
    if re.fullmatch(r"\d{1,5}", text):
        return _equal(given, int(text), cores, usable)
    sets = tuple(_set(given, part.strip(), usable) for part in text.split("/"))
    _check_disjoint(given, sets)
    if len({len(one) for one in sets}) > 1:
        raise given.wrong(
            "has sets of different sizes, so that stacks would be compared on different hardware",
            seen=", ".join(f"{set_text(one)}: {len(one)} cores" for one in sets),
            next_step="give every set as many cores, or a number of equal sets",
        )
    return sets


def _equal(
    given: Given, count: int, cores: Sequence[Sequence[int]], usable: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    sets = in_equal_sets(cores, count) if count else ()
    if not sets:
        raise given.wrong(
            f"is not a number of sets from 1 to {len(usable)}: {given.text!r}",
            seen=f"cores that this process may use: {set_text(usable)}",
            next_step="give fewer sets; each has at least one core",
        )
    return sets


def _set(given: Given, text: str, usable: Collection[int]) -> tuple[int, ...]:
    numbers: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise given.wrong(
                f"is neither a number of sets nor sets of cores: {given.text!r}",
                next_step="give a number, as in 2, or sets separated by /, as in 0-3/4-7 or 0,2/1,3",
            )
        numbers.update(range(first, last + 1))
    strange = sorted(numbers.difference(usable))
    if strange:
        raise given.wrong(
            f"names cores that this process may not use: {set_text(strange)}",
            next_step=f"use some of: {set_text(sorted(usable))}",
        )
    return tuple(sorted(numbers))


def _check_disjoint(given: Given, sets: Sequence[tuple[int, ...]]) -> None:
    seen: set[int] = set()
    for one in sets:
        twice = sorted(seen.intersection(one))
        if twice:
            raise given.wrong(
                f"has cores in more than one set: {set_text(twice)}",
                next_step="give each core to one set: two that share it are never measured at once",
            )
        seen.update(one)
