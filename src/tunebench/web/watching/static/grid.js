// The grid of runs: built when the plan changes, and after that only the cells that changed are touched.
import { el, fixed, rate, setText, stateMark, stateWords, whole } from "./format.js";

export class Grid {
  constructor(box, { choose }) {
    this.box = box;
    this.choose = choose;
    this.cells = new Map();
  }

  /** Build rows (strategy and learning rate), in them sizes, in them a button a run. */
  build(runs) {
    const rows = new Map();
    for (const run of runs) {
      const key = JSON.stringify([run.label, run.rate]);
      if (!rows.has(key)) rows.set(key, new Map());
      const sizes = rows.get(key);
      if (!sizes.has(run.size)) sizes.set(run.size, []);
      sizes.get(run.size).push(run);
    }
    const focused = document.activeElement?.dataset?.run;
    this.cells.clear();
    this.box.replaceChildren(...[...rows.values()].map((sizes) => {
      const first = sizes.values().next().value[0];
      const ordered = [...sizes].sort(([a], [b]) => a - b);
      return el("div", { class: "row" },
        el("h3", {}, first.label, " ", el("small", {}, rate(first.rate))),
        el("div", { class: "sizes" }, ...ordered.map(([size, found]) =>
          el("div", { class: "size" }, el("h4", {}, `${whole(size)} texts`), el("ul", { class: "cells" }, ...found.map((run) => this.cell(run)))))));
    }));
    // So many would push the curves out of reach.
    this.box.classList.toggle("long", runs.length > 40);
    if (focused) this.cells.get(focused)?.button.focus();
  }

  cell(run) {
    const parts = {
      state: el("span"), seed: el("span", { class: "seed" }, [run.seed === null ? "seed not known" : `seed ${run.seed}`, run.detail].filter(Boolean).join(", ")),
      value: el("span", { class: "value" }), bar: el("progress", { max: "1", value: "0", hidden: true, "aria-label": "steps done" }),
    };
    const button = el("button", { type: "button", "aria-pressed": "false", "data-run": run.id, click: () => this.choose(run.id) }, parts.state, parts.seed, parts.value, parts.bar);
    const item = el("li", {}, button);
    this.cells.set(run.id, { ...parts, button, item, text: `${run.label} n ${run.size} ${run.size} ${rate(run.rate)} seed ${run.seed} ${run.id}`.toLowerCase() });
    this.update(run);
    return item;
  }

  update(run) {
    const cell = this.cells.get(run.id);
    if (!cell) return;
    cell.button.className = `cell ${run.state}`;
    cell.button.dataset.state = run.state;
    const mark = stateMark(run.state);
    if (run.resumable) mark.append(", to be resumed");
    cell.state.replaceWith(mark);
    cell.state = mark;
    setText(cell.value, fixed(run.score ?? run.selection_score, 4));
    const share = run.train_total ? run.train_step / run.train_total : null;
    cell.bar.hidden = share === null || run.state !== "running";
    if (share !== null) cell.bar.value = share;
  }

  press(chosen) {
    for (const [id, { button }] of this.cells) button.setAttribute("aria-pressed", String(chosen.includes(id)));
  }

  /** Show the runs of a state whose name holds all words; returns how many are shown. */
  filter(state, words) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { item, button, text } of this.cells.values()) {
      const fits = (!state || button.dataset.state === state) && wanted.every((word) => text.includes(word));
      item.hidden = !fits;
      shown += fits;
    }
    for (const part of this.box.querySelectorAll(".size, .row")) part.hidden = !part.querySelector("li:not([hidden])");
    return shown;
  }

  /** Offer the states there are. */
  static states(select, counts) {
    const chosen = select.value;
    const options = Object.entries(counts).map(([state, count]) => el("option", { value: state }, `${stateWords(state)} (${count})`));
    if (chosen && !(chosen in counts)) options.push(el("option", { value: chosen }, `${stateWords(chosen)} (0)`));
    const said = options.map((option) => option.textContent).join();
    if (select.dataset.said === said) return;
    select.dataset.said = said;
    select.replaceChildren(el("option", { value: "" }, "all states"), ...options);
    select.value = chosen;
  }
}
