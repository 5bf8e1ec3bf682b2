// What the board looks like: tiles that move, a grid of buttons over them, and what flies off when tiles clear.

import { BURST, COLUMNS, ROWS } from "./rules.js";

export const NAMES = ["blue circle", "red triangle", "yellow star", "green diamond", "purple cross", "burst"];

const GONE_MS = 260;
const FLOAT_MS = 900;
const BEAM_MS = 420;
const SVG = "http://www.w3.org/2000/svg";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function drawTile(kind, className = "tile") {
  const tile = make("div", `${className} k${kind}`);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#kind-${kind}`);
  svg.append(use);
  tile.append(svg);
  return tile;
}

function place(element, x, y) {
  element.style.setProperty("--x", x);
  element.style.setProperty("--y", ROWS - 1 - y);
}

function removeIn(element, ms) {
  setTimeout(() => element.remove(), ms);
}

export class BoardView {
  #tiles;
  #cells;
  #effects;
  #coming;
  #buttons = [];
  #columns = [];
  #board = null;
  #onTap;
  #at = [3, 3];
  #pressed = false;
  #pointed = null; // the cell under the mouse, or with the keyboard's focus

  /** `onTap` is called with column and row. */
  constructor({ tiles, cells, effects, coming }, onTap) {
    this.#tiles = tiles;
    this.#cells = cells;
    this.#effects = effects;
    this.#coming = coming;
    this.#onTap = onTap;
    this.#makeCells();
  }

