// One run: the panels before and after it, its clock, and what a tap does.

import { BoardView } from "./board.js";
import { ask, Log } from "./log.js";
import { Board, GAP_MS, MOST } from "./rules.js";

const PRACTICE_MS = 75_000;
const LEAD_IN_MS = 3000;
const SHORT_SECONDS = 10;
const CLOCK_SLACK_MS = 300;
const REPORT_EVERY_MS = 1000;
const BEST = "tile-rush-best";

const practising = location.pathname === "/practice";
const base = location.pathname.replace(/\/$/, "");
const by = (name) => document.querySelector(`[data-id="${name}"]`);
const number = (value) => value.toLocaleString("en");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

let board = null;
let log = null; // of a match; null when practising
let lastTap = -GAP_MS;
let waiting = null; // the tap that waits for tiles to fall
let began = 0; // when the run's clock stood at 0, by performance.now()
let duration = PRACTICE_MS;
let running = false;
let said = new Set();
let entered = 0; // how often a state of the server was gone on from, or asked for with Start

const view = new BoardView(
  { tiles: by("tiles"), cells: by("cells"), effects: by("effects"), coming: by("coming") },
  (x, y) => onTap(x, y),
);

function write(name, text) {
  const element = by(name);
  if (element.textContent !== text) element.textContent = text;
}

function say(text) {
  write("live", text);
}

function show(name) {
  for (const panel of ["intro", "play", "outcome"]) by(panel).hidden = panel !== name && !(panel === "play" && name === "outcome");
  by("hud").hidden = name === "intro";
  by("facts").hidden = name === "intro";
  by("stage").classList.toggle("over", name === "outcome");
}

const elapsed = () => performance.now() - began;

// --- the clock ---------------------------------------------------------------------------------------------------

function drawClock() {
  if (!running) return;
  const now = elapsed();
  const left = Math.min(duration, duration - now);
  const seconds = Math.max(0, Math.ceil(left / 1000));
  write("time", String(seconds));
  by("track-bar").style.transform = `scaleX(${Math.max(0, left / duration)})`;
  const short = seconds <= SHORT_SECONDS;
  by("time-box").classList.toggle("short", short);
  by("track").classList.toggle("short", short);
  for (const mark of [30, 10]) {
    if (seconds === mark && duration > mark * 1000 && !said.has(mark)) {
      said.add(mark);
      say(`${mark} seconds left.`);
    }
  }
  drawCountdown(now);
  if (left <= 0) timeIsUp();
}

function drawCountdown(now) {
  const countdown = by("countdown");
  if (now >= 0) {
    if (!countdown.hidden) {
      countdown.hidden = true;
      view.enabled = true;
      say("Go.");
    }
    return;
  }
  const text = String(Math.ceil(-now / 1000));
  if (countdown.textContent !== text || countdown.hidden) {
    countdown.hidden = false;
    countdown.classList.remove("beat");
    void countdown.offsetWidth; // so that the animation begins again
    countdown.classList.add("beat");
    countdown.textContent = text;
  }
}

function timeIsUp() {
  running = false;
  view.enabled = false;
  if (log === null) {
    overInPractice();
    return;
  }
  say("Time is up.");
  showOutcome("Time is up", "Counting…");
  log.finish();
}

// --- playing -----------------------------------------------------------------------------------------------------

function begin(state, taps) {
  board = new Board(state.match_id, state.tiles);
  for (const [, x, y] of taps) board.tap(x, y);
  duration = state.duration_ms;
  began = performance.now() - state.elapsed_ms;
  lastTap = taps.length ? taps.at(-1)[0] : -GAP_MS;
  waiting = null;
  said = new Set();
  running = true;
  show("play");
  view.show(board);
  view.enabled = state.elapsed_ms >= 0;
  by("countdown").hidden = true;
  drawScore(false);
  drawClock();
  view.focus();
  if (state.elapsed_ms < 0) say("Get ready.");
}

