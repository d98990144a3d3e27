"""Whether a summary is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.plan import Load
from pytest_servebench.results import Validity, Verification
from pytest_servebench.samples import ClientShare, Outcome
from pytest_servebench.statistics.summary import summarise, validity_of
from tests.rows import Row, ok, samples_of


def judged(
    rows: Sequence[Row],
    concurrency: int = 1,
    verifications: Sequence[Verification | None] = (),
    **rest: Any,
) -> tuple[Validity, str]:
    """Return whether these rows may be believed."""
    samples = samples_of(rows, **rest)
    load = Load(concurrency=concurrency, timeout_s=0.5)
    summary = summarise(samples, items_per_request=1, timeout_s=0.5)
    return validity_of(summary, samples, load=load, verifications=verifications)


STEADY = ok(*range(1005, 2000, 5))


def test_a_steady_window_without_faults_is_valid() -> None:
    """Nothing wrong is found where nothing is wrong."""
    assert judged(STEADY, verifications=(None, Verification(compared=3))) == (Validity.VALID, "")


def test_a_mismatch_is_wrong_output_and_outweighs_everything() -> None:
    """A fast wrong answer is never published, however else the run went."""
    wrong = Verification(compared=4, mismatches=("image 3 answered 7, not 9", "more"))
    rows = [(1000, 1000, 1100, Outcome.HTTP_ERROR)]
    assert judged(rows, verifications=(None, wrong)) == (
        Validity.WRONG_OUTPUT,
        "2 of 4 answers compared are not the reference's; first: image 3 answered 7, not 9",
    )
    marked = [*STEADY, (1000, 1000, 1100, Outcome.WRONG)]
    assert judged(marked) == (Validity.WRONG_OUTPUT, "1 of 200 answers in the window are not the reference's")


@pytest.mark.parametrize(
    ("failed", "validity"),
    [(0, Validity.VALID), (2, Validity.VALID), (3, Validity.ERRORS)],
)
def test_up_to_one_percent_of_failures_is_borne(failed: int, validity: Validity) -> None:
    """2 of 201 are below 1%, 3 of 202 are above."""
    rows = [*STEADY, *[(1000, 1000, 1100, Outcome.HTTP_ERROR)] * failed]
    assert judged(rows)[0] is validity


def test_errors_are_told_with_their_counts_and_the_first() -> None:
    """The reason is enough to start looking."""
    rows = [
        (1000, 1000, 1100, Outcome.HTTP_ERROR),
        (1000, 1000, 1200, Outcome.TRANSPORT_ERROR),
        (1000, 1100, -1, Outcome.TIMEOUT),
    ]
    validity, reason = judged(rows, first_error="HTTP 503: queue full")
    assert validity is Validity.ERRORS
    assert reason == (
        "3 of 3 requests of the window failed, above 0.01 of them (2 errors, 1 time-outs, "
        "0 sent before its end and failed after it); first: HTTP 503: queue full"
    )


def test_a_server_that_hangs_is_not_merely_slow() -> None:
    """Requests sent in the window and given up after it are failures of the window."""
    rows = [*ok(*range(1002, 1300, 2)), *[(1300, 1300, 2600, Outcome.TIMEOUT)] * 8]
    validity, reason = judged(rows, concurrency=8)
    assert validity is Validity.ERRORS
    assert "8 sent before its end and failed after it" in reason


def test_a_request_sent_after_the_window_has_nothing_to_do_with_it() -> None:
    """What the driver does while it ends is not measured."""
    assert judged([*STEADY, *[(2100, 2100, 2200, Outcome.TRANSPORT_ERROR)] * 50])[0] is Validity.VALID


def test_a_window_in_which_nothing_ended_decides_nothing() -> None:
    """Slower than the window is not an error, and not valid; the remedy is named."""
    validity, reason = judged([(1000, 1000, 2400, Outcome.OK)])
    assert validity is Validity.UNDECIDED
    assert reason == (
        "no request ended within the window of 1 s, at least 5 must; make it longer with --serve-duration"
    )


def test_a_window_of_a_few_replies_has_seen_chance() -> None:
    """One reply would be every percentile at once, and pass every limit by luck."""
    assert judged(ok(1200, 1400, 1600, 1800))[0] is Validity.UNDECIDED
    assert judged(ok(1100, 1300, 1500, 1700, 1900))[0] is Validity.VALID


def test_a_client_that_used_its_core_up_is_the_limit() -> None:
    """Above 90% of a core the figures may be the client's."""
    assert judged(STEADY, client_cpu_s=0.9)[0] is Validity.VALID
    validity, reason = judged(STEADY, client_cpu_s=0.95)
    assert validity is Validity.CLIENT_LIMITED
    assert reason == (
        "the client used 95% of a core, above 90%: it may be what limits these figures, not the server; "
        "send from more processes with --serve-load-workers=N"
    )


@pytest.mark.parametrize(
    ("ceiling_per_s", "validity"),
    [(None, Validity.VALID), (250.0, Validity.VALID), (248.0, Validity.CLIENT_LIMITED)],
)
def test_a_client_near_its_ceiling_is_the_limit(ceiling_per_s: float | None, validity: Validity) -> None:
    """199 a second are up to 80% of 250 and above 80% of 248; without a ceiling nothing is said."""
    samples = samples_of(STEADY)
    summary = replace(summarise(samples, items_per_request=1, timeout_s=0.5), ceiling_per_s=ceiling_per_s)
    assert validity_of(summary, samples, load=Load(timeout_s=0.5))[0] is validity


