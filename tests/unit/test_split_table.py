import pandas as pd
import pytest

from pneumonia.errors import UserError
from pneumonia.split_table import read_split, require_disjoint, write_split

INDEX = pd.DataFrame(
    {
        "file": ["a", "b", "c", "d"],
        "patient": ["p", "p", "q", "r"],
        "sha256": ["1", "2", "3", "4"],
        "pixels_sha256": ["1", "2", "3", "4"],
    },
    index=[7, 5, 3, 1],
)


def test_comes_back_as_it_was_written(tmp_path) -> None:
    split = pd.Series(["train", "train", "val", "test"], index=INDEX.index, name="split")
    write_split(tmp_path / "new" / "split.csv", INDEX, split)
    assert (tmp_path / "new" / "split.csv").read_bytes() == b"file,split\na,train\nb,train\nc,val\nd,test\n"
    read = read_split(tmp_path / "new" / "split.csv", INDEX)
    assert read.to_dict() == split.to_dict()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,split\na,train\nb,train\nc,val\n", "does not list the files of the index"),
        ("file,split\nb,train\na,train\nc,val\nd,test\n", "does not list the files of the index"),
        ("file,part\na,train\nb,train\nc,val\nd,test\n", "does not list the files of the index"),
        (
            "file,split\na,train\nb,train\nc,valid\nd,test\n",
            "has the split 'valid'; allowed are train, val, test",
        ),
        (
            "file,split\na,train\nb,val\nc,val\nd,test\n",
            r"shares 1 patients .*for example p, in train and val",
        ),
    ],
)
def test_a_table_that_a_user_brings_is_checked(tmp_path, text, message) -> None:
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_split(tmp_path / "split.csv", INDEX)


@pytest.mark.parametrize(("column", "kind"), [("sha256", "files"), ("pixels_sha256", "images")])
def test_copies_in_two_splits_are_refused(column, kind) -> None:
    index = INDEX.assign(**{column: ["1", "2", "3", "3"]})
    with pytest.raises(UserError, match=f"shares 1 identical {kind} .*in val and test"):
        require_disjoint(index, pd.Series(["train", "train", "val", "test"]))


def test_excluded_images_do_not_count() -> None:
    require_disjoint(INDEX, pd.Series(["excluded", "train", "val", "test"]))
