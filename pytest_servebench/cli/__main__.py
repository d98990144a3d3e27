"""``python -m pytest_servebench.cli``: the command where no script of that name is on the path."""

from __future__ import annotations

from pytest_servebench.cli import main

main()
