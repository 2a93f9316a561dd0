// The browser of test texts. Texts reach the page as text nodes only, whatever they hold.
(() => {
  "use strict";
  const source = document.getElementById("data-texts");
  const form = document.getElementById("text-controls");
  if (!source || !form) return;
  const PAGE = 20, PREVIEW = 700;
  const data = JSON.parse(source.textContent);
  const list = document.getElementById("text-list"), count = document.getElementById("text-count");
  const more = document.getElementById("text-more");
  const lower = Object.fromEntries(Object.entries(data.texts).map(([row, text]) => [row, text.toLowerCase()]));
  let found = [], shown = 0;

  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  };
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  // The strategy's mark, as the charts' switches show it.
  const mark = (index) => document.querySelectorAll("#setup .plain .mark")[data.styles[index]]?.cloneNode(true) ?? "";

  const passes = (entry, wanted) => {
    if (wanted.size && String(entry.size) !== wanted.size) return false;
    if (wanted.label && String(entry.label) !== wanted.label) return false;
    const names = wanted.pair ? wanted.pair.split(",").map((i) => data.series[Number(i)]) : data.series;
    const verdicts = names.map((name) => entry.said[name]).filter(Boolean);
    if (wanted.pair && verdicts.length < 2) return false;
    const right = verdicts.map(([said]) => said === entry.label);
    if (right.every(Boolean)) return false;
    if (wanted.kind === "disagree" && !right.some(Boolean)) return false;
    if (wanted.kind === "fail" && right.some(Boolean)) return false;
    if (wanted.kind === "first" && !(right[0] && !right[1])) return false;
    if (wanted.kind === "second" && !(!right[0] && right[1])) return false;
    return wanted.words.every((word) => lower[entry.row].includes(word));
  };

  const item = (entry) => {
    const head = make("p", "head", "is ", make("strong", "", data.names[entry.label]),
      ` · row ${entry.row} · ${entry.size.toLocaleString("en")} training examples`);
    const says = make("ul", "says");
    data.series.forEach((name, index) => {
      const verdict = entry.said[name];
      if (!verdict) return;
      const [said, sure, truth, right, seeds] = verdict;
      const good = said === entry.label;
      const words = [`${good ? "✓" : "✗"} ${data.names[said]} ${percent(sure)}`];
      const rest = [];
      if (!good) rest.push(`gives the true class ${percent(truth)}`);
      if (seeds > 1) rest.push(`${right} of ${seeds} seeds right`);
      says.append(make("li", "", mark(index), `${name}: `,
        make("span", good ? "right-answer" : "wrong-answer", ...words),
        ...(rest.length ? [make("span", "soft", `(${rest.join("; ")})`)] : [])));
    });
    const text = data.texts[entry.row];
    const body = make("p", "text", text.length > PREVIEW ? `${text.slice(0, PREVIEW)}…` : text);
    const li = make("li", "", head, says, body);
    if (text.length > PREVIEW) {
      const button = make("button", "quiet", "Whole text");
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      button.addEventListener("click", () => {
        const open = button.getAttribute("aria-expanded") !== "true";
        button.setAttribute("aria-expanded", String(open));
        button.textContent = open ? "Less" : "Whole text";
        body.textContent = open ? text : `${text.slice(0, PREVIEW)}…`;
      });
      li.append(button);
    }
    return li;
  };

  const show = () => {
    list.append(...found.slice(shown, shown + PAGE).map(item));
    shown = Math.min(shown + PAGE, found.length);
    more.hidden = shown >= found.length;
    const all = found.length === 1 ? "1 case" : `${found.length} cases`;
    count.textContent = found.length ? `${all}${shown < found.length ? `, ${shown} shown` : ""}` : "No case fits.";
  };

  const search = () => {
    const value = (name) => form.elements[name]?.value ?? "";
    const pair = value("pair");
    for (const kind of ["first", "second"]) {
      const option = form.elements.kind.querySelector(`option[value="${kind}"]`);
      if (!option) continue;
      option.disabled = !pair;
      const name = pair ? data.series[Number(pair.split(",")[kind === "first" ? 0 : 1])] : `the ${kind}`;
      option.textContent = `only ${name} right`;
    }
    if (!pair && ["first", "second"].includes(value("kind"))) form.elements.kind.value = "";
    const words = value("words").toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = { size: value("size"), label: value("label"), kind: value("kind"), pair, words };
    found = data.entries.filter((entry) => passes(entry, wanted));
    shown = 0;
    list.replaceChildren();
    show();
  };

  form.addEventListener("input", search);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const next = shown;
    show();
    const first = list.children[next];
    if (first) { first.tabIndex = -1; first.focus(); }
  });
  search();
})();
