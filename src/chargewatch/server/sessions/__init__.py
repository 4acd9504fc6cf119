"""Sessions: their readings, their analysis, the HTTP calls on them."""
