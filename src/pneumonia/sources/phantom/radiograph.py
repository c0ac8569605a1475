"""One synthetic radiograph: a patient in a pose, breathing in, perhaps ill, exposed on a film."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.sources.phantom.anatomy import draw_anatomy
from pneumonia.sources.phantom.film import Exposure, expose
from pneumonia.sources.phantom.geometry import Pose, Projection
from pneumonia.sources.phantom.opacity import Group, draw_opacity
from pneumonia.sources.phantom.patient import Patient


@dataclass(frozen=True, slots=True)
class Taking:
    """What differs from one film of a patient to the next; nothing here depends on the diagnosis."""

    shape: tuple[int, int]
    """Height and width in pixels."""
    field: float
    """Width of what the film shows, in centimetres."""
    pose: Pose
    breath: float
    """By how many centimetres the diaphragm stands above full inspiration."""
    shoulders: float
    """By how many centimetres the scapulae are pulled out of the lung fields."""
    exposure: Exposure


_SHAPES = ((480, 400), (480, 432), (512, 416), (512, 448), (544, 448), (576, 512), (480, 480))


def sample_taking(rng: np.random.Generator) -> Taking:
    """Draw how a film is taken."""
    height, width = _SHAPES[rng.integers(len(_SHAPES))]
    rotated = rng.random() < 0.15
    deep = rng.random() < 0.75
    collimated = rng.random() < 0.35
    sides = rng.uniform(0, 0.05, 4) * (rng.random(4) < 0.7) if collimated else np.zeros(4)
    pose = Pose(
        rotation=float(rng.normal(0, 7.0 if rotated else 2.0)),
        tilt=float(rng.normal(-1, 4)),
        roll=float(rng.normal(0, 1.8)),
        shift=(float(rng.normal(0, 0.8)), float(rng.normal(-0.3, 0.9))),
    )
    exposure = Exposure(
        photons=float(np.exp(rng.normal(np.log(16_000), 0.7))),
        scatter=float(rng.uniform(0.08, 0.5)),
        blur=float(rng.uniform(0.35, 1.0)),
        lung_grey=float(np.clip(rng.normal(0.25, 0.06), 0.11, 0.45)),
        heart_grey=float(np.clip(rng.normal(0.78, 0.05), 0.64, 0.88)),
        detail=float(rng.choice([0.0, rng.uniform(0.1, 0.6)])),
        collimation=(float(sides[0]), float(sides[1]), float(sides[2]), float(sides[3])),
        shutter=bool(rng.random() < 0.8),
        marker=("L", "R", "")[rng.choice(3, p=[0.5, 0.2, 0.3])],
        marker_place=(float(rng.uniform(0.06, 0.12)), float(rng.uniform(0.05, 0.14))),
    )
    return Taking(
        shape=(height, width),
        field=float(np.clip(rng.normal(34.0, 1.8), 30.5, 39)) * max(1.0, 0.86 * width / height * 1.12),
        pose=pose,
        breath=float(np.clip(rng.normal(0.3, 0.6), -0.8, 2) if deep else rng.uniform(1.5, 4.0)),
        shoulders=float(rng.uniform(-1.5, 2.5)),
        exposure=exposure,
    )


def draw_radiograph(
    patient: Patient, taking: Taking, group: Group, severity: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw one frontal chest film.

    Args:
        patient: the body.
        taking: pose, breath and exposure.
        group: normal, consolidation or diffuse.
        severity: 0 to 1, without effect on a normal film.
        rng: for noise, gas and the opacity; the same state with another severity gives the same film
            but for the opacity's density and size.

    Returns:
        float32 of taking.shape, 0 black (air) to 1 white (bone).
    """
    anatomy_rng, opacity_rng, film_rng = rng.spawn(3)
    view = Projection.of_pose(
        taking.shape, (patient.width, patient.height), taking.pose, taking.shape[1] / taking.field
    )
    thickness = draw_anatomy(patient, taking.breath, view, taking.shoulders, anatomy_rng)
    opacity = draw_opacity(group, severity, taking.breath, view, opacity_rng)
    return expose(thickness, opacity, taking.exposure, view, film_rng)
