"""Samples of a load to figures, to how sure they are, and to whether they may be believed."""
