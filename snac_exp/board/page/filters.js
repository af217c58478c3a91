/* Which runs are shown, and in what order. */
import { $, badge, fill, make, whole } from "./dom.js";
import { change, MOST_COLUMNS, state } from "./state.js";

const ORDER = ["running", "queued", "finished", "pruned", "preempted", "failed", "lost", "cancelled", "unreadable"];
const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
const holds = (text, wanted) => { const low = text.toLowerCase(); return wanted.every((word) => low.includes(word)); };

/* All that the search looks through. */
const textOf = (run) => [run.path, run.title, run.recipe, run.error ?? "", run.warning ?? "", run.question ?? "", ...run.tags, ...run.notes].join("\n");

export const matching = (runs, withState = true) => {
  const text = words(state.text), override = words(state.override);
  return [...runs.values()].filter((run) =>
    (!withState || state.states.length === 0 || state.states.includes(run.state))
    && (state.recipe === "" || run.recipe === state.recipe)
    && (state.tag === "" || run.tags.includes(state.tag))
    && (text.length === 0 || holds(textOf(run), text))
    && (override.length === 0 || holds(run.overrides.join("\n"), override)));
};

/* A run without a value is last, whichever way. */
export const sorted = (found, valueOf) => {
  const down = state.down ? -1 : 1;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  const isNone = (value) => value === null || value === undefined || value === "";
  return found.map((run) => [valueOf(run), run]).sort(([a, one], [b, two]) => {
    if (isNone(a) || isNone(b)) return isNone(a) - isNone(b) || compare(one.path, two.path);
    return down * compare(a, b) || compare(one.path, two.path);
  }).map(([, run]) => run);
};

const chip = (children, pressed, label, act) =>
  make("button", { type: "button", className: "chip", ariaPressed: pressed, ariaLabel: label, on: { click: act } }, ...children);

const toggled = (list, item) => (list.includes(item) ? list.filter((other) => other !== item) : [...list, item]);

let drawn = "";
const drawStates = (runs) => {
  const counts = new Map();
  for (const run of matching(runs, false)) counts.set(run.state, (counts.get(run.state) ?? 0) + 1);
  for (const item of state.states) if (!counts.has(item)) counts.set(item, 0);
  const listed = [...counts].sort(([a], [b]) => ORDER.indexOf(a) - ORDER.indexOf(b)), now = JSON.stringify([listed, state.states]);
  if (now === drawn) return;
  const focused = document.activeElement?.dataset?.state;
  drawn = now;
  $("states").replaceChildren(...listed.map(([item, count]) => {
    const on = state.states.includes(item), said = `${item}: ${whole(count)} runs`;
    const button = chip([badge(item), " ", make("b", { textContent: whole(count) })], String(on), said, () => change({ states: toggled(state.states, item), page: 0 }));
    button.dataset.state = item;
    return button;
  }));
  if (focused) $("states").querySelector(`[data-state="${focused}"]`)?.focus();
};

const drawColumns = () => {
  const shown = [...$("columns-shown").children].map((child) => child.dataset.name);
  if (shown.length === state.columns.length && shown.every((name, place) => name === state.columns[place])) return;
  $("columns-shown").replaceChildren(...state.columns.map((name) => {
    const button = chip([name, make("span", { ariaHidden: "true", textContent: " ×" })], null, `remove the column ${name}`, () => change({ columns: state.columns.filter((other) => other !== name), ...(state.sort === `values.${name}` ? { sort: "updated", down: true } : {}) }));
    button.dataset.name = name;
    return button;
  }));
};

export const drawFilters = (runs, names) => {
  const all = [...runs.values()], different = (values) => [...new Set(values)].filter(Boolean).sort();
  fill($("recipe"), different([...all.map((run) => run.recipe), state.recipe]));
  const tags = different([...all.flatMap((run) => run.tags), state.tag]);
  fill($("tag"), tags);
  $("tag-filter").hidden = tags.length === 0;
  fill($("column"), names.filter((name) => !state.columns.includes(name)));
  for (const id of ["text", "recipe", "tag", "override"]) if ($(id).value !== state[id] && document.activeElement !== $(id)) $(id).value = state[id];
  drawStates(runs);
  drawColumns();
};

for (const id of ["text", "recipe", "tag", "override"]) $(id).addEventListener("input", () => change({ [id]: $(id).value, page: 0 }));
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("column").addEventListener("change", () => {
  const name = $("column").value;
  $("column").value = "";
  if (name && !state.columns.includes(name)) change({ columns: [...state.columns, name].slice(-MOST_COLUMNS) });
});
