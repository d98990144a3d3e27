"""What ``@pytest.mark.servebench`` says of a benchmark: its keywords, read and checked (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pytest_servebench.arrivals import Arrivals
from pytest_servebench.counts import is_count
from pytest_servebench.errors import PlanError
from pytest_servebench.models.catalogue import CATALOGUE
from pytest_servebench.objective import Objective, parse_objective
from pytest_servebench.options.arrivals import parse_arrivals
from pytest_servebench.options.given import Given
from pytest_servebench.options.pace import STAGED
from pytest_servebench.plan import ModelFormat, Payload, Precision, WireProtocol
from pytest_servebench.words import Word, did_you_mean, listed

IMAGE_SETS = ("synthetic", "photographs")
OPEN = "open"
"""A marker's word: arrivals, or an objective, as the user asks for, and no case when nobody asks."""
QUICK = "quick"
"""A marker's keyword: what it asks instead in a quick run."""
WAITING = (OPEN, STAGED)
"""Words of a benchmark that is run on request only."""


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
        QUICK: partial(_read_quick, base=base),
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


def _read_quick(key: str, value: object, where: str, base: Path) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value.keys() <= {"concurrency", *_READERS}:
        raise _wrong(key, value, where, f"a mapping from some of: {listed(_READERS)}")
    return marker_arguments(value, where=where, base=base)


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


def _read_truth(key: str, value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, value, where, "True or False")
    return value


def _read_images(key: str, value: object, where: str) -> str:
    if value not in IMAGE_SETS:
        raise _wrong(key, value, where, f"one of: {listed(IMAGE_SETS)}")
    return str(value)


_VOCABULARIES: Mapping[str, type[Word]] = {
    "formats": ModelFormat,
    "precisions": Precision,
    "payloads": Payload,
    "protocols": WireProtocol,
}
_READERS: Mapping[str, Callable[[str, object, str], Any]] = {
    "concurrency": _read_concurrency,
    "items_per_request": _read_counts,
    "objective": _read_objective,
    "batch_sizes": _read_counts,
    "formats": _read_words,
    "precisions": _read_words,
    "payloads": _read_words,
    "protocols": _read_words,
    "model": _read_model,
    "images": _read_images,
    "once": _read_truth,
}


def of_form(asked: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """Return a marker's arguments; in a quick run those under ``quick`` stand in for the others."""
    usual = {key: value for key, value in asked.items() if key != QUICK}
    return {**usual, **asked.get(QUICK, {})} if quick else usual
