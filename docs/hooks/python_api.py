"""The Python reference, from the docstrings of what `fumehood.client` offers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

# What a reader meets first, and what only calls hand out, whose making is nobody's business.
FIRST = ("Client", "Result", "JobHandle", "BatchHandle", "Script", "Dataset", "Figure")
MADE_BY_USERS = ("Client", "AsyncClient")
# For tests: not offered.
NOT_OFFERED = ("transport", "sleep")
CALLED = "__call__"


def reference() -> str:
    import fumehood.client as client
    from fumehood.client import errors

    names = [name for name in client.__all__ if inspect.isclass(getattr(client, name)) and not issubclass(getattr(client, name), Exception)]
    ordered = [*FIRST, *sorted(set(names) - set(FIRST) - {name for name in names if name.startswith("Async")})]
    parts = [_class(name, getattr(client, name)) for name in ordered if name in names]
    parts.append("## Asynchronously")
    later = {name: _docstring(getattr(client, name)) for name in names if name.startswith("Async")}
    parts += [f"**{name}**: {text}" for name, text in later.items() if text]
    tree = inspect.cleandoc(errors.__doc__ or "").partition("\n\n")[2]
    parts.append(f"## Errors\n\nAll of them are in `fumehood.client`.\n\n```\n{tree}\n```")
    return "\n\n".join(parts)


def _class(name: str, kind: type) -> str:
    parts = [f"## {name}", f"```\n{name}{_signature(kind, name)}\n```" if name in MADE_BY_USERS else "", _docstring(kind)]
    for member, one in _members(kind):
        called = member == CALLED
        parts.append(f"### {name}(…)" if called else f"### {name}.{member}")
        if inspect.isfunction(one):
            parts.append(f"```\n{name.lower() if called else member}{_signature(one, name)}\n```")
        parts.append(_docstring(one))
    return "\n\n".join(part for part in parts if part)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class and its bases of ours say that they offer; a member without a docstring is not for users."""
    seen = set()
    for base in kind.__mro__:
        if base.__module__.split(".")[0] == "fumehood":
            for name, member in vars(base).items():
                member = getattr(member, "__func__", member)
                if (not name.startswith("_") or name == CALLED) and name not in seen and _docstring(member):
                    seen.add(name)
                    yield name, member


def _signature(thing: Any, owner: str) -> str:
    """As one would write it, on lines of its own where it is long."""
    signature = inspect.signature(thing)
    words: list[str] = []
    for one in signature.parameters.values():
        if one.name == "self" or one.name in NOT_OFFERED or one.name.startswith("_"):
            continue
        if one.kind is one.KEYWORD_ONLY and "*" not in words and not any(word.startswith("*") for word in words):
            words.append("*")
        star = {one.VAR_KEYWORD: "**", one.VAR_POSITIONAL: "*"}.get(one.kind, "")
        hint = "" if one.annotation is one.empty else f": {one.annotation}"
        words.append(f"{star}{one.name}{hint}" + ("" if one.default is one.empty else f" = {one.default!r}"))
    words = words[:-1] if words[-1:] == ["*"] else words
    gives = "" if inspect.isclass(thing) or signature.return_annotation is inspect.Signature.empty else f" -> {signature.return_annotation}"
    if not owner.startswith("Async"):
        gives = gives.replace("Async", "")
    text = f"({', '.join(words)}){gives}"
    return text if len(text) < 90 else "(\n" + "".join(f"    {word},\n" for word in words) + f"){gives}"


def _docstring(thing: Any) -> str:
    """The docstring as Markdown: `Raises:` and the like in bold, `name: what it is` as a list."""
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    text = re.sub(r"^(Raises|Returns|Yields):\n((?:    .*\n?)+)", lambda found: f"**{found[1]}**\n\n{_list(found[2])}\n", text, flags=re.M)
    return re.sub(r"^(?:[a-z_0-9, ]+: .*\n?(?:    .*\n?)*){2,}", lambda found: _list(found[0]) + "\n", text, flags=re.M).rstrip()


def _list(text: str) -> str:
    entries = (" ".join(entry.split()) for entry in re.split(r"\n(?=\S)", inspect.cleandoc(text)))
    return "\n".join(re.sub(r"^([\w, ]+?):", r"- `\1`:", entry) for entry in entries)
