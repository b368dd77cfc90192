// Dragging on free time fills in the booking form; the form does the rest, as it does without this file.
//
//   <section data-calendar data-start="RFC 3339" data-end="RFC 3339" data-zone="Europe/Berlin" data-step="900" data-form="#book">
//     … <svg class="lane" data-free data-node="…" data-model="H200"> <a class="bar"><svg x="8.3%" width="33%">…
//
// Across is time, down is more GPUs of the same node. Fields by name: gpus, model, when (radio "at"), at (datetime-local in
// the zone), for. Touch keeps scrolling; a tap picks an hour.

const SVG = "http://www.w3.org/2000/svg";
const percent = (text) => Number.parseFloat(text) / 100;

// An instant as the wall clock of a zone shows it: 2026-11-24T18:00.
export function wall(ms, zone) {
  const parts = new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).formatToParts(ms);
  const part = (type) => parts.find((p) => p.type === type).value;
  return `${part("year")}-${part("month")}-${part("day")}T${part("hour")}:${part("minute")}`;
}

// Seconds as the form takes them: 6h, 1h30m, 45m.
export function spoken(seconds) {
  const hours = Math.floor(seconds / 3600), minutes = Math.round((seconds % 3600) / 60);
  return (hours ? `${hours}h` : "") + (minutes ? `${minutes}m` : "") || "0m";
}

class Drag {
  constructor(calendar) {
    this.calendar = calendar;
    this.chosen = null; // {lanes, from, to}: fractions of the window
    calendar.addEventListener("pointerdown", (event) => this.down(event));
    calendar.addEventListener("pointermove", (event) => this.move(event));
    calendar.addEventListener("pointerup", (event) => this.up(event));
    calendar.addEventListener("pointercancel", () => this.drop());
    document.addEventListener("keydown", (event) => { if (event.key === "Escape" && this.start) this.drop(); });
    document.addEventListener("live:refreshed", () => this.draw());
  }

  get span() { return (Date.parse(this.calendar.dataset.end) - Date.parse(this.calendar.dataset.start)) / 1000; }
  get step() { return Number(this.calendar.dataset.step || 900) / this.span; }
  // Nothing before now can be booked.
  get now() { return (Date.now() - Date.parse(this.calendar.dataset.start)) / 1000 / this.span; }

  at(event, lane) {
    const box = lane.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  }

  busy(lane) {
    return [...lane.querySelectorAll(":scope > .bar:not(.new, .outside) > svg, :scope > svg.taken")].map((bar) => {
      const from = percent(bar.getAttribute("x"));
      return [from, from + percent(bar.getAttribute("width"))];
    });
  }

  free(lane, from, to) { return this.busy(lane).every(([start, end]) => end <= from + 1e-9 || start >= to - 1e-9); }

  down(event) {
    const lane = event.target.closest?.("svg.lane[data-free]");
    if (!lane || event.button !== 0 || event.target.closest("a.bar")) return;
    this.start = { lane, x: this.at(event, lane), touch: event.pointerType === "touch" };
    if (this.start.touch) return;
    this.calendar.setPointerCapture(event.pointerId);
    this.calendar.classList.add("dragging");
    event.preventDefault();
  }

  move(event) {
    if (!this.start || this.start.touch) return;
    this.take(this.at(event, this.start.lane), event.clientY);
  }

  take(x, y) {
    const { lane, x: begin } = this.start;
    const snap = (value, round) => round(value / this.step - 1e-6) * this.step;
    let from = Math.max(snap(Math.min(begin, x), Math.floor), this.now > 0 ? snap(this.now, Math.ceil) : 0);
    let to = Math.min(1, Math.max(snap(Math.max(begin, x), Math.ceil), from + this.step));
    // Within the gap of the lane that was pressed.
    for (const [start, end] of this.busy(lane)) {
      if (end <= begin) from = Math.max(from, end);
      if (start >= begin) to = Math.min(to, start);
    }
    if (to - from < this.step / 2) { this.chosen = null; this.draw(); return; }
    const lanes = [...this.calendar.querySelectorAll("svg.lane[data-free]")].filter((other) => other.dataset.node === lane.dataset.node && other.dataset.model === lane.dataset.model && other.checkVisibility());
    const mine = lanes.indexOf(lane);
    let other = lanes.findIndex((each) => { const box = each.getBoundingClientRect(); return y >= box.top && y <= box.bottom; });
    if (other < 0) other = y > lane.getBoundingClientRect().bottom ? lanes.length - 1 : y < lane.getBoundingClientRect().top ? 0 : mine;
    const covered = lanes.slice(Math.min(mine, other), Math.max(mine, other) + 1).filter((each) => this.free(each, from, to));
    this.chosen = { lanes: covered, from, to };
    this.draw();
  }

  up(event) {
    if (!this.start) return;
    const moved = Math.abs(this.at(event, this.start.lane) - this.start.x) * this.span > 60;
    if (!moved) {
      // A press without a drag: an hour from there.
      const hour = 3600 / this.span;
      this.take(Math.min(1, this.start.x + Math.max(hour, this.step) - this.step / 2), event.clientY);
    }
    this.start = null;
    this.calendar.classList.remove("dragging");
    if (this.chosen) this.fill();
  }

  drop() {
    this.start = null;
    this.chosen = null;
    this.calendar.classList.remove("dragging");
    this.draw();
  }

  draw() {
    for (const old of this.calendar.querySelectorAll(".bar.new")) old.remove();
    if (!this.chosen) return;
    const { lanes, from, to } = this.chosen;
    lanes.forEach((lane, index) => {
      const group = document.createElementNS(SVG, "g");
      group.setAttribute("class", "bar new");
      const box = document.createElementNS(SVG, "svg");
      for (const [name, value] of Object.entries({ x: `${from * 100}%`, width: `${(to - from) * 100}%`, y: "3", height: "24" })) box.setAttribute(name, value);
      const fill = document.createElementNS(SVG, "rect");
      for (const [name, value] of Object.entries({ class: "fill", x: "1%", y: "1", width: "98%", height: "22", rx: "2" })) fill.setAttribute(name, value);
      box.append(fill);
      if (index === 0) {
        const text = document.createElementNS(SVG, "text");
        text.setAttribute("x", "9");
        text.setAttribute("y", "16.5");
        text.textContent = `${lanes.length} × ${spoken((to - from) * this.span)}`;
        box.append(text);
      }
      group.append(box);
      lane.append(group);
    });
  }

  fill() {
    const form = document.querySelector(this.calendar.dataset.form);
    if (!form) return;
    const { lanes, from, to } = this.chosen;
    const start = Date.parse(this.calendar.dataset.start) + from * this.span * 1000;
    const set = (name, value) => {
      const field = form.elements.namedItem(name);
      if (field) field.value = value;
    };
    // Radio buttons come as a list whose value chooses.
    set("when", "at");
    set("model", lanes[0].dataset.model);
    set("gpus", String(lanes.length));
    set("at", wall(Math.round(start / 60_000) * 60_000, this.calendar.dataset.zone));
    set("for", spoken(Math.round(((to - from) * this.span) / 60) * 60));
    form.dispatchEvent(new Event("change", { bubbles: true }));
    if (!matchMedia("(min-width: 1180px)").matches) form.scrollIntoView({ block: "nearest" });
  }
}

for (const calendar of document.querySelectorAll("[data-calendar]")) new Drag(calendar);
