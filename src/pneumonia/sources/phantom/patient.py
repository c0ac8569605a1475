"""A patient's body: what stays the same from one film to the next."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Patient:
    """Lengths are in centimetres, factors relate to the average adult."""

    sex: Literal["F", "M"]
    age: int
    width: float
    height: float
    depth: float
    """Of the chest from back to front."""
    fat: float
    """Thickness of the layer outside the ribs."""
    heart: float
    """Factor of the heart's width."""
    knob: float
    """Factor of the aortic knob."""
    hila: float
    """Factor of the hilar vessels; above 1.2 they look full and are easily called an opacity."""
    bone: float
    """Factor of the bones' density."""
    rib_drop: float
    """Factor of the ribs' slope."""
    breast: float
    """Thickness of the breasts, 0 for none."""
    breast_height: float
    nipples: bool
    granuloma: tuple[float, float, float] | None
    """Place x, y and diameter of an old calcified nodule."""
    vessels: NDArray[np.float64]
    """Shape (N, 5): x and y of both ends and the diameter of each piece, thinnest first."""


def sample_patient(rng: np.random.Generator) -> Patient:
    """Draw a patient; nothing here depends on whether they have a pneumonia."""
    sex: Literal["F", "M"] = "F" if rng.random() < 0.48 else "M"
    fat = float(np.clip(rng.gamma(3.0, 0.65), 0.5, 5.0))
    width = rng.normal(0.97 if sex == "F" else 1.03, 0.05)
    age = int(np.clip(rng.normal(52, 18), 18, 92))
    hila = float(np.clip(rng.lognormal(0.0, 0.18), 0.7, 1.6))
    side = rng.choice([-1.0, 1.0])
    has_granuloma = rng.random() < 0.08
    return Patient(
        sex=sex,
        age=age,
        width=float(np.clip(width, 0.84, 1.14)),
        height=float(np.clip(rng.normal(1.0 if sex == "M" else 0.96, 0.05), 0.86, 1.12)),
        depth=float(np.clip(rng.normal(20.5, 1.6), 17, 25)),
        fat=fat,
        heart=float(np.clip(rng.normal(0.98 + 0.002 * (age - 50), 0.09), 0.8, 1.3)),
        knob=float(np.clip(rng.normal(0.95 + 0.004 * (age - 50), 0.15), 0.6, 1.4)),
        hila=hila,
        bone=float(np.clip(rng.normal(1.05 - 0.003 * (age - 40), 0.14), 0.65, 1.4)),
        rib_drop=float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.3)),
        breast=float(np.clip(rng.normal(2.0 + 0.5 * fat, 1.0), 0.6, 5.5)) if sex == "F" else 0.0,
        breast_height=float(rng.normal(5.5 + 0.03 * (age - 50), 1.2)),
        nipples=bool(rng.random() < 0.16),
        granuloma=(side * rng.uniform(5, 11), rng.uniform(-9, 6), rng.uniform(0.35, 0.8))
        if has_granuloma
        else None,
        vessels=_grow_vessels(rng, hila),
    )


def _grow_vessels(rng: np.random.Generator, hila: float) -> NDArray[np.float64]:
    """Two trees that fan out from the hila, thinner with every step and fork."""
    pieces = []
    for side, height in ((-1.0, -0.8), (1.0, -1.8)):
        # Angles from the lateral horizontal, downwards positive. The lower lobes carry more blood.
        angle = np.radians([-88, -62, -40, -14, 12, 32, 50, 66, 84]) + rng.normal(0, 0.12, 9)
        diameter = hila * np.array([0.42, 0.5, 0.45, 0.4, 0.5, 0.6, 0.72, 0.72, 0.6])
        diameter *= rng.uniform(0.8, 1.2, 9)
        place = np.stack([np.full(9, side * 4.5), np.full(9, height)], axis=1) + rng.normal(0, 0.35, (9, 2))
        bend = np.where(angle > 0, 0.03, -0.05)
        for _ in range(17):
            length = rng.uniform(0.6, 1.25, len(angle))
            heading = np.stack([side * np.cos(angle), np.sin(angle)], axis=1)
            ahead = place + heading * length[:, None]
            pieces.append(np.column_stack([place, ahead, diameter]))
            place = ahead
            angle = angle + bend + rng.normal(0, 0.17, len(angle))
            diameter = diameter * rng.uniform(0.84, 0.95, len(angle))
            forks = rng.random(len(angle)) < 0.34
            turn = rng.choice([-1.0, 1.0], int(forks.sum())) * rng.uniform(0.35, 0.9, int(forks.sum()))
            place = np.concatenate([place, place[forks]])
            angle = np.concatenate([angle, angle[forks] + turn])
            bend = np.concatenate([bend, -0.03 * np.sign(turn)])
            diameter = np.concatenate([diameter, diameter[forks] * rng.uniform(0.5, 0.8, int(forks.sum()))])
            kept = diameter > 0.08
            place, angle, bend, diameter = place[kept], angle[kept], bend[kept], diameter[kept]
    tree = np.concatenate(pieces)
    return tree[np.argsort(tree[:, 4], kind="stable")]
