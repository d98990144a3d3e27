"""Reception: pytest hooks and fixtures that call other rooms; no arithmetic, no I/O."""

from __future__ import annotations

import pytest

from pytest_servebench import hookspecs


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Announce the extension points."""
    pluginmanager.add_hookspecs(hookspecs)
