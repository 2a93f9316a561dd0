"use strict";
(() => {
  const cards = [...document.querySelectorAll("article")];
  const tools = document.getElementById("tools");
  const choice = document.getElementById("label");
  const count = document.getElementById("count");
  const decided = new Map();
  const show = () => {
    for (const card of cards) card.hidden = choice.value !== "" && card.dataset.label !== choice.value;
    const shown = cards.filter((card) => !card.hidden).length;
    count.textContent = `${shown} shown, ${decided.size} of ${cards.length} decided`;
  };
  for (const card of cards) {
    card.querySelector(".decide").hidden = false;
    // A long text scrolls, also by the keys.
    const text = card.querySelector(".text");
    if (text.scrollHeight > text.clientHeight) text.tabIndex = 0;
    for (const button of card.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        for (const other of card.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
        decided.set(card, button.dataset.to);
        show();
      });
    }
  }
  // A spreadsheet would run a value that begins with one of these.
  const quoted = (value) => `"${/^[=+\-@\t\r\n]/.test(value) ? "'" : ""}${value.replaceAll('"', '""')}"`;
  document.getElementById("save").addEventListener("click", () => {
    const rows = [...decided].map(([card, to]) => {
      const { part, row, label, likely } = card.dataset;
      return [part, row, label, to === "change" ? likely : label, to].map(quoted).join(",");
    });
    const link = document.createElement("a");
    const text = ["part,row,label,decided_label,decision", ...rows, ""].join("\n");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "decided.csv";
    link.click();
  });
  choice.addEventListener("change", show);
  tools.hidden = false;
  show();
})();
