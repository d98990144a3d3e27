"""Reception: pytest hooks and fixtures that call other rooms; no arithmetic, no I/O."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest

from pytest_servebench import hookspecs
from pytest_servebench.desk import Desk, open_desk
from pytest_servebench.errors import ServebenchError
from pytest_servebench.interfaces import Stack
from pytest_servebench.options.cases import OPEN, marker_arguments
from pytest_servebench.options.door import add_options, stacks_asked
from pytest_servebench.plan import Threshold
from pytest_servebench.results import CaseResult, Verdict
from pytest_servebench.session import Servebench
from pytest_servebench.stacks import built_in_stacks

DESK = pytest.StashKey[Desk]()
NOT_CHOSEN = "no-stack-chosen"
NO_ARRIVALS = "no-arrivals-chosen"
HOW_TO_ARRIVE = (
    "servebench: {names} needs arrivals and was not run. Choose them with --serve-arrivals=poisson:RATE "
    "(docs/load-shapes.md has the others)."
)
HOW_TO_CHOOSE = (
    "servebench: {count} benchmarks were not run, because no stack was chosen. Choose with "
    "--stack=all, --stack=available, or --stack={names}; --serve-quick for a first look."
)
MARKER = (
    "servebench(concurrency=1, arrivals=..., items_per_request=(1,), batch_sizes=..., formats=..., "
    "payloads=..., protocols=..., model=..., images='synthetic'): "
    "run the test once per case of the plan, given as 'case'."
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Announce the extension points."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer every option, its ini key and its TOML key."""
    add_options(parser)


def pytest_servebench_stacks() -> Sequence[Stack]:
    """Offer the stacks that come with the package, the same way others do."""
    return built_in_stacks()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Turn what was asked for into a plan, when stacks were asked for at all."""
    config.addinivalue_line("markers", MARKER)
    try:
        if stacks_asked(config):
            config.stash[DESK] = open_desk(config)
    except ServebenchError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no server behind, whatever happened."""
    desk = config.stash.get(DESK, None)
    if desk is not None:
        desk.close()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is served where, and why there."""
    desk = config.stash.get(DESK, None)
    return [] if desk is None else desk.header()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test marked ``servebench`` its cases."""
    marker = metafunc.definition.get_closest_marker("servebench")
    if marker is None or "case" not in metafunc.fixturenames:
        return
    desk = metafunc.config.stash.get(DESK, None)
    try:
        definition = metafunc.definition
        asked = marker_arguments(
            marker.kwargs, marker.args, where=definition.nodeid, base=definition.path.parent
        )
        cases = () if desk is None else desk.cases(asked)
    except ServebenchError as error:
        raise pytest.UsageError(str(error)) from error
    if desk is None:
        metafunc.parametrize("case", [None], ids=[NOT_CHOSEN])
    elif not cases and asked.get("arrivals") == OPEN:
        metafunc.parametrize("case", [None], ids=[NO_ARRIVALS])
    else:
        metafunc.parametrize("case", cases, ids=[case.id for case in cases])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the cases of one server side by side; without a stack, leave them all out."""
    desk = config.stash.get(DESK, None)
    idle = [item for item in items if item.name.endswith((f"[{NOT_CHOSEN}]", f"[{NO_ARRIVALS}]"))]
    if idle:
        items[:] = [item for item in items if item not in idle]
        config.hook.pytest_deselected(items=idle)
        config.stash[IDLE] = idle
    if desk is not None:
        desk.arrange(items)


IDLE = pytest.StashKey[list[pytest.Item]]()


@pytest.fixture
def servebench(request: pytest.FixtureRequest) -> Servebench:
    """Measure a case or ask it: see `pytest_servebench.Servebench`."""
    desk = request.config.stash.get(DESK, None)
    if desk is None:
        pytest.skip("no stack was chosen: --stack=all, --stack=available, or by name")
    return desk.serve(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail just the test whose run is not valid or breaches a limit; its record is already kept."""
    try:
        yield
    except ServebenchError as error:
        pytest.fail(str(error), pytrace=False)
    desk = item.config.stash.get(DESK, None)
    complaint = "" if desk is None else desk.complaint(item)
    if complaint:
        pytest.fail(complaint, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show a failing benchmark the last words of its server."""
    report = yield
    desk = item.config.stash.get(DESK, None)
    if desk is not None and report.failed:
        report.sections.extend(desk.last_words(item))
    return report


@pytest.hookimpl(trylast=True)
def pytest_servebench_gate(
    config: pytest.Config, result: CaseResult, thresholds: Sequence[Threshold]
) -> Verdict:
    """Compare with the limits."""
    return config.stash[DESK].judge(result, thresholds)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table, or how to choose a stack."""
    desk = config.stash.get(DESK, None)
    idle = config.stash.get(IDLE, [])
    if desk is not None:
        desk.show(terminalreporter)
        if idle:
            tests = ", ".join(dict.fromkeys(getattr(item, "originalname", item.name) for item in idle))
            terminalreporter.write_line(HOW_TO_ARRIVE.format(names=tests))
    elif idle:
        names = ",".join(stack.name for stack in built_in_stacks())
        terminalreporter.write_line(HOW_TO_CHOOSE.format(count=len(idle), names=names), yellow=True)
