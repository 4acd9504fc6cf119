"""What is exported gives what the network gives. Needs PyTorch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (make setup-train)")
pytest.importorskip("onnx", reason="onnx is not installed (make setup-train)")

from chargewatch.artefacts.folder import read_weights  # noqa: E402
from chargewatch.csar2.network import Autoencoder, Detector, Head  # noqa: E402
from chargewatch.csar2.row_detector import RowDetector  # noqa: E402
from chargewatch.csar2.shape_model import base_artefact, base_folder, base_model  # noqa: E402
from chargewatch.features.channel_table import BUCKETS, CHANNELS, CONTEXT  # noqa: E402

PARITY = 1e-5


def detector_with(weights: dict[str, np.ndarray] | None) -> Detector:
    """The network with given weights, else with drawn ones that are not small."""
    torch.manual_seed(5)
    detector = Detector(Autoencoder(), Head())
    if weights is not None:
        detector.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    return detector.eval()


def inputs(seed: int, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = (rng.random((count, len(CHANNELS), BUCKETS)) < 0.7).astype(np.float32)
    return {
        "values": (rng.uniform(-1.0, 3.0, masks.shape) * masks).astype(np.float32),
        "masks": masks,
        "context": rng.random((count, len(CONTEXT))).astype(np.float32),
    }


def base_weights() -> dict[str, np.ndarray]:
    return dict(read_weights(base_folder(), base_artefact().manifest))


@pytest.mark.parametrize("trained", [False, True], ids=["drawn weights", "base weights"])
@pytest.mark.parametrize("count", [1, 5])
def test_rows_give_what_the_network_gives(trained: bool, count: int) -> None:
    detector = detector_with(base_weights() if trained else None)
    feed = [torch.from_numpy(array) for array in inputs(count, count).values()]
    with torch.no_grad():
        for one, other in zip(detector(*feed), RowDetector(detector)(*feed), strict=True):
            assert one.shape == other.shape
            assert torch.allclose(one, other, rtol=PARITY, atol=PARITY)


def test_the_last_blocks_leave_out_rows() -> None:
    blocks = RowDetector(detector_with(None)).blocks
    assert len(blocks[-1].taps) == 3 * BUCKETS
    assert len(blocks[-2].taps) < len(blocks[0].taps)


def test_the_graph_of_the_base_model_gives_what_its_weights_give() -> None:
    feed = inputs(9, 7)
    with torch.no_grad():
        wanted = detector_with(base_weights())(*(torch.from_numpy(array) for array in feed.values()))
    given = base_model()._session.run(("logit", "expected"), feed)
    for one, other in zip(wanted, given, strict=True):
        assert np.allclose(one.numpy(), other, rtol=PARITY, atol=PARITY)
