from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from gallery_examples import PARAMS, case, gallery

from pneumonia.gallery.sheets import (
    COLUMN_STEP,
    HEADER,
    LEVEL_STEP,
    MARGIN,
    PAIR,
    PAIR_GAP,
    ROW_STEP,
    TILE,
    WIDTH,
    count_sentence,
    empty_sentence,
    shorten,
    write_sheet,
)


def draw(path: Path, *arguments: object, **changes: object) -> np.ndarray:
    write_sheet(path / "sheet.png", gallery(*arguments, **changes), PARAMS.gallery)
    return cv2.imread(str(path / "sheet.png"))[..., ::-1]


def tile(sheet: np.ndarray, row: int, column: int, right: bool = False) -> np.ndarray:
    left = MARGIN + column * COLUMN_STEP + right * (TILE + PAIR_GAP)
    top = HEADER + row * ROW_STEP
    return sheet[top : top + TILE, left : left + TILE]


def test_every_film_stands_in_its_place_unsampled_beside_its_overlay(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    films = rng.integers(0, 256, (5, TILE, TILE), np.uint8)
    overlays = rng.integers(0, 256, (5, TILE, TILE, 3), np.uint8)
    films[0, :2], overlays[0, :2] = 0, 255
    sheet = draw(tmp_path, [case(image=films[i], overlay=overlays[i]) for i in range(5)])
    assert sheet.shape[1] == WIDTH == 1600
    for number in range(5):
        row, column = divmod(number, 3)
        plain = tile(sheet, row, column).astype(int)
        assert np.abs(plain - films[number][..., np.newaxis]).max() <= LEVEL_STEP / 2
        assert (
            np.abs(tile(sheet, row, column, right=True).astype(int) - overlays[number]).max()
            <= LEVEL_STEP / 2
        )
    assert (tile(sheet, 1, 2) == 255).all()


@pytest.mark.parametrize("side", [16, 512])
def test_films_of_other_sizes_fill_the_same_place(tmp_path: Path, side: int) -> None:
    image = np.full((side, side), 55, np.uint8)
    sheet = draw(tmp_path, [case(image=image, overlay=np.repeat(image[..., None], 3, axis=2))])
    assert (tile(sheet, 0, 0) == 55).all()
    assert (sheet[HEADER + TILE + 1, MARGIN : MARGIN + TILE] == 255).all()


def test_a_sheet_holds_twelve_and_says_of_how_many(tmp_path: Path) -> None:
    twelve = draw(tmp_path, [case()] * 12, total=40)
    assert draw(tmp_path, [case()] * 15, total=40).tobytes() == twelve.tobytes()
    shown = count_sentence(gallery([case()] * 15, total=40), 12)
    assert shown == "12 of 40 shown, lowest probability of pneumonia first. Threshold 0.400."
    assert "highest" in count_sentence(gallery([], "false_positives"), 0)
    assert "test images" in count_sentence(gallery([], "borderline"), 0)


def test_an_empty_sheet_says_so(tmp_path: Path) -> None:
    sheet = draw(tmp_path, [])
    assert sheet.shape[0] < 200
    assert (sheet[70:110] < 128).any()
    assert "every image of pneumonia" in empty_sentence(gallery([]))
    assert "every normal image" in empty_sentence(gallery([], "false_positives"))
    assert "params.yaml asks for none" in empty_sentence(gallery([], "borderline", total=600))


def test_a_case_without_a_map_has_an_empty_place(tmp_path: Path) -> None:
    sheet = draw(tmp_path, [case(overlay=None, has_evidence=False)], unmapped="vit gives no Grad-CAM.")
    assert (tile(sheet, 0, 0, right=True) == 255).all()
    assert (sheet[-60:-20] < 128).any()


def test_captions_are_plain_text_whatever_the_file_is_called(tmp_path: Path) -> None:
    # As mathematics, each of these would raise or lose its dollars and underscores.
    for name in (r"a/$\frac{$.png", "a_b$c_d$", "${", "\\"):
        assert (draw(tmp_path, [case(file=name)])[HEADER + TILE :] < 128).any()
    plain, mathematics = (draw(tmp_path, [case(file=name)]) for name in ("x1.png", "$x_1$.png"))
    assert plain.tobytes() != mathematics.tobytes()


def test_long_names_keep_both_ends() -> None:
    assert shorten("short_name.png", 14) == "short_name.png"
    assert shorten("abcdefghijklmnopqrstuvwxyz", 9) == "abcd…wxyz"
    assert shorten("abcdefghijklmnopqrstuvwxyz", 10) == "abcd…vwxyz"
    assert shorten("two\nlines\x00", 20) == "two?lines?"


def test_captions_stay_beside_their_film(tmp_path: Path) -> None:
    sheet = draw(tmp_path, [case(file="f" * 300, group="g" * 300, predicted="pneumonia"), case()])
    assert (sheet[HEADER : HEADER + ROW_STEP, MARGIN + PAIR : MARGIN + COLUMN_STEP] == 255).all()
    caption = sheet[HEADER + TILE : HEADER + TILE + 30, MARGIN : MARGIN + PAIR]
    empty = (caption == 255).all(axis=(0, 2))
    # Between the words and the probability at the right there is more than a space.
    assert max(len(gap) for gap in "".join(".x"[i] for i in ~empty * 1).split("x")) >= 12


def test_the_same_bytes_whatever_the_users_settings(tmp_path: Path) -> None:
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    write_sheet(first, gallery([case()]), PARAMS.gallery)
    with mpl.rc_context({"font.size": 40, "savefig.dpi": 300, "savefig.bbox": "tight", "text.color": "red"}):
        write_sheet(second, gallery([case()]), PARAMS.gallery)
    assert first.read_bytes() == second.read_bytes()
    for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME"):
        assert chunk not in first.read_bytes()
