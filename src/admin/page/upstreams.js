// A card for each upstream, with the last quarter of an hour. Of many only the busiest are open; a person opens the others.

import { chart } from "./chart.js";
import { documentAt } from "./ask.js";
import { at, clock, counts, millis, plural, put, replace } from "./elements.js";

const OPEN = 8, SECONDS = 900;

/// What a person has opened or closed.
const chosen = new Map();

/// More of them are filtered by a person.
const FEW = 12;

let last = { all: [], history: null };

/// Those that fail come first.
export function showUpstreams(all, history) {
  last = { all, history };
  at("upstream-filters").hidden = all.length <= FEW;
  const text = at("upstream-filter").value.trim().toLowerCase();
  const fits = all.filter(one => `${one.name} ${one.origin} ${one.credential ?? ""}`.toLowerCase().includes(text));
  const fails = one => Number(one.last_failure != null && !one.last_failure.recovered);
  const sorted = fits.sort((one, other) => fails(other) - fails(one));
  const busiest = new Set([...sorted].sort((one, other) => fails(other) - fails(one) || total(other) - total(one)).filter(one => all.length <= OPEN || total(one) > 0).slice(0, OPEN).map(one => one.name));
  const isOpen = one => chosen.get(one.name) ?? busiest.has(one.name);
  at("upstreams-shown").textContent = `${fits.length} of ${all.length}`;
  replace(at("upstreams"), sorted.length ? sorted.map(one => card(one, history, isOpen(one))) : [put("p", { class: "dim" }, "none")]);
}

export function startUpstreams() {
  at("upstream-filter").oninput = () => showUpstreams(last.all, last.history);
}

const total = one => Object.values(one.requests || {}).reduce((sum, count) => sum + count, 0);

function card(one, history, open) {
  const samples = history.upstreams[one.name];
  const rate = samples?.requests.length ? samples.requests.at(-1) / history.interval : 0;
  const summary = put("summary", { "data-key": "upstream " + one.name }, put("strong", {}, one.name), put("span", { class: "dim" }, " " + one.origin + " · " + perSecond(rate)));
  const made = put("details", { class: "card" }, summary);
  made.open = open;
  summary.onclick = () => chosen.set(one.name, !made.open);
  if (!open) return made;
  const latency = one.latency_ms;
  const facts = [
    one.credential ? "credential " + one.credential : "no credential",
    plural(one.connections, "connection"),
    counts(one.requests) || "no requests yet",
    latency ? "since the start p50 ≤ " + millis(latency.p50) + ", p95 ≤ " + millis(latency.p95) + ", p99 ≤ " + millis(latency.p99) : "",
    counts(one.unauthorized) ? "refused tokens: " + counts(one.unauthorized) : "",
  ];
  made.append(put("div", { class: "dim" }, facts.filter(Boolean).join(" · ")));
  if (one.last_failure) made.append(put("div", { class: one.last_failure.recovered ? "dim" : "bad" }, clock(one.last_failure.at) + ": " + one.last_failure.status + ", " + one.last_failure.sentence));
  if (samples) made.append(...charts(one.name, samples, history));
  return made;
}

function charts(name, samples, history) {
  const times = history.times.slice(-samples.requests.length);
  const second = counted => counted.map(count => count / history.interval);
  return [
    chart({
      label: "Requests a second to " + name, times, seconds: SECONDS, show: perSecond, axis: perSecond,
      series: [
        { name: "requests", className: "rate", values: second(samples.requests), bars: true },
        { name: "errors", className: "errors", values: second(samples.errors), bars: true },
      ],
    }),
    chart({
      label: "Time to the last byte from " + name, times, seconds: SECONDS, show: value => "≤ " + millis(value), axis: millis,
      series: ["p50", "p95", "p99"].map(quantile => ({ name: quantile, className: quantile, values: samples[quantile] })),
    }),
  ];
}

const perSecond = rate => (rate === 0 ? "0/s" : rate < 10 ? rate.toFixed(1) + "/s" : Math.round(rate) + "/s");

/// The history by name, asked for no oftener than there are samples.
let known = { at: 0, history: { interval: 5, times: [], upstreams: {}, credentials: {} } };

export async function history() {
  if (Date.now() - known.at < 2500) return known.history;
  const report = await documentAt("/api/history");
  const by = (all, value) => Object.fromEntries(all.map(one => [one.name, value(one)]));
  known = {
    at: Date.now(),
    history: { ...report, upstreams: by(report.upstreams, one => one), credentials: by(report.credentials, one => one.events) },
  };
  return known.history;
}
