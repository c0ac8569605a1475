"""The trained network as an MLflow model: safetensors, a card, and the code that reads them. No pickle."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow.pyfunc
import numpy as np
from mlflow.entities import LoggedModelOutput
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from pneumonia import paths
from pneumonia.tracking.run import Run, files_of

NAME = "model"
KEPT_MODEL = Path("mlflow-model")
"""Where a run that could not be sent keeps its model."""

PACKAGE = Path(__file__).parents[1]
CODE = ("__init__.py", "atomic.py", "classes.py", "errors.py", "network", "writing.py")
"""What served_model.py needs of this package; it travels with the model."""

REQUIREMENTS = (
    "huggingface_hub",
    "mlflow",
    "numpy",
    "pandas",
    "pydantic",
    "requests",
    "safetensors",
    "timm",
    "torch",
    "tqdm",
)
"""What that code imports."""


def log_model(run: Run, folder: Path) -> None:
    """Add the model to a run that has none; `mlflow.pyfunc.load_model("runs:/<id>/model")` loads it.

    Args:
        run: the run.
        folder: a checkout, or what was kept of it.

    Raises:
        failures(): the store does not take it.
    """
    client = run.store.client
    outputs = client.get_run(run.id).outputs
    if outputs and outputs.model_outputs:
        return
    with TemporaryDirectory() as temporary:
        local = Path(temporary) / NAME
        if (folder / KEPT_MODEL).is_dir():
            shutil.copytree(folder / KEPT_MODEL, local)
        else:
            save_model(local, folder / paths.WEIGHTS, folder / paths.MODEL_CARD)
        # Where an attempt broke off there is one already.
        begun = client.search_logged_models([run.store.experiment_id], f"source_run_id = '{run.id}'")
        logged = begun[0] if begun else client.create_logged_model(run.store.experiment_id, NAME, run.id)
        model = Model.load(str(local))
        model.model_id, model.run_id = logged.model_id, run.id
        model.save(str(local / "MLmodel"))
        # One by one: MLflow renames each when it is whole. Without the last of them, MLmodel, it is no model.
        for file in sorted(files_of(local), key=lambda file: file == local / "MLmodel"):
            folder = file.relative_to(local).parent
            place = None if folder == Path() else folder.as_posix()
            client.log_model_artifact(logged.model_id, str(file), place)
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run.id, [LoggedModelOutput(logged.model_id, step=0)])


def save_model(folder: Path, weights: Path, card: Path) -> None:
    """Write an MLflow model of the flavour `python_function` into a new folder; see served_model.py.

    The example input is made up: real radiographs stay out of it.
    """
    size = json.loads(card.read_text(encoding="utf-8"))["size"]
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, size, size))]),
        outputs=Schema([ColSpec("double", "probability"), ColSpec("string", "predicted")]),
    )
    ramp = np.linspace(0, 255, size, dtype=np.uint8)
    model = Model(artifact_path=NAME)
    with TemporaryDirectory() as code:
        mlflow.pyfunc.save_model(
            folder,
            mlflow_model=model,
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"weights": str(weights), "card": str(card)},
            code_paths=[str(_copy_code(Path(code)))],
            signature=signature,
            input_example=np.broadcast_to(ramp, (1, size, size)).copy(),
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS],
        )
    _forget_local_paths(model, folder)


def _copy_code(folder: Path) -> Path:
    package = folder / PACKAGE.name
    package.mkdir()
    for name in CODE:
        source = PACKAGE / name
        if source.is_dir():
            shutil.copytree(source, package / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, package / name)
    return package


def _forget_local_paths(model: Model, folder: Path) -> None:
    """Replace the absolute paths that MLflow notes, and does not need, by file names."""
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = Path(artifact["path"]).name
    model.save(str(folder / "MLmodel"))
