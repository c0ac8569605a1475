"""From thickness to film: attenuation, scatter, noise, blur, and the curve that turns exposure into grey."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumonia.sources.phantom.anatomy import Thickness
from pneumonia.sources.phantom.geometry import Projection, blur
from pneumonia.sources.phantom.opacity import Opacity

# Effective linear attenuation per centimetre of a 100 to 125 kV chest beam, lung inflated.
_TISSUE, _LUNG, _BONE = 0.185, 0.05, 0.47


@dataclass(frozen=True, slots=True)
class Exposure:
    """How the film was taken and developed."""

    photons: float
    """Quanta a pixel in the unattenuated beam; fewer, more noise."""
    scatter: float
    """Scattered radiation as a fraction of the primary, averaged over the body."""
    blur: float
    """Of focus and detector, standard deviation in pixels."""
    lung_grey: float
    """Grey of a healthy lung on the display, 0 black to 1 white: a dark or a pale film."""
    heart_grey: float
    """Grey of the heart."""
    detail: float
    """Strength of the edge enhancement that detectors apply."""
    collimation: tuple[float, float, float, float]
    """Unexposed border at the top, right, bottom and left, as a fraction of the film."""
    shutter: bool
    """Whether that border is blackened, as workstations do, or shown pale."""
    marker: Literal["L", "R", ""]
    marker_place: tuple[float, float]
    """Fractions of the film's width from the patient's outer side, and of its height from above."""


def attenuation(thickness: Thickness, opacity: Opacity | None) -> NDArray[np.float32]:
    """The rays' total attenuation -log(I / I0), float32; an opacity turns lung into tissue.

    A border is seen only where its two sides attenuate differently, so a filled lung beside the heart
    hides the heart's border: the silhouette sign comes by itself.
    """
    lung, vessels = thickness.lung, thickness.vessels
    # Vessels are seen where there is air around them.
    aerated = np.clip(lung * np.float32(1 / 10), 0, 1)
    if opacity is not None:
        aerated = aerated * (1 - opacity.filling)
        vessels = vessels + opacity.strands
        lung = lung * (1 - opacity.filling)
    total = np.float32(_TISSUE) * thickness.body
    total += np.float32(_BONE) * thickness.bone
    total -= np.float32(_TISSUE - _LUNG) * (lung - vessels * aerated)
    return np.asarray(np.maximum(total, 0), np.float32)


def expose(
    thickness: Thickness,
    opacity: Opacity | None,
    exposure: Exposure,
    view: Projection,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Take the film: float32, 0 black (air) to 1 white (bone).

    The greys are set by how the chest would look without the opacity: automatic exposure that followed
    the opacity would hide it.
    """
    scale = view.pixels_per_cm
    signal = _detected(attenuation(thickness, opacity), thickness.body, exposure.scatter, scale)
    lung, heart = _references(thickness, exposure.scatter, scale)
    # Fewer quanta where more was absorbed: the standard deviation of log(I) is 1 / sqrt(quanta).
    grains = rng.standard_normal(view.shape, dtype=np.float32)
    signal = blur(signal, exposure.blur)
    signal += blur(grains, 0.45) * np.exp(0.5 * signal) / np.float32(np.sqrt(exposure.photons))
    if exposure.detail:
        signal += np.float32(exposure.detail) * (signal - blur(signal, 1.6 * scale)) * (signal > 0.4 * lung)
    pale, bright = _logit(exposure.lung_grey), _logit(exposure.heart_grey)
    slope = (bright - pale) / max(heart - lung, 0.3)
    film = 1 / (1 + np.exp(-np.float32(slope) * (signal - np.float32(lung)) - np.float32(pale)))
    # The curve's foot: the unattenuated beam blackens the film altogether.
    film *= np.clip(signal / np.float32(0.35 * lung), 0.05, 1)
    _collimate(film, exposure)
    _mark(film, exposure)
    return np.asarray(np.clip(film, 0, 1), np.float32)


def _detected(
    total: NDArray[np.float32], body: NDArray[np.float32], scatter: float, scale: float
) -> NDArray[np.float32]:
    """-log of primary and scattered radiation; scatter comes from the body and spreads over centimetres."""
    primary = np.exp(-total)
    source = primary * np.clip(body * np.float32(1 / 8), 0, 1)
    return np.asarray(-np.log(primary + np.float32(scatter) * blur(source, 3.5 * scale)), np.float32)


def _references(thickness: Thickness, scatter: float, scale: float) -> tuple[float, float]:
    """What the detector reads, without opacity, behind the middle of the lungs and behind the heart."""
    step = 8
    small = Thickness(
        *(
            cv2.resize(layer, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
            for layer in (
                thickness.body, thickness.lung, thickness.mediastinum, thickness.vessels, thickness.bone,
            )
        )
    )  # fmt: skip
    signal = _detected(attenuation(small, None), small.body, scatter, scale / step)
    deep = small.lung > 0.7 * np.quantile(small.lung, 0.98)
    dense = small.mediastinum > 0.9
    return float(np.median(signal[deep])), float(np.median(signal[dense]))


def _collimate(film: NDArray[np.float32], exposure: Exposure) -> None:
    height, width = film.shape
    top, right, bottom, left = exposure.collimation
    exposed = np.zeros_like(film)
    rows = slice(round(top * height), height - round(bottom * height))
    columns = slice(round(left * width), width - round(right * width))
    exposed[rows, columns] = 1
    if any(exposure.collimation):
        exposed = cv2.GaussianBlur(exposed, (0, 0), 0.9, borderType=cv2.BORDER_REPLICATE)
        film *= exposed
        if not exposure.shutter:
            film += (1 - exposed) * np.float32(0.8)


def _mark(film: NDArray[np.float32], exposure: Exposure) -> None:
    """A lead letter on the side of the patient that it names; the patient's left is on our right."""
    if not exposure.marker:
        return
    height, width = film.shape
    across, down = exposure.marker_place
    x = across * width if exposure.marker == "R" else (1 - across) * width
    lead = np.zeros(film.shape, np.uint8)
    size = height / 560
    (wide, high), _ = cv2.getTextSize(exposure.marker, cv2.FONT_HERSHEY_SIMPLEX, size, 2)
    place = (int(x - wide / 2), int(down * height + high))
    cv2.putText(lead, exposure.marker, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255,), 2, cv2.LINE_AA)
    np.maximum(film, lead.astype(np.float32) * np.float32(0.96 / 255), out=film)


def _logit(grey: float) -> float:
    return float(np.log(grey / (1 - grey)))
