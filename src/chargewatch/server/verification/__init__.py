"""Checks what follows from the sessions against the sessions themselves."""
