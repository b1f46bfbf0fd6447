// Requests to where this page came from, and nowhere else. With admin.token a person says it once for each tab.

import { at } from "./elements.js";

let token = sessionStorage.getItem("attache-token") || "";

export function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: "Bearer " + token } : {}) };
  return fetch(path, { ...options, headers });
}

export const documentAt = async path => (await ask(path)).json();

export const post = path => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });

export function say(text, className) {
  at("live").textContent = text;
  at("live").className = className;
}

const later = milliseconds => new Promise(done => setTimeout(done, milliseconds));

/// Waits until a person has said a token; `refused` is whether one was said before.
function tokenSaid(refused) {
  at("login").hidden = false;
  at("main").hidden = true;
  at("refused").textContent = refused ? "The token is not the right one; it is admin.token of the configuration." : "";
  at("token").focus();
  say(refused ? "wrong token" : "wants its token", "busy");
  return new Promise(said => {
    at("login").onsubmit = event => {
      event.preventDefault();
      token = at("token").value;
      sessionStorage.setItem("attache-token", token);
      at("token").value = "";
      said();
    };
  });
}

/// Gives each status to `show`, for ever. Not an EventSource: that cannot send a token.
export async function listen(show) {
  for (;;) {
    try {
      const answer = await ask("/api/events");
      if (answer.status === 403) {
        await tokenSaid(token !== "");
        continue;
      }
      if (!answer.ok) {
        say((await answer.json()).detail, "bad");
        await later(5000);
        continue;
      }
      at("login").hidden = true;
      at("main").hidden = false;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          if (!event.startsWith("data:")) continue;
          await show(JSON.parse(event.slice(5)));
          say("live", "ok");
        }
      }
    } catch {
      // Told below, and tried again.
    }
    say("no connection; trying again", "bad");
    await later(2000);
  }
}
