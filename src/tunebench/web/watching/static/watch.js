// Asks the server what changed, and shows it. What is held: one row a run, and the curves of those that are chosen.
import { Chart, swatch } from "./charts.js";
import { STATES, duration, el, fixed, setText, shortName, speed, stateMark, stateWords, whole } from "./format.js";
import { Grid } from "./grid.js";

const MOST = 8, FOLLOWED = 4;
const WAIT = { running: 2000, idle: 10000, hidden: 30000, longest: 60000 };
const $ = (id) => document.getElementById(id);

const runs = new Map();          // id -> row, in the order of the plan
const details = new Map();       // id -> {etag, value} of chosen runs only
let head = null, version = null, etag = null;
let chosen = [];                 // ids; the place decides about colour and shape
let slots = new Map();           // id -> slot, kept while the run is chosen
let shown = null;                // id of the run in detail
let failures = 0, timer = null, asking = false, again = false;

const grid = new Grid($("grid"), { choose: toggle });
const loss = new Chart($("loss"), { label: "Loss", digits: 4 });
const score = new Chart($("score"), { label: "Score on the selection split", digits: 4 });

/** Ask for JSON; `undefined` when it is what we have already. */
async function ask(path, known) {
  const stop = AbortSignal.timeout(20000);
  const answer = await fetch(path, { cache: "no-store", signal: stop, headers: known ? { "If-None-Match": known } : {} });
  if (answer.status === 304) return undefined;
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return { etag: answer.headers.get("ETag"), value: await answer.json() };
}

async function poll() {
  if (asking) { again = true; return; }
  asking = true;
  clearTimeout(timer);
  try {
    const answer = await ask(`api/study${version ? `?since=${encodeURIComponent(version)}` : ""}`, etag);
    if (answer) takeIn(answer);
    const wanted = [...new Set(shown ? [...chosen, shown] : chosen)];
    for (const id of details.keys()) if (!wanted.includes(id)) details.delete(id);
    const news = await Promise.all(wanted.map(async (id) => {
      const found = await ask(`api/runs/${encodeURIComponent(id)}`, details.get(id)?.etag);
      if (found) details.set(id, found);
      return Boolean(found);
    }));
    if (news.some(Boolean)) drawChosen();
    failures = 0;
    trouble(head?.problem ? `The plan cannot be read just now: ${head.problem}` : null);
    setText($("seen"), `Last looked at ${new Date().toLocaleTimeString()}.`);
  } catch (error) {
    failures += 1;
    trouble(`The server is not reached (${error.message}); what is shown may be old. Trying again.`);
  } finally {
    asking = false;
  }
  const calm = document.hidden ? WAIT.hidden : head?.counts?.running ? WAIT.running : WAIT.idle;
  timer = setTimeout(poll, again ? 0 : Math.min(WAIT.longest, failures ? WAIT.running * 2 ** failures : calm));
  again = false;
}

function trouble(text) {
  $("problem").hidden = !text;
  setText($("problem"), text ?? "");
}

function takeIn(answer) {
  etag = answer.etag;
  const value = answer.value;
  version = value.version;
  head = value;
  if (value.whole) {
    runs.clear();
    for (const run of value.runs) runs.set(run.id, run);
    grid.build([...runs.values()]);
    chosen = chosen.filter((id) => runs.has(id));
    if (shown && !runs.has(shown)) shown = null;
  } else {
    for (const run of value.runs) {
      runs.set(run.id, run);
      grid.update(run);
    }
  }
  follow();
  showHead();
  applyFilter();
  showFailures();
  if (value.runs.length) drawChosen();
}

