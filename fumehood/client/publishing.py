"""Publishing: a function or a script becomes a version at the service, under a name that others can call."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fumehood.client import functions, wire
from fumehood.client.errors import InTheWay, JobFailed, NotSendable, NotThere
from fumehood.client.handle import AsyncJobHandle
from fumehood.client.progress import progress as progress_line
from fumehood.client.result import AsyncResult
from fumehood.client.script import Given, check_call, script_of
from fumehood.client.scripts import AsyncScript, Script
from fumehood.client.staging import plain, stage
from fumehood.client.surface import AsyncSurface
from fumehood.client.watching import Patience
from fumehood.client.words import Document, script_path
from fumehood.script import TYPE_OF

LATEST = "latest"
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_A_PARAMETER = "its default (a number, a text, true or false), or a dict such as {'type': 'float', 'example': 2.0}"


class AsyncPublishing:
    _surface: AsyncSurface
    _view: Callable[[AsyncResult], Any]

    async def publish(
        self,
        /,
        script: Given,
        name: str | None = None,
        *,
        sample: Any = None,
        bundle: Any = None,
        parameters: Mapping[str, Any] | None = None,
        limits: Mapping[str, float] | None = None,
        concurrency: int | None = None,
        description: str = "",
        progress: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> AsyncScript:
        """Publish `script` as the next version under a name, wait for its check, and return it, to be called as a function is.

        script, bundle: as for `run`; a function travels with all that it uses.
        name: by default that of the function or the file, with `-` for `_`.
        sample: a table as for `run`; the check runs on it, and each call's table must have its columns. Without one no table is taken.
        parameters: only where one needs an `example` for the check, having no default, or a description: by name its default, or
            `{"type", "default", "example", "description"}`. The others are as the function's signature has them.
        limits: of each call.
        concurrency: calls at once.
        timeout_seconds: for the waiting; the check goes on.

        Raises:
            NotSendable: what was given cannot be sent; nothing was.
            JobFailed: the check failed, and the version is refused: as for `run`, `ScriptError` with the remote traceback, ….
            WaitedTooLong, Unreachable, ServiceProblem: see `fumehood.client.errors`.
        """
        name, said = name or name_of(script), documents_of(script, parameters)
        for_check = {one: has.get("default", has.get("example")) for one, has in said.items()}
        check_call(script, for_check, int(sample is not None))
        sent = script_of(script, bundle=bundle)
        check_tables(script, sample)
        wishes = {"parameters": said, "limits": dict(limits or {}), "concurrency": concurrency, "description": description}
        request = {key: value for key, value in wishes.items() if value not in (None, "", {})}
        with tempfile.TemporaryDirectory(prefix="fumehood-") as place, progress_line(progress) as shown:
            staged = await self._surface.wire.aside(lambda: stage(sent, {"sample": sample}, bundle, Path(place)))
            shown.begin_upload(staged.bytes)
            inputs = {"script": staged.script, **staged.inputs}
            record = await self._surface.send_form("version", script_path(name), inputs, request, shown.sent, method="PUT")
            patience = Patience(timeout_seconds, f"the check of {name} version {record['number']}")
            check = AsyncJobHandle(self._surface, await self._surface.job(record["job"]), sent.origins, view=self._view)
            await check.attend(None, shown, patience)
        try:
            await check.result()
        except JobFailed as failure:
            failure.add_note(f"It was the check of {name} version {record['number']}, which is refused.")
            raise
        record = await self._surface.document(script_path(name, "versions", record["number"]))
        return AsyncScript(self._surface, record, asked={"version": str(record["number"])}, origins=sent.origins, view=self._view)

    async def script(self, name: str, *, version: int | None = None, alias: str | None = None) -> AsyncScript:
        """A script that is published, to be called as a function is.

        version: the number of one that is ready.
        alias: a name such as `"prod"`, asked anew with each call. Without either it is `latest`: the newest version that is ready.

        Raises:
            NotThere: there is none of this name, version or alias.
            InTheWay: no version of it is ready.
        """
        if version is not None and alias is not None:
            raise NotSendable(f"version is {version} and alias is {alias!r}; expected one of them")
        asked = {"version": str(version)} if version is not None else {"alias": alias} if alias is not None else {}
        number = version if version is not None else await self._number(name, alias or LATEST)
        record = await self._surface.document(script_path(name, "versions", number))
        if record["state"] != "ready":
            raise InTheWay(409, {"detail": f"version {number} of {name} is {record['state']}; expected one that is ready"})
        return AsyncScript(self._surface, record, asked=asked, view=self._view)

    async def _number(self, name: str, alias: str) -> int:
        """Of the version that most calls of an alias get."""
        aliases = {one["name"]: one["versions"] for one in (await self._surface.document(script_path(name)))["aliases"]}
        if alias not in aliases and alias == LATEST:
            raise InTheWay(409, {"detail": f"no version of {name} is ready"})
        if alias not in aliases:
            raise NotThere(404, {"detail": f"{name} has no alias {alias!r}; its aliases are {', '.join(sorted(aliases)) or 'none'}"})
        return int(max(aliases[alias], key=lambda target: target["share"])["number"])


class Publishing:
    publish = wire.at_once(AsyncPublishing.publish, Script)
    script = wire.at_once(AsyncPublishing.script, Script)


def name_of(script: Given) -> str:
    """The name that a script is published under where none is said.

    Raises:
        NotSendable: a text has none.
    """
    if callable(script):
        said = str(getattr(inspect.unwrap(script), "__name__", ""))
    elif isinstance(script, str) and "\n" in script:
        raise NotSendable("the script is a text; say what it is published as: name='…'")
    else:
        said = Path(script).stem
    return said.replace("_", "-").strip("-").lower()


def check_tables(script: Given, sample: Any) -> None:
    """Compare what a call has with what a function needs. Raises NotSendable."""
    if not inspect.isfunction(script):
        return
    needed = [one.name for one in functions.parameters_of(script) if one.kind in POSITIONAL and one.default is one.empty]
    if len(needed) > 1:
        raise NotSendable(f"{script.__name__} needs {len(needed)} tables ({', '.join(needed)}); a call has one: give the others a default")
    if needed and sample is None:
        raise NotSendable(f"{script.__name__} needs a table; give one as sample=…, for the check and as the pattern of all that come")


def documents_of(script: Given, parameters: Mapping[str, Any] | None) -> dict[str, Document]:
    """What is said of a script's parameters, by name. The check finds the others in the signature.

    Raises:
        NotSendable: it is no such description, or the check has no value for a parameter.
    """
    said = {name: _document(name, one) for name, one in (parameters or {}).items()}
    for one in functions.parameters_of(script) if inspect.isfunction(script) else ():
        if one.kind is one.KEYWORD_ONLY and one.default is one.empty and one.name not in said:
            raise NotSendable(f"the check has no value for the parameter {one.name!r}; say one in parameters: {_A_PARAMETER}")
    return said


def _document(name: str, said: Any) -> Document:
    if isinstance(said, Mapping):
        return dict(said)
    check_call(None, {name: said}, 0)
    value = plain({name: said})[name]
    if type(value) not in TYPE_OF:
        raise NotSendable(f"the parameter {name!r} is a {type(said).__name__}; expected {_A_PARAMETER}")
    return {"type": TYPE_OF[type(value)], "default": value}
