"""The network, in PyTorch: an autoencoder over masked spans and a head on what it could not reconstruct.

Imported for training only; scoring runs the ONNX export of `Detector` (`chargewatch.csar2.shape_model`). Shapes: B
sessions, C channels, K figures of context, T buckets, R reconstructed channels, P passes.

The autoencoder hides spans of `SPAN` buckets and says what power it expects there, as the centre and the width of a
Laplace distribution. `Detector` hides every span once, in P passes. The head sees how far each bucket lies from what
was expected, in widths of the distribution, and the encoder's view of the neighbourhood; it scores the session.
"""

from typing import Final

import torch
from torch import Tensor, nn

from chargewatch.features.channel_table import BUCKETS, CHANNELS, CONTEXT, DELIVERY, RECONSTRUCTED, Place

#: What would give a hidden bucket away.
HIDDEN: Final = (
    *RECONSTRUCTED,
    Place.MEASURED_RANGE,
    Place.CURRENT,
    Place.ENERGY,
)
SPAN: Final = 4
PASSES: Final = 3
WIDTH: Final = 24
_DILATIONS: Final = (1, 2, 4, 8, 16, 1)
LEAST_LOG_WIDTH: Final = -5.0
MOST_LOG_WIDTH: Final = 2.0
_MOST_Z: Final = 10.0

#: What the head sees as it is, beside what was expected.
_SEEN: Final = (
    Place.REGISTER_GAP,
    Place.MEASURED_GAP,
    Place.ENERGY,
    Place.ELAPSED,
    Place.SOC,
    Place.OFFERED,
    Place.PHASES,
    Place.MEASURED_RANGE,
)
#: Rows of the evidence.
EVIDENCE: Final = 6 * len(RECONSTRUCTED) + len(DELIVERY) + len(_SEEN) + 2 + len(CONTEXT) + WIDTH
_HEAD_WIDTH: Final = 32
_HEAD_DILATIONS: Final = ((1, 3, 9), (2, 6, 20))
_LEAST_DEVIATION: Final = 0.05
_MOST_DEVIATIONS: Final = 8.0
_SMALL: Final = 0.02  # of a channel's own scale
_LEAST_RISE: Final = 0.015  # of the state of charge: less may be one step of a coarse one
_LEAST_KWH: Final = 0.5
_OUTSIDE: Final = 1e6


class Block(nn.Module):  # type: ignore[misc]
    """A dilated convolution with a residual: (B, width, T) to the same."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.spread = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Adds what the neighbourhood says."""
        mixed: Tensor = self.mix(torch.relu(self.spread(x)))
        return x + mixed


class Autoencoder(nn.Module):  # type: ignore[misc]
    """Says for every bucket what power it expects from the buckets that are not hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(2 * len(CHANNELS) + len(CONTEXT) + 1, WIDTH, 1)
        self.blocks = nn.Sequential(*(Block(WIDTH, d) for d in _DILATIONS))
        self.outlet = nn.Conv1d(WIDTH, 2 * len(RECONSTRUCTED), 1)

    def forward(
        self, values: Tensor, masks: Tensor, context: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns what is expected (B, 2R, T: centres, then logarithms of widths) and the states (B, width, T).

        ``hidden`` (B, 1, T) is 1 where a bucket is hidden.
        """
        seen = 1.0 - hidden
        covers = torch.zeros(1, len(CHANNELS), 1)
        covers[:, list(HIDDEN)] = 1.0
        kept = 1.0 - covers * hidden
        spread = context.unsqueeze(2) * torch.ones_like(seen)
        state = self.inlet(torch.cat((values * kept, masks * kept, spread, hidden), dim=1))
        state = torch.relu(self.blocks(state))
        out = self.outlet(state)
        centre, width = out[:, : len(RECONSTRUCTED)], out[:, len(RECONSTRUCTED) :]
        return torch.cat((centre, width.clamp(LEAST_LOG_WIDTH, MOST_LOG_WIDTH)), dim=1), state


