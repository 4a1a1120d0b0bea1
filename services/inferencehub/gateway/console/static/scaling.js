// Demand of each pool beside its pods, and the jobs.

import { $, count, el, facts, long, named, nothing, show } from "./dom.js";
import { line } from "./charts.js";

const MOST = 60;
const past = new Map();

export function demand(told) {
  const rows = told.demand.map((row) => {
    const name = `${row.pool || "no pool"}: ${named(row)}`;
    const values = [...(past.get(name) || []), row.now || 0].slice(-MOST);
    past.set(name, values);
    return { ...row, name, values, pods: told.pools[row.pool] || 0 };
  });
  const names = new Set(rows.map((row) => row.name));
  for (const name of past.keys()) if (!names.has(name)) past.delete(name);
  show($("demand"), rows, () => (rows.length ? rows.map(card) : nothing("No pool is known yet.")));
}
demand.forget = () => past.clear();

function card(row) {
  const wanted = Math.ceil((row.mean || 0) / 0.7);
  const line60 = Math.max(...row.values) ? [line(row.values, `demand now ${count(row.now || 0)} pods, most within a minute ${count(Math.max(...row.values))}`)] : [];
  return el("li", {}, el("h3", {}, row.name),
    facts([["demand, in pods", count(row.now || 0)], ["mean of 15 s", count(row.mean || 0)], ["pods there", count(row.pods)],
      ["pods at 70 %", count(wanted)], ["slots of a pod", count(row.slots)]]),
    ...line60);
}

export function jobs(told) {
  $("jobs-section").hidden = !told.jobs;
  if (!told.jobs) return;
  const { store, running, leases_lost: lost, models } = told.jobs;
  $("store").textContent = `${store ? "The store answers." : "The store does not answer."} ${running} running here${lost ? `, ${lost} taken back from gateways that were lost` : ""}.`;
  show($("jobs"), models, () => (models.length ? models.map(job) : nothing("No job waits, and none has ended here.")));
}

function job(row) {
  const ended = Object.entries(row.ended).map(([state, n]) => [state, count(n)]);
  const again = Object.entries(row.again).map(([reason, n]) => [`again: ${reason}`, count(n)]);
  return el("li", {}, el("h3", {}, row.model), facts([["waiting", count(row.waiting)], ["oldest", row.waiting ? long(row.oldest) : "–"], ...ended, ...again]));
}
