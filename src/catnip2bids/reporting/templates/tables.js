// Tables: sorted by the column whose head is clicked, searched, and saved as TSV. Unknown values are last in any order.
// A script that fills a table again sends it the event "refill".
"use strict";
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const search = document.querySelector(`input[data-table="${table.id}"]`);
  const found = document.querySelector(`[data-found="${table.id}"]`);
  const save = document.querySelector(`[data-save="${table.id}"]`);
  const fewRows = 25;
  const more = document.createElement("button");

  function value(cell, head) {
    const text = cell.dataset.value ?? cell.textContent.trim();
    if (text === "" || text === "n/a") return null;
    return head.classList.contains("n") ? Number(text) : text.toLowerCase();
  }

  function sort() {
    const heads = [...table.tHead.rows[0].cells];
    const column = heads.findIndex(head => !["none", null].includes(head.getAttribute("aria-sort")));
    if (column < 0) return;
    const sign = heads[column].getAttribute("aria-sort") === "descending" ? -1 : 1;
    const rows = [...body.rows].map(row => [value(row.cells[column], heads[column]), row]);
    rows.sort(([a], [b]) => (a === null) - (b === null) || sign * (a < b ? -1 : a > b ? 1 : 0));
    body.append(...rows.map(([, row]) => row));
    find();
  }

  // on a phone each cell has a line of its own, with the head of its column
  function nameCells() {
    const heads = [...table.tHead.rows[0].cells].map(head => head.dataset.short ?? head.textContent.trim());
    for (const row of body.rows) [...row.cells].slice(1).forEach((cell, n) => { cell.dataset.head = heads[n + 1]; });
  }

  const isWanted = row => table.dataset.kinds !== (row.classList.contains("sum") ? "regions" : "sums");

  function find() {
    const text = (search?.value ?? "").toLowerCase();
    let n = 0;
    for (const row of body.rows) {
      row.hidden = !isWanted(row) || !`${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase().includes(text);
      row.classList.toggle("beyond", n >= fewRows);
      n += !row.hidden;
    }
    if (found) found.textContent = text ? `${n} found` : "";
    more.hidden = n <= fewRows;
    more.textContent = table.classList.contains("all") ? `show the first ${fewRows} rows` : `show all ${n} rows`;
  }

  table.tHead.addEventListener("click", event => {
    const head = event.target.closest("button") && event.target.closest("th");
    if (!head) return;
    const before = head.getAttribute("aria-sort");
    const first = head.classList.contains("n") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    for (const one of table.tHead.rows[0].cells) if (one.hasAttribute("aria-sort")) one.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", before === first ? other : first);
    sort();
  });
  body.addEventListener("click", event => {
    const row = event.target.closest("tr[data-regions]");
    if (!row || String(getSelection())) return;
    for (const one of body.rows) one.classList.toggle("chosen", one === row);
    document.dispatchEvent(new CustomEvent("region", { detail: row.dataset.regions.split(" ").map(Number) }));
  });
  table.addEventListener("refill", () => { nameCells(); sort(); find(); });
  search?.addEventListener("input", find);
  Object.assign(more, { type: "button", className: "more" });
  more.addEventListener("click", () => { table.classList.toggle("all"); find(); });
  table.parentElement.after(more);
  nameCells();
  find();
  if (save) addButton(save, "TSV", `save the table as TSV: ${table.dataset.name}`, () => {
    const text = cell => cell.dataset.tsv ?? cell.dataset.value ?? cell.textContent.trim().replace(/\s+/g, " ");
    const rows = [table.tHead.rows[0], ...[...body.rows].filter(row => !row.hidden)];
    const lines = rows.map(row => [...row.cells].map(text).join("\t") + "\n");
    saveFile(fileName(table.dataset.name, ".tsv"), lines.join(""), "text/tab-separated-values");
  });
}

// the columns and plots of the segmentation that is chosen
{
  const choice = document.querySelector("select[data-shows]");
  function showChosen() {
    for (const part of document.querySelectorAll("[data-series]")) {
      part.hidden = part.dataset.series !== choice.value;
      if (part.tagName !== "TH") continue;
      for (const row of part.closest("table").tBodies[0].rows) row.cells[part.cellIndex].hidden = part.hidden;
    }
  }
  if (choice) {
    choice.addEventListener("change", showChosen);
    showChosen();
  }
}