function drawScore(lively) {
  write("score", number(board.score));
  write("multiplier", `×${board.multiplier}`);
  by("multiplier-box").classList.toggle("hot", board.multiplier === MOST);
  for (const [index, pip] of [...by("pips").children].entries()) pip.classList.toggle("on", index < board.multiplier);
  if (!lively) return;
  for (const name of ["score", "multiplier"]) {
    by(name).classList.remove("bump");
    void by(name).offsetWidth; // so that the animation begins again
    if (name === "score" || lively === "multiplier") by(name).classList.add("bump");
  }
}

function onTap(x, y) {
  if (!running || elapsed() < 0) return;
  if (waiting !== null) {
    waiting = [x, y];
    return;
  }
  const left = lastTap + GAP_MS - Math.floor(elapsed());
  if (left <= 0) {
    tap(x, y);
    return;
  }
  waiting = [x, y];
  setTimeout(() => {
    const next = waiting;
    waiting = null;
    if (next !== null) onTap(...next);
  }, left);
}

function tap(x, y) {
  const at = Math.floor(elapsed());
  if (at > duration) return;
  const before = board.multiplier;
  const turn = board.tap(x, y);
  if (turn === null) {
    view.shake(x, y);
    return;
  }
  lastTap = at;
  if (log !== null) log.add([at, x, y]);
  view.play(turn, x, y);
  drawScore(before === board.multiplier ? "score" : "multiplier");
  say(`${turn.size} tiles, ${turn.points} points. Multiplier ${board.multiplier}.${turn.burst ? " A burst is left." : ""}`);
}

// --- a run of a match --------------------------------------------------------------------------------------------

function enter(state) {
  entered += 1;
  by("back").href = state.back_url;
  by("back").hidden = false;
  by("outcome-back").href = state.back_url;
  by("offline").hidden = true;
  duration = state.duration_ms;
  if (state.phase === "playing") resume(state);
  else if (state.phase === "ready") introduce();
  else over(state);
}

function resume(state) {
  log?.close();
  log = new Log(base, state, {
    view: (fresh) => onView(fresh),
    lost: (isLost) => {
      by("offline").hidden = !isLost;
    },
    elsewhere: () => reload(),
  });
  begin(state, state.log);
}

function onView(state) {
  if (state.phase !== "playing") {
    over(state);
    return;
  }
  // A clock that stood still while the device slept is put right; the server's does not wait.
  const behind = state.elapsed_ms - elapsed();
  if (running && behind > CLOCK_SLACK_MS) began -= behind;
}

/** Go on from what the server has. */
async function reload() {
  running = false;
  view.enabled = false;
  for (;;) {
    try {
      const { status, view: state } = await ask(`${base}/state`);
      if (status === 200) {
        enter(state);
        return;
      }
      location.reload();
      return;
    } catch {
      by("offline").hidden = false;
      await pause(REPORT_EVERY_MS);
    }
  }
}

const REPORTS = {
  waiting: "Sending your score to the platform…",
  accepted: "The platform has your score. Your match shows who won when everybody has played.",
  not_accepted: "The platform had another score for you already: see your match.",
  refused: "The platform did not take this score: see your match.",
};

function over(state) {
  running = false;
  view.enabled = false;
  log?.close();
  if (state.phase === "off") {
    showOutcome("Match called off", "", "All entry fees went back to the players.");
    return;
  }
  if (board === null) begin({ ...state, elapsed_ms: state.duration_ms + 1 }, state.log);
  running = false;
  view.enabled = false;
  showOutcome(state.refusal ? "Run ended" : "Time is up", number(state.score), details(state.have, state.largest));
  write("score", number(state.score));
  by("refused").hidden = !state.refusal;
  if (state.refusal) {
    write("refused", `The log of this run was refused: ${state.refusal}. The run ended there. What counts is the score of the ${tapped(state.have)} before.`);
  }
  write("report", REPORTS[state.report] ?? "");
  if (state.report === "waiting") waitForReport();
}

async function waitForReport() {
  await pause(REPORT_EVERY_MS);
  try {
    const { status, view: state } = await ask(`${base}/state`);
    if (status === 200) {
      over(state);
      return;
    }
  } catch {
    // It is asked again.
  }
  waitForReport();
}

