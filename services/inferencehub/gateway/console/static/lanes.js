// The queue of each model: what waits and runs, how large batches are, and why they left.

import { $, count, el, facts, named, nothing, show } from "./dom.js";
import { bars, line, shares, stack } from "./charts.js";

const MOST = 60; // seconds of what waited
const waited = new Map();
const WHY = { slot_free: "a slot was free", full: "it was full", alone: "it goes alone" };

export function lanes(told, { scales }) {
  const traffic = new Map(told.traffic.map((row) => [row.model, row]));
  const rows = told.lanes.map((lane) => {
    const name = named(lane);
    const past = [...(waited.get(name) || []), lane.waiting].slice(-MOST);
    waited.set(name, past);
    const { batches, reasons } = traffic.get(lane.model) || {};
    const quiet = !batches && !lane.running && !lane.background && !Math.max(...past);
    return { ...lane, name, past, quiet, batches: batches || [], reasons: reasons || [] };
  });
  rows.sort((a, b) => a.quiet - b.quiet); // else as they came: those with the most to do first
  const names = new Set(rows.map((row) => row.name));
  for (const name of waited.keys()) if (!names.has(name)) waited.delete(name);
  show($("lanes"), rows, () => (rows.length ? rows.map((row) => card(row, scales)) : nothing("No pod has told of a model yet.")));
}
lanes.forget = () => waited.clear();

function card(row, scales) {
  const sizes = scales.rows.map(String).concat(`>${scales.rows[scales.rows.length - 1]}`);
  const last = row.batches.reduce((found, n, at) => (n ? at : found), 0);
  const shown = row.batches.slice(0, Math.max(4, last + 1));
  const why = row.reasons.map((n, at) => [WHY[scales.reasons[at]] || scales.reasons[at], n, `why${at}`]);
  const title = el("h3", {}, row.name, row.open ? "" : el("span", { className: "pill bad" }, "no pod"));
  if (row.quiet) return el("li", {}, title, facts([["slots", count(row.slots)], ["pods", count(row.pods)], ["last minute", "quiet"]]));
  const batches = row.batches.length ? [
    el("p", { className: "small" }, "rows of a batch, last minute"),
    bars(shown, sizes, `batches by rows: ${shares(shown.map((n, at) => [sizes[at], n]))}`),
    el("p", { className: "small" }, "why batches left"),
    stack(why, `why batches left: ${shares(why)}`),
    el("p", { className: "key" }, ...why.filter(([, n]) => n).map(([text, n, kind]) => el("span", { className: kind }, `${text} ${count(n)}`))),
  ] : [];
  return el("li", {},
    title,
    facts([["waiting", count(row.waiting)], ["running", count(row.running)], ["slots", count(row.slots)], ["pods", count(row.pods)],
      ["rows that wait", count(row.rows)], ["background", count(row.background)]]),
    el("p", { className: "small" }, `waiting, last minute (most ${count(Math.max(...row.past))})`),
    line(row.past, `waiting now ${count(row.waiting)}, most within a minute ${count(Math.max(...row.past))}`),
    ...batches);
}
