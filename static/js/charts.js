// What GPUs read, live: takes the place of the server's drawing, in the same frame, once there is something to draw.
//
//   <section data-charts="ADDRESS" data-zone="Europe/Berlin">     answers { start, step, count, gpus: […], bookings: […] }
//     <… data-gpu="0"> <div data-chart="utilisation"> <span data-short="utilisation"> <dd data-now="power">
//
// Every 10 seconds, while somebody looks. A gap is null and stays a gap. Colours come from the tokens, so that both schemes
// hold. Without this script the server's drawing stands, and is as old as the page.

const EVERY_MS = 10_000;
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function colours() {
  return { line: token("--water"), second: token("--ink-2"), mine: token("--wheat-bg"), others: token("--others-bg"), grid: token("--stone"), ink: token("--ink-2") };
}

/// A booking's time behind the lines.
const bands = (state) => (u) => {
  const { ctx, bbox } = u;
  ctx.save();
  for (const band of state.bands) {
    const from = Math.max(u.valToPos(band.from, "x", true), bbox.left);
    const until = Math.min(u.valToPos(band.until, "x", true), bbox.left + bbox.width);
    if (until <= from) continue;
    ctx.fillStyle = band.mine ? state.colours.mine : state.colours.others;
    ctx.fillRect(from, bbox.top, until - from, bbox.height);
  }
  ctx.restore();
};

function clock(zone, long) {
  const form = long ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit", hour12: false };
  const say = new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...form });
  return (seconds) => say.format(new Date(seconds * 1000));
}

class Chart {
  constructor(frame, board) {
    this.frame = frame;
    this.board = board;
    this.key = frame.dataset.chart;
    this.gpu = Number(frame.closest("[data-gpu]").dataset.gpu);
    this.small = frame.classList.contains("spark");
    this.figure = frame.closest("figure, td");
    this.state = { bands: [], colours: colours() };
    this.ceiling = 100;
  }

  size() { return { width: Math.max(this.frame.clientWidth, 40), height: this.frame.clientHeight }; }

