"""Who sends, and to which address: read at the door, wrong ones named with what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.options.cases import cases_for
from pytest_servebench.options.workers import MOST_WORKERS, elsewhere, parse_host, parse_workers
from pytest_servebench.plan import Case
from tests.asking import given, plan
from tests.offered_stack import THREE

NETNS = "popen//python=ip netns exec blue python3"
FAR = "ssh=bench@10.0.0.8//python=python3.11"


def workers(text: str) -> tuple[str, ...]:
    """Return the workers that ``--serve-load-workers=text`` means."""
    return parse_workers(given(text, "--serve-load-workers"))


def cases(concurrency: int | str = 1, **asked: str) -> tuple[Case, ...]:
    """Return the cases of one benchmark under these options."""
    options: dict[str, Any] = asked
    return cases_for(
        plan(stack="fastapi", format="onnx", **options), stacks_offer=THREE, concurrency=concurrency
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", ("popen",)),
        ("3", ("popen",) * 3),
        ("popen", ("popen",)),
        ("3*popen", ("popen",) * 3),
        (FAR, (FAR,)),
        (f"popen, 2*{FAR},{NETNS}", ("popen", FAR, FAR, NETNS)),
        ("popen//nice=-5,ssh=-p 2222 bench@gpu-box", ("popen//nice=-5", "ssh=-p 2222 bench@gpu-box")),
        ("popen//nice=5//env:OMP_NUM_THREADS=1", ("popen//nice=5//env:OMP_NUM_THREADS=1",)),
    ],
)
def test_each_form_is_a_specification_for_each_worker(text: str, expected: tuple[str, ...]) -> None:
    """A number is so many local processes; ``N*`` repeats; the grammar is pytest-xdist's."""
    assert workers(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "is not a number of workers from 1 to 128: 0"),
        ("129", "is not a number of workers from 1 to 128: 129"),
        ("100*popen,100*popen", "is not a number of workers from 1 to 128: 200"),
        ("0*popen", "is not a number of workers from 1 to 128: 0"),
        ("", "has an empty worker"),
        ("popen,,popen", "has an empty worker"),
        ("-1", "has no worker in '-1'"),
        ("python=python3", "has no worker in 'python=python3'"),
        ("popen//ssh=a@b", "has no worker in 'popen//ssh=a@b'"),
        ("socket=10.0.0.8:8888", "has no worker in 'socket=10.0.0.8:8888'"),
        ("popen//pyhton=python3", "does not know 'pyhton' in 'popen//pyhton=python3'"),
        ("popen//nice=1//nice=2", "says something twice in 'popen//nice=1//nice=2'"),
        ("ssh=", "has a key without its value, or popen with one, in 'ssh='"),
        ("popen=3", "has a key without its value, or popen with one, in 'popen=3'"),
        ("ssh=-oProxyCommand=x", "has no host for ssh in 'ssh=-oProxyCommand=x'"),
        ("ssh=me@-oProxyCommand=x", "has no host for ssh in 'ssh=me@-oProxyCommand=x'"),
        ("ssh=-p 2222 -v", "has no host for ssh in 'ssh=-p 2222 -v'"),
        ("ssh= //python=python3", "has no host for ssh in 'ssh= //python=python3'"),
        ("popen//nice=abc", "has a nice that is no whole number in 'popen//nice=abc'"),
        ("popen//nice=1.5", "has a nice that is no whole number in 'popen//nice=1.5'"),
        ("popen//python='python", "has a command that cannot be split in"),
    ],
)
def test_a_wrong_worker_is_told_with_what_is_allowed(text: str, message: str) -> None:
    """Before anything runs, and by the option's name."""
    with pytest.raises(PlanError) as caught:
        workers(text)
    assert caught.value.what.startswith(f"--serve-load-workers {message}")


def test_the_allowed_forms_are_shown() -> None:
    """Whoever mistypes sees the grammar."""
    with pytest.raises(PlanError) as caught:
        workers("popen//oops=1")
    assert "N, popen, N*popen, ssh=USER@HOST//python=COMMAND" in caught.value.next_step
    assert MOST_WORKERS == 128


@pytest.mark.parametrize(
    ("text", "expected"), [("localhost", "127.0.0.1"), (" 10.0.0.7 ", "10.0.0.7"), ("127.0.0.2", "127.0.0.2")]
)
def test_a_host_is_an_address(text: str, expected: str) -> None:
    """An IPv4 address, or the word for this machine."""
    assert parse_host(given(text, "--serve-host")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.0.0.0", "is no address that load can be sent to: 0.0.0.0"),
        ("224.0.0.1", "is no address that load can be sent to: 224.0.0.1"),
        ("255.255.255.255", "is no address that load can be sent to: 255.255.255.255"),
        ("240.0.0.1", "is no address that load can be sent to: 240.0.0.1"),
        ("gpu-box", "is not an IPv4 address: 'gpu-box'"),
        ("::1", "is not an IPv4 address: '::1'"),
        ("", "is not an IPv4 address: ''"),
    ],
)
def test_a_wrong_host_is_told(text: str, message: str) -> None:
    """All addresses at once are none that load can be sent to."""
    with pytest.raises(PlanError) as caught:
        parse_host(given(text, "--serve-host"))
    assert caught.value.what == f"--serve-host {message}"


def test_a_case_has_no_more_workers_than_requests_in_flight() -> None:
    """A worker without a request in flight would do nothing."""
    assert [case.load.workers for case in cases(4, load_workers="3")] == [("popen",) * 3] * 2
    assert [case.load.workers for case in cases(2, load_workers="3")] == [("popen",) * 2] * 2
    assert cases(2)[0].load.workers == ()
    (one, _) = cases(1, load_workers="3", arrivals="poisson:9")
    assert one.load.workers == ("popen",) * 3
    assert (
        cases(1, load_workers="3", arrivals="poisson:9", max_in_flight="2")[0].load.workers == ("popen",) * 2
    )


def test_workers_elsewhere_need_an_address_that_they_reach() -> None:
    """127.0.0.1 is another machine there: told before anything runs, with the way out."""
    with pytest.raises(PlanError) as caught:
        plan(stack="fastapi", load_workers=f"popen,{FAR}")
    assert caught.value.what == (
        f"--serve-load-workers has workers on other hosts ({FAR}), which cannot reach a loopback address"
    )
    assert caught.value.seen == "fastapi at 127.0.0.1"
    assert "--serve-host=ADDRESS" in caught.value.next_step
    assert plan(stack="fastapi", load_workers=FAR, host="10.0.0.7").host == "10.0.0.7"
    assert plan(stack="fastapi", load_workers="ssh=localhost,ssh=me@127.0.0.1").load_workers
    assert plan(stack="fastapi=http://10.0.0.9:8000", load_workers=FAR).load_workers == (FAR,)
    with pytest.raises(PlanError, match="cannot reach a loopback address"):
        plan(stack="fastapi=http://127.0.0.1:8000", load_workers=FAR, host="10.0.0.7")


def test_what_runs_elsewhere() -> None:
    """Only ssh tells of another host; its options before the destination do not count."""
    assert elsewhere("ssh=-p 2222 bench@gpu-box")
    assert not elsewhere("ssh=-p 2222 localhost")
    assert not elsewhere(NETNS)
