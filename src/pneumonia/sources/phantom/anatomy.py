"""The healthy chest as maps of thickness: how many centimetres of what the rays cross at each pixel."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumonia.sources.phantom.geometry import (
    Points,
    Projection,
    blur,
    dome,
    enlarge,
    fill,
    fixed_point,
    mirrored,
    noise,
    ribbon,
    smooth,
)
from pneumonia.sources.phantom.patient import Patient

# The outlines are an average adult's, in centimetres; y = 0 is a little below the carina.
_CAVITY_RIGHT: Points = np.array(
    [
        [-2.2, -12.9], [-4.0, -14.3], [-6.2, -13.9], [-8.6, -11.8], [-10.6, -8.3], [-12.0, -4.0],
        [-12.9, 0.5], [-13.4, 5.0], [-13.7, 9.5], [-13.8, 13.3], [-12.8, 15.5], [-8.0, 17.0], [-2.0, 17.0],
    ]
)  # fmt: skip
_MEDIASTINUM_RIGHT: Points = np.array(
    [
        [-2.3, -17.0], [-2.5, -13.0], [-2.8, -9.5], [-3.0, -6.5], [-2.9, -4.0], [-3.1, -2.0], [-3.9, 0.4],
        [-4.6, 3.0], [-4.7, 5.8], [-4.2, 8.5], [-3.4, 11.0], [-2.5, 15.0],
    ]
)  # fmt: skip
_MEDIASTINUM_LEFT: Points = np.array(
    [
        [2.3, -17.0], [2.5, -13.0], [2.7, -10.0], [3.3, -8.7], [3.95, -7.6], [4.1, -6.6], [3.75, -5.6],
        [3.0, -4.7], [3.4, -3.5], [4.1, -2.3], [4.5, -0.8], [5.9, 1.2], [7.7, 3.6], [8.9, 6.2], [9.1, 8.2],
        [8.4, 9.8], [6.0, 11.5], [3.0, 15.0],
    ]
)  # fmt: skip
_AORTIC_KNOB = slice(3, 7)
_DOME_RIGHT: Points = np.array(
    [
        [-15.5, 15.0], [-13.9, 13.4], [-12.4, 11.3], [-10.4, 9.5], [-7.8, 8.5], [-5.2, 8.5], [-2.8, 9.4],
        [0.0, 10.6],
    ]
)  # fmt: skip
_DOME_LEFT: Points = np.array(
    [
        [1.0, 11.0], [3.0, 10.3], [5.2, 9.6], [7.6, 9.5], [10.2, 10.5], [12.2, 12.2], [13.8, 14.2],
        [15.5, 15.8],
    ]
)  # fmt: skip
_TRACHEA: Points = np.array([[0.1, -22.0], [0.0, -14.0], [-0.2, -9.0], [-0.3, -5.6], [-0.2, -4.2]])
_BRONCHUS_RIGHT: Points = np.array([[-0.3, -4.9], [-1.6, -3.2], [-3.0, -1.6], [-3.9, 0.6]])
_BRONCHUS_LEFT: Points = np.array([[-0.2, -4.9], [1.6, -3.5], [3.6, -2.2], [4.9, -1.0]])
_CLAVICLE_RIGHT: Points = np.array(
    [[-1.7, -9.1, 6.0], [-3.2, -9.9, 6.5], [-6.0, -10.9, 5.5], [-9.0, -12.1, 2.5], [-12.0, -13.3, 0.0],
     [-14.6, -13.4, -2.0], [-16.4, -12.7, -3.0]]
)  # fmt: skip
_SCAPULA_RIGHT: Points = np.array(
    [
        [-12.4, -11.6], [-11.7, -8.0], [-11.6, -4.5], [-12.3, -1.0], [-13.3, 1.9], [-14.3, 0.6],
        [-15.0, -3.0], [-16.2, -7.4], [-16.9, -10.4], [-15.2, -11.8],
    ]
)  # fmt: skip
_PULMONARY_ARTERIES: tuple[tuple[Points, float, float], ...] = (
    (np.array([[-2.6, -2.2], [-4.2, -1.5], [-5.5, 0.2], [-6.2, 2.2], [-6.8, 4.4]]), 0.75, 0.35),
    (np.array([[-3.4, -1.8], [-4.8, -3.0], [-5.9, -4.6]]), 0.55, 0.25),
    (np.array([[3.2, -2.6], [4.8, -3.0], [5.9, -2.0], [6.9, 0.0], [7.8, 2.0]]), 0.75, 0.32),
    (np.array([[4.2, -2.8], [5.2, -4.2], [6.1, -5.6]]), 0.5, 0.22),
)
_BACK, _SPINE, _HEART = -7.0, -6.0, 4.0
"""Depths z of what lies behind, of the vertebrae and of the heart."""


@dataclass(slots=True)
class Thickness:
    """Float32 maps of the film's shape."""

    body: NDArray[np.float32]
    """Centimetres of body, the lungs' space included, the air ways' not."""
    lung: NDArray[np.float32]
    """Centimetres of aerated lung."""
    mediastinum: NDArray[np.float32]
    """Fraction 0 to 1 of the chest's depth that heart and great vessels take."""
    vessels: NDArray[np.float32]
    """Centimetres of blood inside the lungs."""
    bone: NDArray[np.float32]
    """Centimetres of compact bone."""


