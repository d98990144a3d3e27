"""What keeps a case from more, in one word with its reason; told, never recorded (pure).

Somebody is the bottleneck who was busy for `BUSY` of the window, or whom requests provably waited for.
Rules are asked in order, and the first that holds is the word. Where none does, because nobody was busy or
because it was not measured, the word is `not known`, with that reason: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_servebench.reports.evidence import Evidence
from pytest_servebench.reports.numbers import three_digits
from pytest_servebench.reports.split import BOTH, BUSY, Split, around_of, told_split
from pytest_servebench.results import Validity
from pytest_servebench.statistics.summary import ValidityLimits
from pytest_servebench.words import Word

NEAR_CEILING = ValidityLimits().ceiling_share
"""Share of what client and loopback carry from which on a run is not believed either: it is one limit."""
LARGE_REQUEST_BYTES = 65_536
"""From here on a request's bytes cost its sender more than the request does: 9.8 us a request and 0.15 us for
each KB of it, by the one run of docs/client.md (wrk: 9.8 us at 500 bytes, 100.3 us at 602,112)."""
MOST = 0.5
"""Of a request's time: what has more of it outweighs all else together."""
_MEGA = 1e6


class Limit(Word):
    """What keeps a case from more."""

    CLIENT = "client"
    TRANSPORT = "transport"
    """Moving the bytes of requests: sending, receiving, parsing and copying them."""
    GPU = "gpu"
    SERVER_CPU = "server cpu"
    BATCHING = "batching"
    """Requests are held for a batch while the engine has nothing to do."""
    CONCURRENCY = "concurrency"
    """So few requests are in flight that everybody waits for the next one."""
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """What limits one case, and how that is known."""

    kind: Limit
    why: str
    beside: str = ""
    """Where a request's time went and who used how much, as far as it was measured."""

    @property
    def sentence(self) -> str:
        """Return all of it in words."""
        return f"{self.kind}: {'; '.join(filter(None, (self.why, self.beside)))}"


def bottleneck_of(seen: Evidence) -> Bottleneck:
    """Return what limits a case."""
    if seen.validity == Validity.CLIENT_LIMITED:
        return _by_bytes(seen) or Bottleneck(kind=Limit.CLIENT, why=seen.reason)
    if seen.validity != Validity.VALID:
        return Bottleneck(kind=Limit.UNKNOWN, why=f"the run is {seen.validity}: {seen.reason}".rstrip(": "))
    for kind, rule in _RULES:
        if why := rule(seen):
            return Bottleneck(kind=kind, why=why, beside=_beside(seen))
    return Bottleneck(kind=Limit.UNKNOWN, why=_why_unknown(seen), beside=_beside(seen))


def _by_bytes(seen: Evidence) -> Bottleneck | None:
    """Return that requests of such a size are all that loopback carries, where they are large and near it."""
    size, rate, ceiling = seen.request_bytes, seen.throughput_per_s, seen.ceiling_per_s
    if size is None or size < LARGE_REQUEST_BYTES or rate is None or not ceiling:
        return None
    if rate < NEAR_CEILING * ceiling:
        return None
    carried = (
        f"{three_digits(rate)} requests/s of {size:,} bytes are {three_digits(rate * size / _MEGA)} MB/s"
    )
    why = f"{carried}, {rate / ceiling:.0%} of what this client sends to a server that does nothing"
    return Bottleneck(kind=Limit.TRANSPORT, why=f"{why}: send fewer bytes (--serve-payload=uint8 or shm)")


def _late_client(seen: Evidence) -> str:
    split = seen.split
    if not isinstance(split, Split) or split.late_ms <= split.service_ms:
        return ""
    return "requests were sent late for longer than they were served"


def _busy_gpu(seen: Evidence) -> str:
    if seen.device != "cuda":
        return ""
    if seen.gpu_percent is not None:
        busy = seen.gpu_percent >= 100 * BUSY
        return f"it computed for {seen.gpu_percent:.0f}% of the time{_small_batches(seen)}" if busy else ""
    full = isinstance(seen.split, Split) and seen.split.is_full
    return f"executions filled the window{_small_batches(seen)}" if full else ""


def _small_batches(seen: Evidence) -> str:
    """Return that batches stayed below half of what they may be: larger ones use a GPU better."""
    achieved = seen.batch_size_achieved
    if achieved is None or achieved >= MOST * seen.max_batch_size:
        return ""
    return (
        f", in batches of {three_digits(achieved)} of {seen.max_batch_size} images: more in flight may help"
    )


