"""A page that leads a user from nothing to something is walked as it stands, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doc_walks import OTHERS, complaint_of_walk, not_printed

pytestmark = pytest.mark.live


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.name)
def test_a_page_leads_where_it_says(page: Path, tmp_path: Path) -> None:
    """Each file is written and each command run in the page's order; exit codes and output are as shown."""
    complaint = complaint_of_walk(page, tmp_path)
    assert not complaint, complaint


def test_only_figures_are_free() -> None:
    """A line of other words is another line, one with other figures is not."""
    printed = "x p95  12.5 ms  +7.1%\n1 improvement\nmine  pass\n"
    assert not [*not_printed(("...", "x p95 1,312 ms -0.4%", "0 improvements", "mine pass"), printed)]
    assert [*not_printed(("mine fail",), printed)] == ["mine fail"]
