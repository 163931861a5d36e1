// Plots: full names where a mark or a name is pointed at, and buttons that save them as SVG and PNG.
"use strict";

// words of marks become tooltips; names of axes get those in `data-names`, or of the page
function addPlotTitles(chart) {
  const names = JSON.parse(chart.dataset.names ?? document.getElementById("names")?.textContent ?? "{}");
  const give = (element, words) => {
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = words;
    element.prepend(title);
  };
  for (const mark of chart.querySelectorAll("svg [role='graphics-symbol'][aria-label]")) give(mark, mark.getAttribute("aria-label"));
  chart.querySelectorAll("svg g[role='graphics-symbol']:empty").forEach(none => none.setAttribute("aria-hidden", "true"));
  for (const text of chart.querySelectorAll("svg .role-axis-label text")) if (names[text.textContent]) {
    text.style.pointerEvents = "auto";
    give(text, names[text.textContent]);
  }
}

{
  function toSvg(chart) {
    const svg = chart.querySelector("svg").cloneNode(true);
    const [width, height] = svg.getAttribute("viewBox").split(/[ ,]+/).slice(2).map(Number);
    svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    svg.setAttribute("style", "color: #1b2027; background: #fff");
    return { text: new XMLSerializer().serializeToString(svg), width, height };
  }

  async function savePng(chart, name) {
    const { text, width, height } = toSvg(chart);
    const image = new Image();
    image.src = `data:image/svg+xml,${encodeURIComponent(text)}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: 3 * width, height: 3 * height });
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(blob => saveFile(name, blob, "image/png"));
  }

  for (const chart of document.querySelectorAll(".chart[data-name]")) {
    const buttons = document.createElement("div");
    buttons.className = "save";
    chart.after(buttons);
    const name = () => chart.dataset.name;
    addButton(buttons, "SVG", "save this plot as SVG", () => saveFile(fileName(name(), ".svg"), toSvg(chart).text, "image/svg+xml"));
    addButton(buttons, "PNG", "save this plot as PNG", () => savePng(chart, fileName(name(), ".png")));
    addPlotTitles(chart);
  }
}
