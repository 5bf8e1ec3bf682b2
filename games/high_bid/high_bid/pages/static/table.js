// The table of one player: shows what the server says, and sends the card that is chosen.

const REVEAL_MS = 2000;
const SHORT_MS = 10_000;
// The server says something every ten seconds: one of it may be late, and two are not.
const LATE_MS = 12_000;
const SILENCE_MS = 25_000;
const CROWN = "M2 16 0 4l7 5 6-9 6 9 7-5-2 12z";

const base = location.pathname.replace(/\/$/, "");
const by = (name) => document.querySelector(`[data-id="${name}"]`);

let state = null; // the last state that the server sent
let shown = 0; // rounds whose cards have been shown
let revealing = false;
let choosing = false;
let stream = null;
let aliveAt = 0; // when the stream last gave a sign of life, by Date, which goes on while a device sleeps
let retry = null; // the timer of the next stream
let ends = 0; // when the round's time is up, by performance.now()
let whole = 1; // the round's time, in ms

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
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const settled = () => state !== null && (state.reported || state.phase === "aborted");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// --- drawing -----------------------------------------------------------------------------------------------------

function drawCard(name, classes, text) {
  const card = by(name);
  card.className = `card ${classes}`;
  card.textContent = text;
}

function drawStake(stake, fresh) {
  const prize = stake.at(-1);
  const holder = by("stake");
  const key = stake.join("+");
  if (holder.dataset.key !== key) {
    holder.dataset.key = key;
    const card = make("div", fresh ? "prize-card dealt" : "prize-card");
    const crown = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    crown.setAttribute("viewBox", "0 0 26 18");
    crown.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", CROWN);
    path.setAttribute("fill", "currentColor");
    crown.append(path);
    card.append(crown, make("b", "", String(prize)), make("span", "", prize === 1 ? "point" : "points"));
    holder.replaceChildren(card);
    if (stake.length > 1) {
      const carried = make("div", "carried");
      carried.append(make("span", "chip", `+${sum(stake) - prize}`));
      holder.append(carried);
    }
  }
  write("stake-text", stake.length > 1 ? `Prize, ${sum(stake)} in all` : "Prize");
}

function drawHand(playable) {
  const hand = by("hand");
  if (!hand.children.length) {
    for (let card = 1; card <= state.rounds; card += 1) {
      const button = make("button", "", String(card));
      button.type = "button";
      button.addEventListener("click", () => choose(card));
      hand.append(button);
    }
  }
  for (const [index, button] of [...hand.children].entries()) {
    const card = index + 1;
    const held = state.you.hand.includes(card);
    button.disabled = !playable || !held;
    button.classList.toggle("spent", !held);
    button.classList.toggle("chosen", state.you.choice === card);
    button.setAttribute("aria-label", held ? `Card ${card}` : `Card ${card}, spent`);
    button.setAttribute("aria-pressed", String(state.you.choice === card));
  }
}

function drawRounds(upTo) {
  const items = [];
  for (let index = 0; index < state.rounds; index += 1) {
    const round = index < upTo ? state.history[index] : null;
    const item = make("li");
    if (round) {
      item.className = round.taken_by ?? "tied";
      item.append(make("b", "", String(sum(round.stake))), make("small", "", `${round.you}–${round.them}`));
      const who = { you: "you took it", them: `${opponent()} took it` }[round.taken_by] ?? "nobody took it";
      item.setAttribute("aria-label", `Round ${index + 1}: ${sum(round.stake)} points, ${who}`);
    } else {
      if (index === upTo && state.phase === "playing") item.className = "now";
      item.append(make("small", "", String(index + 1)));
    }
    items.push(item);
  }
  by("rounds").replaceChildren(...items);
}

