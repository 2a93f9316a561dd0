// Charts: what the page's filter and a form's boxes leave is drawn, when it comes into view and whenever one changes.
(() => {
  "use strict";
  const options = {
    actions: false,
    renderer: "svg",
    // Expressions are interpreted: the page's policy forbids making code from text.
    ast: true,
    tooltip: { theme: "custom" },
    // Errors only: a layer whose boxes are off is empty, of which Vega would warn.
    logLevel: 1,
  };
  const filter = window.tunebenchFilter;
  // More panels than these are not drawn at once; the filter chooses others.
  const PANELS = 12;

  const unpack = (data) => data.rows ?? data.lines.flatMap(({ x, y, ...line }) =>
    x.map((value, i) => ({ ...line, x: value, y: y[i] })));

  const prepare = (place) => {
    const name = place.dataset.chart;
    const source = document.getElementById(`data-${name}`);
    const form = document.querySelector(`form[data-chart="${name}"]`);
    const data = JSON.parse(source.textContent);
    const rows = unpack(data);
    const several = Boolean(data.split);
    let views = [];

    const kept = () => {
      const chosen = new Map();
      for (const field of form?.querySelectorAll("fieldset") ?? []) {
        const boxes = [...field.querySelectorAll("input:checked")].map((box) => box.value);
        chosen.set(field.dataset.field, new Set(boxes));
      }
      const view = form?.elements.view?.value;
      return rows.filter((row) => (view === undefined || row.view === view) && filter.has(row.strategy, row.size)
        && [...chosen].every(([field, values]) => row[field] === undefined || values.has(String(row[field]))
          || row.kind === "diagonal" && field === "kind"));
    };

    const plot = async (into, values) => {
      const spec = { ...data.specs[form?.elements.view?.value ?? ""] };
      // What is folded has no width yet; it is drawn for paper, and again when it is opened.
      if (!into.clientWidth) spec.width = several ? 300 : 640;
      place.dataset.folded = String(!into.clientWidth);
      into.setAttribute("role", "img");
      into.setAttribute("aria-label", spec.description);
      const { view } = await window.tunebenchEmbed(into, { ...spec, data: { values } }, options);
      // The picture is named as a whole; its values stand in tables.
      into.querySelector("svg").setAttribute("aria-hidden", "true");
      views.push(view);
    };

    let turn = Promise.resolve();
    const draw = () => { turn = turn.then(redraw, redraw); return turn; };
    const redraw = async () => {
      views.forEach((view) => view.finalize());
      views = [];
      place.replaceChildren();
      const values = kept();
      const drawn = values.filter((row) => row.kind !== "diagonal");
      if (!drawn.length) {
        const line = document.createElement("p");
        line.className = "nothing";
        line.textContent = "Nothing is selected.";
        place.append(line);
      } else if (!several) {
        const into = document.createElement("div");
        into.className = "plot";
        place.append(into);
        await plot(into, values);
      } else {
        const all = [...new Set(values.map((row) => row[data.split]))];
        const parts = (data.split === "size" ? all.sort((a, b) => a - b) : all).slice(0, PANELS);
        // All panels stand before the first is drawn: what stands beside it decides its width.
        const rooms = parts.map((part) => {
          const panel = document.createElement("div"), title = document.createElement("h4");
          const into = document.createElement("div");
          panel.className = "panel";
          title.textContent = data.split === "size" ? `${part.toLocaleString("en")} labels` : part;
          into.className = "plot";
          panel.append(title, into);
          place.append(panel);
          return into;
        });
        for (const [i, part] of parts.entries()) {
          await plot(rooms[i], values.filter((row) => row[data.split] === part));
        }
        if (parts.length < all.length) {
          const line = document.createElement("p");
          line.className = "soft";
          line.textContent = `The first ${parts.length} of ${all.length} panels. The filter chooses others.`;
          place.append(line);
        }
      }
      place.dataset.drawn = String(Number(place.dataset.drawn ?? 0) + 1);
    };

    form?.addEventListener("change", draw);
    form?.addEventListener("submit", (event) => event.preventDefault());
    // A chart that is not drawn yet will be drawn as the filter then stands.
    filter.listen(() => { if (place.dataset.drawn) draw(); });
    for (let fold = place.closest("details"); fold; fold = fold.parentElement.closest("details")) {
      fold.addEventListener("toggle", () => { if (place.clientWidth && place.dataset.folded === "true") draw(); });
    }
    return draw;
  };

  const waiting = new Map();
  for (const place of document.querySelectorAll("div.chart")) waiting.set(place, prepare(place));
  const start = (place) => {
    const draw = waiting.get(place);
    waiting.delete(place);
    return draw?.();
  };
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watch.unobserve(entry.target); start(entry.target); }
  }, { rootMargin: "300px" });
  for (const place of waiting.keys()) watch.observe(place);
  // What has not been in view is still wanted on paper; without a view the idle page draws it.
  const rest = () => { for (const place of [...waiting.keys()]) start(place); };
  addEventListener("beforeprint", rest);
  addEventListener("load", () => setTimeout(rest, 1500));
})();
