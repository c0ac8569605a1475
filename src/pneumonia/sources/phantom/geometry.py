"""From centimetres in the patient to pixels on the film."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Shape (N, 2): x to the patient's left, y to the feet, in centimetres; or (N, 3) with z to the front."""

_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Projection:
    """Parallel projection of the patient onto the film; the patient faces us, their left is on our right."""

    matrix: NDArray[np.float64]
    """Shape (2, 3): centimetres (x, y, z) to pixels."""
    centre: NDArray[np.float64]
    """Shape (2,): the pixel (x, y) on which the patient's origin falls."""
    shape: tuple[int, int]
    """Height and width of the film in pixels."""
    pixels_per_cm: float

    @classmethod
    def of_pose(
        cls, shape: tuple[int, int], size: tuple[float, float], pose: "Pose", pixels_per_cm: float
    ) -> "Projection":
        """The projection of a patient whose width and height are `size` times the average's.

        Args:
            shape: height and width of the film in pixels.
            size: factors of width (and depth) and of height.
            pose: how the patient stands before the film.
            pixels_per_cm: of the average patient.
        """
        yaw, roll = np.radians(pose.rotation), np.radians(pose.roll)
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, np.tan(np.radians(pose.tilt))]])
        lean = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        matrix = pixels_per_cm * lean @ turn @ np.diag([size[0], size[1], size[0]])
        centre = np.array([shape[1] / 2, shape[0] / 2]) + pixels_per_cm * np.array(pose.shift)
        return cls(matrix, centre, shape, pixels_per_cm)

    def __call__(self, points: Points, depth: float = 0.0) -> NDArray[np.float64]:
        """Pixels (x, y), shape (N, 2), of points in centimetres; `depth` is the z of flat points."""
        flat = points @ self.matrix[:, : points.shape[1]].T + self.centre
        return flat if points.shape[1] == 3 else flat + depth * self.matrix[:, 2]

    def coarser(self, step: int) -> "Projection":
        """The same projection onto a film of which every `step` x `step` pixels are one."""
        shape = (-(-self.shape[0] // step), -(-self.shape[1] // step))
        # The centre of pixel i lies at (i + 0.5) / step - 0.5 of the coarser film.
        centre = (self.centre + 0.5) / step - 0.5
        return Projection(self.matrix / step, centre, shape, self.pixels_per_cm / step)

    def grid(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Centimetres x and y, at z = 0, of every `step`-th pixel: two float32 arrays."""
        height, width = -(-self.shape[0] // step), -(-self.shape[1] // step)
        columns = (np.arange(width) + 0.5) * step - self.centre[0]
        rows = ((np.arange(height) + 0.5) * step - self.centre[1])[:, None]
        (a, b), (c, d) = np.linalg.inv(self.matrix[:, :2])
        return (a * columns + b * rows).astype(np.float32), (c * columns + d * rows).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Pose:
    """How the patient stands before the film."""

    rotation: float
    """About the body's axis, degrees: moves what lies in front against what lies behind."""
    tilt: float
    """Backwards (lordotic) when negative, degrees: moves what lies in front up."""
    roll: float
    """In the plane of the film, degrees."""
    shift: tuple[float, float]
    """Right and down on the film, centimetres."""


def smooth(points: Points, per_piece: int = 8, closed: bool = True) -> Points:
    """The Catmull-Rom spline through points of shape (N, D); `per_piece` points for each given one."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, per_piece, endpoint=False)[:, None, None]
    p0, p1, p2, p3 = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    curve = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    ordered = curve.swapaxes(0, 1).reshape(-1, points.shape[1])
    return ordered if closed else np.concatenate([ordered, points[-1:]])


def mirrored(right_side: Points) -> Points:
    """The same points on the other side of the body."""
    flipped = right_side.copy()
    flipped[:, 0] *= -1
    return flipped


def fixed_point(pixels: NDArray[np.float64]) -> NDArray[np.int32]:
    """Pixels as OpenCV's drawing functions want them for subpixel accuracy, with `shift=4`."""
    return np.round(pixels * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def fill(canvas: NDArray[np.uint8], pixels: NDArray[np.float64], value: float) -> None:
    """Fill a polygon on an 8-bit canvas, with smooth edges."""
    cv2.fillPoly(canvas, [fixed_point(pixels)], (value,), cv2.LINE_AA, _SUBPIXEL_BITS)


def ribbon(
    canvas: NDArray[np.uint8],
    pixels: NDArray[np.float64],
    half_width: NDArray[np.float64],
    values: NDArray[np.float64],
) -> None:
    """Draw a band along a curve on an 8-bit canvas.

    Args:
        canvas: drawn upon.
        pixels: shape (N, 2), the curve.
        half_width: shape (N,), in pixels.
        values: shape (N,), the grey at each point.
    """
    steps = pixels[1:] - pixels[:-1]
    tangent = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]])
    tangent /= np.sqrt((tangent * tangent).sum(axis=1, keepdims=True)) + 1e-9
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * half_width[:, None]
    # Each piece starts half a pixel early: pieces that only touched would leave a dark seam.
    start, stop = pixels[:-1] - 0.5 * tangent[:-1], pixels[1:]
    near, far = normal[:-1], normal[1:]
    pieces = np.stack([start + near, stop + far, stop - far, start - near], axis=1)
    for piece, value in zip(fixed_point(pieces), values.tolist(), strict=False):
        cv2.fillConvexPoly(canvas, piece, (value,), cv2.LINE_AA, _SUBPIXEL_BITS)


def dome(pixels: NDArray[np.float64], shape: tuple[int, int], radius: float) -> NDArray[np.float32]:
    """How thick a rounded body is seen from the front, as a fraction of its greatest thickness.

    Rises from 0 at the outline like the edge of a ball of `radius` pixels, and is 1 farther inside:
    sqrt(1 - (1 - d / radius)^2) at distance d from the outline.

    Returns:
        float32 of `shape`, 0 to 1.
    """
    # Only what lies on the film, with a margin, so that the film's border is not taken for an outline.
    height, width = shape
    margin = int(radius) + 2
    low = np.clip(np.floor(pixels.min(axis=0)).astype(int) - 2, -margin, [width, height])
    high = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + 3, 0, [width + margin, height + margin])
    thickness = np.zeros(shape, np.float32)
    if (high <= low).any():
        return thickness
    mask = np.zeros((high - low)[::-1], np.uint8)
    cv2.fillPoly(mask, [fixed_point(pixels - low)], (255,), cv2.LINE_8, _SUBPIXEL_BITS)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(high, [width, height])
    distance = distance[top - low[1] : bottom - low[1], left - low[0] : right - low[0]]
    # With q = d / radius up to 1 this is sqrt(q (2 - q)).
    # The first pixel inside has distance 1, but its centre lies half a pixel from the outline.
    depth = np.clip((distance - np.float32(0.5)) * np.float32(1 / radius), 0, 1)
    depth *= 2 - depth
    thickness[top:bottom, left:right] = cv2.sqrt(depth)
    return thickness


def blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur, sigma in pixels; wide ones work on a shrunken copy, since they leave no detail."""
    if sigma < 0.2:
        return image
    step = int(max(1, min(16, sigma // 2)))
    if step == 1:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
    height, width = image.shape
    small = cv2.resize(image, (-(-width // step), -(-height // step)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def enlarge(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring a smooth map that was drawn on a coarser film to the film's shape."""
    return np.asarray(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def noise(
    rng: np.random.Generator, shape: tuple[int, int], grain: float, octaves: int = 1
) -> NDArray[np.float32]:
    """Smooth random field of mean about 0 and standard deviation about 1.

    Args:
        rng: where the randomness comes from.
        shape: of the field.
        grain: size of the largest spots in pixels; each further octave halves it.
        octaves: how many scales are added, each half as strong as the one before.
    """
    height, width = shape
    field = np.zeros(shape, np.float32)
    for octave in range(octaves):
        spot = max(grain / 2**octave, 1.0)
        coarse = rng.standard_normal((int(height / spot) + 3, int(width / spot) + 3), dtype=np.float32)
        field += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.5**octave)
    deviation = np.sqrt(sum(0.25**octave for octave in range(octaves))) * 0.75
    return (field / np.float32(deviation)).astype(np.float32)
