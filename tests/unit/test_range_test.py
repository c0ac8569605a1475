"""The range test of the learning rate: what it suggests, what it looks at, and the command."""

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from training_examples import small_data, training

from pneumonia import paths
from pneumonia.errors import UserError
from pneumonia.range_test import FIGURE, TABLE, main
from pneumonia.split_table import write_split
from pneumonia.store import INDEX_COLUMNS, write_images
from pneumonia.training.loop import TrainingData
from pneumonia.training.objective import Objective
from pneumonia.training.rate_range import GIVE_UP, measure, smooth, span_of, suggest
from pneumonia.writing import write_metrics

ROOT = Path(__file__).parents[2]
RATES = (1e-5, 10.0)
STEPS = 40


def tried(data: TrainingData, root: Path, **values: object) -> pd.DataFrame:
    return measure(training(**values), data, root, RATES, STEPS)


def test_the_rate_grows_by_the_same_factor_and_the_suggestion_lies_where_the_loss_falls(
    tmp_path: Path,
) -> None:
    curve = tried(small_data(), tmp_path)
    assert curve["lr"].iloc[0] == pytest.approx(RATES[0])
    ratios = curve["lr"].to_numpy()[1:] / curve["lr"].to_numpy()[:-1]
    np.testing.assert_allclose(ratios, (RATES[1] / RATES[0]) ** (1 / (STEPS - 1)))
    rate = suggest(curve, span_of(STEPS))
    assert rate is not None
    assert RATES[0] < rate < curve["lr"][curve["smoothed"].idxmin()] < RATES[1]


def test_it_gives_the_same_again_and_sees_the_training_images_alone(tmp_path: Path) -> None:
    data = small_data()
    first = tried(data, tmp_path)
    others = data.images.copy()
    others[data.val_rows] = 255 - others[data.val_rows]
    same = dataclasses.replace(data, images=others, val_labels=1 - data.val_labels)
    pd.testing.assert_frame_equal(tried(same, tmp_path), first, check_exact=True)
    others[data.train_rows[0]] = 255 - others[data.train_rows[0]]
    assert not tried(same, tmp_path).equals(first)
    assert list(tmp_path.iterdir()) == []


def test_neither_the_rate_nor_the_schedule_of_params_matters(tmp_path: Path) -> None:
    first = tried(small_data(), tmp_path)
    other = tried(small_data(), tmp_path, lr=0.5, schedule="plateau", patience=1, epochs=1)
    pd.testing.assert_frame_equal(other, first, check_exact=True)


def test_of_two_stages_the_first_is_tested(tmp_path: Path) -> None:
    head = tried(small_data(), tmp_path, finetune="head")
    two = tried(small_data(), tmp_path, finetune="head_then_all", head_epochs=1)
    pd.testing.assert_frame_equal(two, head, check_exact=True)


def test_it_ends_when_the_loss_explodes(tmp_path: Path) -> None:
    curve = tried(small_data(), tmp_path, optimizer="sgd", momentum=0.9, gradient_clip=0.0, arch="test_vit")
    assert span_of(STEPS) < len(curve) < STEPS
    assert np.isfinite(curve["loss"]).all()


def test_a_loss_that_is_no_number_ends_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finite = Objective.forward
    calls: list[int] = []

    def forward(self, outputs, labels):
        calls.append(0)
        return finite(self, outputs, labels) * (np.nan if len(calls) == 10 else 1)

    monkeypatch.setattr(Objective, "forward", forward)
    assert len(tried(small_data(), tmp_path)) == 9


def curve_of(losses: list[float] | np.ndarray, span: int) -> pd.DataFrame:
    losses = np.asarray(losses, float)
    return pd.DataFrame(
        {"lr": 10.0 ** np.arange(len(losses)), "loss": losses, "smoothed": smooth(losses, span)}
    )


def test_the_suggestion_is_the_middle_of_the_steepest_part_before_the_lowest() -> None:
    falling = [10, 10, 10, 9, 6, 3, 2, 2, 2]
    assert suggest(curve_of(falling, 3), 3) == 1e4
    # A single batch with a high loss is no descent either.
    spiked = [10, 10, 10, 9, 6, 3, 2, 2, 2, 50, 1.9, 1.8, 1.7]
    assert suggest(curve_of(spiked, 3), 3) == 1e4
    # What the loss does after its lowest is no descent that one could train with.
    assert suggest(curve_of([*falling, 40, 80, 20, 80], 3), 3) == 1e4


@pytest.mark.parametrize("losses", [[1.0] * 9, list(range(9)), [3.0, 1.0]])
def test_a_loss_that_does_not_fall_suggests_nothing(losses: list[float]) -> None:
    assert suggest(curve_of(losses, 3), 3) is None


def test_noise_is_no_descent() -> None:
    noise = np.random.default_rng(0).normal(0.7, 0.05, 150)
    assert suggest(curve_of(noise, 15), 15) is None
    assert suggest(curve_of(noise - np.linspace(0, 0.2, 150), 15), 15) is not None


