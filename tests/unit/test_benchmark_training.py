from benchmarks.training import LIMIT, OURS, measure


def test_it_measures_what_it_says_and_asserts_no_time() -> None:
    found = measure("test_resnet", 32, 4, steps=2, rounds=3, native=(40, 52), drawn=4)
    assert {"machine", "versions", "gpu", "threads", "precision"} <= found.keys()
    published = [
        f"published way, {side} JPEG, {workers} workers"
        for side in ("32 x 32", "52 x 40")
        for workers in (0, 2)
    ]
    assert list(found["images_a_second"]) == [OURS, LIMIT, *published]
    assert list(found["ours_over"]) == [LIMIT, *published]
    for values in (*found["images_a_second"].values(), *found["ours_over"].values()):
        assert 0 < values["smallest"] <= values["median"] <= values["largest"]
