// The last calls that failed, were refused or were slow, and where their time went.

import { duration, el, facts, nothing, show } from "./dom.js";
import { stack } from "./charts.js";

const PARTS = ["queue", "batch", "network", "compute"];
const KIND = { failed: "bad", refused: "warn", slow: "warn" };
const [OF_EACH, OF_ONE] = [4, 24]; // that are shown at a time: of each kind, or of the one that is chosen

// The part of the page; slow_s is from how many seconds on a call is slow, null for never.
export function lastCalls(slow_s) {
  const list = el("ul", { className: "cards" });
  const kind = el("select", {}, el("option", { value: "" }, "all"), ...Object.keys(KIND).map((name) => el("option", {}, name)));
  const slow = slow_s === null ? "" : ` Slow is what took ${slow_s} s.`;
  document.querySelector("main").append(el("section", { id: "calls", "aria-labelledby": "calls-title" },
    el("div", { className: "head" }, el("h2", { id: "calls-title" }, "Last calls that failed, were refused or were slow"),
      el("label", {}, "show ", kind)),
    el("p", { className: "small" }, `The newest of each, and nothing of what they said.${slow}`), list));
  const newest = (rows, why, most) => rows.filter((row) => row.why === why).slice(0, most);
  return (told) => {
    const rows = kind.value ? newest(told.calls, kind.value, OF_ONE)
      : Object.keys(KIND).flatMap((why) => newest(told.calls, why, OF_EACH));
    show(list, rows, () => (rows.length ? rows.map(card) : nothing("None since this gateway began.")));
  };
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
