// A card for each credential.

import { post } from "./ask.js";
import { at, clock, put, replace, span } from "./elements.js";
import { timeline } from "./timeline.js";

const COLOURS = { ready: "ok", failed: "bad", refreshing: "busy", empty: "dim" };

export function showCredentials(all, events) {
  replace(at("credentials"), all.length ? all.map(one => card(one, events[one.name])) : [put("p", { class: "dim" }, "none")]);
}

function card(one, events) {
  const made = put("section", { class: "card" });
  made.append(put("h3", {}, one.name, put("span", { class: COLOURS[one.state] }, one.state)));
  if (one.expires_in != null && one.lifetime) made.append(life(one));
  made.append(put("div", { class: "dim" }, facts(one).join(" · ")));
  if (one.missing_scope) made.append(put("div", { class: "busy" }, "not granted: " + one.missing_scope));
  if (one.last_error) made.append(put("div", { class: "bad" }, one.last_error));
  if (events?.length) made.append(timeline(one.name, events));
  made.append(refresh(one));
  return made;
}

/// The remaining life as a bar.
function life(one) {
  const percent = Math.min(100, Math.round((100 * one.expires_in) / Math.max(one.lifetime, 1)));
  const bar = put("div", { class: "bar", role: "progressbar", "aria-label": "remaining life of " + one.name, "aria-valuenow": percent, "aria-valuetext": span(one.expires_in) + " left" });
  const left = put("i");
  left.style.width = percent + "%";
  bar.append(left);
  return bar;
}

function facts(one) {
  const shared = one.shared;
  const from = shared && (shared.why_not ? "not shared: " + shared.why_not : shared.origin === "adopted" ? "adopted from " + shared.by : shared.origin);
  return [
    one.expires_in == null ? "" : span(one.expires_in) + " left",
    "generation " + one.generation,
    one.required ? "required" : "",
    from,
    one.last_refresh_at ? "last request " + clock(one.last_refresh_at) + (one.last_refresh_took_ms == null ? "" : ", took " + one.last_refresh_took_ms + " ms") : "",
    one.scope ? "scope " + one.scope : "",
    one.secret ? "secret " + one.secret : "",
  ].filter(Boolean);
}

function refresh(one) {
  const button = put("button", { type: "button", "aria-label": "Refresh " + one.name, "data-key": "refresh " + one.name }, "Refresh");
  const answer = put("output", {});
  button.onclick = async () => {
    button.disabled = true;
    try {
      const answered = await post("/api/credentials/" + encodeURIComponent(one.name) + "/refresh");
      if (!answered.ok) answer.textContent = (await answered.json()).detail;
    } finally {
      button.disabled = false;
    }
  };
  return put("div", { class: "actions" }, button, answer);
}
