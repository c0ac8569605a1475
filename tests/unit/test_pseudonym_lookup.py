from pathlib import Path

import pandas as pd
import pytest

from pneumonia import paths
from pneumonia.errors import UserError
from pneumonia.pseudonym_lookup import lookup
from pneumonia.sources.pseudonyms import Pseudonyms, read_or_make_key
from pneumonia.store import INDEX_COLUMNS
from tests.unit.source_examples import make_zip


def test_who_has_the_key_and_the_images_finds_the_file(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.png": b"", "b/c.dcm": b""})
    with pytest.raises(UserError, match="no pseudonym was made here"):
        lookup(["x"], archive, tmp_path)
    assert not (tmp_path / "pseudonym.key").exists()
    pseudonym = Pseudonyms(read_or_make_key(tmp_path)).of_file("b/c.dcm")
    assert lookup([pseudonym], archive, tmp_path) == {pseudonym: ["b/c.dcm"]}
    with pytest.raises(
        UserError, match=r"No file in .*a\.zip, and no patient in .*, has the pseudonym 'x\.dcm'"
    ):
        lookup([pseudonym, "x.dcm"], archive, tmp_path)


def test_a_patient_stands_for_all_of_its_files(tmp_path: Path) -> None:
    files = {"a.png": "Ann", "b/c.dcm": "Ann", "d.png": "Ben"}
    archive = make_zip(tmp_path / "a.zip", dict.fromkeys(files, b""))
    names = Pseudonyms(read_or_make_key(tmp_path))
    index = pd.DataFrame(
        [
            dict.fromkeys(INDEX_COLUMNS, "0")
            | {"file": names.of_file(file), "patient": names.of_patient(patient, file)}
            for file, patient in files.items()
        ]
    )
    (tmp_path / paths.INDEX).parent.mkdir(parents=True)
    index.to_csv(tmp_path / paths.INDEX, index=False)
    ann = names.of_patient("Ann", "a.png")
    assert lookup([ann], archive, tmp_path) == {ann: ["a.png", "b/c.dcm"]}
