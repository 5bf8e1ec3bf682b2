// The log of taps, on its way to the server: in small pieces, in order, again after a lost connection.

const SOON_MS = 500;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 3000;
const MOST_IN_A_PIECE = 100;
const TIMEOUT_MS = 5000;

/** Ask the game's server: the status and the JSON of its answer. Throws when there is none, or one that is no JSON. */
export async function ask(path, body) {
  const answer = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (answer.status >= 500) throw new Error(`the server answered ${answer.status}`);
  return { status: answer.status, view: await answer.json() };
}

export class Log {
  #base;
  #tiles;
  #have;
  #on;
  #timer = null;
  #busy = false;
  #done = false;
  #closed = false;
  #wait = FIRST_WAIT_MS;

  /** `on` has `view(view)`, `lost(isLost)` and `elsewhere()`, for a log that does not continue the server's. */
  constructor(base, view, on) {
    this.#base = base;
    this.#tiles = view.tiles;
    this.#have = view.have;
    this.taps = view.log.slice();
    this.#on = on;
  }

  add(tap) {
    this.taps.push(tap);
    this.#sendIn(SOON_MS);
  }

  /** Nothing more will be added: send until the server says that the run is over. */
  finish() {
    this.#done = true;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#send();
  }

  /** The page goes away: what the server does not have yet goes out without waiting for an answer. */
  leave() {
    if (this.#closed || this.taps.length === this.#have) return;
    fetch(`${this.#base}/log`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(this.#piece()),
      keepalive: true,
    }).catch(() => {});
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #piece() {
    const taps = this.taps.slice(this.#have, this.#have + MOST_IN_A_PIECE);
    return { tiles: this.#tiles, from: this.#have, taps, done: this.#done };
  }

  #sendIn(ms) {
    if (this.#timer === null && !this.#closed) {
      this.#timer = setTimeout(() => {
        this.#timer = null;
        this.#send();
      }, ms);
    }
  }

  async #send() {
    if (this.#busy || this.#closed) return;
    this.#busy = true;
    try {
      const { status, view } = await ask(`${this.#base}/log`, this.#piece());
      if (this.#closed) return;
      this.#wait = FIRST_WAIT_MS;
      this.#on.lost(false);
      if (status === 200) this.#taken(view);
      else this.#elsewhere();
    } catch {
      if (this.#closed) return;
      this.#on.lost(true);
      this.#sendIn(this.#wait);
      this.#wait = Math.min(LONGEST_WAIT_MS, this.#wait * 2);
    } finally {
      this.#busy = false;
    }
  }

  #taken(view) {
    this.#have = view.have;
    if (view.phase !== "playing") this.close();
    else if (this.#done || this.taps.length > this.#have) this.#sendIn(this.#done ? 100 : SOON_MS);
    this.#on.view(view);
  }

  #elsewhere() {
    this.close();
    this.#on.elsewhere();
  }
}
