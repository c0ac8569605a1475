"""The loss: cross entropy over two outputs, or binary cross entropy of one logit."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pneumonia.params import Training


def outputs_of(params: Training) -> Literal[1, 2]:
    """Outputs that the network needs for the loss named in params.yaml."""
    return 1 if params.loss == "bce" else 2


class Objective(nn.Module):
    """Mean loss of a batch.

    With class weights an image of class c weighs N / (2 N_c), scikit-learn's `balanced`; with label
    smoothing s the targets are s/2 and 1 - s/2 (Szegedy et al. 2016, doi 10.1109/CVPR.2016.308).
    """

    def __init__(self, params: Training, train_labels: NDArray[np.int64]) -> None:
        super().__init__()
        self.loss = params.loss
        self.smoothing = params.label_smoothing
        counts = np.bincount(train_labels, minlength=2)
        balanced = params.balance == "class_weights"
        weights = len(train_labels) / (2 * counts) if balanced else np.ones(2)
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.tensor(weights, dtype=torch.float32))
        self.pos_weight = params.pos_weight

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Loss of outputs (B, 1) or (B, 2) against labels (B,), a scalar."""
        outputs = outputs.float()
        if self.loss == "cross_entropy":
            return functional.cross_entropy(
                outputs, labels, weight=self.class_weights, label_smoothing=self.smoothing
            )
        targets = labels.float() * (1 - self.smoothing) + self.smoothing / 2
        return functional.binary_cross_entropy_with_logits(
            outputs[:, 0],
            targets,
            weight=self.class_weights[labels],
            pos_weight=outputs.new_tensor(self.pos_weight),
        )
