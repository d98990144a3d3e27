"""The real servers' metrics, checked by promtool, scraped by a real Prometheus, held against the client's.

All three hold their requests for longer than the client's own part takes, so that the percentiles of both
sides mean the same; what is asserted is true at any speed of the machine, because the server's time of a
request is a part of the client's.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pytest_servebench.interfaces import Stack
from pytest_servebench.launchers.process import ProcessLauncher
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Artifact, Case, Deployment, Image, Load, ModelFormat, Payload
from pytest_servebench.samples import Outcome, Samples
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from pytest_servebench.stacks.triton import Triton
from tests.expositions.known_complaints import known_complaints
from tests.loads import Onlooker
from tests.prometheus import Prometheus, complaints, installed, scraping
from tests.serving import Served

pytestmark = pytest.mark.live

HOLD_MS = 22.0
"""How long each server waits for more requests than the three that are ever in flight: it lies in the
bucket from 20 to 30 ms."""
LOAD = Load(concurrency=3, warmup_s=0.0, duration_s=2.5, verify_share=1.0)
EXPOSITIONS = Path(__file__).parents[1] / "expositions"
SUMMARIES = "--metrics-config=summary_latencies=true"
SUMMARY_ERROR = 0.001
"""By how much the rank of Triton's quantile 0.95 may be off: its default for that quantile."""


@dataclass(frozen=True)
class Loaded:
    """A server after a load: what the client saw of it, and Prometheus since."""

    served: Served
    samples: Samples
    prometheus: Prometheus
    before: Mapping[str, float]
    """Its counters before the load, by query, as Prometheus had them."""

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """The client's own times, one for each request, in order of size."""
        return np.sort(self.samples.received_ns - self.samples.sent_ns) / 1e9

    def grown(self, promql: str) -> float:
        """Return by how much a counter has grown over the load, as Prometheus has it now."""
        return self.prometheus.until(promql, lambda _: True) - self.before[promql]

    def counted(self, promql: str) -> None:
        """Fail unless a counter has grown by exactly the requests that were sent."""
        sent = self.before[promql] + len(self.samples)
        self.prometheus.until(promql, lambda value: value == sent)
        # And it stays so: nothing more was on its way.
        self.prometheus.has_seen_now(self.served.stack.name)
        assert self.grown(promql) == len(self.samples)


STACKS: tuple[Stack, ...] = (Fastapi(), Triton(), Torchserve())
OF_TRITON = '{job="triton",model="tiny_onnx_jpeg"}'
"""The ensemble: what a client asks, and what no warm-up has asked."""
FASTAPI_SECONDS = "image_classification_duration_seconds_sum"
TRITON_MICROSECONDS = f"nv_inference_request_duration_us{OF_TRITON}"
TORCHSERVE_MICROSECONDS = "ts_inference_latency_microseconds"
ONE_EACH = {
    "fastapi": (
        'image_classification_requests_total{status="200"}',
        "image_classification_duration_seconds_count",
        "image_classification_queue_seconds_count",
        'batch_size_distribution_sum{job="fastapi"}',
    ),
    "triton": (
        f"nv_inference_request_success{OF_TRITON}",
        f"nv_inference_count{OF_TRITON}",
        f"nv_inference_request_summary_us_count{OF_TRITON}",
        'nv_inference_count{model="tiny_onnx"}',
    ),
    "torchserve": (
        "ts_inference_requests_total",
        'batch_size_distribution_sum{job="torchserve"}',
    ),
}
"""Counters that grow by one with each request for one image, by stack."""
OTHERS = {
    "fastapi": (FASTAPI_SECONDS, 'batch_size_distribution_count{job="fastapi"}'),
    "triton": (TRITON_MICROSECONDS,),
    "torchserve": (
        TORCHSERVE_MICROSECONDS,
        'batch_size_distribution_count{job="torchserve"}',
        "image_classification_handler_seconds_count",
        "image_classification_handler_seconds_sum",
    ),
}
"""Counters that are read before the load as well."""


def deployment(stack: Stack) -> Deployment:
    """Return the tiny model, held for `HOLD_MS`."""
    return Deployment(
        stack=stack.name, model="tiny", format=ModelFormat.ONNX, max_queue_delay_ms=HOLD_MS, threads=1
    )


def metrics_role(server: Served) -> str:
    """Return which of its ports has the metrics."""
    return "metrics" if "metrics" in server.running.endpoint.ports else "http"