def test_a_client_near_its_ceiling_is_told_the_remedy() -> None:
    """Both figures, and more workers before anything else."""
    samples = samples_of(STEADY)
    summary = replace(summarise(samples, items_per_request=1, timeout_s=0.5), ceiling_per_s=200.0)
    assert validity_of(summary, samples, load=Load(timeout_s=0.5))[1] == (
        "answered were 199 requests/s, above 80% of the 200 that this client sends to a server that does "
        "nothing; the client, not the server, may be what limits these figures: send from more processes "
        "with --serve-load-workers=N, or lower the rate"
    )


def test_of_several_workers_the_busiest_is_the_limit() -> None:
    """Two at half a core are none; one that is busy all the time is, whatever the other does."""
    even, busy = ({"1:popen": 0.5, "2:popen": share} for share in (0.55, 0.95))
    clients = [
        tuple(ClientShare(worker=name, client_cpu_s=share, sent=9) for name, share in shares.items())
        for shares in (even, busy)
    ]
    assert judged(STEADY, client_cpu_s=1.05, clients=clients[0])[0] is Validity.VALID
    validity, reason = judged(STEADY, client_cpu_s=1.45, clients=clients[1])
    assert validity is Validity.CLIENT_LIMITED
    assert reason.startswith("worker 2:popen used 95% of a core")
    assert reason.endswith("send from more processes with --serve-load-workers=N")


def test_a_window_that_slows_down_by_half_and_more_is_unstable() -> None:
    """One third with under half of another's replies is not one steady state."""
    rows = ok(*range(1002, 1666, 5), *range(1670, 2000, 15))
    assert judged(rows) == (
        Validity.UNSTABLE,
        "the thirds of the window hold 67, 66, 22 correct replies: more than 2 to 1",
    )


def test_few_replies_are_never_called_unstable() -> None:
    """At 40 replies per window a ratio of thirds would be chance."""
    assert judged(ok(*range(1010, 1400, 10), 1950))[0] is Validity.VALID


def test_whole_batches_at_a_boundary_are_not_instability() -> None:
    """64 in flight answered 32 at a time: thirds of 96 and 32 replies are luck of the cut."""
    rows = [row for end in (1050, 1150, 1250, 1400, 1700, 1850) for row in ok(*[end] * 32)]
    assert judged(rows, concurrency=64)[0] is Validity.VALID


def test_both_ends_are_given_one_batch_of_luck() -> None:
    """80, 80 and 30 replies are a slow-down with 1 in flight; with 8 they may be the cut."""
    rows = ok(*range(1002, 1332, 4)[:80], *range(1340, 1660, 4), *range(1670, 1970, 10))
    assert judged(rows, concurrency=1)[0] is Validity.UNSTABLE
    assert judged(rows, concurrency=8)[0] is Validity.VALID


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 8, 16]), st.integers(30, 400))
def test_steady_batched_service_is_never_called_unstable(seed: int, batch: int, replies: int) -> None:
    """A server that answers whole batches at a jittering pace stays valid."""
    pace = np.random.default_rng(seed)
    gaps = pace.uniform(0.7, 1.3, size=2 * (replies // batch + 1)) * 1000 * batch / replies
    ends = 1000 + np.cumsum(gaps)
    rows = [row for end in ends for row in ok(*[int(end)] * batch)]
    assert judged(rows, concurrency=2 * batch)[0] is Validity.VALID


def test_a_window_that_drifts_is_unstable() -> None:
    """Replies that take twice as long at the end are one steady state of nobody."""
    rows = [row for end in range(1004, 2000, 4) for row in ok(end, took_ms=5 + (end - 1000) // 100)]
    validity, reason = judged(rows, concurrency=2)
    assert validity is Validity.UNSTABLE
    assert reason == (
        "the p50 response time rose steadily from about 5 to 14 ms within the window: "
        "it is not one steady state"
    )


def precisely(rows: Sequence[Row], precision: float) -> tuple[Validity, str]:
    """Return whether a run that was to be so precise may be believed."""
    samples = samples_of(rows)
    summary = summarise(samples, items_per_request=1, timeout_s=0.5)
    return validity_of(summary, samples, load=Load(timeout_s=0.5, precision=precision))


def test_a_window_that_was_to_be_precise_and_is_not_decides_nothing() -> None:
    """At its time limit the widths it reached are told, and the two ways on."""
    took = np.random.default_rng(0).integers(1, 40, 199).tolist()
    rows = [row for end, ms in zip(range(1005, 2000, 5), took, strict=True) for row in ok(end, took_ms=ms)]
    validity, reason = precisely(rows, 0.01)
    assert validity is Validity.UNDECIDED
    assert reason.startswith("within 1 s the 95% confidence intervals reached +-")
    assert "of the throughput and " in reason
    assert reason.endswith(
        "not the 1% asked for; allow more time with --serve-duration, or a wider --serve-precision"
    )
    assert precisely(STEADY, 0.05) == (Validity.VALID, "")


def test_too_few_replies_are_not_precise() -> None:
    """Fifty replies have no interval, which is not a narrow one."""
    validity, reason = precisely(ok(*range(1020, 2000, 20)), 0.5)
    assert validity is Validity.UNDECIDED
    assert "too few replies tell how precise its figures are" in reason
