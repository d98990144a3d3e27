"""The column of serving efficiency: where it is, what wins, and when it goes."""

from __future__ import annotations

from typing import Any

from pytest_servebench.record import make_record
from pytest_servebench.reports.terminal import report_lines
from pytest_servebench.results import RawBaseline
from tests.made_up import MACHINE, SETTINGS, made_up_case, made_up_result


def record_of(stack: str, raw_per_s: float | None) -> dict[str, Any]:
    """Return the record of a stack that serves 2 images/s."""
    raw = RawBaseline(images_per_s=raw_per_s, absent="" if raw_per_s else "no engine here")
    result = made_up_result(case=made_up_case(stack), raw=raw)
    return {**make_record(result, plan=SETTINGS, machine=MACHINE), "benchmark": "test_speed"}


def shown(*records: dict[str, Any], width: int = 200) -> str:
    """Return the report as one text."""
    return "\n".join(report_lines(records, width=width, colour=False))


def test_it_stands_beside_the_images_a_second() -> None:
    """A share with two decimals, the best marked, n/a where there is none."""
    text = shown(record_of("triton", 2.5), record_of("fastapi", 4.0), record_of("torchserve", None))
    assert "images/s  ciency" in text
    cells = {line.split()[0]: line.split() for line in text.splitlines() if " onnx " in line}
    at = cells["triton"].index("*0.80")
    assert cells["fastapi"][at] == "0.50"
    assert cells["torchserve"][at] == "n/a"


def test_where_nobody_has_one_there_is_no_column() -> None:
    """Open loops alone, or a run that left it out."""
    assert "effi-" not in shown(record_of("triton", None), record_of("fastapi", None))


def test_a_narrow_terminal_loses_it_before_throughput_and_p95() -> None:
    """But after memory, CPU and what a machine did beside; its name is told below."""
    records = record_of("triton", 2.5), record_of("fastapi", 4.0)
    kept = [
        width for width in range(40, 200) if "ciency  " in shown(*records, width=width).split("not shown")[0]
    ]
    narrow = shown(*records, width=min(kept) - 1)
    assert "efficiency" in narrow.split("not shown at")[1]
    assert "images/s" in narrow.split("not shown at")[0]
    wide = shown(*records, width=min(kept)).split("not shown at")[1]
    assert "memory GB" in wide
    assert "CPU cores" in wide
