// The last hour of a credential: the lives of its tokens, token requests that failed, and tokens that upstreams refused.

import { clock, details, draw, millis, plural, put } from "./elements.js";

const WIDTH = 480, HEIGHT = 46, HOUR = 3600, MIDDLE = 16;

export function timeline(name, events) {
  const now = Date.now() / 1000;
  const x = time => Math.min(Math.max(WIDTH * (1 - (now - time) / HOUR), 0), WIDTH);
  const seconds = time => Date.parse(time) / 1000;
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "timeline", role: "img", "aria-label": described(name, events) });
  svg.append(draw("line", { class: "grid", x1: 0, x2: WIDTH, y1: MIDDLE, y2: MIDDLE }));
  const tokens = events.filter(event => event.event === "obtained");
  tokens.forEach((token, index) => {
    const from = seconds(token.at), next = tokens[index + 1];
    const until = Math.min(seconds(token.expires_at), next ? seconds(next.at) : Infinity, now);
    svg.append(titled(draw("rect", { class: "life", x: x(from), y: MIDDLE - 6, width: Math.max(x(until) - x(from), 1), height: 12 }), told(token)));
    svg.append(titled(draw("line", { class: "refresh", x1: x(from), x2: x(from), y1: MIDDLE - 10, y2: MIDDLE + 10 }), told(token)));
  });
  for (const event of events) {
    const place = x(seconds(event.at));
    if (event.event === "failed") svg.append(titled(draw("path", { class: "failed", d: `M${place - 4} ${MIDDLE - 4}l8 8m0 -8l-8 8` }), told(event)));
    if (event.event === "refused") svg.append(titled(draw("path", { class: "refused", d: `M${place} ${MIDDLE + 2}l4 8h-8z` }), told(event)));
  }
  for (const minutes of [60, 45, 30, 15, 0]) {
    const anchor = minutes === 60 ? "start" : minutes === 0 ? "end" : "middle";
    const label = draw("text", { x: x(now - minutes * 60), y: HEIGHT - 4, "text-anchor": anchor });
    label.textContent = minutes === 0 ? "now" : "−" + minutes + " min";
    svg.append(label);
  }
  const list = put("ol", {}, ...events.slice(-20).reverse().map(event => put("li", {}, told(event))));
  return put("figure", {}, put("figcaption", {}, "Last hour ", put("span", { class: "key life" }, "token"), put("span", { class: "key failed" }, "failed"), put("span", { class: "key refused" }, "refused (401)")), svg, details("events " + name, plural(events.length, "event"), list));
}

function told(event) {
  const when = clock(event.at) + ": ";
  if (event.event === "obtained") return when + "token " + event.generation + ", until " + clock(event.expires_at) + ", its request took " + millis(event.took_ms);
  if (event.event === "failed") return when + "no token: " + event.message;
  return when + "token " + event.generation + " refused by an upstream" + (event.count > 1 ? ", " + event.count + " times within a minute" : "");
}

function described(name, events) {
  const count = kind => events.filter(event => event.event === kind).length;
  return `last hour of ${name}: ${plural(count("obtained"), "token")}, ${count("failed")} failed, ${count("refused")} refused`;
}

/// The values under the pointer.
function titled(shape, text) {
  const title = draw("title");
  title.textContent = text;
  shape.append(title);
  return shape;
}
