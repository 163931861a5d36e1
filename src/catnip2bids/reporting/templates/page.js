// Shared by all pages: what works only with scripts is shown, files are saved without a server, and pictures lead to the
// same place in the viewer: by a link where the viewer serves the page, otherwise by a command to copy.
"use strict";
const viewer = document.querySelector('meta[name="catnip2bids-viewer"]')?.content;
document.documentElement.classList.add("js");
document.documentElement.classList.toggle("served", viewer !== undefined);

function saveFile(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// "What it is" of a part of this page as the name of a file
const fileName = (what, ending) => `${document.title} ${what}`.replace(/[^\w.-]+/g, "_").slice(0, 160) + ending;

function addButton(parent, text, label, action) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", textContent: text, title: label });
  button.setAttribute("aria-label", label);
  button.addEventListener("click", action);
  parent.append(button);
}

// a word of a command, quoted for the shell if need be
const quoted = word => /^[\w./+:-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

// where the dataset is, as the address of this page tells it
function datasetPath() {
  try {
    const found = /^(.*)\/docs\/report\/[^/]*$/s.exec(decodeURIComponent(location.pathname));
    return location.protocol === "file:" && found ? quoted(found[1]) : "DATASET";
  } catch {
    return "DATASET"; // its name is not UTF-8
  }
}

// fill a paragraph that names an image, a position if there is one, and what both are for a person
function offerViewer(paragraph) {
  const { image, position = "", what } = paragraph.dataset;
  if (viewer !== undefined) {
    const link = paragraph.querySelector("a") ?? document.createElement("a");
    link.href = `${viewer}open/${encodeURIComponent(image)}${position && "/"}${position.replaceAll(" ", ",")}`;
    link.target = "viewer";
    link.textContent = `open ${what} in the viewer`;
    paragraph.replaceChildren(link);
    return;
  }
  const command = `catnip2bids view ${datasetPath()} --image ${quoted(image)}${position && ` --position ${position}`}`;
  if (!paragraph.firstChild) {
    const code = document.createElement("code"), buttons = document.createElement("span");
    buttons.className = "save";
    addButton(buttons, "copy", `copy the command that opens ${what} in the viewer`, () => {
      navigator.clipboard.writeText(code.textContent).catch(() => getSelection().selectAllChildren(code));
    });
    paragraph.append(`To open ${what} in the viewer, run `, code, " ", buttons);
  }
  paragraph.querySelector("code").textContent = command;
}

document.querySelectorAll(".viewer").forEach(offerViewer);
