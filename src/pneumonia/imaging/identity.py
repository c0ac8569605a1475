"""The one identifier that is ever read, for sources that have no other way to tell patients apart.

Apart from `header`, whose list holds nothing that names anybody: this one must be hashed on its way.
"""

from pydicom.tag import Tag

from pneumonia.imaging.elements import value
from pneumonia.imaging.header import looks_like_dicom, parse
from pneumonia.imaging.raster import looks_like_raster

_TAGS = frozenset([int(Tag("PatientID"))])


def read_patient_id(content: bytes) -> str:
    """Patient ID (0010,0020); empty where there is none.

    Without its issuer (0010,0021), which one device writes and another leaves out: two patients of one number
    cost a little freedom in the split, one patient of two numbers would be on both sides of it.

    Args:
        content: a file that `decode` could read.

    Raises:
        Rejected: the header is damaged.
    """
    if looks_like_raster(content) or not looks_like_dicom(content):
        return ""
    dataset, _, _ = parse(content, _TAGS)
    return str(value(dataset, "PatientID") or "").strip()
