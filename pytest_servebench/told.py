"""What a warm server tells of the model it serves: asked by its stack, and no reason to fail by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from pytest_servebench.as_asked import warnings_of
from pytest_servebench.errors import LoadError
from pytest_servebench.held import CAST, NOT_OURS, Held, computed
from pytest_servebench.interfaces import Driver, RunningServer, Stack, Telling
from pytest_servebench.plan import Case, Deployment, LauncherKind, Payload, WireRequest
from pytest_servebench.results import Served
from pytest_servebench.samples import Reply

TIMEOUT_S = 30.0
LOG_LINES = 2000
"""Read back for what was said when the model was loaded."""
_OK = 200


def tells(stack: Stack) -> Telling | None:
    """Return the stack as a `Telling` when it is one."""
    if hasattr(stack, "served_requests") and hasattr(stack, "served"):
        return cast("Telling", stack)
    return None


def told_by(
    server: RunningServer,
    stack: Stack,
    deployment: Deployment,
    driver: Driver,
    held: Callable[[], Held] = lambda: NOT_OURS,
) -> Served:
    """Return what ``server`` says that it runs ``deployment`` with; where it does not, why.

    ``held`` reads the model file that it was given: asked where its engine runs that as it is
    (`interfaces.CastingNothing`) and does not say in which precision.
    """
    telling = tells(stack)
    if telling is None:
        return Served(absent=f"the stack {stack.name} does not tell what it computes with")
    replies = []
    for request in telling.served_requests(deployment):
        try:
            reply = driver.exchange(server.endpoint, request, TIMEOUT_S)
        except LoadError as error:
            return Served(absent=f"{_named(request)} was not answered: {error.seen or error.what}")
        if reply.status != _OK:
            return Served(
                absent=f"{_named(request)} was answered with status {reply.status}: {_begin(reply)}"
            )
        replies.append(reply)
    served = telling.served(deployment, replies, server.log_tail(LOG_LINES))
    endpoint = server.endpoint
    if served.precision is None and not served.absent:
        decides = endpoint.launcher == LauncherKind.ATTACH or getattr(stack, "casts_nothing", False)
        served = computed(served, held() if decides else CAST, endpoint.container)
    more = warnings_of(deployment, served, endpoint.launcher)
    return replace(served, warnings=(*served.warnings, *more))


def decoder_of(server: RunningServer, stack: Stack, case: Case, driver: Driver) -> str:
    """Return what ``server`` says that it decodes JPEG with; empty where it does not, or is sent none."""
    if case.payload is not Payload.JPEG:
        return ""
    return told_by(server, stack, case.deployment, driver).options.get("decoder", "")


def _named(request: WireRequest) -> str:
    return f"{request.method} {request.path}"


def _begin(reply: Reply) -> str:
    return reply.body[:120].decode(errors="replace")
