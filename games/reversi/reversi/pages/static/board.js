// The board of one player: shows what the server says, and sends the moves that are chosen. It knows no rules.

const FILES = "abcdefgh";
const SHORT_MS = 20_000;
const WARN_MS = [30_000, 10_000];
const OUSTED = 4001;
const DONE = 1000;
const STAGGER_MS = 70;
// The server says something every ten seconds: one of it may be late, and two are not.
const LATE_MS = 12_000;
const SILENCE_MS = 25_000;

const by = (name) => document.querySelector(`[data-id="${name}"]`);
const names = Array.from({ length: 64 }, (_, at) => FILES[at % 8] + (Math.floor(at / 8) + 1));

let state = null; // the last state that the server sent
let heard = 0; // when, by performance.now()
let sent = null; // the move that is on its way: {number, square}
let focus = 27; // the square that the keyboard is on
let socket = null;
let aliveAt = 0; // when the connection last gave a sign of life, by Date, which goes on while a device sleeps
let retry = null; // the timer of the next attempt to connect
let finished = false; // no connection is wanted any more
let failures = 0;
let refusal = "";
let warned = 0; // warnings about the time that were given

// --- small helpers -----------------------------------------------------------------------------------------------

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function write(name, text) {
  const element = by(name);
  if (element.textContent !== text) element.textContent = text;
}

const opponent = () => state.them.name || "Your opponent";
const plural = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
const ended = () => state !== null && (state.phase === "over" || state.phase === "aborted");
const settled = () => ended() && (state.phase === "aborted" || state.practice || state.answer !== "");

// --- the board ---------------------------------------------------------------------------------------------------

const cells = [];

function build() {
  by("files").replaceChildren(...[...FILES].map((file) => make("span", "", file)));
  by("ranks").replaceChildren(...[..."12345678"].map((rank) => make("span", "", rank)));
  for (let row = 0; row < 8; row += 1) {
    const line = make("div", "row");
    line.setAttribute("role", "row");
    for (let column = 0; column < 8; column += 1) {
      const at = row * 8 + column;
      const cell = make("button", "cell empty");
      cell.type = "button";
      cell.tabIndex = at === focus ? 0 : -1;
      cell.dataset.square = names[at];
      cell.setAttribute("role", "gridcell");
      const disc = make("span", "disc");
      disc.append(make("span", "face dark"), make("span", "face light"));
      cell.append(disc);
      cell.addEventListener("click", () => choose(at));
      cell.addEventListener("focus", () => goTo(at));
      cells.push(cell);
      line.append(cell);
    }
    by("grid").append(line);
  }
}

function goTo(at) {
  cells[focus].tabIndex = -1;
  focus = at;
  cells[at].tabIndex = 0;
}

const STEPS = {
  ArrowLeft: ([row, column]) => [row, column - 1],
  ArrowRight: ([row, column]) => [row, column + 1],
  ArrowUp: ([row, column]) => [row - 1, column],
  ArrowDown: ([row, column]) => [row + 1, column],
  Home: ([row]) => [row, 0],
  End: ([row]) => [row, 7],
  PageUp: ([, column]) => [0, column],
  PageDown: ([, column]) => [7, column],
};

