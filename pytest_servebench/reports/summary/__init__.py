"""A run in short, for a pull request and for other programs: markdown, CSV and JSON (pure)."""
