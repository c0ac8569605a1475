from pathlib import Path

import pytest

from pneumonia.errors import UserError
from pneumonia.pseudonym_lookup import lookup
from pneumonia.sources.pseudonyms import Pseudonyms, read_or_make_key
from tests.unit.source_examples import make_zip


def test_who_has_the_key_and_the_images_finds_the_file(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.png": b"", "b/c.dcm": b""})
    with pytest.raises(UserError, match="no pseudonym was made here"):
        lookup(["x"], archive, tmp_path)
    assert not (tmp_path / "pseudonym.key").exists()
    pseudonym = Pseudonyms(read_or_make_key(tmp_path)).of_file("b/c.dcm")
    assert lookup([pseudonym], archive, tmp_path) == {pseudonym: "b/c.dcm"}
    with pytest.raises(UserError, match=r"No file in .*a\.zip has the pseudonym 'x\.dcm'"):
        lookup([pseudonym, "x.dcm"], archive, tmp_path)
