from typing import Any

from benchmarks.costs import PAGE, duration, page, page_of_the_files


def sizes(seconds: float, mib: float) -> dict[str, dict[str, float]]:
    return {name: {"seconds": seconds, "peak_mib": mib} for name in ("split", "gallery")}


GROWTH: dict[str, Any] = {
    "machine": {"processor": "an abacus", "cores": 2},
    "sizes": {"1000": sizes(1.0, 1024), "2000": sizes(2.0, 1025)},
    "between_the_two_largest": {
        "split": {"seconds_for_1000_more": 1.0, "mib_for_1000_more": 1.0},
        "gallery": {"seconds_for_1000_more": 0.0, "mib_for_1000_more": -3.0},
    },
}
REST: list[dict[str, Any]] = [
    {"images_a_second": {"ours, all cores": {"median": 26_684 / 300}}},
    {"images_a_second": {"ours": {"median": 26_684 * 7.5 / 7_200}}},
    {"inference": {"images_a_second": {"ours": {"median": 26_684 / 10 / 60}}}},
    {"peaks": {"2000": {"decoder_mib": 155.6}, "20000": {"decoder_mib": 156.1}}},
]


def test_it_continues_what_was_measured() -> None:
    rows = {
        cells[1].strip(): cells[2].strip()
        for cells in (line.split("|") for line in page(GROWTH, *REST).splitlines() if line.count("|") == 5)
    }
    assert rows["preprocessing, 2 cores"] == "5.0 min"
    assert rows["split"] == "27 s to 9.7 min"
    assert rows["training, 10 epochs, 2 cores"] == "2.0 h"
    assert rows["training, 10 epochs, one GPU"] == "81 s"
    assert rows["evaluation, 2 cores"] == "60 s"
    assert rows["memory of a stage, at most"] == "1.0 GiB"  # 1025 + 24.7 MiB
    assert rows["disk, packed images"] == "1.3 GB"


def test_durations_are_in_units_that_a_person_would_use() -> None:
    assert [duration(seconds) for seconds in (3, 119, 120, 7_200, 172_800)] == [
        "3 s",
        "119 s",
        "2.0 min",
        "2.0 h",
        "2.0 days",
    ]


def test_the_page_is_that_of_the_files() -> None:
    assert PAGE.read_text("utf-8") == page_of_the_files()
