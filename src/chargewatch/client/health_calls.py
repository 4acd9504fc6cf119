"""How the service is: asked once, never again by itself."""

from chargewatch.client.answers import Health, Readiness
from chargewatch.client.calls import Call, Repeat, reader

_health = reader(Health)
_readiness = reader(Readiness)


def get_health() -> Call[Health]:
    """Returns that the process answers."""
    return Call(method="GET", path="/healthz", read=_health, repeat=Repeat.NEVER)


def get_readiness() -> Call[Readiness]:
    """Returns that calls may be sent; `Unavailable` when not, with ``problem["checks"]``."""
    return Call(method="GET", path="/readyz", read=_readiness, repeat=Repeat.NEVER)
