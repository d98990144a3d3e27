"""What keeps a case from more, by who was busy and what requests waited for; nothing is guessed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.plan import Payload
from pytest_servebench.reports.bottleneck import (
    LARGE_REQUEST_BYTES,
    MOST,
    NEAR_CEILING,
    Limit,
    bottleneck_of,
)
from pytest_servebench.reports.evidence import IMAGE_BYTES, Evidence, evidence_of
from pytest_servebench.reports.findings import findings_of
from pytest_servebench.reports.repeats import joined_rows
from pytest_servebench.reports.split import BUSY, Split
from pytest_servebench.results import Validity
from tests.found_records import found_record, found_replicates

IDLE = Split(service_ms=10.0, queue_ms=3.0, compute_ms=3.0, busy=(0.3, 0.35))
FULL = replace(IDLE, busy=(0.9, 0.95))
SEEN = Evidence(
    validity="valid",
    reason="",
    stack="triton",
    payload="tensor",
    device="cuda",
    max_batch_size=8,
    items_per_request=1,
    in_flight=16,
    throughput_per_s=1600.0,
    ceiling_per_s=4000.0,
    client_cores=0.4,
    server_cores=2.0,
    other_cores=0.1,
    cores=16.0,
    throttled_share=None,
    gpu_percent=40.0,
    batch_size_achieved=6.0,
    serving_efficiency=None,
    split=IDLE,
)
"""A case on a GPU in which nobody is busy and nothing is waited for."""


def limit(**changes: Any) -> tuple[Limit, str]:
    """Return the word for a case that differs so from one without a bottleneck, and the reason."""
    found = bottleneck_of(replace(SEEN, **changes))
    return found.kind, found.why


def test_nobody_busy_is_not_known() -> None:
    """Where no part of the time outweighs the others either, there is no word to be had."""
    assert limit() == (
        Limit.UNKNOWN,
        "nobody was seen to be busy, and no part of a request's time outweighs the others",
    )


def test_a_client_that_was_the_limit_says_so() -> None:
    """With the run's own reason; an open loop that sent too late for longer than it was served, too."""
    why = "the client used 95% of a core"
    assert limit(validity=Validity.CLIENT_LIMITED, reason=why) == (Limit.CLIENT, why)
    late = replace(IDLE, late_ms=10.1)
    assert limit(split=late, in_flight=None)[0] is Limit.CLIENT
    assert limit(split=replace(late, late_ms=10.0), in_flight=None)[0] is Limit.UNKNOWN


def test_large_requests_at_the_ceiling_are_the_transport() -> None:
    """The same share of the ceiling is the client's where requests are small, or their size is not known."""
    limited = {"validity": Validity.CLIENT_LIMITED, "reason": "near", "throughput_per_s": 3400.0}
    kind, why = limit(**limited)
    assert kind is Limit.TRANSPORT
    assert why == (
        "3,400 requests/s of 602,112 bytes are 2,047 MB/s, 85% of what this client sends to a server that"
        " does nothing: send fewer bytes (--serve-payload=uint8 or shm)"
    )
    assert limit(**limited, payload="uint8")[0] is Limit.TRANSPORT
    assert limit(**limited, payload="shm")[0] is Limit.CLIENT
    assert limit(**limited, payload="jpeg")[0] is Limit.CLIENT
    assert limit(**{**limited, "throughput_per_s": NEAR_CEILING * 4000 - 1})[0] is Limit.CLIENT
    assert limit(**limited, ceiling_per_s=None)[0] is Limit.CLIENT
    assert IMAGE_BYTES[Payload.UINT8] > LARGE_REQUEST_BYTES


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"gpu_percent": 100 * BUSY}, Limit.GPU),
        ({"gpu_percent": 100 * BUSY - 1}, Limit.UNKNOWN),
        ({"gpu_percent": None, "split": FULL}, Limit.GPU),
        ({"gpu_percent": 40.0, "split": FULL}, Limit.UNKNOWN),
        ({"gpu_percent": 100.0, "device": "cpu"}, Limit.UNKNOWN),
        ({"gpu_percent": 95.0, "server_cores": 15.0}, Limit.GPU),
    ],
    ids=["busy", "not quite", "not read", "waits for copies", "another's", "before the CPU"],
)
def test_a_busy_gpu(changes: dict[str, Any], kind: Limit) -> None:
    """By its utilisation, else by executions; those that fill the window beside an idle GPU tell nothing."""
    assert limit(**changes)[0] is kind


