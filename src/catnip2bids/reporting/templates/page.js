// Shared by all pages: what works only with scripts is shown, and files are saved without a server.
"use strict";
document.documentElement.classList.add("js");

function saveFile(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// "What it is" of a part of this page as the name of a file
const fileName = (what, ending) => `${document.title} ${what}`.replace(/[^\w.-]+/g, "_").slice(0, 120) + ending;

function addButton(parent, text, label, action) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", textContent: text, title: label });
  button.setAttribute("aria-label", label);
  button.addEventListener("click", action);
  parent.append(button);
}
