"""What `make repro` prints at its end: the metrics, and where to look."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from pneumonia import paths
from pneumonia.evaluation.threshold import chosen_by
from pneumonia.params import load_params

ROWS = {
    "images": "n",
    "accuracy": "accuracy",
    "AUROC": "auroc",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "F1": "f1",
}


ORIGINS = {
    "fixed": "fixed in params.yaml",
    "youden": "chosen on validation",
    "sensitivity": "chosen on validation",
    "uninformed": "because on validation no threshold was better than chance",
}

# As in tracking: MLflow's page, too, reports its use to its makers.
WITHOUT_TELEMETRY = (
    'set "MLFLOW_DISABLE_TELEMETRY=true" &&' if os.name == "nt" else "MLFLOW_DISABLE_TELEMETRY=true"
)
MLFLOW_UI = f"{WITHOUT_TELEMETRY} mlflow ui --backend-store-uri sqlite:///mlflow.db"


def summarise(evaluation: dict[str, Any], threshold_rule: str, report: Path) -> str:
    """Set the metrics of validation and test side by side, with the test set's 95 % intervals."""
    origin = ORIGINS[chosen_by(threshold_rule, evaluation["val"])]
    lines = [f"{'':<14}{'validation':>12}{'test':>12}   95 % interval"]
    for title, name in ROWS.items():
        interval = evaluation["test"].get(f"{name}_ci95")
        between = f"   {interval['low']:.3f} to {interval['high']:.3f}" if interval else ""
        shown = "".join(_cell(evaluation[split].get(name)) for split in ("val", "test"))
        lines.append(f"{title:<14}{shown}{between}")
    lines += [
        "",
        f"Threshold {evaluation['test']['threshold']:.3f}, {origin}.",
        "",
        f"Report        {report.resolve().as_uri()}",
        "Curves        in the report; dvc plots show (its page needs internet)",
        f"MLflow        {MLFLOW_UI}, then http://127.0.0.1:5000",
        "(`. .venv/bin/activate` first; on Windows `.venv\\Scripts\\activate`)",
    ]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    if value is None:
        return f"{'-':>12}"
    return f"{value:>12d}" if isinstance(value, int) else f"{value:>12.3f}"


if __name__ == "__main__":
    evaluation = json.loads(paths.EVALUATE_METRICS.read_text("utf-8"))
    rule = load_params(Path("params.yaml")).evaluate.threshold_rule
    sys.stdout.write(summarise(evaluation, rule, paths.REPORT) + "\n")
