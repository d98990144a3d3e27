"""A load of stages: where each lies, what became of it, and whether it held its objective."""
