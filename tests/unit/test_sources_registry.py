from typing import get_args

from pneumonia.params import Source
from pneumonia.sources.registry import SOURCES


def test_params_and_registry_name_the_same_sources() -> None:
    assert set(SOURCES) == set(get_args(Source.model_fields["name"].annotation))


def test_every_source_can_be_fetched_and_read() -> None:
    for source in SOURCES.values():
        assert callable(source.fetch)
        assert callable(source.read_records)
