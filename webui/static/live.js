// Writes what moves into a page once a second.
//
// /live.json holds words and states by key; an element says with data-live which
// words are its own, with data-state-of which state. Where the layout changed
// (a capture began, a route came) the page is fetched again and its regions
// exchanged, what is typed and where the focus is kept.

const PERIOD_MS = 1000;
const body = document.body;
const stale = document.getElementById("stale");
let seen = new Date();

function show(now) {
  for (const element of document.querySelectorAll("[data-live]")) {
    const text = now.values[element.dataset.live];
    if (text !== undefined && element.textContent !== text) element.textContent = text;
  }
  for (const element of document.querySelectorAll("[data-state-of]")) {
    const state = now.states[element.dataset.stateOf];
    if (state !== undefined && element.dataset.state !== state) element.dataset.state = state;
  }
}

async function exchange() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const focused = document.activeElement?.id;
  for (const region of document.querySelectorAll("[data-region]")) {
    const other = fresh.querySelector(`[data-region="${region.dataset.region}"]`);
    if (!other) continue;
    for (const field of region.querySelectorAll("input[id]")) {
      const same = other.querySelector(`#${CSS.escape(field.id)}`);
      if (same) same.value = field.value;
    }
    region.replaceWith(document.adoptNode(other));
  }
  body.dataset.layout = fresh.body.dataset.layout;
  if (focused && document.activeElement === body) document.getElementById(focused)?.focus();
}

function complain() {
  stale.textContent = `No answer from the appliance since ${seen.toLocaleTimeString()}: the numbers are of that moment.`;
  stale.hidden = false;
}

async function tick() {
  const answer = await fetch(body.dataset.liveUrl, { signal: AbortSignal.timeout(8000) });
  if (answer.status === 401) {
    location.assign("/login");
    return;
  }
  if (!answer.ok) throw new Error(answer.statusText);
  const now = await answer.json();
  if (now.layout !== body.dataset.layout) await exchange();
  show(now);
  seen = new Date();
  stale.hidden = true;
}

async function run() {
  if (!document.hidden) await tick().catch(complain);
  setTimeout(run, PERIOD_MS);
}

setTimeout(run, PERIOD_MS);
