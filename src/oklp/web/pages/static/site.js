// What a page does beyond HTML: times in the visitor's zone, countdowns, copying; and staying up to date.

import { check } from "./checks.js";
import "./dialogs.js";
import { follow, poll, watch } from "./live.js";
import "./passkeys.js";

const language = document.documentElement.lang;
const dateStyle = matchMedia("(max-width: 46rem)").matches ? "short" : "medium";
const moments = new Intl.DateTimeFormat(language, { dateStyle, timeStyle: "short" });
const toasts = document.querySelector("[data-toasts]");

export function toast(text) {
  const box = document.createElement("p");
  box.className = "toast";
  box.textContent = text;
  toasts.append(box);
  setTimeout(() => box.remove(), 4000);
}

// That the session is over stays said until it is not: in a tab of its own one logs in, and what is typed here waits.
let ending = null;
function ended(over) {
  if (over === Boolean(ending)) return;
  ending?.remove();
  ending = null;
  if (!over) return;
  ending = document.createElement("p");
  ending.className = "toast";
  const door = document.createElement("a");
  door.href = `${toasts.dataset.door}?next=${encodeURIComponent(location.pathname + location.search)}`;
  door.target = "_blank";
  door.rel = "noopener";
  door.textContent = toasts.dataset.enter;
  ending.append(`${toasts.dataset.ended} `, door);
  toasts.append(ending);
}

function left(until) {
  const seconds = Math.max(0, Math.round((until - Date.now()) / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

function tick() {
  for (const part of document.querySelectorAll("[data-countdown]")) {
    const text = part.dataset.text.replace("{}", left(Date.parse(part.dataset.countdown)));
    if (part.textContent !== text) part.textContent = text;
  }
}

// What somebody has opened or closed stays so when its part comes anew.
const opened = new Map();
function nameOf(details) {
  const part = details.closest("[data-refresh]");
  return part && `${part.id} ${details.id || [...part.querySelectorAll("details")].indexOf(details)}`;
}
document.addEventListener("toggle", ({ target }) => {
  if (target.matches("[data-refresh] details:not(.dialog)")) opened.set(nameOf(target), target.open);
}, true);

// Parts of the page come anew when something happens, so this is done again after each.
export function enliven() {
  for (const details of document.querySelectorAll("[data-refresh] details:not(.dialog)")) {
    details.open = opened.get(nameOf(details)) ?? details.open;
  }
  for (const time of document.querySelectorAll("time[data-local]:not([data-done])")) {
    time.textContent = moments.format(new Date(time.dateTime));
    time.dataset.done = "";
  }
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  tick();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy || button.previousElementSibling.textContent);
  toast(toasts.dataset.copied);
});

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  if (!navigator.onLine) {
    // The browser's own page of an error would take the place of what was typed.
    event.preventDefault();
    toast(toasts.dataset.wait);
    return;
  }
  if (event.defaultPrevented || event.target.dataset.sent !== undefined) {
    event.preventDefault();
    return;
  }
  event.target.dataset.sent = "";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// What the browser refuses to send unfolds: it points at no field that is not in sight, and a press would do nothing.
document.addEventListener("invalid", ({ target }) => {
  for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
}, true);

// Where a row of pages is wider than a phone, the one that is shown is in sight.
for (const tab of document.querySelectorAll(".subnav [aria-current]")) {
  const [row, own] = [tab.parentElement.getBoundingClientRect(), tab.getBoundingClientRect()];
  tab.parentElement.scrollLeft += own.left + own.width / 2 - row.left - row.width / 2;
}

// A form that came back after a log-in is at its own address, not at that of the log-in.
if (document.body.dataset.address) history.replaceState(null, "", document.body.dataset.address);

const offlineBar = document.querySelector("[data-offline-bar]");
const showConnection = () => (offlineBar.hidden = navigator.onLine);
for (const change of ["online", "offline"]) addEventListener(change, showConnection);
showConnection();

// How many may play and what it costs follow the game that is chosen, and the browser can look at the form before it is
// sent. A fee that somebody has typed stays.
for (const part of document.querySelectorAll("[data-shapes]")) {
  const shapes = JSON.parse(part.dataset.shapes);
  const fees = JSON.parse(part.dataset.fees);
  const form = part.closest("form");
  const { game, fee } = form.elements;
  const hint = form.querySelector("#h-fee"); // none where an error is in its place
  let usual = fees[game.value]?.usual ?? "";
  const fit = (changed) => {
    const known = fees[game.value];
    if (known && hint) hint.textContent = known.hint;
    if (known && changed && fee.value === usual) fee.value = usual = known.usual;
    for (const [name, [least, most]] of Object.entries(shapes[game.value] ?? {})) {
      const field = form.elements[name];
      [field.min, field.max] = [least, most];
      if (changed) field.value = Math.min(Math.max(field.value, least), most);
    }
  };
  game.addEventListener("change", fit);
  fit(); // a browser that loads the page again keeps what was chosen
  for (const button of form.querySelectorAll("[formnovalidate]")) button.formNoValidate = false;
}

for (const form of document.querySelectorAll("form[data-check]")) check(form);
enliven();
setInterval(tick, 1000);
const page = { enliven, ended, offline: () => toast(toasts.dataset.offline) };
poll(page);
watch(page);
if (document.body.dataset.live) follow(document.body.dataset.live, page);
