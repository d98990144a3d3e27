"""What the documentation tells a user to type where the figures of two runs are held against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doc_pages import JUDGED, complaint_of_page

pytestmark = pytest.mark.live


@pytest.mark.parametrize("page", JUDGED, ids=lambda page: page.name)
def test_the_commands_of_a_page_that_judges_run(page: Path) -> None:
    """Every command marked to be run ends as the page says, though it fails what is slower."""
    complaint = complaint_of_page(page)
    assert not complaint, complaint
