from benchmarks.training import LIMIT, OURS, Files, measure

FILES = Files(native=(40, 52), drawn=4)


def test_it_measures_what_it_says_and_asserts_no_time() -> None:
    found = measure("test_resnet", 32, 4, steps=2, rounds=3, files=FILES, one_core=False)
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


def test_on_one_core_there_are_no_workers() -> None:
    found = measure("test_resnet", 32, 4, steps=2, rounds=2, files=FILES, one_core=True)
    assert found["threads"] == 1
    assert list(found["ours_over"]) == [
        LIMIT,
        "published way, 32 x 32 JPEG, 0 workers",
        "published way, 52 x 40 JPEG, 0 workers",
    ]
