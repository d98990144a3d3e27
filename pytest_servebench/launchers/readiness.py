"""When a server counts as ready: a pure decision and a thin poll around it."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass

from pytest_servebench.interfaces import Clock
from pytest_servebench.words import Word

POLL_S = 0.05
PROBE_TIMEOUT_S = 1.0
"""Below the two seconds in which a server's death has to be reported."""
_OK = 200


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What one look at a server found: a status, or None and why there is none."""

    status: int | None
    text: str

    def __str__(self) -> str:
        return self.text if self.status is None else f"{self.status} {self.text}".rstrip()


HttpProbe = Callable[[str, int, str], ProbeAnswer]
"""Takes host, port and path; never raises."""


class Stage(Word):
    """Where a start stands."""

    READY = "ready"
    ENDED = "ended"
    TOO_LATE = "too late"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """How a wait ended."""

    stage: Stage
    elapsed_s: float
    last_answer: ProbeAnswer
    exit_code: int | None = None


def decide(answer: ProbeAnswer, exit_code: int | None, elapsed_s: float, deadline_s: float) -> Stage:
    """Return where a start stands.

    A server that ended is never ready, whoever answers at its address.
    """
    if exit_code is not None:
        return Stage.ENDED
    if answer.status == _OK:
        return Stage.READY
    return Stage.WAITING if elapsed_s < deadline_s else Stage.TOO_LATE


def wait_until_ready(
    *,
    probe: Callable[[], ProbeAnswer],
    exit_code: Callable[[], int | None],
    deadline_s: float,
    clock: Clock,
    began_ns: int | None = None,
) -> Readiness:
    """Poll until a decision falls; ``elapsed_s`` counts from ``began_ns`` (default: now)."""
    began_ns = clock.now_ns() if began_ns is None else began_ns
    while True:
        answer = probe()
        code = exit_code()
        elapsed_s = (clock.now_ns() - began_ns) / 1e9
        stage = decide(answer, code, elapsed_s, deadline_s)
        if stage is not Stage.WAITING:
            return Readiness(stage=stage, elapsed_s=elapsed_s, last_answer=answer, exit_code=code)
        clock.sleep_s(POLL_S)


def http_probe(host: str, port: int, path: str) -> ProbeAnswer:
    """GET ``path`` once and return the status line; only the head of the reply is read."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return ProbeAnswer(response.status, response.reason)
    except TimeoutError:
        return ProbeAnswer(None, f"no answer within {PROBE_TIMEOUT_S:g} s")
    except http.client.RemoteDisconnected:
        return ProbeAnswer(None, "the connection was closed without an answer")
    except http.client.HTTPException as error:
        return ProbeAnswer(None, f"an answer that is not HTTP ({type(error).__name__})")
    except OSError as error:
        return ProbeAnswer(None, (error.strerror or str(error)).lower())
    except UnicodeError:
        return ProbeAnswer(None, "no host can have that name")
    finally:
        connection.close()
