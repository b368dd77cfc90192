// Live pages over one connection per browser. The tab that holds the lock listens to /live and passes what it hears to
// the others; a message carries topics alone, and each tab fetches its own page again under its own rights and takes from
// it the elements that the topics concern:
//
//   <section id="mine" data-live="bookings booking:bk_01…">     id: required, to find it again in the fetched page
//
// The server sends `event: touched` with data {"topics":["bookings","booking:bk_…"]}. What is being typed in is left alone.

const CHANNEL = "gristmill-live";
const GATHER_MS = 250; // several messages in this time are one fetch

const channel = "BroadcastChannel" in window ? new BroadcastChannel(CHANNEL) : null;
let waiting = null;
let touched = new Set();

const concerns = (element, topics) => element.dataset.live.split(/\s+/).some((topic) => topics.has(topic) || topics.has("*"));
const beingTyped = (element) => {
  const active = document.activeElement;
  return active && element.contains(active) && active.matches("input, textarea, select");
};

async function refresh() {
  waiting = null;
  if (document.hidden) return; // gathered until somebody looks
  const topics = touched;
  touched = new Set();
  const stale = [...document.querySelectorAll("[data-live][id]")].filter((element) => concerns(element, topics));
  if (stale.length === 0) return;
  const answer = await fetch(location.href, { headers: { accept: "text/html", "x-live": "1" }, credentials: "same-origin" });
  if (answer.status === 401 || (answer.redirected && new URL(answer.url).pathname !== location.pathname)) {
    location.reload(); // signed out, or the page has moved: the server knows where to
    return;
  }
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const element of stale) {
    const next = fresh.getElementById(element.id);
    if (!next || !element.isConnected || beingTyped(element)) continue;
    // What the reader has folded stays folded.
    for (const folded of element.querySelectorAll("details[id]")) {
      const same = next.querySelector(`#${CSS.escape(folded.id)}`);
      if (same) same.open = folded.open;
    }
    if (next.isEqualNode(element)) continue;
    if (window.htmx) await window.htmx.swap({ sourceElement: element, target: element, text: next.outerHTML, swap: "outerMorph ignoreTitle:true" });
    else element.replaceWith(document.adoptNode(next));
    document.dispatchEvent(new CustomEvent("live:refreshed", { detail: { id: element.id } }));
  }
}

function hear(topics) {
  for (const topic of topics) touched.add(topic);
  document.dispatchEvent(new CustomEvent("live:touched", { detail: { topics } }));
  waiting ??= setTimeout(() => refresh().catch(() => {}), GATHER_MS);
}

function listen() {
  const source = new EventSource("/live");
  let opened = false;
  source.addEventListener("open", () => {
    // After a gap anything may have changed.
    if (opened) { hear(["*"]); channel?.postMessage(["*"]); }
    opened = true;
  });
  source.addEventListener("touched", (event) => {
    const { topics } = JSON.parse(event.data);
    hear(topics);
    channel?.postMessage(topics);
  });
  // A refused stream (signed out) stays closed; the next page says why.
  return new Promise((done) => source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) done(); }));
}

channel?.addEventListener("message", (event) => hear(event.data));
document.addEventListener("live:ask", () => hear(["*"]));
document.addEventListener("visibilitychange", () => { if (!document.hidden && touched.size > 0) hear([]); });
if (navigator.locks) navigator.locks.request(CHANNEL, listen);
else listen();
