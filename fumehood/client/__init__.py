"""The Python client: run a function or a script in a sandbox of a Fumehood, and get back what it made.

    from fumehood.client import Client

    def fit(df, *, rows=10):
        return df.describe().reset_index().head(rows)

    result = Client().run(fit, frame, rows=5)
    result.frame, result.log, result.figures, result.artifacts

    score = Client().publish(fit, sample=frame)
    score(frame, rows=5)

`Client` answers at once, `AsyncClient` is awaited; both are one logic. Errors: the tree in `fumehood.client.errors`. `Surface` is the HTTP
surface below them, documents in and documents out.
"""

from fumehood.client.batches import AsyncBatchHandle, BatchHandle
from fumehood.client.body import Upload
from fumehood.client.clients import AsyncClient, Client
from fumehood.client.errors import (
    BadEntryPoint,
    BadInput,
    BadParameters,
    BadReturn,
    Broken,
    Cancelled,
    ClientError,
    Crashed,
    DiskFull,
    InTheWay,
    JobFailed,
    KeyRefused,
    NotConfigured,
    NotInTime,
    NotSendable,
    NotThere,
    OutOfMemory,
    OutputTooLarge,
    ScriptError,
    ServiceFault,
    ServiceProblem,
    TimedOut,
    TooBusy,
    TooManyProcesses,
    Unreachable,
    Unusable,
    WaitedTooLong,
)
from fumehood.client.figures import Figure
from fumehood.client.handle import AsyncJobHandle, JobHandle
from fumehood.client.result import AsyncResult, Result
from fumehood.client.scripts import AsyncScript, Script
from fumehood.client.surface import AsyncSurface, Surface
from fumehood.client.values import Dataset, JobOutput

__all__ = [
    "AsyncBatchHandle",
    "AsyncClient",
    "AsyncJobHandle",
    "AsyncResult",
    "AsyncScript",
    "AsyncSurface",
    "BadEntryPoint",
    "BadInput",
    "BadParameters",
    "BadReturn",
    "BatchHandle",
    "Broken",
    "Cancelled",
    "Client",
    "ClientError",
    "Crashed",
    "Dataset",
    "DiskFull",
    "Figure",
    "InTheWay",
    "JobFailed",
    "JobHandle",
    "JobOutput",
    "KeyRefused",
    "NotConfigured",
    "NotInTime",
    "NotSendable",
    "NotThere",
    "OutOfMemory",
    "OutputTooLarge",
    "Result",
    "Script",
    "ScriptError",
    "ServiceFault",
    "ServiceProblem",
    "Surface",
    "TimedOut",
    "TooBusy",
    "TooManyProcesses",
    "Unreachable",
    "Unusable",
    "Upload",
    "WaitedTooLong",
]
