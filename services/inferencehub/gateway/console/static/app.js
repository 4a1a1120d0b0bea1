// The page: one stream of events, and a part of the page for each section of a snapshot.

import { $, bytes, count, duration, el, long, show } from "./dom.js";
import { follow, tryAgain } from "./stream.js";
import { latency, quantilesOfAll } from "./latency.js";
import { lanes } from "./lanes.js";
import { models, pods } from "./pods.js";
import { demand, jobs } from "./scaling.js";
import { versions } from "./versions.js";

const page = { scales: null, gateway: null, parts: [latency, lanes, pods, demand, jobs, models, versions] };
const headers = () => ($("key").value ? { authorization: `Bearer ${$("key").value}` } : {});

function state(text, kind) {
  const pill = $("state");
  if (pill.textContent !== text) pill.textContent = text;
  pill.className = `pill ${kind}`;
}

// Says so where the events come from another gateway now, or from one that has started again.
function from(gateway) {
  const before = page.gateway;
  page.gateway = gateway;
  if (before && before.process !== gateway.process) {
    $("notice").textContent = before.name === gateway.name
      ? `Gateway ${gateway.name} has started again.`
      : `Now showing gateway ${gateway.name}; before it was ${before.name}.`;
    latency.forget();
    lanes.forget();
    demand.forget();
  }
}

async function hello(said) {
  if (page.refused) $("notice").textContent = ""; // it is not true any more
  page.refused = false;
  page.scales = said.scales;
  from(said.gateway);
  if (said.whole && !page.whole) { // the files are there only on the port for callers
    page.whole = true;
    try {
      const [{ lastCalls }, { tryIt }] = await Promise.all([import("./calls.js"), import("./try.js")]);
      page.parts.push(lastCalls(said.slow_s), tryIt(headers));
    } catch {
      page.whole = false; // the gateway may end just now: the next stream tries again
    }
  }
}

function snapshot(told) {
  if (!page.scales) return;
  from(told.gateway);
  state(told.not_ready || "live", told.not_ready ? "warn" : "good");
  const gateways = told.peers > 1 ? `, one of ${told.peers} gateways` : "";
  $("gateway").textContent = `Gateway ${told.gateway.name}${gateways}, version ${told.gateway.version}, up ${long(told.up)}, ${bytes(told.held.bytes)} held for requests`;
  show($("tiles"), tiles(told), (pairs) => pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  for (const part of page.parts) part(told, page);
}

function tiles(told) {
  const seconds = Math.max(1, ...told.traffic.map((row) => row.seconds));
  const sum = (rows, of) => rows.reduce((all, row) => all + of(row), 0);
  const failed = (row) => Object.entries(row.statuses).reduce((all, [status, n]) => all + (status >= "500" ? n : 0), 0);
  const [p50, p95, p99] = quantilesOfAll(page.scales);
  return [
    ["requests per s", count(sum(told.traffic, (row) => row.count) / seconds)],
    ["failed, last min", count(sum(told.traffic, failed))],
    ["p50", duration(p50)],
    ["p95", duration(p95)],
    ["p99", duration(p99)],
    ["waiting", count(sum(told.lanes, (row) => row.waiting))],
    ["running", count(sum(told.lanes, (row) => row.running))],
    ["pods that serve", `${count(sum(Object.values(told.pools), Number))} of ${told.counts.pods}`],
  ];
}

function on(name, data) {
  if (name === "hello") hello(data);
  else if (name === "snapshot") snapshot(data);
  else if (name === "end") state("this gateway ends, looking for another one", "warn");
  else if (name === "refused") {
    const asks = data.status === 401 || data.status === 403;
    if (asks) $("keys").hidden = false;
    $("notice").textContent = asks && !$("key").value ? "This gateway asks who you are." : data.error || `status ${data.status}`;
    page.refused = true;
    state("refused", "bad");
  } else if (name === "lost" && $("state").className !== "pill bad") state("no connection, trying again", "warn");
}

$("keys").addEventListener("submit", (event) => {
  event.preventDefault();
  $("notice").textContent = "";
  state("connecting", "warn");
  tryAgain();
});
follow("console/events", headers, on);