def draw_anatomy(
    patient: Patient, breath: float, view: Projection, shoulders: float, rng: np.random.Generator
) -> Thickness:
    """Project a healthy patient.

    Args:
        patient: whose body.
        breath: by how many centimetres the diaphragm stands above full inspiration.
        view: the projection.
        shoulders: by how many centimetres the scapulae are pulled out of the lung fields.
        rng: for what differs from film to film: gas in the stomach, unevenness of the flesh.
    """
    scale = view.pixels_per_cm
    cavity = np.concatenate([_CAVITY_RIGHT, mirrored(_CAVITY_RIGHT)[::-1]])
    chest = patient.depth * 0.74 * dome(view(smooth(cavity)), view.shape, 6.0 * scale)
    mediastinum = dome(view(_mediastinum(patient, breath), _HEART), view.shape, 3.6 * scale)
    below = dome(view(_diaphragm(breath)), view.shape, 4.5 * scale)
    lung = chest * (1 - 0.96 * mediastinum) * (1 - 0.97 * below)
    lung *= 1 + 0.02 * noise(rng, view.shape, 0.8 * scale, 2)
    soft_edges = 0.45 + 0.02 * scale
    body = _body(patient, view, rng)
    if patient.nipples:
        _add_nipples(body, patient, view, rng)
    body -= _air(breath, view, rng)
    return Thickness(
        body=body,
        lung=blur(lung, soft_edges),
        mediastinum=blur(mediastinum, soft_edges),
        vessels=_vessels(patient, view),
        bone=_bones(patient, shoulders, view),
    )


def _mediastinum(patient: Patient, breath: float) -> Points:
    """Outline of heart and great vessels; the heart lies broader and higher when the diaphragm is up."""
    right, left = _MEDIASTINUM_RIGHT.copy(), _MEDIASTINUM_LEFT.copy()
    left[_AORTIC_KNOB, 0] *= 0.75 + 0.25 * patient.knob
    for side in (right, left):
        low = side[:, 1] > -1
        side[low, 0] *= patient.heart * (1 + 0.045 * breath)
        side[low, 1] -= 0.7 * breath * np.clip((side[low, 1] + 1) / 8, 0, 1)
    return smooth(np.concatenate([right, left[::-1]]))


