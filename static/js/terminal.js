// A terminal in the page, over a WebSocket to the lease's shell.
//
//   <div class="shell" id="…" data-terminal data-ticket="ADDRESS" data-csrf="…">
//     <div class="bar"></div><div class="screen"></div>
//
// Before each connection a one-use ticket is fetched by POST (fields csrf, key, tab) and answers {"path":"…"}; the socket
// is opened there with tab, cols and rows added. Binary frames are the terminal's bytes, both ways. Text frames are JSON:
// {"resize":{"cols":…,"rows":…}} to the server; {"ended":"why"}, {"closed":true} (that shell is gone) or {"refused":"why"}
// from it. The shell lives on the node: a lost connection is taken up again, and the server repeats the screen's end.

const FIRST_WAIT = 500, LONGEST_WAIT = 10_000;
const encoder = new TextEncoder();
const GROUND = getComputedStyle(document.documentElement).getPropertyValue("--night").trim() || "#1b1813";
const THEME = { background: GROUND, foreground: "#efe8d9", cursor: "#e6b557", cursorAccent: "#1b1813", selectionBackground: "#4d3b16", black: "#1b1813", red: "#f0947a", green: "#a3cf8b", yellow: "#e6b557", blue: "#7cc3d8", magenta: "#d3a4cf", cyan: "#8fd3c8", white: "#efe8d9", brightBlack: "#857a64", brightRed: "#f6ad98", brightGreen: "#bce0a8", brightYellow: "#f1cb80", brightBlue: "#9bd5e6", brightMagenta: "#e3bfe0", brightCyan: "#ade3da", brightWhite: "#fffdf8" };
const SAID = { connecting: "connecting…", open: "connected", waiting: "reconnecting…", ended: "ended" };

class Tab {
  constructor(frame, number) {
    this.frame = frame;
    this.number = number;
    this.wait = FIRST_WAIT;
    this.state = "connecting";
    this.why = "";
    this.view = document.createElement("div");
    this.view.id = `${frame.root.id || "terminal"}-${number}`;
    this.view.setAttribute("role", "tabpanel");
    frame.screen.append(this.view);
    this.term = new window.Terminal({ fontFamily: '"IBM Plex Mono", monospace', fontSize: 14, lineHeight: 1.15, cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches, scrollback: 10_000, theme: THEME, allowProposedApi: false });
    this.fit = new window.FitAddon.FitAddon();
    this.term.loadAddon(this.fit);
    this.term.open(this.view);
    this.term.onData((text) => this.send(encoder.encode(text)));
    this.term.onBinary((text) => this.send(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    this.term.onResize(({ cols, rows }) => this.send(JSON.stringify({ resize: { cols, rows } })));
  }

  send(what) { if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(what); }

  // A hidden tab has no size to measure; it keeps the one it had.
  measure() { if (!this.view.hidden) this.fit.fit(); }

  become(state, why = "") {
    this.state = state;
    this.why = why;
    this.frame.show();
  }

  async ticket() {
    const body = new URLSearchParams({ csrf: this.frame.root.dataset.csrf, key: crypto.randomUUID?.() ?? String(Math.random()).slice(2), tab: String(this.number) });
    const answer = await fetch(this.frame.root.dataset.ticket, { method: "POST", body, headers: { accept: "application/json" }, credentials: "same-origin" });
    if (answer.ok) return (await answer.json()).path;
    const said = await answer.json().catch(() => null);
    const why = [said?.what, said?.why, said?.next].filter(Boolean).join(" ");
    // The server has spoken: asking again would not change it. Overload may pass.
    if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) throw Object.assign(new Error(why || "This terminal cannot be opened any more. Reload the page."), { final: true });
    throw new Error(why);
  }

  async connect() {
    try {
      const path = await this.ticket();
      const address = new URL(path, location.href);
      address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
      this.measure();
      for (const [name, value] of [["tab", this.number], ["cols", this.term.cols], ["rows", this.term.rows]]) address.searchParams.set(name, value);
      this.open(new WebSocket(address));
    } catch (error) {
      if (error.final) this.become("ended", error.message);
      else this.again();
    }
  }

  open(socket) {
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    let first = true;
    socket.addEventListener("open", () => { this.wait = FIRST_WAIT; this.become("open"); });
    socket.addEventListener("message", ({ data }) => {
      if (typeof data !== "string") {
        // The server repeats the end of what was written, so a screen from before the gap would show it twice.
        if (first) { this.term.reset(); first = false; }
        this.term.write(new Uint8Array(data));
        return;
      }
      const control = JSON.parse(data);
      if (control.ended !== undefined) this.finish(control.ended || "The lease has ended.");
      else if (control.refused !== undefined) this.finish(control.refused);
      else if (control.closed) { this.finish("This shell has ended."); this.frame.close(this); }
    });
    socket.addEventListener("close", () => { if (this.state !== "ended") this.again(); });
  }

  finish(why) {
    this.become("ended", why);
    this.term.write(`\r\n\x1b[33m[mill] ${why.replace(/[\x00-\x1f]/g, " ")}\x1b[0m\r\n`);
    this.socket?.close();
  }

  again() {
    this.become("waiting");
    setTimeout(() => this.connect(), this.wait * (0.7 + 0.6 * Math.random()));
    this.wait = Math.min(LONGEST_WAIT, this.wait * 2);
  }
}

class Frame {
  constructor(root) {
    this.root = root;
    this.bar = root.querySelector(".bar");
    this.screen = root.querySelector(".screen");
    this.tabs = [];
    this.memory = `tabs:${root.dataset.ticket}`;
    this.bar.replaceChildren();
    this.more = this.button("+", () => this.add(Math.max(0, ...this.tabs.map((tab) => tab.number)) + 1));
    this.more.setAttribute("aria-label", "Another shell");
    this.said = document.createElement("span");
    this.said.className = "state";
    this.said.setAttribute("role", "status");
    this.list = document.createElement("span");
    this.list.setAttribute("role", "tablist");
    this.list.setAttribute("aria-label", "Shells");
    this.bar.append(this.list, this.more, this.said);
    for (const number of this.remembered()) this.add(number);
    new ResizeObserver(() => { this.current?.measure(); }).observe(this.screen);
  }

