from __future__ import annotations

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.launchers.server_address import parse_address


@pytest.mark.parametrize(
    ("url", "host", "ports"),
    [
        ("http://gpu-7:8000", "gpu-7", {"http": 8000}),
        ("http://gpu-7", "gpu-7", {"http": 80}),
        ("http://10.0.0.7:8000/", "10.0.0.7", {"http": 8000}),
        ("http://h:8000?grpc=8001&metrics=8002", "h", {"http": 8000, "grpc": 8001, "metrics": 8002}),
    ],
)
def test_reads_an_address(url: str, host: str, ports: dict[str, int]) -> None:
    """The URL's port is http, and its query names the other roles."""
    address = parse_address(url)
    assert (address.host, address.ports) == (host, ports)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://h:8000", "scheme 'https'"),
        ("h:8000", "scheme 'h'"),
        ("gpu7", "scheme ''"),
        ("http://:8000", "no host"),
        ("http://gpu..lan:8000", "a name that no host can have"),
        ("http://[::1]:8000", "an IPv6 address"),
        ("http://me:secret@h:8000", "a user name or password"),
        ("http://h:8000/v2", "the path '/v2'"),
        ("http://h:8000#x", "a fragment"),
        ("http://h:99999", "range 0-65535"),
        ("http://h:0", "the port 0"),
        ("http://h:x", "could not be cast"),
        ("http://h:8000?grpc=x", "invalid literal"),
        ("http://h:8000?grpc", "bad query field"),
        ("http://h:8000?grpc=0", "outside 1..65535"),
        ("http://h:8000?http=1", "the role http twice"),
    ],
)
def test_refuses_another_address(url: str, seen: str) -> None:
    """A URL that cannot be attached to is refused at the door, with what is allowed."""
    with pytest.raises(PlanError) as caught:
        parse_address(url)
    assert seen in caught.value.seen
    assert url in caught.value.what
    assert "http://HOST:PORT" in caught.value.next_step