def _diaphragm(breath: float) -> Points:
    """Outline of what lies below the lungs; its upper border are the two domes."""
    crest = np.concatenate([_DOME_RIGHT, _DOME_LEFT])
    height = np.interp(np.abs(crest[:, 0]), [0, 6, 11, 14, 16], [0.9, 1.0, 0.8, 0.45, 0.3])
    crest[:, 1] -= breath * height
    curve = smooth(crest, closed=False)
    return np.concatenate([curve, [[22.0, 45.0], [-22.0, 45.0]]])


def _body(patient: Patient, film: Projection, rng: np.random.Generator) -> NDArray[np.float32]:
    # Flesh has no sharp edges: half the resolution is enough.
    view = film.coarser(2)
    fat, scale = patient.fat, view.pixels_per_cm
    wall, neck = 14.6 + fat, 5.6 + 0.3 * fat
    right = np.array(
        [
            [-neck, -30], [-neck, -20], [-neck - 1.4, -17.4], [-11.5, -15.8 - 0.3 * fat],
            [-17.0, -15.2 - 0.3 * fat], [-20.5, -12.5], [-19.0, -7.5], [-wall - 1.2, -4.5],
            [-wall - 0.2, 0.0], [-wall, 8], [-wall - 0.4 * fat, 16], [-wall - 0.6 * fat, 28], [-wall, 45],
        ]
    )  # fmt: skip
    torso = dome(view(smooth(np.concatenate([right, mirrored(right)[::-1]]))), view.shape, 8.5 * scale)
    arm = np.array(
        [
            [-14, -13.5],
            [-18.5, -15.0],
            [-22.5, -11],
            [-25 - fat, -2],
            [-29 - fat, 10],
            [-23, 10],
            [-19.5, -2],
            [-16, -7],
        ]
    )
    limbs = np.maximum(
        dome(view(smooth(arm)), view.shape, 4.5 * scale),
        dome(view(smooth(mirrored(arm))), view.shape, 4.5 * scale),
    )
    depth = patient.depth + 1.2 * fat
    body = np.maximum(depth * torso, 9.0 * limbs)
    x, y = view.grid(4)
    flesh = np.zeros_like(x)
    for side in (-1.0, 1.0):
        # Pectoral muscles end in the axillary fold.
        flesh += 1.6 * np.exp(-(((x - side * 11) / 4.5) ** 2) - ((y + 7.0) / 3.6) ** 2)
    flesh += 0.5 * noise(rng, x.shape, 5.0 * scale / 4, 2) * (0.6 + 0.2 * fat)
    body += enlarge(flesh, view.shape) * torso
    if patient.breast:
        body += _breasts(patient, view)
    return enlarge(blur(body, 1.2), film.shape)


def _breasts(patient: Patient, view: Projection) -> NDArray[np.float32]:
    """Two half balls whose lower crescent is the visible edge."""
    breasts = np.zeros(view.shape, np.float32)
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    size = 4.4 + 0.45 * patient.breast
    for side in (-1.0, 1.0):
        outline = np.column_stack(
            [
                side * (8.6 + 0.15 * patient.breast) + size * 1.08 * np.cos(angle),
                patient.breast_height + np.where(np.sin(angle) > 0, 0.85, 1.25) * size * np.sin(angle),
            ]
        )
        shape = dome(view(smooth(outline), 10.0), view.shape, size * 0.9 * view.pixels_per_cm)
        # The upper half runs out into the chest wall.
        _, y = view.grid(4)
        ramp = np.clip((y - patient.breast_height) / (1.6 * size) + 0.75, 0, 1).astype(np.float32)
        breasts += shape * enlarge(ramp, view.shape)
    return np.float32(patient.breast * 0.75) * breasts


def _add_nipples(
    body: NDArray[np.float32], patient: Patient, view: Projection, rng: np.random.Generator
) -> None:
    height = patient.breast_height + 2.5 if patient.breast else 5.0
    for side in (-1.0, 1.0):
        place = view(np.array([[side * rng.uniform(8.5, 10.5), height + rng.normal(0, 0.4), 10.0]]))
        spot = np.zeros(view.shape, np.uint8)
        radius = rng.uniform(0.35, 0.55) * view.pixels_per_cm
        cv2.circle(spot, fixed_point(place[0]).tolist(), int(radius * 16), (255,), -1, cv2.LINE_AA, 4)
        body += blur(spot.astype(np.float32), 1.0) * np.float32(rng.uniform(0.7, 1.2) / 255)


