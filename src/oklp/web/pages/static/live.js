// Keeps a page up to date. An event says that something has happened; what, the page itself is asked for again, and its
// parts that are marked `data-refresh` are put in place of the old ones. So there is one way to draw each thing, and a
// page that was away for an hour is right again with the first answer.

const AGAIN_MS = [1000, 2000, 5000, 10000, 30000];

// A dialog in which somebody writes is not taken away under him: its part waits until the dialog closes.
const WRITING = "dialog[open] :is(textarea, input:not([type=hidden]))";
const FOCUSED = "a, button, summary";

let asking = false;
let again = false;
let held = false;

async function refresh(enliven) {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
    if (answer.ok) {
      swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
      enliven();
    }
  } catch {
    // Away: the stream's own reconnection calls again.
  } finally {
    asking = false;
    if (again) {
      again = false;
      refresh(enliven);
    }
  }
}

// Forms have a new key in each copy of the page, which is no change worth showing.
function looks(part) {
  const copy = part.cloneNode(true);
  for (const field of copy.querySelectorAll("input[type=hidden]")) field.remove();
  for (const dialog of copy.querySelectorAll("dialog")) {
    // It was opened once, and stands beside its button since (dialogs.js).
    dialog.previousElementSibling.append(...dialog.childNodes);
    dialog.remove();
  }
  for (const title of copy.querySelectorAll(".dialog-box > h2")) title.removeAttribute("id");
  for (const time of copy.querySelectorAll("time")) time.textContent = time.removeAttribute("data-done") ?? "";
  return copy.innerHTML.replace(/\s+/g, " ");
}

function swap(fresh) {
  held = false;
  for (const old of document.querySelectorAll("[data-refresh]")) {
    const next = fresh.getElementById(old.id);
    if (!next) {
      // The page has no such part now. It may come back, and then it stands here again.
      old.hidden = true;
      old.replaceChildren();
    }
    if (!next || looks(old) === looks(next)) continue;
    if (old.querySelector(WRITING)) {
      held = true;
      continue;
    }
    old.hidden = next.hidden;
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    if (focused?.matches("input:not([type=hidden]), select, textarea")) continue; // somebody is typing there
    const place = focused ? [...old.querySelectorAll(FOCUSED)].indexOf(focused) : -1;
    if (old.dataset.poll && !next.dataset.poll) delete old.dataset.poll;
    old.replaceChildren(...document.adoptNode(next).childNodes);
    const now = [...old.querySelectorAll(FOCUSED)];
    if (place >= 0) now[Math.min(place, now.length - 1)]?.focus();
  }
}

// Where no stream tells of changes: as often as a part says (`data-poll`, seconds), while it says so and is seen.
export function poll(enliven) {
  const part = document.querySelector("[data-poll]");
  if (!part) return;
  setTimeout(async () => {
    if (document.visibilityState === "visible") await refresh(enliven);
    poll(enliven);
  }, part.dataset.poll * 1000);
}

export function follow(url, enliven, offline) {
  let tries = 0;
  const open = () => {
    const events = new EventSource(url);
    const changed = () => refresh(enliven);
    for (const kind of ["match", "invitation", "wallet", "notification", "change"]) events.addEventListener(kind, changed);
    events.onopen = () => {
      if (tries) changed();
      tries = 0;
    };
    events.onerror = () => {
      if (tries === 2) offline();
      tries += 1;
      if (events.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      setTimeout(open, AGAIN_MS[Math.min(tries, AGAIN_MS.length) - 1]);
    };
    addEventListener("pagehide", () => events.close(), { once: true });
  };
  open();
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    open();
    refresh(enliven);
  });
  document.addEventListener("close", () => {
    if (held) refresh(enliven);
  }, true);
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") refresh(enliven);
  });
}
