"""How a run is spread over pytest-xdist's workers: who this process is, and what belongs together."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from itertools import count
from typing import Any

from pytest_servebench.plan import ModelFormat, Payload, Precision, WireProtocol

TURN_FIELD = "servebench_turn"
"""Where a worker of pytest-xdist finds its turn."""
_AT_THE_END = re.compile(r"\d+$")


class Turns:
    """The controller's: which workers have which turns, so that a lost worker's goes to its replacement.

    A worker is what pytest-xdist hands to it, with its ``workerid``.
    """

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def give(self, worker: MutableMapping[str, Any]) -> None:
        """Give a worker the first turn that nobody has."""
        taken = self._taken.values()
        turn = next(turn for turn in count() if turn not in taken)
        worker[TURN_FIELD] = self._taken[worker["workerid"]] = turn

    def take_back(self, worker: Mapping[str, Any]) -> None:
        """Have the turn of a worker that is gone free for another."""
        self._taken.pop(worker["workerid"], None)


def turn_of(config: Any) -> int:  # noqa: ANN401 (pytest's, which this file need not know)
    """Return which worker this is, from 0: as the controller says, else by its name; 0 without workers."""
    told = getattr(config, "workerinput", {})
    if TURN_FIELD in told:
        return int(told[TURN_FIELD])
    name = str(told.get("workerid", ""))
    number = _AT_THE_END.search(name)
    return int(number[0]) if number else 0


def hands_out(config: Any) -> bool:  # noqa: ANN401 (as above)
    """Return whether this process runs no test itself, but hands them to workers."""
    return not hasattr(config, "workerinput") and getattr(config.option, "dist", "no") != "no"


def shares(stacks: Collection[str], workers: int) -> list[list[str]]:
    """Return which stacks each worker measures in turns: dealt out in order, none to a worker too many."""
    dealt = [list(stacks)[first::workers] for first in range(workers)]
    return [share for share in dealt if share]


def scope_of(node_id: str, together: Sequence[Sequence[str]]) -> str:
    """Return what a test is run together with: the stacks with the one whose case it has, else itself alone.

    Only the id is known where tests are handed out; it holds the case's (see `Case.id`).
    """
    stacks = [stack for share in together for stack in share]
    found = _case_in(tuple(sorted(stacks, key=len, reverse=True))).search(node_id)
    if found is None:
        return node_id
    return "stack " + next(", ".join(share) for share in together if found["stack"] in share)


def has_case(node_id: str, stacks: Collection[str]) -> bool:
    """Return whether a test is given a case of one of ``stacks``."""
    return bool(_case_in(tuple(sorted(stacks, key=len, reverse=True))).search(node_id))


def _case_in(stacks: tuple[str, ...]) -> re.Pattern[str]:
    # re keeps the latest patterns compiled.
    stack, model_format, precision, payload, protocol = (
        "|".join(map(re.escape, map(str, each)))
        for each in (stacks, ModelFormat, Precision, Payload, WireProtocol)
    )
    return re.compile(
        rf"[\[-](?P<stack>{stack})-(?:{model_format})(?:-(?:{precision}))?"
        rf"-(?:{payload})-(?:{protocol})-b\d+-i\d"
    )
