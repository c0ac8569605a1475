"""The data report: what is in each split, what was found twice, what was left out."""

from typing import Any

import pandas as pd

from pneumonia.classes import CLASSES
from pneumonia.split_table import EXCLUDED, SPLITS
from pneumonia.splitting.assign import Assignment
from pneumonia.splitting.statistics import GreyStatistics
from pneumonia.splitting.units import tie_together

UNNAMED = "unnamed"  # images without a group


def data_report(
    index: pd.DataFrame,
    assignment: Assignment,
    rejected: pd.DataFrame,
    statistics: GreyStatistics,
    archive_sha256: str,
) -> dict[str, Any]:
    """Count everything for metrics/data.json.

    Args:
        index: a row an image, columns as in `pneumonia.store.INDEX_COLUMNS`, and near_duplicate.
        assignment: of these images.
        rejected: a row an image that could not be used, with the column reason.
        statistics: of the training images.
        archive_sha256: hexadecimal digest of the raw archive.

    Returns:
        images: of each split normal, pneumonia and total; excluded (in no split); total.
        patients: of each split and total; with_several_images; unknown, the images of whose patient nothing
            is known, so that each counts as a patient.
        groups: of each split, images in each group.
        duplicates: identical_files and identical_pixels, each with groups (sets of two or more equal
            images) and images (in these sets); near_duplicates likewise, the sets with different pixels, and
            of how many several patients have a part: these the split by patient alone could have torn;
            contradicting_labels, the sets of equal pixels with both
            classes; kept_on_one_side, the sets of patients that equal images or near-duplicates tie together.
        rejected: total and a number for each reason.
        stratified_by: of each class, see `Assignment`.
        mean, std: of the training images, grey as 0..1.
        archive_sha256.
    """
    images = index.assign(split=assignment.split.to_numpy(), unit=tie_together(index))
    per_patient = images.groupby("patient").size()
    reasons = rejected["reason"].value_counts().to_dict()
    return {
        "images": {
            **{name: _by_class(images[images["split"] == name]) for name in SPLITS},
            EXCLUDED: int((images["split"] == EXCLUDED).sum()),
            "total": len(images),
        },
        "patients": {
            **{name: images.loc[images["split"] == name, "patient"].nunique() for name in SPLITS},
            "total": len(per_patient),
            "with_several_images": int((per_patient > 1).sum()),
            "unknown": int((images["patient"] == images["file"]).sum()),
        },
        "groups": {
            name: images.loc[images["split"] == name, "group"].replace("", UNNAMED).value_counts().to_dict()
            for name in SPLITS
        },
        "duplicates": {
            "identical_files": _repeated(images["sha256"]),
            "identical_pixels": _repeated(images["pixels_sha256"]),
            "near_duplicates": _near_duplicates(images),
            "contradicting_labels": _with_several(images, "pixels_sha256", "label"),
            "kept_on_one_side": _with_several(images, "unit", "patient"),
        },
        "rejected": {"total": len(rejected), **reasons},
        "stratified_by": assignment.stratified_by,
        "mean": statistics.mean,
        "std": statistics.std,
        "archive_sha256": archive_sha256,
    }


def _by_class(images: pd.DataFrame) -> dict[str, int]:
    return {**{name: int((images["label"] == name).sum()) for name in CLASSES}, "total": len(images)}


def _repeated(digests: pd.Series) -> dict[str, int]:
    counts = digests.value_counts()
    repeated = counts[counts > 1]
    return {"groups": len(repeated), "images": int(repeated.sum())}


def _near_duplicates(images: pd.DataFrame) -> dict[str, int]:
    """Sets of near-duplicates that are more than copies of one picture."""
    sets = images.groupby("near_duplicate").agg(
        images=("file", "size"), pictures=("pixels_sha256", "nunique"), patients=("patient", "nunique")
    )
    found = sets[sets["pictures"] > 1]
    return {
        "groups": len(found),
        "images": int(found["images"].sum()),
        "of_several_patients": int((found["patients"] > 1).sum()),
    }


def _with_several(images: pd.DataFrame, key: str, value: str) -> int:
    """How many keys have more than one value."""
    pairs = images[[key, value]].drop_duplicates()
    return int((pairs[key].value_counts() > 1).sum())
