"""Now against before: saved runs, their replicates, and whether a figure has become worse."""