function showHead() {
  const total = runs.size, counts = head.counts;
  setText($("name"), head.name);
  const done = (counts.complete ?? 0) + (counts.imported ?? 0);
  document.title = `${done}/${total} · ${head.name} · tunebench watch`;
  const ordered = Object.keys(STATES).filter((state) => counts[state]);
  const said = ordered.filter((state) => state !== "complete").map((state) => `${counts[state]}\u00a0${stateWords(state)}`);
  setText($("status"), [`${counts.complete ?? 0} of ${total} ${total === 1 ? "run" : "runs"} complete`, ...said].join(", ") + ".");
  $("share").replaceChildren(...["complete", "imported", "pruned", "out_of_memory", "failed", "running"].filter((s) => counts[s]).map((state) => {
    const part = el("span", { class: state });
    part.style.width = `${(100 * counts[state]) / total}%`;
    return part;
  }));
  const metric = head.metric[0].toUpperCase() + head.metric.slice(1);
  score.options.label = `${metric} on the selection split`;
  document.querySelectorAll(".metric").forEach((place) => setText(place, place.classList.contains("heading") ? metric : head.metric));
  const open = (counts.pending ?? 0) + (counts.running ?? 0);
  const left = !open ? "nothing to do" : head.left_seconds === null ? "not known yet" : `about ${duration(head.left_seconds)}${counts.running ? "" : " of work, once it goes on"}`;
  const numbers = { "Time left": left, Throughput: head.texts_per_second === null ? "nothing is training" : `${speed(head.texts_per_second)} texts/s`, "Selected on": head.selection.join(", ") || "not known" };
  if (!$("now").childElementCount) $("now").append(...Object.keys(numbers).map((name) => el("div", {}, el("dt", {}, name), el("dd"))));
  Object.values(numbers).forEach((text, i) => setText($("now").children[i].lastChild, text));
  Grid.states($("state"), Object.fromEntries(ordered.map((state) => [state, counts[state]])));
}

function showFailures() {
  const failed = [...runs.values()].filter((run) => run.reason && ["failed", "out_of_memory"].includes(run.state));
  $("failures").hidden = !failed.length;
  const said = JSON.stringify(failed.map((run) => [run.id, run.state, run.reason]));
  if ($("failures").dataset.said === said) return;
  $("failures").dataset.said = said;
  $("failure-list").replaceChildren(...failed.map((run) => el("li", { class: run.state },
    stateMark(run.state), " ", el("button", { type: "button", class: "plain", click: () => open(run.id, true) }, shortName(run)), el("p", {}, run.reason))));
}

// What is chosen ----------------------------------------------------------------------------------------------

/** Choose what runs, and what ended last, until somebody chooses themselves. */
function follow() {
  if (!$("follow").checked) return;
  const all = [...runs.values()];
  const live = all.filter((run) => run.state === "running").map((run) => run.id);
  const ended = all.filter((run) => ["complete", "imported"].includes(run.state)).map((run) => run.id);
  const before = chosen.filter((id) => ended.includes(id));
  choose([...new Set([...live, ...before, ...ended.reverse()])].slice(0, Math.max(FOLLOWED, Math.min(live.length, MOST))));
}

function choose(ids) {
  // Chosen runs keep colour and shape; new ones take what is free.
  const kept = new Map(ids.filter((id) => slots.has(id)).map((id) => [id, slots.get(id)]));
  const free = [...Array(MOST).keys()].filter((slot) => ![...kept.values()].includes(slot));
  for (const id of ids) if (!kept.has(id)) kept.set(id, free.shift());
  const changed = ids.join() !== chosen.join();
  slots = kept;
  chosen = ids;
  if ((!shown || !runs.has(shown)) && ids.length) shown = ids[0];
  grid.press(chosen);
  return changed;
}

function toggle(id) {
  $("follow").checked = false;
  const had = chosen.includes(id);
  choose(had ? chosen.filter((other) => other !== id) : [...chosen.slice(chosen.length >= MOST ? 1 : 0), id]);
  if (!had) shown = id;
  drawChosen();
  poll();
}

function open(id, jump) {
  shown = id;
  drawChosen();
  poll();
  if (jump) {
    $("detail-title").tabIndex = -1;
    $("detail-title").focus();
    $("detail").scrollIntoView();
  }
}

