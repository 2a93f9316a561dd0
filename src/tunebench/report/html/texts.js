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
  const filter = window.tunebenchFilter;
  // A name in the list of series begins with its strategy, which the filter knows.
  const strategy = (index) => data.strategies[index];
  const chosen = () => data.series.filter((_, index) => filter.has(strategy(index)));
  let found = [], shown = 0;

  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  };
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  // The strategy's mark, as the list of strategies shows it.
  const mark = (index) => document.querySelectorAll("#part-setup .plain .mark")[data.styles[index]]?.cloneNode(true) ?? "";

  const passes = (entry, wanted) => {
    if (wanted.size && String(entry.size) !== wanted.size) return false;
    if (wanted.label && String(entry.label) !== wanted.label) return false;
    if (!filter.has(undefined, entry.size)) return false;
    const verdicts = wanted.series.map((name) => [name, entry.said[name]?.[0] === entry.label]).filter(([name]) => entry.said[name]);
    const right = verdicts.filter(([, good]) => good).map(([name]) => name);
    if (right.length === verdicts.length) return false;
    if (wanted.kind === "disagree" && !right.length) return false;
    if (wanted.kind === "fail" && right.length) return false;
    if (wanted.kind.startsWith("only ") && !(right.length === 1 && right[0] === wanted.kind.slice(5))) return false;
    return wanted.words.every((word) => lower[entry.row].includes(word));
  };

  const item = (entry) => {
    const head = make("p", "head", "is ", make("strong", "", make("bdi", "", data.names[entry.label])),
      ` · row ${entry.row} · ${entry.size.toLocaleString("en")} training examples`);
    const says = make("ul", "says");
    data.series.forEach((name, index) => {
      const verdict = entry.said[name];
      if (!verdict || !filter.has(strategy(index))) return;
      const [said, sure, truth, right, seeds] = verdict;
      const good = said === entry.label;
      // A run of which only predictions are known has no probabilities.
      const words = [good ? "✓ " : "✗ ", make("bdi", "", data.names[said]), sure === null ? "" : ` ${percent(sure)}`];
      const rest = [];
      if (!good && truth !== null) rest.push(`gives the true class ${percent(truth)}`);
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
    const words = value("words").toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = { size: value("size"), label: value("label"), kind: value("kind"), series: chosen(), words };
    found = data.entries.filter((entry) => passes(entry, wanted));
    shown = 0;
    list.replaceChildren();
    show();
  };

  // "Only this one right" is offered of each strategy that is shown.
  const offer = () => {
    const group = document.getElementById("text-only"), before = form.elements.kind.value;
    const options = chosen().map((name) => new Option(`only ${name} right`, `only ${name}`));
    group.replaceChildren(...(options.length > 1 ? options : []));
    form.elements.kind.value = [...form.elements.kind.options].some((one) => one.value === before) ? before : "";
    search();
  };

  filter.listen(offer);
  form.addEventListener("input", search);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const next = shown;
    show();
    const first = list.children[next];
    if (first) { first.tabIndex = -1; first.focus(); }
  });
  offer();
})();
