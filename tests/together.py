"""Which tests go to one worker of pytest-xdist, one after the other: a plugin for the groups of `tests`.

As with ``--dist=loadfile`` those of a file, which share fixtures; and see `OF_THE_ENGINE`, `TEST_BY_TEST`.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

from tests.__main__ import OF_THE_ENGINE, TEST_BY_TEST


def unit_of(nodeid: str) -> str:
    """Return the name that all tests share which go to one worker."""
    file = nodeid.partition("::")[0]
    if file in OF_THE_ENGINE:
        return "the engine"
    return nodeid if file in TEST_BY_TEST else file


class Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
    """Gives one worker after the other what belongs together."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def pytest_xdist_make_scheduler(config: Any, log: Any) -> Together:
    """Have it used in place of what ``--dist`` names."""
    return Together(config, log)
