"""Hands tests out to pytest-xdist's workers, all cases of a stack to one: its server starts once.

The only file that knows pytest-xdist, which need not be installed; it is imported when that asks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from xdist.scheduler import LoadScopeScheduling

from pytest_servebench.spreading import scope_of, shares


class StackScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it is not typed
    """Load-balances scopes: a stack's cases, and every other test for itself. Node ids stay as they are.

    ``interleaved``: stacks of one worker take turns there, so all of them are one scope.
    """

    def __init__(
        self,
        config: Any,  # noqa: ANN401 (xdist's)
        log: Any,  # noqa: ANN401 (as above)
        stacks: Collection[str],
        *,
        interleaved: bool = False,
    ) -> None:
        super().__init__(config, log)
        self._stacks = stacks
        self._together = shares(stacks, self.numnodes) if interleaved else [[stack] for stack in stacks]

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, self._together)

    def remove_node(self, node: Any) -> str | None:  # noqa: ANN401 (as above)
        """Give what a lost worker had left to others, but not the test that it was lost in.

        As xdist's own load scheduling does; its scopes would run that test again, and lose the next worker.
        """
        left = self.assigned_work.pop(node)
        lost: str | None = None
        for scope, tests in left.items():
            waiting = [test for test, done in tests.items() if not done]
            if waiting and lost is None:
                lost = waiting.pop(0)
                tests[lost] = True
            if waiting:
                self.workqueue[scope] = tests
        for other in self.nodes:
            # A replacement that has not collected yet asks for its work itself, once it has.
            if other in self.registered_collections:
                self._reschedule(other)
        return lost
