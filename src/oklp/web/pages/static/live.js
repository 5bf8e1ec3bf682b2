// Keeps a page up to date. An event says that something has happened; what, the page itself is asked for again, and its
// parts that are marked `data-refresh` are put in place of the old ones. So there is one way to draw each thing, and a
// page that was away for an hour is right again with the first answer.

const AGAIN_MS = [1000, 2000, 5000, 10000, 30000];

const FOCUSED = "a, button, summary";
const IDLE_SECONDS = 5; // between two looks whether a part wants to be asked for

let asking = false;
let again = false;
let held = false;
let over = false; // the session

// A dialog that is open is not taken away under whoever reads it or writes in it, nor what was typed or chosen and not
// sent yet: their part waits.
function busy(part) {
  if (part.querySelector("dialog[open]")) return true;
  const typed = (field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked;
  if ([...part.querySelectorAll("input:not([type=hidden])")].some(typed)) return true;
  const given = (list) => Math.max([...list.options].findIndex((option) => option.defaultSelected), 0);
  return [...part.querySelectorAll("select")].some((list) => list.selectedIndex !== given(list));
}

// `page` does what is not done here: `enliven` what is new, say that it is `offline`, and whether the session `ended`.
async function refresh(page) {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const by = document.body.dataset.session ? "person" : "stranger";
    const headers = { Accept: "text/html", "Oklp-Refresh": by };
    const answer = await fetch(location.href, { headers, redirect: "manual" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [before, now] = [document, fresh].map((each) => each.body.dataset.person);
    if (before && now && before !== now) {
      // Somebody else has logged in: nothing of this page is theirs, the frame neither.
      location.replace(location.pathname + location.search);
      return;
    }
    if (answer.ok || answer.status === 401 || now) {
      over = answer.status === 401;
      page.ended(over); // what is shown stays, and so does what is typed
    }
    if (answer.ok) {
      swap(fresh);
      page.enliven();
    }
  } catch {
    // Away: the stream's own reconnection calls again.
  } finally {
    asking = false;
    if (again) {
      again = false;
      refresh(page);
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
  for (const countdown of copy.querySelectorAll("[data-countdown]")) countdown.textContent = "";
  for (const details of copy.querySelectorAll("details")) details.removeAttribute("open");
  for (const button of copy.querySelectorAll("[data-copy]")) button.hidden = true; // shown by scripts alone
  return copy.innerHTML.replace(/\s+/g, " ");
}

function swap(fresh) {
  held = false;
  // The forms of the session before are refused: all parts come anew.
  const session = fresh.body.dataset.session ?? "";
  const anew = session !== (document.body.dataset.session ?? "");
  let all = true;
  for (const old of document.querySelectorAll("[data-refresh]")) {
    const next = fresh.getElementById(old.id);
    // How often it wants to be asked for changes as well.
    if (next?.dataset.poll) old.dataset.poll = next.dataset.poll;
    else if (next) delete old.dataset.poll;
    if (!anew && next && looks(old) === looks(next)) continue;
    if (busy(old)) {
      held = true;
      all = false;
      continue;
    }
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    if (focused?.matches("input:not([type=hidden]), select, textarea")) {
      all = false; // somebody is typing there
      continue;
    }
    old.hidden = next?.hidden ?? true;
    if (!next) {
      // The page has no such part now. It may come back, and then it stands here again.
      old.replaceChildren();
      continue;
    }
    const place = focused ? [...old.querySelectorAll(FOCUSED)].indexOf(focused) : -1;
    old.replaceChildren(...document.adoptNode(next).childNodes);
    const now = [...old.querySelectorAll(FOCUSED)];
    if (place >= 0) now[Math.min(place, now.length - 1)]?.focus();
  }
  if (session && all) document.body.dataset.session = session;
}

// Where no stream tells of changes: as often as the most hurried part says (`data-poll`, seconds), while one says so, the
// page is seen, and the session goes on.
export function poll(page) {
  const seconds = [...document.querySelectorAll("[data-poll]")].map((part) => Number(part.dataset.poll));
  setTimeout(async () => {
    if (seconds.length && document.visibilityState === "visible" && !over) await refresh(page);
    poll(page);
  }, Math.min(...seconds, ...(seconds.length ? [] : [IDLE_SECONDS])) * 1000);
}

// A page that is seen again is up to date at once, and one whose session was over may have another by now.
export function watch(page) {
  const changed = () => document.querySelector("[data-refresh]") && refresh(page);
  addEventListener("pageshow", (event) => event.persisted && changed());
  document.addEventListener("close", () => held && changed(), true);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && changed());
}

// While the page is seen: browsers have six connections to a server, and a tab behind others would keep one of them.
export function follow(url, page) {
  let tries = 0;
  let events = null;
  let waiting = 0;
  const changed = () => refresh(page);
  const close = () => {
    clearTimeout(waiting);
    events?.close();
    events = null;
  };
  const open = () => {
    close();
    if (document.visibilityState !== "visible") return;
    events = new EventSource(url);
    for (const kind of ["match", "invitation", "wallet", "notification", "change"]) events.addEventListener(kind, changed);
    events.onopen = () => {
      if (tries) changed();
      tries = 0;
    };
    events.onerror = () => {
      if (tries === 2 && !over) page.offline();
      tries += 1;
      if (events?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      // Refused: the page itself knows whether the session is over. Not each time: a server may have too much to do.
      if (!over && tries === 1) changed();
      waiting = setTimeout(open, AGAIN_MS[Math.min(tries, AGAIN_MS.length) - 1]);
    };
  };
  open();
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());
  document.addEventListener("visibilitychange", open);
}
