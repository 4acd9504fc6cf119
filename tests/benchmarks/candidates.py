"""What finds odd shapes best: candidates for the learned part, on kinds of odd shapes that training never saw.

``python -m tests.benchmarks.candidates [SHARE [SEED]]`` (needs the extras ``train`` and ``peers``) prints the table of
decision 11. All candidates learn from the same sessions; thresholds are the calibration sessions' quantile by
stratum, at one and at two normal sessions in 1,000.
"""

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import Progress
from torch import nn

from chargewatch.cli.train import simulated_data
from chargewatch.cli.training_data import Amounts
from chargewatch.csar2 import rarity
from chargewatch.csar2.network import WIDTH, Autoencoder, Detector, Head
from chargewatch.csar2.train import Settings, TrainingData, inputs_of, learn_to_reconstruct, learn_to_tell
from chargewatch.features.channel_table import BUCKETS, DELIVERY, RECONSTRUCTED, Place
from chargewatch.features.tensor import SessionTensors
from tests.benchmarks.machine import describe

ATTENTION_WIDTH = 48
Scorer = Callable[[SessionTensors], np.ndarray]


class Candidate(NamedTuple):
    """A way to score sessions, and the core time that fitting it took."""

    name: str
    score: Scorer
    fit_s: float


class Attention(nn.Module):
    """A layer of a transformer with rotary positions (RoPE): (B, T, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inlet, self.outlet = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        pace = 10_000.0 ** (-torch.arange(0, self.size, 2) / self.size)
        angle = torch.arange(BUCKETS)[:, None] * pace[None]
        self.register_buffer("cosine", angle.cos())
        self.register_buffer("sine", angle.sin())

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        """Turns pairs of (B, heads, T, size) by their positions."""
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.cat((even * self.cosine - odd * self.sine, even * self.sine + odd * self.cosine), dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds what the other buckets say."""
        shape = (*x.shape[:2], 3, self.heads, self.size)
        query, key, value = self.inlet(self.before(x)).reshape(shape).permute(2, 0, 3, 1, 4)
        said = nn.functional.scaled_dot_product_attention(self.turned(query), self.turned(key), value)
        x = x + self.outlet(said.transpose(1, 2).reshape(x.shape))
        return x + self.mix(self.between(x))


class Attending(nn.Module):
    """Three layers of four heads, width 48: (B, 48, T) to (B, WIDTH, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Attention(ATTENTION_WIDTH, 4) for _ in range(3)))
        self.outlet = nn.Sequential(nn.LayerNorm(ATTENTION_WIDTH), nn.Linear(ATTENTION_WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Lets every bucket attend to all others."""
        return self.outlet(self.layers(x.transpose(1, 2))).transpose(1, 2)


def transformer() -> Autoencoder:
    """Returns an autoencoder of the same task and input that attends where the other convolves."""
    made = Autoencoder()
    made.inlet = nn.Conv1d(made.inlet.in_channels, ATTENTION_WIDTH, 1)
    made.blocks = Attending()
    return made


def surprises(detector: Detector, sessions: SessionTensors) -> np.ndarray:
    """How far each bucket lies from what was expected, in widths: shape (N, R, buckets), 0 where masked."""
    count, parts = len(RECONSTRUCTED), []
    with torch.no_grad():
        for rows in torch.arange(len(sessions.shown)).split(512):
            values, masks, context = (column[rows] for column in inputs_of(sessions))
            expected, _ = detector.expect(values, masks, context)
            apart = (values[:, list(RECONSTRUCTED)] - expected[:, :count]) * masks[:, list(RECONSTRUCTED)]
            parts.append((apart * torch.exp(-expected[:, count:])).numpy())
    return np.concatenate(parts)


def statistics(detector: Detector, sessions: SessionTensors) -> np.ndarray:
    """Features for trees: the reconstruction's surprises by channel, the course of power, and the context."""
    z = surprises(detector, sessions)
    far = np.abs(z)
    measured = sessions.masks[:, Place.MEASURED_POWER].any(axis=1)[:, None]
    power = np.where(
        measured, sessions.values[:, Place.MEASURED_POWER], sessions.values[:, Place.REGISTER_POWER]
    )
    known = np.where(
        measured, sessions.masks[:, Place.MEASURED_POWER], sessions.masks[:, Place.REGISTER_POWER]
    )
    moves = np.diff(power, axis=1) * (known[:, 1:] & known[:, :-1])
    turns = np.abs(np.diff(np.sign(np.where(np.abs(moves) > 0.03, moves, 0.0)), axis=1)).sum(axis=1)
    ordered = np.sort(far, axis=2)
    columns = [far.mean(axis=2), ordered[:, :, -1], ordered[:, :, -4], ordered[:, :, -12]]
    columns += [(z[:, :, 1:] * z[:, :, :-1]).mean(axis=2), z.mean(axis=2)]
    course = np.stack([moves.max(axis=1), moves.min(axis=1), np.abs(moves).sum(axis=1), turns], axis=1)
    levels = np.quantile(np.where(known, power, 0.0), [0.5, 0.75, 0.9], axis=1).T
    return np.concatenate([*columns, course, levels, sessions.context, sessions.shown[:, None]], axis=1)


