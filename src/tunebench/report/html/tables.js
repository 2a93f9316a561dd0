// Tables sort by any column, by click or key; long lists can be filtered.
(() => {
  "use strict";
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a.localeCompare(b, "en", { numeric: true });
  };

  const sortBy = (table, index, direction) => {
    const body = table.tBodies[0];
    const key = (row) => row.cells[index].dataset.sort;
    const sign = direction === "ascending" ? 1 : -1;
    // What is not known stands last either way; sorting is stable.
    const rows = [...body.rows].sort((a, b) => {
      if ((key(a) === "") !== (key(b) === "")) return key(a) === "" ? 1 : -1;
      return sign * compare(key(a), key(b));
    });
    body.append(...rows);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, index) => {
      if (head.classList.contains("axis")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction);
        sortBy(table, index, direction);
      });
    });
  }

  // A table that is wider than its room says so.
  const hint = () => {
    for (const line of document.querySelectorAll(".sideways")) {
      const room = line.nextElementSibling;
      line.hidden = room.scrollWidth <= room.clientWidth + 1;
    }
  };
  document.addEventListener("toggle", hint, true);
  addEventListener("resize", hint);
  hint();

  const all = document.getElementById("all-candidates");
  if (all) {
    const table = document.querySelector("table.candidates");
    table.classList.add("short");
    all.hidden = false;
    all.addEventListener("click", () => { table.classList.remove("short"); all.hidden = true; });
  }

  for (const filter of document.querySelectorAll(".filter")) {
    const list = filter.dataset.filter
      ? document.getElementById(filter.dataset.filter)
      : filter.parentElement.querySelector("tbody");
    const input = filter.querySelector("input"), count = filter.querySelector(".count");
    filter.hidden = false;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const item of list.children) {
        const text = (item.querySelector("summary") ?? item).textContent.toLowerCase();
        item.hidden = !words.every((word) => text.includes(word));
        shown += !item.hidden;
      }
      count.textContent = words.length ? `${shown} of ${list.children.length}` : "";
    });
  }
})();
