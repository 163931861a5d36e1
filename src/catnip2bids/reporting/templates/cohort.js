// Cells by group: one dot for each sample, of the region, the segmentation and the grouping that are chosen.
"use strict";
{
  const { plot, samples } = JSON.parse(document.getElementById("cohort-data").textContent);
  const [region, series, group] = ["region", "series", "group"].map(id => document.getElementById(id));
  const text = document.getElementById("cells-text");

  function chosen() {
    const rows = samples.map(sample => ({
      ...sample.animal,
      sample: sample.name,
      group: sample.animal[group.value],
      cells: sample.cells[series.value]?.[region.value] ?? null,
    })).filter(row => row.cells !== null);
    rows.sort((a, b) => a.group.localeCompare(b.group) || a.sample.localeCompare(b.sample));
    for (const name of new Set(rows.map(row => row.group))) {
      const members = rows.filter(row => row.group === name);
      members.forEach((row, n) => { row.shift = members.length === 1 ? 0 : 0.4 * (2 * n / (members.length - 1) - 1); });
    }
    return rows;
  }

  function describe(rows) {
    const parts = [...new Set(rows.map(row => row.group))].map(name => {
      const members = rows.filter(row => row.group === name);
      const mean = members.reduce((sum, row) => sum + row.cells, 0) / members.length;
      return `${name}: mean ${mean.toLocaleString("en", { maximumFractionDigits: 1 })} (n = ${members.length})`;
    });
    const leftOut = samples.length - rows.length;
    const missing = leftOut ? `; ${leftOut} without a count` : "";
    return `${region.selectedOptions[0].text}, ${parts.join(", ") || "no counts"}${missing}.`;
  }

  const options = { mode: "vega", renderer: "svg", actions: false, loader: { load: () => Promise.reject() } };
  vegaEmbed("#cells", plot, options).then(({ view }) => {
    const show = () => {
      const rows = chosen();
      view.data("cells", rows).runAsync();
      text.textContent = describe(rows);
    };
    [region, series, group].forEach(choice => choice.addEventListener("change", show));
    show();
  });
}