def loss_of(expected: Tensor, values: Tensor, counts: Tensor) -> Tensor:
    """The negative log-likelihood of the hidden buckets. ``counts``: (B, R, T), 1 where a bucket counts."""
    count = len(RECONSTRUCTED)
    targets = values[:, list(RECONSTRUCTED)]
    log_width = expected[:, count:]
    surprise = (targets - expected[:, :count]).abs() * torch.exp(-log_width) + log_width
    return (surprise * counts).sum() / counts.sum().clamp(min=1.0)


class Head(nn.Module):  # type: ignore[misc]
    """Scores a session by what was not expected, at several scales of time.

    ``mean`` and ``deviation`` (F, 1) are of the evidence of normal sessions (`fit_scale`).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(EVIDENCE, 1))
        self.register_buffer("deviation", torch.ones(EVIDENCE, 1))
        self.inlet = nn.Conv1d(EVIDENCE, _HEAD_WIDTH, 1)
        self.rounds = nn.ModuleList(_Scales(dilations) for dilations in _HEAD_DILATIONS)
        self.outlet = nn.Sequential(
            nn.Conv1d(3 * _HEAD_WIDTH, _HEAD_WIDTH, 1),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(_HEAD_WIDTH, 1, 1),
        )

    def fit_scale(self, seen: Tensor, shown: Tensor) -> None:
        """Takes mean and deviation of each row of the evidence (B, F, T) where delivery is known (B, 1, T)."""
        count = shown.sum().clamp(min=1.0)
        mean = (seen * shown).sum(dim=(0, 2)) / count
        square = ((seen - mean[:, None]).square() * shown).sum(dim=(0, 2)) / count
        self.mean.copy_(mean[:, None])
        self.deviation.copy_(square.sqrt().clamp(min=_LEAST_DEVIATION)[:, None])

    def forward(self, seen: Tensor, shown: Tensor) -> Tensor:
        """Returns the session's logit (B,). ``shown`` (B, 1, T) is 1 where delivery is known."""
        x = ((seen - self.mean) / self.deviation).clamp(-_MOST_DEVIATIONS, _MOST_DEVIATIONS)
        x = torch.relu(self.inlet(x)) * shown
        for scales in self.rounds:
            x = torch.relu(x + scales(x)) * shown
        count = shown.sum(dim=2, keepdim=True).clamp(min=1.0)
        mean = x.sum(dim=2, keepdim=True) / count
        rough = torch.sqrt((x * x).sum(dim=2, keepdim=True) / count + 1e-6)
        pooled = torch.cat((mean, rough, x.amax(dim=2, keepdim=True)), dim=1)
        logit: Tensor = self.outlet(pooled)
        return logit[:, 0, 0]