function drawSides(upTo) {
  const taken = (who) => sum(state.history.slice(0, upTo).filter((r) => r.taken_by === who).flatMap((r) => r.stake));
  write("you-points", String(taken("you")));
  write("them-points", String(taken("them")));
  write("you-name", "You");
  write("them-name", opponent());
  write("them-caption", state.them.name ? `${state.them.name}’s card` : "Their card");
  write("them-hand-title", state.them.name ? `Still held by ${state.them.name}` : "Still in their hand");
  const cards = state.them.hand.map((card) => make("span", "", String(card)));
  by("them-hand").replaceChildren(...(cards.length ? cards : [make("em", "", "Nothing")]));
}

function say(text, side = "") {
  const line = by("say");
  line.className = `say ${side}`;
  write("say", text);
}

function drawReveal(round, number) {
  drawStake(round.stake, false);
  const mine = round.taken_by === "you" ? "won" : "beaten";
  const theirs = round.taken_by === "them" ? "won" : "beaten";
  drawCard("you-card", `up turned ${round.taken_by ? mine : ""}`, String(round.you));
  drawCard("them-card", `up turned ${round.taken_by ? theirs : ""}`, String(round.them));
  const worth = sum(round.stake);
  const points = worth === 1 ? "1 point" : `${worth} points`;
  if (round.taken_by === "you") say(`You take ${points}.`, "you");
  else if (round.taken_by === "them") say(`${opponent()} takes ${points}.`, "them");
  else if (number < state.rounds) say(`Equal. The ${worth} will be added to the next prize.`);
  else say("Equal. Nobody takes it.");
  write("round", `Round ${number} of ${state.rounds}`);
  drawSides(number);
  drawRounds(number);
  drawHand(false);
}

function drawPlay() {
  drawStake([...state.carried, state.prize], true);
  const { choice } = state.you;
  drawCard("you-card", choice === null ? "" : "chosen", choice === null ? "" : String(choice));
  drawCard("them-card", state.them.ready ? "down" : "", state.them.ready ? "✓" : "");
  by("them-card").setAttribute("aria-label", state.them.ready ? "Chosen, face down" : "");
  write("round", `Round ${state.round} of ${state.rounds}`);
  const playing = state.phase === "playing";
  if (!playing) say(`Waiting for ${opponent()} to come to the table…`);
  else if (choice !== null) say(`Waiting for ${opponent()} to choose…`);
  else if (state.them.ready) say(`${opponent()} has chosen. Your turn.`, "you");
  else say("Choose a card. The higher one takes the prize.");
  drawHand(playing && choice === null && !choosing);
}

function outcomeWords() {
  const score = `${state.you.points}\u00a0:\u00a0${state.them.points}`;
  const level = state.you.points === state.them.points;
  if (state.phase === "aborted") return ["Match called off", "All entry fees went back to the players.", ""];
  if (state.outcome === "off") return ["Not played", "Neither of you played, so all entry fees go back.", ""];
  if (state.outcome === "draw") return [`A draw, ${score}`, "You share the prize.", ""];
  if (state.outcome === "won") {
    const text = state.them.forfeit
      ? `${opponent()} did not play on.`
      : level ? "Equal points, and you took the most valuable prize." : "Well played.";
    return [state.them.forfeit ? "You win" : `You win, ${score}`, text, "won"];
  }
  if (state.you.forfeit) return ["Forfeited", "You did not play in time, twice in a row or at all.", "lost"];
  const text = level
    ? `Equal points, and ${opponent()} took the most valuable prize.`
    : "Keep an eye on what they still hold: nothing here is luck.";
  return [`${opponent()} wins, ${state.them.points}\u00a0:\u00a0${state.you.points}`, text, "lost"];
}

function reportWords() {
  if (state.phase === "aborted") return "";
  if (!state.reported) return "Sending the result to the platform…";
  if (!state.accepted) return "The platform has decided this match itself: see your match.";
  if (state.outcome === "won") return "The platform has the result, and pays the prize into your wallet.";
  return "The platform has the result.";
}