function drawChosen() {
  const axis = $("axis").value;
  const found = chosen.map((id) => ({ run: runs.get(id), slot: slots.get(id), curves: details.get(id)?.value.curves })).filter(({ run }) => run);
  const line = (points, more) => ({ x: points[axis], y: points.value, ...more });
  const drawn = found.filter(({ curves }) => curves);
  loss.show(drawn.map(({ run, slot, curves }) => ({ slot, name: shortName(run), lines: [line(curves.loss, { said: "training" }), line(curves.eval_loss, { dashes: true, marks: true, said: "selection" })] })), axis);
  score.show(drawn.map(({ run, slot, curves }) => ({ slot, name: shortName(run), lines: [line(curves.score, { marks: true })] })), axis);
  $("nothing").hidden = Boolean(found.length);
  $("chosen-box").hidden = !found.length;
  showTable(found);
  showDetail();
}

function showTable(found) {
  const focused = $("chosen").contains(document.activeElement) ? document.activeElement.dataset.key : null;
  $("chosen").replaceChildren(...found.map(({ run, slot, curves }) => {
    const last = curves?.loss.value.at(-1) ?? run.loss;
    const step = run.train_total ? `${whole(run.train_step)} of ${whole(run.train_total)}` : curves?.loss.step.length ? whole(curves.loss.step.at(-1)) : "–";
    const time = run.state === "running" ? (run.left_seconds === null ? "–" : `${duration(run.left_seconds)} left`) : run.wall_seconds === null ? "–" : duration(run.wall_seconds);
    return el("tr", {},
      el("th", { scope: "row" }, swatch(slot), el("button", { type: "button", class: "plain", "data-key": `open ${run.id}`, click: () => open(run.id, true) }, shortName(run))),
      el("td", {}, stateMark(run.state)), el("td", { class: "right" }, step), el("td", { class: "right" }, fixed(last, 4)),
      el("td", { class: "right" }, fixed(run.selection_score, 4)), el("td", { class: "right" }, speed(run.texts_per_second)), el("td", { class: "right" }, time),
      el("td", {}, el("button", { type: "button", class: "remove", "data-key": `remove ${run.id}`, "aria-label": `Remove ${shortName(run)}`, click: () => toggle(run.id) }, "×")));
  }));
  if (focused) [...$("chosen").querySelectorAll("button")].find((button) => button.dataset.key === focused)?.focus();
}

function showDetail() {
  const run = shown ? runs.get(shown) : null;
  $("detail").hidden = !run;
  if (!run) return;
  const value = details.get(shown)?.value;
  setText($("detail-title"), shortName(run));
  const where = run.state === "running" && run.phase ? ` – ${run.phase}${run.total ? `, ${whole(run.step)} of ${whole(run.total)}` : ""}` : run.reason && run.state !== "failed" && run.state !== "out_of_memory" ? ` – ${run.reason}` : "";
  const state = `${run.state}${where}${run.resumable}`;
  if ($("detail-state").dataset.said !== state) {
    $("detail-state").dataset.said = state;
    $("detail-state").replaceChildren(stateMark(run.state), where, run.resumable ? " – it was interrupted, and goes on from its checkpoint" : "");
  }
  const failed = run.reason && ["failed", "out_of_memory"].includes(run.state);
  $("detail-error").hidden = !failed;
  setText($("detail-reason"), failed ? (value?.error ? `${value.error.type}: ${value.error.message}` : run.reason) : "");
  $("detail-trace").hidden = !value?.error?.traceback;
  setText($("traceback"), value?.error?.traceback ?? "");
  const log = $("log"), atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 20;
  setText(log, value ? value.log.join("\n") || "It has written no log." : "…");
  if (atEnd) log.scrollTop = log.scrollHeight;
  const facts = value?.facts ?? [];
  if ($("facts").dataset.said !== JSON.stringify(facts)) {
    $("facts").dataset.said = JSON.stringify(facts);
    $("facts").replaceChildren(...facts.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]));
  }
}

// Controls ----------------------------------------------------------------------------------------------------

function applyFilter() {
  const count = grid.filter($("state").value, $("search").value);
  setText($("shown"), count === runs.size ? "" : `${count} of ${runs.size} shown`);
}

$("state").addEventListener("change", applyFilter);
$("search").addEventListener("input", applyFilter);
$("axis").addEventListener("change", drawChosen);
$("follow").addEventListener("change", () => { follow(); drawChosen(); poll(); });
$("clear").addEventListener("click", () => { $("follow").checked = false; choose([]); drawChosen(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
poll();
