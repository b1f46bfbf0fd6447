// The status page: what it shows comes from this listener, once a second.

import { ask, listen, post } from "./ask.js";
import { showCredentials } from "./credentials.js";
import { at, words } from "./elements.js";
import { showAttention, showCache, showHosts, showListeners, showReloads } from "./overview.js";
import { pollRequests, startRequests } from "./requests.js";
import { history, showUpstreams, startUpstreams } from "./upstreams.js";

let shown = "";

async function show(status) {
  at("version").textContent = status.version;
  const [kept] = await Promise.all([history(), pollRequests()]);
  // What a person points at stays while nothing is new.
  const text = JSON.stringify(status) + kept.times.at(-1);
  if (text === shown) return;
  shown = text;
  showAttention(status.attention);
  showCache(status.cache);
  showCredentials(status.credentials, kept.credentials);
  if (!at("upstreams").matches(":hover")) showUpstreams(status.upstreams, kept);
  showHosts(status.refused_hosts);
  showListeners(status.listeners);
  showReloads(status.reloads);
}

at("explain").onsubmit = async event => {
  event.preventDefault();
  const question = new URLSearchParams({ method: at("method").value, url: at("url").value });
  const answer = await (await ask("/api/explain?" + question)).json();
  at("explained").textContent = answer.outcome ? words(answer.outcome) + (answer.sends_to ? " → " + answer.sends_to : "") + ": " + answer.reason : answer.detail;
};

at("reload").onclick = async () => {
  const answer = await (await post("/api/reload")).json();
  at("reloaded").textContent = answer.ok ? "reloaded" : answer.detail;
  at("reloaded").className = answer.ok ? "ok" : "bad";
};

startRequests();
startUpstreams();
listen(show);
