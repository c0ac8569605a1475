"""The files that the stages hand to each other, named once; relative to the repository's root."""

from pathlib import Path

RAW_ARCHIVE = Path("data/raw/images.zip")

IMAGES = Path("data/processed/images.npy")
INDEX = Path("data/processed/index.csv")
REJECTED = Path("data/processed/rejected.csv")

SPLIT = Path("data/split/split.csv")
STATISTICS = Path("data/split/statistics.json")
DATA_REPORT = Path("metrics/data.json")

WEIGHTS = Path("models/model.safetensors")
TRAIN_METRICS = Path("metrics/train.json")
HISTORY = Path("plots/history.csv")

MODEL_CARD = Path("models/model.json")
PREDICTIONS = Path("data/predictions/predictions.csv")
SUBGROUPS = Path("data/predictions/subgroups.json")
EVALUATE_METRICS = Path("metrics/evaluate.json")
CURVES = Path("plots/curves")

GALLERY = Path("plots/gallery")
REPORT = Path("reports/report.html")