class _Scales(nn.Module):  # type: ignore[misc]
    """Neighbourhoods of several sizes, mixed: (B, width, T) to the same."""

    def __init__(self, dilations: tuple[int, ...]) -> None:
        super().__init__()
        half = _HEAD_WIDTH // 2
        self.scales = nn.ModuleList(nn.Conv1d(_HEAD_WIDTH, half, 3, padding=d, dilation=d) for d in dilations)
        self.mix = nn.Conv1d(len(dilations) * half, _HEAD_WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns what the neighbourhoods say."""
        mixed: Tensor = self.mix(torch.relu(torch.cat([scale(x) for scale in self.scales], dim=1)))
        return mixed


def passes() -> Tensor:
    """Returns which buckets each pass hides: (P, T), every bucket in exactly one."""
    turn = (torch.arange(BUCKETS) // SPAN) % PASSES
    return (turn[None] == torch.arange(PASSES)[:, None]).float()


def _each_pass(x: Tensor) -> Tensor:
    """Repeats each session for every pass: (B, …) to (B·P, …)."""
    repeated = x.unsqueeze(1).expand(-1, PASSES, *(-1 for _ in x.shape[1:]))
    return repeated.reshape(-1, *x.shape[1:])


def _over_passes(x: Tensor, features: int) -> Tensor:
    """Adds up the passes: (B·P, F, T) to (B, F, T); the export needs F as a number."""
    return x.reshape(-1, PASSES, features, BUCKETS).sum(dim=1)


class Detector(nn.Module):  # type: ignore[misc]
    """The whole: P passes of the autoencoder, each hiding other spans, and the head."""

    hides: Tensor

    def __init__(self, autoencoder: Autoencoder, head: Head) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.head = head
        self.register_buffer("hides", passes()[:, None], persistent=False)  # (P, 1, T)

    def expect(self, values: Tensor, masks: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what was expected of every bucket while it was hidden, and the states then."""
        hidden = self.hides.unsqueeze(0) * torch.ones_like(values[:, :1]).unsqueeze(1)  # (B, P, 1, T)
        hidden = hidden.reshape(-1, 1, BUCKETS)
        expected, state = self.autoencoder(_each_pass(values), _each_pass(masks), _each_pass(context), hidden)
        return _over_passes(expected * hidden, 2 * len(RECONSTRUCTED)), _over_passes(state * hidden, WIDTH)

    def forward(self, values: Tensor, masks: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the logits (B,) and what was expected (B, 2R, T)."""
        expected, state = self.expect(values, masks, context)
        seen, shown = self.evidence(values, masks, context, expected, state)
        return self.head(seen, shown), expected

    def evidence(
        self, values: Tensor, masks: Tensor, context: Tensor, expected: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns what the head sees (B, `EVIDENCE`, T), and where delivery is known (B, 1, T).

        Of every reconstructed channel: how far it lies from what was expected, in widths of the distribution and as
        it is, how far it moved, and how sure the expectation was: where a channel is restless, the autoencoder
        expects restlessness, and only the last three show it.
        """
        count = len(RECONSTRUCTED)
        targets, known = values[:, list(RECONSTRUCTED)], masks[:, list(RECONSTRUCTED)]
        centre, log_width = expected[:, :count], expected[:, count:]
        apart = (targets - centre) * known
        z = (apart * torch.exp(-log_width)).clamp(-_MOST_Z, _MOST_Z)
        moves = (targets[:, :, 1:] - targets[:, :, :-1]) * known[:, :, 1:] * known[:, :, :-1]
        shown = torch.maximum(masks[:, :1], masks[:, 1:2])
        seen = (
            z,
            z.abs(),
            torch.log1p(apart.abs() / _SMALL),
            torch.log1p(torch.nn.functional.pad(moves, (1, 0)).abs() / _SMALL),
            log_width * known,
            known,
            centre[:, : len(DELIVERY)] * known[:, : len(DELIVERY)],
            values[:, list(_SEEN)],
            charge_against_energy(values, masks),
            context.unsqueeze(2) * torch.ones_like(shown),
            state,
        )
        return torch.cat(seen, dim=1), shown


def charge_against_energy(values: Tensor, masks: Tensor) -> Tensor:
    """Returns what the state of charge says of the battery (B, 2, T), 0 where it rose too little to say it.

    First how far it lies from the straight line over energy through the session's first and last state of charge, in
    tenths; then the capacity by which it rose, in kWh, log(1 + x) / 5. A battery's capacity does not change while it
    charges, so the first is near 0 whatever the car; the second lies within what cars have.
    """
    soc = values[:, int(Place.SOC) : int(Place.SOC) + 1]
    energy_kwh = torch.exp(4.0 * values[:, int(Place.ENERGY) : int(Place.ENERGY) + 1]) - 1.0
    both = masks[:, int(Place.SOC) : int(Place.SOC) + 1] * masks[:, int(Place.ENERGY) : int(Place.ENERGY) + 1]
    outside = _OUTSIDE * (1.0 - both)
    first, from_kwh = ((x + outside).amin(dim=2, keepdim=True) for x in (soc, energy_kwh))
    rise = ((soc - outside).amax(dim=2, keepdim=True) - first).clamp(min=0.0)
    charged_kwh = ((energy_kwh - outside).amax(dim=2, keepdim=True) - from_kwh).clamp(min=0.0)
    told = (rise >= _LEAST_RISE).float() * (charged_kwh >= _LEAST_KWH).float()
    line = rise * (energy_kwh - from_kwh) / charged_kwh.clamp(min=_LEAST_KWH)
    off = (10.0 * (soc - first - line)).clamp(-5.0, 5.0) * both * told
    capacity = torch.log1p(charged_kwh / rise.clamp(min=_LEAST_RISE)) / 5.0 * told
    return torch.cat((off, capacity * torch.ones_like(off)), dim=1)
