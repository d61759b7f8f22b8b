// Small line charts in SVG, independent of what they show.

const ns = "http://www.w3.org/2000/svg";
const width = 360, height = 132;

// element creates an HTML element. It never parses text as HTML.
export function element(name, properties = {}, ...children) {
  const e = Object.assign(document.createElement(name), properties);
  e.append(...children);
  return e;
}

function shape(name, attributes) {
  const e = document.createElementNS(ns, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

// roundUp rounds up to the next round number: 1, 2, 2.5, 5, 10 and so on for base 10, and
// 1, 1.25, 1.5 or 2 times a power of two for base 2.
export function roundUp(value, base = 10) {
  if (!(value > 0)) return 1;
  const power = base ** Math.floor(Math.log(value) / Math.log(base) + 1e-9);
  const steps = base === 10 ? [1, 2, 2.5, 5, 10] : [1, 1.25, 1.5, 2];
  return (steps.find((n) => n * power >= value * 0.999) ?? base) * power;
}

// bar returns a progress bar that is filled by a fraction from 0 to 1.
export function bar(part) {
  const svg = shape("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(shape("rect", { width: 100 * Math.min(1, Math.max(0, part)), height: 8 }));
  return svg;
}

// chart returns an element with a line chart. Each line has { name, color, points }, with
// the newest point last. The chart shows the values under the pointer.
//   format  formats a value
//   times   formats the time of a point, given its index and the number of points
//   floor   minimum for the top of the scale
//   base    2 for bytes, otherwise 10
export function chart({ title, lines, format, times, floor = 0, base = 10 }) {
  const count = Math.max(2, ...lines.map((line) => line.points.length));
  const top = roundUp(Math.max(floor, ...lines.flatMap((line) => line.points)), base);
  const x = (i) => (i / (count - 1)) * width;
  const y = (value) => height - (Math.min(value, top) / top) * (height - 2) - 1;

  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" });
  const now = (line) => line.points.at(-1) ?? 0;
  svg.setAttribute("aria-label", `${title}: ` + lines.map((line) => `${line.name} ${format(now(line))}`).join(", "));
  for (const part of [0, 0.5, 1]) svg.append(shape("line", { class: "grid", x1: 0, x2: width, y1: y(top * part), y2: y(top * part) }));
  for (const line of lines) {
// A line that began after the chart has no points on the left.
    const from = count - line.points.length;
    const path = line.points.map((value, i) => `${x(from + i).toFixed(1)},${y(value).toFixed(1)}`).join("L");
    if (!path) continue;
    if (lines.length === 1) svg.append(colored(shape("path", { class: "area", d: `M${x(from).toFixed(1)},${height}L${path}L${width},${height}Z` }), line));
    svg.append(colored(shape("path", { class: "path", d: `M${path}` }), line));
  }
  const cursor = shape("line", { class: "cursor", y1: 0, y2: height, visibility: "hidden" });
  svg.append(cursor);

  const legend = element("ul", { className: "legend" });
  const values = lines.map((line) => {
    const value = element("b", { textContent: format(now(line)) });
    const item = element("li", {}, element("span", { textContent: line.name }), value);
    legend.append(colored(item, line));
    return value;
  });
  const left = element("span", { textContent: times(0, count) });
  const right = element("span", { textContent: "now" });
  const show = (i) => {
    cursor.setAttribute("visibility", i === null ? "hidden" : "visible");
    if (i !== null) {
      cursor.setAttribute("x1", x(i));
      cursor.setAttribute("x2", x(i));
    }
    right.textContent = i === null || i === count - 1 ? "now" : times(i, count);
    lines.forEach((line, n) => {
      values[n].textContent = format(i === null ? now(line) : line.points[i - (count - line.points.length)] ?? 0);
    });
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    show(Math.round(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * (count - 1)));
  });
  svg.addEventListener("pointerleave", () => show(null));

  const drawing = element("div", { className: "chart" }, svg, element("span", { className: "top", textContent: format(top) }));
  const whole = element("div", {}, drawing, element("div", { className: "times" }, left, right), legend);
  return whole;
}

// colored gives an element the color of a line. It sets the property through the DOM, which
// a strict Content-Security-Policy allows.
function colored(e, line) {
  e.style.setProperty("--color", `var(--${line.color})`);
  return e;
}