def test_a_gpu_busy_with_small_batches_is_told_so() -> None:
    """It computes all the time, and larger batches would use it better."""
    assert limit(gpu_percent=90.0, batch_size_achieved=1.5)[1] == (
        "it computed for 90% of the time, in batches of 1.50 of 8 images: more in flight may help"
    )


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"server_cores": BUSY * 15.5}, Limit.SERVER_CPU),
        ({"server_cores": BUSY * 15.5 - 0.1}, Limit.UNKNOWN),
        ({"server_cores": 2.0, "other_cores": 13.5}, Limit.SERVER_CPU),
        ({"server_cores": None}, Limit.UNKNOWN),
        ({"cores": None, "server_cores": 15.0}, Limit.UNKNOWN),
        ({"device": "cpu", "gpu_percent": None, "split": FULL}, Limit.SERVER_CPU),
        ({"device": "", "gpu_percent": None, "split": FULL}, Limit.UNKNOWN),
        ({"throttled_share": MOST}, Limit.SERVER_CPU),
    ],
    ids=["busy", "not quite", "others took", "not read", "no cores", "computes", "attached", "held back"],
)
def test_a_busy_server(changes: dict[str, Any], kind: Limit) -> None:
    """Against the cores that others left, by executions on a CPU, or by a limit of CPU time."""
    assert limit(**changes)[0] is kind


def test_neighbours_are_named() -> None:
    """A server that had few cores because others took them is not blamed alone."""
    assert limit(server_cores=2.0, other_cores=13.5)[1] == (
        "it used 2.00 of the 2.10 cores that were free for it; others used 13.50"
    )


def test_a_queue_beside_an_idle_engine_is_batching() -> None:
    """Requests are held for a batch to fill; one that waits for a busy engine is the engine's."""
    held = replace(IDLE, queue_ms=5.1)
    assert limit(split=held) == (
        Limit.BATCHING,
        "requests were held for 51% of their time beside an idle engine",
    )
    assert limit(split=replace(held, queue_ms=5.0))[0] is Limit.UNKNOWN
    assert limit(split=replace(held, busy=(0.7, 0.85)))[0] is Limit.UNKNOWN
    assert limit(split=replace(held, busy=None))[0] is Limit.UNKNOWN
    assert limit(split=replace(held, busy=(0.9, 0.95)), gpu_percent=None)[0] is Limit.GPU


def test_what_one_batch_holds_is_too_few_in_flight() -> None:
    """While its replies travel nobody computes; of an open loop nobody chose the number."""
    assert limit(in_flight=1) == (
        Limit.CONCURRENCY,
        "1 request in flight, which one batch holds: while they travel nobody computes",
    )
    assert limit(in_flight=8)[0] is Limit.CONCURRENCY
    assert limit(in_flight=9)[0] is Limit.UNKNOWN
    assert limit(in_flight=2, items_per_request=8)[0] is Limit.UNKNOWN
    assert limit(in_flight=None) == (
        Limit.UNKNOWN,
        "nobody was seen to be busy: the rate of requests was chosen, not found",
    )
    assert limit(in_flight=1, split="the server does not tell") == (Limit.UNKNOWN, "the server does not tell")


def test_most_of_the_time_around_the_engine_is_the_transport() -> None:
    """Where requests enough are in flight, the engine idles, and there is nothing to preprocess."""
    around = Split(service_ms=10.0, queue_ms=1.0, compute_ms=3.0, busy=(0.3, 0.35))
    assert limit(split=around) == (
        Limit.TRANSPORT,
        "sending, reading and copying requests of 602,112 bytes took 60% of their time",
    )
    assert limit(split=around, payload="shm")[0] is Limit.TRANSPORT
    assert limit(split=around, payload="jpeg") == (
        Limit.UNKNOWN,
        "nobody was seen to be busy, and transport cannot be told from preprocessing",
    )
    assert limit(split=around, payload="jpeg", stack="torchserve")[0] is Limit.TRANSPORT
    assert limit(split=around, in_flight=None)[0] is Limit.UNKNOWN
    assert limit(split=replace(around, compute_ms=4.0))[0] is Limit.UNKNOWN


def test_a_run_that_may_not_be_believed_is_not_judged() -> None:
    """Whoever seems busy in it: the reason is the run's own."""
    assert limit(validity="unstable", reason="p95 drifts", gpu_percent=99.0) == (
        Limit.UNKNOWN,
        "the run is unstable: p95 drifts",
    )


def test_the_sentence_has_the_evidence() -> None:
    """The word, why, every part of the time with its share, who used what, and what the model does alone."""
    (found,) = findings_of([found_record(serving_efficiency=0.8)]).bottlenecks
    assert found[1] == (
        "not known: nobody was seen to be busy, though computing took 70% of a request's time;"
        " of 10.0 ms per request queue 2.00 ms (20%), compute 7.00 ms (70%), transport 1.00 ms (10%);"
        " executions filled at most 70% of the window; the server used 1.50 cores,"
        " it serves 80% of what the model does in process (max batch 8, tensor)"
    )


@pytest.mark.parametrize(
    ("stack", "around", "computes"),
    [
        ("fastapi", "transport and preprocessing", "compute"),
        ("torchserve", "transport", "compute and preprocessing together"),
        ("mine", "transport and preprocessing", "compute"),
    ],
)
def test_preprocessing_is_named_where_it_is_hidden(stack: str, around: str, computes: str) -> None:
    """Encoded images are preprocessed within a part that no counter divides: it has both names."""
    told = {"queue_time_ms": 1.0, "compute_time_ms": 2.0}
    found = bottleneck_of(evidence_of(found_record(stack=stack, payload=Payload.JPEG, telemetry=told)))
    assert f", {computes} 2.00 ms (20%), {around} 7.00 ms (70%)" in found.beside