function drawOutcome() {
  const [title, text, className] = outcomeWords();
  const outcome = by("outcome");
  const first = outcome.hidden;
  outcome.className = `outcome ${className}`;
  write("outcome-title", title);
  write("outcome-text", text);
  write("outcome-paid", reportWords());
  outcome.hidden = false;
  by("slots").hidden = true;
  by("say").hidden = true;
  by("hand-area").hidden = true;
  by("held").hidden = true;
  by("facts").classList.add("alone");
  write("round", state.phase === "aborted" ? "Called off" : "Final");
  if (first) by("outcome-title").focus();
}

function draw() {
  by("board").hidden = false;
  by("back").href = state.back_url;
  by("outcome-back").href = state.back_url;
  if (revealing) return;
  const done = state.phase === "over" || state.phase === "aborted";
  drawSides(state.history.length);
  drawRounds(state.history.length);
  if (done) drawOutcome();
  else drawPlay();
}

function drawClock() {
  const running = state !== null && state.phase === "playing" && !revealing;
  const left = Math.max(0, ends - performance.now());
  by("clock").classList.toggle("short", running && left < SHORT_MS);
  by("track").classList.toggle("short", running && left < SHORT_MS);
  by("track").parentElement.hidden = !running;
  by("clock").hidden = !running;
  write("clock", running ? `${Math.ceil(Math.min(left, whole) / 1000)} s` : "");
  by("track").style.transform = `scaleX(${Math.min(1, left / whole)})`;
}

// --- what happens ------------------------------------------------------------------------------------------------

async function reveal() {
  revealing = true;
  while (shown < state.history.length) {
    shown += 1;
    drawReveal(state.history[shown - 1], shown);
    await pause(REVEAL_MS);
  }
  revealing = false;
  draw();
}

function take(fresh) {
  const first = state === null;
  const before = state?.round;
  state = fresh;
  const left = state.seconds_left * 1000;
  ends = performance.now() + left;
  // What the server adds for looking at the cards is not shown as time.
  if (before !== state.round) whole = Math.min(left, state.round_seconds * 1000) || 1;
  // Who comes back in the middle is not shown again what has been played.
  if (first) shown = state.history.length;
  if (shown < state.history.length && !revealing && state.phase !== "aborted") reveal();
  else draw();
}

async function choose(card) {
  if (choosing || revealing || state.phase !== "playing" || state.you.choice !== null) return;
  if (!state.you.hand.includes(card)) return;
  choosing = true;
  drawHand(false);
  try {
    const answer = await fetch(`${base}/bid`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ round: state.round, card }),
    });
    const body = await answer.json();
    choosing = false;
    if (answer.ok) take(body);
    else {
      draw();
      say(body.detail);
    }
  } catch {
    choosing = false;
    draw();
    say("That did not get through. Please choose again.");
  }
}

function listen() {
  clearTimeout(retry);
  aliveAt = Date.now();
  const mine = new EventSource(`${base}/events`);
  stream = mine;
  stream.onmessage = (message) => {
    aliveAt = Date.now();
    by("offline").hidden = true;
    take(JSON.parse(message.data));
  };
  stream.onerror = () => {
    if (settled()) {
      // The server ends the stream after the last word.
      mine.close();
      return;
    }
    by("offline").hidden = false;
    // A browser gives up for good when the answer was not a stream, as while the server restarts.
    if (mine.readyState === EventSource.CLOSED) retry = setTimeout(listen, 2000);
  };
}

// A connection that died without a word, as when a phone changes networks, looks like one on which nothing happens,
// while the round's clock runs at the server.
function listenAnew() {
  if (settled()) return;
  stream.onmessage = stream.onerror = null;
  stream.close();
  listen();
}

function checkThatItLives(silence) {
  if (settled() || Date.now() - aliveAt < silence) return;
  by("offline").hidden = false;
  listenAnew();
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || state === null) return;
  const card = Number(event.key);
  if (Number.isInteger(card) && card >= 1 && card <= state.rounds) choose(card);
});

addEventListener("online", listenAnew);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && checkThatItLives(LATE_MS));
setInterval(() => checkThatItLives(SILENCE_MS), 1000);
setInterval(drawClock, 200);
listen();
