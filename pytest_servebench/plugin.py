"""Reception: pytest hooks and fixtures that call other rooms; no arithmetic, no I/O.

Every pytest of an environment loads this file, so the house behind it is entered only
once stacks are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_servebench import hookspecs
from pytest_servebench.errors import ServebenchError
from pytest_servebench.options.door import add_options, stacks_asked
from pytest_servebench.options.marker import OPEN, marker_arguments
from pytest_servebench.options.pace import STAGED
from pytest_servebench.ordering import asks_for_findings

if TYPE_CHECKING:
    from pytest_servebench.desk import Desk
    from pytest_servebench.interfaces import Stack
    from pytest_servebench.plan import Threshold
    from pytest_servebench.reports.findings import Findings
    from pytest_servebench.results import CaseResult, Endpoint, Verdict
    from pytest_servebench.session import Servebench

DESK: pytest.StashKey[Desk] = pytest.StashKey()
IDLE = pytest.StashKey[list[str]]()
TROUBLE = pytest.StashKey[str]()
IDLE_FIELD = "servebench_idle"
NOT_CHOSEN = "no-stack-chosen"
NO_ARRIVALS = "no-arrivals-chosen"
HOW_TO_ARRIVE = (
    "servebench: {names} needs arrivals and was not run. Choose them with --serve-arrivals=poisson:RATE "
    "(docs/load-shapes.md has the others)."
)
NO_STAGES = "no-stages-chosen"
HOW_TO_STAGE = (
    "servebench: {names} needs a staged load and was not run. Choose the reference's with "
    "--serve-load-scale=auto (or a factor of its rates), or your own with "
    "--serve-arrivals=stages:TIME:RATE,TIME:RATE,... (docs/load-shapes.md)."
)
WAITING = {OPEN: NO_ARRIVALS, STAGED: NO_STAGES}
"""What a benchmark waits for, by the word of its marker."""
NO_OBJECTIVE = "no-objective-chosen"
HOW_TO_SEARCH = (
    "servebench: {names} needs an objective and was not run. Choose one with "
    "--serve-objective='p95<=50ms,errors<2%' (docs/load-shapes.md has its grammar)."
)
NO_CASE = "no-case"
WHY_NO_CASE = (
    "servebench: {names} was not run: what its marker narrows and what was asked for have no case in common."
)
NO_CASE_REQUIRED = (
    "{test} has no case: what its marker narrows and what was asked for have none in common, "
    "and --serve-require-thresholds lets nothing pass unmeasured"
)
REASONS = {
    NO_ARRIVALS: HOW_TO_ARRIVE,
    NO_STAGES: HOW_TO_STAGE,
    NO_OBJECTIVE: HOW_TO_SEARCH,
    NO_CASE: WHY_NO_CASE,
}
"""What is said of a benchmark that was not run, by the id of its only parameter."""
HOW_TO_CHOOSE = (
    "servebench: {count} not run, because no stack was chosen. Choose with "
    "--stack=all, --stack=available, or --stack={names}; --serve-quick for a first look."
)
MARKER = (
    "servebench(concurrency=1, arrivals=..., objective=..., items_per_request=(1,), batch_sizes=..., "
    "formats=..., precisions=..., payloads=..., protocols=..., model=..., images='synthetic', once=False, "
    "quick={}): "
    "run the test once per case of the plan, given as 'case', and as often as --serve-repeats says, "
    "but for one that is asked once; what quick has stands in for the others in a quick run."
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Announce the extension points."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer every option, its ini key and its TOML key."""
    add_options(parser)


