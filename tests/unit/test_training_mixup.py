"""Mixup: its blends, their distribution, and that the generator alone decides."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from training_examples import small_data, training

from pneumonia.training.loop import train
from pneumonia.training.mixup import mix

LABELS = torch.arange(9) % 2
ONE_PIXEL_EACH = torch.eye(9).view(9, 3, 3)
"""Images whose blends tell of what they are made."""


def shares(alpha: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Share of image j in blend i, shape (9, 9); and the targets."""
    mixed, targets = mix(ONE_PIXEL_EACH, LABELS, alpha, torch.Generator().manual_seed(seed))
    return mixed.flatten(1), targets


@pytest.mark.parametrize("seed", range(5))
def test_images_and_labels_are_blended_in_the_same_pairs_and_proportion(seed: int) -> None:
    share, targets = shares(1.0, seed)
    torch.testing.assert_close(share.sum(0), torch.ones(9))  # each image is the partner of one
    torch.testing.assert_close(share.sum(1), torch.ones(9))
    assert ((share > 0).sum(1) <= 2).all()
    own = share.diagonal()
    assert len(set(own[own < 0.999].tolist())) == 1
    assert (own >= 0.5).all()
    torch.testing.assert_close(targets, share @ LABELS.float())
    again, other = shares(1.0, seed)[0], shares(1.0, seed + 1)[0]
    assert torch.equal(share, again)
    assert not torch.equal(share, other)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_proportions_are_of_the_beta_distribution(alpha: float) -> None:
    parts = [float(shares(alpha, seed)[0].diagonal().min()) for seed in range(1500)]
    assert kstest(parts, lambda t: 2 * beta.cdf(t, alpha, alpha) - 1).pvalue > 0.01


def test_one_image_alone_stays_what_it_is() -> None:
    image = torch.full((1, 2, 2), 7.0)
    mixed, targets = mix(image, torch.tensor([1]), 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed, image)
    assert targets.tolist() == [1]


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_it_trains_and_repeats(tmp_path: Path, loss: str) -> None:
    params = training(epochs=1, mixup=0.4, loss=loss, label_smoothing=0.1, balance="class_weights")
    first, again = (train(params, small_data(), tmp_path / name) for name in "ab")
    plain = train(params.model_copy(update={"mixup": 0.0}), small_data(), tmp_path / "c")
    assert np.isfinite(first.history[0]["train_loss"])
    assert first.history == again.history
    assert first.history != plain.history