  /** Show a board from the start. */
  show(board) {
    this.#board = board;
    this.#tiles.replaceChildren();
    this.#effects.replaceChildren();
    this.#columns = board.columns.map((column, x) =>
      column.map((kind, y) => {
        const element = this.#add(kind, x, y);
        element.classList.add("dealt");
        element.style.setProperty("--late", `${(x + ROWS - y) * 18}ms`);
        return { kind, element };
      }),
    );
    this.#describe();
  }

  /** Show what a tap at `x`, `y` has done to the board. */
  play(turn, x, y) {
    this.#hint([]);
    if (turn.isBurst) this.#beams(turn.steps[0]);
    if (turn.burst) this.#become(this.#columns[x][y], BURST);
    for (const cells of turn.steps) this.#clear(cells, x, y);
    this.#float(turn, x, y);
    this.#describe();
    this.#hintPointed();
  }

  /** Say that there is nothing to clear there. */
  shake(x, y) {
    const { element } = this.#columns[x][y];
    element.classList.remove("alone");
    void element.offsetWidth; // so that the animation begins again
    element.classList.add("alone");
  }

  /** Whether taps do something. */
  set enabled(yes) {
    this.#cells.classList.toggle("on", yes);
    for (const button of this.#buttons.flat()) button.setAttribute("aria-disabled", String(!yes));
  }

  focus() {
    this.#buttons[this.#at[0]][this.#at[1]].focus({ preventScroll: true });
  }

  // --- tiles -----------------------------------------------------------------------------------------------------

  #add(kind, x, y) {
    const element = drawTile(kind);
    place(element, x, y);
    this.#tiles.append(element);
    return element;
  }

  #become(tile, kind) {
    const fresh = drawTile(kind);
    fresh.style.cssText = tile.element.style.cssText;
    fresh.classList.add("born");
    tile.element.replaceWith(fresh);
    tile.element = fresh;
    tile.kind = kind;
  }

  #clear(cells, fromX, fromY) {
    const gone = new Set(cells.map(([x, y]) => x * ROWS + y));
    for (const [x, y] of cells) {
      const { element } = this.#columns[x][y];
      element.style.setProperty("--late", `${(Math.abs(x - fromX) + Math.abs(y - fromY)) * 14}ms`);
      element.classList.remove("dealt", "alone");
      element.classList.add("gone");
      removeIn(element, calm.matches ? 120 : GONE_MS);
    }
    this.#columns = this.#columns.map((column, x) => {
      const kept = column.filter((_, y) => !gone.has(x * ROWS + y));
      const missing = ROWS - kept.length;
      for (let n = 0; n < missing; n += 1) kept.push({ kind: null, element: null });
      kept.forEach((tile, y) => {
        if (tile.element) {
          place(tile.element, x, y);
          return;
        }
        tile.kind = this.#board.columns[x][y];
        tile.element = this.#add(tile.kind, x, y + missing);
        void tile.element.offsetWidth; // so that it falls from above the board
        place(tile.element, x, y);
      });
      return kept;
    });
    this.#settle();
  }

  /** After several falls at once, what was drawn in between may have another kind. */
  #settle() {
    this.#board.columns.forEach((column, x) =>
      column.forEach((kind, y) => {
        const tile = this.#columns[x][y];
        if (tile.kind !== kind) this.#become(tile, kind);
      }),
    );
  }

  #float(turn, x, y) {
    const text = make("span", turn.size >= 6 || turn.isBurst ? "points big" : "points", `+${turn.points.toLocaleString("en")}`);
    place(text, Math.min(Math.max(x, 0.4), COLUMNS - 1.4), y);
    this.#effects.append(text);
    removeIn(text, FLOAT_MS);
  }

  #beams(cells) {
    const rows = new Map();
    const columns = new Map();
    for (const [x, y] of cells) {
      rows.set(y, (rows.get(y) ?? 0) + 1);
      columns.set(x, (columns.get(x) ?? 0) + 1);
    }
    for (const [y, count] of rows) if (count === COLUMNS) this.#beam("across", 0, y);
    for (const [x, count] of columns) if (count === ROWS) this.#beam("down", x, ROWS - 1);
  }

  #beam(className, x, y) {
    const beam = make("span", `beam ${className}`);
    place(beam, x, y);
    this.#effects.append(beam);
    removeIn(beam, BEAM_MS);
  }

  // --- buttons ---------------------------------------------------------------------------------------------------

  #makeCells() {
    this.#buttons = Array.from({ length: COLUMNS }, () => []);
    for (let y = ROWS - 1; y >= 0; y -= 1) {
      const row = make("div", "row");
      row.setAttribute("role", "row");
      for (let x = 0; x < COLUMNS; x += 1) {
        const button = make("button", "cell");
        button.type = "button";
        button.setAttribute("role", "gridcell");
        button.tabIndex = x === this.#at[0] && y === this.#at[1] ? 0 : -1;
        this.#listen(button, x, y);
        this.#buttons[x][y] = button;
        row.append(button);
      }
      this.#cells.append(row);
    }
  }

  #listen(button, x, y) {
    // A finger's tap counts when it lands, not when it is lifted; the click that follows is the same tap.
    button.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.#pressed = true;
      this.#move(x, y);
      this.#onTap(x, y);
    });
    button.addEventListener("click", () => {
      if (!this.#pressed) this.#onTap(x, y);
      this.#pressed = false;
    });
    button.addEventListener("pointercancel", () => {
      this.#pressed = false;
    });
    button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.#pointAt([x, y]));
    button.addEventListener("pointerleave", () => this.#pointAt(null));
    button.addEventListener("focus", () => button.matches("body:not(.by-pointer) :focus-visible") && this.#pointAt([x, y]));
    button.addEventListener("blur", () => this.#pointAt(null));
    button.addEventListener("keydown", (event) => this.#onKey(event, x, y));
  }

  #onKey(event, x, y) {
    this.#pressed = false;
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    if ((!dx && !dy) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const to = [Math.min(COLUMNS - 1, Math.max(0, x + dx)), Math.min(ROWS - 1, Math.max(0, y + dy))];
    this.#move(...to);
    this.#buttons[to[0]][to[1]].focus();
  }

  #move(x, y) {
    this.#buttons[this.#at[0]][this.#at[1]].tabIndex = -1;
    this.#at = [x, y];
    this.#buttons[x][y].tabIndex = 0;
  }

  #pointAt(cell) {
    this.#pointed = cell;
    this.#hintPointed();
  }

  /** Light up what a tap would clear. */
  #hintPointed() {
    const on = this.#pointed !== null && this.#board !== null && this.#cells.classList.contains("on");
    const group = on ? this.#board.group(...this.#pointed) : [];
    this.#hint(group.length > 1 ? group : []);
  }

  #hint(cells) {
    const hinted = new Set(cells.map(([x, y]) => x * ROWS + y));
    this.#columns.forEach((column, x) =>
      column.forEach(({ element }, y) => element.classList.toggle("hint", hinted.has(x * ROWS + y))),
    );
  }

  #describe() {
    const sizes = new Map();
    this.#board.columns.forEach((column, x) =>
      column.forEach((kind, y) => {
        const at = x * ROWS + y;
        if (!sizes.has(at)) {
          const group = this.#board.group(x, y);
          if (kind === BURST) sizes.set(at, group.length);
          else for (const [a, b] of group) sizes.set(a * ROWS + b, group.length);
        }
        const size = sizes.get(at);
        const together = kind === BURST ? `clears ${size}` : size === 1 ? "alone" : `${size} together`;
        this.#buttons[x][y].setAttribute("aria-label", `${NAMES[kind]}, ${together}`);
      }),
    );
    this.#coming.replaceChildren(...this.#board.coming.map((kind) => drawTile(kind, "next")));
  }
}
