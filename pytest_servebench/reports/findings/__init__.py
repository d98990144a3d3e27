"""What a run has found, in words: winners, trade-offs, and claims that were tested (pure)."""