def pytest_servebench_stacks() -> Sequence[Stack]:
    """Offer the stacks that come with the package, the same way others do."""
    from pytest_servebench.stacks import built_in_stacks

    return built_in_stacks()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Turn what was asked for into a plan, when stacks were asked for at all."""
    config.addinivalue_line("markers", MARKER)
    try:
        if stacks_asked(config):
            from pytest_servebench.desk import open_desk

            config.stash[DESK] = open_desk(config)
    except ServebenchError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Remove containers that killed sessions left, before the header says so and servers need their room."""
    desk = session.config.stash.get(DESK, None)
    if desk is not None:
        desk.containers.clear_before()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 (pytest-xdist may not be installed)
    """Make a worker of pytest-xdist part of this run."""
    desk = node.config.stash.get(DESK, None)
    if desk is not None:
        desk.containers.give(node.workerinput)
        desk.turns.give(node.workerinput)


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
    markers = list(metafunc.definition.iter_markers("servebench"))
    if not markers or "case" not in metafunc.fixturenames:
        return
    desk = metafunc.config.stash.get(DESK, None)
    try:
        definition = metafunc.definition
        keywords: dict[str, Any] = {}
        for marker in reversed(markers):  # the closest comes first, and has the last word
            keywords |= marker.kwargs
        positional = [word for marker in markers for word in marker.args]
        asked = marker_arguments(keywords, positional, where=definition.nodeid, base=definition.path.parent)
        # Without the fixture it can measure nothing, so there is nothing to repeat.
        asked.setdefault("once", "servebench" not in metafunc.fixturenames)
        cases = () if desk is None else desk.cases(asked)
    except ServebenchError as error:
        raise pytest.Collector.CollectError(str(error)) from error
    if desk is None:
        metafunc.parametrize("case", [None], ids=[NOT_CHOSEN])
    elif not cases and asked.get("arrivals") in WAITING:
        metafunc.parametrize("case", [None], ids=[WAITING[asked["arrivals"]]])
    elif not cases and asked.get("objective") == OPEN and not desk.objective_chosen:
        metafunc.parametrize("case", [None], ids=[NO_OBJECTIVE])
    elif not cases and desk.requires_thresholds:
        raise pytest.Collector.CollectError(NO_CASE_REQUIRED.format(test=metafunc.definition.nodeid))
    elif not cases:
        metafunc.parametrize("case", [None], ids=[NO_CASE])
    else:
        metafunc.parametrize("case", cases, ids=[case.id for case in cases])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the cases of one server side by side; without a stack, leave them all out."""
    desk = config.stash.get(DESK, None)
    _leave_out(config, items)
    if desk is None:
        return
    desk.arrange(items)
    if hasattr(config, "workerinput"):
        # pytest-xdist would show its own assertion instead of our message; the tests say it.
        return
    try:
        desk.check_limits(items)
    except ServebenchError as error:
        raise pytest.UsageError(str(error)) from error


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect benchmarks that wait for a stack, for arrivals or for an objective."""
    nothing_found = config.stash.get(DESK, None) is None
    idle = [item for item in items if _is_idle(item) or (nothing_found and asks_for_findings(item))]
    if not idle:
        return
    items[:] = [item for item in items if item not in idle]
    config.hook.pytest_deselected(items=idle)
    config.stash[IDLE] = [item.name for item in idle]
    if hasattr(config, "workeroutput"):
        config.workeroutput[IDLE_FIELD] = config.stash[IDLE]


def _is_idle(item: pytest.Item) -> bool:
    """Return whether a benchmark has no case because it waits for a choice."""
    callspec = getattr(item, "callspec", None)
    marked = item.get_closest_marker("servebench") is not None
    return marked and callspec is not None and callspec.params.get("case", item) is None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ANN401 (pytest-xdist may not be installed)
    """Clear away after a worker that crashed; hear from one without a terminal what waits for a choice."""
    desk = node.config.stash.get(DESK, None)
    if desk is not None:
        desk.turns.take_back(node.workerinput)
    if desk is not None and error:
        desk.containers.clear_worker(node.workerinput["workerid"])
    idle = getattr(node, "workeroutput", {}).get(IDLE_FIELD, [])
    node.config.stash[IDLE] = idle or node.config.stash.get(IDLE, [])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: Any, log: Any) -> Any:  # noqa: ANN401 (as above)
    """Give all cases of a stack to one worker, unless another way to distribute was asked for."""
    desk = config.stash.get(DESK, None)
    if desk is None or config.getoption("dist") != "load":
        return None
    from pytest_servebench.scheduling import StackScheduling

    return StackScheduling(config, log, desk.stacks, interleaved=desk.repeats > 1)


@pytest.fixture
def servebench(request: pytest.FixtureRequest) -> Servebench:
    """Measure a case or ask it: see `pytest_servebench.Servebench`."""
    desk = request.config.stash.get(DESK, None)
    if desk is None:
        pytest.skip("no stack was chosen: --stack=all, --stack=available, or by name")
    try:
        return desk.serve(request.node)
    except ServebenchError as error:
        trouble = str(error)
    pytest.fail(trouble, pytrace=False)


