"""Public fakes, for the tests of this package and of those who extend it."""
