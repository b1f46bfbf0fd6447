// Elements, made from values. Text goes in as text nodes only: names and errors come from files and servers.

export const at = id => document.getElementById(id);

export function put(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) made.setAttribute(name, value);
  made.append(...children.filter(child => child != null && child !== ""));
  return made;
}

export function draw(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/// Rows of a table: `cells(one)` gives `[content, class]` for each column. On a phone each row is a card, and its cells have
/// their headings before them.
export function rows(id, all, cells, none) {
  const body = at(id);
  const headings = [...body.parentNode.querySelectorAll("th")].map(heading => heading.textContent);
  if (all.length === 0) {
    const cell = put("td", { colspan: headings.length, class: "dim" }, none);
    cell.dataset.label = "";
    body.replaceChildren(put("tr", {}, cell));
    return;
  }
  body.replaceChildren(...all.map(one => put("tr", {}, ...cells(one).map(([content, className], index) => {
    const cell = put("td", { class: className || null }, content ?? "–");
    cell.dataset.label = headings[index];
    return cell;
  }))));
}

/// A `details` element that a person opened stays open when it is made anew.
const opened = new Set();

export function details(key, summary, ...children) {
  const made = put("details", {}, put("summary", { "data-key": key }, summary), ...children);
  made.open = opened.has(key);
  made.ontoggle = () => (made.open ? opened.add(key) : opened.delete(key));
  return made;
}

/// Replaces what is inside, and leaves the keyboard where it was: `key` finds an element again.
export function replace(parent, children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  parent.replaceChildren(...children);
  if (focused) [...parent.querySelectorAll("[data-key]")].find(one => one.dataset.key === focused)?.focus();
}

export const span = seconds =>
  seconds == null ? "" : seconds >= 7200 ? Math.round(seconds / 3600) + " h" : seconds >= 120 ? Math.round(seconds / 60) + " min" : Math.round(seconds) + " s";

export const millis = value =>
  value == null ? "–" : value < 10 ? value.toFixed(1) + " ms" : value < 10000 ? Math.round(value) + " ms" : Math.round(value / 1000) + " s";

/// The time of day where the person is; with the date if that is another one.
export function clock(time) {
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString() : date.toLocaleString();
}

export const words = name => String(name).replaceAll("_", " ");

export const counts = of =>
  Object.entries(of || {}).filter(([, count]) => count > 0).map(([name, count]) => words(name) + " " + count).join(" · ");

export const plural = (count, one) => count + " " + one + (count === 1 ? "" : "s");