async function startMatch() {
  entered += 1;
  const mine = entered;
  by("start").disabled = true;
  by("intro-problem").hidden = true;
  try {
    const { status, view: state } = await ask(`${base}/start`, {});
    if (status === 200) enter(state);
    else if (status === 409) problem(state.detail);
    else location.reload();
  } catch {
    problem("No answer yet. Looking whether your clock is running…");
    await findOut(mine);
  }
  by("start").disabled = false;
}

/** Nothing was heard of a start: it may be lost, or only its answer, or be late. So the server is asked how things are,
 * again and again until it says that the clock runs, or Start is pressed once more. */
async function findOut(since) {
  let text = "That did not get through, and your clock is not running yet. Please try again.";
  try {
    const { status, view: state } = await ask(`${base}/state`);
    if (since !== entered) return;
    if (status !== 200) {
      location.reload();
      return;
    }
    if (state.phase !== "ready") {
      enter(state);
      return;
    }
  } catch {
    text = "The game does not answer, so your clock may be running. Stay here, or press Start again: it is the same run.";
  }
  if (since !== entered) return;
  problem(text);
  setTimeout(() => {
    if (since === entered) findOut(since);
  }, REPORT_EVERY_MS);
}

function problem(text) {
  by("intro-problem").hidden = false;
  write("intro-problem", text);
}

// --- practice ----------------------------------------------------------------------------------------------------

function best() {
  try {
    return Number(localStorage.getItem(BEST)) || 0;
  } catch {
    return 0;
  }
}

function startPractice() {
  const words = crypto.getRandomValues(new Uint32Array(4));
  begin({ match_id: "practice", tiles: [...words].join("-"), duration_ms: PRACTICE_MS, elapsed_ms: -LEAD_IN_MS }, []);
}

function overInPractice() {
  const before = best();
  const isBest = board.score > before;
  if (isBest) {
    try {
      localStorage.setItem(BEST, String(board.score));
    } catch {
      // A browser that keeps nothing has no best score either.
    }
  }
  showOutcome("Time is up", number(board.score), details(board.turns, board.largest));
  write("report", isBest ? "Your best so far." : `Your best so far: ${number(before)}`);
}

// --- panels ------------------------------------------------------------------------------------------------------

function introduce() {
  show("intro");
  by("intro-problem").hidden = true;
  write("intro-title", `${Math.round(duration / 1000)} seconds. Most points win.`);
  write(
    "intro-note",
    practising
      ? "Practice: nothing counts, and each run has a new board."
      : "You have one run. Its clock starts when you press Start, and goes on whatever happens: come back quickly if you lose the page.",
  );
  by("start").focus({ preventScroll: true });
}

const tapped = (taps) => (taps === 1 ? "1 tap" : `${taps} taps`);
const details = (taps, largest) =>
  taps ? `${tapped(taps)}, the largest group of ${largest} tiles` : "Not a tile was cleared";

function showOutcome(title, score, text = "") {
  const first = by("outcome").hidden;
  show("outcome");
  write("outcome-title", title);
  write("outcome-score", score);
  write("outcome-details", text);
  by("time-box").classList.remove("short");
  by("outcome-score").classList.toggle("counting", score === "Counting…");
  by("outcome-back").hidden = practising;
  by("practise").hidden = practising;
  by("again").hidden = !practising;
  if (first) by("outcome-title").focus({ preventScroll: true });
}

by("start").addEventListener("click", () => (practising ? startPractice() : startMatch()));
by("again").addEventListener("click", startPractice);
// The ring around the focus is for the keyboard, also where a script moved the focus.
addEventListener("pointerdown", () => document.body.classList.add("by-pointer"), true);
addEventListener("keydown", () => document.body.classList.remove("by-pointer"), true);
addEventListener("pagehide", () => log?.leave());
// A page that comes out of the browser's memory has an old clock and perhaps an old log.
addEventListener("pageshow", (event) => event.persisted && !practising && reload());
setInterval(drawClock, 100);

if (practising) {
  by("badge").hidden = false;
  introduce();
} else {
  reload();
}
