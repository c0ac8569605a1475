"""The one identifier that is ever read, for sources that have no other way to tell patients apart.

Apart from `header`, whose list holds nothing that names anybody: this one must be hashed on its way.
"""

from pydicom.tag import Tag

from pneumonia.imaging.elements import value
from pneumonia.imaging.header import looks_like_dicom, parse
from pneumonia.imaging.raster import looks_like_raster

_TAGS = frozenset(int(Tag(keyword)) for keyword in ("PatientID", "IssuerOfPatientID"))


def read_patient_id(content: bytes) -> str:
    """Patient ID (0010,0020), after its issuer (0010,0021) where one is named; empty where there is none.

    Args:
        content: a file that `decode` could read.

    Raises:
        Rejected: the header is damaged.
    """
    if looks_like_raster(content) or not looks_like_dicom(content):
        return ""
    dataset, _, _ = parse(content, _TAGS)
    patient, issuer = (
        str(value(dataset, keyword) or "").strip() for keyword in ("PatientID", "IssuerOfPatientID")
    )
    return f"{issuer} {patient}".strip() if patient else ""
