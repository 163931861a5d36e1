// The table of regions: sorted by the column whose head is clicked, and searched; and the chart that is chosen.
{
  const table = document.getElementById("counts-table");
  const series = document.getElementById("series");

  function value(row, column) {
    const text = row.cells[column].textContent.trim();
    if (column < 2) return text.toLowerCase();
    return text === "n/a" ? -1 : Number(text);
  }

  function sort(head, column) {
    const downwards = head.getAttribute("aria-sort") !== "descending" && (column > 2 || head.getAttribute("aria-sort") === "ascending");
    table.querySelectorAll("th").forEach(other => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", downwards ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map(row => [value(row, column), row]);
    rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (downwards ? -1 : 1));
    table.tBodies[0].append(...rows.map(([, row], n) => (row.classList.toggle("beyond", n >= 40), row)));
  }

  function find(text) {
    let n = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !`${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase().includes(text.toLowerCase());
      n += !row.hidden;
    }
    document.getElementById("found").textContent = text ? `${n} found` : "";
  }

  if (table) {
    table.querySelectorAll("th").forEach((head, column) => head.firstElementChild.addEventListener("click", () => sort(head, column)));
    document.getElementById("find").addEventListener("input", event => find(event.target.value));
    if (series) series.addEventListener("change", () => document.querySelectorAll("[data-series]")
      .forEach(chart => { chart.hidden = chart.dataset.series !== series.value; }));
  }
}
