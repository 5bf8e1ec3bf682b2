// The same random numbers for every player of a match, on every platform and in every language.
//
//     import { MatchRandom } from "./oklp-random.js";
//
//     const random = new MatchRandom(matchId);
//     const board = random.stream("board").shuffle(tiles);
//
// The algorithm, version 1, is written down in the documentation of the Python module oklp.sdk.randomness, and
// oklp-random-vectors.json has numbers to test it by. Whoever knows the match's id knows the numbers: they make a
// match fair, not secret.

const WORDS = 2 ** 32;
const BLOCKS = 2 ** 32;
const encoder = new TextEncoder();

// SHA-256 (FIPS 180-4). Browsers have one of their own, but it is asynchronous and only for secure addresses.

// Its constants are the first 32 bits of the fractions of the square roots of the first 8 primes, and of the cube
// roots of the first 64.
const INITIAL = Uint32Array.of(
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
);
const ROUND = Uint32Array.of(
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
);

function rotate(word, by) {
  return (word >>> by) | (word << (32 - by));
}

function sha256(bytes) {
  const length = Math.ceil((bytes.length + 9) / 64) * 64;
  const padded = new DataView(new ArrayBuffer(length));
  bytes.forEach((byte, at) => padded.setUint8(at, byte));
  padded.setUint8(bytes.length, 0x80);
  padded.setUint32(length - 8, Math.floor(bytes.length / 2 ** 29));
  padded.setUint32(length - 4, (bytes.length << 3) >>> 0);

  const hash = Uint32Array.from(INITIAL);
  const w = new Uint32Array(64);
  for (let start = 0; start < length; start += 64) {
    for (let t = 0; t < 64; t += 1) {
      if (t < 16) {
        w[t] = padded.getUint32(start + 4 * t);
      } else {
        const s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ (w[t - 15] >>> 3);
        const s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ (w[t - 2] >>> 10);
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
      }
    }
    let [a, b, c, d, e, f, g, h] = hash;
    for (let t = 0; t < 64; t += 1) {
      const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
      const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
      const first = (h + s1 + ((e & f) ^ (~e & g)) + ROUND[t] + w[t]) | 0;
      const second = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + first) | 0;
      d = c;
      c = b;
      b = a;
      a = (first + second) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((word, at) => {
      hash[at] += word;
    });
  }
  return hash;
}

function bytesOf(words) {
  const view = new DataView(new ArrayBuffer(4 * words.length));
  words.forEach((word, at) => view.setUint32(4 * at, word));
  return new Uint8Array(view.buffer);
}

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  parts.reduce((at, part) => {
    whole.set(part, at);
    return at + part.length;
  }, 0);
  return whole;
}

// A lone surrogate has no UTF-8, and TextEncoder would quietly write something else.
function utf8(text) {
  if (typeof text !== "string") throw new TypeError("a seed and the name of a stream are strings");
  if (/\p{Surrogate}/u.test(text)) throw new RangeError("the text is not well-formed Unicode");
  return encoder.encode(text);
}

/** A source of numbers that follow from `seed`, usually a match's id. */
export class MatchRandom {
  #key;
  #block = 0;
  #words = [];

  constructor(seed) {
    this.#key = bytesOf(sha256(joined(encoder.encode("oklp-random-1:"), utf8(seed))));
  }

  /** An independent source of its own: what is drawn from one stream never changes what another gives. */
  stream(name) {
    const child = new MatchRandom("");
    child.#key = bytesOf(sha256(joined(this.#key, [0x01], utf8(name))));
    return child;
  }

  /** From 0 to 2^32 - 1. */
  nextUint32() {
    if (this.#words.length === 0) {
      if (this.#block === BLOCKS) throw new RangeError("this stream has given all its numbers");
      this.#words = [...sha256(joined(this.#key, [0x00], bytesOf([this.#block])))].reverse();
      this.#block += 1;
    }
    return this.#words.pop();
  }

  /** From 0 to n - 1, each equally likely; `n` is a whole number from 1 to 2^32. */
  below(n) {
    if (!Number.isInteger(n) || n < 1 || n > WORDS) throw new RangeError("n must be from 1 to 2^32");
    // A word beyond the limit would make the first numbers likelier than the last.
    const limit = WORDS - (WORDS % n);
    let word = this.nextUint32();
    while (word >= limit) word = this.nextUint32();
    return word % n;
  }

  /** From `lowest` to `highest`, both included. */
  between(lowest, highest) {
    return lowest + this.below(highest - lowest + 1);
  }

  /** From 0 up to, never including, 1. */
  nextFloat() {
    const high = this.nextUint32() >>> 5;
    const low = this.nextUint32() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  /** One of `items`; of a text one character. */
  choice(items) {
    // The characters of a string are its code points, as for `shuffle` and in Python; its indices are halves of some.
    const among = typeof items === "string" ? [...items] : items;
    if (among.length === 0) throw new RangeError("there is nothing to choose from");
    return among[this.below(among.length)];
  }

  /** A new array with `items` in a random order. */
  shuffle(items) {
    const shuffled = [...items];
    for (let last = shuffled.length - 1; last > 0; last -= 1) {
      const other = this.below(last + 1);
      [shuffled[last], shuffled[other]] = [shuffled[other], shuffled[last]];
    }
    return shuffled;
  }
}
