// Sends the text to every loaded model, and shows their answers side by side.
// Names and labels come from model folders: they are only ever put in as text.
"use strict";

const form = document.getElementById("form");
const text = document.getElementById("text");
const second = document.getElementById("second");
const status = document.getElementById("status");
const cards = new Map();
const FEW = 10;
let latest = 0;

function element(tag, className, content) {
  const made = document.createElement(tag);
  made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}

async function showModels() {
  const answer = await fetch("v1/models");
  const { models } = await answer.json();
  for (const model of models) {
    const card = element("article", "model");
    const shared = model.shares_base_with.length;
    const reads = model.pair ? `, reads pairs: ${model.pair.join(", ")}` : "";
    const kind = `${model.format}${reads}${shared ? `, base shared by ${shared + 1} models` : ""}`;
    const body = element("div", "answer");
    card.append(element("h2", "", model.name), element("p", "kind", kind), body);
    document.getElementById("models").append(card);
    cards.set(model.name, { body, pair: model.pair, name: model.labels[0] });
  }
  showBoxes(models);
}

// A second box where a model reads pairs; models of single texts read the first one.
function showBoxes(models) {
  const pairs = models.filter((model) => model.pair);
  if (!pairs.length) return;
  document.getElementById("pair").hidden = false;
  const names = [...new Set(pairs.map((model) => model.pair.join("\n")))];
  const [first, other] = names.length === 1 ? pairs[0].pair : ["First text", "Second text"];
  const single = pairs.length < models.length ? " (models of single texts read this one)" : "";
  document.getElementById("text-label").textContent = `${first}${single}`;
  document.getElementById("second-label").textContent = other;
}

function rows(prediction, name) {
  if (prediction.value !== undefined) {
    const row = element("div", "row best");
    row.append(element("span", "label", name), element("span", "share", String(Number(prediction.value.toPrecision(5)))));
    return [row];
  }
  const said = prediction.labels ?? [prediction.label];
  const shares = Object.entries(prediction.probabilities);
  // Few labels keep their places, so that models compare at a glance. Of many, the likeliest are to be seen at once.
  if (shares.length > FEW) shares.sort(([, a], [, b]) => b - a);
  return shares.map(([label, share]) => {
    const row = element("div", said.includes(label) ? "row best" : "row");
    const meter = element("meter", "");
    meter.value = share;
    meter.setAttribute("aria-label", label);
    row.append(element("span", "label", label), element("span", "share", `${(100 * share).toFixed(1)} %`), meter);
    return row;
  });
}

async function ask(model, pair, name) {
  const answer = await fetch("v1/predict", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ texts: [pair ? [text.value, second.value] : text.value], model }),
  });
  const found = await answer.json();
  if (answer.ok) return rows(found.predictions[0], name);
  const why = found.problems.map((problem) => problem.what);
  return [element("p", "problem", [found.error, ...why].join(": "))];
}

async function classify() {
  // An answer that comes after the next question is not shown.
  const mine = ++latest;
  status.textContent = "Asking…";
  const answered = await Promise.all([...cards].map(async ([model, { body, pair, name }]) => {
    let found;
    try {
      found = await ask(model, pair, name);
    } catch {
      found = [element("p", "problem", "the server cannot be reached")];
    }
    if (mine === latest) body.replaceChildren(...found);
    return found[0].className !== "problem";
  }));
  const missing = answered.filter((one) => !one).length;
  if (mine === latest) status.textContent = missing ? `${missing} of ${cards.size} models gave no answer.` : "Answered.";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
});
for (const box of [text, second]) {
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}
showModels().catch(() => { status.textContent = "The models cannot be listed."; });
