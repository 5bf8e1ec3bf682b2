// The rules of Tile Rush, twin of rules.py, which explains them. All numbers are whole ones, so that both agree.

import { MatchRandom } from "./oklp-random.js";

export const COLUMNS = 7;
export const ROWS = 8;
export const KINDS = 5;
export const BURST = KINDS;

export const RAISES = 4;
export const LEAVES_BURST = 6;
export const MOST = 5;
export const GROUP_POINTS = 5;
export const BURST_POINTS = 15;

export const GAP_MS = 200;

const key = (x, y) => x * ROWS + y;
const cellOf = (number) => [Math.floor(number / ROWS), number % ROWS];

function beside(x, y) {
  const around = [[x - 1, y], [x + 1, y], [x, y - 1], [x, y + 1]];
  return around.filter(([a, b]) => a >= 0 && a < COLUMNS && b >= 0 && b < ROWS);
}

export class Board {
  #stacks;

  /** `seed` and `stream` name what the tiles are drawn from. */
  constructor(seed, stream) {
    const random = new MatchRandom(seed).stream(stream);
    this.#stacks = Array.from({ length: COLUMNS }, (_, x) => random.stream(`column ${x}`));
    /** What falls next into each column. */
    this.coming = this.#stacks.map((stack) => stack.below(KINDS));
    this.columns = Array.from({ length: COLUMNS }, () => []);
    this.score = 0;
    this.multiplier = 1;
    this.turns = 0;
    this.largest = 0;
    this.#fill();
    this.#makePlayable();
  }

  /** The cells that a tap there clears, as [x, y]: just the one where there is nothing to clear. */
  group(x, y) {
    return [...(this.columns[x][y] === BURST ? this.#blast(x, y) : this.#equal(x, y))].map(cellOf);
  }

  /**
   * Clear what is there. Null, and nothing changed, where that is no move. `steps` are the cells that go, a list each
   * time the tiles fall; `burst` is the cell where one is left.
   */
  tap(x, y) {
    if (!(Number.isInteger(x) && Number.isInteger(y) && x >= 0 && x < COLUMNS && y >= 0 && y < ROWS)) return null;
    const isBurst = this.columns[x][y] === BURST;
    const group = this.group(x, y);
    const size = group.length;
    if (size < 2) return null;
    const { multiplier } = this;
    const points = multiplier * (isBurst ? BURST_POINTS * size : GROUP_POINTS * size * (size - 1));
    const leaves = !isBurst && size >= LEAVES_BURST;
    this.score += points;
    this.turns += 1;
    this.largest = Math.max(this.largest, size);
    if (isBurst || size >= RAISES) this.multiplier = Math.min(MOST, multiplier + 1);
    else if (size === 2) this.multiplier = 1;
    if (leaves) this.columns[x][y] = BURST;
    const cleared = leaves ? group.filter(([a, b]) => a !== x || b !== y) : group;
    this.#takeAway(cleared);
    const steps = [cleared, ...this.#makePlayable()];
    return { steps, size, points, multiplier, isBurst, burst: leaves ? [x, y] : null };
  }

  #makePlayable() {
    const swept = [];
    while (!this.#hasMove()) {
      const bottom = this.columns.map((_, x) => [x, 0]);
      this.#takeAway(bottom);
      swept.push(bottom);
    }
    return swept;
  }

  #takeAway(cells) {
    const gone = new Set(cells.map(([x, y]) => key(x, y)));
    this.columns = this.columns.map((column, x) => column.filter((_, y) => !gone.has(key(x, y))));
    this.#fill();
  }

  #fill() {
    this.columns.forEach((column, x) => {
      while (column.length < ROWS) {
        column.push(this.coming[x]);
        this.coming[x] = this.#stacks[x].below(KINDS);
      }
    });
  }

  #hasMove() {
    return this.columns.some((column, x) =>
      column.some((tile, y) => tile === BURST || beside(x, y).some(([a, b]) => this.columns[a][b] === tile)),
    );
  }

  #equal(x, y) {
    const kind = this.columns[x][y];
    const group = new Set([key(x, y)]);
    const waiting = [[x, y]];
    while (waiting.length) {
      for (const [a, b] of beside(...waiting.pop())) {
        if (!group.has(key(a, b)) && this.columns[a][b] === kind) {
          group.add(key(a, b));
          waiting.push([a, b]);
        }
      }
    }
    return group;
  }

  #blast(x, y) {
    const group = new Set();
    const goneOff = new Set([key(x, y)]);
    const waiting = [[x, y]];
    while (waiting.length) {
      const [atX, atY] = waiting.pop();
      const line = [];
      for (let a = 0; a < COLUMNS; a += 1) line.push([a, atY]);
      for (let b = 0; b < ROWS; b += 1) line.push([atX, b]);
      for (const [a, b] of line) {
        group.add(key(a, b));
        if (this.columns[a][b] === BURST && !goneOff.has(key(a, b))) {
          goneOff.add(key(a, b));
          waiting.push([a, b]);
        }
      }
    }
    return group;
  }
}
