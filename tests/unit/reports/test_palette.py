"""Colours of the report: one per stack, seen on both papers."""

from __future__ import annotations

import pytest

from pytest_servebench.reports.palette import DARK_PALETTE, PALETTE, colour_of, variable_of


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_stack_has_one_colour_in_order_of_first_appearance() -> None:
    """What a stack is coloured depends on when it first appears, not on how often."""
    assert colour_of(["triton", "fastapi", "triton"]) == {"triton": PALETTE[0], "fastapi": PALETTE[1]}


def test_variables_number_the_same_colours() -> None:
    """The page's variables and the pictures' colours agree, also where colours begin anew."""
    stacks = [f"stack {number}" for number in range(10)]
    variables, colours = variable_of(stacks), colour_of(stacks)
    assert variables["stack 0"] == variables["stack 8"] == "var(--series-1)"
    assert colours["stack 0"] == colours["stack 8"] == PALETTE[0]
    assert variables["stack 7"] == "var(--series-8)"


def test_no_two_stacks_look_alike() -> None:
    """Eight stacks have eight colours, on both papers."""
    assert len(set(PALETTE)) == len(set(DARK_PALETTE)) == len(PALETTE) == len(DARK_PALETTE) == 8


@pytest.mark.parametrize(
    ("palette", "paper", "first"), [(PALETTE, "#FFFFFF", 4), (DARK_PALETTE, "#15181C", 8)]
)
def test_colours_stand_out_from_the_paper(palette: tuple[str, ...], paper: str, first: int) -> None:
    """The stacks that one compares (the first four on white, all on dark) have 3 to 1, WCAG for graphics."""
    assert all(contrast(colour, paper) >= 3 for colour in palette[:first])
