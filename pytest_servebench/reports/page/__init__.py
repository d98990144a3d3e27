"""``report.html``: one file, which opens offline."""
