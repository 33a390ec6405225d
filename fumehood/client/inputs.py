"""Inputs: what a program holds as a table or a bundle, as what the service takes.

Tables of Python's go as Arrow files, so their types are kept; files go as they are. Nothing is held in memory twice: a table is
written to a private temporary file and read from there as it is sent.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fumehood.client.body import Upload
from fumehood.client.errors import NotSendable
from fumehood.client.values import Dataset, JobOutput
from fumehood.dataset import FORMATS, TABLE_FORMATS, format_of

if TYPE_CHECKING:
    import pyarrow as pa

BUNDLE_ENTRIES_MAX = 10_000
_DATASET_ID = re.compile(r"ds_[0-9a-f]{32}")
_LEFT_OUT = {"__pycache__", ".git", ".ipynb_checkpoints", ".venv"}
_EXPECTED = "expected a DataFrame, a pyarrow.Table, a polars frame, a file's path, a Dataset, or the Result of another run"

Sendable = Upload | str | dict[str, Any]


def table_input(port: str, value: Any, place: Path) -> Sendable:
    """`value` as an input of `port`; what has to be written is written into the directory `place`.

    Raises:
        NotSendable: names the port, what was found and what was expected.
    """
    if (stored := _stored(value)) is not None:
        return stored
    if isinstance(value, (str, os.PathLike)):
        return file_input(port, Path(value), TABLE_FORMATS)
    return Upload(path=_written(arrow_table(port, value), place / f"{port}.arrow"), media_type=FORMATS["arrow"][0][0])


def bundle_input(value: Any, place: Path) -> Sendable:
    """A zip, a directory that is zipped, or a stored zip. Of a directory the content goes to the root of the bundle, unless it is
    a package itself.

    Raises:
        NotSendable: it is none of them.
    """
    if (stored := _stored(value)) is not None:
        return stored
    if not isinstance(value, (str, os.PathLike)):
        raise NotSendable(f"bundle is a {type(value).__name__}; expected the path of a zip or a directory, or a Dataset")
    path = Path(value).expanduser()
    return _zipped(path, place / "bundle.zip") if path.is_dir() else file_input("bundle", path, ("zip",))


def top_names(bundle: Any) -> set[str] | None:
    """The names of modules and directories at the root of what `bundle_input` would give; None where that is stored already.

    Raises:
        NotSendable: it is no zip.
    """
    if bundle is None or not isinstance(bundle, (str, os.PathLike)) or _stored(bundle) is not None:
        return set() if bundle is None or _stored(bundle) is None else None
    path = Path(bundle).expanduser()
    if path.is_dir():
        found = [path.resolve().name] if (path / "__init__.py").exists() else [one.name for one in path.iterdir()]
    else:
        try:
            with zipfile.ZipFile(path) as read:
                found = read.namelist()
        except zipfile.BadZipFile as error:
            raise NotSendable(f"bundle: {str(path)!r} is no zip that can be read: {error}") from None
        except OSError:
            found = []  # it is said where it is sent
    return {name.replace("\\", "/").partition("/")[0].partition(".")[0] for name in found}


def file_input(port: str, path: Path, formats: tuple[str, ...]) -> Upload:
    path = path.expanduser()
    endings = ", ".join(ending for name in formats for ending in FORMATS[name][1])
    if not path.is_file():
        raise NotSendable(f"{port}: there is no file {str(path)!r}")
    found = format_of(None, path.name)
    if found not in formats:
        raise NotSendable(f"{port}: {path.name!r} does not end in {endings}, which say the format")
    return Upload(path=path, media_type=FORMATS[found][0][0])


def arrow_table(port: str, value: Any) -> pa.Table:
    """A frame as an Arrow table; the index is dropped, with a warning where it says something.

    Raises:
        NotSendable: not a table, or a column that Arrow cannot hold, by its name.
    """
    pa = need("pyarrow", "tables are sent as Arrow")
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return _of_pandas(port, value, pa)
    if pandas is not None and isinstance(value, pandas.Series):
        raise NotSendable(f"{port} is a Series; expected a DataFrame: use .to_frame()")
    if isinstance(value, pa.RecordBatch):
        return pa.table(value)
    if not isinstance(value, pa.Table) and hasattr(value, "__arrow_c_stream__"):
        try:
            value = pa.table(value)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise NotSendable(f"{port}: this {type(value).__name__} is no Arrow table ({error})") from None
    if not isinstance(value, pa.Table):
        raise NotSendable(f"{port} is a {type(value).__name__}; {_EXPECTED}")
    return value.replace_schema_metadata(None)


def need(name: str, why: str) -> Any:
    """A package that the client can do without until now."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise NotSendable(f"{why}, and {name} is not installed; install it with: pip install {name}") from None


def _stored(value: Any) -> str | dict[str, Any] | None:
    if isinstance(value, Dataset):
        return value.id
    if isinstance(value, str) and _DATASET_ID.fullmatch(value):
        return value
    output = getattr(value, "output", None)
    output = value if isinstance(value, JobOutput) else output
    return {"job": output.job, "output": output.output} if isinstance(output, JobOutput) else None


def _of_pandas(port: str, frame: Any, pa: Any) -> pa.Table:
    if frame.index.name is not None or not frame.index.equals(type(frame)(index=range(len(frame))).index):
        warnings.warn(f"{port}: the index is not sent; frame.reset_index() makes columns of it", UserWarning, stacklevel=_outside())
    names, columns = [], []
    for position, label in enumerate(frame.columns):
        name = "_".join(str(part) for part in label if str(part)) if isinstance(label, tuple) else str(label)
        try:
            column = pa.array(frame.iloc[:, position])
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise NotSendable(f"{port}: the column {name!r} cannot be sent: {error}; give it one type, such as with .astype(str)") from None
        if isinstance(column.type, pa.BaseExtensionType):
            kind = frame.dtypes.iloc[position]
            raise NotSendable(f"{port}: the column {name!r} has the type {kind}, which tables cannot hold; turn it into text or timestamps")
        names.append(name)
        columns.append(column)
    return pa.Table.from_arrays(columns, names=names)


def _outside() -> int:
    """How many frames above its caller the one lies that called the client: what a warning should show."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and (frame.f_globals.get("__name__") or "").startswith(("fumehood.client", "contextlib", "asyncio")):
        frame, level = frame.f_back, level + 1
    return level


def _written(table: pa.Table, path: Path) -> Path:
    import pyarrow as pa

    # One record batch: the sandbox can use it where it lies, while several have to be put together.
    table = table.combine_chunks()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return path


def _zipped(directory: Path, target: Path) -> Upload:
    root = directory.parent if (directory / "__init__.py").exists() else directory
    wanted: Callable[[Path], bool] = lambda path: path.is_file() and not _LEFT_OUT & set(path.relative_to(directory).parts)  # noqa: E731
    files = sorted(filter(wanted, directory.rglob("*")))
    if len(files) > BUNDLE_ENTRIES_MAX:
        raise NotSendable(f"bundle: {str(directory)!r} holds {len(files):,} files; the limit is {BUNDLE_ENTRIES_MAX:,}")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as bundle:
        for file in files:
            bundle.write(file, file.relative_to(root).as_posix())
    return Upload(path=target, media_type=FORMATS["zip"][0][0], name=f"{directory.resolve().name}.zip")
