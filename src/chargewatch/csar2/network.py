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
    """Scores a session by what was not expected, at several scales of time."""

    def __init__(self) -> None:
        super().__init__()
        width = WIDTH
        seen = 5 * len(DELIVERY) + 2 + 3 + len(CONTEXT) + width
        self.inlet = nn.Conv1d(seen, width, 1)
        self.scales = nn.ModuleList(nn.Conv1d(width, width // 2, 3, padding=d, dilation=d) for d in (1, 3, 9))
        self.mix = nn.Conv1d(3 * (width // 2), width, 1)
        self.outlet = nn.Sequential(
            nn.Conv1d(3 * width, width, 1), nn.ReLU(), nn.Dropout(0.2), nn.Conv1d(width, 1, 1)
        )

    def forward(self, seen: Tensor, shown: Tensor) -> Tensor:
        """Returns the session's logit (B,). ``shown`` (B, 1, T) is 1 where delivery is known."""
        x = torch.relu(self.inlet(seen)) * shown
        x = torch.relu(torch.cat([scale(x) for scale in self.scales], dim=1))
        x = torch.relu(self.mix(x)) * shown
        count = shown.sum(dim=2, keepdim=True).clamp(min=1.0)
        mean = x.sum(dim=2, keepdim=True) / count
        rough = torch.sqrt((x * x).sum(dim=2, keepdim=True) / count + 1e-6)
        pooled = torch.cat((mean, rough, x.amax(dim=2, keepdim=True)), dim=1)
        logit: Tensor = self.outlet(pooled)
        return logit[:, 0, 0]


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
        """Returns what the head sees (B, F, T), and where delivery is known (B, 1, T)."""
        count = len(RECONSTRUCTED)
        targets, known = values[:, list(RECONSTRUCTED)], masks[:, list(RECONSTRUCTED)]
        centre, log_width = expected[:, :count], expected[:, count:]
        apart = (targets - centre) * known
        z = (apart * torch.exp(-log_width)).clamp(-_MOST_Z, _MOST_Z)
        # Of the companions the head sees the most surprising one, whichever it is: so it learns from the few that go
        # wrong in training what to make of the others.
        first = len(DELIVERY)
        beside = z[:, first:].abs()
        z, apart, centre, log_width = z[:, :first], apart[:, :first], centre[:, :first], log_width[:, :first]
        delivered = known[:, :first]
        shown = torch.maximum(masks[:, :1], masks[:, 1:2])
        gaps = values[:, [int(Place.MEASURED_GAP), int(Place.REGISTER_GAP), int(Place.OFFERED)]]
        spread = context.unsqueeze(2) * torch.ones_like(shown)
        seen = (
            z,
            z.abs(),
            apart,
            centre * delivered,
            log_width * delivered,
            beside.amax(dim=1, keepdim=True),
            beside.sum(dim=1, keepdim=True) / len(RECONSTRUCTED),
            gaps,
            spread,
            state,
        )
        return torch.cat(seen, dim=1), shown
