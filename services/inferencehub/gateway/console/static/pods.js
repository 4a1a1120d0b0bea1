// Pods with their states and slots, and the models with their versions.

import { $, el, named, nothing, show } from "./dom.js";
import { slots } from "./charts.js";

const KIND = { up: "good", connecting: "warn", not_serving: "warn", leaving: "warn", silent: "bad", lost: "bad" };
const more = (shown, all) => (all > shown ? [el("li", { className: "nothing" }, `and ${all - shown} more`)] : []);

export function pods(told) {
  show($("pods"), [told.pods, told.counts.pods], ([rows, all]) =>
    (rows.length ? [...rows.map(pod), ...more(rows.length, all)] : nothing("No pod has been found yet.")));
}

function pod(row) {
  return el("li", {},
    el("h3", {}, row.address, el("span", { className: `pill ${KIND[row.state] || "warn"}` }, row.state.replace("_", " "))),
    row.pool ? el("p", { className: "small" }, `pool ${row.pool}`) : "",
    el("ul", { className: "rows" }, ...row.models.map((model) => el("li", {},
      el("span", {}, named(model), model.serves ? "" : " (does not serve)", model.refuses ? " (refuses)" : ""),
      slots(model.running, model.others, model.slots))), ...more(row.models.length, row.models.length + row.more)));
}

export function models(told) {
  show($("models"), [told.models, told.counts.models], ([rows, all]) =>
    (rows.length ? [...rows.map(model), ...more(rows.length, all)] : nothing("No model is known yet.")));
}

function model(row) {
  return el("li", {},
    el("h3", {}, row.model, el("span", { className: `pill ${row.reason ? "bad" : "good"}` }, row.reason ? "unavailable" : "ready")),
    row.versions.length ? el("p", {}, `version ${row.versions.join(", ")}`) : "",
    row.reason ? el("p", {}, row.reason) : "",
    row.note ? el("p", {}, row.note) : "");
}
