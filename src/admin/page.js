"use strict";
// Text goes in as text nodes only: names and errors come from files and servers.
const at = id => document.getElementById(id);
const put = (tag, text, className) => { const made = document.createElement(tag); if (text != null) made.textContent = text; if (className) made.className = className; return made; };
const span = seconds => seconds == null ? "" : seconds >= 7200 ? Math.round(seconds / 3600) + " h" : seconds >= 120 ? Math.round(seconds / 60) + " min" : seconds + " s";
const words = { ready: "ok", failed: "bad", refreshing: "busy", empty: "dim" };
// With admin.token a person says it once for each tab; it goes nowhere but into requests to where this page came from.
let token = sessionStorage.getItem("attache-token") || "";
const ask = (path, options = {}) => fetch(path, { ...options, headers: { ...options.headers, ...(token ? { Authorization: "Bearer " + token } : {}) } });
const post = path => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
const longest = {};

function credential(one) {
  const card = put("section", null, "card"), head = put("h3", one.name);
  head.append(put("span", one.state, words[one.state] || ""));
  card.append(head);
  if (one.expires_in != null) {
    const key = one.name + " " + one.generation;
    longest[key] = Math.max(longest[key] || 1, one.lifetime || 0, one.expires_in);
    const bar = put("div", null, "bar"), left = put("i");
    bar.setAttribute("role", "progressbar"); bar.setAttribute("aria-label", "remaining life"); bar.setAttribute("aria-valuenow", one.expires_in);
    left.style.width = Math.min(100, 100 * one.expires_in / longest[key]) + "%";
    bar.append(left); card.append(bar);
  }
  const facts = [];
  if (one.expires_in != null) facts.push(span(one.expires_in) + " left");
  facts.push("generation " + one.generation);
  const from = one.shared && (one.shared.why_not ? "not shared: " + one.shared.why_not : one.shared.origin === "adopted" ? "adopted from " + one.shared.by : one.shared.origin);
  if (from) facts.push(from);
  if (one.last_refresh_took_ms != null) facts.push("last request took " + one.last_refresh_took_ms + " ms");
  if (one.scope) facts.push("scope " + one.scope);
  card.append(put("div", facts.join(" · "), "dim"));
  if (one.missing_scope) card.append(put("div", "not granted: " + one.missing_scope, "busy"));
  if (one.last_error) card.append(put("div", one.last_error, "bad"), put("div", "more: attache check --live", "dim"));
  const button = put("button", "Refresh"); button.type = "button"; button.setAttribute("aria-label", "Refresh " + one.name);
  button.onclick = async () => { button.disabled = true; try { await post("/api/credentials/" + encodeURIComponent(one.name) + "/refresh"); } finally { button.disabled = false; } };
  card.append(button);
  return card;
}

function rows(id, all, cells) {
  // On a phone each row is a card, and its cells have their headings before them.
  const headings = [...at(id).parentNode.querySelectorAll("th")].map(heading => heading.textContent);
  at(id).replaceChildren(...all.map(one => {
    const row = put("tr");
    cells(one).forEach(([content, className], index) => {
      const inner = content instanceof Element, cell = put("td", inner ? null : content, className);
      if (inner) cell.append(content);
      cell.dataset.label = headings[index];
      row.append(cell);
    });
    return row;
  }));
}

// Requests of each upstream by the second, for the rate and its line; a minute of them.
const rates = {};
function rate(one) {
  const total = Object.values(one.requests || {}).reduce((sum, count) => sum + count, 0), known = rates[one.name] ||= { total, line: [] };
  known.line.push(Math.max(0, total - known.total)); known.total = total;
  if (known.line.length > 60) known.line.shift();
  return known.line;
}
function spark(line) {
  const svg = at("spark").content.firstElementChild.cloneNode(true), most = Math.max(1, ...line);
  svg.setAttribute("aria-label", "requests a second over the last minute, " + most + " at the most");
  svg.firstElementChild.setAttribute("points", line.map((count, index) => (60 - line.length + index) + "," + (15 - 14 * count / most)).join(" "));
  return svg;
}
const took = milliseconds => milliseconds == null ? "–" : milliseconds < 10 ? milliseconds.toFixed(1) + " ms" : milliseconds < 10000 ? Math.round(milliseconds) + " ms" : Math.round(milliseconds / 1000) + " s";
const why = one => [one.tunnels && one.tunnels.false ? one.tunnels.false + " tunnels passed unread: TLS inside, and no local CA opens it" : "", one.would_deny ? one.would_deny + " requests to hosts that no upstream covers" : ""].filter(Boolean).join(" · ") || "–";

