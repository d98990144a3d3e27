"""How much worse figures may become, as text: ``p95:10%,throughput:5%``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from pytest_servebench.comparison.changes import ChangeLimit
from pytest_servebench.comparison.figures import BEYOND, FIGURES, Figure
from pytest_servebench.errors import PlanError
from pytest_servebench.words import did_you_mean, listed

GRAMMAR = (
    "limits separated by commas: a figure, the share of the baseline by which it may become worse, and, if "
    "wanted, the least change in its own unit that counts, as in p95:10%,throughput:5% or p95:10%:0.5ms"
)
MOST_PERCENT = Decimal(1000)
_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_SHARE = re.compile(rf"({_NUMBER})\s*%")
_FLOOR = re.compile(rf"({_NUMBER})\s*([^0-9]*)")
_PARTS = 3


def parse_limits(text: str, *, flag: str, where: str) -> tuple[ChangeLimit, ...]:
    """Return the limits in ``text``, in their order.

    ``flag`` and ``where`` name the option and its place in the `PlanError` for a wrong one.
    """
    found: dict[str, ChangeLimit] = {}
    for piece in (part.strip() for part in text.split(",")):
        try:
            limit = _limit(piece)
            if limit.figure in found:
                raise ValueError(f"limits {limit.figure} twice")  # noqa: TRY301 (said like the others)
        except ValueError as error:
            raise PlanError(
                f"{flag} {error}", where=where, seen=repr(text), next_step=f"give {GRAMMAR}"
            ) from error
        found[limit.figure] = limit
    return tuple(found.values())


def limits_text(limits: Iterable[ChangeLimit]) -> str:
    """Return the text that `parse_limits` reads the same limits from."""
    return ",".join(map(_text, limits))


def _text(limit: ChangeLimit) -> str:
    share = f"{limit.figure}:{_decimal(Decimal(repr(float(limit.share))) * 100)}%"
    if limit.floor is None:
        return share
    unit = FIGURES[limit.figure].unit if limit.figure in FIGURES else ""
    return f"{share}:{_decimal(Decimal(repr(float(limit.floor))))}{unit}"


def _decimal(number: Decimal) -> str:
    return f"{number.normalize():f}"


def _limit(piece: str) -> ChangeLimit:
    """Return one limit; raises `ValueError` with what is wrong, as said of the option."""
    name, *parts = (part.strip() for part in piece.split(":"))
    if not name or not 1 <= len(parts) < _PARTS:
        raise ValueError(f"has no limit in {piece!r}")
    if name not in FIGURES:
        raise ValueError(
            f"does not know the figure {name!r}{did_you_mean(name, FIGURES)} (it knows {listed(FIGURES)})"
        )
    figure = FIGURES[name]
    return ChangeLimit(
        figure=name,
        share=_share(piece, parts[0], figure),
        floor=_floor(piece, parts[1], figure) if parts[1:] else None,
    )


def _share(piece: str, text: str, figure: Figure) -> float:
    match = _SHARE.fullmatch(text)
    if match is None:
        raise ValueError(f"has no share in percent in {piece!r}")
    percent = Decimal(match[1])
    if percent > MOST_PERCENT:
        raise ValueError(f"has a share above {MOST_PERCENT}% in {piece!r}")
    if figure.higher_is_better and percent >= 100:  # noqa: PLR2004 (all of it)
        raise ValueError(f"has a share in {piece!r} that {figure.name} cannot fall by (below 100%)")
    return float(percent / 100)


def _floor(piece: str, text: str, figure: Figure) -> float:
    match = _FLOOR.fullmatch(text)
    if match is None:
        raise ValueError(f"has no least change in {piece!r}")
    if match[2] not in ("", figure.unit):
        raise ValueError(f"gives the least change of {figure.name} in {match[2]!r}, not in {figure.unit!r}")
    floor = float(Decimal(match[1]))
    if floor >= BEYOND:
        raise ValueError(f"gives a least change in {piece!r} that nothing could ever exceed")
    return floor
