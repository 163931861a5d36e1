// The comparison of groups: table and plots of the chosen cells, grouping and measure; and two samples side by side.
// Means and deviations are computed when the report is drawn; this script only shows them.
"use strict";
{
  const { regions, series, left_out: leftOut, measures, points, values, sample_names: sampleNames, comparisons, first, plots } = JSON.parse(document.getElementById("cohort-data").textContent);
  const element = id => document.getElementById(id);
  const [seriesChoice, columnChoice, measureChoice, kindChoice] = ["series", "column", "measure", "kinds"].map(element);
  const table = element("comparison"), dots = element("dots"), ranking = element("ranking");
  const cell = text => Object.assign(document.createElement("td"), { textContent: text });
  const numberCell = (text, value) => {
    const td = Object.assign(cell(text), { className: "n" });
    td.dataset.value = value ?? "n/a";
    return td;
  };
  const options = { mode: "vega", renderer: "svg", actions: false, loader: { load: () => Promise.reject() } };
  let chosenRow = 0;

  // as formatting.format_number
  function format(value) {
    const size = Math.abs(value);
    const digits = size < 1 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 2 };
    return value.toLocaleString("en", { ...digits, roundingMode: "halfEven" });
  }

  const known = value => value !== null && value !== undefined;
  const seriesName = () => seriesChoice.selectedOptions[0].text;
  const titleOf = region => region.is_sum ? `${region.name} with all below it` : region.name;

  function current() {
    const column = columnChoice.value, at = measures.indexOf(measureChoice.value), n = Number(seriesChoice.value);
    const pool = column === "hemisphere" ? "samples" : "animals";
    return { column, measure: measures[at], found: comparisons[n][column][at], values: values[pool][n][at], points: points[column] };
  }

  function groupText(found, group, row) {
    const n = found.n[group][row];
    if (!n) return "n/a";
    const deviation = found.deviations[group][row];
    // mean and number stay on a line each
    return `${format(found.means[group][row])}${known(deviation) ? `\u00a0\u00b1\u00a0${format(deviation)}` : ""} (n\u00a0=\u00a0${n})`;
  }

  function differenceOf(found, row) {
    const means = found.means.map(group => group[row]);
    const withMean = means.flatMap((mean, group) => known(mean) && found.groups[group] !== "n/a" ? [group] : []);
    if (withMean.length < 2) return { text: "n/a", value: null, most: "n/a" };
    const [low, ...others] = withMean.sort((a, b) => means[a] - means[b]), high = others.at(-1);
    const value = means[high] - means[low];
    const share = known(found.shares[row]) ? ` (+${format(found.shares[row])} %)` : "";
    return { words: `${found.groups[high]} has ${format(value)} more than ${found.groups[low]}${share}`, text: value ? `${found.groups[high]} +${format(value)}${share}` : "none", value, most: value ? found.groups[high] : "n/a" };
  }

  function leftOutText() {
    const names = leftOut[Number(seriesChoice.value)], few = names.slice(0, 5).join(", ");
    const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
    return names.length ? `Sums are without ${few}${more}, which CATNIP excluded as damaged in at least one animal.` : "";
  }

  // ---- the table

  function fillTable() {
    const { found, measure, column } = current(), what = `${measure}, ${seriesName()}`;
    element("pool").textContent = column === "hemisphere" ? "hemispheres" : "animals";
    element("shown").textContent = `by ${column}: ${what}`;
    table.dataset.name = `${what}, by ${column}`;
    const head = table.tHead.rows[0], sample = head.querySelector("th.n").cloneNode(true);
    head.querySelectorAll("th.n").forEach(th => th.remove());
    for (const name of [...found.groups, "difference"]) {
      const th = sample.cloneNode(true);
      th.setAttribute("aria-sort", "none");
      th.querySelector("button").textContent = name;
      th.dataset.tsv = name === "difference" ? "group with most\tmore than the least"
        : [`mean ${what}`, "sd", "n"].map(number => `${name} ${number}`).join("\t");
      head.append(th);
    }
    for (const row of table.tBodies[0].rows) {
      const number = Number(row.dataset.regions);
      [...row.cells].slice(3).forEach(old => old.remove());
      found.groups.forEach((_, group) => {
        const mean = found.means[group][number], td = numberCell(groupText(found, group, number), mean);
        td.dataset.tsv = [mean, found.deviations[group][number], found.n[group][number]].map(n => n ?? "n/a").join("\t");
        row.append(td);
      });
      const { text, value, most } = differenceOf(found, number), td = numberCell(text, value);
      td.dataset.tsv = `${most}\t${known(value) ? Number(value.toPrecision(8)) : "n/a"}`;
      row.append(td);
    }
    table.dispatchEvent(new Event("refill"));
  }

  // ---- plots

  // a plot, and its buttons after it
  function show(chart, isShown) {
    chart.hidden = !isShown;
    if (chart.nextElementSibling?.className === "save") chart.nextElementSibling.hidden = !isShown;
  }

  function embed(chart, plot, data) {
    const filled = structuredClone(plot);
    // a long name would be cut off
    for (const axis of filled.axes) if (axis.title) axis.title = [axis.title, ...seriesName().split(/, (?=damaged)/)];
    for (const source of filled.data) if (data[source.name]) source.values = data[source.name];
    return vegaEmbed(chart, filled, options).then(() => addPlotTitles(chart));
  }

  function showRegion() {
    const { column, measure, found, values, points } = current();
    const region = regions[chosenRow];
    const rows = points.map((point, n) => ({ ...point, value: values[n][chosenRow] })).filter(row => known(row.value))
      .map(row => ({ ...row, words: `${row.name}, ${column} ${row.group}: ${format(row.value)} ${measure}` }));
    const groups = found.groups.flatMap((group, n) => {
      const [mean, deviation] = [found.means[n][chosenRow], found.deviations[n][chosenRow]];
      const words = `${group}: mean ${groupText(found, n, chosenRow)}`;
      return found.n[n][chosenRow] > 1 ? [{ group, mean, low: mean - (deviation ?? 0), high: mean + (deviation ?? 0), words }] : [];
    });
    const texts = found.groups.map((group, n) => `${group} ${groupText(found, n, chosenRow)}`);
    const nMissing = points.length - rows.length;
    const missing = nMissing ? `; ${nMissing} without a value` : "";
    const difference = differenceOf(found, chosenRow);
    const title = titleOf(region)[0].toUpperCase() + titleOf(region).slice(1);
    element("region-title").textContent = `${title}: ${measure}, ${seriesName()}, by ${column}`;
    element("region-text").textContent = `${title}, ${measure}: ${texts.join(", ")}${missing}. `
      + (difference.value ? `On average ${difference.words}. ` : "")
      + (region.is_sum || !chosenRow ? leftOutText() : "");
    dots.dataset.name = `${titleOf(region)}, ${measure}, ${seriesName()}, by ${column}`;
    show(dots, rows.length > 0);
    for (const row of table.tBodies[0].rows) row.classList.toggle("chosen", Number(row.dataset.regions) === chosenRow);
    return plots && rows.length ? embed(dots, plots[measure][0], { points: rows, groups }) : null;
  }

  function showRanking() {
    const { column, measure, found } = current();
    const shown = found.ranking.map(n => regions[n]);
    const isTwice = region => shown.filter(other => other.short === region.short).length > 1;
    const labels = shown.map(region => isTwice(region) ? `${region.short} (${region.label})` : region.short);
    const means = found.ranking.flatMap((row, at) => found.groups.flatMap((group, n) => known(found.means[n][row]) ? [{
      region: labels[at], group, mean: found.means[n][row],
      words: `${regions[row].name}, ${column} ${group}: mean ${groupText(found, n, row)}`,
    }] : []));
    const nKnown = found.groups.filter(group => group !== "n/a").length;
    element("ranking-none").hidden = shown.length > 0;
    element("ranking-none").textContent = nKnown > 1 ? "No region differs." : `There is nothing to compare: ${nKnown ? "only one" : "no"} ${column} is known.`;
    show(ranking, shown.length > 0);
    ranking.dataset.names = JSON.stringify(Object.fromEntries(labels.map((label, n) => [label, shown[n].name])));
    ranking.dataset.name = `regions that differ most, ${measure}, ${seriesName()}, by ${column}`;
    return plots && shown.length ? embed(ranking, plots[measure][1], { means }) : null;
  }

  function showAll() {
    fillTable();
    showRegion();
    showRanking();
    fillPair();
  }

  // ---- two samples side by side

  const samples = JSON.parse(element("pairs").textContent);
  const choices = ["first-sample", "second-sample"].map(element);

  function pictureOf(picture, sample) {
    const what = picture.is_heat ? `heat map, ${picture.title}` : picture.title;
    const view = Object.assign(document.createElement("div"), { className: "view fixed" });
    view.style = `aspect-ratio: ${picture.width_um} / ${picture.height_um}`;
    const image = Object.assign(document.createElement("img"), { alt: `${what} of ${samples[sample].name}`, src: picture.address || element(`thumb-${sample}`).src });
    const bar = Object.assign(document.createElement("span"), { className: "bar", textContent: picture.bar[0] });
    bar.style.width = `${picture.bar[1]}%`;
    view.append(image, Object.assign(document.createElement("span"), { className: "along", textContent: picture.title }), bar);
    return view;
  }

  // three slices, and three projections of a heat map
  const rowsOf = sample => [sample.pictures.filter(picture => !picture.is_heat), sample.pictures.filter(picture => picture.is_heat)];

  function fillPair() {
    if (choices.includes(null)) return;
    const chosen = choices.map(choice => Number(choice.value));
    // both at one scale
    const widths = row => [row[0].width_um, row[2].width_um];
    const rows = chosen.flatMap(n => rowsOf(samples[n])).filter(row => row.length);
    const widest = Math.max(...rows.map(row => widths(row)[0] + widths(row)[1]));
    chosen.forEach((n, at) => {
      const sample = samples[n], box = element(`pair-${at}`);
      const link = Object.assign(document.createElement("a"), { href: `./${encodeURIComponent(sample.page)}`, textContent: sample.name });
      const title = document.createElement("h3");
      title.append(link);
      const inViewer = Object.assign(document.createElement("p"), { className: "viewer needs-viewer" });
      Object.assign(inViewer.dataset, { image: sample.image, position: sample.position, what: "these slices" });
      offerViewer(inViewer);
      const facts = document.createElement("dl");
      for (const [name, value] of sample.facts) {
        facts.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: value }));
      }
      const slices = Object.assign(document.createElement("div"), { className: "slices" });
      for (const row of rowsOf(sample).filter(row => row.length)) {
        const grid = Object.assign(document.createElement("div"), { className: "orthogonal" });
        grid.style.gridTemplateColumns = widths(row).map(width => `${96 * width / widest}%`).join(" ");
        grid.append(...row.map(picture => pictureOf(picture, n)));
        slices.append(grid);
      }
      box.replaceChildren(title, ...(sample.position ? [inViewer] : []), facts, slices);
      if (sample.heat_scale) box.append(
        Object.assign(document.createElement("div"), { className: "scale" }),
        Object.assign(document.createElement("p"), { className: "dim", textContent: `heat map, ${sample.heat_scale} cells nearby (black to white)` }),
      );
    });
    const body = element("pair-table").tBodies[0], heads = element("pair-table").tHead.rows[0].cells;
    const { measure } = current();
    const of = n => values.samples[Number(seriesChoice.value)][measures.indexOf(measure)][sampleNames.indexOf(samples[n].name)];
    const [one, two] = chosen.map(n => of(n) ?? []);
    const what = `${measure}, ${seriesName()}`;
    chosen.forEach((n, at) => {
      heads[2 + at].querySelector("button").textContent = samples[n].name;
      heads[2 + at].dataset.tsv = `${samples[n].name}, ${what}`;
    });
    element("pair-table").dataset.name = `two samples, ${what}`;
    body.replaceChildren(...regions.flatMap((region, row) => {
      if (!known(one[row]) && !known(two[row])) return [];
      const tr = document.createElement("tr");
      const difference = known(one[row]) && known(two[row]) ? Number((two[row] - one[row]).toPrecision(8)) : null;
      tr.append(cell(titleOf(region)), Object.assign(cell(region.abbreviation), { className: "short" }));
      tr.append(...[one[row], two[row], difference].map(value => numberCell(known(value) ? format(value) : "n/a", value)));
      return [tr];
    }));
    element("pair-measure").textContent = what;
    element("pair-table").dispatchEvent(new Event("refill"));
  }

  const groupOf = n => samples[n].facts.find(([name]) => name === first.column)?.[1];
  if (choices[1]) choices[1].value = Math.max(1, samples.findIndex((_, n) => groupOf(n) !== groupOf(0)));
  for (const [choice, value] of [[seriesChoice, first.series], [columnChoice, first.column], [measureChoice, first.measure]]) choice.value = value;
  [seriesChoice, columnChoice, measureChoice].forEach(choice => choice.addEventListener("change", showAll));
  kindChoice.addEventListener("change", () => { table.dataset.kinds = kindChoice.value; table.dispatchEvent(new Event("refill")); });
  choices.forEach(choice => choice?.addEventListener("change", fillPair));
  document.addEventListener("region", event => { [chosenRow] = event.detail; showRegion(); });
  showAll();
}
