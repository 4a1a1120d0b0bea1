// Charts as SVG, and the heat-map on a canvas. Each has a text that says the same for those who do not see it.

import { count, duration, svg } from "./dom.js";

const WIDTH = 240;

// The last values of something, one a second.
export function line(values, text, most = 60, height = 36) {
  const top = Math.max(1e-9, ...values);
  const x = (at) => (WIDTH * (at + most - values.length)) / (most - 1);
  const y = (value) => height - 2 - ((height - 4) * value) / top;
  const points = values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, class: "line", role: "img", "aria-label": text, preserveAspectRatio: "none" },
    svg("polyline", { points, "vector-effect": "non-scaling-stroke" }));
}

// How many of each, side by side; names stand below.
export function bars(values, names, text) {
  const top = Math.max(1, ...values);
  const step = WIDTH / values.length;
  const made = svg("svg", { viewBox: `0 0 ${WIDTH} 58`, class: "bars", role: "img", "aria-label": text });
  values.forEach((value, at) => {
    const height = value ? Math.max(1.5, (40 * value) / top) : 0;
    made.append(
      svg("rect", { x: (at * step + 1.5).toFixed(1), y: (42 - height).toFixed(1), width: (step - 3).toFixed(1), height: height.toFixed(1) }),
      svg("text", { x: (at * step + step / 2).toFixed(1), y: 54, "text-anchor": "middle" }, names[at]));
  });
  return made;
}

// Parts of a whole in one bar: [name, value, class] each.
export function stack(parts, text) {
  const whole = parts.reduce((all, [, value]) => all + value, 0) || 1;
  const made = svg("svg", { viewBox: `0 0 ${WIDTH} 10`, class: "stack", role: "img", "aria-label": text, preserveAspectRatio: "none" });
  let at = 0;
  for (const [, value, kind] of parts) {
    const width = (WIDTH * value) / whole;
    made.append(svg("rect", { x: at.toFixed(2), y: 0, width: width.toFixed(2), height: 10, class: kind }));
    at += width;
  }
  return made;
}

// The slots of a model at a pod: kept busy by this gateway, by others, and free ones; many are shown as a bar.
export function slots(own, others, all) {
  const busy = Math.min(own, all);
  const foreign = Math.min(others, all - busy);
  const text = `${all} slots: ${busy} busy for this gateway, ${foreign} for others, ${all - busy - foreign} free`;
  if (all > 32) return stack([["", busy, "own"], ["", foreign, "other"], ["", all - busy - foreign, "free"]], text);
  const made = svg("svg", { viewBox: `0 0 ${all * 12} 12`, width: all * 12, height: 12, class: "slots", role: "img", "aria-label": text });
  for (let at = 0; at < all; at += 1) {
    const kind = at < busy ? "own" : at < busy + foreign ? "other" : "free";
    made.append(svg("rect", { x: at * 12 + 1, y: 1, width: 10, height: 10, rx: 2, class: kind }));
  }
  return made;
}

// Columns of [bucket, observations], one a second, the newest to the right; lines of [ms or null] above them.
export function heatmap(canvas, columns, lines, bounds, most) {
  const box = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(box.width * scale);
  canvas.height = Math.round(box.height * scale);
  const paint = canvas.getContext("2d");
  paint.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  const used = columns.flat().map(([at]) => at);
  const low = Math.max(0, Math.min(20, ...used) - 2);
  const high = Math.min(bounds.length, Math.max(low + 16, ...used) + 2);
  const left = 52, bottom = 18, width = box.width - left, height = box.height - bottom;
  const cell = { width: width / most, height: height / (high - low + 1) };
  const x = (at) => left + (at + most - columns.length) * cell.width;
  const y = (bucket) => height - (bucket - low + 1) * cell.height;
  const top = Math.max(1, ...columns.flat().map(([, n]) => n));
  paint.font = "12px system-ui, sans-serif";
  paint.fillStyle = colour("--soft");
  paint.strokeStyle = colour("--line");
  const labels = Math.max(2, Math.floor(height / 34));
  for (let part = 0; part <= labels; part += 1) {
    const bucket = Math.round(low + ((high - low) * part) / labels);
    const level = bucket < bounds.length ? y(bucket) : y(bounds.length - 1);
    paint.fillText(duration(bounds[Math.min(bucket, bounds.length - 1)] * 1000), 0, Math.max(11, level + 4));
    paint.beginPath();
    paint.moveTo(left, level);
    paint.lineTo(box.width, level);
    paint.stroke();
  }
  for (const [text, at, align] of [[`${most} s ago`, left, "left"], ["now", box.width, "right"]]) {
    paint.textAlign = align;
    paint.fillText(text, at, box.height - 4);
  }
  paint.fillStyle = colour("--heat");
  columns.forEach((column, at) => column.forEach(([bucket, n]) => {
    paint.globalAlpha = 0.25 + (0.75 * Math.log1p(n)) / Math.log1p(top);
    paint.fillRect(x(at), y(bucket), Math.max(1, cell.width - 0.5), Math.max(1, cell.height - 0.5));
  }));
  paint.globalAlpha = 1;
  paint.lineWidth = 1.5;
  const inside = (ms) => { // between the bounds of its bucket
    const over = bounds.findIndex((bound) => ms <= bound * 1000);
    const bucket = over < 0 ? bounds.length : over;
    const from = bucket ? bounds[bucket - 1] * 1000 : 0;
    const share = over < 0 ? 0.5 : (ms - from) / (bounds[bucket] * 1000 - from);
    return y(bucket) + cell.height * (1 - share);
  };
  for (const [name, values] of lines) {
    paint.strokeStyle = colour(name);
    paint.beginPath();
    let open = false;
    values.forEach((ms, at) => {
      if (ms === null || ms === undefined) { open = false; return; }
      paint[open ? "lineTo" : "moveTo"](x(at) + cell.width / 2, inside(ms));
      open = true;
    });
    paint.stroke();
  }
}

export const shares = (parts) => parts.filter(([, value]) => value).map(([name, value]) => `${name} ${count(value)}`).join(", ") || "none";