def _air(breath: float, view: Projection, rng: np.random.Generator) -> NDArray[np.float32]:
    """Centimetres of air in the trachea, the main bronchi, the stomach and the bowel."""
    scale = view.pixels_per_cm
    canvas = np.zeros(view.shape, np.uint8)
    for curve, half_width, value in (
        (_TRACHEA, 0.85, 190.0), (_BRONCHUS_RIGHT, 0.6, 120.0), (_BRONCHUS_LEFT, 0.5, 100.0),
    ):  # fmt: skip
        line = view(smooth(curve, closed=False), -1.0)
        ribbon(canvas, line, np.full(len(line), half_width * scale), np.full(len(line), value))
    air = blur(canvas.astype(np.float32), 0.22 * scale) * np.float32(2.6 / 190)
    if rng.random() < 0.75:
        centre = (rng.uniform(5.5, 9.0), rng.uniform(12.2, 13.2) - breath)
        bubble = _bubble(centre, (rng.uniform(1.6, 3.6), rng.uniform(1.0, 1.7)), rng)
        air += rng.uniform(2.5, 6.5) * dome(view(bubble, 2.0), view.shape, 1.8 * scale)
    for _ in range(int(rng.integers(0, 5))):
        centre = (rng.uniform(2.0, 13.0), rng.uniform(14.5, 22.0) - 0.5 * breath)
        bubble = _bubble(centre, (rng.uniform(0.7, 1.8), rng.uniform(0.7, 1.8)), rng)
        air += rng.uniform(1.0, 3.0) * dome(view(bubble), view.shape, 1.5 * scale)
    return air


def _bubble(centre: tuple[float, float], radii: tuple[float, float], rng: np.random.Generator) -> Points:
    """Uneven outline, flatter below, where the bubble lies on fluid."""
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    down = np.sin(angle)
    circle = np.column_stack([np.cos(angle), np.where(down > 0, 0.75, 1) * down])
    return smooth(np.array(centre) + np.array(radii) * circle * rng.uniform(0.9, 1.1, (12, 1)))


def _vessels(patient: Patient, view: Projection) -> NDArray[np.float32]:
    """Centimetres of blood, as if the lungs reached everywhere; the caller knows where they do."""
    canvas = np.zeros(view.shape, np.uint8)
    scale = view.pixels_per_cm
    tree = patient.vessels
    starts, ends = fixed_point(view(tree[:, 0:2])), fixed_point(view(tree[:, 2:4]))
    pixels = tree[:, 4] * scale
    # Narrower than a pixel: a fainter line instead.
    widths = np.maximum(np.round(pixels), 1).astype(int)
    values = np.clip(tree[:, 4] * np.minimum(pixels / widths, 1) * 220, 0, 255)
    for start, end, width, value in zip(
        starts.tolist(), ends.tolist(), widths.tolist(), values.tolist(), strict=True
    ):
        cv2.line(canvas, start, end, (value,), width, cv2.LINE_AA, 4)
    blood = blur(canvas.astype(np.float32), 0.65) * np.float32(5.5 / 255)
    stems = np.zeros(view.shape, np.uint8)
    for curve, wide, narrow in _PULMONARY_ARTERIES:
        line = view(smooth(curve, closed=False), 1.0)
        half_width = np.linspace(wide, narrow, len(line)) * scale * (0.5 + 0.5 * patient.hila)
        ribbon(stems, line, half_width, np.linspace(220, 110, len(line)))
    return blood + blur(stems.astype(np.float32), 0.24 * scale) * np.float32(5.0 * patient.hila / 255)