def candidates(data: TrainingData, settings: Settings) -> list[Candidate]:
    """Fits all candidates."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    begun = time.process_time()
    detector = Detector(Autoencoder(), Head())
    learn_to_reconstruct(detector.autoencoder, inputs_of(data.normal), settings, lambda _: None)
    detector.eval()
    autoencoder_s = time.process_time() - begun
    count = len(DELIVERY)

    def mean_surprise(sessions: SessionTensors) -> np.ndarray:
        shown = sessions.masks[:, list(RECONSTRUCTED)].sum(axis=(1, 2))
        return np.abs(surprises(detector, sessions)).sum(axis=(1, 2)) / np.maximum(shown, 1)

    def clearest_surprise(sessions: SessionTensors) -> np.ndarray:
        far = np.abs(surprises(detector, sessions))[:, :count].max(axis=1)
        return np.sort(far, axis=1)[:, -8:].mean(axis=1)

    found = [
        Candidate("reconstruction, mean surprise", mean_surprise, autoencoder_s),
        Candidate("reconstruction, eight clearest buckets", clearest_surprise, autoencoder_s),
    ]
    begun = time.process_time()
    learn_to_tell(detector, data, settings, lambda _: None)
    head_s = time.process_time() - begun

    by_head = scorer(detector)
    found.append(Candidate("frozen autoencoder + head", by_head, autoencoder_s + head_s))
    trees, trees_s = _trees(detector, data, settings.seed)

    def by_trees(sessions: SessionTensors) -> np.ndarray:
        return np.asarray(trees.decision_function(statistics(detector, sessions)))

    found.append(Candidate("boosted trees on surprises and course", by_trees, autoencoder_s + trees_s))

    def by_both(sessions: SessionTensors) -> np.ndarray:
        return by_head(sessions) + by_trees(sessions)

    found.append(Candidate("head + boosted trees", by_both, autoencoder_s + head_s + trees_s))
    found.append(_by_attention(data, settings))
    return found


def scorer(detector: Detector) -> Scorer:
    """Scores sessions by the head."""

    def score(sessions: SessionTensors) -> np.ndarray:
        with torch.no_grad():
            parts = [
                detector(*(c[rows] for c in inputs_of(sessions)))[0]
                for rows in torch.arange(len(sessions.shown)).split(512)
            ]
        return torch.cat(parts).numpy().astype(np.float64)

    return score


def _by_attention(data: TrainingData, settings: Settings) -> Candidate:
    """The same head on a transformer's reconstruction."""
    torch.manual_seed(settings.seed)
    begun = time.process_time()
    detector = Detector(transformer(), Head())
    learn_to_reconstruct(detector.autoencoder, inputs_of(data.normal), settings, lambda _: None)
    detector.eval()
    learn_to_tell(detector, data, settings, lambda _: None)
    return Candidate("frozen RoPE transformer + head", scorer(detector), time.process_time() - begun)


def _trees(detector: Detector, data: TrainingData, seed: int):
    from sklearn.ensemble import HistGradientBoostingClassifier

    begun = time.process_time()
    normal, odd = statistics(detector, data.normal), statistics(detector, data.odd)
    trees = HistGradientBoostingClassifier(
        max_iter=250, learning_rate=0.06, l2_regularization=1.0, random_state=seed
    )
    trees.fit(np.concatenate((normal, odd)), np.repeat([0, 1], [len(normal), len(odd)]))
    return trees, time.process_time() - begun


def table(data: TrainingData, fitted: list[Candidate]) -> list[str]:
    """Measures the candidates; returns lines of a table."""
    lines = [
        "| candidate | false alarms / 1,000 | recall at 1 / 1,000 | at 2 / 1,000 | lowest kind at 1 | fit, s |",
        "|---|---|---|---|---|---|",
    ]
    of_calibration = rarity.strata_of(data.calibration)
    for candidate in fitted:
        strata = rarity.calibrate(candidate.score(data.calibration), of_calibration)

        def share(
            sessions: SessionTensors, limit: float, one: Candidate = candidate, known: tuple = strata
        ) -> float:
            p = rarity.p_values(known, rarity.strata_of(sessions), one.score(sessions))
            return float((p <= limit).mean())

        recalls = {limit: [share(odd, limit) for odd in data.test_odd.values()] for limit in (0.001, 0.002)}
        kinds = list(data.test_odd)
        worst = int(np.argmin(recalls[0.001]))
        lines.append(
            f"| {candidate.name} | {1000 * share(data.test_normal, 0.001):.1f} | {np.mean(recalls[0.001]):.2f} "
            f"| {np.mean(recalls[0.002]):.2f} | {recalls[0.001][worst]:.2f} ({kinds[worst]}) "
            f"| {candidate.fit_s:.0f} |"
        )
    return lines


def main() -> None:
    """Prints the table."""
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 0.25
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with Progress(transient=True) as progress:
        data = simulated_data(seed, Amounts().times(share), None, progress)
    print(describe())
    print("\n".join(table(data, candidates(data, Settings(seed=seed)))))


if __name__ == "__main__":
    main()
