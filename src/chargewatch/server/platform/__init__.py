"""What every call over HTTP shares, whichever slice answers it: bodies, problems, keys, logs, figures."""
