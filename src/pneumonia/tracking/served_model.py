"""The model as MLflow serves it. MLflow runs this file when it loads the model: nothing is unpickled.

Input: grey images, uint8 (N, S, S), 0 black to 255 white, squared the way `preprocess` does it.
Output: a table with a row an image: `probability` of pneumonia, and `predicted`, the class's name, which is
pneumonia where the probability reaches the threshold that `evaluate` chose on the validation images.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext

from pneumonia.network.device import Compute
from pneumonia.network.predict import predict
from pneumonia.network.reading import Reading
from pneumonia.network.weights import load_weights
from pneumonia.writing import short


class ServedModel(PythonModel):  # type: ignore[misc]  # MLflow is not typed
    """Weights, threshold and class names in one."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights and the model card that were logged with this file."""
        self._module, self._description = load_weights(Path(context.artifacts["weights"]))
        self._card = json.loads(Path(context.artifacts["card"]).read_text(encoding="utf-8"))

    # Of the type of the input MLflow understands the bare array only; the signature says the rest.
    def predict(self, model_input: np.ndarray, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Classify images of shape (N, S, S), in float32 on a GPU where there is one."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        rows = np.arange(len(model_input))
        compute = Compute(device, "fp32")
        unrounded = predict(
            self._module, self._description, model_input, rows, compute, Reading.model_validate(self._card)
        )
        # As in `evaluate`: where the threshold is the probability of an image, the last digit decides.
        probability = np.array([short(value) for value in unrounded.tolist()])
        negative, positive = self._card["classes"]
        predicted = np.where(probability >= self._card["threshold"], positive, negative)
        return pd.DataFrame({"probability": probability, "predicted": predicted})


mlflow.models.set_model(ServedModel())
