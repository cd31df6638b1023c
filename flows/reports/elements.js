"use strict";
// What the scripts of pages share. It goes before each of them, into the same element, so all is strict.
// Children are nodes and texts, never HTML.

const find = (id) => document.getElementById(id);
const json = (id) => JSON.parse(find(id).textContent);
const count = (number) => number.toLocaleString("en");
const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

function button(attributes, act, ...children) {
  const element = make("button", { type: "button", ...attributes }, ...children);
  element.addEventListener("click", act);
  return element;
}

const faint = (...children) => make("p", { class: "faint" }, ...children);
const verbatim = (...children) => make("div", { class: "verbatim", dir: "auto" }, ...children);
