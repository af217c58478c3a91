/* Charts that the board has laid out: strokes, ticks, and a reading cursor under the pointer or the arrow keys. */
import { make, number, sample, svg, whole } from "./dom.js";

const axis = (kind, side, ticks) => ticks.map(([place, label]) => {
  const tick = make("span", { className: `axis ${kind}`, ariaHidden: "true", textContent: label });
  tick.style[side] = `${place}%`;
  return tick;
});

const nearest = (values, x) => {
  let best = 0;
  for (let i = 1; i < values.length; i += 1) if (Math.abs(values[i] - x) < Math.abs(values[best] - x)) best = i;
  return best;
};

const strokes = (chart) => {
  const groups = [...chart.curves].reverse().map((curve) => {
    const paths = Object.entries(curve.paths).filter(([, d]) => d).map(([kind, d]) => svg("path", { class: kind, d }));
    return svg("g", { class: `${curve.tint} d${curve.dash} ${curve.style}` }, ...paths);
  });
  const grid = chart.y.map(([place]) => svg("path", { class: "grid", d: `M0 ${1000 - 10 * place}H1000` }));
  return svg("svg", { viewBox: "0 0 1000 1000", preserveAspectRatio: "none", "aria-hidden": "true" }, ...grid, ...groups);
};

const legendOf = (chart, titles) => {
  const reads = [], few = chart.curves.length <= 4;
  const items = chart.curves.map((curve) => {
    const read = make("b", { textContent: curve.last }), name = few ? `${curve.run + 1} ${titles[curve.run]}` : String(curve.run + 1);
    reads.push(read);
    return make("li", { className: `${curve.tint} d${curve.dash} ${curve.style}`, title: titles[curve.run] }, sample(), make("span", { textContent: name }), " ", read);
  });
  return [make("ul", { className: few ? "legend" : "legend tight" }, ...items), reads];
};

/* A cursor that shows the values at a step; arrow keys move it once the plot has the focus. */
const addCursor = (plot, points, reads) => {
  const usual = reads.map((read) => read.textContent), [low, high] = points.x;
  const every = [...new Set(points.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const label = make("span"), cursor = make("div", { className: "cursor", hidden: true }, label);
  plot.append(cursor);
  let place = -1;
  const show = (x) => {
    const share = (x - low) / (high - low);
    cursor.hidden = false; cursor.style.left = `${100 * share}%`;
    label.textContent = `step ${whole(Math.round(x))}`; label.style.transform = `translateX(-${Math.round(100 * share)}%)`;
    points.lines.forEach((line, index) => { const value = line.y[nearest(line.x, x)]; reads[index].textContent = value === null ? "not finite" : number(value); });
  };
  const hide = () => { cursor.hidden = true; place = -1; reads.forEach((read, index) => { read.textContent = usual[index]; }); };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    place = nearest(every, low + ((high - low) * (event.clientX - box.left)) / box.width);
    show(every[place]);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -every.length, End: every.length }[event.key];
    if (move === undefined) { if (event.key === "Escape") hide(); return; }
    event.preventDefault();
    place = Math.max(0, Math.min(every.length - 1, place < 0 ? (move < 0 ? every.length - 1 : 0) : place + move));
    show(every[place]);
  });
};

export const figure = (chart, titles, remove) => {
  const button = make("button", { type: "button", className: "chip", textContent: "×", ariaLabel: `remove the chart ${chart.metric}`, on: { click: remove } });
  const unit = [chart.unit, chart.arrow && `${chart.arrow} better`].filter(Boolean).join(", ");
  const head = make("figcaption", {}, make("h4", { textContent: chart.metric }), make("span", { className: "unit", textContent: unit }), button);
  if (!chart.curves) return make("figure", { className: "chart" }, head, make("p", { className: "empty", textContent: "None of the chosen runs has logged a value of it that can be drawn yet." }));
  const [legend, reads] = legendOf(chart, titles);
  const name = make("span", { className: "axis x name", ariaHidden: "true", textContent: "step" });
  const plot = make("div", { className: "plot", tabIndex: 0, role: "img", ariaLabel: `${chart.description}. Arrow keys read values.` }, strokes(chart), ...axis("y", "bottom", chart.y), ...axis("x", "left", chart.x), name);
  plot.style.setProperty("--y", `${chart.width}ch`);
  addCursor(plot, chart.points, reads);
  return make("figure", { className: "chart" }, head, legend, plot, ...chart.notes.map((note) => make("p", { className: "notes", textContent: note })));
};
