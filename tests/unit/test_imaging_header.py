"""What is read of a DICOM header, what it decides, and that nothing else leaves it."""

import logging
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumonia.imaging.decode import decode, decode_with_facts
from pneumonia.imaging.elements import value
from pneumonia.imaging.facts import HeaderFacts, parse_age, read_facts
from pneumonia.imaging.plain_header import AnyDataset, PlainDataset
from pneumonia.imaging.rejection import Reason, Rejected
from tests.unit.imaging_files import RAMP_8, dicom, no_sequence, raster


def rejection(content: bytes, **options: bool) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(content, **options)
    return caught.value


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("062Y", 62),
        ("62", 62),
        ("007", 7),
        ("006M", 0),
        ("018M", 1),
        ("012W", 0),
        ("104W", 1),
        ("105W", 2),
        ("030D", 0),
        ("000D", 0),
        ("120Y", 120),
        ("121Y", None),
        ("155", None),
        ("", None),
        ("Y", None),
        ("-5", None),
        ("62 YEARS", None),
        ("1234", None),
        ("\u0966\u0966\u0967Y", None),
    ],
)
def test_ages(text, years):
    assert parse_age(text) == years


@pytest.mark.parametrize(("text", "years"), [("089Y", 89), ("090Y", 90), ("097Y", 90), ("121Y", None)])
def test_the_oldest_are_one_group(text, years):
    dataset = Dataset()
    dataset.PatientAge = text
    assert read_facts(dataset).age_years == years


