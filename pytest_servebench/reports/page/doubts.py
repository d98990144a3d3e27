"""Whether a case is good news, and every reason why not (pure)."""

from __future__ import annotations

import re

from pytest_servebench.reports.row import Row
from pytest_servebench.results import Judgement

_CLAUSE = re.compile(r"[:;](?=\s|$)")


def is_good(row: Row) -> bool:
    """Return whether a case may be believed, and no limit was broken."""
    return row.is_believed and row.judgement not in {Judgement.FAIL, Judgement.INCONCLUSIVE}


def reasons_of(row: Row) -> tuple[str, ...]:
    """Return why it is not valid, which limits do not hold, and why it could not be judged."""
    measured = row.replicates or (row,)
    told = [sentence for one in measured for sentence in (one.reason, *one.breaches)]
    # What the gate says of a run that is not valid is the same reason once more.
    told += [one.verdict_reason for one in measured if not one.reason]
    return tuple(dict.fromkeys(filter(None, told)))


def in_short(reason: str) -> str:
    """Return a reason's first clause, for a table."""
    return _CLAUSE.split(reason, maxsplit=1)[0]
