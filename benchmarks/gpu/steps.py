"""What a proof on a GPU consists of: the commands, in order, and how long each may take (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.plan import Payload, Precision

MINUTES = 90
"""How long a whole proof may take at most."""
PRECISIONS = (Precision.FP32, Precision.TF32, Precision.FP16)
BATCH_SIZES = (1, 8, 32)
PAYLOADS = (Payload.TENSOR, Payload.UINT8, Payload.SHM)
SUITE = ("test_throughput.py", "test_latency.py")
PARITY = ("test_parity.py",)
_OF_ONE_PAYLOAD, _OF_PARITY = 0.3, 0.1
"""Shares of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be proved, and where that is written."""

    folder: Path
    """Where records and report go."""
    benchmarks: Path
    launcher: str = "process"
    device: str = "cuda"
    stack: str = "available"
    minutes: float = MINUTES
    quick: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command."""

    name: str
    words: tuple[str, ...]
    """After ``python -m``."""
    limit_s: float
    record: Path | None = None
    """Where it saves its records; None: it has none."""


def steps_of(wish: Wish) -> Iterator[Step]:
    """Yield the measurements of each payload, then the agreement of answers in every precision."""
    for payload in PAYLOADS:
        sizes = f"--serve-batch-size={','.join(map(str, BATCH_SIZES))}"
        yield _measured(wish, str(payload), SUITE, _OF_ONE_PAYLOAD, sizes, f"--serve-payload={payload}")
    yield _measured(wish, "parity", PARITY, _OF_PARITY)


def report_step(wish: Wish, records: tuple[Path, ...]) -> Step:
    """Return the one report of all that was saved."""
    words = ("pytest_servebench.cli", "report", *map(str, records), f"--output={wish.folder / 'report'}")
    return Step(name="report", words=words, limit_s=300)


def _measured(wish: Wish, name: str, files: tuple[str, ...], share: float, *words: str) -> Step:
    record = wish.folder / f"{name}.json"
    return Step(
        name=name,
        words=(
            "pytest",
            *(str(wish.benchmarks / file) for file in files),
            f"--stack={wish.stack}",
            f"--serve-launcher={wish.launcher}",
            f"--serve-device={wish.device}",
            "--serve-format=all",
            f"--serve-dtype={','.join(map(str, PRECISIONS))}",
            *words,
            *(("--serve-quick",) if wish.quick else ()),
            "--benchmark-quiet",
            f"--benchmark-json={record}",
        ),
        limit_s=60 * wish.minutes * share,
        record=record,
    )
