"""What a load writes down: a row for every request, and some of the replies."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_servebench.load import fold, sample_log
from pytest_servebench.load.fold import Fold
from pytest_servebench.load.kept import KeptReplies
from pytest_servebench.load.sample_log import SampleLog, code_of
from pytest_servebench.load.window import Window
from pytest_servebench.load.wire import read_reply
from pytest_servebench.plan import Load
from pytest_servebench.samples import Outcome, Reply, Samples, Slice


@dataclass(slots=True)
class Book:
    """The sample log, the kept replies, and the first failure in words."""

    kept: KeptReplies
    fold: Fold
    log: SampleLog = field(default_factory=SampleLog)
    first_error: str = ""

    @classmethod
    def for_load(cls, load: Load, requests: int) -> Book:
        """Return an empty book for a load of so many distinct requests."""
        return cls(KeptReplies(load.verify_share, load.seed, requests), Fold(load))

    def correct(
        self, index: int, sent_ns: int, received_ns: int, reply: bytes | Reply, *, intended_ns: int = -1
    ) -> None:
        """Write down an OK reply to request ``index``; closed loop: it was intended when it was sent."""
        intended_ns = sent_ns if intended_ns < 0 else intended_ns
        row = self.log.add(intended_ns, sent_ns, received_ns, code_of(index))
        self.kept.offer(row, index, received_ns, reply)

    def failed(
        self,
        index: int,
        sent_ns: int,
        received_ns: int,
        outcome: Outcome,
        text: str,
        *,
        intended_ns: int = -1,
    ) -> None:
        """Write down a failure; closed loop: it was intended when it was sent."""
        intended_ns = sent_ns if intended_ns < 0 else intended_ns
        self.log.add_failure((intended_ns, sent_ns, received_ns), index, outcome)
        self.first_error = self.first_error or text

    def dropped(self, index: int, intended_ns: int, text: str) -> None:
        """Write down an arrival that was never sent: it has no other instant."""
        self.log.add_failure((intended_ns, -1, -1), index, Outcome.DROPPED)
        self.first_error = self.first_error or text

    def fold_old(self, window: Window) -> None:
        """Fold the oldest rows beyond the bound, whole chunks at a time; some 0.2 ms each."""
        while self.log.held >= fold.BOUND_ROWS + 2 * sample_log.CHUNK_ROWS:
            first = len(self.log) - self.log.held
            kept = self.kept.places(first, first + sample_log.CHUNK_ROWS)
            self.fold.take(self.log.oldest(but=kept), window)
            self.log.release_oldest(but=kept)

    def samples(self, window: Window, slices: tuple[Slice, ...] = ()) -> Samples:
        """Return everything as the frozen result."""
        rows = self.log.rows()
        kept = self.kept.by_row()
        replies = {
            position: reply if isinstance(reply, Reply) else read_reply(reply)
            for position, reply in zip(rows.positions(list(kept)), kept.values(), strict=True)
        }
        return Samples(
            intended_ns=rows.intended_ns,
            sent_ns=rows.sent_ns,
            received_ns=rows.received_ns,
            outcome=rows.outcome,
            request_index=rows.request_index,
            window_ns=(window.begin_ns, window.end_ns),
            started_ns=window.start_ns,
            slices=slices,
            folded=self.fold.folded(),
            settled=window.settled,
            replies=dict(sorted(replies.items())),
            client_cpu_s=window.client_cpu_s,
            first_error=self.first_error,
        )
