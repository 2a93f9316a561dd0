// How values are said. Nothing here touches the page but `el`, which only ever makes text of what it is given.

export const STATES = {
  pending: ["○", "pending"],
  running: ["▶", "running"],
  complete: ["✓", "complete"],
  failed: ["✕", "failed"],
  out_of_memory: ["▲", "out of memory"],
  pruned: ["⤓", "pruned"],
  left_out: ["–", "left out"],
  imported: ["⇥", "imported"],
};

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; children that are no elements become text, never markup. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

export function setText(node, text) {
  // Equal text is left alone, so that a live region does not speak again.
  if (node.textContent !== text) node.textContent = text;
}

export function stateMark(state) {
  const [glyph, words] = STATES[state] ?? ["?", state];
  return el("span", { class: `state ${state}` }, el("span", { "aria-hidden": "true" }, glyph), words);
}

export const stateWords = (state) => (STATES[state] ?? ["", state])[1];

/** 45 s, 12 min, 3 h 05 min: as the terminal says it. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "not known";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

export const whole = (value) => (value === null ? "–" : value.toLocaleString("en"));
export const fixed = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
export const speed = (value) => (value === null ? "–" : value >= 100 ? whole(Math.round(value)) : value.toPrecision(2));

/** 5e-5, 0.001: learning rates without noise. */
export function rate(value) {
  if (value === null) return "no learning rate";
  const text = value < 1e-3 ? value.toExponential() : String(value);
  return `learning rate ${text}`;
}

export function shortName(run) {
  const parts = [run.label, `n ${whole(run.size)}`];
  if (run.rate !== null) parts.push(rate(run.rate).replace("learning rate", "lr"));
  if (run.seed !== null) parts.push(`seed ${run.seed}`);
  if (run.detail) parts.push(run.detail);
  return parts.join(" · ");
}
