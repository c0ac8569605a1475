import cv2
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from pneumonia.imaging.identity import read_patient_id
from tests.unit.imaging_files import RAMP_8, dicom


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PatientID": "12345"}, "12345"),
        ({"PatientID": " 12345 ", "IssuerOfPatientID": "Ward^3"}, "12345"),
        ({"PatientID": "Müller", "SpecificCharacterSet": "ISO_IR 192"}, "Müller"),
        ({"PatientID": ""}, ""),
        ({"IssuerOfPatientID": "Ward"}, ""),
        ({}, ""),
    ],
)
def test_the_id_whoever_issued_it(elements: dict[str, str], expected: str) -> None:
    assert read_patient_id(dicom(RAMP_8, **elements)) == expected


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_in_every_way_of_writing(syntax: str) -> None:
    assert read_patient_id(dicom(RAMP_8, syntax=syntax, PatientID="12345")) == "12345"


def test_without_meta_and_preamble() -> None:
    assert read_patient_id(dicom(RAMP_8, meta=False, preamble=False, PatientID="12345")) == "12345"


def test_pictures_have_none() -> None:
    assert read_patient_id(bytes(cv2.imencode(".png", RAMP_8)[1])) == ""
