"""Validation patients that come first in the source's own order."""

import doctest
import random

import pandas as pd
import pytest
from test_splitting_assign import fractions, make_index

from pneumonia.errors import UserError
from pneumonia.splitting import order
from pneumonia.splitting.assign import assign
from pneumonia.splitting.order import natural_key, series_of

FIRST = fractions(val=0.2, validation="first")


def test_the_examples_in_the_documentation_are_right() -> None:
    assert doctest.testmod(order).attempted == 2
    assert doctest.testmod(order).failed == 0


def test_numbers_are_sorted_as_numbers_and_names_without_any_as_text() -> None:
    names = ["b10", "b9", "a", "b9x2", "9", "10", "", "b"]
    assert sorted(names, key=natural_key) == ["", "9", "10", "a", "b", "b9", "b9x2", "b10"]
    assert [series_of(name) for name in ("a", "person1_virus", "7", "x1y2")] == [
        "a",
        "person#_virus",
        "#",
        "x1y#",
    ]


def kermany() -> pd.DataFrame:
    """An index with the names and the official test set of ChestXRay2017, two images a patient."""
    patients = [
        *((f"IM-{number:04}", "normal", "normal") for number in range(100, 150)),
        *((f"NORMAL2-IM-{number:04}", "normal", "normal") for number in range(380, 480)),
        *((f"person{number}_bacteria", "pneumonia", "bacterial") for number in range(1, 201)),
        *((f"person{number}_virus", "pneumonia", "viral") for number in range(6, 106)),
    ]
    rows = [
        {"patient": name, "label": label, "group": group, "official_split": "train"}
        for name, label, group in patients
        for _ in range(2)
    ]
    rows += [{"label": label, "official_split": "test"} for label in ("normal", "pneumonia")]
    random.Random(0).shuffle(rows)
    return make_index(rows)


def test_of_each_class_group_and_series_the_lowest_numbers_are_taken() -> None:
    index = kermany()
    assignment = assign(index, FIRST)
    assert set(index.loc[assignment.split == "val", "patient"]) == {
        *(f"IM-{number:04}" for number in range(100, 110)),
        *(f"NORMAL2-IM-{number:04}" for number in range(380, 400)),
        *(f"person{number}_bacteria" for number in range(1, 41)),
        *(f"person{number}_virus" for number in range(6, 26)),
    }
    assert assignment.stratified_by == {"normal": "class and group", "pneumonia": "class and group"}
    assert (assignment.split == "test").equals(index["official_split"] == "test")


def test_neither_seed_nor_order_of_rows_has_an_influence_and_drawn_is_something_else() -> None:
    index = kermany()
    split = assign(index, FIRST).split
    assert assign(index, fractions(seed=7, validation="first")).split.equals(split)
    shuffled = index.sample(frac=1, random_state=0)
    assert assign(shuffled, FIRST).split.reindex(index.index).equals(split)
    drawn = assign(index, fractions()).split
    assert not drawn.equals(split)
    assert drawn.value_counts().equals(split.value_counts())


def test_a_tied_pair_of_patients_goes_where_the_first_of_them_goes() -> None:
    index = kermany()
    tied = index.index[index["patient"].isin(["person1_bacteria", "person190_bacteria"])]
    index.loc[tied, "sha256"] = "same"
    split = assign(index, FIRST).split
    assert set(split[tied]) == {"val"}


def test_where_the_test_set_is_drawn_the_first_of_the_others_validate() -> None:
    index = kermany().assign(official_split="")
    split = assign(index[index["label"] != ""], FIRST).split
    bacterial = index[index["patient"].str.endswith("bacteria")]
    numbers = bacterial["patient"].str.extract(r"(\d+)")[0].astype(int)
    here = split[bacterial.index]
    assert numbers[here == "val"].max() < numbers[here == "train"].min()
    assert numbers[here == "test"].max() > 150


def test_unknown_patients_have_no_order() -> None:
    index = kermany()
    unknown = index.index[index["official_split"] == "train"][:3]
    index.loc[unknown, "patient"] = index.loc[unknown, "file"]
    with pytest.raises(UserError, match=r"patients of 3 of 900 images.*set it to drawn\.$"):
        assign(index, FIRST)


def test_a_validation_set_that_came_with_the_images_is_not_silently_kept() -> None:
    index = kermany()
    index.loc[index["patient"].isin(["IM-0140", "person150_bacteria"]), "official_split"] = "val"
    with pytest.raises(UserError, match=r"the validation set that came with the images is kept; set it to"):
        assign(index, FIRST)
    assert assign(index, FIRST, official=False).split.isin(("train", "val", "test")).all()
