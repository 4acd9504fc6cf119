"""What a model's manifest says: what it was made for, from what, how well it does, and which files belong to it."""

from typing import Final

import msgspec

FORMAT: Final = 1
MODEL_FILE: Final = "model.onnx"
WEIGHTS_FILE: Final = "weights.safetensors"
MANIFEST_FILE: Final = "manifest.json"


class FileSeal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The size and the SHA-256 of one file."""

    bytes: int
    sha256: str


class DataSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Data that a model learnt from, with the attribution that its licence asks for."""

    name: str
    sessions: int
    licence: str
    attribution: str


class Stratum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How normal sessions of one kind score: ``scores[i]`` is exceeded by a share of ``levels[i]`` of them.

    ``levels`` fall and ``scores`` rise. ``sessions`` is how many normal sessions this was measured on.
    """

    name: str
    sessions: int
    levels: tuple[float, ...]
    scores: tuple[float, ...]


class ConfidenceFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The weights of the confidence model, by figure, and what they were fitted on.

    ``sessions`` is how many verdicts, ``basis`` on what, ``prevalence`` the share of faulty sessions that it is for.
    """

    basis: str
    sessions: int
    prevalence: float
    weights: dict[str, float]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's manifest. ``metrics`` were measured when it was made, on sessions that it did not learn from."""

    format: int
    model_id: str
    model_version: str
    created_by: str
    feature_hash: str
    channels: tuple[str, ...]
    context: tuple[str, ...]
    buckets: int
    seed: int
    data: tuple[DataSource, ...]
    training_fingerprint: str
    metrics: dict[str, float]
    strata: tuple[Stratum, ...]
    tensors: dict[str, tuple[int, ...]]
    files: dict[str, FileSeal]
    confidence: ConfidenceFit | None = None


def encode(manifest: Manifest) -> bytes:
    """Returns the manifest as JSON to be read by people too."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n"
