"""Analysis: one session's readings, with what is declared about it, to a verdict."""
