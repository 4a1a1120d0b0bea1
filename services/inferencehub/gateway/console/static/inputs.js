// The fields of a model's inputs, and what they say as tensors. A tensor here: {name, datatype, shape, data} or with bytes.

import { el } from "./dom.js";
import { picture, pictureForm } from "./image.js";

const LEAST = { BOOL: "true", BYTES: "" };
const ELEMENTS = 4096; // that a field has at first, at most; an input with more is filled when it is sent

// A field for an input: {node, tensor}; tensor() is a promise of what it says now.
export function input(spec, batched) {
  const shape = spec.shape.map((size, at) => (size >= 0 ? size : at === 0 && batched ? 1 : null)); // null for any size
  const form = spec.datatype === "BYTES" ? null : pictureForm(shape);
  const legend = el("legend", {}, `${spec.name} · ${spec.datatype} [${spec.shape.join(", ")}]`);
  const text = el("textarea", { value: example(spec.datatype, shape), spellcheck: false, className: "wide" });
  const hint = spec.datatype === "BYTES" ? "text, or a JSON list of several" : "numbers, with commas, spaces or as JSON";
  const label = el("label", {}, `${spec.name}: ${hint}`, text);
  const file = el("input", { type: "file", ...(form && { accept: "image/*" }) });
  const range = el("select", {}, ...["0 to 1", "0 to 255", "-1 to 1", "0 to 16"].map((name) => el("option", {}, name)));
  if (/INT/.test(spec.datatype)) range.value = "0 to 255";
  const node = el("fieldset", {}, legend, label);
  if (spec.datatype === "BYTES") node.append(el("label", {}, `${spec.name}: or a file, as its bytes `, file));
  if (form) {
    node.append(el("label", {}, `${spec.name}: or a picture, as ${form.width ?? "its"} x ${form.height ?? "size"}${form.channels === 1 ? ", grey" : ""} `, file),
      el("label", {}, `${spec.name}: its values are `, range));
  }
  async function tensor() {
    const named = { name: spec.name, datatype: spec.datatype };
    const chosen = file.files[0];
    if (chosen && form) {
      const [low, high] = range.value.split(" to ").map(Number);
      const { data, shape: sent } = await picture(chosen, form, low, high, /INT/.test(spec.datatype));
      return { ...named, shape: sent, data };
    }
    if (chosen) return { ...named, shape: shape.map((size) => size ?? 1), bytes: [new Uint8Array(await chosen.arrayBuffer())] };
    const data = values(spec.datatype, text.value);
    return { ...named, shape: fitted(shape, data.length), data };
  }
  return { node, tensor, text, spec };
}

function example(datatype, shape) {
  if (datatype in LEAST) return LEAST[datatype];
  const known = shape.reduce((all, size) => all * (size ?? 1), 1);
  const missing = shape.includes(null) ? 3 : 1;
  return known * missing > ELEMENTS ? "" : Array(known * missing).fill(0).join(", ");
}

// The elements that a text means.
function values(datatype, text) {
  let read;
  try { read = JSON.parse(text); } catch { read = undefined; }
  if (datatype === "BYTES") return Array.isArray(read) ? read.flat(Infinity).map(String) : [text];
  if (read === undefined) {
    read = text.split(/[\s,;]+/).filter(Boolean).map((word) => {
      if (word === "true" || word === "false") return word === "true";
      if (word === "" || Number.isNaN(Number(word))) throw new Error(`'${word.slice(0, 40)}' is no number`);
      return Number(word);
    });
  }
  return [read].flat(Infinity);
}

// The shape of so many elements: the first size that may be any one takes what the others leave.
function fitted(shape, elements) {
  let free = shape.indexOf(null);
  const rest = shape.reduce((all, size) => all * (size ?? 1), 1);
  const sizes = shape.map((size, at) => (size !== null ? size : at === free ? elements / rest : 1));
  if (free < 0 && rest !== elements && shape[0] === 1 && elements % rest === 0) sizes[0] = elements / rest; // several rows
  return Number.isInteger(elements / rest) ? sizes : sizes.map((size) => Math.ceil(size)); // the gateway says what it expects
}

// The body of an infer request; files are binary data behind the JSON, as the binary extension of the protocol has it.
export function inferBody(tensors) {
  const raw = [];
  const inputs = tensors.map(({ bytes, ...tensor }) => {
    if (!bytes) return tensor;
    const parts = bytes.flatMap((one) => [new Uint8Array(new Uint32Array([one.length]).buffer), one]); // little-endian everywhere
    raw.push(...parts);
    return { ...tensor, parameters: { binary_data_size: parts.reduce((all, part) => all + part.length, 0) } };
  });
  const json = new TextEncoder().encode(JSON.stringify({ inputs }));
  if (!raw.length) return { body: json, headers: { "content-type": "application/json" } };
  return {
    body: new Blob([json, ...raw]),
    headers: { "content-type": "application/octet-stream", "inference-header-content-length": String(json.length) },
  };
}

// The body of a generate request: each input by its name, one value or a list.
export function generateBody(tensors) {
  const fields = tensors.map(({ name, data, bytes }) => {
    if (bytes) throw new Error(`${name}: a stream takes text, not a file`);
    return [name, data.length === 1 ? data[0] : data];
  });
  return { body: JSON.stringify(Object.fromEntries(fields)), headers: { "content-type": "application/json" } };
}
