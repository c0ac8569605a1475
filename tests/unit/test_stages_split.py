"""A split that the user brings: refused or set right before anything is trained on it."""

from pathlib import Path

import pandas as pd
import pytest
from source_examples import source_params
from verification_examples import change_table, write_checkout

from pneumonia import paths
from pneumonia.errors import UserError
from pneumonia.params import Params, load_params
from pneumonia.split_table import EXCLUDED
from pneumonia.training.data import read_training_data
from pneumonia.verification.separation import check_separation, read_tables
from stages.split import split


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Of a folder with a split, whose images are packed in the working directory."""
    write_checkout(tmp_path)
    monkeypatch.chdir(tmp_path)

    def give(index: pd.DataFrame) -> None:
        index["official_split"] = (["train"] * 50 + ["val"] * 20 + ["test"] * 20)[: len(index)]

    change_table(paths.INDEX, give)
    paths.SPLIT.unlink()
    return load_params().model_copy(update={"source": source_params("folder", path="images")})


def test_a_split_that_keeps_patients_together_is_kept(params: Params) -> None:
    split(params)
    _, word = read_tables(Path())
    assert word.tolist() == ["train"] * 50 + ["val"] * 20 + ["test"] * 20


def test_a_patient_in_two_of_its_parts_is_refused_and_no_split_is_written(params: Params) -> None:
    change_table(paths.INDEX, lambda index: index.loc.__setitem__((0, "official_split"), "test"))
    with pytest.raises(UserError, match=r"has 1 patients in several of its parts, for example p0; put all"):
        split(params)
    assert not paths.SPLIT.exists()


@pytest.mark.parametrize("column", ["sha256", "pixels_sha256"])
def test_a_copy_of_a_test_image_under_another_patient_is_in_no_split(
    params: Params, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change_table(paths.INDEX, lambda index: index.loc.__setitem__((0, column), index.loc[89, column]))
    split(params)
    assert "warning: 2 images are in no split, because they are of a patient of" in capsys.readouterr().err
    _, word = read_tables(Path())
    assert word[0] == word[1] == EXCLUDED  # both images of the patient
    assert word[89] == "test"
    assert check_separation(Path()).differences == ()


def test_a_split_table_that_was_edited_is_refused_by_the_training(params: Params) -> None:
    split(params)
    change_table(paths.SPLIT, lambda table: table.loc.__setitem__((0, "split"), "val"))
    with pytest.raises(
        UserError, match=r"shares 1 patients between its parts \(for example p0, in train and"
    ):
        read_training_data(paths.INDEX, paths.SPLIT, paths.STATISTICS, paths.IMAGES)


def test_images_whose_patient_nobody_knows_are_not_counted_as_patients(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    def forget(index: pd.DataFrame) -> None:
        index["patient"] = index["patient"].where(index.index >= 10, index["file"])

    change_table(paths.INDEX, forget)
    split(params)
    said = capsys.readouterr().err
    assert "warning: nobody can tell the patients of 10 of 90 images;" in said
    assert "a column `patient` tells them" in said
    index, _ = read_tables(Path())
    known = index.loc[10:, "patient"].nunique()
    note = check_separation(Path()).note
    assert note.startswith(f"{known} patients, each in one of")
    assert note.endswith("; 10 images of patients whom nobody knows")
