from benchmarks.decoding import measure


def test_it_measures_what_it_says_and_asserts_no_time() -> None:
    found = measure(images=1, rounds=2)
    assert {"processor", "cores", "system"} == found["machine"].keys()
    assert len(found["results"]) == 2
    for result in found["results"].values():
        assert result["kilobytes"] > 100
        for rate in result["images_a_second"].values():
            assert 0 < rate["smallest"] <= rate["median"] <= rate["largest"]
        assert result["of_the_bare_decoder"].keys() == result["images_a_second"].keys() - {"imagecodecs"}
