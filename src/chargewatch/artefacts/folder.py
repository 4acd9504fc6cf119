"""A model's folder: written in one go, and read only when everything in it is what its manifest says.

Nothing is ever unpickled. What does not fit is refused with `ArtefactError`, which says what and why.
"""

import math
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from chargewatch.artefacts import weights as stored_weights
from chargewatch.artefacts.manifest import (
    FORMAT,
    MANIFEST_FILE,
    MODEL_FILE,
    WEIGHTS_FILE,
    FileSeal,
    Manifest,
    Stratum,
    encode,
)
from chargewatch.artefacts.weights import ArtefactError, Weights

_LARGEST_MANIFEST: Final = 1 << 20
_LARGEST_FILE: Final = 64 << 20
_FILES: Final = frozenset({MODEL_FILE, WEIGHTS_FILE})

__all__ = ["Artefact", "ArtefactError", "read_artefact", "read_manifest", "read_weights", "write_artefact"]


class Artefact(NamedTuple):
    """A model that was read and checked; ``graph`` are the bytes of its ONNX file."""

    manifest: Manifest
    graph: bytes


def write_artefact(folder: Path, manifest: Manifest, graph: bytes, weights: Weights) -> Manifest:
    """Writes a model's folder and returns its manifest with the files' hashes; existing files are replaced."""
    contents = {MODEL_FILE: graph, WEIGHTS_FILE: stored_weights.encode(weights)}
    seals = {name: FileSeal(len(data), sha256(data).hexdigest()) for name, data in contents.items()}
    shapes = {name: tuple(array.shape) for name, array in sorted(weights.items())}
    sealed = msgspec.structs.replace(manifest, files=seals, tensors=shapes)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in {**contents, MANIFEST_FILE: encode(sealed)}.items():
        fresh = folder / f".{name}.new"
        fresh.write_bytes(data)
        fresh.replace(folder / name)
    return sealed


def read_artefact(folder: Path, feature_hash: str) -> Artefact:
    """Reads a model that was made for the features of ``feature_hash``.

    Raises:
        ArtefactError: a file is missing, too large, no plain file or not the one that the manifest names; the
            manifest is malformed, of another format or made for other features.
    """
    manifest = read_manifest(folder)
    if manifest.feature_hash != feature_hash:
        raise ArtefactError(
            f"{folder}: {manifest.model_id} {manifest.model_version} was made for other features "
            f"({manifest.feature_hash[:12]}…, this version computes {feature_hash[:12]}…); train it anew"
        )
    graph = _sealed(folder, MODEL_FILE, manifest)
    return Artefact(manifest, graph)


def read_weights(folder: Path, manifest: Manifest) -> Weights:
    """Reads a model's weights, to go on training from.

    Raises:
        ArtefactError: they are not those that the manifest names, or not finite.
    """
    data = _sealed(folder, WEIGHTS_FILE, manifest)
    return stored_weights.decode(data, manifest.tensors, str(folder / WEIGHTS_FILE))


def read_manifest(folder: Path) -> Manifest:
    """Reads what a model's folder says of it, whatever features it was made for.

    Raises:
        ArtefactError: the manifest is missing, malformed or of another format.
    """
    data = _content(folder / MANIFEST_FILE, _LARGEST_MANIFEST)
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, RecursionError) as problem:
        raise ArtefactError(f"{folder / MANIFEST_FILE}: {problem}") from None
    if manifest.format != FORMAT:
        raise ArtefactError(
            f"{folder / MANIFEST_FILE}: format {manifest.format}; this version reads {FORMAT}"
        )
    if frozenset(manifest.files) != _FILES:
        raise ArtefactError(f"{folder / MANIFEST_FILE}: must name exactly {', '.join(sorted(_FILES))}")
    _check_strata(folder, manifest.strata)
    return manifest


def _check_strata(folder: Path, strata: tuple[Stratum, ...]) -> None:
    if not strata:
        raise ArtefactError(f"{folder / MANIFEST_FILE}: no calibration")
    for stratum in strata:
        levels, scores = stratum.levels, stratum.scores
        sound = (
            len(levels) == len(scores) >= 2
            and all(map(math.isfinite, scores))
            and all(0.0 < level <= 1.0 for level in levels)
            and all(a > b for a, b in zip(levels, levels[1:], strict=False))
            and all(a <= b for a, b in zip(scores, scores[1:], strict=False))
        )
        if not sound:
            raise ArtefactError(
                f"{folder / MANIFEST_FILE}: the calibration of {stratum.name!r} is no calibration"
            )


def _sealed(folder: Path, name: str, manifest: Manifest) -> bytes:
    """Reads a file and compares it with its seal."""
    seal = manifest.files[name]
    data = _content(folder / name, _LARGEST_FILE)
    if len(data) != seal.bytes or sha256(data).hexdigest() != seal.sha256:
        raise ArtefactError(
            f"{folder / name}: not the file that the manifest names (size or SHA-256 differs)"
        )
    return data


def _content(path: Path, largest: int) -> bytes:
    """Reads a plain file of bounded size; a link is none."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as problem:
        raise ArtefactError(f"{path}: {problem.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ArtefactError(f"{path}: no plain file")
        if status.st_size > largest:
            raise ArtefactError(f"{path}: {status.st_size} bytes; at most {largest} are read")
        return file.read(largest + 1)
