"""Formats by media type and by file name."""

from __future__ import annotations

import pytest

from fumehood.dataset import FORMATS, TABLE_FORMATS, format_of

MEDIA_TYPES = [(media_type, name) for name, (media_types, _) in FORMATS.items() for media_type in media_types]
ENDINGS = [(ending, name) for name, (_, endings) in FORMATS.items() for ending in endings]


@pytest.mark.parametrize(("media_type", "name"), MEDIA_TYPES)
def test_a_media_type_names_its_format_whatever_follows_it(media_type: str, name: str) -> None:
    for spelling in (media_type, media_type.upper(), f"{media_type}; charset=utf-8", f" {media_type} ;x"):
        assert format_of(spelling, None) == name


@pytest.mark.parametrize(("ending", "name"), ENDINGS)
def test_a_file_name_names_its_format_where_the_media_type_does_not(ending: str, name: str) -> None:
    for media_type in (None, "", "application/octet-stream"):
        assert format_of(media_type, f"My Data{ending.upper()}") == name


def test_the_media_type_goes_before_the_file_name() -> None:
    assert format_of("text/csv", "table.zip") == "csv"


@pytest.mark.parametrize("file_name", [None, "", "csv", "table.csv.exe", "table.pkl"])
def test_nothing_is_guessed(file_name: str | None) -> None:
    assert format_of("application/octet-stream", file_name) is None


def test_no_two_formats_share_a_name() -> None:
    for pairs in (MEDIA_TYPES, ENDINGS):
        assert len({spelling for spelling, _ in pairs}) == len(pairs)
    assert set(TABLE_FORMATS) == set(FORMATS) - {"zip"}
