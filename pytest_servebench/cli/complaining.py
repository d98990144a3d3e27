"""Turns our errors into messages of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from pytest_servebench.errors import PlanError, ServebenchError

P = ParamSpec("P")
T = TypeVar("T")


def complaining(command: Callable[P, T]) -> Callable[P, T]:
    """Turn our errors into messages, and those of the system: a full disk, a name that is too long."""

    @wraps(command)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except ServebenchError as error:
            # The exit code of wrong options is click's, too.
            shown = click.UsageError if isinstance(error, PlanError) else click.ClickException
            raise shown(str(error)) from error
        except BrokenPipeError:
            raise  # click's own: whoever read has gone
        except OSError as error:
            _let_go_of_output()
            raise click.ClickException(str(error)) from error

    return inner


def _let_go_of_output() -> None:
    """Keep Python from trying once more, at its end, to write what could not be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
