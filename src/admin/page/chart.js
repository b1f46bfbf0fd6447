// A chart over time in SVG: bars or lines with axes, and the values under the pointer or the arrow keys.

import { draw, put } from "./elements.js";

const WIDTH = 480, HEIGHT = 110, LEFT = 60, BOTTOM = 18, TOP = 8;

/// `series`: [{ name, className, values, bars }], each as long as `times` (seconds since 1970). `show` writes a value, `axis` one
/// on the axis.
export function chart({ label, times, series, show, axis, seconds }) {
  const most = Math.max(...series.flatMap(one => one.values.map(value => value ?? 0)), 0);
  const top = roundUp(most);
  const last = times.at(-1) ?? 0;
  const x = time => LEFT + (WIDTH - LEFT) * (1 - (last - time) / seconds);
  const y = value => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", tabindex: "0", "aria-label": described(label, series, show) });
  svg.dataset.key = label;
  for (const value of [0, top / 2, top]) {
    svg.append(draw("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }));
    svg.append(text(LEFT - 4, y(value) + 3, "end", axis(value)));
  }
  for (let minutes = 0; minutes <= seconds / 60; minutes += seconds / 180) {
    const anchor = minutes === 0 ? "end" : minutes * 60 === seconds ? "start" : "middle";
    svg.append(text(x(last - minutes * 60), HEIGHT - 4, anchor, minutes === 0 ? "now" : "−" + minutes + " min"));
  }
  const step = (WIDTH - LEFT) * (times.length > 1 ? (last - times[0]) / (times.length - 1) / seconds : 0.005);
  for (const one of series) svg.append(one.bars ? bars(one, times, x, y, step) : lines(one, times, x, y));
  const pointer = draw("line", { class: "pointer", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  svg.append(pointer);
  const values = put("p", { class: "values dim" });
  const quiet = series.map(one => one.name + " " + show(one.values.findLast(value => value != null) ?? 0)).join(" · ");
  values.textContent = quiet;
  pointed(svg, pointer, times, x, index => {
    values.textContent = index == null ? quiet : new Date(times[index] * 1000).toLocaleTimeString() + ": " + series.map(one => one.name + " " + (one.values[index] == null ? "–" : show(one.values[index]))).join(" · ");
  });
  return put("figure", {}, put("figcaption", {}, label, " ", ...series.map(one => put("span", { class: "key " + one.className }, one.name))), svg, values);
}

function bars(one, times, x, y, step) {
  const group = draw("g", { class: one.className });
  one.values.forEach((value, index) => {
    if (value > 0) group.append(draw("rect", { x: x(times[index]) - step, width: Math.max(step - 0.4, 0.8), y: y(value), height: y(0) - y(value) }));
  });
  return group;
}

/// Where nothing is known the line has a gap.
function lines(one, times, x, y) {
  let path = "", drawn = false;
  one.values.forEach((value, index) => {
    if (value == null) drawn = false;
    else {
      path += (drawn ? "L" : "M") + x(times[index]).toFixed(1) + " " + y(value).toFixed(1) + (drawn ? "" : "h0.1");
      drawn = true;
    }
  });
  return draw("path", { class: one.className, d: path });
}

/// `tell` is given the index of the sample that is pointed at, or null.
function pointed(svg, pointer, times, x, tell) {
  let index = null;
  const move = to => {
    index = times.length === 0 || to == null ? null : Math.min(Math.max(to, 0), times.length - 1);
    pointer.setAttribute("visibility", index == null ? "hidden" : "visible");
    if (index != null) {
      pointer.setAttribute("x1", x(times[index]));
      pointer.setAttribute("x2", x(times[index]));
    }
    tell(index);
  };
  svg.onpointermove = event => {
    const box = svg.getBoundingClientRect(), place = ((event.clientX - box.left) / box.width) * WIDTH;
    let nearest = 0;
    times.forEach((time, candidate) => {
      if (Math.abs(x(time) - place) < Math.abs(x(times[nearest]) - place)) nearest = candidate;
    });
    move(nearest);
  };
  svg.onpointerleave = () => move(null);
  svg.onblur = () => move(null);
  svg.onkeydown = event => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    move((index ?? times.length) + step);
  };
}

/// To a value that reads well on an axis.
function roundUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map(step => step * power).find(step => step >= value) ?? value;
}

const described = (label, series, show) =>
  label + ": " + series.map(one => one.name + " at most " + show(Math.max(...one.values.map(value => value ?? 0), 0))).join(", ");

function text(x, y, anchor, content) {
  const made = draw("text", { x, y, "text-anchor": anchor });
  made.textContent = content;
  return made;
}
