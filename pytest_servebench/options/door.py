"""Ticket office: command line, ini and ``[tool.servebench]`` to a frozen plan.

The only caller of pytest's ``getoption`` and ``getini``. The command line wins over
``[tool.servebench]`` in the rootdir's pyproject.toml, that over ini keys, those over defaults.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Stack
from pytest_servebench.options.given import Asked, Given
from pytest_servebench.options.option import OPTIONS, Option
from pytest_servebench.options.placement import Surroundings
from pytest_servebench.options.planning import MODELS, plan_for
from pytest_servebench.options.written import check_writable
from pytest_servebench.plan import Plan
from pytest_servebench.thresholds import ThresholdsFile, parse_thresholds
from pytest_servebench.toml_source import TomlSource

TABLE = ("tool", "servebench")


def add_options(parser: pytest.Parser) -> None:
    """Register every option and its ini key."""
    group = parser.getgroup("servebench", "model-serving benchmarks (pytest-servebench)")
    for option in OPTIONS:
        if not option.metavar:
            group.addoption(
                option.flag,
                action=argparse.BooleanOptionalAction,
                dest=option.destination,
                default=None,
                help=option.help.replace("%", "%%"),
            )
        else:
            group.addoption(
                option.flag,
                action="append" if option.key == "stack" else "store",
                dest=option.destination,
                default=None,
                metavar=option.metavar,
                help=option.help.replace("%", "%%"),
            )
        parser.addini(option.ini, f"{option.flag} for every run", type="string", default=None)


def make_plan(
    config: pytest.Config,
    offered: Mapping[str, Stack],
    surroundings: Surroundings,
    models: Sequence[str] = MODELS,
) -> Plan:
    """Return the plan of this session; raises `PlanError` and `MissingPieceError`.

    ``offered`` holds the stacks by name, in the order in which ``all`` means them.
    """
    asked = asked_of(config)
    plan = plan_for(asked, offered, surroundings, models)
    if plan.thresholds_path is not None and not os.path.isfile(plan.thresholds_path):  # noqa: PTH113 (never raises)
        raise asked["thresholds"].wrong(
            "is not a file",
            seen=str(plan.thresholds_path),
            next_step="give one; a path is relative to where the option is written",
        )
    if plan.report_dir is not None and not hasattr(config, "workerinput"):  # workers write none
        check_writable(asked["report"], plan.report_dir)
    return plan


def stacks_asked(config: pytest.Config) -> bool:
    """Return whether any stack was asked for, anywhere; raises `PlanError` for what cannot be read."""
    return "stack" in asked_of(config)


def read_thresholds(path: Path) -> ThresholdsFile:
    """Return the limits in the file at ``path``; raises `PlanError`."""
    return parse_thresholds(_read(path), str(path))


def asked_of(config: pytest.Config) -> Asked:
    """Return what was given, each option from the strongest place that has it."""
    return {**_from_ini(config), **_from_pyproject(config.rootpath / "pyproject.toml"), **_from_line(config)}


def _from_line(config: pytest.Config) -> dict[str, Given]:
    asked = {}
    for option in OPTIONS:
        value = config.getoption(option.destination)
        if value is not None:
            text = _text(value)
            asked[option.key] = Given(flag=option.flag, text=text, base=config.invocation_params.dir)
    return asked


def _from_ini(config: pytest.Config) -> dict[str, Given]:
    asked = {}
    for option in OPTIONS:
        value = config.getini(option.ini)
        if value is not None:
            asked[option.key] = Given(
                flag=option.flag,
                text=_text(value),
                source=f"ini key {option.ini} in {config.inipath or 'the command line'}",
                base=config.inipath.parent if config.inipath else config.rootpath,
            )
    return asked


def _from_pyproject(path: Path) -> dict[str, Given]:
    if not (path.is_file() and _names_us(path)):
        return {}
    return given_in(TomlSource(_read(path), str(path)), path.parent)


def _names_us(path: Path) -> bool:
    """Return whether a file may have our table: one that is not ours need be neither TOML nor UTF-8."""
    try:
        return TABLE[-1].encode() in path.read_bytes()
    except OSError:
        return True  # `_read` says what is in the way


def given_in(source: TomlSource, base: Path) -> dict[str, Given]:
    """Return what ``[tool.servebench]`` gives; raises `PlanError` with the line for what it cannot mean."""
    tool = source.data().get(TABLE[0], {})
    if TABLE[1] not in tool:
        return {}
    table = tool[TABLE[1]]
    if not isinstance(table, dict):
        raise source.wrong(TABLE, "'tool.servebench' must be a table", next_step="write [tool.servebench]")
    options = {option.key: option for option in OPTIONS}
    source.check_keys(table, TABLE, options)
    return {key: _given_at(source, options[key], value, base) for key, value in table.items()}


def _given_at(source: TomlSource, option: Option, value: object, base: Path) -> Given:
    path = (*TABLE, option.key)
    parts = value if isinstance(value, list) else [value]
    if not parts or not all(isinstance(part, (str, int, float)) for part in parts):
        raise source.wrong(
            path,
            f"{option.key!r} must be a word, a number, true or false, or a list of them",
            seen=repr(value),
            next_step=f'write it as in: {option.key} = "..."; pytest --help has what it takes',
        )
    where = f"[tool.servebench] in {source.name}, line {source.line_of(path)}"
    return Given(flag=option.flag, text=_text(value), source=where, base=base)


def _text(value: object) -> str:
    """Return a value of any origin as it would stand on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(_text(part) for part in value) if isinstance(value, list) else str(value)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(
            f"{path} cannot be read", seen=str(error), next_step="make it readable, as text in UTF-8"
        ) from error
