"""An HTTP server for one image classifier: FastAPI in front, one engine behind.

A guest: runs in a server process, imports nothing of pytest_servebench. The modules
``engine`` and ``imagenet`` beside this package must be importable.
"""
