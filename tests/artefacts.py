"""A small artefact for tests: no network, but a folder with everything that belongs into one."""

import numpy as np

from chargewatch.artefacts.manifest import FORMAT, DataSource, Manifest, Stratum
from chargewatch.artefacts.weights import Weights

HASH = "f" * 64
GRAPH = b"not a graph, but bytes"


def weights() -> Weights:
    return {
        "inlet.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "outlet.bias": np.array([0.5], np.float32),
    }


def manifest(**changed: object) -> Manifest:
    fields: dict[str, object] = {
        "format": FORMAT,
        "model_id": "model-test",
        "model_version": "1.2.3",
        "created_by": "tests",
        "feature_hash": HASH,
        "channels": ("a", "b"),
        "context": ("c",),
        "buckets": 4,
        "seed": 7,
        "data": (DataSource("made up", 3, "Apache-2.0", "nobody"),),
        "training_fingerprint": "0" * 64,
        "metrics": {"recall": 0.5},
        "strata": (Stratum("all", 2000, (1.0, 0.1, 0.01), (-2.0, 0.0, 1.5)),),
        "tensors": {},
        "files": {},
    }
    return Manifest(**(fields | changed))  # type: ignore[arg-type]
