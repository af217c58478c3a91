/* Chosen runs side by side: curves, configs, sounds. */
import { $, badge, fill, make, number, sample, tintOf, whole } from "./dom.js";
import { figure } from "./chart.js";
import { change, MOST_COLUMNS, state } from "./state.js";

const CURVES_MS = 4000, SOUNDS_MS = 10000;
const USUAL = ["val/objective", "train/loss"];
const swatch = (place) => make("span", { className: `swatch-line ${tintOf(place)}` }, sample());
const asked = (items) => items.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");

const fetched = async (path) => {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};

/* A part of the view: asked for again when the runs, or what is asked of them, have changed. */
const part = (path, everyMs, show, failed) => {
  let shown = "", when = 0, busy = false, text = "", again = null;
  const look = async (query, mark) => {
    const now = `${query} ${mark}`;
    if (busy || now === shown) return;
    const wait = when + everyMs - Date.now();
    if (shown.startsWith(`${query} `) && wait > 0) { clearTimeout(again); again = setTimeout(() => look(query, mark), wait); return; }
    busy = true; when = Date.now(); shown = now;
    try {
      const found = await fetched(`${path}?${query}`), said = JSON.stringify(found);
      if (said !== text && show(found) !== false) text = said;
    } catch (error) { text = ""; shown = ""; failed(error.message); }
    busy = false;
  };
  return look;
};

let present = [];
const titles = () => present.map((run) => run.title);
const problemsOf = (problems) => Object.entries(problems).map(([id, reason]) =>
  make("p", { className: "message warning small" }, make("strong", { textContent: present.find((run) => run.id === id)?.title ?? id }), reason));

const curves = part("/curves", CURVES_MS, (found) => {
  const focused = document.activeElement?.closest(".chart")?.dataset.metric, reading = document.querySelector("#charts .plot:hover, #charts .plot:focus");
  if (reading && $("charts").children.length === found.charts.length) return false;
  const figures = found.charts.map((chart) => {
    const made = figure(chart, titles(), () => change({ charts: charts().filter((name) => name !== chart.metric) }));
    made.dataset.metric = chart.metric;
    return made;
  });
  $("charts").replaceChildren(...problemsOf(found.problems), ...figures);
  if (focused) $("charts").querySelector(`[data-metric="${CSS.escape(focused)}"] .plot`)?.focus();
  return true;
}, (reason) => $("charts").replaceChildren(make("p", { className: "message error", textContent: reason })));

const configs = part("/configs", CURVES_MS, (found) => {
  const heads = found.runs.map((place) => make("th", { scope: "col" }, swatch(place), ` ${place + 1} ${present[place]?.title ?? ""}`));
  const rows = found.rows.map(([key, values]) => make("tr", {}, make("th", { scope: "row" }, make("code", { textContent: key })), ...values.map((value) => make("td", {}, make("code", { textContent: value })))));
  const table = make("table", { className: "pinned" }, make("thead", {}, make("tr", {}, make("th", { scope: "col", textContent: "Key" }), ...heads)), make("tbody", {}, ...rows));
  const one = found.runs.length < 2 ? "Choose a second run, and the keys in which the configs differ stand here." : "The configs are the same.";
  const box = rows.length ? make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Keys in which the configs differ" }, table) : make("p", { className: "empty", textContent: one });
  $("differences").replaceChildren(...problemsOf(found.problems), box);
}, (reason) => $("differences").replaceChildren(make("p", { className: "message error", textContent: reason })));

/* One sound at a time; another one of the same clip takes over at the same moment. */
const takeOver = (event) => {
  for (const other of document.querySelectorAll("#clips audio")) {
    if (other === event.target || other.paused) continue;
    if (other.closest(".clip") === event.target.closest(".clip")) event.target.currentTime = Math.min(other.currentTime, event.target.duration || other.currentTime);
    other.pause();
  }
};

