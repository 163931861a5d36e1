// Slices: the image, and over it regions and cells, which a map holds for each pixel: red + 256 * green is the number
// of a region, the bits of blue are the segmentations that have a cell there.
"use strict";
{
  const regions = JSON.parse(document.getElementById("regions").textContent);
  const here = document.getElementById("here");
  const slider = document.getElementById("slider");
  const thumbnails = [...document.querySelectorAll(".mosaic button")];
  const colors = regions.map(region => [1, 3, 5].map(at => parseInt(region.color.slice(at, at + 2), 16)));
  const views = new Map();
  let pointed = 0;

  function load(address) {
    if (!address) return Promise.resolve(null);
    const image = new Image();
    image.src = address;
    return image.decode().then(() => image);
  }

  function pixelsOf(image) {
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, image.width, image.height).data;
  }

  // the address may have changed before its picture is there
  async function show(canvas, picture, map) {
    const order = (views.get(canvas)?.order ?? 0) + 1;
    views.set(canvas, { ...views.get(canvas), order });
    canvas.setAttribute("aria-busy", "true");
    const [image, codes] = await Promise.all([load(picture), load(map)]);
    if (views.get(canvas).order !== order) return;
    views.set(canvas, { order, image, codes: codes && pixelsOf(codes) });
    draw(canvas);
    canvas.removeAttribute("aria-busy");
  }

  const numberAt = (codes, at) => codes[4 * at] + 256 * codes[4 * at + 1];
  const checked = name => document.querySelector(`input[name="${name}"]:checked`)?.value;

  function draw(canvas) {
    const { image, codes } = views.get(canvas);
    if (!image) return;
    const [width, height] = [canvas.width, canvas.height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillRect(0, 0, width, height);
    if (document.getElementById("image").checked) context.drawImage(image, 0, 0);
    if (!codes) return;
    const shown = context.getImageData(0, 0, width, height);
    const how = checked("regions") ?? "off";
    const cells = [...document.querySelectorAll('input[name="cells"]:checked')].map(input => ({
      bit: 1 << input.value,
      color: [1, 3, 5].map(at => parseInt(input.dataset.color.slice(at, at + 2), 16)),
    }));
    const blend = (at, color, share) => {
      for (let n = 0; n < 3; n++) shown.data[4 * at + n] += share * (color[n] - shown.data[4 * at + n]);
    };
    for (let at = 0; at < width * height; at++) {
      const number = numberAt(codes, at);
      if (number && how === "colours") blend(at, colors[number - 1], number === pointed ? 0.75 : 0.4);
      if (how === "outlines") {
        const right = (at + 1) % width ? numberAt(codes, at + 1) : number;
        const below = at + width < width * height ? numberAt(codes, at + width) : number;
        if (number !== right || number !== below) blend(at, colors[(number || right || below) - 1], 0.9);
        else if (number && number === pointed) blend(at, colors[number - 1], 0.45);
      }
      for (const { bit, color } of cells) if (codes[4 * at + 2] & bit) blend(at, color, 0.9);
    }
    context.putImageData(shown, 0, 0);
  }

  const drawAll = () => views.forEach((view, canvas) => draw(canvas));

  function point(number) {
    if (number === pointed) return;
    pointed = number;
    const region = regions[number - 1];
    here.textContent = region ? `${region.name}${region.abbreviation ? ` (${region.abbreviation})` : ""}${region.cells}` : "\u00a0";
    drawAll();
  }

  function pointAt(canvas, x, y) {
    const { codes } = views.get(canvas) ?? {};
    if (!codes || !regions.length) return;
    const inside = x >= 0 && y >= 0 && x < canvas.width && y < canvas.height;
    point(inside ? numberAt(codes, Math.floor(y) * canvas.width + Math.floor(x)) : 0);
  }

  // pointed at, touched, or walked over with the arrow keys
  function follow(canvas) {
    const place = { x: canvas.width / 2, y: canvas.height / 2 };
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const go = event => {
      const box = canvas.getBoundingClientRect();
      place.x = (event.clientX - box.left) * canvas.width / box.width;
      place.y = (event.clientY - box.top) * canvas.height / box.height;
      pointAt(canvas, place.x, place.y);
    };
    canvas.addEventListener("pointermove", go);
    canvas.addEventListener("pointerdown", go);
    canvas.addEventListener("pointerleave", event => event.pointerType === "mouse" && point(0));
    canvas.addEventListener("keydown", event => {
      if (!steps[event.key]) return;
      event.preventDefault();
      const step = Math.max(canvas.width, canvas.height) / 50;
      place.x = Math.min(Math.max(place.x + step * steps[event.key][0], 0), canvas.width - 1);
      place.y = Math.min(Math.max(place.y + step * steps[event.key][1], 0), canvas.height - 1);
      pointAt(canvas, place.x, place.y);
    });
  }

  function choose(index) {
    const plane = document.getElementById("plane");
    slider.value = index;
    document.getElementById("plane-number").textContent = thumbnails[index].dataset.number;
    slider.setAttribute("aria-valuetext", `plane ${thumbnails[index].dataset.number}`);
    plane.setAttribute("aria-label", `plane ${thumbnails[index].dataset.number}`);
    thumbnails.forEach((button, n) => button.setAttribute("aria-pressed", n === index));
    return show(plane, thumbnails[index].querySelector("img").src, thumbnails[index].dataset.map);
  }

  document.querySelectorAll("canvas").forEach(canvas => {
    follow(canvas);
    show(canvas, canvas.dataset.picture, canvas.dataset.map);
  });
  document.querySelectorAll('input[name="regions"], input[name="cells"], #image')
    .forEach(input => input.addEventListener("change", drawAll));
  thumbnails.forEach((button, index) => button.addEventListener("click", () => choose(index)));
  slider?.addEventListener("input", () => choose(Number(slider.value)));
}
