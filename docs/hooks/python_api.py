"""The Python reference, from the docstrings of what `fumehood.client` offers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any


def reference() -> str:
    import fumehood.client as client

    names = getattr(client, "__all__", None) or [name for name in vars(client) if not name.startswith("_")]
    parts = [_described(name, getattr(client, name)) for name in names]
    return "\n\n".join(part for part in parts if part)


def _described(name: str, thing: Any) -> str:
    if inspect.isclass(thing):
        return "\n\n".join([f"## {name}", *_head(name, thing), *(_member(name, member, one) for member, one in _members(thing))])
    return "\n\n".join([f"## {name}", *_head(name, thing)]) if inspect.isfunction(thing) else ""


def _head(name: str, thing: Any) -> list[str]:
    """Signature and docstring."""
    try:
        signature = f"```\n{name}{_plain(inspect.signature(thing))}\n```"
    except (TypeError, ValueError):
        signature = ""
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        signature = f"A {', a '.join(base.__name__ for base in thing.__mro__[1:-3])}." if thing.__mro__[1:-3] else ""
    return [part for part in (signature, _docstring(thing)) if part]


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class and its bases of ours say that they offer; a member without a docstring is not for users."""
    seen = set()
    for base in kind.__mro__:
        if base.__module__.split(".")[0] == "fumehood":
            for name, member in vars(base).items():
                if not name.startswith("_") and name not in seen and _docstring(member):
                    seen.add(name)
                    yield name, member


def _member(owner: str, name: str, member: Any) -> str:
    member = getattr(member, "__func__", member)
    if inspect.isfunction(member):
        return "\n\n".join([f"### {owner}.{name}", *_head(f"{'async ' if inspect.iscoroutinefunction(member) else ''}{name}", member)])
    return f"### {owner}.{name}\n\n{_docstring(member)}"


def _plain(signature: inspect.Signature) -> str:
    """The signature without `self` and the quotes of annotations; on lines of its own where it is long."""
    parameters = [one for one in signature.parameters.values() if one.name != "self"]
    text = str(signature.replace(parameters=parameters)).replace("'", "")
    if len(text) < 90:
        return text
    inner = "".join(f"    {line}\n" for line in _lines(text))
    return f"(\n{inner}){text[text.rindex(')') + 1 :]}"


def _lines(text: str) -> Iterator[str]:
    depth, line = 0, ""
    for letter in text[1 : text.rindex(")")]:
        depth += (letter in "([{") - (letter in ")]}")
        line += letter
        if letter == "," and not depth:
            yield line.strip()
            line = ""
    if line.strip():
        yield line.strip() + ","


def _docstring(thing: Any) -> str:
    """The docstring as Markdown: headings of Google's style in bold."""
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    return re.sub(r"^(Raises|Returns|Yields|Args):\n((?:    .*\n?|\n)+)", _section, text, flags=re.M)


def _section(match: re.Match[str]) -> str:
    entries = re.split(r"\n(?=\S)", inspect.cleandoc(match[2]))
    return f"**{match[1]}**\n\n" + "\n".join(f"- {' '.join(entry.split())}" for entry in entries) + "\n"
