"""The learned part of CSAR-2: how unusual the shape of a session is, and where.

Runs the exported network with onnxruntime on one thread; PyTorch is not needed. The base model lies in the package
(``csar2/base``) and is read once a process, when the first session needs it.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np

from chargewatch.artefacts.folder import Artefact, ArtefactError, read_artefact
from chargewatch.artefacts.manifest import Manifest
from chargewatch.csar2 import rarity
from chargewatch.csar2.calibration import PRIOR, PRIOR_BASIS, ConfidenceModel
from chargewatch.features.channel_table import (
    BUCKETS,
    CHANNELS,
    CONTEXT,
    FEATURE_HASH,
    RECONSTRUCTED,
)
from chargewatch.features.grid import Singles
from chargewatch.features.tensor import LEAST_PEAK_W, SessionTensors
from chargewatch.ingest.columns import Flags, Floats

#: A session with fewer instants or fewer buckets of delivery has no shape to speak of.
FEWEST_INSTANTS: Final = 8
FEWEST_BUCKETS: Final = 6
#: Sessions that go through the network together: what they need stays in the processor's cache.
_TOGETHER: Final = 16
_INPUTS: Final = {
    "values": (len(CHANNELS), BUCKETS),
    "masks": (len(CHANNELS), BUCKETS),
    "context": (len(CONTEXT),),
}
_OUTPUTS: Final = {"logit": (), "expected": (2 * len(RECONSTRUCTED), BUCKETS)}


class _Place(Protocol):
    """An input or output of a graph."""

    name: str
    type: str
    shape: list[int | str]


class _Session(Protocol):
    """What is used of onnxruntime's session."""

    def get_inputs(self) -> list[_Place]:
        """The graph's inputs."""

    def get_outputs(self) -> list[_Place]:
        """The graph's outputs."""

    def run(self, outputs: Sequence[str], feed: Mapping[str, Singles]) -> list[Singles]:
        """Runs the graph."""


class Outlook(NamedTuple):
    """What the network says of N sessions.

    ``p`` is the share of normal sessions that look as unusual (1 where the network has no say), ``expected`` the
    reconstruction, shape (N, 2R, buckets): centres, then logarithms of widths.
    """

    judged: Flags
    p: Floats
    expected: Singles


class ShapeModel:
    """A trained network, ready to score."""

    def __init__(self, artefact: Artefact, where: str) -> None:
        """Makes the session. Raises ArtefactError where the graph is not one of ours."""
        self.manifest: Manifest = artefact.manifest
        _check_names(artefact.manifest, where)
        self.confidence = _confidence(artefact.manifest, where)
        self._session = _session(artefact.graph, where)

    def outlook(self, tensors: SessionTensors, wanted: Flags) -> Outlook:
        """Scores the ``wanted`` sessions of a batch."""
        rows = wanted.nonzero()[0]
        p = np.ones(len(wanted))
        expected = np.zeros((len(wanted), *_OUTPUTS["expected"]), np.float32)
        if len(rows):
            logits, expected[rows] = self.run(tensors, rows)
            stratum = rarity.strata_of(tensors)[rows]
            p[rows] = rarity.p_values(self.manifest.strata, stratum, logits)
        return Outlook(wanted, p, expected)

    def run(self, tensors: SessionTensors, rows: "np.typing.NDArray[np.int64]") -> tuple[Floats, Singles]:
        """Returns the network's scores (to four places) of some rows and what it expected of them."""
        logits: list[Singles] = []
        expected: list[Singles] = []
        for begin in range(0, len(rows), _TOGETHER):
            some = rows[begin : begin + _TOGETHER]
            feed = {
                "values": tensors.values[some],
                "masks": tensors.masks[some].astype(np.float32),
                "context": tensors.context[some],
            }
            logit, each = self._session.run(("logit", "expected"), feed)
            logits.append(logit)
            expected.append(each)
        scores: Floats = np.asarray(np.concatenate(logits), np.float64).round(4)
        return scores, np.concatenate(expected)


def telling(tensors: SessionTensors, instants: "np.typing.NDArray[np.int64]") -> Flags:
    """Marks the sessions that have a shape: enough readings, and delivery above standby."""
    enough: Flags = (instants >= FEWEST_INSTANTS) & (tensors.shown >= FEWEST_BUCKETS)
    return enough & (tensors.peak_w > LEAST_PEAK_W)


def base_folder() -> Path:
    """Where the base model lies."""
    return Path(str(files("chargewatch.csar2") / "base"))


@cache
def base_artefact() -> Artefact:
    """Reads the base model. Raises ArtefactError where it is missing or does not fit this version."""
    return read_artefact(base_folder(), FEATURE_HASH)


@cache
def base_model() -> ShapeModel:
    """Returns the base model, made once a process. Raises ArtefactError as `base_artefact` does."""
    return ShapeModel(base_artefact(), str(base_folder()))


def read_model(folder: Path) -> ShapeModel:
    """Reads a model from its folder. Raises ArtefactError where it does not fit this version."""
    return ShapeModel(read_artefact(folder, FEATURE_HASH), str(folder))


def _check_names(manifest: Manifest, where: str) -> None:
    """Refuses a manifest that contradicts its own feature hash."""
    same = (
        manifest.channels == tuple(row.name for row in CHANNELS)
        and manifest.context == tuple(row.name for row in CONTEXT)
        and manifest.buckets == BUCKETS
    )
    if not same:
        raise ArtefactError(f"{where}: its channels, context or buckets are not those of its feature hash")
    if len(manifest.strata) != rarity.STRATA:
        raise ArtefactError(f"{where}: {len(manifest.strata)} strata; {rarity.STRATA} are needed")


def _confidence(manifest: Manifest, where: str) -> ConfidenceModel:
    if manifest.confidence is None:
        return ConfidenceModel(PRIOR, PRIOR_BASIS)
    try:
        return ConfidenceModel(manifest.confidence.weights, manifest.confidence.basis)
    except ValueError as problem:
        raise ArtefactError(f"{where}: {problem}") from None


def _session(graph: bytes, where: str) -> _Session:
    """Makes a session on one thread, and checks that the graph takes and gives what it should."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        session: _Session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # noqa: BLE001 - of a graph that is none it raises many kinds
        raise ArtefactError(f"{where}: onnxruntime cannot load the graph: {problem}") from None
    _check_graph(session, where)
    _probe(session, where)
    return session


def _check_graph(session: _Session, where: str) -> None:
    """Refuses a graph that takes or gives anything else than ours."""
    for kind, wanted, found in (
        ("inputs", _INPUTS, session.get_inputs()),
        ("outputs", _OUTPUTS, session.get_outputs()),
    ):
        shapes = {place.name: tuple(place.shape[1:]) for place in found}
        if shapes != wanted or any(place.type != "tensor(float)" for place in found):
            raise ArtefactError(f"{where}: the graph's {kind} are {shapes}; wanted are {wanted}")


def _probe(session: _Session, where: str) -> None:
    """Runs two made-up sessions: the figures must come out, and be finite."""
    for fill in (0.0, 1.0):
        feed = {name: np.full((2, *shape), fill, np.float32) for name, shape in _INPUTS.items()}
        logit, expected = session.run(("logit", "expected"), feed)
        if logit.shape != (2,) or not (np.isfinite(logit).all() and np.isfinite(expected).all()):
            raise ArtefactError(f"{where}: the graph does not give finite scores")
