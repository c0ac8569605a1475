"""The MLflow model: loads where nobody knows this repository, and predicts what we predict."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumonia.network.build import build
from pneumonia.network.description import NetworkDescription
from pneumonia.network.device import Compute
from pneumonia.network.predict import predict
from pneumonia.network.reading import Calibration, Reading
from pneumonia.network.weights import save_weights
from pneumonia.tracking import model
from pneumonia.writing import short

SIZE = 32
NOISE = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE))
IMAGES = (NOISE * np.linspace(0, 1, 5)[:, None, None]).astype(np.uint8)

STRANGER = """
import sys
import mlflow.pyfunc
import numpy as np

loaded = mlflow.pyfunc.load_model(sys.argv[1])
images = np.load(sys.argv[2], allow_pickle=False)
print(loaded.predict(images).to_json(orient="columns", double_precision=15))
print(len(loaded.predict(loaded.input_example)))
try:
    loaded.predict(images.astype(np.float64))
except mlflow.MlflowException as error:
    print("uint8" in str(error))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, float]:
    """Folder of a saved model, its probabilities of IMAGES, and its threshold."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    description = NetworkDescription(arch="test_resnet", outputs=1, size=SIZE, mean=None, std=None)
    module = build("test_resnet", 1, SIZE).eval()
    save_weights(folder / "model.safetensors", module, description)
    rows = np.arange(len(IMAGES))
    reading = Reading(flips=True, calibration=Calibration(slope=20, intercept=-1))
    compute = Compute(torch.device("cpu"), "fp32")
    probability = predict(module, description, IMAGES, rows, compute, reading)
    plain = predict(module, description, IMAGES, rows, compute)
    assert np.abs(probability - plain).max() > 1e-3
    threshold = float(np.sort(probability)[1:3].mean())
    (folder / "model.json").write_text(description.card(reading, threshold, "youden"), encoding="utf-8")
    model.save_model(folder / "mlflow", folder / "model.safetensors", folder / "model.json")
    return folder / "mlflow", probability, threshold


def test_a_stranger_loads_it_and_gets_our_predictions(
    saved: tuple[Path, np.ndarray, float], tmp_path: Path
) -> None:
    folder, probability, threshold = saved
    np.save(tmp_path / "images.npy", IMAGES)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", STRANGER, str(folder), "images.npy"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    table, example_rows, refuses_floats = result.stdout.splitlines()
    columns = {name: list(column.values()) for name, column in json.loads(table).items()}
    np.testing.assert_allclose(columns["probability"], probability, atol=1e-5)
    # As `evaluate` has them: else the image whose probability is the threshold may fall below it.
    assert columns["probability"] == [short(value) for value in columns["probability"]]
    assert np.abs(probability - threshold).min() > 1e-4  # else the last digit decides
    assert columns["predicted"] == np.where(probability >= threshold, "pneumonia", "normal").tolist()
    assert columns["predicted"].count("normal") == 2
    assert example_rows == "1"
    assert refuses_floats == "True"


def test_it_holds_no_pickle_and_no_path_of_this_machine(saved: tuple[Path, np.ndarray, float]) -> None:
    folder = saved[0]
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    assert [file for file in files if not file.startswith("code/")] == [
        "MLmodel",
        "artifacts/model.json",
        "artifacts/model.safetensors",
        "conda.yaml",
        "input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "served_model.py",
        "serving_input_example.json",
    ]
    assert all(file.endswith(".py") for file in files if file.startswith("code/"))
    for file in files:
        if not file.endswith(".safetensors"):
            (folder / file).read_text(
                encoding="utf-8"
            )  # a pickle begins with a byte that no text begins with
    description = (folder / "MLmodel").read_text(encoding="utf-8")
    assert str(folder.parent) not in description
    assert str(model.PACKAGE) not in description


def test_all_that_its_code_imports_is_required(saved: tuple[Path, np.ndarray, float]) -> None:
    imported = set()
    for file in saved[0].rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    outside = imported - set(sys.stdlib_module_names) - {"pneumonia"}
    assert outside == set(model.REQUIREMENTS)