function onKey(event) {
  const step = STEPS[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const [row, column] = step([Math.floor(focus / 8), focus % 8]);
  if (row < 0 || row > 7 || column < 0 || column > 7) return;
  goTo(row * 8 + column);
  cells[focus].focus();
}

function labelOf(at, colour, legal, last) {
  const words = [names[at]];
  if (colour) words.push(colour);
  else words.push(legal ? "you can play here" : "empty");
  if (last) words.push("last move");
  return words.join(", ");
}

function drawBoard(before) {
  const lastName = state.moves.length ? state.moves.at(-1)[1] : null;
  const last = names.indexOf(lastName);
  const legal = new Set(sent ? [] : state.legal);
  for (const [at, cell] of cells.entries()) {
    const colour = { b: "black", w: "white" }[state.board[at]];
    const placed = colour && (!before || before[at] === ".");
    const away = Math.max(Math.abs((at % 8) - (last % 8)), Math.abs(Math.floor(at / 8) - Math.floor(last / 8)));
    cell.style.setProperty("--delay", `${last < 0 ? 0 : away * STAGGER_MS}ms`);
    const classes = ["cell", colour ?? "empty"];
    if (placed && before) classes.push("placed");
    else if (cell.classList.contains("placed") && before && before[at] === state.board[at]) classes.push("placed");
    if (legal.has(names[at])) classes.push("legal");
    if (at === last) classes.push("last");
    if (sent?.square === names[at] && !colour) classes.push("legal", "sent");
    const wanted = classes.join(" ");
    if (cell.className !== wanted) cell.className = wanted;
    cell.setAttribute("aria-label", labelOf(at, colour, legal.has(names[at]), at === last));
    cell.setAttribute("aria-disabled", String(!legal.has(names[at])));
  }
}

// --- around it ---------------------------------------------------------------------------------------------------

function drawSide(who) {
  const side = state[who];
  const turn = state.turn === who;
  by(who).classList.toggle("turn", turn);
  by(`${who}-token`).className = `token ${side.colour}`;
  by(`${who}-token`).setAttribute("aria-label", `Plays ${side.colour}`);
  write(`${who}-name`, who === "you" ? "You" : opponent());
  const colour = side.colour === "black" ? "Black" : "White";
  let note = turn ? "To move" : colour;
  let away = false;
  if (who === "them" && !ended() && !side.here) {
    note = side.arrived ? "Away" : "Not here yet";
    away = side.arrived;
  }
  if (side.forfeit) note = "Forfeited";
  by(`${who}-note`).classList.toggle("away", away);
  write(`${who}-note`, note);
  write(`${who}-discs`, String(side.discs));
}

function drawMoves() {
  const list = by("moves");
  while (list.children.length > state.moves.length) list.lastChild.remove();
  for (let at = list.children.length; at < state.moves.length; at += 1) {
    const [colour, square] = state.moves[at];
    const item = make("li", colour, square);
    item.setAttribute("aria-label", `${at + 1}, ${colour} ${square}`);
    list.append(item);
    showLastMove();
  }
  for (const item of list.children) item.classList.toggle("now", item === list.lastChild);
}

function showLastMove() {
  by("moves").scrollTop = by("moves").scrollHeight;
}

// What is to be done now, and what was done before.
function sentences() {
  if (ended()) return ["", ""];
  if (state.phase === "waiting") {
    const minutes = Math.ceil(state.arrival_ms / 60_000);
    return [`Waiting for ${opponent()}`, `For ${plural(minutes, "minute")} at most. You play ${state.you.colour}.`];
  }
  const mine = state.turn === "you";
  let then = "";
  if (state.moves.length) {
    const [colour, square] = state.moves.at(-1);
    then = `${colour === state.you.colour ? "You" : opponent()} played ${square}.`;
  } else if (mine) then = "You play black and begin.";
  if (state.passed === "you") then += " You have no move, so you pass.";
  if (state.passed === "them") then += ` ${opponent()} has no move and passes.`;
  if (!mine && !state.them.here) then += " Their clock runs while they are away.";
  return [mine ? "Your move" : `${opponent()} is to move`, refusal || then.trim()];
}

function outcomeWords() {
  const score = `${state.you.discs}\u00a0:\u00a0${state.them.discs}`;
  if (state.phase === "aborted") return ["Match called off", "All entry fees went back to the players."];
  if (state.outcome === "off") return ["Not played", "Neither of you came in time, so all entry fees go back."];
  if (state.outcome === "draw") return [`A draw, ${score}`, "Equal discs: you share the first place."];
  const won = state.outcome === "won";
  const loser = won ? opponent() : "You";
  const how = {
    counted: won ? "Well played." : "Corners decide: a disc there is never turned again.",
    resigned: `${loser} resigned, with the discs at ${score}.`,
    flag: `${won ? `${opponent()}’s` : "Your"} time ran out, with the discs at ${score}.`,
    absent: `${loser} did not come in time.`,
  }[state.ending];
  const title = won ? "You win" : `${opponent()} wins`;
  // Who wins is named first, and so are their discs.
  const counted = won ? score : `${state.them.discs}\u00a0:\u00a0${state.you.discs}`;
  return [state.ending === "counted" ? `${title}, ${counted}` : title, how];
}

function reportWords() {
  if (state.phase === "aborted" || state.practice) return "";
  if (state.answer === "") return "Sending the result to the platform…";
  if (state.answer !== "accepted") return "The platform has decided this match itself: see your match.";
  if (state.outcome === "won") return "The platform has the result, and pays the prize into your wallet.";
  return "The platform has the result.";
}

function drawOutcome() {
  const outcome = by("outcome");
  const first = outcome.hidden && ended();
  outcome.hidden = !ended();
  by("say").hidden = ended();
  by("actions").hidden = ended();
  if (!ended()) return;
  const [title, text] = outcomeWords();
  outcome.className = `outcome ${state.outcome ?? ""}`;
  write("outcome-title", title);
  write("outcome-text", text);
  write("outcome-paid", reportWords());
  by("outcome-paid").hidden = reportWords() === "";
  if (by("ask").open) by("ask").close("no");
  if (!first) return;
  by("outcome-title").focus({ preventScroll: true });
  showLastMove(); // the list has become shorter
}

function drawClocks() {
  if (state === null) return;
  const passed = Math.max(0, performance.now() - heard - state.paused_ms);
  for (const who of ["you", "them"]) {
    const running = state.turn === who;
    const left = Math.max(0, state[who].clock_ms - (running ? passed : 0));
    const whole = Math.ceil(left / 1000);
    const short = left < SHORT_MS;
    const text = short ? (Math.ceil(left / 100) / 10).toFixed(1) : `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
    write(`${who}-clock`, text);
    by(`${who}-clock`).classList.toggle("short", short);
    if (running && who === "you" && warned < WARN_MS.length && left < WARN_MS[warned]) {
      while (warned < WARN_MS.length && left < WARN_MS[warned]) warned += 1;
      write("alarm", `${Math.ceil(left / 1000)} seconds left.`);
    }
  }
}

function draw(before) {
  by("table").hidden = false;
  by("tag").hidden = !state.practice;
  drawBoard(before);
  drawSide("you");
  drawSide("them");
  drawMoves();
  const [now, then] = sentences();
  write("say-now", now);
  write("say-then", then);
  by("say").classList.toggle("mine", state.turn === "you");
  drawOutcome();
  drawClocks();
  document.title = `${state.turn === "you" ? "● Your move · " : ""}Reversi`;
}

// --- what happens ------------------------------------------------------------------------------------------------

function take(fresh) {
  const before = state?.board;
  if (state === null && fresh.legal.length) goTo(names.indexOf(fresh.legal[0]));
  if (fresh.moves.length !== state?.moves.length) refusal = "";
  if (sent && fresh.moves.length >= sent.number) sent = null;
  state = fresh;
  heard = performance.now();
  draw(before);
}

function choose(at) {
  goTo(at);
  if (state === null || sent || state.turn !== "you" || !state.legal.includes(names[at])) return;
  sent = { number: state.moves.length + 1, square: names[at] };
  refusal = "";
  tell({ type: "move", ...sent });
  draw(state.board);
}

function tell(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function offline(text) {
  write("offline", text);
  by("offline").hidden = text === "";
}

// A session that ended, or a match that is gone, is no reason to try for ever: the page then says what there is to say.
async function stillSeated() {
  try {
    const answer = await fetch(location.pathname, { method: "HEAD" });
    return answer.status !== 404;
  } catch {
    return true;
  }
}

function connect() {
  clearTimeout(retry);
  const address = new URL(`${location.pathname.replace(/\/$/, "")}/socket`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const mine = new WebSocket(address);
  socket = mine;
  aliveAt = Date.now();
  let opened = false;
  socket.onopen = () => {
    opened = true;
    failures = 0;
    aliveAt = Date.now();
    offline("");
    // It may have been lost on its way; the server takes the same move once.
    if (sent) tell({ type: "move", ...sent });
  };
  socket.onmessage = (message) => {
    aliveAt = Date.now();
    const said = JSON.parse(message.data);
    if (said.type === "state") take(said);
    else {
      sent = null;
      refusal = said.detail;
      draw(state.board);
    }
  };
  socket.onclose = async (event) => {
    finished = event.code === OUSTED || (event.code === DONE && settled());
    if (event.code === OUSTED) offline("This board is open in too many other windows. Reload to play here.");
    if (finished) return;
    offline("Connection lost. Trying again…");
    const seated = opened || (await stillSeated());
    // Meanwhile `connectAnew` may have been faster.
    if (socket !== mine) return;
    if (!seated) {
      location.reload();
      return;
    }
    failures += 1;
    retry = setTimeout(connect, Math.min(4000, 250 * 2 ** failures) * (0.75 + Math.random() / 2));
  };
}

// A connection that died without a word, as when a phone changes networks, looks like one on which nothing happens,
// while the player's clock runs at the server. Closing it would wait for an answer that never comes: it is left behind.
function connectAnew() {
  if (finished) return;
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close();
  connect();
}

function checkThatItLives(silence) {
  if (finished || Date.now() - aliveAt < silence) return;
  offline("Connection lost. Trying again…");
  connectAnew();
}

function resign() {
  const ask = by("ask");
  write("ask-text", state?.practice ? "The bot wins. It was only practice." : `${opponent()} wins the match and its prize. This cannot be taken back.`);
  ask.returnValue = "no";
  ask.showModal();
}

build();
by("grid").addEventListener("keydown", onKey);
by("resign").addEventListener("click", () => state && resign());
by("ask").addEventListener("close", () => by("ask").returnValue === "yes" && tell({ type: "resign" }));
addEventListener("online", connectAnew);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && checkThatItLives(LATE_MS));
setInterval(() => checkThatItLives(SILENCE_MS), 1000);
setInterval(drawClocks, 100);
connect();
