// Elements and figures as text. Text only ever goes in as text nodes, so no name and no error is read as HTML.

export const $ = (id) => document.getElementById(id);

// An element with properties and children; a property with a dash is an attribute.
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  set(made, properties);
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function set(made, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
}

// Replaces what an element shows, where its value has changed: what a reader has marked or focused stays otherwise.
const shown = new WeakMap();
export function show(element, value, make) {
  const text = JSON.stringify(value);
  if (shown.get(element) === text) return;
  shown.set(element, text);
  element.replaceChildren(...make(value));
}

// Names and values, such as of a card.
export function facts(pairs) {
  return el("dl", { className: "facts" }, ...pairs.map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

export const nothing = (text) => [el("li", { className: "nothing" }, text)];
export const named = (row) => (row.version ? `${row.model} v${row.version}` : row.model);

export function count(value) {
  if (value === undefined || value === null) return "–";
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
  if (value >= 1e4) return `${(value / 1e3).toPrecision(3)} k`;
  return String(Math.round(value * 100) / 100);
}

export function duration(ms) {
  if (ms === undefined || ms === null) return "–";
  if (ms >= 60000) return `${(ms / 60000).toPrecision(3)} min`;
  if (ms >= 1000) return `${(ms / 1000).toPrecision(3)} s`;
  return ms >= 100 ? `${Math.round(ms)} ms` : `${Number(ms.toPrecision(2))} ms`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  return `${at ? value.toPrecision(3) : value} ${units[at]}`;
}

export function long(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}
