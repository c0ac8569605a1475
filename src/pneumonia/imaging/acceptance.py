"""Whether the header forbids the picture as a chest radiograph, or as one that shows who it is.

Headers are often wrong or empty, so only what they clearly say counts: a code of a closed list of other
modalities or other parts of the body. Anything unknown is let through.
"""

import re

from pneumonia.imaging.elements import code
from pneumonia.imaging.facts import HeaderFacts
from pneumonia.imaging.plain_header import AnyDataset
from pneumonia.imaging.rejection import Reason, Rejected


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OTHER_MODALITIES = _codes(
    # PS3.3 C.7.3.1.1.1, those that make pictures other than projection radiographs of the trunk. Not among
    # them: CR DX DR RG RF XA DF (radiographs), OT SC HC (secondary captures and scanned film).
    "BDUS BI BMD CFM CT DG DMS ECG EEG ES GM IO IVOCT IVUS LS MG MR NM OCT OP OPM OPT OPTBSV OPTENF PA PT "
    "PX RTDOSE RTIMAGE SEG SM TG US VL XC"
)

_CHEST_WORDS = _codes(
    "CHEST THORAX LUNG LUNGS HEART RIB RIBS RIBCAGE STERNUM BREASTBONE CLAVICLE CHESTABDOMEN CHESTABDPELVIS "
    "NECKCHEST TSPINE TORSO TRUNK WHOLEBODY"
)
_OTHER_PARTS = _codes(
    # PS3.16 annex L, and what consoles make of it.
    "ABDOMEN ANKLE ARM BRAIN BREAST CALCANEUS CALF CSPINE COCCYX COLON ELBOW EXTREMITY EYE FACE FEMUR "
    "FINGER FOOT FOREARM HAND HEAD HIP HUMERUS JAW KIDNEY KNEE LEG LSPINE LIVER MANDIBLE MAXILLA NECK NOSE "
    "ORBIT PATELLA PELVIS RADIUS SCAPULA SHOULDER SINUS SKULL SSPINE TEETH THIGH THUMB TIBIA TMJ TOE "
    "ULNA WRIST ZYGOMA"
)


def check_acceptance(dataset: AnyDataset, facts: HeaderFacts, frontal_only: bool, burned_in: bool) -> None:
    """Refuse what the header says is no chest radiograph of the wanted view, or shows who the patient is.

    Raises:
        Rejected: wrong modality or body part, with the code from our list as detail; lateral view; Burned In
            Annotation (PS3.3 C.7.6.1).
    """
    modality = code(dataset, "Modality")
    if modality in _OTHER_MODALITIES:
        raise Rejected(Reason.WRONG_MODALITY, f"modality {modality}")
    part = code(dataset, "BodyPartExamined")
    words = [word for word in re.split(r"[^A-Z]+", part) if word] if part else []
    others = [word for word in words if word in _OTHER_PARTS]
    if others and not _CHEST_WORDS.intersection(words):
        raise Rejected(Reason.WRONG_BODY_PART, f"body part {others[0]}")
    if frontal_only and facts.view == "LATERAL":
        raise Rejected(Reason.LATERAL_VIEW, "the header says lateral")
    if not burned_in and code(dataset, "BurnedInAnnotation") == "YES":
        raise Rejected(Reason.BURNED_IN, "the header says that the picture shows name and date")