  options() {
    const { state, small, board } = this;
    const hue = (name) => () => state.colours[name];
    const font = `12px ${token("--sans")}`;
    const say = clock(board.zone, board.data.step * board.data.count > 26 * 3600);
    const ticks = { show: false };
    const grid = { stroke: hue("grid"), width: 1 };
    const unit = this.frame.dataset.unit ?? "";
    const axes = small ? [{ show: false }, { show: false }] : [
      { stroke: hue("ink"), font, ticks, grid: { show: false }, size: 20, gap: 4, space: 70, values: (u, splits) => splits.map(say) },
      { stroke: hue("ink"), font, ticks, grid, size: 52, gap: 8, splits: () => [0, this.ceiling / 2, this.ceiling], values: (u, splits) => splits.map((value) => value === 0 ? "0" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`) },
    ];
    const line = { stroke: hue("line"), width: 1.6, points: { size: 3 }, spanGaps: false };
    const second = { stroke: hue("second"), width: 1.2, dash: [3, 3], points: { show: false }, spanGaps: false };
    return {
      ...this.size(), axes,
      padding: small ? [2, 0, 0, 0] : [8, 18, 0, 0],
      scales: { x: { time: true, range: () => board.range() }, y: { range: () => [0, this.ceiling] } },
      series: this.twofold() ? [{}, second, line] : [{}, line],
      legend: { show: false }, select: { show: false },
      cursor: { x: true, y: false, drag: { x: false, y: false, setScale: false }, points: { show: !small, size: 6 }, sync: { key: board.key } },
      hooks: { drawClear: [bands(state)], setCursor: [(u) => this.point(u)] },
    };
  }

  second() { return this.small ? undefined : { temperature: "memory_temperature", cores: "tensor" }[this.key]; }

  twofold() { return this.second() !== undefined; }

  /// What was read where the pointer is, in place of what is read now.
  point(u) {
    const reads = this.figure.querySelector("[data-short]");
    const at = this.figure.querySelector("[data-at]");
    const index = u.cursor.idx;
    const value = index == null ? null : u.data[u.data.length - 1][index];
    if (index == null) {
      reads.textContent = this.board.short(this.gpu, this.key);
      if (at) at.hidden = true;
      return;
    }
    const digits = ["memory", "nvlink"].includes(this.key) && value != null && value < 10 ? 1 : 0;
    const unit = { utilisation: "%", memory: "GB", temperature: "°C", power: "W", cores: "%", traffic: "%", nvlink: "GB/s" }[this.key];
    reads.textContent = value == null ? "–" : `${value.toFixed(digits)} ${unit}`;
    if (at) { at.hidden = false; at.textContent = this.board.say(u.data[0][index]); }
  }

  draw() {
    const { data } = this.board;
    const gpu = data.gpus[this.gpu];
    if (!gpu?.[this.key]) return;
    this.ceiling = gpu.ceilings[this.key];
    this.state.bands = data.bookings.filter((band) => band.gpu === this.gpu);
    const times = this.board.times;
    const lines = this.twofold() ? [times, gpu[this.second()], gpu[this.key]] : [times, gpu[this.key]];
    const anything = gpu[this.key].some((value) => value != null);
    if (!this.plot) {
      if (!anything) return; // the server's frame says so already
      this.drawn = [...this.frame.children];
      const label = this.frame.querySelector("svg")?.getAttribute("aria-label") ?? "";
      this.drawn.forEach((child) => child.remove());
      this.plot = new window.uPlot(this.options(), lines, this.frame);
      this.plot.root.setAttribute("role", "img");
      this.plot.root.setAttribute("aria-label", label);
    } else {
      this.plot.setData(lines);
    }
    if (this.plot.cursor.idx == null) this.point(this.plot);
  }

  resize() { this.plot?.setSize(this.size()); }

  recolour() { this.state.colours = colours(); this.plot?.redraw(false); }
}

class Board {
  constructor(root, number) {
    this.root = root;
    this.key = `gpus-${number}`;
    this.zone = root.dataset.zone || "UTC";
    this.charts = [...root.querySelectorAll("[data-chart]")].map((frame) => new Chart(frame, this));
    new ResizeObserver(() => this.charts.forEach((chart) => chart.resize())).observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.charts.forEach((chart) => chart.recolour()));
  }

  range() { const { start, step, count } = this.data; return [start, start + step * count]; }

  short(gpu, key) { return this.data.gpus[gpu]?.short?.[key] ?? "–"; }

  say(seconds) { return clock(this.zone, this.data.step >= 3600)(seconds); }

  async look() {
    if (document.hidden) return;
    const answer = await fetch(this.root.dataset.charts, { headers: { accept: "application/json" }, credentials: "same-origin" });
    if (!answer.ok || answer.redirected) return;
    this.data = await answer.json();
    const { start, step, count } = this.data;
    // A moment stands in the middle of the time that it stands for.
    this.times = Array.from({ length: count }, (_, place) => start + step * (place + 0.5));
    this.charts.forEach((chart) => chart.draw());
    for (const short of this.root.querySelectorAll("[data-short]")) {
      const chart = this.charts.find((one) => one.figure.contains(short));
      if (chart && chart.plot?.cursor.idx == null) short.textContent = this.short(chart.gpu, chart.key);
    }
    for (const word of ["headline", "beneath"]) {
      const place = document.querySelector(`[data-${word}]`);
      if (place && this.data[word] != null) place.textContent = this.data[word];
    }
    for (const fact of document.querySelectorAll("[data-facts] [data-now]")) fact.textContent = this.data.gpus[0]?.now?.[fact.dataset.now] ?? "–";
  }
}

const boards = [...document.querySelectorAll("[data-charts]")].map((root, number) => new Board(root, number));
const look = () => boards.forEach((board) => board.look().catch(() => {}));
if (boards.length > 0 && window.uPlot) {
  look();
  setInterval(look, EVERY_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
}
