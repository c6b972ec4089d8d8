"use strict";
// The data of the page: JSON with numbers as base64 of whole numbers, which stand for a range of values.
const data = JSON.parse(document.getElementById("data").textContent);
const cells = data.cells, regulators = data.regulators;
const MISSING = { 1: 255, 2: 65535 };

function bytes(text) {
  const binary = atob(text), found = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) found[i] = binary.charCodeAt(i);
  return found;
}

// Whole numbers of 1 or 2 bytes each (little-endian, as in all browsers' machines).
function codes(packed) {
  packed.unpacked ??= packed.size === 1 ? bytes(packed.data) : new Uint16Array(bytes(packed.data).buffer);
  return packed.unpacked;
}

// The value that a code stands for; null for a missing one.
function value(packed, i) {
  const code = codes(packed)[i];
  return code === MISSING[packed.size] ? null : packed.low + (code / (MISSING[packed.size] - 1)) * (packed.high - packed.low);
}

function category(grouping, i) {
  const code = codes(grouping.codes)[i];
  return code === MISSING[grouping.codes.size] ? null : grouping.names[code];
}

// An element with attributes and children; text is never read as HTML.
function element(tag, attributes, ...children) {
  const svg = ["svg", "g", "path", "line", "rect", "circle", "text", "title"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, one] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), one);
    else if (one !== null && one !== false) made.setAttribute(name, one);
  }
  made.append(...children.filter((one) => one !== null));
  return made;
}

const signed = (number, digits = 2) => (number < 0 ? "\u2212" : "+") + Math.abs(number).toFixed(digits);
const percent = (share, digits = 0) => (100 * share).toFixed(digits) + " %";
const short = (text, most) => (text.length <= most ? text : text.slice(0, most - 1) + "…");
const beats = (r) => !regulators.evidence || (regulators.evidence[r] ?? 0) >= data.beats;
