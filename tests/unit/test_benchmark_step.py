import pytest
import torch

from benchmarks import step
from benchmarks.step import OURS, WAYS, Way, make_step, measure


def test_it_measures_what_it_says_and_asserts_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Compiling takes a minute; here it is enough that it is asked for.
    asked = []
    monkeypatch.setattr(step.torch, "compile", lambda network: asked.append(network) or network)
    found = measure("test_resnet", [2], 32, WAYS, steps=1, rounds=2)
    assert {"machine", "versions", "gpu", "threads", "automatic_precision"} <= found.keys()
    result = found["results"]["batch of 2"]
    assert set(WAYS) <= result["time_over_ours"].keys()
    assert result["time_over_ours"][OURS] == {"median": 1.0, "smallest": 1.0, "largest": 1.0}
    assert len(asked) == 1
    for values in result["images_a_second"].values():
        assert 0 < values["smallest"] <= values["median"] <= values["largest"]
    assert result["torch_compile"].keys() >= {"seconds_to_compile", "pays_after_steps"}


def test_a_frozen_backbone_has_no_gradient_and_all_else_has(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    build = step.build
    monkeypatch.setattr(step, "build", lambda *args: built.append(build(*args)) or built[-1])
    images = torch.zeros(2, 32, 32, dtype=torch.uint8)
    for way in (Way(), Way(frozen=True)):
        make_step("test_resnet", images, way)()
    learned = [{name for name, p in network.named_parameters() if p.grad is not None} for network in built]
    assert learned[0] == {name for name, _ in built[0].named_parameters()}
    assert learned[1] == {"fc.weight", "fc.bias"}
