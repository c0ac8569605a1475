import pytest
import torch

from benchmarks import deterministic
from benchmarks.deterministic import measure


def test_it_measures_what_it_says_and_asserts_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: list[bool] = []
    make_step = deterministic.make_step

    def spy(*arguments: object) -> object:
        step = make_step(*arguments)  # type: ignore[arg-type]
        return lambda: (settings.append(torch.are_deterministic_algorithms_enabled()), step())

    monkeypatch.setattr(deterministic, "make_step", spy)
    found = measure({"test_resnet": 2}, 32, steps=3, rounds=2)
    on_cpu = found["results"]["cpu"]["test_resnet"]
    for values in (on_cpu["time_with_over_without"], *on_cpu["images_a_second"].values()):
        assert 0 < values["smallest"] <= values["median"] <= values["largest"]
    assert {"machine", "versions", "threads", "gpu"} <= found.keys()
    # Two steps of each to warm up; then turns of three, another one first each time.
    turns = [(True, 2), (False, 2), (True, 3), (False, 3), (False, 3), (True, 3)]
    assert settings[:16] == [value for value, steps in turns for _ in range(steps)]
    torch.use_deterministic_algorithms(True)