// The shared cache, and the other replicas.
function sharing(cache) {
  const line = at("cache");
  line.hidden = !cache;
  if (!cache) return;
  const since = span(Math.max(0, Math.round((Date.now() - Date.parse(cache.since)) / 1000)));
  const server = cache.server || cache.address, replicas = cache.replicas + (cache.replicas === 1 ? " replica" : " replicas");
  const facts = cache.state === "away" ? ["away " + since + ", each asks for itself", cache.last_error] : cache.state === "connected" ? [server, replicas, took(cache.latency_ms)] : [server, replicas, "refuses writes for " + since];
  line.className = { connected: "", away: "bad" }[cache.state] ?? "busy";
  line.textContent = "shared cache: " + facts.filter(Boolean).join(" · ");
}

let shown = "";
function show(status) {
  at("version").textContent = status.version;
  const focused = document.activeElement && document.activeElement.getAttribute("aria-label");
  const lines = {};
  for (const one of status.upstreams) lines[one.name] = rate(one);
  const text = JSON.stringify(status) + JSON.stringify(lines);
  if (text === shown) return;
  shown = text;
  sharing(status.cache);
  at("credentials").replaceChildren(...status.credentials.map(credential));
  if (focused) for (const button of document.querySelectorAll("#credentials button")) if (button.getAttribute("aria-label") === focused) button.focus();
  const sum = counts => Object.entries(counts || {}).filter(([, count]) => count > 0).map(([name, count]) => name.replaceAll("_", " ") + " " + count).join(" · ") || "–";
  rows("upstreams", status.upstreams, one => [[one.name], [one.origin], [one.credential || "–"], [spark(lines[one.name])], [one.latency_ms ? [one.latency_ms.p50, one.latency_ms.p95, one.latency_ms.p99].map(took).join(" · ") : "–"], [one.connections], [sum(one.requests)], [sum(one.unauthorized)]]);
  rows("listeners", status.listeners, one => [[one.name], [one.mode], [one.address], [why(one)]]);
  rows("recent", status.recent, one => [[one.time.slice(11, 19)], [one.method + " " + one.host + one.path], [one.caller ?? "–"], [one.status, one.status >= 500 ? "bad" : one.status >= 400 ? "busy" : ""], [one.upstream], [one.outcome.replaceAll("_", " ") + (one.unauthorized ? " · 401 " + one.unauthorized.replaceAll("_", " ") : "")], [took(one.duration_ms) + (one.upstream_ms == null ? "" : " (token " + took(one.token_ms) + ", upstream " + took(one.upstream_ms) + ")")]]);
  rows("reloads", status.reloads, one => [[one.at], [one.cause], [one.ok ? (one.changes.join(", ") || "nothing is different") : one.problems.join("; "), one.ok ? "" : "bad"]]);
}

const say = (text, className) => { at("live").textContent = text; at("live").className = className; };
const tokenSaid = () => new Promise(said => {
  at("login").hidden = false; at("token").focus();
  say("wants its token", "busy");
  at("login").onsubmit = event => {
    event.preventDefault();
    token = at("token").value; sessionStorage.setItem("attache-token", token);
    at("token").value = ""; at("login").hidden = true;
    said();
  };
});
// Not an EventSource: that cannot send a token.
async function listen() {
  for (;;) {
    try {
      const answer = await ask("/api/events");
      if (answer.status === 403) { await tokenSaid(); continue; }
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        for (const event of events) if (event.startsWith("data:")) { say("live", "ok"); show(JSON.parse(event.slice(5))); }
      }
    } catch { /* Told below, and tried again. */ }
    say("no connection; trying again", "bad");
    await new Promise(later => setTimeout(later, 2000));
  }
}
listen();

at("explain").onsubmit = async event => {
  event.preventDefault();
  const answer = await (await ask("/api/explain?" + new URLSearchParams({ method: at("method").value, url: at("url").value }))).json();
  at("explained").textContent = answer.outcome ? answer.outcome.replaceAll("_", " ") + (answer.sends_to ? " → " + answer.sends_to : "") + ": " + answer.reason : answer.detail;
};
at("reload").onclick = async () => {
  const answer = await (await post("/api/reload")).json();
  at("reloaded").textContent = answer.ok ? "reloaded" : answer.detail;
  at("reloaded").className = answer.ok ? "ok" : "bad";
};
