"""The network in the form that is exported: the mathematics of `Detector`, laid out for a processor without a GPU.

onnxruntime multiplies matrices about twice as fast as it convolves so few channels. So buckets are rows, channels
columns: a dilated convolution gathers three rows into one and multiplies once. Three things are not computed at all:
the inlet once a pass (a bucket is either hidden or not: two multiplications serve all passes), and in the last blocks
what no hidden bucket depends on. The weights are those of the detector; evidence and head are its own.
Shapes as in `chargewatch.csar2.network`; a row is a bucket of a pass.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from chargewatch.csar2.network import (
    HIDDEN,
    LEAST_LOG_WIDTH,
    MOST_LOG_WIDTH,
    PASSES,
    WIDTH,
    Block,
    Detector,
    passes,
)
from chargewatch.features.channel_table import BUCKETS, CHANNELS, RECONSTRUCTED

#: With so many of the rows needed, leaving out the others saves less than it costs.
_NEARLY_ALL: Final = 0.8

#: A row: the pass and the bucket.
Row = tuple[int, int]


class RowBlock(nn.Module):  # type: ignore[misc]
    """A block on some rows: ``taps`` are three positions among the rows before for each of its own."""

    taps: Tensor
    own: Tensor | None

    def __init__(self, block: Block, before: list[Row], rows: list[Row]) -> None:
        super().__init__()
        width, dilation = block.spread.out_channels, block.spread.dilation[0]
        place = {row: number for number, row in enumerate(before)}
        nothing = len(before)  # the row of zeros that is put below the others
        taps = [place.get((p, t + d), nothing) for p, t in rows for d in (-dilation, 0, dilation)]
        self._rows = len(rows)
        self.register_buffer("taps", torch.tensor(taps))
        self.register_buffer("own", None if rows == before else torch.tensor([place[row] for row in rows]))
        self.register_buffer("spread", block.spread.weight.detach().permute(0, 2, 1).reshape(width, -1))
        self.register_buffer("spread_bias", block.spread.bias.detach())
        self.register_buffer("mix", block.mix.weight.detach()[:, :, 0])
        self.register_buffer("mix_bias", block.mix.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Adds what the neighbourhood says: (B, rows before, width) to (B, own rows, width)."""
        width = x.shape[2]
        near = functional.pad(x, (0, 0, 0, 1)).index_select(1, self.taps).reshape(-1, 3 * width)
        said = torch.relu(functional.linear(near, self.spread, self.spread_bias))
        mixed = functional.linear(said, self.mix, self.mix_bias).reshape(-1, self._rows, width)
        return mixed + (x if self.own is None else x.index_select(1, self.own))


class RowDetector(nn.Module):  # type: ignore[misc]
    """Gives what a `Detector` gives, for export: logits (B,) and what was expected (B, 2R, T)."""

    inlet: Tensor
    inlet_bias: Tensor
    picked: Tensor

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        hides = passes().bool()  # (P, T)
        weight = detector.autoencoder.inlet.weight.detach()[:, :, 0]
        bias = detector.autoencoder.inlet.bias.detach()
        seen, hidden = weight[:, :-1], weight[:, :-1].clone()
        hidden[:, [*HIDDEN, *(len(CHANNELS) + place for place in HIDDEN)]] = 0.0
        self.register_buffer("inlet", torch.cat((seen, hidden)))
        self.register_buffer("inlet_bias", torch.cat((bias, bias + weight[:, -1])))
        # Of each bucket both are computed, one after the other; each pass picks one.
        picked = 2 * torch.arange(BUCKETS)[None] + hides.long()
        self.register_buffer("picked", picked.reshape(-1))
        every = [(p, t) for p in range(PASSES) for t in range(BUCKETS)]
        turn = hides.float().argmax(dim=0).tolist()
        blocks = list(detector.autoencoder.blocks)
        rows = [[(p, t) for t, p in enumerate(turn)]]
        for block in reversed(blocks):
            needed = _needed(rows[0], block.spread.dilation[0])
            rows.insert(0, needed if len(needed) < _NEARLY_ALL * len(every) else every)
        rows[0] = every
        self.blocks = nn.Sequential(
            *(RowBlock(block, rows[number], rows[number + 1]) for number, block in enumerate(blocks))
        )

    def forward(self, values: Tensor, masks: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the logits (B,) and what was expected (B, 2R, T)."""
        count = len(RECONSTRUCTED)
        spread = context.unsqueeze(1).expand(-1, BUCKETS, -1)
        x = torch.cat((torch.cat((values, masks), dim=1).transpose(1, 2), spread), dim=2)
        x = functional.linear(x.reshape(-1, self.inlet.shape[1]), self.inlet, self.inlet_bias)
        x = x.reshape(-1, 2 * BUCKETS, WIDTH).index_select(1, self.picked)
        state = torch.relu(self.blocks(x))
        outlet = self.detector.autoencoder.outlet
        out = functional.linear(state.reshape(-1, WIDTH), outlet.weight[:, :, 0], outlet.bias)
        both = torch.cat((out.reshape(-1, BUCKETS, 2 * count), state), dim=2).transpose(1, 2)
        log_width = both[:, count : 2 * count].clamp(LEAST_LOG_WIDTH, MOST_LOG_WIDTH)
        expected = torch.cat((both[:, :count], log_width), dim=1)
        seen, shown = self.detector.evidence(values, masks, context, expected, both[:, 2 * count :])
        return self.detector.head(seen, shown), expected


def _needed(rows: list[Row], dilation: int) -> list[Row]:
    """Returns the rows that a convolution of some rows takes."""
    near = {(p, t + d) for p, t in rows for d in (-dilation, 0, dilation)}
    return sorted((p, t) for p, t in near if 0 <= t < BUCKETS)
