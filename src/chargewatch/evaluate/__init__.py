"""The open benchmark: a labelled suite of simulated sessions, its metrics, peers, and real sessions without labels."""
