"""The physics of the synthetic radiographs."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.sources.phantom.anatomy import Thickness
from pneumonia.sources.phantom.film import attenuation
from pneumonia.sources.phantom.geometry import Pose, Projection, dome, smooth
from pneumonia.sources.phantom.opacity import SEVERITY, Group, Opacity
from pneumonia.sources.phantom.patient import sample_patient
from pneumonia.sources.phantom.radiograph import draw_radiograph, sample_taking


def film(group: Group, severity: float, seed: int = 5) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return draw_radiograph(sample_patient(rng), sample_taking(rng), group, severity, rng)


@pytest.mark.parametrize("group", ["consolidation", "diffuse"])
@pytest.mark.parametrize("seed", [1, 2, 5])
def test_a_stronger_opacity_is_whiter(group: Group, seed: int) -> None:
    means = [film("normal", 0.0, seed).mean(), *(film(group, s, seed).mean() for s in (0.15, 0.4, 0.7, 1.0))]
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.004


def test_severity_does_not_touch_a_normal_film() -> None:
    np.testing.assert_array_equal(film("normal", 0.0), film("normal", 1.0))


def test_an_opacity_changes_the_lungs_alone() -> None:
    normal, ill = film("normal", 0.0), film("consolidation", 1.0)
    changed = cv2.blur(np.abs(ill - normal), (9, 9)) > 0.05
    height = len(normal)
    assert changed.any()
    assert not changed[: height // 20].any()
    assert not changed[-height // 12 :].any()
    assert changed.mean() < 0.4


def test_films_are_finite_and_within_range() -> None:
    for seed in range(4):
        image = film("diffuse", 1.0, seed)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert image.min() >= 0
        assert image.max() <= 1


def test_severities_follow_their_distribution() -> None:
    rng = np.random.default_rng(0)
    severities = np.array([SEVERITY.sample(rng) for _ in range(4000)])
    assert severities.min() >= SEVERITY.subtle[0]
    assert severities.max() <= SEVERITY.plain[1]
    assert np.mean(severities < SEVERITY.subtle[1]) == pytest.approx(SEVERITY.subtle_share, abs=0.02)


def test_filled_lung_attenuates_like_tissue() -> None:
    """Which is the silhouette sign: no border between heart and filled lung."""
    one = np.ones((2, 2), np.float32)
    lung = Thickness(20 * one, 14 * one, 0 * one, 0 * one, 0 * one)
    heart = Thickness(20 * one, 0 * one, one, 0 * one, 0 * one)
    filled = attenuation(lung, Opacity(one, 0 * one))
    np.testing.assert_allclose(filled, attenuation(heart, None))
    assert (filled > attenuation(lung, None) + 1).all()


def test_dome_is_the_profile_of_a_ball() -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radius = 60.0
    circle = np.array([80.0, 70.0]) + radius * np.column_stack([np.cos(angle), np.sin(angle)])
    thickness = dome(circle, (140, 160), radius)
    offset = np.abs(np.arange(160) - 80.0)
    expected = np.sqrt(np.clip(1 - (offset / radius) ** 2, 0, None))
    np.testing.assert_allclose(thickness[70], expected, atol=0.15)
    np.testing.assert_allclose(thickness[70, 40:120], expected[40:120], atol=0.02)


def test_dome_does_not_end_at_the_border_of_the_film() -> None:
    outside = np.array([[-500.0, -500.0], [600.0, -500.0], [600.0, 600.0], [-500.0, 600.0]])
    assert (dome(outside, (50, 60), 20.0) == 1).all()
    assert (dome(outside + 2000, (50, 60), 20.0) == 0).all()


def test_projection_turns_what_lies_in_front() -> None:
    upright = Pose(0.0, 0.0, 0.0, (0.0, 0.0))
    turned = Pose(10.0, 0.0, 0.0, (0.0, 0.0))
    points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 5.0], [2.0, 3.0, 0.0]])
    view = Projection.of_pose((400, 300), (1.0, 1.0), upright, 10.0)
    np.testing.assert_allclose(view(points), [[150, 200], [150, 200], [170, 230]])
    view = Projection.of_pose((400, 300), (1.0, 1.0), turned, 10.0)
    shift = 50 * np.sin(np.radians(10))
    np.testing.assert_allclose(view(points)[:2], [[150, 200], [150 + shift, 200]])


def test_grid_is_the_inverse_of_the_projection() -> None:
    pose = Pose(4.0, -3.0, 2.0, (1.0, -0.5))
    view = Projection.of_pose((40, 30), (0.95, 1.05), pose, 2.0)
    x, y = view.grid(1)
    pixels = view(np.column_stack([x.ravel(), y.ravel()]))
    rows, columns = np.mgrid[0:40, 0:30]
    np.testing.assert_allclose(pixels, np.column_stack([columns.ravel(), rows.ravel()]) + 0.5, atol=1e-4)


def test_smooth_curve_passes_through_its_points() -> None:
    points = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0], [2.0, -1.0]])
    for closed in (True, False):
        curve = smooth(points, 5, closed)
        np.testing.assert_allclose(curve[::5], points)