def _bones(patient: Patient, shoulders: float, view: Projection) -> NDArray[np.float32]:
    """Centimetres of compact bone."""
    scale = view.pixels_per_cm
    behind, before, spine, girdle = (np.zeros(view.shape, np.uint8) for _ in range(4))
    _draw_ribs(behind, before, patient, view)
    _draw_spine(spine, view)
    for clavicle in (_CLAVICLE_RIGHT, mirrored(_CLAVICLE_RIGHT)):
        line = view(smooth(clavicle, closed=False))
        widths = (
            np.interp(
                np.linspace(0, 1, len(line)), [0, 0.04, 0.15, 0.5, 0.93, 1], [0.5, 0.8, 0.55, 0.45, 0.65, 0.2]
            )
            * scale
        )
        ribbon(girdle, line, widths, np.full(len(line), 200.0))
        ribbon(girdle, line, widths * 0.55, np.full(len(line), 140.0))
    out = np.array([-shoulders, 0.0])
    for flip in (False, True):
        blade = _SCAPULA_RIGHT + out
        edge = np.array([[-14.0, 1.2], [-15.0, -3.0], [-16.4, -8.0]]) + out
        spine_of_scapula = np.array([[-11.9, -8.2], [-14.5, -10.6], [-17.5, -12.4]]) + out
        head = np.array([[-18.6, -11.2]]) + 0.6 * out
        shaft = np.array([[-18.9, -11.0], [-21.0, -4.0], [-24.5, 6.0]]) + 0.6 * out
        if flip:
            blade, edge, spine_of_scapula, head, shaft = map(
                mirrored, (blade, edge, spine_of_scapula, head, shaft)
            )
        layer = np.zeros(view.shape, np.uint8)
        fill(layer, view(smooth(blade), _BACK), 60)
        line = view(smooth(edge, closed=False), _BACK)
        ribbon(layer, line, np.full(len(line), 0.35 * scale), np.full(len(line), 130.0))
        line = view(smooth(spine_of_scapula, closed=False), _BACK)
        ribbon(layer, line, np.linspace(0.2, 0.6, len(line)) * scale, np.full(len(line), 105.0))
        line = view(smooth(shaft, closed=False), -2.0)
        ribbon(layer, line, np.full(len(line), 1.1 * scale), np.full(len(line), 170.0))
        ribbon(layer, line, np.full(len(line), 0.55 * scale), np.full(len(line), 110.0))
        place = fixed_point(view(head, -2.0))[0].tolist()
        cv2.circle(layer, place, int(2.2 * scale * 16), (150,), -1, cv2.LINE_AA, 4)
        girdle = cv2.add(girdle, layer)
    total = np.zeros(view.shape, np.float32)
    for canvas, centimetres in ((behind, 1.2), (before, 0.6), (spine, 1.25), (girdle, 1.3)):
        total += canvas.astype(np.float32) * np.float32(centimetres * patient.bone / 255)
    total = blur(total, 0.06 * scale)
    if patient.granuloma:
        x, y, diameter = patient.granuloma
        spot = np.zeros(view.shape, np.uint8)
        place = fixed_point(view(np.array([[x, y, 0.0]])))[0].tolist()
        cv2.circle(spot, place, int(diameter / 2 * scale * 16), (255,), -1, cv2.LINE_AA, 4)
        total += blur(spot.astype(np.float32), 0.8) * np.float32(0.6 * diameter / 255)
    return total


