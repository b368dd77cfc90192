// What forms gain with scripts on: a second press does nothing, a kept field survives a reload, a secret can be copied,
// and "/" finds. Every form works without this file; nothing here talks to the server.

const kept = (field) => `keep:${location.pathname}:${field.name}`;

function store(action) {
  // Storage may be switched off; then nothing is kept.
  try { return action(sessionStorage); } catch { return null; }
}

// A second press: the first submission disables the buttons until the page is shown again.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  const question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
  if (question && !confirm(question)) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  form.classList.add("busy");
  for (const field of form.querySelectorAll("[data-keep]")) store((s) => s.removeItem(kept(field)));
  // After the browser has gathered the fields: a disabled button would not send its name.
  setTimeout(() => { for (const button of form.querySelectorAll("button")) button.disabled = true; }, 0);
});

addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.classList.remove("busy");
    for (const button of form.querySelectorAll("button")) button.disabled = false;
  }
});

// Kept fields: typed text stays through a reload of this tab. Never a password.
for (const field of document.querySelectorAll("[data-keep]")) {
  if (field.type === "password" || field.type === "hidden") continue;
  const before = store((s) => s.getItem(kept(field)));
  if (before && field.value === "") field.value = before;
  field.addEventListener("input", () => store((s) => s.setItem(kept(field), field.value)));
}

// The reader's own zone, offered where the form asks for one and nothing was typed.
for (const field of document.querySelectorAll("[data-zone-guess]")) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!zone || field.dataset.zoneGuess === "typed") continue;
  if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === zone)) field.value = zone;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  if (!source) return;
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText((source.value ?? source.textContent).trim());
    button.textContent = "Copied";
  } catch {
    getSelection()?.selectAllChildren(source);
    button.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => { button.textContent = before; }, 2500);
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable], .shell");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const find = [...document.querySelectorAll("[data-find]")].find((field) => field.checkVisibility());
  if (find) { event.preventDefault(); find.focus(); }
});

// A page that a form answered gets the address under which it can be fetched again; what it shows once stays on it.
const own = document.querySelector("[data-address]");
if (own && location.pathname !== own.dataset.address) history.replaceState(null, "", own.dataset.address);

// What runs out is counted down by text, in the same words as the server's and from what it says is left, so that the
// reader's clock does not matter. At the end the page is asked for again.
const spoken = (seconds) => {
  const parts = [[Math.floor(seconds / 60), "min"], [seconds % 60, "s"]].filter(([number]) => number > 0);
  return parts.map(([number, unit]) => `${number} ${unit}`).join(" ") || "0 s";
};
const ends = new WeakMap();
function count() {
  for (const place of document.querySelectorAll("[data-left]")) {
    let end = ends.get(place);
    if (end?.said !== place.dataset.left) {
      end = { said: place.dataset.left, at: performance.now() + Number(place.dataset.left) * 1000 };
      ends.set(place, end);
    }
    const left = Math.max(0, Math.ceil((end.at - performance.now()) / 1000));
    place.textContent = spoken(left);
    if (left > 0 || end.asked) continue;
    end.asked = true;
    setTimeout(() => document.dispatchEvent(new CustomEvent("live:ask")), 1000);
  }
}
setInterval(count, 1000);
