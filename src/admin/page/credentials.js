// A card for each credential.

import { post } from "./ask.js";
import { at, clock, put, replace, span } from "./elements.js";
import { timeline } from "./timeline.js";

const COLOURS = { ready: "ok", failed: "bad", refreshing: "busy", empty: "dim" };

/// The cards by name: one is made anew only if more is new than the time that is left.
const cards = new Map();

export function showCredentials(all, events) {
  for (const name of cards.keys()) if (!all.some(one => one.name === name)) cards.delete(name);
  let changed = all.length !== at("credentials").children.length;
  const made = all.map(one => {
    const { expires_in, ...rest } = one, key = JSON.stringify([rest, events[one.name]]);
    let known = cards.get(one.name);
    if (known?.key !== key) {
      known = { key, ...card(one, events[one.name]) };
      cards.set(one.name, known);
      changed = true;
    }
    known.tick(expires_in);
    return known.element;
  });
  if (changed) replace(at("credentials"), made.length ? made : [put("p", { class: "dim" }, "none")]);
}

/// The card, and what moves on it each second.
function card(one, events) {
  const element = put("section", { class: "card" });
  element.append(put("h3", {}, one.name, put("span", { class: COLOURS[one.state] }, one.state)));
  const left = put("i"), time = put("span");
  const bar = put("div", { class: "bar", role: "progressbar", "aria-label": "remaining life of " + one.name }, left);
  bar.hidden = one.expires_in == null || !one.lifetime;
  element.append(bar, put("div", { class: "dim" }, time, facts(one).join(" · ")));
  if (one.missing_scope) element.append(put("div", { class: "busy" }, "not granted: " + one.missing_scope));
  if (one.last_error) element.append(put("div", { class: "bad" }, one.last_error));
  if (events?.length) element.append(timeline(one.name, events));
  element.append(refresh(one));
  const tick = expires_in => {
    const percent = Math.min(100, Math.round((100 * (expires_in ?? 0)) / Math.max(one.lifetime ?? 1, 1)));
    left.style.width = percent + "%";
    bar.setAttribute("aria-valuenow", percent);
    bar.setAttribute("aria-valuetext", span(expires_in) + " left");
    time.textContent = expires_in == null ? "" : span(expires_in) + " left · ";
  };
  return { element, tick };
}

function facts(one) {
  const shared = one.shared;
  const from = shared && (shared.why_not ? "not shared: " + shared.why_not : shared.origin === "adopted" ? "adopted from " + shared.by : shared.origin);
  return [
    "generation " + one.generation,
    one.required ? "required" : "",
    from,
    one.last_refresh_at ? "last request " + clock(one.last_refresh_at) + (one.last_refresh_took_ms == null ? "" : ", took " + one.last_refresh_took_ms + " ms") : "",
    one.scope ? "scope " + one.scope : "",
    one.secret ? "secret " + one.secret : "",
  ].filter(Boolean);
}

/// Why the last refresh by hand brought none.
const refused = new Map();

function refresh(one) {
  const button = put("button", { type: "button", "aria-label": "Refresh " + one.name, "data-key": "refresh " + one.name }, "Refresh");
  const answer = put("output", {}, refused.get(one.name) ?? "");
  button.onclick = async () => {
    button.disabled = true;
    try {
      const answered = await post("/api/credentials/" + encodeURIComponent(one.name) + "/refresh");
      refused.set(one.name, answered.ok ? "" : (await answered.json()).detail);
      answer.textContent = refused.get(one.name);
    } finally {
      button.disabled = false;
    }
  };
  return put("div", { class: "actions" }, button, answer);
}
