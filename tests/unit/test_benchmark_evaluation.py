from benchmarks.evaluation import DESCRIPTION, made_up_predictions, measure


def test_it_measures_what_it_says_and_asserts_no_time() -> None:
    small = DESCRIPTION.model_copy(update={"arch": "test_resnet", "size": 32})
    found = measure(images=40, description=small, resampled=60, rounds=2)
    assert {"machine", "versions", "gpu", "threads"} <= found.keys()
    assert len(found["seconds"]) == 7
    inference = found["inference"]
    for values in (
        inference["of_the_bare_rate"],
        *inference["images_a_second"].values(),
        *found["seconds"].values(),
    ):
        assert 0 <= values["smallest"] <= values["median"] <= values["largest"]


def test_the_made_up_predictions_have_failures_to_show() -> None:
    predictions = made_up_predictions(100)
    test = predictions[predictions["split"] == "test"]
    assert len(test) == 100
    wrong = test[test["label"] != test["predicted"]]
    assert set(wrong["label"]) == {"normal", "pneumonia"}
