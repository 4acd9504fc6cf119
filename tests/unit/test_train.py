"""Training is reproducible, its export says what PyTorch says, and a hidden bucket is hidden. Needs PyTorch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (make setup-train)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup-train)")

from chargewatch.artefacts.folder import Artefact, read_artefact, read_weights, write_artefact  # noqa: E402
from chargewatch.artefacts.manifest import DataSource  # noqa: E402
from chargewatch.csar2 import network  # noqa: E402
from chargewatch.csar2 import train as training  # noqa: E402
from chargewatch.csar2.network import (  # noqa: E402
    EVIDENCE,
    HIDDEN,
    Autoencoder,
    Detector,
    Head,
    loss_of,
    passes,
)
from chargewatch.csar2.rarity import STRATA  # noqa: E402
from chargewatch.csar2.shape_model import ShapeModel  # noqa: E402
from chargewatch.csar2.train import Settings, Trained, TrainingData  # noqa: E402
from chargewatch.features.channel_table import (  # noqa: E402
    BUCKETS,
    CHANNELS,
    CONTEXT,
    FEATURE_HASH,
    RECONSTRUCTED,
    Place,
)
from chargewatch.features.tensor import SessionTensors  # noqa: E402

SETTINGS = Settings(seed=3, epochs=2, head_epochs=2, batch_size=16)


def drawn(seed: int, count: int, *, odd: bool = False) -> SessionTensors:
    """Made-up tensors: flat normal sessions, restless odd ones."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.9, 1.0, (count, len(CHANNELS), BUCKETS))
    if odd:
        values *= rng.uniform(0.2, 1.0, values.shape)
    masks = rng.random(values.shape) < 0.9
    return SessionTensors(
        values=np.where(masks, values, 0.0).astype(np.float32),
        masks=masks,
        context=rng.random((count, len(CONTEXT))).astype(np.float32),
        width_ms=np.full(count, 60_000),
        end_ms=np.full(count, BUCKETS * 60_000),
        peak_w=np.full(count, 11_000.0),
        shown=np.full(count, BUCKETS),
    )


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData(
        normal=drawn(1, 64),
        odd=drawn(2, 32, odd=True),
        calibration=drawn(3, 100),
        test_normal=drawn(4, 40),
        test_odd={"restless": drawn(5, 20, odd=True)},
        sources=(DataSource("made up", 256, "Apache-2.0", ""),),
    )


@pytest.fixture(scope="module")
def trained(data: TrainingData) -> Trained:
    return training.train(data, SETTINGS)


def inputs(sessions: SessionTensors) -> tuple[torch.Tensor, ...]:
    return (
        torch.from_numpy(sessions.values),
        torch.from_numpy(sessions.masks.astype(np.float32)),
        torch.from_numpy(sessions.context),
    )


def test_the_same_seed_gives_the_same_model_and_another_seed_another(
    data: TrainingData, trained: Trained
) -> None:
    first, second = trained, training.train(data, SETTINGS)
    assert first.manifest == second.manifest
    assert first.graph == second.graph
    other = training.train(data, SETTINGS._replace(seed=4))
    assert other.graph != first.graph


