"""A moving average of the weights, which is what is validated and kept (Polyak & Juditsky 1992).

Training goes on with the weights as they are. The average of the batch-norm statistics goes with that of the
weights, so that no pass over the images is needed to measure them anew (as in Izmailov et al. 2018, arXiv
1803.05407).
"""

import math

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


def warmed_up(decay: float, steps: int) -> float:
    """Decay after so many steps: short memory first, so that the first epochs are not the random start.

    It is 1 - (1 + steps)^(-2/3) until that is more than `decay`: the warm-up of timm's ModelEmaV3.
    """
    return min(decay, 1 - math.pow(1 + steps, -2 / 3))


class AverageWeights(WeightAveraging):
    """Exponential moving average after every step, in place of the weights during validation.

    It must come after the callbacks that keep what was validated: it puts the weights back when validation
    has ended, where Lightning's own puts them back before anybody could copy the average.
    """

    def __init__(self, decay: float, device: torch.device) -> None:
        @torch.no_grad()
        def move(average: list[Tensor], current: list[Tensor], steps: Tensor | int) -> None:
            if average[0].is_floating_point():
                torch._foreach_lerp_(average, current, 1 - warmed_up(decay, int(steps)))
            else:  # a count of batches
                torch._foreach_copy_(average, current)

        super().__init__(device=device, multi_avg_fn=move)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the average in its place."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the weights back."""
        self._swap_models(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the weights as they are; those of the best epoch are kept elsewhere."""
