"""Age, sex and view: the only facts of a header that leave it, but for why a film is set aside."""

import re
from dataclasses import dataclass
from typing import Literal

from pneumonia.imaging.elements import code, items
from pneumonia.imaging.plain_header import AnyDataset
from pneumonia.imaging.rejection import Rejected

View = Literal["PA", "AP", "LATERAL", ""]

MAX_AGE = 120
"""Years. Larger ages in RSNA's headers are slips of the keyboard."""

OLDEST = 90
"""Years. Higher ages may tell who it is: 45 CFR 164.514(b)(2)(i)(C) makes one group of them."""


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """Facts for the analysis by group; none of them names anybody."""

    age_years: int | None = None
    """Whole years, OLDEST for all who are older; None where the header has none, or one that cannot be."""
    sex: Literal["F", "M", ""] = ""
    view: View = ""


def read_facts(dataset: AnyDataset) -> HeaderFacts:
    """Read what the header says of age, sex and view; whatever it says otherwise becomes "not known"."""
    sex = code(dataset, "PatientSex")
    age = parse_age(code(dataset, "PatientAge"))
    return HeaderFacts(
        age_years=None if age is None else min(age, OLDEST),
        sex="F" if sex == "F" else "M" if sex == "M" else "",
        view=_view(dataset),
    )


_AGE = re.compile(r"(\d{1,3})([DWMY]?)", re.ASCII)
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12, "Y": 1, "": 1}


def parse_age(text: str) -> int | None:
    """Age in whole years from an age string (PS3.5 6.2): '062Y', '006M', '012W', '030D', or plain '62'."""
    match = _AGE.fullmatch(text) if text else None
    if match is None:
        return None
    years = int(int(match[1]) / _PER_YEAR[match[2]])
    return years if years <= MAX_AGE else None


_FRONTAL: dict[str, View] = {"PA": "PA", "AP": "AP"}
_LATERAL = frozenset({"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"})

_VIEW_CODES: dict[str, View] = {
    # DICOM PS3.16 CID 4010, in SNOMED CT and in the retired codes that most files still carry.
    "272479007": "PA",
    "R-40888": "PA",
    "R-10214": "PA",
    "399348003": "AP",
    "R-10206": "AP",
    "399067008": "LATERAL",
    "R-102CD": "LATERAL",
    "399173006": "LATERAL",
    "R-10236": "LATERAL",
    "399198007": "LATERAL",
    "R-10232": "LATERAL",
}


def _view(dataset: AnyDataset) -> View:
    """View position, else view code, else RSNA's "view: PA" in the series description."""
    position = _view_of_words(code(dataset, "ViewPosition"))
    if position:
        return position
    coded = _coded_view(dataset)
    if coded:
        return coded
    description = re.search(r"\bVIEW:\s*([A-Z]+)", code(dataset, "SeriesDescription"))
    return _view_of_words(description[1]) if description else ""


def _coded_view(dataset: AnyDataset) -> View:
    """The first known view code; none where the sequence of them is damaged, or none at all."""
    try:
        codes = items(dataset, "ViewCodeSequence")
    except Rejected:
        return ""
    views = (_VIEW_CODES.get(code(item, "CodeValue"), "") for item in codes)
    return next(filter(None, views), "")


def _view_of_words(text: str) -> View:
    if not text or text in _FRONTAL:
        return _FRONTAL.get(text, "")
    words = re.split(r"[^A-Z]+", text)
    for word in words:
        if word in _FRONTAL:
            return _FRONTAL[word]
    # In a lateral decubitus the patient lies on the side; the film is a frontal one.
    decubitus = any(word.startswith("DECUB") for word in words)
    return "LATERAL" if not decubitus and _LATERAL.intersection(words) else ""
