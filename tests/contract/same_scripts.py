"""The corpus that runs in two places: the scripts of `scripts/` and the examples, each with what it is given.

Comments at the top of a script say that: `# dataset1: orders.csv` names an input of the table below, `# bundle: …` a zip, `# parameters: …`
JSON. `# unlike plain pandas: …` says why `pandas.read_…` shows that input otherwise than a sandbox does, so that the result differs.
"""

from __future__ import annotations

import datetime
import io
import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.contract.samples import arrow, zip_bytes
from tests.examples_page import EXAMPLES, examples

SCRIPTS = Path(__file__).parent / "scripts"
_HEAD = re.compile(r"^# ([a-z0-9 ]+): (.+)\n", re.M)

# Where the examples differ for plain pandas; the other scripts say it themselves.
EXAMPLES_UNLIKE = dict.fromkeys(("grouped", "hello", "missing_values"), "integers with gaps become floats")


@dataclass(frozen=True, kw_only=True)
class Case:
    """`inputs`: port → file name and bytes. `unlike_plain_pandas`: empty where `pandas.read_…` gives the same result."""

    name: str
    script: bytes
    inputs: dict[str, tuple[str, bytes]]
    bundle: bytes = b""
    parameters: dict[str, Any] = field(default_factory=dict)
    unlike_plain_pandas: str = ""


def cases() -> dict[str, Case]:
    found = [*map(_of_script, sorted(SCRIPTS.glob("*.py"))), *map(_of_example, examples())]
    assert len({case.name for case in found}) == len(found)
    return {case.name: case for case in found}


def _of_script(path: Path) -> Case:
    text = path.read_text()
    head = dict(_HEAD.findall(text[: text.find("\n\n")] + "\n"))
    return Case(
        name=path.stem,
        script=text.encode(),
        inputs={port: (head[port], INPUTS[head[port]]) for port in ("dataset1", "dataset2") if port in head},
        bundle=BUNDLES[head["bundle"]] if "bundle" in head else b"",
        parameters=json.loads(head.get("parameters", "{}")),
        unlike_plain_pandas=head.get("unlike plain pandas", ""),
    )


def _of_example(example: Any) -> Case:
    return Case(
        name=f"example {example.name}",
        script=example.script.read_bytes(),
        inputs={port: (path.name, path.read_bytes()) for port, path in example.inputs.items()},
        bundle=example.zip_bytes() if example.bundle else b"",
        parameters=example.parameters,
        unlike_plain_pandas=EXAMPLES_UNLIKE.get(example.name, ""),
    )


def _types(*, gaps: bool) -> pa.Table:
    """Two rows of every type of the contract, and a third one that is missing or repeats the first."""
    moments = [datetime.datetime(2024, 2, 29, 12, 30, 15), datetime.datetime(1969, 12, 31, 23, 59, 59)]
    pairs: dict[str, tuple[list[Any], pa.DataType]] = {
        "flag": ([True, False], pa.bool_()),
        **{f"i{bits}": ([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1], getattr(pa, f"int{bits}")()) for bits in (8, 16, 32, 64)},
        **{f"u{bits}": ([0, 2**bits - 1], getattr(pa, f"uint{bits}")()) for bits in (8, 16, 32, 64)},
        "f32": ([0.1, -1e30], pa.float32()),
        "f64": ([0.1, 1e300], pa.float64()),
        "text": (["", "Grüße\n«x»"], pa.string()),
        "raw": ([b"", b"\x00\xff"], pa.binary()),
        "day": ([datetime.date(2024, 2, 29), datetime.date(1, 1, 1)], pa.date32()),
        **{f"ts_{unit}": (moments, pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")},
        "ts_zone": (moments, pa.timestamp("us", "UTC")),
        "clock": ([datetime.time(0, 0), datetime.time(23, 59, 59, 999_999)], pa.time64("us")),
        "lasted": ([datetime.timedelta(days=-1), datetime.timedelta(microseconds=1)], pa.duration("us")),
        "price": ([Decimal("1.50"), Decimal("-999.99")], pa.decimal128(9, 2)),
        "list": ([[1, 2], []], pa.list_(pa.int64())),
        "struct": ([{"x": 1, "y": "a"}, {"x": 2, "y": "b"}], pa.struct({"x": pa.int64(), "y": pa.string()})),
    }
    third: Any = [None] if gaps else slice(1)
    columns = {name: pa.array(values + (third if gaps else values[third]), kind) for name, (values, kind) in pairs.items()}
    codes = pa.array([0, 2, None if gaps else 1], pa.int8())
    columns["colour"] = pa.DictionaryArray.from_arrays(codes, ["red", "blue", "green"])
    columns["size"] = pa.DictionaryArray.from_arrays(codes, ["s", "m", "l"], ordered=True)
    return pa.table(columns)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


_ORDERS = """id,customer,product,quantity,price
1,ada,tea,2,1.5
2,emmy,coffee,1,2.25
3,ada,cake,3,3.1
4,sofja,tea,5,1.5
5,emmy,tea,1,1.45
6,ada,coffee,2,2.25
"""
_CUSTOMERS = [{"customer": "ada", "city": "London"}, {"customer": "emmy", "city": "Göttingen"}, {"customer": "nobody", "city": "Nowhere"}]
_GAPS = """whole,flag,part,text,day,at
1,true,0.5,"",2024-02-29,2024-02-29 12:30:00
,false,,x,,
3,,1.25,,1999-12-31,1999-12-31 23:59:59
4,true,2,NA,2000-01-01,2000-01-01 00:00:00
"""
_EVENTS = [{"created_at": "2024-02-29T12:30:00", "kind": "start"}, {"created_at": "2024-03-01T00:00:00", "kind": "end"}]
_NESTED = [{"tags": ["a", "b"], "place": {"x": 1, "y": 2.5}}, {"tags": ["c"], "place": {"x": 3, "y": 0.5}}]

INPUTS: dict[str, bytes] = {
    "diabetes.csv": (EXAMPLES / "pima-indians-diabetes.csv").read_bytes(),
    "weather.parquet": (EXAMPLES / "weather.parquet").read_bytes(),
    "types.arrow": arrow(_types(gaps=False))[1],
    "types.parquet": _parquet(_types(gaps=False)),
    "gaps.arrow": arrow(_types(gaps=True))[1],
    "gaps.csv": _GAPS.encode(),
    "orders.csv": _ORDERS.encode(),
    "twice.csv": b"a,b,a\n1,2,3\n",
    "header.csv": b"a,b\n",
    "words.csv": b"word\nglass\nhood\nexperiments\nrunning\nstays\nhands\nbreathing\nglass\ntable\nsmoke\n",
    "customers.json": json.dumps(_CUSTOMERS).encode(),
    "columns.json": json.dumps({"width": [1, 2], "height": [0.5, 4.0]}).encode(),
    "events.ndjson": "\n".join(map(json.dumps, _EVENTS)).encode(),
    "nested.json": json.dumps(_NESTED).encode(),
}
BUNDLES: dict[str, bytes] = {
    "helpers": zip_bytes(
        {
            "helpers/__init__.py": "from helpers.texts import shout\n",
            "helpers/texts.py": "def shout(text):\n    return text.upper() + '!'\n",
            "helpers/numbers.py": "def double(values):\n    return values * 2\n",
            "tables/rates.csv": "product,rate\ntea,0.07\ncoffee,0.19\n",
        }
    ),
}
