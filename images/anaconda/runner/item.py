"""One item of a chunk, in its child: its tables cut out of where they lie, its results put behind those before it."""

import os
import resource

from . import places
from .refused import Refused

ALIGNMENT_BYTES = 64
COPY_BYTES = 1024 * 1024


def request_of(chunk: dict, one: dict, *, result_end: int) -> dict:
    """The request of an item as that of a job of its own: what all share, and what is its own."""
    shared = {name: chunk[name] for name in ("version", "limits", "schema") if name in chunk}
    return {
        **shared,
        "kind": "item",
        "inputs": {**chunk["inputs"], **one["inputs"]},
        "parameters": {**chunk["parameters"], **one["parameters"]},
        "limits": {**chunk["limits"], "wall_seconds": chunk["item_wall_seconds"]},
        "result_end": result_end,
    }


def lay_out(request: dict) -> None:
    """Let the reader find each table as a file of its own, and the writer write to memory.

    The files are in memory and without a name; they are gone with this process.
    """
    for port, given in request["inputs"].items():
        path = f"{places.IN}/{given['file']}" if "file" in given else f"{places.IN}/{port}"
        places.INPUTS[port] = path if given.get("offset") is None else cut(port, path, given["offset"], given["bytes"])
    for port in places.RESULTS:
        places.RESULTS[port] = in_memory(port)


def cut(port: str, path: str, offset: int, size: int) -> str:
    """A window of a file, as a file."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if most != resource.RLIM_INFINITY and size > most:
        raise Refused("bad_input", f"{port} is {size:,} bytes; an item of a chunk can be as large as a file of its sandbox, {most:,} bytes.")
    copy = in_memory(port)
    with open(path, "rb", buffering=0) as source, open(copy, "wb", buffering=0) as target:
        for at in range(offset, offset + size, COPY_BYTES):
            target.write(os.pread(source.fileno(), min(COPY_BYTES, offset + size - at), at))
    return copy


def in_memory(name: str) -> str:
    return f"/proc/self/fd/{os.memfd_create(name)}"


def append_results(request: dict, result_path: str, progress) -> None:
    """Copy what was written into the results of the chunk, and say where it is.

    Raises:
        Refused: `output_too_large` where all results of the chunk together are larger than the limit.
    """
    end, most = request["result_end"], request["limits"]["output_bytes"]
    with open(result_path, "r+b", buffering=0) as target:
        for port, said in progress.results.items():
            if said is None:
                continue
            with open(places.RESULTS[port], "rb", buffering=0) as source:
                size = os.fstat(source.fileno()).st_size
                if end + size > most:
                    raise Refused("output_too_large", f"The results of the items of this chunk are together larger than {most:,} bytes (output_bytes).")
                target.seek(end)
                while piece := source.read(COPY_BYTES):
                    target.write(piece)
            said |= {"offset": end, "bytes": size}
            end = -(-(end + size) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
