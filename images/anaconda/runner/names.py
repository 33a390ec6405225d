"""Column names: strings, and each one once."""


def as_text(name: object) -> str:
    """A column name as valid text. Levels of a MultiIndex are joined with `_`, empty ones left out."""
    return _clean(name if isinstance(name, str) else str(name))


def join_levels(levels: tuple) -> str:
    """The name of a MultiIndex column: its levels joined with `_`, empty ones left out."""
    return "_".join(text for level in levels if (text := as_text(level)))


def make_unique(names: list[str]) -> list[str]:
    """Give repeats a number: `a, a, a` becomes `a, a (2), a (3)`.

    A first occurrence never changes, so `a, a, a (2)` becomes `a, a (3), a (2)`.
    """
    taken = set(names)
    seen = set()
    last_number: dict[str, int] = {}
    unique = []
    for name in names:
        if name in seen:
            number = last_number.get(name, 1) + 1
            while f"{name} ({number})" in taken:
                number += 1
            last_number[name] = number
            name = f"{name} ({number})"
            taken.add(name)
        seen.add(name)
        unique.append(name)
    return unique


def make_unique_noting(given: list[str], port: str, progress) -> list[str]:
    """The names, each once; every rename is noted for the author."""
    unique = make_unique(given)
    for old, new in zip(given, unique, strict=True):
        if old != new:
            text = f"{port} has more than one column {old[:100]!r}; this one is called {new[:110]!r}."
            progress.note("rename", text, port=port, **{"from": old, "to": new})
    return unique


def _clean(text: str) -> str:
    """Plain `str` (no subclass) without lone surrogates, which no file format can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
