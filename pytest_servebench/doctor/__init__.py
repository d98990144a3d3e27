"""The doctor: what would run here, why not the rest, and what mends it; each file judges one matter."""
