"""A group whose commands are imported when they are called: help does not wait for what they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from pytest_servebench.words import did_you_mean


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command is, and what the list of commands says of it."""

    module: str
    summary: str
    """The first sentence of its help, which a test keeps the same."""


class LazyGroup(click.Group):
    """A group of commands that are attributes, by their names, of modules not yet imported."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **named: Any) -> None:  # noqa: ANN401 (click's)
        super().__init__(*args, **named)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in order of the alphabet."""
        return sorted({*self.lazy, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now; None for a name that none has."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(self.lazy[cmd_name].module), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that ``args`` begin with; a name that none has is told with the nearest one."""
        known = ctx.resilient_parsing or not args or args[0].startswith("-")
        if not known and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's)
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.lazy[name].summary) for name in sorted(self.lazy)])
