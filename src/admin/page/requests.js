// The last requests: filtered, sorted, and each in detail.

import { documentAt } from "./ask.js";
import { at, clock, millis, put, rows, words } from "./elements.js";

const KEPT = 1000, SHOWN = 200;

let known = [], next = null, missed = 0, order = { column: "id", down: true };

const columns = {
  id: one => one.id,
  request: one => one.host + one.path,
  caller: one => one.caller ?? "",
  status: one => one.status,
  upstream: one => one.upstream,
  outcome: one => one.outcome,
  took: one => one.duration_ms,
};

export async function pollRequests() {
  const batch = await documentAt("/api/requests" + (next == null ? "" : "?since=" + next));
  // A number that goes back is that of another run.
  if (next != null && batch.next < next) known = [];
  next = batch.next;
  missed += batch.missed;
  known = known.concat(batch.requests).slice(-KEPT);
  if (batch.requests.length) showRequests();
}

export function showRequests() {
  const text = at("filter").value.trim().toLowerCase(), status = at("status-filter").value;
  const fits = one =>
    (status === "" || String(one.status)[0] === status) &&
    text.split(/\s+/).every(word => `${one.method} ${one.host}${one.path} ${one.upstream} ${one.outcome} ${one.caller ?? ""} ${one.status} ${one.request_id}`.toLowerCase().includes(word));
  const value = columns[order.column];
  const sorted = known.filter(fits).sort((one, other) => (value(one) < value(other) ? -1 : value(one) > value(other) ? 1 : one.id - other.id));
  if (order.down) sorted.reverse();
  at("shown").textContent = `${Math.min(sorted.length, SHOWN)} of ${known.length}` + (missed ? `, ${missed} were too fast to be kept` : "");
  const focused = at("recent").contains(document.activeElement) ? document.activeElement.dataset.key : null;
  rows("recent", sorted.slice(0, SHOWN), cells, known.length ? "none of those fits" : "none yet: requests are shown from when a page is open");
  if (focused) at("recent").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function cells(one) {
  const open = put("button", { type: "button", class: "link", title: one.method + " " + one.host + one.path, "data-key": "request " + one.id }, one.method + " " + one.host + one.path);
  open.onclick = () => showDetail(one);
  const unauthorized = one.unauthorized ? " · 401 " + words(one.unauthorized) : "";
  return [[clock(one.time)], [open], [one.caller], [one.status, colour(one.status)], [one.upstream], [words(one.outcome) + unauthorized + (one.reason ? ": " + one.reason : "")], [millis(one.duration_ms)]];
}

const colour = status => (status >= 500 ? "bad" : status >= 400 ? "busy" : "");

function showDetail(one) {
  const facts = [
    ["answered", one.status + " " + words(one.outcome)], ["why", one.reason], ["upstream", one.upstream], ["credential", one.credential],
    ["token", one.generation == null ? null : "generation " + one.generation], ["refused token", one.unauthorized && words(one.unauthorized)],
    ["caller", one.caller], ["from", one.peer], ["listener", one.listener], ["at", clock(one.time)], ["request id", one.request_id], ["bytes", one.bytes],
  ];
  const list = put("dl", {}, ...facts.filter(([, value]) => value != null && value !== "").flatMap(([name, value]) => [put("dt", {}, name), put("dd", {}, value)]));
  const fields = put("dl", { class: "fields" }, ...one.fields.flatMap(([name, value]) => [put("dt", {}, name), put("dd", {}, value)]));
  const parts = [put("h3", {}, one.method + " " + one.host + one.path), list, waterfall(one)];
  if (one.fields.length) parts.push(put("h4", {}, "The caller's fields"), fields);
  at("detail-body").replaceChildren(...parts);
  at("detail").showModal();
}

/// Where the time went, and each try.
function waterfall(one) {
  const phases = [];
  if (one.token_ms != null) phases.push({ name: "token", from: 0, took: one.token_ms, className: "life" });
  one.tries.forEach((attempt, index) => {
    const name = one.tries.length > 1 ? "try " + (index + 1) : "upstream";
    if (attempt.connect_ms != null) phases.push({ name: name + ": connection", from: attempt.began_ms, took: attempt.connect_ms, className: "p50" });
    const waited = attempt.connect_ms ?? 0;
    const outcome = attempt.status ?? attempt.failure;
    phases.push({ name: name + ": " + outcome, from: attempt.began_ms + waited, took: attempt.took_ms - waited, className: attempt.status < 400 ? "rate" : "errors" });
  });
  const last = one.tries.at(-1);
  const sent = last ? last.began_ms + last.took_ms : (one.token_ms ?? 0);
  phases.push({ name: "answer to the caller", from: sent, took: Math.max(0, one.duration_ms - sent), className: "p95" });
  const whole = Math.max(one.duration_ms, 0.001);
  return put("table", { class: "waterfall", "aria-label": "where the time went" }, put("tbody", {}, ...phases.map(phase => {
    const bar = put("i", { class: phase.className });
    bar.style.marginLeft = Math.min(99, (100 * phase.from) / whole) + "%";
    bar.style.width = Math.max(0.5, Math.min(100, (100 * phase.took) / whole)) + "%";
    return put("tr", {}, put("th", { scope: "row" }, phase.name), put("td", {}, bar), put("td", {}, millis(phase.took)));
  })));
}

export function startRequests() {
  at("filter").oninput = showRequests;
  at("status-filter").onchange = showRequests;
  at("close").onclick = () => at("detail").close();
  for (const heading of document.querySelectorAll("#requests th[data-column]")) {
    heading.querySelector("button").onclick = () => {
      const column = heading.dataset.column;
      order = { column, down: order.column === column ? !order.down : column === "id" || column === "took" };
      for (const other of document.querySelectorAll("#requests th[data-column]")) {
        other.setAttribute("aria-sort", other === heading ? (order.down ? "descending" : "ascending") : "none");
      }
      showRequests();
    };
  }
  showRequests();
}
