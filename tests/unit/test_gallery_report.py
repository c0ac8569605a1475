import base64
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from gallery_examples import PARAMS, case, curves, galleries, report_inputs, split_metrics

from pneumonia.errors import UserError
from pneumonia.gallery import report as report_module
from pneumonia.gallery.report import digits, image_uri, thousands, warnings, write_report

KNOWN = report_inputs()["data"]

VOID = {"meta", "img", "wbr", "br", "link", "input"}
HOSTILE = "<script>alert('\"1\"')</script>&amp;<img src=x onerror=alert(1)>.png"


@dataclass
class Page(HTMLParser):
    """Elements, their attributes and the text of a page; complains about wrong nesting."""

    html: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += "\n" if tag in ("td", "th", "dt", "dd") else ""

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, *tags: str) -> Iterator[dict[str, str]]:
        return (attributes for tag, attributes in self.elements if tag in tags)

    @property
    def sentences(self) -> str:
        """Text with one plain space for all white space, narrow and unbreakable ones too."""
        return " ".join(self.text.split())


def report(tmp_path: Path, **changes: Any) -> Page:
    write_report(tmp_path / "report.html", **report_inputs(**changes))
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(tmp_path_factory.mktemp("report"))


def test_the_page_needs_nothing_else_and_runs_nothing(page: Page) -> None:
    assert page.html.startswith("<!DOCTYPE html>")
    for attributes in page.all(*{tag for tag, _ in page.elements}):
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                assert value.startswith(("data:image/jpeg;base64,", "#"))
    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in page.elements}
    assert "url(" not in re.sub(r"url\(#\w+\)", "", page.html)
    assert "@import" not in page.html
    (policy,) = (a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_page_is_accessible(page: Page) -> None:
    assert all(attributes["alt"] for attributes in page.all("img"))
    assert len(list(page.all("caption"))) == len(list(page.all("table"))) > 3
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)
    (html,) = page.all("html")
    assert html == {"lang": "en"}


