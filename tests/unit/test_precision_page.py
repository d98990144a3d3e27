"""docs/precision.md has what the program does: what is computed where, and how far answers may lie off."""

from __future__ import annotations

import re

import pytest

from pytest_servebench.options.arithmetic import runs
from pytest_servebench.plan import CPU, Device, ModelFormat, Payload, Precision
from pytest_servebench.verification import _FINEST, tolerance_for
from tests.doc_blocks import ROOT

PAGE = (ROOT / "docs" / "precision.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """Return what stands below a heading."""
    return PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]


def cells(text: str, first: str) -> list[str]:
    """Return the other cells of the row that begins with ``first``."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


@pytest.mark.parametrize(("device", "first"), [(CPU, "CPU"), (Device("cuda"), "CUDA")])
def test_what_is_computed_where_is_as_the_page_says(device: Device, first: str) -> None:
    """Each cell lists what the door lets through; tensorrt needs a GPU altogether."""
    told = cells(section("What is computed where"), first)
    for model_format, cell in zip(ModelFormat, told, strict=True):
        expected = set(runs(model_format, device, attached=False))
        if model_format is ModelFormat.TENSORRT:
            assert cell == ("none" if device is CPU else "all five")
        else:
            assert set(re.findall(r"`(\w+)`", cell)) == {str(each) for each in expected}


@pytest.mark.parametrize("precision", list(Precision), ids=str)
def test_the_tolerances_are_those_that_answers_are_held_to(precision: Precision) -> None:
    """And what was seen lies within, by logits and by confidences."""
    told = cells(section("How far answers may lie from the reference"), f"`{precision}`")
    allowed, logits, confidences = map(float, told[:3])
    assert allowed == tolerance_for(ModelFormat.ONNX, precision, Payload.TENSOR, CPU)
    assert logits < allowed
    assert confidences < allowed


def test_how_close_a_precision_can_come_is_what_answers_are_doubted_by() -> None:
    """Every precision but fp32 has its row, and single images were seen to move by several times as much."""
    rows = re.findall(
        r"^\| (`[^|]+`) \| ([\d.]+) \| ([\d.]+) \|",
        section("In which precision it really computed"),
        re.MULTILINE,
    )
    told = {
        word: (float(limit), float(seen)) for words, limit, seen in rows for word in re.findall(r"\w+", words)
    }
    assert {word: limit for word, (limit, _) in told.items()} == {
        str(each): _FINEST[each] for each in _FINEST
    }
    assert all(5 * limit < seen for limit, seen in told.values())
    assert set(_FINEST) == set(Precision) - {Precision.FP32}


def test_every_word_has_its_meaning() -> None:
    """The vocabulary, whole and in order."""
    told = re.findall(r"^\| `(\w+)` \|", section("What the words mean"), re.MULTILINE)
    assert told == [str(each) for each in Precision]
