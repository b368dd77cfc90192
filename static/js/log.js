// Follows a log: <pre class="log" data-log="ADDRESS" data-from="BYTES">, already holding what was written so far. The
// stream sends `event: log` with data {"text":"…"} and the byte reached as its id, then `event: end` with {"said":"…"}.
// The browser reconnects by itself and names the last id. Only text is ever added, never markup.

const MOST = 2_000_000; // characters kept on the page; the whole log can be downloaded

// Terminal escapes mean nothing here, and a carriage return starts its line again.
const plain = (text) => text.replace(/\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g, "").replace(/\r\n/g, "\n");

function follow(view) {
  const foot = document.querySelector(`[data-log-foot="${view.id}"]`);
  const box = foot?.querySelector("[data-follow]");
  const say = foot?.querySelector("[data-said]");
  let length = view.textContent.length;
  let open = document.createTextNode("");
  view.append(open);

  const atEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < 24;
  const toEnd = () => { view.scrollTop = view.scrollHeight; };
  view.addEventListener("scroll", () => { if (box) box.checked = atEnd(); });
  box?.addEventListener("change", () => { if (box.checked) toEnd(); });

  function add(text) {
    const stay = box ? box.checked : atEnd();
    const lines = (open.data + plain(text)).split("\n");
    const last = lines.pop();
    const whole = lines.map((line) => line.slice(line.lastIndexOf("\r") + 1) + "\n").join("");
    open.before(document.createTextNode(whole));
    // A line that is still being written keeps its carriage return until something follows it.
    const start = last.lastIndexOf("\r", last.length - 2);
    open.data = last.slice(start + 1);
    length += text.length;
    while (length > MOST && view.firstChild !== open) {
      length -= view.firstChild.textContent.length;
      view.firstChild.remove();
    }
    if (stay) toEnd();
  }

  const address = new URL(view.dataset.log, location.href);
  if (view.dataset.from) address.searchParams.set("from", view.dataset.from);
  const source = new EventSource(address);
  source.addEventListener("open", () => { if (say) say.textContent = "following"; });
  source.addEventListener("log", (event) => add(JSON.parse(event.data).text));
  source.addEventListener("end", (event) => {
    source.close();
    if (say) say.textContent = JSON.parse(event.data).said;
  });
  source.addEventListener("error", () => {
    if (say) say.textContent = source.readyState === EventSource.CLOSED ? "no longer following: reload to try again" : "reconnecting…";
  });
  toEnd();
}

// A log may appear later: a page that was opened before its command started is refreshed in place.
const followed = new WeakSet();
function find() {
  for (const view of document.querySelectorAll("[data-log]")) {
    if (followed.has(view)) continue;
    followed.add(view);
    follow(view);
  }
}
new MutationObserver(find).observe(document.querySelector("main"), { childList: true, subtree: true });
find();