def facts(**elements: object) -> HeaderFacts:
    return decode_with_facts(dicom(RAMP_8, **elements), frontal_only=False)[1]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, HeaderFacts()),
        ({"PatientAge": "051Y", "PatientSex": "F", "ViewPosition": "PA"}, HeaderFacts(51, "F", "PA")),
        ({"PatientAge": "51", "PatientSex": "m", "ViewPosition": " ap "}, HeaderFacts(51, "M", "AP")),
        ({"PatientSex": "O", "ViewPosition": "AP_SUPINE"}, HeaderFacts(None, "", "AP")),
        ({"ViewPosition": "LL"}, HeaderFacts(view="LATERAL")),
        ({"ViewPosition": "RL"}, HeaderFacts(view="LATERAL")),
        ({"ViewPosition": "LATERAL"}, HeaderFacts(view="LATERAL")),
        ({"ViewPosition": "LEFT LATERAL"}, HeaderFacts(view="LATERAL")),
        ({"ViewPosition": "LLD"}, HeaderFacts()),
        ({"ViewPosition": "LAT DECUBITUS"}, HeaderFacts()),
        ({"ViewPosition": "AP LLD"}, HeaderFacts(view="AP")),
        ({"ViewPosition": ["PA", "X"]}, HeaderFacts(view="PA")),
        ({"SeriesDescription": "view: PA"}, HeaderFacts(view="PA")),
        ({"SeriesDescription": "view: lateral"}, HeaderFacts(view="LATERAL")),
        ({"SeriesDescription": "PA of Mr Lateral"}, HeaderFacts()),
        ({"ViewPosition": "AP", "SeriesDescription": "view: PA"}, HeaderFacts(view="AP")),
    ],
)
def test_facts(elements, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert facts(**elements) == expected


@pytest.mark.parametrize(
    ("code", "view"), [("R-10206", "AP"), ("272479007", "PA"), ("R-10236", "LATERAL"), ("R-99999", "")]
)
def test_the_view_code(code, view):
    item = Dataset()
    item.CodeValue = code
    assert facts(ViewCodeSequence=Sequence([item])).view == view


@pytest.mark.parametrize(
    ("vr", "content"),
    [("LO", b"R-10236 "), ("OB", b"R-10236 "), ("US", b"\5\0"), ("UN", b"R-10236 "), ("UN", bytes(2**16))],
)
def test_a_view_code_sequence_that_is_no_sequence_is_ignored(vr, content):
    film = no_sequence(vr, content, "ViewCodeSequence", RAMP_8, SeriesDescription="view: PA")
    grey, found = decode_with_facts(film)
    assert np.array_equal(grey, RAMP_8)
    assert found == HeaderFacts(view="PA")


def test_raster_files_have_no_facts():
    grey, found = decode_with_facts(raster(RAMP_8, "PNG"))
    assert np.array_equal(grey, RAMP_8)
    assert found == HeaderFacts()


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
class TestAcceptance:
    @pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG", "RF", "XA", "OT", "SC", "", "ZZ", "cr "])
    def test_radiographs_captures_and_the_unknown(self, modality):
        assert np.array_equal(decode(dicom(RAMP_8, Modality=modality)), RAMP_8)

    @pytest.mark.parametrize("modality", ["CT", "MR", "MG", "US", "NM", "ct"])
    def test_other_modalities(self, modality):
        found = rejection(dicom(RAMP_8, Modality=modality))
        assert found.reason == Reason.WRONG_MODALITY
        assert found.detail == f"modality {modality.upper()}"

    @pytest.mark.parametrize(
        "part",
        [
            "CHEST",
            "THORAX",
            "RIBCAGE",
            "CHEST, ABDOMEN",
            "ABDOMEN CHEST",
            "TSPINE",
            "",
            "UNKNOWN",
            "Port Chest",
        ],
    )
    def test_the_chest_and_its_neighbours(self, part):
        assert np.array_equal(decode(dicom(RAMP_8, BodyPartExamined=part)), RAMP_8)

    @pytest.mark.parametrize("part", ["HAND", "SKULL", "Left Knee", "ABDOMEN"])
    def test_other_parts(self, part):
        found = rejection(dicom(RAMP_8, BodyPartExamined=part))
        assert found.reason == Reason.WRONG_BODY_PART
        assert found.detail == f"body part {part.upper().split()[-1]}"

    def test_lateral_views_unless_wanted(self):
        content = dicom(RAMP_8, ViewPosition="LL")
        assert rejection(content).reason == Reason.LATERAL_VIEW
        assert np.array_equal(decode(content, frontal_only=False), RAMP_8)

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    @pytest.mark.parametrize("said", ["YES", "yes", "YES ", " YES"])
    def test_films_that_show_name_and_date_unless_wanted(self, said, syntax):
        content = dicom(RAMP_8, syntax=syntax, BurnedInAnnotation=said)
        assert rejection(content).reason == Reason.BURNED_IN
        assert np.array_equal(decode(content, burned_in=True), RAMP_8)

    @pytest.mark.parametrize("said", ["NO", "", "ZZ"])
    def test_films_that_say_something_else(self, said):
        assert np.array_equal(decode(dicom(RAMP_8, BurnedInAnnotation=said)), RAMP_8)


SECRET = "DOE^JANE"
TEXT_ELEMENTS = """
    Modality BodyPartExamined ViewPosition SeriesDescription PatientAge PatientSex PhotometricInterpretation
    VOILUTFunction PatientName PatientID StudyDate StudyDescription InstitutionName ReferringPhysicianName
    AccessionNumber PatientComments RescaleSlope WindowCenter NumberOfFrames PatientBirthDate
    BurnedInAnnotation
"""


class TestPrivacy:
    @pytest.mark.parametrize("keyword", TEXT_ELEMENTS.split())
    def test_no_text_leaves_a_header(self, keyword, caplog, capfd):
        caplog.set_level(logging.DEBUG)
        marker = (
            "7" * len(SECRET) if keyword in ("RescaleSlope", "WindowCenter", "NumberOfFrames") else SECRET
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = dicom(RAMP_8, **{keyword: marker}).replace(marker.encode(), SECRET.encode())
        assert SECRET.encode() in content
        caplog.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                _, found = decode_with_facts(content)
            except Rejected as rejected:
                found = (rejected, str(rejected), rejected.detail, rejected.__cause__)
        said = f"{found!r} {caplog.text} {capfd.readouterr()} {[str(w.message) for w in caught]}".upper()
        assert "DOE" not in said
        assert "JANE" not in said

    def test_names_are_not_even_parsed(self):
        from pneumonia.imaging.header import read_header  # noqa: PLC0415
        from pneumonia.imaging.plain_header import by_pydicom  # noqa: PLC0415

        dataset = by_pydicom(read_header(dicom(RAMP_8, PatientName=SECRET, PatientID=SECRET)).dataset)
        assert "PatientName" not in dataset
        assert "PatientID" not in dataset


def test_rejections_travel_between_processes():
    found = rejection(dicom(RAMP_8, Modality="CT"))
    copy = pickle.loads(pickle.dumps(found))
    assert (copy.reason, copy.detail, str(copy)) == (found.reason, found.detail, str(found))
    assert str(found) == "wrong_modality: modality CT"


def test_reasons_are_lower_case_words():
    assert all(reason == reason.name.lower() for reason in Reason)


@given(
    st.sampled_from(
        [
            "Rows",
            "Modality",
            "PatientAge",
            "TransferSyntaxUID",
            "WindowCenter",
            "RescaleSlope",
            "NumberOfFrames",
        ]
    ),
    st.binary(max_size=6)
    | st.from_regex(r"[A-Z0-9.\\ ]{1,8}[ \0]?", fullmatch=True).map(str.encode)
    | st.from_regex(r" ?[+\-]?[0-9.]{1,8}[ \0]?", fullmatch=True).map(str.encode),
    st.sampled_from(["little endian", "big endian", "plain"]),
)
@example(keyword="Rows", content=b"\x01\x02", kind="big endian")
@example(keyword="Rows", content=b"\x01\x02", kind="plain")
@example(keyword="NumberOfFrames", content=b"+1", kind="plain")
@example(keyword="WindowCenter", content=b".-5 ", kind="plain")
@example(keyword="WindowCenter", content=b"-1.5", kind="plain")
@example(keyword="WindowCenter", content=b"+-5 ", kind="plain")
def test_what_is_read_past_the_library_is_what_the_library_reads(keyword, content, kind):
    tag, vr = Tag(keyword), dictionary_VR(keyword)

    def whole() -> Dataset:
        return Dataset({tag: RawDataElement(tag, vr, len(content), content, 0, False, kind != "big endian")})

    def dataset() -> AnyDataset:
        place = (vr, len(content), 3, 3 + len(content))
        return PlainDataset(b"abc" + content + b"def", {tag: place}) if kind == "plain" else whole()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = whole()[keyword].value
    except Exception:  # noqa: BLE001  whatever it is: it is no value
        with pytest.raises(Rejected):
            value(dataset(), keyword)
        return
    found = value(dataset(), keyword)
    assert found == (None if expected == "" else expected)
    assert isinstance(found, int) == isinstance(expected, int)