def contrast(first: str, second: str) -> float:
    """WCAG 2.2: relative luminances."""

    def luminance(color: str) -> float:
        parts = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_have_contrast_in_light_and_dark(page: Page) -> None:
    themes = re.findall(r":root \{(.*?)\}", page.html, re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", theme))
        for ink, ground in (
            ("ink", "paper"),
            ("quiet", "paper"),
            ("quiet", "panel"),
            ("first", "paper"),
            ("ink", "warn"),
        ):
            assert contrast(colors[ink], colors[ground]) >= 4.5, (ink, ground)
        assert contrast(colors["second"], colors["paper"]) >= 3


def test_it_is_split_by_view(tmp_path: Path, page: Page) -> None:
    assert "By view" in page.text
    assert "777" in page.text
    assert "By sex" not in page.text
    without = report(tmp_path, subgroups={"val": {}, "test": {}})
    assert "By view" not in without.text


def test_names_from_the_data_stay_text(tmp_path: Path, page: Page) -> None:
    inputs = report_inputs()
    plain = {tag for tag, _ in page.elements}
    data, metrics, card = (copy.deepcopy(inputs[name]) for name in ("data", "metrics", "model_card"))
    data["groups"]["test"][HOSTILE] = 1
    data["rejected"][HOSTILE] = 1
    data["archive_sha256"] = HOSTILE
    metrics["groups"]["test"][HOSTILE] = metrics["groups"]["test"]["viral"]
    card["arch"] = HOSTILE
    params = PARAMS.model_copy(update={"source": PARAMS.source.model_copy(update={"path": HOSTILE})})
    films = galleries(case(file=f"a/{HOSTILE}", group=HOSTILE))
    hostile = report(tmp_path, data=data, metrics=metrics, model_card=card, params=params, galleries=films)
    assert {tag for tag, _ in hostile.elements} == plain
    assert "script" not in plain
    assert hostile.text.count(HOSTILE) == 3 + 3 + 5 + 2  # files, groups of cases, tables and facts, arch


def test_every_text_that_a_user_can_choose_stays_text(tmp_path: Path) -> None:
    text = (
        "\"><script>alert(1)</script>' onerror=alert(1) x='</title></style></svg><!--<b>--> &lt;i&gt;&#60; "
        "{{ 7 * 7 }}{% raw %} <a href=javascript:alert(1)>"
    )
    plain, hostile = (report(tmp_path, **chosen(words)) for words in ("plain words", text))
    # A path may be broken after each slash; else the same elements have the same attributes.
    kept, found = (
        [(tag, *attributes) for tag, attributes in page.elements if tag != "wbr"] for page in (plain, hostile)
    )
    assert found == kept
    assert hostile.text.count(text) == plain.text.count("plain words") > 12


def chosen(text: str) -> dict[str, Any]:
    """A text wherever one comes from the images, the tables beside them or params.yaml."""
    inputs = report_inputs()
    data, metrics, training = (copy.deepcopy(inputs[name]) for name in ("data", "metrics", "training"))
    for groups in (data["groups"]["test"], metrics["groups"]["test"]):
        groups[text] = groups.pop("viral")
    data["rejected"][text] = data["rejected"].pop("too_large")
    data["archive_sha256"] = text
    source = PARAMS.source.model_copy(update=dict.fromkeys(("name", "path", "labels", "patients"), text))
    return {
        "data": data,
        "metrics": metrics,
        "training": training | {"precision": text, "device": text},
        "model_card": inputs["model_card"] | {"arch": text},
        "params": PARAMS.model_copy(update={"arch": text, "pretrained": text, "source": source}),
        "galleries": galleries(case(file=text, group=text)),
    }


def test_the_figures_of_the_run_are_in_the_page(page: Page) -> None:
    inputs = report_inputs()
    text = page.sentences
    assert "Not a medical device; for research." in text
    assert "missed 100 of 1 000 pneumonias and called 300 of 1 000 normal images pneumonia" in text
    for tile in ("AUROC 0.900 0.880 to 0.920", "Sensitivity 0.900", "Specificity 0.700 0.680 to 0.720"):
        assert tile in text
    assert "Balanced accuracy 0.800" in text
    assert "viral 1 000 800 0.900" in text
    assert "Test 1 000 1 000 2 000 1 502" in text
    assert "All 3 000 3 000 6 000 4 503" in text
    assert "3: not an image 2, too large 1" in text
    assert "8 images in 3 sets, 1 of them with both classes" in text
    assert "9 images in 4 sets, 2 of them of several patients; 4 sets of patients" in text
    assert "weights of number 2 were kept" in text
    assert "highest sum of sensitivity and specificity (Youden)" in text
    assert "augment.rotation" in text
    assert inputs["data"]["archive_sha256"] in text
    assert len(list(page.all("svg"))) == 7


def test_every_film_is_shown_plain_and_with_its_overlay(tmp_path: Path) -> None:
    films = [case(file=f"{number}.png", probability=number / 10) for number in range(3)]
    page = report(tmp_path, galleries=galleries(*films))
    images = [a for a in page.all("img") if a.get("class") == "film"]
    assert len(images) == 3 * 3 * 2
    text = page.sentences
    for film in films:
        assert text.count(f"(viral), called normal p = {film.probability:.3f} {film.file}") == 3
    assert "3 of 3 shown, lowest probability of pneumonia first. Threshold 0.400." in text


def test_a_run_without_failures_says_so(tmp_path: Path) -> None:
    text = report(tmp_path, galleries=galleries()).sentences
    assert "None: every image of pneumonia in the test set was called pneumonia." in text
    assert "None: every normal image in the test set was called normal." in text


def test_what_the_maps_do_not_show_is_said(tmp_path: Path) -> None:
    (plain, *_) = galleries(case(overlay=None, has_evidence=False))
    unmapped = type(plain)(plain.kind, plain.cases, 1, 0.4, "vit gives no Grad-CAM: it has no grid.")
    page = report(tmp_path, galleries=[unmapped])
    assert "vit gives no Grad-CAM: it has no grid." in page.sentences
    assert len([a for a in page.all("img") if a.get("class") == "film"]) == 1
    assert "zero everywhere" not in page.sentences
    assert "zero everywhere" in report(tmp_path, galleries=galleries(case(has_evidence=False))).sentences


def test_a_test_set_of_one_class_leaves_dashes(tmp_path: Path) -> None:
    metrics = copy.deepcopy(report_inputs()["metrics"])
    for key in ("auroc", "auroc_ci95", "auprc", "specificity", "specificity_ci95", "balanced_accuracy"):
        del metrics["test"][key]
    metrics["test"]["confusion"] = {"tn": 0, "fp": 0, "fn": 100, "tp": 900}
    metrics["test"]["n"] = 1000
    text = report(tmp_path, metrics=metrics).sentences
    assert "AUROC \N{EN DASH} Accuracy" in text
    assert "called 0 of 0 normal images" in text


def test_an_interval_without_width_is_remarked_on() -> None:
    test = split_metrics(accuracy=0.9, auroc=0.9) | {"sensitivity_ci95": {"low": 0.0, "high": 0.0}}
    (sentence,) = warnings(split_metrics(0.9, 0.9), test, "kermany", KNOWN)
    assert sentence.startswith("The 95 % intervals of the test set's Sensitivity have no width")


def test_images_without_groups_are_no_table(tmp_path: Path) -> None:
    metrics, data = (copy.deepcopy(report_inputs()[key]) for key in ("metrics", "data"))
    assert "sub-class" in report(tmp_path, metrics=metrics, data=data).sentences
    metrics["groups"]["test"] = {"unnamed": next(iter(metrics["groups"]["test"].values()))}
    data["groups"] = {split: {"unnamed": 5} for split in ("train", "val", "test")}
    assert "sub-class" not in report(tmp_path, metrics=metrics, data=data).sentences


def test_images_whose_patient_nobody_knows_are_not_said_to_stay_together(tmp_path: Path) -> None:
    data = copy.deepcopy(report_inputs()["data"])
    for unknown, words in (
        (0, "all images of a patient are in one split"),
        (3, "whose patient nobody knows"),
    ):
        data["patients"]["unknown"] = unknown
        assert words in report(tmp_path, data=data).sentences


@pytest.mark.parametrize("rule", ["fixed", "youden", "sensitivity", "uninformed"])
def test_every_rule_has_words(tmp_path: Path, rule: str) -> None:
    card = report_inputs()["model_card"] | {"threshold_rule": rule}
    assert "The threshold, 0.400, was " in report(tmp_path, model_card=card).sentences


@pytest.mark.parametrize(
    ("keep", "words"), [("best", "were kept, the best by val_auroc"), ("last", "were kept, the last")]
)
def test_which_epoch_was_kept_is_said(tmp_path: Path, keep: str, words: str) -> None:
    params = report_inputs()["params"].model_copy(update={"keep": keep, "monitor": "val_auroc"})
    assert words in report(tmp_path, params=params).sentences


@pytest.mark.parametrize(
    ("keep", "rule", "calibrated", "words"),
    [
        ("best", "youden", True, "the epoch and the calibration and the threshold were chosen on the vali"),
        ("last", "sensitivity", False, "; the threshold was chosen on the validation images, nothing on"),
        ("last", "fixed", False, "test images; nothing on test images"),
        ("last", "fixed", "patience", "the epoch was chosen on the validation images, nothing on"),
        ("last", "uninformed", False, "test images; nothing on test images"),
    ],
)
def test_what_was_chosen_on_validation_is_said(
    tmp_path: Path, keep: str, rule: str, calibrated: bool | str, words: str
) -> None:
    patience = 3 if calibrated == "patience" else 0
    params = report_inputs()["params"].model_copy(update={"keep": keep, "patience": patience})
    card = report_inputs()["model_card"] | {"threshold_rule": rule}
    if calibrated is True:
        card |= {"calibration": {"slope": 0.8125, "intercept": -0.25}}
    text = report(tmp_path, params=params, model_card=card).sentences
    assert words in text
    assert ("times 0.812 plus -0.250, fitted on the validation images" in text) == (calibrated is True)


def test_that_mirror_images_were_read_too_is_said(tmp_path: Path) -> None:
    card = report_inputs()["model_card"]
    assert "mirror image" not in report(tmp_path, model_card=card).sentences
    assert "overlays show the image's alone" in report(tmp_path, model_card=card | {"flips": True}).sentences


def test_where_nothing_is_called_pneumonia_the_mark_is_on_the_curve() -> None:
    test = split_metrics(0.5, 0.5) | {"precision": 0.0, "sensitivity": 0.0, "specificity": 1.0}
    test["confusion"] = {"tn": 1000, "fp": 0, "fn": 1000, "tp": 0}
    beginning = test | {"precision": 1.0}
    assert report_module._test_figures(curves(), test) == report_module._test_figures(curves(), beginning)


def test_how_the_input_is_normalised_is_said(tmp_path: Path) -> None:
    assert "0.5000) / 0.2500, grey 0 to 1" in report(tmp_path).sentences
    card = report_inputs()["model_card"] | {"mean": None, "std": None}
    text = report(tmp_path, model_card=card).sentences
    assert "mean) / standard deviation, both of the image itself" in text


def test_a_validation_that_flatters_is_remarked_on() -> None:
    test = split_metrics(accuracy=0.81, auroc=0.93)
    (sentence,) = warnings(split_metrics(0.95, 0.94), test, "kermany", KNOWN)
    assert "above the interval of the test set: Accuracy 0.950 against 0.810 (0.790 to 0.830)." in sentence
    (sentence,) = warnings(split_metrics(0.95, 0.99), test, "kermany", KNOWN)
    assert "AUROC 0.990 against 0.930 (0.910 to 0.950); Accuracy" in sentence
    assert warnings(split_metrics(0.82, 0.93), test, "kermany", KNOWN) == []
    assert warnings(split_metrics(0.70, 0.80), test, "kermany", KNOWN) == []


def test_an_insignificant_or_a_tiny_gap_is_not_remarked_on() -> None:
    test = split_metrics(0.81, 0.93) | {"accuracy_ci95": {"low": 0.6, "high": 0.96}}
    assert warnings(split_metrics(0.95, 0.93), test, "kermany", KNOWN) == []
    test = split_metrics(0.81, 0.93) | {"accuracy_ci95": {"low": 0.809, "high": 0.811}}
    assert warnings(split_metrics(0.82, 0.93), test, "kermany", KNOWN) == []


def test_patients_that_cannot_be_told_apart_are_remarked_on() -> None:
    data = KNOWN | {"patients": KNOWN["patients"] | {"unknown": 6007}}
    (sentence,) = warnings(split_metrics(0.8, 0.9), split_metrics(0.8, 0.9), "rsna", data)
    assert sentence.startswith("Nobody can tell the patients of 6,007 of 6,007 images")


def test_frames_are_explained_where_there_are_any(tmp_path: Path) -> None:
    words = "Frames on the films: opacities as the source of the images marks them."
    framed = report(tmp_path, galleries=galleries(case(boxes=((2, 2, 9, 9),))))
    assert words in framed.sentences
    assert words not in report(tmp_path, galleries=galleries(case())).sentences


def test_phantoms_are_called_synthetic() -> None:
    (sentence,) = warnings(split_metrics(0.8, 0.9), split_metrics(0.8, 0.9), "phantom", KNOWN)
    assert "synthetic" in sentence


def test_the_same_bytes_each_time(tmp_path: Path, page: Page) -> None:
    assert report(tmp_path).html == page.html
    assert b"\r" not in (tmp_path / "report.html").read_bytes()
    assert not re.search(r"20\d\d-\d\d-\d\d", page.html)


def test_an_unknown_colormap_is_refused(tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"gallery": PARAMS.gallery.model_copy(update={"colormap": "viridi"})})
    with pytest.raises(UserError, match="viridis"):
        report(tmp_path, params=params)


def decode(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def test_films_keep_their_pixels_and_their_colours() -> None:
    grey = np.tile(np.arange(224, dtype=np.uint8), (224, 1))
    assert decode(image_uri(grey)).shape == (224, 224)
    assert np.abs(decode(image_uri(grey)).astype(int) - grey).max() <= 4
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 250
    blue, green, red_again = decode(image_uri(red))[32, 32].astype(int)
    assert (abs(red_again - 250), blue, green) <= (4, 4, 4)


def test_large_films_are_shrunk_to_what_a_screen_shows() -> None:
    assert decode(image_uri(np.zeros((2048, 2048, 3), np.uint8))).shape == (448, 448, 3)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.12345, "0.123"), (1, "1.000"), (None, "\N{EN DASH}"), (float("nan"), "\N{EN DASH}")],
)
def test_undefined_numbers_are_dashes(value: float | None, shown: str) -> None:
    assert digits(value) == shown


def test_thousands_have_a_narrow_space() -> None:
    assert [thousands(number) for number in (0, 999, 26684, 11689512)] == [
        "0",
        "999",
        "26\u202f684",
        "11\u202f689\u202f512",
    ]
