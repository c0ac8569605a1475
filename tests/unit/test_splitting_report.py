import pandas as pd

from pneumonia.splitting.assign import Assignment
from pneumonia.splitting.report import data_report
from pneumonia.splitting.statistics import GreyStatistics
from pneumonia.writing import write_metrics

COLUMNS = ["file", "label", "patient", "group", "sha256", "pixels_sha256", "near_duplicate", "split"]
ROWS = [
    ("a", "normal", "p0", "normal", "f0", "x0", 0, "train"),
    ("b", "normal", "p0", "normal", "f0", "x0", 0, "train"),  # the same file, the same patient
    ("c", "pneumonia", "p1", "viral", "f1", "x1", 1, "train"),
    ("d", "normal", "p2", "normal", "f2", "x1", 1, "train"),  # equal pixels, other patient, other label
    ("e", "pneumonia", "p3", "", "f3", "x3", 3, "val"),
    ("f", "pneumonia", "p4", "viral", "f4", "x4", 3, "test"),
    ("g", "normal", "p5", "normal", "f5", "x5", 5, "test"),
    ("h", "normal", "p5", "normal", "f6", "x6", 5, "excluded"),
    ("i", "normal", "i", "normal", "f0", "x0", 0, "train"),  # nobody knows whose it is
]


def test_every_count_by_hand(tmp_path) -> None:
    index = pd.DataFrame(ROWS, columns=COLUMNS)
    assignment = Assignment(index.pop("split"), {"normal": "class and group", "pneumonia": "class"})
    rejected = pd.DataFrame({"file": ["x", "y", "z"], "reason": ["empty", "not_an_image", "empty"]})
    report = data_report(index, assignment, rejected, GreyStatistics(0.5, 0.25), "abc")
    assert report == {
        "images": {
            "train": {"normal": 4, "pneumonia": 1, "total": 5},
            "val": {"normal": 0, "pneumonia": 1, "total": 1},
            "test": {"normal": 1, "pneumonia": 1, "total": 2},
            "excluded": 1,
            "total": 9,
        },
        "patients": {"train": 4, "val": 1, "test": 2, "total": 7, "with_several_images": 2, "unknown": 1},
        "groups": {
            "train": {"normal": 4, "viral": 1},
            "val": {"unnamed": 1},
            "test": {"normal": 1, "viral": 1},
        },
        "duplicates": {
            "identical_files": {"groups": 1, "images": 3},
            "identical_pixels": {"groups": 2, "images": 5},
            # e with f, of two patients, and g with h, of one; {a, b, i} and {c, d} are identical
            "near_duplicates": {"groups": 2, "images": 4, "of_several_patients": 1},
            "contradicting_labels": 1,
            "kept_on_one_side": 3,  # p0 with i, p1 with p2, p3 with p4
        },
        "rejected": {"total": 3, "empty": 2, "not_an_image": 1},
        "stratified_by": {"normal": "class and group", "pneumonia": "class"},
        "mean": 0.5,
        "std": 0.25,
        "archive_sha256": "abc",
    }
    write_metrics(tmp_path / "data.json", report)


def test_nothing_rejected() -> None:
    index = pd.DataFrame(ROWS, columns=COLUMNS)
    assignment = Assignment(index.pop("split"), {})
    rejected = pd.DataFrame({"file": [], "reason": []}, dtype=str)
    assert data_report(index, assignment, rejected, GreyStatistics(0, 1), "")["rejected"] == {"total": 0}
