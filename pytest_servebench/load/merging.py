"""Several workers' samples as one load's: concatenated, never averaged (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pytest_servebench.samples import ClientShare, Folded, Reply, Samples, Slice
from pytest_servebench.statistics.slices import side_by_side


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Part:
    """What one worker measured, in the controller's clock."""

    worker: str
    samples: Samples
    clock_uncertainty_ns: int = 0


def shifted(samples: Samples, by_ns: int) -> Samples:
    """Return the samples with all their instants moved by so much; what did not happen stays so."""
    if not by_ns:
        return samples

    def moved(instants: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.where(instants >= 0, instants + by_ns, instants)

    begin_ns, end_ns = samples.window_ns
    started_ns = samples.started_ns
    return replace(
        samples,
        started_ns=None if started_ns is None else started_ns + by_ns,
        slices=tuple(shifted_slice(one, by_ns) for one in samples.slices),
        intended_ns=moved(samples.intended_ns),
        sent_ns=moved(samples.sent_ns),
        received_ns=moved(samples.received_ns),
        window_ns=(begin_ns + by_ns, end_ns + by_ns),
    )


def shifted_slice(one: Slice, by_ns: int) -> Slice:
    """Return the slice with its edges moved by so much."""
    return replace(one, begin_ns=one.begin_ns + by_ns, end_ns=one.end_ns + by_ns)


def merged(parts: Sequence[Part]) -> Samples:
    """Return all requests of all workers once, in order of sending (dropped: of intent).

    The window is the time that lies in all of theirs: the same instants, unless the load was cut
    short; where there is none, all the time there was.
    """
    samples = [part.samples for part in parts]
    columns = {
        name: np.concatenate([getattr(one, name) for one in samples])
        for name in ("intended_ns", "sent_ns", "received_ns", "outcome", "request_index")
    }
    order = np.argsort(
        np.where(columns["sent_ns"] >= 0, columns["sent_ns"], columns["intended_ns"]), kind="stable"
    )
    starts_ns = [one.started_ns for one in samples if one.started_ns is not None]
    window_ns = common_window([one.window_ns for one in samples])
    return Samples(
        **{name: column[order] for name, column in columns.items()},
        window_ns=window_ns,
        started_ns=min(starts_ns, default=None),
        slices=side_by_side([one.slices for one in samples]),
        folded=_folded(samples),
        settled=_settled(samples),
        replies=_replies(samples, order),
        client_cpu_s=sum(one.client_cpu_s for one in samples),
        clients=tuple(_client(part, window_ns) for part in parts),
        first_error=next((f"worker {p.worker}: {p.samples.first_error}" for p in _failed(parts)), ""),
    )


def common_window(windows_ns: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the time that lies in every window; all of it where that is none."""
    begins, ends = zip(*windows_ns, strict=True)
    if max(begins) < min(ends):
        return max(begins), min(ends)
    return min(begins), max(ends)


def _replies(samples: Sequence[Samples], order: npt.NDArray[np.int64]) -> dict[int, Reply]:
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    firsts = np.cumsum([0, *(len(one) for one in samples)])
    kept = {
        int(position[first + row]): reply
        for first, one in zip(firsts, samples, strict=False)
        for row, reply in one.replies.items()
    }
    return dict(sorted(kept.items()))


def _folded(samples: Sequence[Samples]) -> Folded | None:
    folded = [one.folded for one in samples if one.folded is not None]
    return sum(folded[1:], folded[0]) if folded else None


def _settled(samples: Sequence[Samples]) -> bool | None:
    asked = [one.settled for one in samples if one.settled is not None]
    return all(asked) if asked else None


def _client(part: Part, window_ns: tuple[int, int]) -> ClientShare:
    sent_ns, folded = part.samples.sent_ns, part.samples.folded
    rows = int(np.count_nonzero((window_ns[0] < sent_ns) & (sent_ns <= window_ns[1])))
    return ClientShare(
        worker=part.worker,
        client_cpu_s=part.samples.client_cpu_s,
        sent=rows + (0 if folded is None else folded.sent),
        clock_uncertainty_ns=part.clock_uncertainty_ns,
    )


def _failed(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if part.samples.first_error]
