"""The colours of stacks, the same on the page, in its plots and in the pictures (pure).

Okabe and Ito's, which the colour-blind tell apart (jfly.uni-koeln.de/color), in an order in which the first
four stand out most from white paper. Whoever draws gives a stack a second sign too: a shape, a dash, a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PALETTE: tuple[str, ...] = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
"""On light paper: ``--series-1`` .. ``--series-8``."""
DARK_PALETTE: tuple[str, ...] = (
    "#4A9BD9",
    "#EE7733",
    "#1FBF8F",
    "#DD99BF",
    "#F2B134",
    "#9AD4F5",
    "#F2F2F2",
    "#F0E442",
)
"""The same hues on dark paper: 5 to 1 and more against #15181C."""


def colour_of(stacks: Iterable[str]) -> Mapping[str, str]:
    """Return the colour of each stack on light paper, ``#RRGGBB``, in order of first appearance.

    Above eight, colours begin anew.
    """
    return {stack: PALETTE[at] for stack, at in _places(stacks).items()}


def variable_of(stacks: Iterable[str]) -> Mapping[str, str]:
    """Return the same as CSS variables, ``var(--series-1)``, which follow dark, light and print."""
    return {stack: f"var(--series-{at + 1})" for stack, at in _places(stacks).items()}


def _places(stacks: Iterable[str]) -> dict[str, int]:
    return {stack: at % len(PALETTE) for at, stack in enumerate(dict.fromkeys(stacks))}
