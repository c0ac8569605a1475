"""The range test of the learning rate: in what it must be like the training that takes the rate."""

from pathlib import Path

import pandas as pd
import pytest
from training_examples import small_data, training

from pneumonia.training.optimisation import PEAK_MOMENTUM
from pneumonia.training.rate_range import measure


def tried(root: Path, **values: object) -> pd.DataFrame:
    return measure(training(**values), small_data(), root, (1e-3, 0.1), 20)


@pytest.mark.parametrize(
    ("schedule", "momentum"), [("one_cycle", PEAK_MOMENTUM), ("constant", 0.0), ("plateau", 0.0)]
)
def test_the_momentum_is_that_which_goes_with_the_highest_rate(
    tmp_path: Path, schedule: str, momentum: float
) -> None:
    measured = tried(tmp_path, optimizer="sgd", schedule=schedule, momentum=0.0)
    expected = tried(tmp_path, optimizer="sgd", schedule="constant", momentum=momentum)
    pd.testing.assert_frame_equal(measured, expected, check_exact=True)
    assert not measured.equals(tried(tmp_path, optimizer="sgd", schedule="constant", momentum=0.5))
