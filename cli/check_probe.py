"""Probe: one job in a sandbox that answers what only a sandbox can, without running a line of the script.

The sandbox reads the tables and unpacks the bundle as for the job itself; what runs then is a script of ours, made of
`fumehood/script_reader.py` (the check before queueing, by the very Python that would run the script) and TEMPLATE.
"""

from __future__ import annotations

import base64
import json
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.errors import NoLocalRun
from cli.request_options import Request
from fumehood import script_reader
from fumehood.client.body import Upload
from fumehood.client.surface import Surface

ANSWER_BYTES_MAX = 2**20
SCRIPT_BYTES_MAX = 2**20

TEMPLATE = """
import base64, difflib, importlib.util, os, pkgutil, zlib

def azureml_main(*tables):
    import pandas
    os.makedirs("outputs")
    os.chdir("outputs")  # Python looks for the source of a syntax error in a file of its name, and here is another script.py.
    source = zlib.decompress(base64.b85decode({source!r})).decode()
    answer = {{"python": sys.version.split()[0], "finding": examine(source, {datasets}, {bundle}), "missing": {{}}}}
    for name in {modules!r}:
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            found = None
        if found is None:
            known = {{module.name for module in pkgutil.iter_modules()}} | set(sys.stdlib_module_names)
            near = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.6)
            answer["missing"][name] = near[0] if near else None
    answer["tables"] = [[len(table), len(table.columns)] for table in tables]
    with open("answer.json", "w") as file:
        json.dump(answer, file)
    return pandas.DataFrame({{"checked": [True]}})
"""


def ask(client: Surface, request: Request, source: str, modules: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The job's record, and the answer; the answer is empty where the inputs ended it.

    Raises:
        NoLocalRun: the probe cannot be sent, or its answer cannot be read.
    """
    files: Mapping[str, Upload] = {port: value for port, value in request.inputs.items() if isinstance(value, Upload)}
    text = probe(source, modules, datasets=sum(port != "bundle" for port in request.inputs), bundle="bundle" in request.inputs)
    if len(text) > SCRIPT_BYTES_MAX:
        raise NoLocalRun("the script is too large to be checked in a sandbox")
    limits = {"limits": request.document["limits"]} if "limits" in request.document else {}
    with tempfile.TemporaryDirectory(prefix="fumehood-") as directory:
        path = Path(directory, "probe.py")
        path.write_text(text)
        record = client.submit(replace(request.script, path=path), files, limits)
    record = client.wait(record["id"])
    if record["state"] != "succeeded":
        return record, {}
    with client.content(f"/v1/jobs/{record['id']}/artifacts/answer.json") as response:
        body = b""
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                raise NoLocalRun("the sandbox's answer is too long")
    answer = json.loads(body)
    return record, answer


def probe(source: str, modules: list[str], *, datasets: int, bundle: bool) -> str:
    packed = base64.b85encode(zlib.compress(source.encode(), 9)).decode()
    reader = Path(script_reader.__file__).read_text()
    return reader.partition('if __name__ == "__main__":')[0] + TEMPLATE.format(
        source=packed, modules=modules, datasets=datasets, bundle=bundle
    )
