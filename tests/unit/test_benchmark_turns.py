from benchmarks.turns import ratios, spread, take_turns


def test_ways_alternate_and_another_one_goes_first_each_time() -> None:
    went: list[str] = []
    blocks = {name: lambda name=name: went.append(name) or 1.0 for name in "abc"}
    spent = take_turns(blocks, rounds=4)
    assert "".join(went) == "abcbcacababc"
    assert spent == {name: [1.0] * 4 for name in "abc"}


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([2.0, 30.0, 4.0], [1.0, 10.0, 1.0]) == {"median": 3.0, "smallest": 2.0, "largest": 4.0}
    assert spread([1.26, 0.0, 9.0], 1) == {"median": 1.3, "smallest": 0.0, "largest": 9.0}
