"""The real k6 as an engine: what it is asked to do, how it is run, and what it says, as samples like ours."""