def test_progress_only_rises_and_ends_at_one(data: TrainingData) -> None:
    told: list[float] = []
    training.train(data, SETTINGS, told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_the_export_says_what_pytorch_says(trained: Trained) -> None:
    sessions = drawn(9, 70)
    model = ShapeModel(Artefact(trained.manifest, trained.graph), "the model")
    logits, expected = model.run(sessions, np.arange(70))
    detector = Detector(Autoencoder(), Head()).eval()
    detector.load_state_dict({name: torch.from_numpy(array) for name, array in trained.weights.items()})
    with torch.no_grad():
        own_logits, own_expected = detector(*inputs(sessions))
    assert np.abs(logits - own_logits.numpy()).max() <= 1e-4
    assert np.abs(expected - own_expected.numpy()).max() <= 1e-4


def test_the_export_scores_a_session_the_same_in_any_batch(trained: Trained) -> None:
    model = ShapeModel(Artefact(trained.manifest, trained.graph), "the model")
    sessions = drawn(9, 70)
    together = model.run(sessions, np.arange(70))
    for row in range(70):
        alone = model.run(sessions, np.array([row]))
        assert np.array_equal(alone[0][0], together[0][row])
        assert np.array_equal(alone[1][0], together[1][row])


def test_what_was_trained_is_written_and_read(trained: Trained, tmp_path) -> None:
    write_artefact(tmp_path, trained.manifest, trained.graph, trained.weights)
    artefact = read_artefact(tmp_path, FEATURE_HASH)
    assert artefact.graph == trained.graph
    assert len(artefact.manifest.strata) == STRATA
    assert artefact.manifest.metrics["recall_unseen_kinds"] == artefact.manifest.metrics["recall_restless"]
    assert read_weights(tmp_path, artefact.manifest).keys() == trained.weights.keys()


def test_every_bucket_is_hidden_in_exactly_one_pass() -> None:
    assert passes().sum(dim=0).tolist() == [1.0] * BUCKETS


def test_what_is_expected_of_a_hidden_bucket_does_not_depend_on_it() -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder().eval()
    values, masks, context = inputs(drawn(1, 4))
    hidden = torch.zeros(4, 1, BUCKETS)
    hidden[:, :, 20:24] = 1.0
    changed = values.clone()
    changed[:, list(HIDDEN), 20:24] += 0.5
    other_masks = masks.clone()
    other_masks[:, list(HIDDEN), 20:24] = 0.0
    with torch.no_grad():
        one, _ = autoencoder(values, masks, context, hidden)
        two, _ = autoencoder(changed, other_masks, context, hidden)
        visible, _ = autoencoder(changed, masks, context, torch.zeros_like(hidden))
    assert torch.equal(one, two)
    assert not torch.equal(one, visible)


def test_the_loss_is_the_likelihood_of_what_counts() -> None:
    """Of centres that are right by 0.5 with width 1: 0.5, wherever it counts."""
    count = len(RECONSTRUCTED)
    values = torch.zeros(2, len(CHANNELS), BUCKETS)
    expected = torch.cat((torch.full((2, count, BUCKETS), 0.5), torch.zeros(2, count, BUCKETS)), dim=1)
    counts = torch.zeros(2, count, BUCKETS)
    counts[:, :, :10] = 1.0
    expected[:, :, 10:] = 99.0
    assert loss_of(expected, values, counts).item() == pytest.approx(0.5)


def test_learning_tells_odd_from_normal(data: TrainingData) -> None:
    trained = training.train(data, SETTINGS._replace(epochs=8, head_epochs=15))
    model = ShapeModel(Artefact(trained.manifest, trained.graph), "the model")
    normal = model.run(data.test_normal, np.arange(40))[0]
    odd = model.run(data.test_odd["restless"], np.arange(20))[0]
    assert np.median(odd) > normal.max()


@pytest.mark.parametrize("fault", ["not finite", "other outputs"])
def test_a_graph_that_does_not_fit_is_refused(trained: Trained, fault: str) -> None:
    detector = Detector(Autoencoder(), Head()).eval()
    if fault == "not finite":
        with torch.no_grad():
            detector.head.outlet[3].bias.fill_(float("nan"))
        graph, message = training.export(detector), "does not give finite scores"
    else:
        graph, message = training.export(detector).replace(b"expected", b"exspects"), "outputs are"
    with pytest.raises(ValueError, match=message):
        ShapeModel(Artefact(trained.manifest, graph), "here")


def charge_against_energy(soc: list[float | None], kwh: list[float]) -> tuple[list[float], float]:
    """The slow twin: how far each state of charge lies from the line over energy, in tenths, and the capacity."""
    known = [k for k, value in enumerate(soc) if value is not None]
    first, rise = min(soc[k] for k in known), max(soc[k] for k in known) - min(soc[k] for k in known)
    from_kwh = min(kwh[k] for k in known)
    charged = max(kwh[k] for k in known) - from_kwh
    if rise < 0.015 or charged < 0.5:
        return [0.0] * len(soc), 0.0
    line = [first + rise * (kwh[k] - from_kwh) / charged for k in range(len(kwh))]
    off = [0.0 if s is None else max(min(10.0 * (s - line[k]), 5.0), -5.0) for k, s in enumerate(soc)]
    return off, float(np.log1p(charged / rise) / 5.0)


@pytest.mark.parametrize(
    ("from_soc", "capacity_kwh", "charged_kwh", "leap"),
    [(0.2, 60.0, 30.0, 0.0), (0.1, 80.0, 40.0, 0.2), (0.5, 60.0, 0.4, 0.0), (0.5, 900.0, 9.0, 0.0)],
)
def test_the_head_sees_the_state_of_charge_against_energy(from_soc, capacity_kwh, charged_kwh, leap) -> None:
    kwh = np.linspace(0.0, charged_kwh, BUCKETS)
    soc: list[float | None] = (from_soc + kwh / capacity_kwh).tolist()
    for k in range(40, 60):
        soc[k] = None if k % 7 == 0 else min(soc[k] + leap, 1.0)
    values, masks = torch.zeros(1, len(CHANNELS), BUCKETS), torch.zeros(1, len(CHANNELS), BUCKETS)
    values[0, Place.SOC] = torch.tensor([0.0 if s is None else s for s in soc])
    masks[0, Place.SOC] = torch.tensor([float(s is not None) for s in soc])
    values[0, Place.ENERGY] = torch.tensor(np.log1p(kwh) / 4.0)
    masks[0, Place.ENERGY] = 1.0
    off, capacity = charge_against_energy(soc, kwh.tolist())
    seen = network.charge_against_energy(values, masks)
    assert np.abs(seen[0, 0].numpy() - np.array(off)).max() < 1e-3
    assert np.abs(seen[0, 1].numpy() - capacity).max() < 1e-3
    told = charged_kwh >= 0.5 and max(s for s in soc if s is not None) - from_soc >= 0.015
    assert (capacity > 0) == told
    assert (max(abs(x) for x in off) > 0.5) == (leap > 0)


def test_the_head_counts_evidence_in_deviations_of_normal_sessions() -> None:
    head = Head()
    rng = torch.Generator().manual_seed(1)
    seen = 3.0 + 2.0 * torch.randn(50, EVIDENCE, BUCKETS, generator=rng)
    shown = (torch.rand(50, 1, BUCKETS, generator=rng) < 0.5).float()
    seen = torch.where(shown > 0, seen, torch.tensor(1e3))  # what is not shown does not count
    head.fit_scale(seen, shown)
    assert (head.mean - 3.0).abs().max() < 0.2
    assert (head.deviation - 2.0).abs().max() < 0.2
    head.fit_scale(torch.ones(5, EVIDENCE, BUCKETS), torch.ones(5, 1, BUCKETS))
    assert (head.deviation > 0).all()
