// The last calls that failed, were refused or were slow, and where their time went.

import { $, duration, el, facts, nothing, show } from "./dom.js";
import { stack } from "./charts.js";

const PARTS = ["queue", "batch", "network", "compute"];
const KIND = { failed: "bad", refused: "warn", slow: "warn" };
let list = null;

export function calls(told, page) {
  if (!list) list = section(page.slow_s);
  show(list, told.calls, (rows) => (rows.length ? rows.map(card) : nothing("None since this gateway began.")));
}

function section(slow_s) {
  const made = el("ul", { className: "cards" });
  const slow = slow_s === null ? "" : ` Slow is what took ${slow_s} s.`;
  document.querySelector("main").append(el("section", { id: "calls", "aria-labelledby": "calls-title" },
    el("h2", { id: "calls-title" }, "Last calls that failed, were refused or were slow"),
    el("p", { className: "small" }, `At most 50 of each kind, and nothing of what they said.${slow}`), made));
  return made;
}

function card(row) {
  const known = PARTS.reduce((all, name) => all + row[name], 0);
  const parts = [...PARTS.map((name) => [name, row[name], name]), ["rest", Math.max(0, row.total - known), "rest"]];
  const bill = parts.filter(([, ms]) => ms).map(([name, ms]) => `${name} ${duration(ms)}`).join(", ");
  const more = [["request id", row.id], ["trace", row.trace], ["caller", row.caller], ["pod", row.pod],
    ["rows", row.rows ? `${row.rows} of ${row.batch_rows || row.rows} in the batch` : ""]];
  return el("li", {},
    el("h3", {}, row.model || "reached no model", el("span", { className: `pill ${KIND[row.why]}` }, row.kind === "ok" ? row.why : `${row.status} ${row.kind}`)),
    el("p", { className: "small" }, `${new Date(row.at * 1000).toLocaleTimeString()} over ${row.front}, ${duration(row.total)}`),
    stack(parts, `where the time went: ${bill}`),
    el("p", { className: "key" }, ...parts.filter(([, ms]) => ms).map(([name, ms]) => el("span", { className: name }, `${name} ${duration(ms)}`))),
    facts(more.filter(([, value]) => value)));
}
