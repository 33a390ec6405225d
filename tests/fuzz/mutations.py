"""Valid bytes, changed: for Hypothesis, which can make what it found short again, and for a random generator, which is fast."""

from __future__ import annotations

import random
import struct

from hypothesis import strategies as st

# Numbers at which readers err: lengths, counts and offsets that are one too far, negative, or enormous.
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
KINDS = ("change", "cut", "double", "move", "insert")


@st.composite
def mutated(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Some bytes changed, cut out, doubled or put elsewhere."""
    content = bytearray(draw(valid))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        match draw(st.sampled_from(KINDS)):
            case "change" if start < len(content):
                content[start] = draw(st.integers(0, 255))
            case "cut":
                del content[start:end]
            case "double":
                content[start:start] = content[start:end]
            case "move":
                piece = content[start:end]
                del content[start:end]
                place = draw(st.integers(0, len(content)))
                content[place:place] = piece
            case _:
                content[start:start] = draw(st.binary(max_size=40))
    return bytes(content)


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Likewise, and with numbers of 1, 2, 4 and 8 bytes written over what is there."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(changed) + 1)
        end = min(len(changed), start + chance.choice((1, 2, 4, 8, 40)))
        match chance.choice(("number", "number", "bit", *KINDS)):
            case "number":
                kind = chance.choice(("B", "<H", "<I", "<Q"))
                written = struct.pack(kind, chance.choice(NUMBERS) & (2 ** (8 * struct.calcsize(kind)) - 1))
                changed[start : start + len(written)] = written
            case "bit" if start < len(changed):
                changed[start] ^= 1 << chance.randrange(8)
            case "change" if start < len(changed):
                changed[start] = chance.randrange(256)
            case "cut":
                del changed[start:end]
            case "double":
                changed[start:start] = changed[start:end]
            case "move":
                place = chance.randrange(len(changed) + 1)
                changed[place:place] = changed[start:end]
            case _:
                changed[start:start] = chance.randbytes(chance.randint(1, 8))
    return bytes(changed)
