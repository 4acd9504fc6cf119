"""Versions as entity tags, and the conditions on them that a call may name (RFC 9110, sections 8.8.3 and 13.1)."""

import re
from collections.abc import Container, Sequence
from typing import Final

_TAG: Final = re.compile(r'(?:^|,)[ \t]*(W/)?"([\x21\x23-\x7e]*)"[ \t]*(?=,|$)', re.ASCII)
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_EVERY: Final = range(1, 2**63)


def entity_tag(version: int) -> str:
    """Returns the tag of a version."""
    return f'"{version}"'


def versions_of_if_match(lines: Sequence[str]) -> Container[int] | None:
    """Returns the versions that ``If-Match`` asks for, of which ``*`` is all there can be.

    None where the header was not sent. Weak tags never match, nor does what is no tag.
    """
    return _versions(lines, weakly=False) if lines else None


def versions_of_if_none_match(lines: Sequence[str]) -> Container[int]:
    """Returns the versions that the sender of ``If-None-Match`` has; weak tags count."""
    return _versions(lines, weakly=True)


def _versions(lines: Sequence[str], *, weakly: bool) -> Container[int]:
    text = ",".join(lines).strip(" \t")
    if text == "*":
        return _EVERY
    tags = [tag for weak, tag in _TAG.findall(text) if weakly or not weak]
    return frozenset(int(tag) for tag in tags if _VERSION.fullmatch(tag))