@pytest.fixture
def servebench_findings(request: pytest.FixtureRequest) -> Findings:
    """Tell what the benchmarks of this session have found; a test that asks comes after all of them."""
    desk = request.config.stash.get(DESK, None)
    if desk is None:
        pytest.skip("no stack was chosen: --stack=all, --stack=available, or by name")
    if hasattr(request.config, "workerinput"):
        pytest.skip("with -n no worker has all records: the findings are told below the table")
    return desk.findings()


@pytest.fixture
def fastapi_server(request: pytest.FixtureRequest, servebench: Servebench) -> Endpoint:
    """Where FastAPI serves the plan's first format and batch size, brought up if it was not."""
    return _server_of("fastapi", request, servebench)


@pytest.fixture
def triton_server(request: pytest.FixtureRequest, servebench: Servebench) -> Endpoint:
    """Where Triton serves the plan's first format and batch size, brought up if it was not."""
    return _server_of("triton", request, servebench)


@pytest.fixture
def torchserve_server(request: pytest.FixtureRequest, servebench: Servebench) -> Endpoint:
    """Where TorchServe serves the plan's first format and batch size, brought up if it was not."""
    return _server_of("torchserve", request, servebench)


def _server_of(stack: str, request: pytest.FixtureRequest, servebench: Servebench) -> Endpoint:
    case = request.config.stash[DESK].first_case(stack)
    if case is None:
        pytest.skip(f"{stack} was not chosen: --stack={stack}")
    try:
        return servebench.up(case)
    except ServebenchError as error:
        trouble = str(error)
    pytest.fail(trouble, pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin each run of a test without what an earlier one was told: a plugin may run it again."""
    desk = item.config.stash.get(DESK, None)
    if desk is not None:
        desk.forget(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail just the test whose run is not valid or breaches a limit; its record is already kept."""
    trouble = ""
    try:
        yield
    except ServebenchError as error:
        trouble = str(error)
    desk = item.config.stash.get(DESK, None)
    complaints = [trouble, "" if desk is None else desk.complaint(item)]
    # Outside of the handler: within it, pytest would print the error a second time as the cause.
    if any(complaints):
        pytest.fail("\n".join(filter(None, complaints)), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show a failing benchmark the last words of its server."""
    report = yield
    desk = item.config.stash.get(DESK, None)
    if desk is not None and report.failed:
        report.sections.extend(desk.last_words(item, report))
    return report


@pytest.hookimpl(trylast=True)
def pytest_servebench_gate(result: CaseResult, thresholds: Sequence[Threshold]) -> Verdict:
    """Compare with the limits."""
    from pytest_servebench.gate import judge

    return judge(result, thresholds)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
    """End the servers before anything is cleared away, and hand over the records once all is saved."""
    desk = session.config.stash.get(DESK, None)
    if desk is None:
        return (yield)
    _noting_trouble(session, lambda: desk.end_servers(exitstatus))
    finished = yield
    # Not before: pytest-xdist has ended its workers only now.
    _noting_trouble(session, desk.containers.clear_after)
    desk.report()
    return finished


def _noting_trouble(session: pytest.Session, clear_away: Callable[[], None]) -> None:
    """Clear away; what cannot be is shown in the summary and fails the session."""
    try:
        clear_away()
    except ServebenchError as error:
        known = session.config.stash.get(TROUBLE, "")
        session.config.stash[TROUBLE] = "\n".join(filter(None, (known, str(error))))
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table, or how to choose a stack."""
    desk = config.stash.get(DESK, None)
    idle = config.stash.get(IDLE, [])
    if desk is not None:
        desk.show(terminalreporter)
        if config.stash.get(TROUBLE, ""):
            terminalreporter.write_line(config.stash[TROUBLE], red=True)
        for why, text in REASONS.items():
            names = dict.fromkeys(name.partition("[")[0] for name in idle if why in name)
            if names:
                terminalreporter.write_line(text.format(names=", ".join(names)), yellow=True)
    elif idle:
        from pytest_servebench.offers import stack_names

        count = "1 benchmark was" if len(idle) == 1 else f"{len(idle)} benchmarks were"
        text = HOW_TO_CHOOSE.format(count=count, names=",".join(stack_names(config)))
        terminalreporter.write_line(text, yellow=True)