def _draw_ribs(
    behind: NDArray[np.uint8], before: NDArray[np.uint8], patient: Patient, view: Projection
) -> None:
    """Each rib is an ellipse in a plane that slopes to the front; it is densest where it turns forward.

    The path through a tube grows with ds / ds', the ratio of the curve's length in space to its length
    on the film.
    """
    half_widths = [5.2, 8.2, 10.2, 11.6, 12.6, 13.2, 13.6, 13.9, 14.0, 13.9, 13.6]
    drops = [3.2, 5.2, 7.0, 8.4, 9.3, 10.0, 10.4, 10.6, 10.6, 10.2, 9.0]
    ends = [150, 152, 150, 147, 143, 138, 132, 124, 112, 100, 88]
    for number, (half_width, drop, end) in enumerate(zip(half_widths, drops, ends, strict=True)):
        level = _vertebra_level(number) - 0.9
        floating = 1.0 if number < 9 else 0.6
        begin = np.degrees(np.arcsin(1.9 / half_width))
        angle = np.radians(np.linspace(begin, end, 18))
        forward = (1 - np.cos(angle)) / 2
        x = -half_width * np.sin(angle)
        z = -8.5 * np.cos(angle) * min(1.0, 0.45 + 0.12 * number)
        y = level + patient.rib_drop * drop * forward - 0.5 * np.sin(2 * angle) * (angle < np.pi / 2)
        for curve in (np.column_stack([x, y, z]), np.column_stack([-x, y, z])):
            line = view(curve)
            in_space = np.linalg.norm(np.gradient(curve, axis=0), axis=1)
            on_film = np.linalg.norm(np.gradient(line, axis=0), axis=1) / view.pixels_per_cm
            density = np.clip(in_space / (on_film + 1e-6), 1, 2.6)
            width = np.interp(angle, [0, 0.6, 1.57, 2.2, 2.7], [0.42, 0.52, 0.42, 0.56, 0.62])
            width *= view.pixels_per_cm
            half = int(np.searchsorted(angle, np.pi / 2))
            for canvas, part in ((before, slice(max(half - 1, 0), None)), (behind, slice(0, half + 1))):
                if len(line[part]) < 2:
                    continue
                ribbon(canvas, line[part], width[part], 92 * floating * density[part])
                ribbon(canvas, line[part], width[part] * 0.6, 58 * floating * density[part])


def _vertebra_level(number: int) -> float:
    """Height y of the middle of thoracic vertebra number + 1; they grow downwards."""
    return -14.6 + 2.05 * number + 0.035 * number**2


def _draw_spine(canvas: NDArray[np.uint8], view: Projection) -> None:
    scale = view.pixels_per_cm
    for number in range(-4, 19):
        level = _vertebra_level(number)
        row = view(np.array([[0.0, level, _SPINE]]))[0, 1]
        if not -3 * scale < row < view.shape[0] + 3 * scale:
            continue
        height = 0.82 * (_vertebra_level(number + 1) - level)
        half = 1.35 + 0.045 * number
        box = np.array(
            [
                [-half, -height / 2], [0, -height / 2 + 0.12], [half, -height / 2], [half * 0.9, 0],
                [half, height / 2], [0, height / 2 - 0.12], [-half, height / 2], [-half * 0.9, 0],
            ]
        )  # fmt: skip
        box[:, 1] += level
        outline = view(smooth(box, 4), _SPINE)
        for side in (-1.0, 1.0):
            process = view(
                np.array([[side * half * 0.8, level - 0.3], [side * (half + 1.5), level - 0.75]]), _SPINE - 2
            )
            ribbon(canvas, process, np.array([0.42, 0.3]) * scale, np.array([70.0, 60.0]))
        fill(canvas, outline, 120)
        cv2.polylines(canvas, [fixed_point(outline)], True, (165,), 1, cv2.LINE_AA, 4)
        for side in (-1.0, 1.0):
            place = fixed_point(view(np.array([[side * half * 0.66, level - 0.25, _SPINE - 2]])))[0].tolist()
            cv2.circle(canvas, place, int(0.34 * scale * 16), (185,), -1, cv2.LINE_AA, 4)
            cv2.circle(canvas, place, int(0.17 * scale * 16), (135,), -1, cv2.LINE_AA, 4)
        tip = view(np.array([[0.0, level + 0.1], [0.0, level + 1.0]]), _SPINE - 4)
        ribbon(canvas, tip, np.array([0.16, 0.3]) * scale, np.array([150.0, 165.0]))
