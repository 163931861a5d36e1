// Slices: the image, and over it regions, the edge of the hemisphere mask, cells, names and a scale bar. A map holds for
// each pixel: red + 256 * green is the number of a region, the bits of blue are the segmentations that have a cell there,
// and the last bit is set outside the hemisphere mask.
"use strict";
{
  const { full, side, regions, layers, views } = JSON.parse(document.getElementById("brain").textContent);
  const OUTSIDE = 128, CELL_SCALE = 4096, MOST_ZOOM = 16;
  const element = id => document.getElementById(id);
  const here = element("here"), slider = element("slider"), stage = element("plane");
  const thumbnails = [...document.querySelectorAll(".mosaic button")];
  const canvases = [...document.querySelectorAll("canvas[data-view]")];
  const rgb = color => [1, 3, 5].map(at => parseInt(color.slice(at, at + 2), 16));
  const regionColors = [[0, 0, 0], ...regions.map(region => rgb(region.color))];
  const pictures = new Map(); // of canvases: order of loading, view, image, map, zoom
  const middle = Object.fromEntries(Object.entries(full).map(([axis, n]) => [axis, Math.floor(n / 2)]));
  const place = views.slice(0, 3).reduce((found, view) => ({ ...found, [view.axis]: view.at }), middle);
  let pointed = 0, chosen = new Set(), plane = views[Number(stage?.dataset.view)];

  const isChecked = name => document.querySelector(`input[name="${name}"]`)?.checked ?? false;
  const share = id => Number(element(id)?.value ?? 100) / 100;

  // ---- pictures and maps

  async function load(address) {
    const image = new Image();
    image.src = address;
    await image.decode();
    return image;
  }

  async function loadMap(address) {
    if (!address) return null;
    const image = await load(address);
    const { naturalWidth: width, naturalHeight: height } = image;
    const context = newCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, width, height).data;
    const numbers = new Uint16Array(width * height), bits = new Uint8Array(width * height);
    for (let at = 0; at < numbers.length; at++) {
      numbers[at] = pixels[4 * at] + 256 * pixels[4 * at + 1];
      bits[at] = pixels[4 * at + 2];
    }
    return { width, height, numbers, bits, drawn: new Map() };
  }

  function newCanvas(width, height) {
    return Object.assign(document.createElement("canvas"), { width, height });
  }

  // another picture may be wanted before this one is there
  async function show(canvas, number) {
    const before = pictures.get(canvas);
    const order = (before?.order ?? 0) + 1;
    pictures.set(canvas, { zoom: { scale: 1, x: 0.5, y: 0.5 }, ...before, order });
    canvas.setAttribute("aria-busy", "true");
    const view = views[number];
    const isDetailed = "zoom" in canvas.dataset && view.detail;
    const picture = isDetailed ? view.detail.picture : element(`view-${number}`).src;
    const [image, map] = await Promise.all([load(picture), loadMap(isDetailed ? view.detail.map : view.map)]);
    if (pictures.get(canvas).order !== order) return;
    pictures.set(canvas, { ...pictures.get(canvas), view, image, map });
    draw(canvas);
    canvas.removeAttribute("aria-busy");
  }

  // ---- what is made of a map, once

  const made = (map, what, make) => {
    if (!map.drawn.has(what)) map.drawn.set(what, make());
    return map.drawn.get(what);
  };

  // a bitmap in which each pixel has the colour (red, green, blue, alpha) that it is given, if any
  function bitmapOf(map, colorAt) {
    const canvas = newCanvas(map.width, map.height);
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(map.width, map.height);
    for (let at = 0; at < map.numbers.length; at++) {
      const color = colorAt(at);
      if (color) pixels.data.set(color, 4 * at);
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  // paths along the borders between pixels, by what a border is of (0 is none)
  function bordersOf(map, kindOf) {
    const paths = new Map();
    const add = (kind, x0, y0, x1, y1) => {
      if (!paths.has(kind)) paths.set(kind, new Path2D());
      paths.get(kind).moveTo(x0, y0);
      paths.get(kind).lineTo(x1, y1);
    };
    const scan = (nLines, length, index, line) => {
      for (let n = 1; n < nLines; n++) {
        for (let at = 0, from = 0, last = 0; at <= length; at++) {
          const kind = at < length ? kindOf(index(n - 1, at), index(n, at)) : 0;
          if (kind === last) continue;
          if (last) line(last, n, from, at);
          [from, last] = [at, kind];
        }
      }
    };
    scan(map.width, map.height, (x, y) => y * map.width + x, (kind, x, from, to) => add(kind, x, from, x, to));
    scan(map.height, map.width, (y, x) => y * map.width + x, (kind, y, from, to) => add(kind, from, y, to, y));
    return paths;
  }

  const regionBorders = ({ numbers }) => (a, b) => numbers[a] === numbers[b] ? 0 : numbers[a] || numbers[b];
  const maskBorders = ({ numbers, bits }) => (a, b) => (bits[a] ^ bits[b]) & OUTSIDE && (numbers[a] || numbers[b]) ? 1 : 0;

  // for each region its size, and the pixel of it that is nearest to its centre
  function anchorsOf({ width, numbers }) {
    const sums = regionColors.map(() => ({ area: 0, x: 0, y: 0, distance: Infinity, at: 0 }));
    numbers.forEach((number, at) => {
      const found = sums[number];
      found.area++;
      found.x += at % width;
      found.y += Math.floor(at / width);
    });
    numbers.forEach((number, at) => {
      const found = sums[number];
      const distance = (at % width - found.x / found.area) ** 2 + (Math.floor(at / width) - found.y / found.area) ** 2;
      if (distance < found.distance) Object.assign(found, { distance, at });
    });
    return sums.map((found, number) => ({ ...found, number })).slice(1).filter(found => found.area)
      .sort((a, b) => b.area - a.area);
  }

  // ---- drawing

  function draw(canvas) {
    const picture = pictures.get(canvas);
    const ratio = Math.min(devicePixelRatio, 2);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map(n => Math.max(1, Math.round(n * ratio)));
    if (!picture?.image || canvas.clientWidth === 0) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const { image, map, zoom } = picture;
    const left = width / 2 - zoom.x * width * zoom.scale, top = height / 2 - zoom.y * height * zoom.scale;
    const frame = { context, ratio, width, height, left, top, across: width * zoom.scale, down: height * zoom.scale, picture };
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    if (isChecked("image")) context.drawImage(image, left, top, frame.across, frame.down);
    if (map) drawMap(frame);
    drawCells(frame);
    if (map && isChecked("names")) drawNames(frame);
    drawPlace(frame);
    drawBar(frame);
  }

  function drawMap({ context, ratio, left, top, across, down, picture: { map } }) {
    const lay = (bitmap, alpha) => {
      context.globalAlpha = alpha;
      context.imageSmoothingEnabled = false;
      context.drawImage(bitmap, left, top, across, down);
      context.imageSmoothingEnabled = true;
      context.globalAlpha = 1;
    };
    const matrix = new DOMMatrix([across / map.width, 0, 0, down / map.height, left, top]);
    const stroke = (path, color, width, dash = []) => {
      const shown = new Path2D();
      shown.addPath(path, matrix);
      Object.assign(context, { strokeStyle: color, lineWidth: width * ratio, lineCap: "square" });
      context.setLineDash(dash.map(length => length * ratio));
      context.stroke(shown);
      context.setLineDash([]);
    };
    const opacity = share("region-opacity");
    const how = document.querySelector('input[name="regions"]:checked')?.value ?? "off";
    if (how === "colours") {
      lay(made(map, "colours", () => bitmapOf(map, at => map.numbers[at] && [...regionColors[map.numbers[at]], 255])), 0.55 * opacity);
    }
    const wanted = new Set(chosen);
    if (pointed) wanted.add(pointed);
    if (wanted.size && how !== "off") {
      const key = [...wanted].join();
      if (map.drawn.get("key") !== key) map.drawn.delete("wanted");
      map.drawn.set("key", key);
      lay(made(map, "wanted", () => bitmapOf(map, at => wanted.has(map.numbers[at]) && [...regionColors[map.numbers[at]], 255])), 0.5);
    }
    if (isChecked("damaged")) {
      const step = Math.max(9, Math.round(map.width / 40));
      const isHatched = at => regions[map.numbers[at] - 1]?.excluded && (at % map.width + Math.floor(at / map.width)) % step < step / 9;
      lay(made(map, "damaged", () => bitmapOf(map, at => isHatched(at) && [255, 255, 255, 255])), 0.7);
    }
    layers.forEach((layer, n) => {
      if (layer.bit === null || !isChecked(`cells-${n}`)) return;
      const color = [...rgb(layer.color), 255];
      lay(made(map, `cells ${n}`, () => bitmapOf(map, at => map.bits[at] & (1 << layer.bit) && color)), 0.9 * share("cell-opacity"));
    });
    if (how !== "off") {
      context.globalAlpha = opacity;
      made(map, "borders", () => bordersOf(map, regionBorders(map)))
        .forEach((path, number) => stroke(path, regions[number - 1].color, wanted.has(number) ? 2.5 : 1.3));
      context.globalAlpha = 1;
    }
    made(map, "mask", () => bordersOf(map, maskBorders(map)))
      .forEach(path => { stroke(path, "#000", 3); stroke(path, "#fff", 1.5, [6, 5]); });
  }

  const SYMBOLS = {
    circle: (path, x, y, r) => { path.moveTo(x + r, y); path.arc(x, y, r, 0, 2 * Math.PI); },
    square: (path, x, y, r) => path.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r),
    triangle: (path, x, y, r) => { path.moveTo(x, y - 1.2 * r); path.lineTo(x + 1.1 * r, y + 0.8 * r); path.lineTo(x - 1.1 * r, y + 0.8 * r); path.closePath(); },
    diamond: (path, x, y, r) => { path.moveTo(x, y - 1.3 * r); path.lineTo(x + 1.3 * r, y); path.lineTo(x, y + 1.3 * r); path.lineTo(x - 1.3 * r, y); path.closePath(); },
  };

  // counted cells are filled, cells that no region counts are hollow
  function drawCells({ context, ratio, width, left, top, across, down, picture: { view } }) {
    const radius = Math.max(2, Math.min(4, width / ratio / 160)) * ratio;
    context.globalAlpha = share("cell-opacity");
    layers.forEach((layer, n) => {
      if (!view.cells[n] || !isChecked(`cells-${n}`)) return;
      const [filled, hollow] = view.cells[n].map((places, kind) => {
        const path = new Path2D();
        if (kind === 1 && !isChecked("uncounted")) return path;
        for (let at = 0; at < places.length; at += 2) {
          SYMBOLS[layer.shape](path, left + places[at] / CELL_SCALE * across, top + places[at + 1] / CELL_SCALE * down, radius);
        }
        return path;
      });
      context.lineWidth = 0.6 * radius;
      context.strokeStyle = "#000";
      context.stroke(hollow);
      context.lineWidth = 0.25 * radius;
      context.stroke(filled);
      context.fillStyle = context.strokeStyle = layer.color;
      context.fill(filled);
      context.lineWidth = 0.35 * radius;
      context.stroke(hollow);
    });
    context.globalAlpha = 1;
  }

  function write(context, ratio, text, x, y) {
    Object.assign(context, { lineJoin: "round", lineWidth: 3 * ratio, strokeStyle: "#000c", fillStyle: "#fff" });
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }

  // names of regions that have room for them, the largest first; none over another
  function drawNames({ context, ratio, width, height, left, top, across, down, picture: { map } }) {
    const line = 12 * ratio;
    Object.assign(context, { font: `600 ${line}px system-ui, sans-serif`, textAlign: "center", textBaseline: "middle" });
    const taken = [];
    for (const { number, area, at } of made(map, "anchors", () => anchorsOf(map))) {
      const text = regions[number - 1].short || regions[number - 1].name;
      const half = context.measureText(text).width / 2;
      const x = left + (at % map.width + 0.5) / map.width * across;
      const y = top + (Math.floor(at / map.width) + 0.5) / map.height * down;
      const isSmall = area / map.numbers.length * across * down < 1.5 * half * line;
      const isOutside = x < half || y < line || x > width - half || y > height - line;
      const overlaps = taken.some(other => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < line);
      if (isSmall || isOutside || overlaps) continue;
      taken.push({ x, y, half });
      write(context, ratio, text, x, y);
    }
  }

  // the place that is open in the viewer, where it lies in the slice
  function drawPlace({ context, ratio, left, top, across, down, picture: { view } }) {
    if (place[view.axis] !== view.at) return;
    const x = left + (place[view.columns] + 0.5) / full[view.columns] * across;
    const y = top + (place[view.rows] + 0.5) / full[view.rows] * down;
    const cross = new Path2D();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      cross.moveTo(x + 4 * ratio * dx, y + 4 * ratio * dy);
      cross.lineTo(x + 10 * ratio * dx, y + 10 * ratio * dy);
    }
    for (const [color, lineWidth] of [["#000", 3.5], ["#fff", 1.5]]) {
      Object.assign(context, { strokeStyle: color, lineWidth: lineWidth * ratio });
      context.stroke(cross);
    }
  }

  function drawBar({ context, ratio, width, height, across, picture: { view } }) {
    const um = view.width_um / across, most = width / 3 * um;
    const power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].find(step => step * power <= most) * power;
    const [right, bottom] = [width - 10 * ratio, height - 10 * ratio];
    context.fillStyle = "#000c";
    context.fillRect(right - length / um - ratio, bottom - 5 * ratio, length / um + 2 * ratio, 6 * ratio);
    context.fillStyle = "#fff";
    context.fillRect(right - length / um, bottom - 4 * ratio, length / um, 4 * ratio);
    Object.assign(context, { font: `${12 * ratio}px system-ui, sans-serif`, textAlign: "right", textBaseline: "alphabetic" });
    write(context, ratio, length < 1000 ? `${+length.toPrecision(3)} um` : `${length / 1000} mm`, right, bottom - 8 * ratio);
    Object.assign(context, { textAlign: "left", textBaseline: "top" });
    const number = `${view.axis === "z" ? "plane" : `${view.axis} =`} ${view.at + 1}`;
    const texts = [`${view.title}, ${number}, ${side}, orientation unknown`, `${view.title}, ${side}`, view.title];
    const room = width - 16 * ratio;
    write(context, ratio, texts.find(text => context.measureText(text).width <= room) ?? view.title, 8 * ratio, 8 * ratio);
  }

  const drawAll = () => canvases.forEach(draw);

  // ---- what is pointed at, and the place to open in the viewer

  const words = region => `${region.name}${region.short ? ` (${region.short})` : ""}${region.excluded ? ", damaged: excluded by CATNIP" : ""}${region.cells ? `: ${region.cells}` : ""}`;

  function point(number) {
    if (number !== pointed) {
      pointed = number;
      drawAll();
    }
    const region = regions[number - 1];
    here.textContent = region ? words(region) : "\u00a0";
  }

  // the fractions of the picture at a place of its canvas
  function fractions(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const { zoom } = pictures.get(canvas);
    return {
      x: zoom.x + ((event.clientX - box.left) / box.width - 0.5) / zoom.scale,
      y: zoom.y + ((event.clientY - box.top) / box.height - 0.5) / zoom.scale,
    };
  }

  const isInside = ({ x, y }) => x >= 0 && y >= 0 && x < 1 && y < 1;

  function pointAt(canvas, at) {
    const { map } = pictures.get(canvas) ?? {};
    if (!map || !regions.length) return;
    point(isInside(at) ? map.numbers[Math.floor(at.y * map.height) * map.width + Math.floor(at.x * map.width)] : 0);
  }

  // the marked place, and the one above or below it in the plane that is shown
  function tellPlace() {
    for (const [id, at] of [["viewer-slices", place], ["viewer-plane", { ...place, [plane.axis]: plane.at }]]) {
      element(id).dataset.position = `${at.x} ${at.y} ${at.z}`;
      offerViewer(element(id));
    }
  }

  function mark(canvas, at) {
    const { view } = pictures.get(canvas);
    if (!isInside(at)) return;
    Object.assign(place, {
      [view.columns]: Math.floor(at.x * full[view.columns]),
      [view.rows]: Math.floor(at.y * full[view.rows]),
      [view.axis]: view.at,
    });
    tellPlace();
    drawAll();
  }

  // ---- zooming

  function zoomTo(canvas, scale, at) {
    const { zoom } = pictures.get(canvas);
    const before = zoom.scale;
    zoom.scale = Math.min(Math.max(scale, 1), MOST_ZOOM);
    zoom.x = at.x + (zoom.x - at.x) * before / zoom.scale;
    zoom.y = at.y + (zoom.y - at.y) * before / zoom.scale;
    keepInside(zoom);
    canvas.classList.toggle("zoomed", zoom.scale > 1);
    draw(canvas);
  }

  function keepInside(zoom) {
    const half = 0.5 / zoom.scale;
    for (const axis of ["x", "y"]) zoom[axis] = Math.min(Math.max(zoom[axis], half), 1 - half);
  }

  const center = canvas => ({ x: pictures.get(canvas).zoom.x, y: pictures.get(canvas).zoom.y });

  function zoomBy(canvas, factor, at = center(canvas)) {
    zoomTo(canvas, factor ? pictures.get(canvas).zoom.scale * factor : 1, at);
  }

  // ---- what people do with a picture

  function follow(canvas) {
    const at = { x: 0.5, y: 0.5 };
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const zooms = "zoom" in canvas.dataset ? { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 0 } : {};
    let pressed = null;
    canvas.addEventListener("pointermove", event => {
      const { zoom } = pictures.get(canvas);
      if (pressed && zoom.scale > 1) {
        const box = canvas.getBoundingClientRect();
        zoom.x -= (event.clientX - pressed.x) / box.width / zoom.scale;
        zoom.y -= (event.clientY - pressed.y) / box.height / zoom.scale;
        pressed = { x: event.clientX, y: event.clientY, moved: true };
        keepInside(zoom);
        draw(canvas);
      }
      Object.assign(at, fractions(canvas, event));
      pointAt(canvas, at);
    });
    canvas.addEventListener("pointerdown", event => {
      Object.assign(at, fractions(canvas, event));
      pointAt(canvas, at);
      pressed = { x: event.clientX, y: event.clientY, moved: false };
      if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", event => {
      if (pressed && !pressed.moved) mark(canvas, fractions(canvas, event));
      pressed = null;
    });
    canvas.addEventListener("pointercancel", () => { pressed = null; });
    canvas.addEventListener("pointerleave", event => event.pointerType === "mouse" && point(0));
    if ("zoom" in canvas.dataset) {
      canvas.addEventListener("dblclick", event => zoomBy(canvas, 2, fractions(canvas, event)));
      canvas.addEventListener("wheel", event => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        zoomBy(canvas, Math.exp(-event.deltaY / 200), fractions(canvas, event));
      }, { passive: false });
    }
    canvas.addEventListener("keydown", event => {
      if (event.key in zooms) zoomBy(canvas, zooms[event.key]);
      else if (event.key === "Enter") mark(canvas, at);
      else if (steps[event.key]) {
        const step = 0.02 / pictures.get(canvas).zoom.scale;
        at.x = Math.min(Math.max(at.x + step * steps[event.key][0], 0), 0.9999);
        at.y = Math.min(Math.max(at.y + step * steps[event.key][1], 0), 0.9999);
        pointAt(canvas, at);
      } else return;
      event.preventDefault();
    });
  }

  function choose(index) {
    const number = views.length - thumbnails.length + index;
    const title = `plane ${thumbnails[index].dataset.number}`;
    slider.value = index;
    element("plane-number").textContent = thumbnails[index].dataset.number;
    slider.setAttribute("aria-valuetext", title);
    stage.setAttribute("aria-label", title);
    thumbnails.forEach((button, n) => button.setAttribute("aria-pressed", n === index));
    plane = views[number];
    place[plane.axis] = plane.at;
    tellPlace();
    return show(stage, number);
  }

  document.addEventListener("region", event => {
    chosen = new Set(regions.flatMap((region, n) => event.detail.includes(region.index) ? [n + 1] : []));
    const found = regions.filter(region => event.detail.includes(region.index));
    const best = found.find(region => region.plane !== null)?.plane;
    here.textContent = found.length === 1 ? words(found[0]) : `${found.length} regions are highlighted`;
    if (best !== undefined) {
      choose(best);
      stage.scrollIntoView({ block: "nearest" });
    }
    drawAll();
  });

  for (const canvas of canvases) {
    follow(canvas);
    show(canvas, Number(canvas.dataset.view));
    new ResizeObserver(() => draw(canvas)).observe(canvas);
    const buttons = document.querySelector(`[data-picture-of="${canvas.id}"]`);
    if ("zoom" in canvas.dataset) {
      addButton(buttons, "+", "zoom in", () => zoomBy(canvas, 1.5));
      addButton(buttons, "\u2212", "zoom out", () => zoomBy(canvas, 1 / 1.5));
      addButton(buttons, "1:1", "show all of the plane", () => zoomBy(canvas, 0));
    }
    addButton(buttons, "PNG", `save the picture as PNG: ${canvas.getAttribute("aria-label")}`, () => {
      canvas.toBlob(blob => saveFile(fileName(canvas.getAttribute("aria-label"), ".png"), blob, "image/png"));
    });
  }
  document.querySelectorAll(".looks input").forEach(input => input.addEventListener("input", drawAll));
  thumbnails.forEach((button, index) => button.addEventListener("click", () => choose(index)));
  slider?.addEventListener("input", () => choose(Number(slider.value)));
  if (canvases.length) tellPlace();
}
