// What the client lacks: a search in the list of regions, and a view for phones.
//
// The list finds any part of a name, in any case. By itself, Neuroglancer finds what begins with the text, or what matches
// a regular expression without spaces after a slash. So it gets such an expression instead of the text in the box.
// Numbers, and texts in Neuroglancer's own query language, stay as they are.
"use strict";

const BOXES = "input.neuroglancer-segment-list-query";
const OWN_LANGUAGE = /^\s*$|^[\d\s,]+$|(^|\s)[/#<>|]|(^|\s)-#|[<>=]/;
const value = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");

function labels() {
  return viewer.layerManager.managedLayers.flatMap(
    ({layer}) => layer?.displayState?.segmentationGroupState?.value.segmentPropertyMap.value?.labels?.values ?? []);
}

function toQuery(text) {
  if (OWN_LANGUAGE.test(text)) return text;
  const expression = Array.from(text.trim(), character => {
    if (/\s/.test(character)) return "\\s";
    const [lower, upper] = [character.toLowerCase(), character.toUpperCase()];
    return lower === upper ? character.replace(/[\\^$.*+?()[\]{}|]/, "\\$&") : `[${lower}${upper}]`;
  }).join("");
  // Neuroglancer fails where an expression matches no label; it does not where no label begins with the text
  const known = labels();
  return known.length && !known.some(label => new RegExp(expression).test(label)) ? text : `/${expression}`;
}

function toText(query) {
  const text = query.slice(1).replace(/\[(.)[^\]]+\]|\\(.)/gu, (_, letter, other) => letter ?? (other === "s" ? " " : other));
  return query.startsWith("/") && toQuery(text) === query ? text : query;
}

function prepare(box) {
  Object.defineProperty(box, "value", {
    get: () => toQuery(value.get.call(box)),
    set: query => { if (query !== toQuery(value.get.call(box))) value.set.call(box, toText(query)); },
  });
  value.set.call(box, toText(value.get.call(box)));
  box.placeholder = "Find: name, abbreviation, number";
}

const prepared = new WeakSet();
new MutationObserver(() => {
  for (const box of document.querySelectorAll(BOXES)) {
    if (prepared.has(box)) continue;
    prepared.add(box);
    prepare(box);
  }
}).observe(document, {childList: true, subtree: true});

// On a phone the list would cover the sections, so it is closed at first, and one section fills the screen.
if (innerWidth < 500) {
  const waiting = setInterval(() => {
    if (!window.viewer?.layerManager?.managedLayers.length) return;
    clearInterval(waiting);
    viewer.selectedLayer.visible = false;
    viewer.layout.restoreState("xy");
  }, 100);
}
