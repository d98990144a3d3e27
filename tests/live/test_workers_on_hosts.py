"""Workers on several hosts for real: network namespaces with addresses of their own, and ssh."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.arrivals import Poisson
from pytest_servebench.errors import LoadError
from pytest_servebench.launchers.ports import free_ports
from pytest_servebench.load import team
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Load
from pytest_servebench.results import Progress
from pytest_servebench.samples import Outcome
from pytest_servebench.testing.server import ScriptedServer
from tests.contract.test_open_loop import assert_on_schedule
from tests.loads import STEADY, Onlooker, outcomes, posts
from tests.plugin.echo_suite import ONNX, echo_suite

pytestmark = pytest.mark.live

PYTHON = shlex.quote(sys.executable)
TWO_HOSTS = Load(concurrency=4, warmup_s=0.2, duration_s=0.8, timeout_s=5.0, verify_share=0.05)


def ip(*words: str) -> None:
    """Run one command of iproute2, which must succeed."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Host:
    """A network namespace: a host of its own, as far as sockets can tell."""

    namespace: str
    address: str

    @property
    def worker(self) -> str:
        """The specification of a worker in it."""
        return f"popen//python=ip netns exec {self.namespace} {PYTHON}"


@dataclass(frozen=True)
class Network:
    """A bridge of this host's, and the hosts on it."""

    address: str
    hosts: tuple[Host, ...]


def why_no_namespaces() -> str:
    """Return why no network namespace can be made here; empty where it can."""
    if shutil.which("ip") is None:
        return "no ip command: apt install iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"sb-try-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"no network namespace can be made: {done.stderr.strip()}"
    ip("netns", "del", name)
    return ""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Return two hosts on a network with this one; all of it is removed again."""
    reason = why_no_namespaces()
    if reason:
        pytest.skip(reason)
    number = os.getpid() % 200
    bridge, net = f"sb{os.getpid()}", f"10.77.{number}"
    hosts = tuple(Host(f"sb-{os.getpid()}-{n}", f"{net}.{n + 1}") for n in (1, 2))
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{net}.1/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for n, host in enumerate(hosts):
            ip("netns", "add", host.namespace)
            cable = f"sb{os.getpid()}v{n}"
            ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            ip("link", "set", cable, "master", bridge, "up")
            ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", host.namespace, "link", "set", "eth0", "up")
        yield Network(f"{net}.1", hosts)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no bridge or veth can be made here: {error.stderr.strip()}")
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", bridge], capture_output=True, check=False)


@pytest.fixture
def driver() -> Iterator[LoadDriver]:
    """Return a driver whose workers are ended with the test."""
    one = LoadDriver()
    yield one
    one.close()


def test_two_hosts_make_one_load(network: Network, driver: LoadDriver) -> None:
    """Workers in two namespaces send from two addresses, and their samples are one load's."""
    specs = tuple(host.worker for host in network.hosts)
    load = replace(TWO_HOSTS, workers=specs)
    with ScriptedServer(STEADY, host=network.address) as server:
        samples = driver.run(server.endpoint(), posts(5), load, Onlooker())
        assert server.peers == {host.address for host in network.hosts}
        assert len(server.requests) == len(samples)
    assert outcomes(samples) == {Outcome.OK: len(samples)}
    assert [one.worker for one in samples.clients] == [f"1:{specs[0]}", f"2:{specs[1]}"]
    assert all(one.sent > 20 for one in samples.clients)
    begin, end = samples.window_ns
    assert end - begin == 800_000_000


def test_arrivals_come_from_both_hosts(network: Network, driver: LoadDriver) -> None:
    """Every second arrival from either, none twice."""
    load = replace(TWO_HOSTS, arrivals=Poisson(150), workers=tuple(host.worker for host in network.hosts))
    with ScriptedServer(STEADY, host=network.address) as server:
        samples = driver.run(server.endpoint(), posts(5), load, Onlooker())
    assert_on_schedule(samples, load)
    assert [one.sent > 20 for one in samples.clients] == [True, True]


