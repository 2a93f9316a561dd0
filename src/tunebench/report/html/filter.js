// One filter by candidate and training size that all charts, tables and lists follow.
(() => {
  "use strict";
  const form = document.getElementById("filter");
  const boxes = form ? [...form.querySelectorAll("input")] : [];
  const of = (name) => boxes.filter((box) => box.name === name);
  const strategies = of("strategy"), sizes = of("size");
  const listeners = [];
  // Where there is one candidate or one size, there is nothing to choose.
  const on = (list, value) => value === undefined || !list.length || list.some((box) => box.checked && box.value === String(value));
  window.tunebenchFilter = {
    has: (strategy, size) => on(strategies, strategy) && on(sizes, size),
    listen: (listener) => listeners.push(listener),
  };
  if (!form) return;

  const marked = [...document.querySelectorAll("main [data-s], main [data-size]")];
  const apply = () => {
    for (const element of marked) {
      const numbers = (element.dataset.s ?? "").split(" ").filter(Boolean);
      const shown = numbers.every((i) => strategies[i]?.checked ?? true) && on(sizes, element.dataset.size);
      element.classList.toggle("filtered", !shown);
    }
    const left = boxes.filter((box) => box.checked).length;
    form.querySelector(".count").textContent = left < boxes.length ? `${boxes.length - left} off` : "";
    listeners.forEach((listener) => listener());
  };
  form.hidden = false;
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("click", ({ target }) => {
    if (!target.matches("button.link")) return;
    strategies.forEach((box) => { box.checked = target.value === "all"; });
    apply();
  });
  if (matchMedia("(max-width: 56rem)").matches) form.querySelector("details").open = false;
})();
