"""The command reference, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args

import typer
from code_tables import rows


def reference() -> str:
    from cli.app import app

    top = typer.main.get_command(app)
    return "\n\n".join(_command(path, command) for path, command in _walk("fumehood", top) if command is not top)


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The command and those below it, except what is hidden."""
    if not command.hidden:
        yield path, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from _walk(f"{path} {name}", inner)


def _command(path: str, command: Any) -> str:
    shown = [one for one in command.params if one.name != "help" and not getattr(one, "hidden", False)]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    usage = [path, *(str(one.metavar or one.name.upper()) for one in arguments), *(["[OPTIONS]"] if options else [])]
    parts = [f"## {path}", f"`{' '.join(usage)}`", inspect.cleandoc(command.help or "")]
    if arguments:
        parts.append(rows(("argument", "meaning"), ((f"`{one.metavar or one.name.upper()}`", one.help or "") for one in arguments)))
    if options:
        parts.append(rows(("option", "meaning", "default"), ((_spelled(one), one.help or "", _default(one)) for one in options)))
    return "\n\n".join(part for part in parts if part)


def _spelled(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or _choices(option.type_descriptor.annotation)}"
    return ", ".join(f"`{name}{value if name.startswith('--') else ''}`" for name in (*option.opts, *option.secondary_opts))


def _choices(kind: Any) -> str:
    """The values that an enumeration has, or else what it is called."""
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return "|".join(str(one.value) for one in kind)
    return "|".join(map(str, get_args(kind))) or str(getattr(kind, "__name__", "VALUE")).upper()


def _default(option: Any) -> str:
    value = option.default
    return "" if value in (None, "", False, ()) or callable(value) else f"`{getattr(value, 'value', value)}`"