def test_a_host_with_a_clock_of_its_own(
    network: Network, driver: LoadDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where clocks may differ they are compared, and what that cannot tell is in the record.

    Both clocks are one here, so the offset that is found must be none, to within its uncertainty.
    """
    monkeypatch.setattr(team, "clock_identity", lambda: "another boot")
    load = replace(TWO_HOSTS, workers=tuple(host.worker for host in network.hosts))
    with ScriptedServer(STEADY, host=network.address) as server:
        samples = driver.run(server.endpoint(), posts(5), load, Onlooker())
        arrived = sorted(one.arrived_ns for one in server.requests)
    for client in samples.clients:
        assert 0 < client.clock_uncertainty_ns < 50_000_000
    most_ns = max(client.clock_uncertainty_ns for client in samples.clients)
    assert arrived[0] >= samples.sent_ns[0] - most_ns
    assert samples.window_ns[1] - samples.window_ns[0] == 800_000_000
    assert np.all(samples.received_ns > samples.sent_ns)


def test_a_host_that_cannot_reach_the_server_is_told(network: Network, driver: LoadDriver) -> None:
    """A server on loopback is not there for another host: errors that name the worker, no hang."""
    load = replace(TWO_HOSTS, workers=(network.hosts[0].worker,))
    with ScriptedServer(STEADY) as server:
        samples = driver.run(server.endpoint(), posts(5), load, Onlooker())
    assert outcomes(samples).keys() == {Outcome.TRANSPORT_ERROR}
    assert samples.first_error.startswith(f"worker 1:{network.hosts[0].worker}: ")


def test_a_host_that_goes_away_is_named(network: Network, driver: LoadDriver) -> None:
    """A cable that is pulled leaves requests without replies; a host that dies leaves its name."""
    load = replace(TWO_HOSTS, duration_s=20.0, workers=tuple(host.worker for host in network.hosts))

    class Killer(Onlooker):
        def progress(self, progress: Progress) -> None:
            gateway = driver._workers._open[f"2:{network.hosts[1].worker}"]
            os.kill(gateway.facts["pid"], signal.SIGKILL)

    with ScriptedServer(STEADY, host=network.address) as server, pytest.raises(LoadError) as caught:
        driver.run(server.endpoint(), posts(5), load, Killer())
    assert caught.value.what == f"Worker 2:{network.hosts[1].worker} ended in the middle of the load."


def test_a_whole_session_on_several_hosts(
    network: Network, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line: servers on an address of this host, workers on two others, one record."""
    suite = echo_suite(pytester, monkeypatch)
    suite.write()
    specs = ",".join(host.worker for host in network.hosts)
    result = suite.run_apart(
        "--stack=echo", ONNX, f"--serve-host={network.address}", f"--serve-load-workers={specs}"
    )
    assert result.ret == 0, result.outlines
    result.stdout.fnmatch_lines(
        [
            f"servebench load workers: {network.hosts[0].worker}, {network.hosts[1].worker}; a case with *",
            f"servebench warning: the servers listen on {network.address}, and whoever reaches it can *",
        ]
    )
    (record,) = suite.records.values()
    assert record["validity"] == "valid"
    assert record["load"]["workers"] == [host.worker for host in network.hosts]
    assert [one["name"] for one in record["workers"]] == list(record["client_cpu_shares"])


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[str]:
    """Return a specification that leads over ssh to this machine, by an sshd of the test's own."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("no sshd: apt install openssh-server openssh-client")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    port = free_ports(("ssh",))["ssh"]
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
    )
    (tmp_path / "ssh_config").write_text(
        f"Host *\n  Port {port}\n  IdentityFile {tmp_path}/user\n  StrictHostKeyChecking no\n"
        f"  UserKnownHostsFile {tmp_path}/known\n"
    )
    process = subprocess.Popen([sshd, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.DEVNULL)
    try:
        yield f"ssh=127.0.0.1//ssh_config={tmp_path}/ssh_config//python={PYTHON}"
    finally:
        process.terminate()
        process.wait()


def test_a_worker_over_ssh(ssh: str, driver: LoadDriver) -> None:
    """The same specification as pytest-xdist's leads to another host."""
    load = replace(TWO_HOSTS, workers=("popen", ssh))
    with ScriptedServer(STEADY) as server:
        samples = driver.run(server.endpoint(), posts(5), load, Onlooker())
    assert outcomes(samples) == {Outcome.OK: len(samples)}
    assert all(one.sent > 20 for one in samples.clients)
