"""What one must know of a network to use its weights."""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pneumonia.classes import CLASSES
from pneumonia.network.reading import Reading


class NetworkDescription(BaseModel):
    """Travels with the weights: enough to build the network again and to feed it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: str
    """Name of the architecture in timm."""
    outputs: Literal[1, 2]
    """1: a logit of pneumonia (sigmoid); 2: a logit a class (softmax)."""
    size: Annotated[int, Field(ge=16)]
    """Side of the square input in pixels."""
    mean: float | None
    """Subtracted from the grey values, which are 0 (black) to 1 (white); None for each image's own mean."""
    std: Annotated[float, Field(gt=0)] | None
    """Divides what is left; None, with the mean, for each image's own standard deviation."""
    classes: tuple[str, ...] = CLASSES

    @model_validator(mode="after")
    def _both_or_neither(self) -> "NetworkDescription":
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std are both given or both left to the image")
        return self

    def card(self, reading: Reading, threshold: float, threshold_rule: str) -> str:
        """JSON of models/model.json: the description with what leads to a class.

        Args:
            reading: from the logit to the probability.
            threshold: of the probability, 0 to 1.
            threshold_rule: how that was chosen.
        """
        decision = {**reading.on_card(), "threshold": threshold, "threshold_rule": threshold_rule}
        card = {**self.model_dump(), **decision}
        return json.dumps(card, indent=2) + "\n"
