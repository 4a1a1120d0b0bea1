// The form that calls a model: fields of its signature, its answer, and a stream as it comes.

import { duration, el, facts, show } from "./dom.js";
import { stack } from "./charts.js";
import { generateBody, inferBody, input } from "./inputs.js";
import { events } from "./stream.js";

const LONGEST = 20000; // characters that are shown of an answer

// The part of the page; headers() has the key.
export function tryIt(headers) {
  const select = el("select", { id: "model" });
  const fields = el("div", {});
  const answer = el("div", { id: "answer", role: "log", "aria-label": "answer" });
  const infer = el("button", { type: "submit" }, "Infer");
  const stream = el("button", { type: "button" }, "Stream");
  const form = el("form", { className: "card", id: "try" },
    el("label", {}, "Model ", select), fields, el("div", { className: "buttons" }, infer, stream));
  let inputs = [];
  let asked = "";
  document.querySelector("main").append(el("section", { "aria-labelledby": "try-title" },
    el("h2", { id: "try-title" }, "Try a model"), form, answer));

  const path = (end) => `v2/models/${encodeURIComponent(select.value)}${end}`;
  const get = async (end) => {
    const got = await fetch(path(end), { headers: headers() });
    if (!got.ok) throw new Error((await got.json()).error);
    return got.json();
  };

  async function describe() {
    const model = asked = select.value;
    fields.replaceChildren();
    answer.replaceChildren();
    infer.disabled = stream.disabled = true;
    if (!model) return;
    try {
      const [signature, config] = await Promise.all([get(""), get("/config").catch(() => ({}))]);
      if (model !== asked) return;
      const optional = new Set((config.input || []).filter((one) => one.optional).map((one) => one.name));
      inputs = signature.inputs.map((spec) => ({ ...input(spec, config.max_batch_size > 0), optional: optional.has(spec.name) }));
      fields.replaceChildren(...inputs.map(({ node }) => node));
      infer.dataset.never = config.model_transaction_policy?.decoupled ? "it gives several answers" : "";
      infer.disabled = Boolean(infer.dataset.never);
      stream.disabled = false;
    } catch (error) {
      if (model === asked) fields.replaceChildren(el("p", { className: "bad" }, error.message));
    }
  }

  async function tensors() {
    const filled = inputs.filter(({ optional, text, node }) => !optional || text.value || node.querySelector("input")?.value);
    return Promise.all(filled.map(({ tensor }) => tensor()));
  }

  async function call(end, body, read) {
    answer.replaceChildren(el("p", {}, "Waiting…"));
    infer.disabled = stream.disabled = true;
    const began = performance.now();
    try {
      const made = body(await tensors());
      const got = await fetch(path(end), { method: "POST", body: made.body, headers: { ...made.headers, ...headers() } });
      const head = el("p", { className: got.ok ? "good" : "bad" }, `${got.status} ${got.statusText} in ${duration(performance.now() - began)}`);
      answer.replaceChildren(head, bill(got.headers.get("server-timing") || ""));
      if (got.ok) await read(got);
      else answer.append(el("p", {}, said(await got.text())));
    } catch (error) {
      answer.append(el("p", { className: "bad" }, error.message));
    } finally {
      stream.disabled = false;
      infer.disabled = Boolean(infer.dataset.never);
    }
  }

  const whole = async (got) => answer.append(outputs(await got.json()));
  const parts = async (got) => {
    const shown = el("pre", { tabIndex: 0, ariaLabel: "answers as they come" });
    answer.append(shown);
    let last = null;
    for await (const [, data] of events(got.body)) {
      last = JSON.parse(data);
      if (shown.textContent.length < LONGEST) shown.append(last.error ? `\n${last.error}` : text(last));
    }
    answer.append(el("details", {}, el("summary", {}, "last event"), el("pre", { tabIndex: 0 }, JSON.stringify(last, null, 1))));
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); call("/infer", inferBody, whole); });
  stream.addEventListener("click", () => call("/generate_stream", generateBody, parts));
  select.addEventListener("change", describe);

  return (told) => {
    const chosen = select.value;
    show(select, told.models.filter((row) => !row.reason).map((row) => row.model), (names) =>
      names.map((name) => el("option", { value: name, selected: name === chosen }, name)));
    if (select.value !== asked) describe();
  };
}

function said(body) {
  try { return JSON.parse(body).error || body; } catch { return body; }
}

// What a streamed answer says: its only text, or all of it.
function text(answer) {
  const { model_name: name, model_version: version, id, ...fields } = answer;
  const values = Object.values(fields);
  return values.length === 1 && typeof values[0] === "string" ? values[0] : `${JSON.stringify(fields)}\n`;
}

function bill(header) {
  const parts = [...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms), name]);
  const spent = parts.filter(([name]) => name !== "total");
  if (!spent.length) return "";
  const shown = spent.map(([name, ms, kind]) => el("span", { className: kind }, `${name} ${duration(ms)}`));
  return el("div", {}, stack(spent, "where the time went"), el("p", { className: "key" }, ...shown));
}

// Where the largest value is. There may be too many for the arguments of a function.
export const largest = (data) => data.reduce((best, value, at) => (value > data[best] ? at : best), 0);

function outputs(answer) {
  const rows = (answer.outputs || []).map(({ name, datatype, shape, data }) => {
    const best = /FP/.test(datatype) && data.length > 1 ? `; the largest is at ${largest(data)}` : "";
    const values = `[${data.map((one) => JSON.stringify(one)).join(", ")}]`;
    return [`${name} · ${datatype} [${shape.join(", ")}]${best}`, values.length > LONGEST ? `${values.slice(0, LONGEST)}…` : values];
  });
  return el("div", { className: "outputs" }, facts(rows), el("p", { className: "small" }, `version ${answer.model_version}`));
}
