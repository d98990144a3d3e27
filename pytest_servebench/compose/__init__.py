"""Stacks that are kept running by Docker Compose: what ``servebench up`` starts and ``down`` ends."""
