"""The palette as the colour-blind see it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_servebench.reports.palette import PALETTE, colour_of

Numbers = NDArray[np.float64]
SIMULATED = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Of linear RGB, severity 1.0: Machado, Oliveira and Fernandes, A Physiologically-based Model for Simulation
of Color Vision Deficiency, IEEE TVCG 15(6), 2009."""
TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]
"""Of linear sRGB under D65, IEC 61966-2-1."""
WHITE = [0.95047, 1.0, 1.08883]
TOLD_APART = 10.0
"""CIE 1976 distance; a just noticeable difference is about 2.3."""


def linear(colour: str) -> Numbers:
    """Return linear RGB of ``#RRGGBB``."""
    shares = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def lab(rgb: Numbers) -> Numbers:
    """Return CIE L*a*b* of linear RGB."""
    ratio = np.array(TO_XYZ) @ rgb.clip(0, 1) / np.array(WHITE)
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: str, other: str, matrix: object) -> float:
    """Return how far apart two colours are for whoever sees so."""
    seen = [lab(np.array(matrix) @ linear(each)) for each in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


@pytest.mark.parametrize("sight", SIMULATED)
def test_all_stacks_are_told_apart(sight: str) -> None:
    """Any two colours of the palette differ clearly, however the reader sees colours."""
    near = {
        pair: found
        for pair in combinations(PALETTE, 2)
        if (found := distance(*pair, SIMULATED[sight])) < TOLD_APART
    }
    assert not near


def test_the_simulation_finds_what_is_not_told_apart() -> None:
    """Red and green of one lightness, far apart for most, are one colour to a deuteranope."""
    red, green = "#C05000", "#7F7500"
    assert distance(red, green, np.eye(3)) > 3 * TOLD_APART
    assert distance(red, green, SIMULATED["deuteranopia"]) < TOLD_APART


def test_a_stack_keeps_its_colour() -> None:
    """By order of first appearance, however often one comes."""
    assert colour_of(["b", "a", "b"]) == {"b": PALETTE[0], "a": PALETTE[1]}
