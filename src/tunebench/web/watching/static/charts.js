// Line charts in SVG: drawn whole from the data at hand, so that nothing piles up in a tab left open.
import { el, svg } from "./format.js";

const HEIGHT = 272;
const EDGE = { top: 10, right: 12, bottom: 40, left: 54 };
const SHAPES = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z", "M-3.6-3.6h7.2v7.2h-7.2Z", "M0-4.8L4.6 3.6h-9.2Z", "M0-5L5 0L0 5L-5 0Z",
  "M0 4.8L4.6-3.6h-9.2Z", "M-4.5-1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3Z", "M-4.5-4.5L4.5 4.5M4.5-4.5L-4.5 4.5M-4-4h8v8h-8Z", "M-5-2h10v4h-10Z",
];

/** The sign a run has in charts and table: colour and shape, as colour alone does not tell eight apart. */
export function swatch(slot) {
  return svg("svg", { class: `swatch c${slot}`, viewBox: "0 0 24 14", "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 24, y1: 7, y2: 7 }), svg("path", { class: "mark", d: SHAPES[slot], transform: "translate(12 7)" }));
}

export class Chart {
  /** @param {HTMLElement} box @param {{label: string, digits: number}} options */
  constructor(box, options) {
    this.box = box;
    this.options = options;
    this.series = [];
    this.axis = "epoch";
    this.at = null;
    this.plot = svg("svg", { role: "img", "aria-label": options.label });
    this.readout = el("p", { class: "readout", "aria-live": "polite" });
    this.frame = el("div", {
      tabindex: "0", role: "group", "aria-label": `${options.label}: the arrow keys read values off`,
      keydown: (event) => this.key(event), pointermove: (event) => this.point(event),
      pointerleave: () => this.read(null), blur: () => this.read(null),
    }, this.plot);
    box.replaceChildren(this.frame, this.readout);
    new ResizeObserver(() => this.draw()).observe(box);
  }

  /** @param series [{slot, name, lines: [{x, y, dashes, marks}]}] */
  show(series, axis) {
    this.series = series;
    this.axis = axis;
    this.draw();
  }

  draw() {
    const width = Math.max(240, this.box.clientWidth);
    const points = this.series.flatMap((one) => one.lines).filter((line) => line.x.length);
    this.plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.plot.setAttribute("aria-label", points.length ? `${this.options.label} of ${this.series.map((one) => one.name).join(", ")}` : `${this.options.label}: nothing yet`);
    if (!points.length) {
      this.xs = [];
      this.plot.replaceChildren(svg("text", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, this.series.length ? "nothing logged yet" : "no run chosen"));
      this.read(null);
      return;
    }
    const xs = range(points, "x"), ys = range(points, "y");
    const low = ys[0] === ys[1] ? ys[0] - 0.05 : ys[0], high = ys[0] === ys[1] ? ys[1] + 0.05 : ys[1];
    const left = Math.min(0, xs[0]), right = xs[1] > left ? xs[1] : left + 1;
    const room = (high - low) * 0.06;
    this.sx = (x) => EDGE.left + ((x - left) / (right - left)) * (width - EDGE.left - EDGE.right);
    this.sy = (y) => HEIGHT - EDGE.bottom - ((y - low + room) / (high - low + 2 * room)) * (HEIGHT - EDGE.top - EDGE.bottom);
    const across = ticks(left, right, width < 420 ? 4 : 7).filter((t) => this.axis !== "step" || Number.isInteger(t));
    const up = ticks(low - room, high + room, 5);
    const base = HEIGHT - EDGE.bottom;
    this.cursor = svg("line", { class: "cursor", y1: EDGE.top, y2: base, visibility: "hidden" });
    this.plot.replaceChildren(
      svg("g", { class: "lines" }, ...up.map((y) => svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: this.sy(y), y2: this.sy(y) }))),
      svg("line", { class: "base", x1: EDGE.left, x2: width - EDGE.right, y1: base, y2: base }),
      ...up.map((y) => svg("text", { x: EDGE.left - 7, y: this.sy(y) + 4, "text-anchor": "end" }, label(y, up))),
      ...across.map((x) => svg("text", { x: this.sx(x), y: base + 16, "text-anchor": "middle" }, label(x, across))),
      svg("text", { x: (EDGE.left + width - EDGE.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, this.axis),
      ...this.series.map((one) => svg("g", { class: `series c${one.slot}` }, ...one.lines.flatMap((line) => this.line(line, one.slot)))),
      this.cursor,
    );
    this.xs = [...new Set(points.flatMap((line) => line.x))].sort((a, b) => a - b);
    this.read(this.at);
  }

  line({ x, y, dashes, marks }, slot) {
    const path = x.map((value, i) => `${i ? "L" : "M"}${this.sx(value).toFixed(1)} ${this.sy(y[i]).toFixed(1)}`).join("");
    // Of a dense curve only so many points are marked as stay apart.
    const every = Math.max(1, Math.ceil(x.length / 20));
    const signs = marks || x.length === 1 ? x.flatMap((value, i) => (i % every && i !== x.length - 1 ? [] : [[value, y[i]]])) : [];
    return [svg("path", { d: path, class: dashes ? "dashes" : null }),
      ...signs.map(([a, b]) => svg("path", { class: "mark", d: SHAPES[slot], transform: `translate(${this.sx(a).toFixed(1)} ${this.sy(b).toFixed(1)})` }))];
  }

  point(event) {
    if (!this.xs?.length) return;
    const box = this.plot.getBoundingClientRect();
    this.read(nearest(this.xs, event.clientX - box.left, this.sx));
  }

  key(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") this.read(null);
    if (move === undefined || !this.xs?.length) return;
    event.preventDefault();
    const i = this.at === null ? (move > 0 ? -1 : this.xs.length) : this.xs.indexOf(this.at);
    this.read(this.xs[Math.min(this.xs.length - 1, Math.max(0, i + move))]);
  }

  /** Say the values at a place of the horizontal axis: of every curve the last one up to there. */
  read(x) {
    this.at = x !== null && this.xs?.includes(x) ? x : null;
    if (this.at === null) {
      this.cursor?.setAttribute("visibility", "hidden");
      this.readout.textContent = "";
      return;
    }
    for (const [key, value] of [["x1", this.sx(x)], ["x2", this.sx(x)], ["visibility", "visible"]]) this.cursor.setAttribute(key, value);
    const said = this.series.flatMap((one) => one.lines.flatMap((line) => {
      const i = line.x.findLastIndex((value) => value <= x);
      return i < 0 ? [] : [`${one.name}${line.said ? ` (${line.said})` : ""}: ${line.y[i].toFixed(this.options.digits)}`];
    }));
    this.readout.textContent = `${this.axis} ${Number.isInteger(x) ? x : x.toFixed(2)} — ${said.join("; ")}`;
  }
}

function range(lines, key) {
  let low = Infinity, high = -Infinity;
  for (const line of lines) for (const value of line[key]) { low = Math.min(low, value); high = Math.max(high, value); }
  return [low, high];
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9 && found.length < 50; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function label(value, all) {
  const digits = Math.max(...all.map((one) => (String(one).split(".")[1] ?? "").length));
  return Math.abs(value) >= 1e6 || digits > 6 ? value.toPrecision(3) : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function nearest(xs, pixel, scale) {
  return xs.reduce((best, x) => (Math.abs(scale(x) - pixel) < Math.abs(scale(best) - pixel) ? x : best));
}
