// How the file of traffic splits the calls of models among their versions, what has been rolled back, and what copies show.

import { $, count, el, facts, show } from "./dom.js";
import { shares, stack } from "./charts.js";

const KINDS = ["own", "other", "compute", "network", "rest"];
const percent = (share) => (share === null ? "–" : `${count(100 * share)} %`);

export function versions(told) {
  $("splits-section").hidden = !told.splits.length;
  show($("splits"), told.splits, (rows) => rows.map(card));
}

function card(row) {
  const parts = row.versions.map((one, at) => [`version ${one.version}`, 100 * one.share, KINDS[Math.min(at, KINDS.length - 1)]]);
  const used = parts.filter(([, share]) => share);
  return el("li", {},
    el("h3", {}, row.model),
    ...(used.length ? [
      stack(parts, `calls that name no version, in %: ${shares(parts)}`),
      el("p", { className: "key" }, ...used.map(([name, share, kind]) => el("span", { className: kind }, `${name} ${count(share)} %`))),
    ] : [el("p", { className: "small" }, "Calls that name no version get the default one.")]),
    row.sticky ? el("p", { className: "small" }, `calls with the same ${row.sticky} get the same version`) : "",
    ...row.versions.map(version),
    row.more ? el("p", { className: "nothing" }, `and ${row.more} more`) : "",
    ...(row.shadow ? [copies(row.shadow)] : []));
}

function version(one) {
  const pill = one.rolled_back ? el("span", { className: "pill bad" }, "rolled back")
    : one.pods ? "" : el("span", { className: `pill ${one.wanted ? "bad" : "warn"}` }, "no pod");
  const names = one.aliases.length ? ` (${one.aliases.join(", ")})` : "";
  return el("div", {},
    el("h4", {}, `version ${one.version}${names}`, pill),
    one.rolled_back ? el("p", {}, one.rolled_back) : "",
    facts([["wanted", percent(one.wanted)], ["given", percent(one.share)], ["pods", count(one.pods)],
      ["ok", count(one.calls.ok)], ["failed", count(one.calls.failed)], ["refused", count(one.calls.refused)]]));
}

function copies(shadow) {
  return el("div", {},
    el("h4", {}, `version ${shadow.version} gets copies of ${percent(shadow.share)}`),
    facts([["agreement", percent(shadow.agreement)], ["latency ratio", count(shadow.latency_ratio)],
      ...Object.entries(shadow.copies).map(([outcome, n]) => [outcome, count(n)])]));
}
