// What a person should see first, the shared cache, listeners, hosts without an upstream, and reloads.

import { at, clock, millis, plural, put, replace, rows, span, words } from "./elements.js";

export function showAttention(all) {
  document.title = (all.length ? "(" + all.length + ") " : "") + "attache";
  const none = put("li", { class: "ok" }, "Nothing needs attention.");
  replace(at("attention"), all.length === 0 ? [none] : all.map(one => {
    const subject = words(one.about) + (one.name ? " " + one.name : "");
    const when = one.at ? put("span", { class: "dim" }, " " + clock(one.at)) : null;
    const next = put("div", {}, put("span", { class: "dim" }, "next: "), one.next_step);
    return put("li", { class: one.level }, put("strong", {}, subject), ": ", one.sentence, when, next);
  }));
}

export function showCache(cache) {
  const line = at("cache");
  line.hidden = !cache;
  if (!cache) return;
  const since = span(Math.max(0, (Date.now() - Date.parse(cache.since)) / 1000));
  const server = cache.server || cache.address, replicas = plural(cache.replicas, "replica");
  const facts = {
    away: ["away " + since + ", each asks for itself", cache.last_error],
    connected: [server, replicas, millis(cache.latency_ms)],
  }[cache.state] ?? [server, replicas, "refuses writes for " + since];
  line.className = { connected: "", away: "bad" }[cache.state] ?? "busy";
  line.textContent = "shared cache: " + facts.filter(Boolean).join(" · ");
}

export function showListeners(all) {
  rows("listeners", all, one => [[one.name], [one.mode], [one.address], [tunnels(one)], [one.would_deny || "–"]], "none");
}

function tunnels(one) {
  const opened = one.tunnels?.true ?? 0, unread = one.tunnels?.false ?? 0;
  const facts = [opened ? opened + " opened" : "", unread ? unread + " passed unread: TLS inside, and no local CA opens it" : ""];
  return facts.filter(Boolean).join(" · ") || "–";
}

/// With what to write, so that they have an upstream.
export function showHosts(all) {
  at("hosts-section").hidden = all.length === 0;
  rows("hosts", all, one => [
    [one.origin], [one.count], [clock(one.last)], [one.listener], [one.refused ? "refused" : "passed", one.refused ? "bad" : "busy"],
    [put("code", {}, `[upstreams.${name(one.origin)}] origin = "${one.origin}"`)],
  ], "none");
}

/// A name as a table of the configuration may have it.
const name = origin => origin.replace(/^\w+:\/\//, "").replace(/:\d+$/, "").split(".").filter(part => !["api", "www"].includes(part))[0].replace(/[^\w-]/g, "") || "NAME";

export function showReloads(all) {
  rows("reloads", all, one => [
    [clock(one.at)], [one.cause],
    [one.ok ? one.changes.join(", ") || "nothing is different" : one.problems.join("; "), one.ok ? "" : "bad"],
  ], "none since the start");
}
