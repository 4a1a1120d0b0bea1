// The heat-map and the percentiles, of all models or of one.

import { $, count, duration, el, show } from "./dom.js";
import { heatmap } from "./charts.js";

const MOST = 120; // seconds of the heat-map
const history = []; // of each second: the traffic of the models
const whole = (buckets, into) => buckets.forEach(([at, n]) => into.set(at, (into.get(at) || 0) + n));
let last = [];

// As Prometheus's histogram_quantile, in ms; the gateway does the same for each model.
export function quantile(q, bounds, buckets) {
  const rank = q * buckets.reduce((all, [, n]) => all + n, 0);
  let below = 0;
  for (const [at, n] of [...buckets].sort((a, b) => a[0] - b[0])) {
    if (at >= bounds.length) break;
    if (n && below + n >= rank) {
      const low = at ? bounds[at - 1] : 0;
      return 1000 * (low + ((bounds[at] - low) * (rank - below)) / n);
    }
    below += n;
  }
  return rank ? 1000 * bounds[bounds.length - 1] : null;
}

function merged(rows, name) {
  const all = new Map();
  for (const row of rows) whole(row[name], all);
  return [...all];
}

const reached = (rows) => rows.filter((row) => row.model); // "" has the calls that reached no model

export function quantilesOfAll(scales) {
  const all = merged(reached(last), "minute");
  return scales.quantiles.map((q) => quantile(q, scales.seconds, all));
}

export function latency(told, { scales }) {
  last = told.traffic;
  history.push(told.traffic);
  if (history.length > MOST) history.shift();
  select(told.models.map((row) => row.model));
  draw(scales);
  const rows = reached(told.traffic).sort((a, b) => b.count - a.count);
  show($("latencies"), rows.map((row) => [
    row.model, count(row.count / row.seconds),
    ...row.quantiles.map((seconds) => duration(seconds === null ? null : 1000 * seconds)),
    count(Object.entries(row.statuses).reduce((all, [status, n]) => all + (status >= "400" ? n : 0), 0)),
  ]), (cells) => (cells.length ? [table(cells, scales)] : [el("p", { className: "nothing" }, "No call of a model within the last minute.")]));
}
latency.forget = () => { history.length = 0; };

function table(cells, scales) {
  const names = ["model", "per s", ...scales.quantiles.map((q) => `p${q * 100}`), "errors"];
  return el("table", {}, el("caption", {}, "The last minute, by model"),
    el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...cells.map(([model, ...figures]) =>
      el("tr", {}, el("th", { scope: "row" }, model), ...figures.map((figure) => el("td", {}, figure))))));
}

function select(models) {
  const chosen = $("of").value;
  show($("of"), models, () => [
    el("option", { value: "" }, "all models"),
    ...models.map((model) => el("option", { value: model, selected: model === chosen }, model))]);
}

function draw(scales) {
  const of = $("of").value;
  const chosen = (rows) => reached(rows).filter((row) => !of || row.model === of);
  const columns = history.map((rows) => merged(chosen(rows), "now"));
  const minutes = history.map((rows) => merged(chosen(rows), "minute"));
  const lines = [["--p50", 0.5], ["--p99", 0.99]].map(([name, q]) =>
    [name, minutes.map((buckets) => quantile(q, scales.seconds, buckets))]);
  const span = Math.min(MOST, 30 * Math.ceil(columns.length / 30));
  heatmap($("heat"), columns, lines, scales.seconds, span);
  const [p50, p95, p99] = scales.quantiles.map((q) => quantile(q, scales.seconds, minutes[minutes.length - 1] || []));
  $("heat").setAttribute("aria-label",
    `How long calls of ${of || "all models"} took in the last ${span} s: p50 ${duration(p50)}, p95 ${duration(p95)}, p99 ${duration(p99)}`);
}
