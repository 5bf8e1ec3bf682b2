"""The seeded generator: by its written specification, by its vectors, in Python and in a browser alike."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from itertools import count, islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oklp.sdk import MatchRandom
from oklp.sdk.randomness import JAVASCRIPT, VECTORS
from tests.sdk.browser import ORIGIN, open_page
from tests.sdk.stand_in import MATCH_ID

CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]


def source(case: dict[str, Any]) -> MatchRandom:
    random = MatchRandom(case["seed"])
    for name in case["stream"]:
        random = random.stream(name)
    return random


def words(seed: str, *streams: str) -> Iterator[int]:
    """Written from the specification alone, a second time."""
    key = sha256(b"oklp-random-1:" + seed.encode()).digest()
    for name in streams:
        key = sha256(key + bytes([1]) + name.encode()).digest()
    for block in count():
        digest = sha256(key + bytes([0]) + block.to_bytes(4, "big")).hexdigest()
        yield from (int(digest[8 * n : 8 * n + 8], 16) for n in range(8))


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_vectors_follow_from_the_specification(case: dict[str, Any]) -> None:
    given_words = words(case["seed"], *case["stream"])
    assert case["next_uint32"] == list(islice(given_words, len(case["next_uint32"])))
    again = words(case["seed"], *case["stream"])
    for n, value in case["below"]:
        assert value == next(word for word in again if word < 2**32 - 2**32 % n) % n
    pairs = words(case["seed"], *case["stream"])
    assert case["next_float"] == [(next(pairs) // 32 * 2**26 + next(pairs) // 64) / 2**53 for _ in case["next_float"]]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_python_gives_what_the_vectors_say(case: dict[str, Any]) -> None:
    random = source(case)
    assert [random.next_uint32() for _ in case["next_uint32"]] == case["next_uint32"]
    random = source(case)
    assert [[n, random.below(n)] for n, _ in case["below"]] == case["below"]
    random = source(case)
    assert [[low, high, random.between(low, high)] for low, high, _ in case["between"]] == case["between"]
    random = source(case)
    assert [random.next_float() for _ in case["next_float"]] == case["next_float"]
    random = source(case)
    assert [random.shuffle(range(len(order))) for order in case["shuffle"]] == case["shuffle"]
    random = source(case)
    assert [random.choice(case["choice"]["of"]) for _ in case["choice"]["chosen"]] == case["choice"]["chosen"]


IN_THE_BROWSER = """async (cases) => {
  const { MatchRandom } = await import("/oklp-random.js");
  const refused = (attempt) => { try { attempt(); return false; } catch { return true; } };
  const long = new MatchRandom("long");
  return {
    cases: cases.map((given) => {
      const source = () => given.stream.reduce((random, name) => random.stream(name), new MatchRandom(given.seed));
      const drawn = (list, draw) => { const random = source(); return list.map((each) => draw(random, each)); };
      return {
        next_uint32: drawn(given.next_uint32, (random) => random.nextUint32()),
        below: drawn(given.below, (random, [n]) => [n, random.below(n)]),
        between: drawn(given.between, (random, [low, high]) => [low, high, random.between(low, high)]),
        next_float: drawn(given.next_float, (random) => random.nextFloat()),
        shuffle: drawn(given.shuffle, (random, order) => random.shuffle(order.map((_, at) => at))),
        choice: { of: given.choice.of, chosen: drawn(given.choice.chosen, (random) => random.choice(given.choice.of)) },
      };
    }),
    long: Array.from({ length: 5000 }, () => long.nextUint32()),
    text: (() => {
      const random = new MatchRandom("text");
      return [...Array.from({ length: 40 }, () => random.choice("a😀é")), ...random.shuffle("a😀é")];
    })(),
    lengths: Array.from({ length: 140 }, (_, n) => new MatchRandom("x".repeat(n)).nextUint32()),
    refused: [
      refused(() => new MatchRandom("\\ud800")), refused(() => new MatchRandom(5)),
      ...[0, -1, 1.5, 2 ** 32 + 1, NaN, "6"].map((n) => refused(() => new MatchRandom("x").below(n))),
      ...[[], ""].map((none) => refused(() => new MatchRandom("x").choice(none))),
      refused(() => new MatchRandom("x").stream(undefined)),
    ],
  };
}"""


def test_a_browser_gives_what_the_vectors_say() -> None:
    with open_page({"oklp-random.js": JAVASCRIPT}) as page:
        answer = page.evaluate(IN_THE_BROWSER, CASES)
    compared = ("next_uint32", "below", "between", "next_float", "shuffle", "choice")
    assert answer["cases"] == [{name: case[name] for name in compared} for case in CASES]
    # Every length of message that pads differently, and a key's blocks far beyond the vectors'.
    assert answer["long"] == list(islice(words("long"), 5000))
    # A text has the characters that Python sees in it, not the halves that JavaScript keeps some in.
    random = MatchRandom("text")
    assert answer["text"] == [*(random.choice("a😀é") for _ in range(40)), *random.shuffle("a😀é")]
    assert answer["lengths"] == [next(words("x" * n)) for n in range(140)]
    assert all(answer["refused"])
    assert page.url == f"{ORIGIN}/"


def test_a_stream_begins_at_its_own_beginning() -> None:
    one, two = MatchRandom(MATCH_ID), MatchRandom(MATCH_ID)
    two.next_uint32()
    two.stream("other").next_float()
    assert one.stream("board").next_uint32() == two.stream("board").next_uint32()
    assert one.next_uint32() != two.next_uint32()


@given(st.integers(1, 2**32), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_below_stays_below(n: int, seed: str) -> None:
    random = MatchRandom(seed)
    assert all(0 <= random.below(n) < n for _ in range(5))


@given(st.lists(st.integers(), max_size=60), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_shuffle_loses_and_adds_nothing(items: list[int], seed: str) -> None:
    before = list(items)
    assert Counter(MatchRandom(seed).shuffle(items)) == Counter(items)
    assert items == before


def chi_squared(counts: Counter[Any], cells: int) -> float:
    expected = counts.total() / cells
    return sum((counts[cell] - expected) ** 2 / expected for cell in counts) + (cells - len(counts)) * expected


def test_no_number_is_likelier_than_another() -> None:
    """The numbers are fixed, so this passes always or never: what would be exceeded once in a million is wrong."""
    random = MatchRandom("dice")
    assert chi_squared(Counter(random.below(6) for _ in range(60_000)), 6) < 35.9
    assert chi_squared(Counter(tuple(random.shuffle("abc")) for _ in range(30_000)), 6) < 35.9
    assert chi_squared(Counter(int(random.next_float() * 20) for _ in range(40_000)), 20) < 63.2
    # Of 3 * 2^30 numbers the first third would come up twice as often if words were taken modulo n.
    third = Counter(random.below(3 * 2**30) // 2**30 for _ in range(30_000))
    assert chi_squared(third, 3) < 27.7


def test_what_makes_no_sense_is_refused() -> None:
    random = MatchRandom(MATCH_ID)
    for n in (0, -1, 2**32 + 1):
        with pytest.raises(ValueError, match="n must be"):
            random.below(n)
    with pytest.raises(ValueError, match="nothing to choose"):
        random.choice([])
    with pytest.raises(ValueError, match="n must be"):
        random.between(2, 1)
    with pytest.raises(UnicodeEncodeError):
        MatchRandom("\ud800")


def test_a_stream_ends_rather_than_begin_again() -> None:
    random = MatchRandom(MATCH_ID)
    random._block = 2**32 - 1
    for _ in range(8):
        random.next_uint32()
    with pytest.raises(OverflowError):
        random.next_uint32()
