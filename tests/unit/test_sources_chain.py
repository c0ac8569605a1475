"""Every source through its own way into the store: what `fetch` makes can be packed and split."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.imaging.packing import pack
from pneumonia.sources import folder, pneumoniamnist, rsna
from pneumonia.sources.archive import Archive
from pneumonia.sources.pseudonyms import NO_PSEUDONYMS, Pseudonyms
from pneumonia.splitting.assign import assign
from pneumonia.splitting.near_duplicates import near_duplicates
from pneumonia.store import open_images, read_index
from tests.unit.imaging_files import dicom
from tests.unit.source_examples import PARAMS, make_folder, make_zip, png, source_params


def store(
    module, params, root: Path, pseudonyms: Pseudonyms = NO_PSEUDONYMS, *, size: int = 32
) -> pd.DataFrame:
    """Fetch, read, pack and split; return the index with its split."""
    archive = Archive(root / "raw" / "images.zip")
    module.fetch(params, archive.path, root)
    preprocess = PARAMS.preprocess.model_copy(update={"size": size, "max_rejected": 0.5})
    places = (root / "images.npy", root / "index.csv", root / "rejected.csv")
    pack(archive, module.read_records(archive), preprocess, *places, pseudonyms=pseudonyms, workers=1)
    index = read_index(root / "index.csv")
    index["near_duplicate"] = near_duplicates(index, open_images(root / "images.npy"))
    official = PARAMS.split.keeps_official(params.name)
    return index.assign(split=assign(index, PARAMS.split, official=official).split)


def picture(seed: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


@pytest.mark.parametrize("size", [28, 64])
def test_pneumoniamnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    counts = {"train": 6, "val": 4, "test": 4}
    arrays = {}
    for number, (split, count) in enumerate(counts.items()):
        arrays[f"{split}_images"] = np.stack([picture(100 * number + i, size) for i in range(count)])
        arrays[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % 2)[:, np.newaxis]
    arrays["train_images"][2] = arrays["val_images"][0]  # a copy, as there are some in the published sets
    np.savez(tmp_path / "given.npz", **arrays)
    monkeypatch.setitem(
        pneumoniamnist.MD5, size, hashlib.md5((tmp_path / "given.npz").read_bytes()).hexdigest()
    )
    params = source_params("pneumoniamnist", path="given.npz", pneumoniamnist_size=size)
    index = store(pneumoniamnist, params, tmp_path, size=size)
    assert index["split"].value_counts().to_dict() == {"train": 5, "val": 4, "test": 4, "excluded": 1}
    (row,) = np.flatnonzero(index["file"] == "test/pneumonia/0001.png")
    np.testing.assert_array_equal(open_images(tmp_path / "images.npy")[row], arrays["test_images"][1])


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # RSNA writes ages so
def test_rsna(tmp_path: Path) -> None:
    labels, classes, mapping, contents = [], [], [], {}
    for number in range(40):
        positive = number % 2
        labels.append(f"id{number:02d},{'10,20,30,40,1' if positive else ',,,,0'}")
        classes.append(f"id{number:02d},{'Lung Opacity' if positive else 'Normal'}")
        mapping.append({"subset_img_id": f"id{number:02d}", "img_id": f"{number % 10:08d}_{number:03d}.png"})
        header = {"PatientID": f"id{number:02d}", "PatientAge": "62", "PatientSex": "F", "ViewPosition": "AP"}
        contents[f"stage_2_train_images/id{number:02d}.dcm"] = dicom(picture(number, 64), **header)
    contents["stage_2_train_labels.csv"] = "\n".join(["patientId,x,y,width,height,Target", *labels]).encode()
    contents["stage_2_detailed_class_info.csv"] = "\n".join(["patientId,class", *classes]).encode()
    make_zip(tmp_path / "given.zip", contents)
    (tmp_path / "mapping.json").write_text(json.dumps(mapping))
    params = source_params("rsna", path="given.zip", patients="mapping.json", complete=False)
    index = store(rsna, params, tmp_path, Pseudonyms(bytes(32)))
    assert len(index) == 40
    assert index["patient"].nunique() == 10
    assert index.groupby("patient")["split"].nunique().max() == 1
    assert set(index.loc[index["label"] == "pneumonia", "boxes"]) == {"5 10 15 20"}
    assert set(index.loc[index["label"] == "normal", "boxes"]) == {""}
    assert set(zip(index["age"], index["sex"], index["view"], strict=True)) == {("62", "F", "AP")}


def test_folder_of_films_and_pictures(tmp_path: Path) -> None:
    contents = {
        f"{label}/{number:02d}{'.dcm' if number % 2 else '.png'}": dicom(
            picture(1000 * place + number, 48), PatientID=f"{label} {number // 4}"
        )
        if number % 2
        else png(1000 * place + number)
        for place, label in enumerate(("Normal", "Pneumonia"))
        for number in range(24)
    }
    make_folder(tmp_path / "given", contents)
    index = store(folder, source_params("folder", path="given"), tmp_path, Pseudonyms(bytes(32)))
    assert len(index) == 48
    known = index["patient"] != index["file"]
    assert known.sum() == 24  # the films; nobody knows whose the pictures are
    assert index[known]["patient"].nunique() == 12
    assert index.groupby("patient")["split"].nunique().max() == 1
    assert not index["patient"].str.contains("ormal").any()
