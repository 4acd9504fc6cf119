"""The words of the field: readings, units, measurands, sessions, verdicts. No input, no output."""
