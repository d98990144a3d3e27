"""``servebench up``, ``down``, ``ps``, ``logs``: stacks kept running, with Prometheus and Grafana."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from pytest_servebench.cli.complaining import complaining
from pytest_servebench.compose import project as books
from pytest_servebench.compose.command import Compose
from pytest_servebench.compose.ending import told_to_end
from pytest_servebench.compose.ports import check_ports
from pytest_servebench.compose.preparing import prepare
from pytest_servebench.compose.project import DEFAULT_PROJECT, Project, dashboard_url, default_state_dir
from pytest_servebench.compose.services import PASSWORD, STACKS, WATCHERS, attach_option, curl_line
from pytest_servebench.compose.tools import Tools, check_engine
from pytest_servebench.compose.upping import bring_up, compose_of, project_of, take_down
from pytest_servebench.compose.wanted import Wanted, check_wanted, choose_device, files_for, parse_stacks
from pytest_servebench.errors import PlanError
from pytest_servebench.folders.shipped import shipped, suite_from
from pytest_servebench.launchers.docker.engine import EngineFacts
from pytest_servebench.models.catalogue import CATALOGUE
from pytest_servebench.models.export import MODEL_FILES
from pytest_servebench.plan import ModelFormat
from pytest_servebench.stacks import built_in_stacks

P = ParamSpec("P")
T = TypeVar("T")
_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,99}")
"""A project that compose takes as it is."""


def _with_tools(command: Callable[Concatenate[Tools, P], T]) -> Callable[P, T]:
    """Hand the tools over that the caller gave, or those of this machine."""

    @wraps(command)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        given = click.get_current_context().obj
        return command(given or Tools(environment=os.environ, say=click.echo), *args, **kwargs)

    return inner


def _project_name(_context: click.Context, parameter: click.Parameter, name: str) -> str:
    """Refuse a name that compose would change, or that leads out of the state folder."""
    if not _NAME.fullmatch(name):
        raise click.BadParameter(
            f"{name!r} is no name of a project: at most 100 small letters, digits, - and _, "
            "a letter or digit first",
            param=parameter,
        )
    return name


def _project_option(command: Callable[P, T]) -> Callable[P, T]:
    return click.option(
        "--project",
        default=DEFAULT_PROJECT,
        show_default=True,
        metavar="NAME",
        callback=_project_name,
        help="Of what is up together; several can be, beside each other, on ports of their own.",
    )(command)


@click.command()
@click.option(
    "--stack", "stack", required=True, metavar="NAME[,NAME]", help=f"What to start, of {', '.join(STACKS)}."
)
@click.option(
    "--monitoring",
    is_flag=False,
    flag_value="grafana",
    default="",
    type=click.Choice(["", *WATCHERS]),
    metavar=f"[{'|'.join(WATCHERS)}]",
    help=f"Prometheus and Grafana beside them, or =prometheus alone. Grafana needs {PASSWORD}.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    help="What computes; auto: a GPU where the engine has NVIDIA's runtime.",
)
@click.option(
    "--model",
    default="resnet50",
    show_default=True,
    type=click.Choice(sorted(CATALOGUE)),
    help="What is served.",
)
@click.option(
    "--format",
    "model_format",
    default=str(ModelFormat.ONNX),
    show_default=True,
    type=click.Choice([str(each) for each in MODEL_FILES]),
    help="Of the model's file.",
)
@click.option(
    "--batch-size", default=8, show_default=True, type=click.IntRange(1, 1024), help="The largest batch."
)
@click.option(
    "--threads",
    default=None,
    type=click.IntRange(1, 1024),
    help="That compute on a CPU; as many as this process may use cores, if not given.",
)
@click.option(
    "--folder",
    default=None,
    type=click.Path(file_okay=False, path_type=Path),
    help="For the files that the servers read; a folder of this user's state, if not given.",
)
@click.option("--base", default="", metavar="IMAGE", help="What images that are built begin with.")
@click.option(
    "--wheels",
    default=None,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Python packages to build images from, in place of the index: deploy/wheels.sh fills it.",
)
@click.option(
    "--deadline",
    default=180.0,
    show_default=True,
    type=click.FloatRange(1.0),
    metavar="SECONDS",
    help="How long each may take until it answers.",
)
@click.option("--write-only", is_flag=True, help="Write the files, start nothing, print the command.")
@_project_option
@_with_tools
@complaining
def up(tools: Tools, /, *, write_only: bool, deadline: float, project: str, **asked: Any) -> None:  # noqa: ANN401 (click's)
    """Start stacks in containers and wait until they answer.

    Then it prints how to ask, measure, watch and end them. Interrupted or told to end before that
    (Ctrl-C, SIGTERM, a closed terminal), it ends what it has started.

    Ports are chosen by environment variables: FASTAPI_PORT=18000 servebench up --stack fastapi.
    """
    state_dir = default_state_dir(tools.environment)
    engine = tools.engine(tools.environment)
    wanted, why = _wanted(asked, engine, state_dir, project)
    check_wanted(wanted, tools.environment)
    check_engine(engine, tools.environment)
    argv = ("docker", "compose") if write_only else tools.find_compose(tools.environment)
    before = books.find(project, state_dir)
    if not write_only:
        check_ports(wanted, books.all_known(state_dir), tools.environment, tools.port_taken)
    tools.say(f"device: {wanted.device}{f' ({why})' if why else ''}")
    books.make_private(state_dir)
    override = prepare(wanted, {each.name: each for each in built_in_stacks()}, tools)
    files = files_for(wanted.device, shipped("deploy"), override)
    kept = bool(wanted.monitoring) or write_only or _keeps(before, project, tools)
    known = project_of(wanted, files, tools.environment, keeps=kept)
    compose = compose_of(known, argv, tools.environment)
    if write_only:
        tools.say(_by_hand(known, compose))
        return
    with told_to_end():
        bring_up(known, compose, before, tools, deadline)
    for line in ready_lines(known, wanted):
        tools.say(line)


def _keeps(before: Project | None, name: str, tools: Tools) -> bool:
    """Return whether an earlier `up` may have left something in the volumes of the project ``name``."""
    return before.keeps if before is not None else bool(tools.volumes(tools.environment, name))


def _wanted(
    asked: Mapping[str, Any], engine: EngineFacts, state_dir: Path, project: str
) -> tuple[Wanted, str]:
    """Return what was asked for, and why on that device; raises `PlanError`."""
    stacks = parse_stacks(asked["stack"])
    device, why = choose_device(asked["device"], nvidia_runtime=engine.nvidia_runtime)
    folder: Path = asked["folder"] or state_dir / "serving" / project
    wanted = Wanted(
        stacks=stacks,
        monitoring=asked["monitoring"],
        model=asked["model"],
        format=ModelFormat(asked["model_format"]),
        max_batch_size=asked["batch_size"],
        threads=asked["threads"] or len(os.sched_getaffinity(0)),
        device=device,
        base=asked["base"],
        wheels_path=asked["wheels"],
        folder=folder.resolve(),
        project=project,
    )
    return wanted, why


@click.command()
@click.option("--volumes", is_flag=True, help="Also what Prometheus and Grafana have stored.")
@_project_option
@_with_tools
@complaining
def down(tools: Tools, /, *, volumes: bool, project: str) -> None:
    """End what `up` started: its containers and network are removed."""
    state_dir = default_state_dir(tools.environment)
    known = books.find(project, state_dir)
    if known is None:
        tools.say(f"nothing is up: no project {project} was started by this user")
        left = tools.remove_volumes(tools.environment, project) if volumes else ()
        if left:
            tools.say(f"removed: {', '.join(left)}")
        return
    take_down(known, _compose(known, tools), state_dir, volumes=volumes)
    left = tools.volumes({**tools.environment, **known.settings}, project) if known.keeps else ()
    if left and not volumes:
        tools.say(f"kept: {', '.join(left)}; remove what they hold: servebench down --volumes{_of(project)}")


@click.command()
@_project_option
@_with_tools
@complaining
def ps(tools: Tools, /, *, project: str) -> None:
    """Show the containers of what is up."""
    _compose(_known(project, tools), tools).run("ps")


@click.command()
@click.argument("stack", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@click.option("--tail", default=100, show_default=True, type=click.IntRange(0), help="Lines of each.")
@_project_option
@_with_tools
@complaining
def logs(tools: Tools, /, *, stack: str | None, follow: bool, tail: int, project: str) -> None:
    """Show what the containers of STACK, or all, have logged."""
    known = _known(project, tools)
    if stack is not None and stack not in known.services:
        raise PlanError(f"{stack} is not up", next_step=f"use one of: {', '.join(known.services)}")
    words = ["logs", f"--tail={tail}", *(["--follow"] if follow else []), *([stack] if stack else [])]
    _compose(known, tools).run(*words)


def ready_lines(project: Project, wanted: Wanted) -> list[str]:
    """Return what a person does next: ask each stack, measure it, watch it, end it."""
    suite = suite_from(Path.cwd())
    lines = []
    for name, ports in project.stacks.items():
        lines.append(
            f"{name} is ready: {curl_line(name, wanted.deployment(name).served_name, ports['http'])}"
        )
        option = shlex.quote(attach_option(STACKS[name], ports))
        lines.append(f"  measure it: pytest {suite} {option}{_asked(wanted)}")
    if project.prometheus:
        lines.append(f"Prometheus: {project.prometheus}")
    if project.grafana:
        lines.append(f"Grafana: {dashboard_url(project.grafana)}")
    return [*lines, f"end it: servebench down{_of(project.name)}"]


def _of(project: str) -> str:
    """Return the option that names a project, where it has to be."""
    return "" if project == DEFAULT_PROJECT else f" --project {shlex.quote(project)}"


def _asked(wanted: Wanted) -> str:
    """Return the options with which pytest asks for what is served."""
    model = "" if wanted.model == "resnet50" else f" --serve-model={wanted.model}"
    return f" --serve-format={wanted.format} --serve-batch-size={wanted.max_batch_size}{model}"


def _by_hand(project: Project, compose: Compose) -> str:
    """Return the command that starts a project without us; compose asks for Grafana's password anyway."""
    settings = " ".join(f"{key}={shlex.quote(value)}" for key, value in project.settings.items())
    return f"{PASSWORD}=... {settings} {shlex.join(compose.command('up', '--detach', *project.services))}"


def _known(name: str, tools: Tools) -> Project:
    known = books.find(name, default_state_dir(tools.environment))
    if known is None:
        raise PlanError(
            f"no project {name} was started by this user",
            next_step="start one: servebench up --stack fastapi",
        )
    return known


def _compose(project: Project, tools: Tools) -> Compose:
    environment = {**tools.environment, **project.settings}
    check_engine(tools.engine(environment), environment)
    return compose_of(project, tools.find_compose(environment), tools.environment)
