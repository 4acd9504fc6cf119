"""OCPI 2.2.1: the receiver of Session objects (``/ocpi/2.2.1/sessions``)."""
