"""The same random numbers for every player of a match, on every platform and in every language.

    from oklp.sdk import MatchRandom

    random = MatchRandom(match_id)
    board = random.stream("board").shuffle(tiles)
    first = random.stream("who begins").choice(players)

Everything follows from the match's id, so a server and its players' browsers need to agree on nothing else. Whoever
knows the id knows the numbers: they make a match fair, not secret. What players must not foresee has to come from the
server's own secrets. `oklp-random.js`, beside this package's Python, gives the same numbers; `VECTORS` is a file to
test any other implementation by.

It is SHA-256 in counter mode, since every language has SHA-256, and what is left to write is a few lines with whole
numbers of 32 bits, which are exact everywhere, in JavaScript too. Streams cannot overlap, and no seed is a weak one.

The algorithm, version 1. Texts are well-formed Unicode, encoded as UTF-8; || joins bytes; numbers are big-endian.

1. The key of a match is SHA-256("oklp-random-1:" || match id).
2. The key of stream `name` of a key is SHA-256(key || 0x01 || name).
3. Block i of a key, i = 0, 1, …, 2^32 - 1, is SHA-256(key || 0x00 || i as 4 bytes): 8 words of 4 bytes. A key gives
   the words of its blocks in their order. A stream begins with its own first word, wherever its parent is.
4. next_uint32: the next word.
5. below(n), for n from 1 to 2^32: words are taken until one is less than 2^32 - (2^32 mod n); that one mod n.
6. next_float: ((a >> 5) * 2^26 + (b >> 6)) / 2^53, of the next words a and b: from 0 up to 1, in steps of 2^-53.
7. shuffle: for i from the last index down to 1, exchange items i and below(i + 1).
8. choice: the item at below(length). between(a, b): a + below(b - a + 1).

The items of a text, where one is shuffled or chosen from, are its code points.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

JAVASCRIPT: Final = Path(__file__).parent / "js" / "oklp-random.js"
"""The same generator as an ES module, for a game's pages: `import { MatchRandom } from "./oklp-random.js"`."""

VECTORS: Final = Path(__file__).parent / "js" / "oklp-random-vectors.json"
"""What the generator gives for some matches, in JSON: test vectors for an implementation of your own."""

_WORDS: Final = 2**32
_BLOCKS: Final = 2**32


class MatchRandom:
    """A source of numbers that follow from `seed`, usually a match's id. Not for several threads at once."""

    def __init__(self, seed: str) -> None:
        self._start(sha256(b"oklp-random-1:" + seed.encode("utf-8")).digest())

    def _start(self, key: bytes) -> None:
        self._key = key
        self._block = 0
        self._words: list[int] = []

    def stream(self, name: str) -> MatchRandom:
        """An independent source of its own. What is drawn from one stream never changes what another gives, so give
        each use a stream: then a use can be added, or draw more, without changing the others.
        """
        child = MatchRandom.__new__(MatchRandom)
        child._start(sha256(self._key + b"\x01" + name.encode("utf-8")).digest())
        return child

    def next_uint32(self) -> int:
        """From 0 to 2^32 - 1."""
        if not self._words:
            if self._block == _BLOCKS:
                raise OverflowError("this stream has given all its numbers")
            block = sha256(self._key + b"\x00" + self._block.to_bytes(4, "big")).digest()
            self._block += 1
            self._words = [int.from_bytes(block[at : at + 4], "big") for at in range(28, -4, -4)]
        return self._words.pop()

    def below(self, n: int) -> int:
        """From 0 to n - 1, each equally likely; `n` is from 1 to 2^32. Raises ValueError for any other."""
        if not 1 <= n <= _WORDS:
            raise ValueError("n must be from 1 to 2^32")
        limit = _WORDS - _WORDS % n
        while (word := self.next_uint32()) >= limit:
            """Such a word would make the first numbers likelier than the last."""
        return word % n

    def between(self, lowest: int, highest: int) -> int:
        """From `lowest` to `highest`, both included. Raises ValueError when there is no such number, or over 2^32."""
        return lowest + self.below(highest - lowest + 1)

    def next_float(self) -> float:
        """From 0 up to, never including, 1."""
        high, low = self.next_uint32() >> 5, self.next_uint32() >> 6
        return (high * 2**26 + low) / 2**53

    def choice(self, items: Sequence[T]) -> T:
        """One of `items`. Raises ValueError when there are none."""
        if not items:
            raise ValueError("there is nothing to choose from")
        return items[self.below(len(items))]

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """A new list with `items` in a random order."""
        shuffled = list(items)
        for last in range(len(shuffled) - 1, 0, -1):
            other = self.below(last + 1)
            shuffled[last], shuffled[other] = shuffled[other], shuffled[last]
        return shuffled