const player = (place, group, label) => {
  const run = group.runs[place], file = run?.files[label];
  if (!file) return null;
  const name = label.startsWith("reference") ? label : `${label}, ${place + 1} ${present[place]?.title ?? ""}, ${run.at}`;
  const source = `/${file.map(encodeURIComponent).join("/")}`;
  const audio = make("audio", { controls: true, preload: "none", src: source, ariaLabel: `${group.title}, ${name}`, on: { play: takeOver } });
  if (label.startsWith("reference")) return make("li", {}, make("span", { className: "small soft", textContent: "the recording, the same for all" }), audio);
  return make("li", {}, make("span", { className: "small" }, swatch(Number(place)), ` ${Number(place) + 1} ${present[place]?.title ?? ""} `, make("span", { className: "soft", textContent: run.at })), audio);
};

const clipOf = (group) => {
  const rows = group.labels.map((label) => {
    const places = Object.keys(group.runs), shared = label.startsWith("reference") ? places.filter((place) => group.runs[place].files[label]).slice(0, 1) : places;
    return make("div", { className: "signal" }, make("h4", { textContent: label.replaceAll("_", " ") }), make("ul", {}, ...shared.map((place) => player(place, group, label))));
  });
  return make("article", { className: "clip" }, make("h3", { textContent: group.title }), ...rows);
};

const sounds = part("/sounds", SOUNDS_MS, (found) => {
  if ([...document.querySelectorAll("#clips audio")].some((audio) => !audio.paused)) return false;
  const none = make("p", { className: "empty" }, "These runs have no samples yet. They come with a validation, where ", make("code", { textContent: "trainer.num_sample_clips" }), " is above 0.");
  $("clips").replaceChildren(...problemsOf(found.problems), ...(found.clips.length ? found.clips.map(clipOf) : [none]));
  return true;
}, (reason) => $("clips").replaceChildren(make("p", { className: "message error", textContent: reason })));

const charts = () => state.charts ?? USUAL;

const card = (run, place) => {
  const facts = [run.step === null ? "" : `step ${whole(run.step)}${run.num_steps ? ` of ${whole(run.num_steps)}` : ""}`, run.best === null ? "" : `best ${run.metric} ${number(run.best)}`].filter(Boolean).join(" · ");
  const remove = make("button", { type: "button", className: "chip", textContent: "×", ariaLabel: `remove ${run.title}`, on: { click: () => change({ chosen: state.chosen.filter((id) => id !== run.id) }) } });
  const link = run.report ? make("a", { href: `/report/${run.id}`, target: "_blank", rel: "noopener", textContent: "report", ariaLabel: `report of ${run.title}` }) : null;
  const told = [["error", run.error], ["warning", run.warning]].filter(([, text]) => text).map(([className, textContent]) => make("span", { className: `${className} small`, textContent }));
  return make("li", {}, swatch(place), make("b", { textContent: `${place + 1} ${run.title}` }), badge(run.state), make("span", { className: "small soft", textContent: facts }), link, remove, ...told, make("code", { className: "path", textContent: run.path }));
};

let cards = "";
export const drawCompare = (runs, names) => {
  present = state.chosen.map((id) => runs.get(id)).filter(Boolean);
  $("none-chosen").hidden = present.length > 0; $("compared").hidden = present.length === 0;
  if (present.length === 0) return;
  const now = JSON.stringify(present.map((run) => [run.id, run.title, run.state, run.step, run.best, run.report, run.path, run.error, run.warning]));
  if (now !== cards) { cards = now; $("chosen").replaceChildren(...present.map(card)); }
  fill($("chart"), names.filter((name) => !charts().includes(name)));
  $("log").checked = state.log; $("no-charts").hidden = charts().length > 0;
  const chosen = present.map((run) => ["run", run.id]), mark = present.map((run) => `${run.id}:${run.lines}:${run.error ?? ""}`).join();
  if (charts().length) curves(asked([...chosen, ...charts().map((name) => ["metric", name]), ["log", state.log]]), mark); else $("charts").replaceChildren();
  configs(asked(chosen), "");
  sounds(asked(chosen), mark);
};

$("chart").addEventListener("change", () => {
  const name = $("chart").value;
  $("chart").value = "";
  if (name) change({ charts: [...charts(), name].slice(-MOST_COLUMNS) });
});
$("log").addEventListener("change", () => change({ log: $("log").checked }));
