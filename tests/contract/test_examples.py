"""Every command of the page of examples, each in a sandbox: what comes back is the table and the pictures that the page shows.

A table that changed is shown in full by the failing test; a picture is drawn anew by its own command, with `--figures examples/pictures/`.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cli.preview import show_table
from fumehood.dataset import format_of
from tests.contract.bench import Bench, Run
from tests.examples_page import EXAMPLES, examples

Ran = Callable[[str], Run]
EXAMPLES_BY_NAME = {example.name: example for example in examples()}
# Text is drawn by the same library everywhere; another processor may round a line's edge to the next shade.
SHADES = 2.0


@pytest.fixture(scope="module")
def ran(sandbox: Bench) -> Callable[[str], Run]:
    """The run of an example, one sandbox each, however many tests look at it."""

    @functools.cache
    def run(name: str) -> Run:
        example = EXAMPLES_BY_NAME[name]
        inputs = {port: (format_of(None, path.name), path.read_bytes()) for port, path in example.inputs.items()}
        if example.bundle:
            inputs["bundle"] = ("zip", example.zip_bytes())
        done = sandbox.run(example.script.read_bytes(), inputs=inputs, parameters=example.parameters)
        assert done.reason == "ok", json.dumps(done.report, indent=1)
        return done

    return run


@pytest.mark.parametrize("name", EXAMPLES_BY_NAME)
def test_an_example_returns_what_its_page_shows(name: str, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    example = EXAMPLES_BY_NAME[name]

    done = ran(name)

    for port, table in zip(("result", "result2"), example.tables, strict=False):
        capsys.readouterr()
        show_table(done.home / "out" / f"{port}.arrow")
        assert trimmed(capsys.readouterr().out) == trimmed(table), f"the page shows another {port}"
    assert bool(example.tables[1:]) == (done.report["result2"] is not None), "the page shows each table that comes back"
    assert set(example.pictures) <= set(done.names("figure"))
    for picture in example.pictures:
        drawn, kept = pixels(done.file(picture)), pixels((EXAMPLES / "pictures" / picture).read_bytes())
        assert drawn.shape == kept.shape, picture
        assert np.abs(drawn - kept).mean() < SHADES, f"{picture} is not what the script draws now"


def test_the_weather_that_examples_read_is_what_the_example_weather_returns(ran: Ran) -> None:
    done = ran("weather")

    kept = pq.read_table(EXAMPLES / "weather.parquet")
    assert done.table().equals(kept.cast(done.table().schema))
    assert kept.schema.metadata is None, "metadata of pandas would make plain pandas show other types than a sandbox"


def test_the_model_in_the_bundle_is_what_training_leaves_as_an_artifact(ran: Ran) -> None:
    done = ran("pickled_model/train")

    assert done.file("diabetes.pkl") == (EXAMPLES / "pickled_model/bundle/models/diabetes.pkl").read_bytes()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("mixed_types", "mixed_column"), ("grouped", "index_dropped"), ("pickled_model", "index_dropped")],
)
def test_what_an_example_is_about_stands_in_the_record(name: str, kind: str, ran: Ran) -> None:
    assert ran(name).notes(kind)


def test_twenty_figures_come_back_in_the_order_in_which_they_were_written(ran: Ran) -> None:
    done = ran("figures")

    names = [f"rose of {above} over {below}.png" for above in range(1, 6) for below in (2, 3, 5, 7)]
    assert done.names("figure") == names == done.frame()["figure"].tolist()


def test_a_bundle_prints_into_the_log(ran: Ran) -> None:
    assert ran("hello").log == "Hello Ada!\nHello Emmy!\nHello Sofja!\nHello Hypatia!\n"


def test_integers_and_booleans_keep_their_type_in_spite_of_gaps(ran: Ran) -> None:
    table = ran("missing_values").table()

    for column, kind in (("rain_tips", pa.int64()), ("rain_micrometres", pa.int64()), ("icy", pa.bool_())):
        assert table.schema.field(column).type == kind
        assert table.column(column).null_count > 0


def trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"), dtype=float)


def test_no_picture_is_kept_that_no_page_shows() -> None:
    kept = {path.name for path in (EXAMPLES / "pictures").iterdir()}

    assert kept == {picture for example in EXAMPLES_BY_NAME.values() for picture in example.pictures}
    sizes = {name: (EXAMPLES / "pictures" / Path(name)).stat().st_size for name in kept}
    assert {name: size for name, size in sizes.items() if size > 60 * 1024} == {}