def launched(stack: Stack, artifacts: Mapping[str, Artifact], workdir: Path) -> Served:
    """Return a server that holds requests, and reports its summaries, without a model if it can."""
    spec = stack.launch_spec([deployment(stack)], artifacts)
    if stack.name == "triton":
        spec = replace(spec, argv=(*spec.argv, SUMMARIES))
    if stack.name == "fastapi":
        spec = replace(spec, environment={**spec.environment, "SERVEBENCH_HOLD": "always"})
    return Served(stack, ProcessLauncher().start(stack.name, spec, workdir))


def put_under_load(served: Served, prometheus: Prometheus, images: list[Image]) -> Loaded:
    """Return a server after a closed loop that Prometheus saw begin and end."""
    name = served.stack.name
    case = Case(deployment=deployment(served.stack), payload=Payload.JPEG)
    requests = [served.stack.encode(case, [image]) for image in images]
    prometheus.has_seen_now(name)
    before = {query: prometheus.value(query) or 0.0 for query in (*ONE_EACH[name], *OTHERS[name])}
    samples = LoadDriver().run(served.running.endpoint, requests, LOAD, Onlooker())
    assert set(samples.outcome) == {Outcome.OK}, samples.first_error
    assert samples.folded is None
    prometheus.has_seen_now(name)
    return Loaded(served, samples, prometheus, before)


@pytest.fixture(scope="module")
def monitored(
    artifacts: dict[str, Artifact], images: list[Image], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Loaded]]:
    """Return the three servers, each after a load of its own, and one Prometheus beside them."""
    installed("prometheus", "promtool")
    with ExitStack() as running:
        servers = {}
        for stack in STACKS:
            server = launched(stack, artifacts, tmp_path_factory.mktemp(f"a {stack.name}"))
            servers[stack.name] = running.enter_context(server)
            if stack.name != "fastapi":
                server.load(deployment(stack))
        targets = {n: s.running.endpoint.authority(metrics_role(s)) for n, s in servers.items()}
        prometheus = running.enter_context(scraping(targets, tmp_path_factory.mktemp("a prometheus")))
        yield {name: put_under_load(server, prometheus, images) for name, server in servers.items()}


@pytest.fixture(params=STACKS, ids=lambda stack: str(stack.name))
def loaded(request: pytest.FixtureRequest, monitored: dict[str, Loaded]) -> Loaded:
    """Return each of them in turn."""
    return monitored[request.param.name]


def test_promtool_finds_nothing_that_is_ours(loaded: Loaded) -> None:
    """Each page can be read, and breaks conventions only by names that its server's makers gave."""
    page = loaded.served.call("GET", "/metrics", metrics_role(loaded.served)).body.decode()
    assert complaints(page) <= known_complaints(loaded.served.stack.name)


def test_the_pages_are_those_that_dashboards_are_checked_against(loaded: Loaded) -> None:
    """The real server still says all that `tests/expositions` has of it."""
    name = loaded.served.stack.name
    page = loaded.served.call("GET", "/metrics", metrics_role(loaded.served)).body.decode()
    kept = (EXPOSITIONS / f"{name}.txt").read_text(encoding="utf-8")
    assert names_of(kept) <= names_of(page)


def names_of(page: str) -> set[tuple[str, str]]:
    """Return each metric of a page with its type."""
    return {(family.name, family.type) for family in text_string_to_metric_families(page)}


def test_every_target_is_up(loaded: Loaded) -> None:
    """Prometheus scrapes each server and takes all of its samples."""
    name = loaded.served.stack.name
    assert loaded.prometheus.until(f'up{{job="{name}"}}', lambda up: up == 1)
    kept = loaded.prometheus.value(f'scrape_samples_post_metric_relabeling{{job="{name}"}}')
    assert kept is not None
    assert kept > 10


def test_counters_have_grown_by_the_requests_that_were_sent(loaded: Loaded) -> None:
    """What Prometheus has of a server is exactly what the client sent, warm-up included."""
    assert len(loaded.samples) > 10
    for counter in ONE_EACH[loaded.served.stack.name]:
        loaded.counted(counter)