def test_the_smoothed_loss_is_the_median_of_those_around() -> None:
    np.testing.assert_allclose(smooth(np.array([1.0, 2, 6, 1]), 3), [1.5, 2, 2, 3.5])
    assert (span_of(150), span_of(20)) == (17, 5)
    assert GIVE_UP == 4


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the data of `small_data`, after the stage split, whose test images nobody may open."""
    text = (ROOT / "params.yaml").read_text("utf-8")
    text = text.replace("arch: regnetx_002", "arch: test_resnet").replace("device: auto", "device: cpu")
    (tmp_path / "params.yaml").write_text(text.replace("precision: auto", "precision: fp32"), "utf-8")
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    data = small_data()
    files = [f"{number:02}.png" for number in range(96)]
    labels = np.where(np.arange(96) % 2, "pneumonia", "normal")
    known = {"file": files, "label": labels, "patient": files, "sha256": files, "pixels_sha256": files}
    index = pd.DataFrame({name: known.get(name, "") for name in INDEX_COLUMNS} | {"height": 32, "width": 32})
    write_images(tmp_path / paths.IMAGES, data.images, 32)
    index.to_csv(tmp_path / paths.INDEX, index=False)
    write_split(tmp_path / paths.SPLIT, index, pd.Series(["train"] * 64 + ["val"] * 16 + ["test"] * 16))
    write_metrics(tmp_path / paths.STATISTICS, {"mean": 0.3, "std": 0.2})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_curve_and_figure_and_prints_the_line(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--steps", "30", "-S", "threads=1", "-S", "lr=5"], root)
    printed = capsys.readouterr().out.splitlines()
    curve = pd.read_csv(root / TABLE)
    assert list(curve) == ["step", "lr", "loss", "smoothed"]
    rate = float(printed[-1].removeprefix("dvc exp run -S lr=").split()[0])
    assert 1e-6 < rate < 1
    assert np.isclose(curve["lr"], rate, rtol=0.06).any()
    assert printed[-1] == f"dvc exp run -S lr={rate} -S threads=1"
    assert printed[0].startswith("Suggested learning rate: ")
    assert cv2.imread(str(root / FIGURE)).shape == (600, 960, 3)


def test_of_a_recipe_it_prints_the_line_that_runs_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plain", "--steps", "30", "-S", "arch=test_resnet", "-S", "device=cpu"], root)
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("make exp RECIPE=plain 'SET=-S lr=")


def test_images_of_other_parameters_are_remarked_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = {"stages": {"preprocess": {"params": {"params.yaml": {"source.name": "x"}}}}}
    lock["stages"]["download"] = {"params": {"params.yaml": {"source": {"name": "rsna", "path": None}}}}
    lock["stages"]["split"] = {"params": {"params.yaml": {"split": {"seed": 0}}}}
    (root / "dvc.lock").write_text(json.dumps(lock), "utf-8")
    main(["--steps", "30", "-S", "threads=1", "-S", "split.seed=3"], root)
    warning = capsys.readouterr().err
    assert 'the last `dvc repro`, with source.name "rsna", split.seed 0; a rate' in warning


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--low", "1", "--high", "0.1"], r"--low 1 --high 0\.1: rates must grow"),
        (["--low", "0"], "--low 0 --high 1: rates must grow"),
        (["--high", "20"], "at most 10"),
        (["--low", "nan"], "rates must grow"),
        (["--steps", "5"], "--steps 5: fewer than 20"),
        (["-S", "seed"], "-S seed: a setting is key=value"),
        (["-S", "learning_rate=1"], "-S: unknown key 'learning_rate'; did you mean 'lr'?"),
        (["-S", "batch_size=big"], "-S: batch_size is 'big'; it must be a whole number"),
        (["-S", "augment.rotation.x=1"], "-S: augment.rotation is .* it must be a number"),
        (["-S", "arch=[1"], r"the value \[1 is not valid YAML"),
        (["plian"], "the recipe plian is not in recipes; did you mean plain"),
    ],
)
def test_wrong_options_are_a_sentence(root: Path, arguments: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        main(arguments, root)
    assert not (root / FIGURE).exists()


def test_without_data_it_says_what_makes_them(root: Path) -> None:
    (root / paths.IMAGES).unlink()
    (root / paths.SPLIT).unlink()
    with pytest.raises(UserError, match=r"split\.csv, .*images\.npy: not here yet; run `dvc repro split`"):
        main([], root)


def test_a_test_without_descent_suggests_nothing_but_shows_the_curve(root: Path) -> None:
    with pytest.raises(UserError, match=r"falls nowhere between 1e-09 and 1\.1e-09"):
        main(["--low", "1e-9", "--high", "1.1e-9", "--steps", "20", "-S", "threads=1"], root)
    assert (root / FIGURE).is_file()
