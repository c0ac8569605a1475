"""Decide who is in training, validation and test, and measure the training images."""

import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pneumonia import paths
from pneumonia.params import Params
from pneumonia.split_table import write_split
from pneumonia.splitting.assign import assign, require_consistent
from pneumonia.splitting.near_duplicates import near_duplicates
from pneumonia.splitting.report import data_report
from pneumonia.splitting.statistics import grey_statistics
from pneumonia.store import open_images, read_index
from pneumonia.writing import write_metrics
from stages.entry import run


def split(params: Params) -> None:
    """Write the split, mean and standard deviation of its training part, and the data report."""
    index = read_index(paths.INDEX)
    images = open_images(paths.IMAGES)
    index["near_duplicate"] = near_duplicates(index, images)
    official = params.split.keeps_official(params.source.name)
    if official and params.source.name == "folder":
        require_consistent(index)  # a split that its maker can put right is not put right silently
    assignment = assign(index, params.split, official=official)
    train_rows = np.flatnonzero(assignment.split == "train")
    statistics = grey_statistics(images, train_rows)
    rejected = pd.read_csv(paths.REJECTED, dtype=str, keep_default_na=False)
    with paths.RAW_ARCHIVE.open("rb") as archive:
        archive_sha256 = hashlib.file_digest(archive, "sha256").hexdigest()

    write_split(paths.SPLIT, index, assignment.split)
    write_metrics(paths.STATISTICS, statistics._asdict())
    report = data_report(index, assignment, rejected, statistics, archive_sha256)
    write_metrics(paths.DATA_REPORT, report)
    for sentence in warnings(report):
        sys.stderr.write(f"warning: {sentence}\n")


def warnings(report: Mapping[str, Any]) -> list[str]:
    """What is lost, or not known, by a data report."""
    unknown, excluded = report["patients"]["unknown"], report["images"]["excluded"]
    sentences = []
    if unknown:
        sentences.append(
            f"nobody can tell the patients of {unknown:,} of {report['images']['total']:,} images; images of "
            "one patient may be in several splits. Of the source folder a column `patient` tells them."
        )
    if excluded:
        sentences.append(
            f"{excluded:,} images are in no split, because they are of a patient of the given test or "
            "validation set, or copies of its images."
        )
    return sentences


if __name__ == "__main__":
    run(split)
