"""Turns our errors into messages of the command line."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from pytest_servebench.errors import PlanError, ServebenchError

P = ParamSpec("P")
T = TypeVar("T")


def complaining(command: Callable[P, T]) -> Callable[P, T]:
    """Turn our errors into messages."""

    @wraps(command)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except ServebenchError as error:
            # The exit code of wrong options is click's, too.
            shown = click.UsageError if isinstance(error, PlanError) else click.ClickException
            raise shown(str(error)) from error

    return inner
