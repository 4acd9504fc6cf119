"""SHADE: watches the health of stations day by day, from their sessions alone.

Sessions become station-days (`days`), what a day should have been is expected from the days before and from the
rest of the fleet (`expectation`), evidence against that is accumulated for each type of fault (`accumulate`), and
a type is named by precedence (`classify`). `detect.replay` does all of it without looking ahead.
"""
