"""Random changes of inputs, for runs without a coverage-guided engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

MAX_CHANGES = 4
_SPECIAL = b'\0\t\n\r "%&+,-./0:;=?@[\\]{}~\x7f\x80\xc3\xff'


def mutants(seeds: Sequence[bytes], words: Sequence[bytes], max_length: int, dice: Random) -> Iterator[bytes]:
    """Yields changed *seeds* without end; the same ones for the same *dice*."""
    while True:
        data = dice.choice(seeds)
        for _ in range(dice.randint(1, MAX_CHANGES)):
            data = dice.choice(_CHANGES)(data, (dice.choice(seeds), dice.choice(words or seeds)), dice)
        yield data[:max_length]


Others = tuple[bytes, bytes]  # another seed, and a word of the grammar


def _place(data: bytes, dice: Random) -> int:
    return dice.randint(0, len(data))


def _set_byte(data: bytes, _others: Others, dice: Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + bytes([dice.choice(_SPECIAL)]) + data[at + 1 :]


def _flip_bit(data: bytes, _others: Others, dice: Random) -> bytes:
    if not data:
        return data
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def _insert_word(data: bytes, others: Others, dice: Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + others[1] + data[at:]


def _remove(data: bytes, _others: Others, dice: Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + data[at + dice.randint(1, 16) :]


def _repeat(data: bytes, _others: Others, dice: Random) -> bytes:
    at = _place(data, dice)
    part = data[at : at + dice.randint(1, 32)]
    return data[:at] + part * dice.choice((2, 2, 3, 20)) + data[at + len(part) :]


def _splice(data: bytes, others: Others, dice: Random) -> bytes:
    other = others[0]
    return data[: _place(data, dice)] + other[_place(other, dice) :]


_CHANGES: Sequence[Callable[[bytes, Others, Random], bytes]] = (
    _set_byte,
    _flip_bit,
    _insert_word,
    _remove,
    _repeat,
    _splice,
)