def _busy_cpu(seen: Evidence) -> str:
    if seen.throttled_share is not None and seen.throttled_share >= MOST:
        return f"a limit of CPU time held it back in {seen.throttled_share:.0%} of periods"
    free, used = seen.free_cores, seen.server_cores
    if free and used is not None and used >= BUSY * free:
        others = f"; others used {seen.other_cores:.2f}" if (seen.other_cores or 0.0) > MOST * free else ""
        return f"it used {used:.2f} of the {free:.2f} cores that were free for it{others}"
    computes = seen.device == "cpu" and isinstance(seen.split, Split) and seen.split.is_full
    return "executions, which compute on it, filled the window" if computes else ""


def _held_for_a_batch(seen: Evidence) -> str:
    split = seen.split
    if not isinstance(split, Split) or not split.leaves_room or split.queue_ms <= MOST * split.service_ms:
        return ""
    return (
        f"requests were held for {split.queue_ms / split.service_ms:.0%} of their time beside an idle engine"
    )


def _too_few_in_flight(seen: Evidence) -> str:
    if seen.in_flight is None or not isinstance(seen.split, Split) or not seen.split.leaves_room:
        return ""
    if seen.in_flight * seen.items_per_request > max(1, seen.max_batch_size):
        return ""
    one = f"{seen.in_flight} request{'s' * (seen.in_flight != 1)} in flight"
    return f"{one}, which one batch holds: while they travel nobody computes"


def _moved_bytes(seen: Evidence) -> str:
    split = seen.split
    if seen.in_flight is None or not isinstance(split, Split) or not split.leaves_room:
        return ""
    if around_of(seen.stack, seen.payload) == BOTH or split.rest_ms <= MOST * split.service_ms:
        return ""
    size = seen.request_bytes
    what = "requests" if size is None else f"requests of {size:,} bytes"
    return f"sending, reading and copying {what} took {split.rest_ms / split.service_ms:.0%} of their time"


_RULES: tuple[tuple[Limit, Callable[[Evidence], str]], ...] = (
    (Limit.CLIENT, _late_client),
    (Limit.GPU, _busy_gpu),
    (Limit.SERVER_CPU, _busy_cpu),
    (Limit.BATCHING, _held_for_a_batch),
    (Limit.CONCURRENCY, _too_few_in_flight),
    (Limit.TRANSPORT, _moved_bytes),
)
"""In order: who was busy comes before what requests waited for."""


def _why_unknown(seen: Evidence) -> str:
    if not isinstance(seen.split, Split):
        return seen.split
    if seen.split.busy is None:
        return "too few executions ended in the window to tell how busy the engine was"
    return _full_but(seen) if seen.split.is_full else f"nobody was seen to be busy{_but(seen, seen.split)}"


def _but(seen: Evidence, split: Split) -> str:
    """Return why what requests waited for does not tell either."""
    if seen.in_flight is None:
        return ": the rate of requests was chosen, not found"
    if split.compute_ms > MOST * split.service_ms:
        return f", though computing took {split.compute_ms / split.service_ms:.0%} of a request's time"
    if around_of(seen.stack, seen.payload) == BOTH:
        return ", and transport cannot be told from preprocessing"
    return ", and no part of a request's time outweighs the others"


def _full_but(seen: Evidence) -> str:
    if seen.gpu_percent is None:
        return "executions filled the window, and what this server computes on is not known"
    return (
        f"executions filled the window, and the GPU computed for {seen.gpu_percent:.0f}% of it only:"
        " copies, launches of kernels, or nodes that run on the CPU"
    )


def _beside(seen: Evidence) -> str:
    """Return the split of a request's time, how busy the engine was, and who used what."""
    parts = []
    if isinstance(seen.split, Split):
        parts = [told_split(seen.split, seen.stack, seen.payload), _engine(seen.split)]
    return "; ".join(filter(None, (*parts, ", ".join(_used(seen)))))


def _engine(split: Split) -> str:
    if split.busy is None:
        return ""
    low, high = split.busy
    if split.is_full:
        return "executions filled the window"
    if split.leaves_room:
        return f"executions filled at most {high:.0%} of the window"
    return f"executions filled from {low:.0%} to {high:.0%} of the window"


def _used(seen: Evidence) -> list[str]:
    of = "" if seen.cores is None else f" of {seen.cores:g}"
    words = [] if seen.server_cores is None else [f"the server used {seen.server_cores:.2f}{of} cores"]
    words += [] if seen.client_cores is None else [f"the client {seen.client_cores:.2f}"]
    words += [] if seen.gpu_percent is None else [f"the GPU computed {seen.gpu_percent:.0f}% of the time"]
    if seen.serving_efficiency is not None:
        asked = f"max batch {seen.max_batch_size}, {seen.payload}"
        words.append(f"it serves {seen.serving_efficiency:.0%} of what the model does in process ({asked})")
    return words
