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
    smoothing s the targets are s/2 and 1 - s/2 (Szegedy et al. 2016, doi 10.1109/CVPR.2016.308), and the
    weight stays that of the image, whole. What a blend of two classes loses, and what it weighs, is the same
    blend of what each class would.

    `pos_weight` multiplies the pneumonia in every target, by the formula of PyTorch's BCEWithLogitsLoss: with
    label smoothing also the s/2 of a normal image.
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
        # Made once: a tensor that is made of numbers on a GPU waits for it.
        self.pos_weight: Tensor
        self.register_buffer("pos_weight", torch.tensor(params.pos_weight), persistent=False)
        self.smoothed: Tensor
        targets = torch.tensor([self.smoothing / 2, 1 - self.smoothing / 2])
        self.register_buffer("smoothed", targets, persistent=False)

    def weights(self, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weight of each image in the mean over a batch: shape (B,). Blends of a batch add up to the same."""
        if self.loss == "cross_entropy":
            weights: NDArray[np.float64] = self.class_weights.double().cpu().numpy()[labels]
            return weights
        return np.ones(len(labels))

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Loss of outputs (B, 1) or (B, 2), a scalar.

        Args:
            outputs: of the network.
            labels: shape (B,): int64, or float for blends, the part of pneumonia, 0 to 1.
        """
        outputs = outputs.float()
        if labels.is_floating_point():
            return self._of_blends(outputs, torch.stack([1 - labels, labels], dim=1))
        if self.loss == "cross_entropy":
            # PyTorch's label_smoothing gives each class in a target its own weight in place of the image's.
            logs, weights = functional.log_softmax(outputs, dim=1), self.class_weights[labels]
            of_labels = functional.nll_loss(logs, labels, weight=self.class_weights)
            of_both = -(weights * logs.sum(dim=1)).sum() / weights.sum()
            return (1 - self.smoothing) * of_labels + self.smoothing / 2 * of_both
        targets = labels.float() * (1 - self.smoothing) + self.smoothing / 2
        return functional.binary_cross_entropy_with_logits(
            outputs[:, 0],
            targets,
            weight=self.class_weights[labels],
            pos_weight=self.pos_weight,
        )

    def _of_blends(self, outputs: Tensor, parts: Tensor) -> Tensor:
        """The same with the parts of the classes, shape (B, 2), in place of labels."""
        if self.loss == "cross_entropy":
            weights = parts * self.class_weights
            targets = (1 - self.smoothing) * weights + self.smoothing / 2 * weights.sum(dim=1, keepdim=True)
            return functional.cross_entropy(outputs, targets, reduction="sum") / weights.sum()
        of_classes = functional.binary_cross_entropy_with_logits(
            outputs.expand(-1, 2),
            self.smoothed.expand(len(outputs), 2),
            weight=self.class_weights,
            pos_weight=self.pos_weight,
            reduction="none",
        )
        return (parts * of_classes).sum(dim=1).mean()