def test_evidence_is_what_the_record_has() -> None:
    """A closed loop has its number in flight; a GPU that others used tells nothing, nor an attached CPU."""
    seen = evidence_of(found_record())
    assert (seen.device, seen.in_flight, seen.request_bytes) == ("cpu", 16, 602_112)
    assert isinstance(seen.split, Split)
    shared = {"gpu_utilization_percent": 99.0, "gpu_shared_with": 1}
    assert evidence_of(found_record(telemetry=shared)).gpu_percent is None
    assert evidence_of(found_record(telemetry={**shared, "gpu_shared_with": 0})).gpu_percent == 99.0
    assert evidence_of(found_record(launcher="attach")).device == ""


def test_replicates_are_joined_by_medians() -> None:
    """The table's word is the sentence's; a figure that one repeat lacks is missing."""
    records = found_replicates(100)
    for record, cores in zip(records, (0.1, 5.0, 5.0, 5.0, 0.1), strict=True):
        record["telemetry"]["server_cpu_cores"] = cores
        record["machine"] = {**record["machine"], "cores_usable": 6}
    (row,) = joined_rows(records)
    assert row.evidence.server_cores == 5.0
    assert row.limited_by == Limit.SERVER_CPU
    assert findings_of(records).bottlenecks[0][1].startswith("server cpu: it used 5.00")
    records[0]["telemetry"]["server_cpu_cores"] = None
    (row,) = joined_rows(records)
    assert row.evidence.server_cores is None
    records[0]["validity"] = "unstable"
    (row,) = joined_rows(records)
    assert row.limited_by == Limit.UNKNOWN


shares = st.one_of(st.none(), st.floats(0, 1))
splits = st.one_of(
    st.just("the server does not tell"),
    st.builds(
        lambda queue, compute, busy: Split(service_ms=10.0, queue_ms=queue, compute_ms=compute, busy=busy),
        st.floats(0, 5),
        st.floats(0, 5),
        st.one_of(st.none(), st.floats(0, 2).map(lambda low: (low, low + 0.05))),
    ),
)
seen_so = st.builds(
    lambda **changes: replace(SEEN, **changes),
    validity=st.sampled_from([str(word) for word in Validity]),
    payload=st.sampled_from([str(word) for word in Payload]),
    device=st.sampled_from(["cpu", "cuda", ""]),
    in_flight=st.one_of(st.none(), st.integers(1, 64)),
    throughput_per_s=st.one_of(st.none(), st.floats(1, 5000)),
    ceiling_per_s=st.one_of(st.none(), st.floats(1, 5000)),
    server_cores=st.one_of(st.none(), st.floats(0, 16)),
    other_cores=st.one_of(st.none(), st.floats(0, 16)),
    throttled_share=shares,
    gpu_percent=st.one_of(st.none(), st.floats(0, 100)),
    split=splits,
)


@given(seen_so)
def test_every_word_has_its_evidence(seen: Evidence) -> None:
    """Whatever was measured there is one word with a reason, and none without the measurement it needs."""
    found = bottleneck_of(seen)
    assert found.why or found.kind is Limit.CLIENT
    assert found.sentence.startswith(f"{found.kind}: ")
    full = isinstance(seen.split, Split) and seen.split.is_full
    leaves_room = isinstance(seen.split, Split) and seen.split.leaves_room
    needed = {
        Limit.CLIENT: seen.validity == Validity.CLIENT_LIMITED,
        Limit.TRANSPORT: leaves_room or seen.validity == Validity.CLIENT_LIMITED,
        Limit.GPU: seen.device == "cuda" and (full or seen.gpu_percent is not None),
        Limit.SERVER_CPU: seen.server_cores is not None or seen.throttled_share is not None or full,
        Limit.BATCHING: leaves_room,
        Limit.CONCURRENCY: leaves_room and seen.in_flight is not None,
        Limit.UNKNOWN: True,
    }
    assert needed[found.kind]
    if seen.validity not in (Validity.VALID, Validity.CLIENT_LIMITED):
        assert found.kind is Limit.UNKNOWN


@given(seen_so, st.sampled_from(["server_cores", "gpu_percent", "throttled_share", "ceiling_per_s", "split"]))
def test_knowing_less_never_blames_the_same_one_harder(seen: Evidence, lost: str) -> None:
    """Without a figure nobody is blamed by that figure."""
    blamed = {
        "server_cores": (Limit.SERVER_CPU, "it used"),
        "gpu_percent": (Limit.GPU, "it computed"),
        "throttled_share": (Limit.SERVER_CPU, "a limit"),
        "ceiling_per_s": (Limit.TRANSPORT, "requests/s of"),
        "split": (Limit.BATCHING, "held"),
    }
    less = replace(seen, **{lost: "not told" if lost == "split" else None})  # type: ignore[arg-type]
    found = bottleneck_of(less)
    kind, words = blamed[lost]
    assert not (found.kind is kind and words in found.why)