  button(label, press) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", press);
    return button;
  }

  remembered() {
    try {
      const numbers = JSON.parse(sessionStorage.getItem(this.memory) ?? "[1]").filter(Number.isInteger).slice(0, 8);
      return numbers.length ? numbers : [1];
    } catch { return [1]; }
  }

  remember() {
    try { sessionStorage.setItem(this.memory, JSON.stringify(this.tabs.map((tab) => tab.number))); } catch { /* storage is off */ }
  }

  add(number) {
    const tab = new Tab(this, number);
    tab.button = this.button(`Shell ${number}`, () => this.choose(tab));
    tab.button.setAttribute("role", "tab");
    tab.button.setAttribute("aria-controls", tab.view.id);
    this.list.append(tab.button);
    this.tabs.push(tab);
    this.remember();
    this.choose(tab);
    tab.connect();
  }

  choose(tab) {
    this.current = tab;
    for (const each of this.tabs) {
      each.view.hidden = each !== tab;
      each.button.setAttribute("aria-selected", String(each === tab));
    }
    this.show();
    tab.measure();
    tab.term.focus();
  }

  // A shell that ended by itself leaves its tab while others stay.
  close(tab) {
    if (this.tabs.length < 2) return;
    this.tabs = this.tabs.filter((each) => each !== tab);
    tab.button.remove();
    tab.view.remove();
    tab.term.dispose();
    this.remember();
    if (this.current === tab) this.choose(this.tabs[0]);
  }

  show() {
    if (!this.current || !this.said) return;
    this.said.dataset.state = this.current.state;
    this.said.textContent = this.current.why || SAID[this.current.state];
  }
}

async function start() {
  const roots = document.querySelectorAll("[data-terminal]");
  // The cell size is measured once: with the font that will be shown.
  await Promise.race([Promise.all([document.fonts.load('14px "IBM Plex Mono"'), document.fonts.load('600 14px "IBM Plex Mono"')]), new Promise((done) => setTimeout(done, 1500))]);
  for (const root of roots) new Frame(root);
}
start();
