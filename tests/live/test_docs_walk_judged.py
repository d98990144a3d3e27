"""A page that leads a user to a gate is walked as it stands: the figures of its runs are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doc_walks import JUDGED, complaint_of_walk

pytestmark = pytest.mark.live


@pytest.mark.parametrize("page", JUDGED, ids=lambda page: page.name)
def test_a_page_leads_to_the_verdicts_that_it_shows(page: Path, tmp_path: Path) -> None:
    """Equal servers pass, the slower one is red, and equal ones pass again."""
    complaint = complaint_of_walk(page, tmp_path)
    assert not complaint, complaint
