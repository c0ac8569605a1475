"""How the probability of pneumonia is read off what the network says."""

from typing import Annotated, Any

import torch
from numpy import float64
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class Calibration(BaseModel):
    """A line that the logit is put through; it rises, so that no order of images changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slope: Annotated[float, Field(gt=0)]
    """Below 1 where the network is too sure of itself; 1 over what is called its temperature."""
    intercept: float


class Reading(BaseModel):
    """Travels in the model card; what is left out there is as here."""

    model_config = ConfigDict(frozen=True)  # the card holds other things too

    flips: bool = False
    """Whether the logit is the mean of those of the image and of its mirror image."""
    calibration: Calibration | None = None

    def on_card(self) -> dict[str, Any]:
        """Its part of models/model.json; nothing for a logit that is taken as it is."""
        return self.model_dump(exclude_defaults=True)

    def probability(self, logits: NDArray[float64]) -> NDArray[float64]:
        """Probability of pneumonia, 0 to 1, of logits of any shape."""
        lines = torch.from_numpy(logits)
        if self.calibration is not None:
            lines = self.calibration.slope * lines + self.calibration.intercept
        return lines.sigmoid().numpy()


AS_IT_IS = Reading()
