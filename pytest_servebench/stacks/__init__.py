"""How each server is described; no sockets, no Docker."""
