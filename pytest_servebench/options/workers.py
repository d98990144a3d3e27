"""Who sends the load: ``4``, ``popen``, ``3*popen``, ``ssh=user@host//python=python3.11`` (pure).

The grammar is that of pytest-xdist's ``--tx``: a specification of execnet's, ``N*`` before it.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from pytest_servebench.errors import PlanError
from pytest_servebench.launchers.server_address import parse_address
from pytest_servebench.options.given import Asked, Given
from pytest_servebench.words import listed

MOST_WORKERS = 128
FORMS = ("N", "popen", "N*popen", "ssh=USER@HOST//python=COMMAND", "popen//python=COMMAND")

_KINDS = ("popen", "ssh")
_KEYS = ("python", "chdir", "nice", "ssh_config", "env:NAME")
_TIMES = re.compile(r"(?P<count>[0-9]+)\*(?P<spec>.+)")
_HERE = re.compile(r"localhost|127(\.\d+){3}|::1")


def parse_workers(given: Given) -> tuple[str, ...]:
    """Return a specification for each worker; raises `PlanError`."""
    if re.fullmatch(r"\d+", given.text.strip()):
        return ("popen",) * _count(given, given.text.strip())
    workers: list[str] = []
    for part in (part.strip() for part in given.text.split(",")):
        times = _TIMES.fullmatch(part)
        spec = (times["spec"] if times else part).strip()
        _check(given, spec)
        workers += [spec] * (_count(given, times["count"]) if times else 1)
        _count(given, str(len(workers)))
    return tuple(workers)


def parse_host(given: Given) -> str:
    """Return the IPv4 address on which servers listen and to which load is sent; raises `PlanError`."""
    text = given.text.strip()
    try:
        address = ipaddress.IPv4Address("127.0.0.1" if text == "localhost" else text)
    except ValueError as error:
        raise given.wrong(
            f"is not an IPv4 address: {text!r}",
            seen=str(error),
            next_step="give an address of this machine that the workers can reach, as in 10.0.0.7",
        ) from error
    # The broadcast address is one of the reserved ones, from 240.0.0.0 on.
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        raise given.wrong(
            f"is no address that load can be sent to: {text}",
            next_step="give one address of this machine, as in 10.0.0.7",
        )
    return str(address)


def is_loopback(host: str) -> bool:
    """Return whether only processes of this machine reach ``host``."""
    return _HERE.fullmatch(host) is not None


def elsewhere(spec: str) -> bool:
    """Return whether a worker runs on another host, as far as its specification tells."""
    destination = _values(spec).get("ssh")
    if destination is None:
        return False
    return not is_loopback(_host_of(destination))


def check_reach(
    asked: Asked, workers: Sequence[str], host: str, stacks: Iterable[str], attached: Mapping[str, str]
) -> None:
    """Raise `PlanError` when workers on other hosts are to reach a server that listens on loopback only."""
    far = [spec for spec in workers if elsewhere(spec)]
    if not far:
        return
    hosts = {stack: parse_address(attached[stack]).host if stack in attached else host for stack in stacks}
    near = [f"{stack} at {address}" for stack, address in hosts.items() if is_loopback(address)]
    if near:
        raise asked["load-workers"].wrong(
            f"has workers on other hosts ({listed(far)}), which cannot reach a loopback address",
            seen=f"{listed(near)}",
            next_step="give --serve-host=ADDRESS, one of this machine that they reach; "
            "a server that already runs by such an address (--stack=NAME=http://ADDRESS:PORT)",
        )


def _check(given: Given, spec: str) -> None:
    """Raise `PlanError` for what execnet, or this package, cannot open."""
    keys = [part.partition("=")[0] for part in spec.split("//")]
    kinds = [key for key in keys if key in _KINDS]
    if len(kinds) != 1:
        raise _wrong(given, f"has no worker in {spec!r}" if spec else "has an empty worker")
    for key in keys:
        if key not in (*_KINDS, *_KEYS) and not re.fullmatch(r"env:\w+", key):
            raise _wrong(given, f"does not know {key!r} in {spec!r}")
    if len(set(keys)) < len(keys):
        raise _wrong(given, f"says something twice in {spec!r}")
    values = _values(spec)
    if any(key != "popen" and not value for key, value in values.items()) or values.get("popen"):
        raise _wrong(given, f"has a key without its value, or popen with one, in {spec!r}")
    if "ssh" in values and not re.match(r"[^-]", _host_of(values["ssh"])):
        raise _wrong(given, f"has no host for ssh in {spec!r}")
    if not re.fullmatch(r"-?\d{1,2}", values.get("nice", "0")):
        raise _wrong(given, f"has a nice that is no whole number in {spec!r}")
    try:
        shlex.split(values.get("python", ""))
    except ValueError as error:
        raise _wrong(given, f"has a command that cannot be split in {spec!r}: {error}") from error


def _wrong(given: Given, what: str) -> PlanError:
    keys = listed(f"{key}=..." for key in _KEYS)
    return given.wrong(
        what,
        seen=repr(given.text),
        next_step=f"give one of: {', '.join(FORMS)}; separated by commas; further keys after //: {keys}",
    )


def _values(spec: str) -> dict[str, str]:
    return {key: value for key, _, value in (part.partition("=") for part in spec.split("//"))}


def _host_of(destination: str) -> str:
    """Return the host, which is the last word: options of ssh may stand before it."""
    return destination.rpartition(" ")[2].rpartition("@")[2]


def _count(given: Given, text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text) or int(text) > MOST_WORKERS:
        raise given.wrong(
            f"is not a number of workers from 1 to {MOST_WORKERS}: {text}",
            seen=repr(given.text),
            next_step="give a number, as in 4 or 4*popen",
        )
    return int(text)