def test_fastapis_p95_lies_in_the_clients_bucket(monitored: dict[str, Loaded]) -> None:
    """`histogram_quantile` finds the bucket that the server's own times say, at most that of the client's.

    The time in a reply is inside the one in the histogram, and that is inside the client's: so for the
    ranks, and for their buckets. The client's bucket is the same one unless the way to it takes longer
    than the bucket is wide.
    """
    loaded = monitored["fastapi"]
    own_s = times_in_replies_s(loaded.samples)
    bounds = bounds_of(loaded)
    lowest, highest = (bisect_left(bounds, ranked(times, 0.95)) for times in (own_s, loaded.times_s))
    buckets = "image_classification_duration_seconds_bucket"
    p95_s = loaded.prometheus.until(f"histogram_quantile(0.95, {buckets})", lambda _: True)
    assert ranked(own_s, 0.95) > HOLD_MS / 1e3
    assert lowest <= bisect_left(bounds, p95_s) <= highest
    # What a dashboard shows, rates over a time that holds the load, is the same.
    shown_s = loaded.prometheus.value(f"histogram_quantile(0.95, sum by (le) (rate({buckets}[5m])))")
    assert shown_s == pytest.approx(p95_s, rel=0.02)


def times_in_replies_s(samples: Samples) -> npt.NDArray[np.float64]:
    """Return what FastAPI's replies say they took, in order of size, 0 for those that were not kept."""
    times_s = np.zeros(len(samples))
    for position, reply in samples.replies.items():
        # It is rounded to microseconds, perhaps upwards.
        times_s[position] = json.loads(reply.body)["processing_time_ms"] / 1e3 - 1e-6
    return np.sort(times_s)


def bounds_of(loaded: Loaded) -> list[float]:
    """Return the upper bounds of the buckets of FastAPI's durations."""
    page = loaded.served.call("GET", "/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    buckets = families["image_classification_duration_seconds"].samples
    return [float(each.labels["le"]) for each in buckets if "le" in each.labels]


def ranked(times_s: npt.NDArray[np.float64], share: float) -> float:
    """Return the time that this share of them, in order of size, does not exceed."""
    return float(times_s[math.ceil(share * len(times_s)) - 1])


def test_fastapis_mean_is_between_the_replies_and_the_clients(monitored: dict[str, Loaded]) -> None:
    """The histogram's sum holds every request once, each for as long as the server had it."""
    loaded = monitored["fastapi"]
    own_s = times_in_replies_s(loaded.samples)
    assert own_s.sum() <= loaded.grown(FASTAPI_SECONDS) <= loaded.times_s.sum()


def test_tritons_summary_p95_is_below_the_clients(monitored: dict[str, Loaded]) -> None:
    """Its quantile holds the time for which it held requests, and is no more than the client saw."""
    loaded = monitored["triton"]
    summary = 'nv_inference_request_summary_us{model="tiny_onnx_jpeg",quantile="0.95"}'
    p95_s = loaded.prometheus.until(summary, lambda _: True) / 1e6
    assert HOLD_MS / 1e3 < p95_s <= ranked(loaded.times_s, 0.95 + SUMMARY_ERROR)
    assert loaded.grown(TRITON_MICROSECONDS) / 1e6 <= loaded.times_s.sum()


def test_torchserves_mean_is_below_the_clients(monitored: dict[str, Loaded]) -> None:
    """Its sum of latencies holds its delay for every batch, and less than the client saw."""
    loaded = monitored["torchserve"]
    server_s = loaded.grown(TORCHSERVE_MICROSECONDS) / 1e6
    batches = loaded.grown('batch_size_distribution_count{job="torchserve"}')
    assert batches * HOLD_MS / 1e3 * 0.9 < server_s <= loaded.times_s.sum()


def test_torchserves_handler_is_timed_once_per_batch(monitored: dict[str, Loaded]) -> None:
    """Its histogram has as many times as there were executions, together no more than the batches took."""
    loaded = monitored["torchserve"]
    batches = loaded.grown('batch_size_distribution_count{job="torchserve"}')
    assert 0 < batches <= len(loaded.samples)
    assert loaded.grown("image_classification_handler_seconds_count") == batches
    handled_s = loaded.grown("image_classification_handler_seconds_sum")
    assert 0 < handled_s <= loaded.times_s.sum()


def test_no_gpu_is_no_gauge(monitored: dict[str, Loaded]) -> None:
    """Servers on a CPU give Prometheus no GPU series at all, so that no panel shows 0%."""
    for metric in ("gpu_utilization_percent", "gpu_memory_used_bytes", "nv_gpu_utilization"):
        assert monitored["fastapi"].prometheus.value(metric) is None
