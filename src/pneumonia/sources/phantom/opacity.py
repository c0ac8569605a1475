"""Pneumonia: which part of the air in the lungs is replaced, and by how much. Severity is tuned here."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumonia.sources.phantom.geometry import Projection, noise

Group = Literal["normal", "consolidation", "diffuse"]


@dataclass(frozen=True, slots=True)
class SeverityDistribution:
    """How plain the pneumonias are: 0 cannot be seen, 1 is a white lobe or a white lung.

    A mixture: `subtle_share` of them uniform in `subtle`, the others low + (high - low) * Beta(*shape).
    """

    subtle_share: float
    subtle: tuple[float, float]
    plain: tuple[float, float]
    shape: tuple[float, float]

    def sample(self, rng: np.random.Generator) -> float:
        """One severity, 0 to 1."""
        if rng.random() < self.subtle_share:
            return float(rng.uniform(*self.subtle))
        low, high = self.plain
        return float(low + (high - low) * rng.beta(*self.shape))


SEVERITY = SeverityDistribution(subtle_share=0.12, subtle=(0.12, 0.3), plain=(0.65, 1.0), shape=(1.5, 1.3))
"""The one knob of the task's difficulty: lower severities, or more subtle ones, lower the AUROC."""


@dataclass(slots=True)
class Opacity:
    """Float32 maps of the film's shape."""

    filling: NDArray[np.float32]
    """Fraction 0 to 1 of the lung's air that is replaced by fluid."""
    strands: NDArray[np.float32]
    """Centimetres of thickened tissue between the air spaces."""


# Where consolidations sit: centre x, y and half axes, in centimetres, and how often.
_LOBES = np.array(
    [
        [-7.8, -7.5, 4.2, 4.0, 0.18],  # right upper
        [-7.4, 3.4, 3.8, 3.2, 0.20],  # right middle, at the heart's border
        [-9.0, 6.2, 4.4, 3.6, 0.22],  # right lower
        [7.6, -6.8, 4.0, 4.4, 0.12],  # left upper
        [9.2, 2.6, 3.2, 3.6, 0.09],  # lingula, at the heart's border
        [9.4, 6.6, 3.8, 3.6, 0.12],  # left lower
        [5.8, 6.4, 3.0, 3.4, 0.07],  # left lower, behind the heart
    ]
)  # fmt: skip
_STEP = 2
"""Opacities are fluffy: every second pixel is enough."""


def draw_opacity(
    group: Group, severity: float, breath: float, view: Projection, rng: np.random.Generator
) -> Opacity | None:
    """Draw what a pneumonia adds; None for a normal film.

    Args:
        group: which kind.
        severity: 0 to 1, as of SEVERITY.
        breath: centimetres by which the diaphragm stands above full inspiration.
        view: the projection.
        rng: where it sits and how it looks; the same state with a higher severity is the same opacity,
            denser and larger.
    """
    if group == "normal":
        return None
    x, y = view.grid(_STEP)
    # A high diaphragm pushes the lower lung up.
    y = (y + breath * 0.7 * np.clip(y / 8, 0, 1)).astype(np.float32)
    draw = _consolidation if group == "consolidation" else _diffuse
    filling, strands = draw(severity, x, y, view, rng)
    height, width = view.shape
    return Opacity(
        np.clip(cv2.resize(filling, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1),
        np.maximum(cv2.resize(strands, (width, height), interpolation=cv2.INTER_CUBIC), 0),
    )


def _consolidation(
    severity: float,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    view: Projection,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One to three lobar patches with a fluffy border; sometimes cut off sharply by the fissure."""
    grain = view.pixels_per_cm / _STEP
    filling = np.zeros_like(x)
    patches = rng.choice(len(_LOBES), size=3, replace=False, p=_LOBES[:, 4])
    count = rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12])
    for rank, (centre_x, centre_y, half_x, half_y, _) in enumerate(_LOBES[patches[:count]]):
        size = (1.15 + 0.6 * severity) * rng.uniform(0.85, 1.15)
        centre_x, centre_y = centre_x + rng.normal(0, 0.9), centre_y + rng.normal(0, 0.9)  # noqa: PLW2901
        lean = float(rng.normal(0, 0.35))
        u = (x - centre_x) + lean * (y - centre_y)
        v = (y - centre_y) - lean * (x - centre_x)
        distance = np.sqrt((u / (half_x * size)) ** 2 + (v / (half_y * size)) ** 2)
        rough = noise(rng, x.shape, 2.6 * grain, 4)
        softness = rng.uniform(0.6, 1.3)
        patch = _smoothstep((1.0 - distance + 0.17 * rough) / softness + 0.35)
        patch *= np.clip(1 + 0.1 * noise(rng, x.shape, 1.6 * grain, 3), 0.5, 1.2)
        fissure = centre_y + rng.uniform(0.35, 0.8) * half_y * size * (1 if centre_y < 0 else -1)
        bounded = rng.random() < 0.4
        slope = rng.normal(0, 0.12)
        if bounded:
            # An upper lobe ends below at the fissure, a middle or lower one above.
            over = (y - fissure - slope * (x - centre_x)) * (1 if centre_y < 0 else -1)
            patch *= _smoothstep(0.5 - over / 0.35)
        density = (0.08 + 0.8 * severity) * (1.0 if rank == 0 else rng.uniform(0.5, 0.9))
        filling = 1 - (1 - filling) * (1 - density * patch)
    return filling.astype(np.float32), np.zeros_like(x)


def _diffuse(
    severity: float,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    view: Projection,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Haze of one or both lungs, around the hila, at the bases or everywhere, and a net of strands."""
    grain = view.pixels_per_cm / _STEP
    to_hilum = np.sqrt(((np.abs(x) - 4.5) / 5.5) ** 2 + ((y + 1) / 7.0) ** 2)
    place = rng.choice(["hila", "bases", "everywhere"], p=[0.4, 0.35, 0.25])
    if place == "hila":
        spread = (1.5 * np.exp(-0.8 * to_hilum**2)).astype(np.float32)
    elif place == "bases":
        spread = np.float32(1.3) * _smoothstep((y + rng.uniform(-2, 3)) / 8)
    else:
        spread = np.full_like(x, 0.85)
    sides = rng.choice(["both", "right", "left"], p=[0.64, 0.2, 0.16])
    weaker = rng.uniform(0.45, 1.0) if sides == "both" else rng.uniform(0.0, 0.12)
    weak_side = rng.choice([-1.0, 1.0]) if sides == "both" else (1.0 if sides == "right" else -1.0)
    spread = spread * (1 - (1 - weaker) * _smoothstep(0.5 + weak_side * x / 3))
    cloudy = np.clip(1 + 0.42 * noise(rng, x.shape, 4.5 * grain, 3), 0.1, 2.0)
    interstitial = rng.uniform(0, 1)
    filling = (0.03 + 0.85 * severity) * (1 - 0.4 * interstitial) * spread * cloudy
    # Where a smooth field crosses zero is a net of lines.
    net = np.exp(-((noise(rng, x.shape, 0.75 * grain, 2) / 0.35) ** 2))
    dots = np.clip(noise(rng, x.shape, 0.55 * grain) - 0.9, 0, 1.2)
    texture = rng.uniform(0.3, 1.0)
    marks = texture * net + (1 - texture) * 1.4 * dots
    strands = interstitial * (0.1 + 4.0 * severity) * spread * cloudy * marks
    return np.clip(filling, 0, 0.85).astype(np.float32), strands.astype(np.float32)


def _smoothstep(t: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    part = np.clip(t, 0, 1)
    return np.asarray(part * part * (3 - 2 * part), np.float32)
