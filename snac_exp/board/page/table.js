/* The table of runs, a page of it at a time. */
import { $, ago, badge, duration, make, number, whole } from "./dom.js";
import { drawFilters, matching, sorted } from "./filters.js";
import { change, hasFilters, MOST_CHOSEN, noFilters, state } from "./state.js";

const PAGE = 100;
const code = (text) => make("code", { textContent: text });

const progress = (run) => {
  if (run.step === null || run.step === undefined) return [];
  const said = make("span", { textContent: run.num_steps ? `${whole(run.step)} / ${whole(run.num_steps)}` : whole(run.step) });
  if (!run.num_steps || run.state === "finished") return [said];
  const bar = make("span", { className: "progress", ariaHidden: "true" }, make("i"));
  bar.firstChild.style.width = `${Math.min(100, (100 * run.step) / run.num_steps)}%`;
  return [said, bar];
};

const nameOf = (run) => {
  const label = make("label", { htmlFor: `choose-${run.id}`, className: "title", textContent: run.title });
  const parent = run.path.slice(0, -run.title.length - 1);
  const path = make("span", { className: "path", textContent: run.path.endsWith(`/${run.title}`) ? parent : run.path === run.title ? "" : run.path });
  const error = run.error ? make("span", { className: "error", textContent: run.error }) : null;
  const warning = run.warning ? make("span", { className: "warning", textContent: run.warning }) : null;
  const link = run.report ? make("a", { href: `/report/${run.id}`, target: "_blank", rel: "noopener", textContent: "report", ariaLabel: `report of ${run.title}` }) : null;
  const last = run.notes.at(-1), more = run.notes.length > 1 ? ` (${run.notes.length} notes)` : "";
  const note = last ? make("span", { className: "note clamp", textContent: `${last}${more}`, title: run.notes.join("\n\n") }) : null;
  return [label, path, note, error, warning, link];
};

/* key, head, what is sorted by, what is shown, class, whether a first click sorts downwards. */
const varied = (run) => run.overrides.filter((item) => !/^\+?experiment=/.test(item)); // the recipe has its own column
const COLUMNS = [
  ["path", "Run", (run) => run.path, nameOf, "run-cell", false],
  ["state", "State", (run) => run.state, (run) => [badge(run.state)], "", false],
  ["step", "Step", (run) => run.step, progress, "num", true],
  ["best", "Best", (run) => run.best, (run) => [number(run.best)], "num metric", false],
  ["speed", "Audio-s/s", (run) => run.speed, (run) => [run.speed === null ? "" : number(run.speed, 3)], "num", true],
  ["left", "Left", (run) => run.left, (run) => [duration(run.left)], "num", false],
  ["updated", "Updated", (run) => run.updated, (run) => [run.age === null ? "" : ago(run.age)], "num", true],
  ["recipe", "Recipe", (run) => run.recipe, (run) => [run.recipe], "", false],
  ["tags", "Tags", (run) => run.tags.join(" "), (run) => run.tags.map((tag) => make("span", { className: "tag", textContent: tag })), "tags", false],
  ["overrides", "Overrides", (run) => varied(run).join(" "), (run) => [varied(run).length ? make("span", { className: "clamp", title: run.overrides.join("\n") }, ...varied(run).flatMap((item) => [code(item), " "])) : ""], "overrides", false],
  ["question", "Question", (run) => run.question, (run) => [run.question ? make("span", { className: "clamp", textContent: run.question, title: run.question }) : ""], "asks", false],
];

const metricColumn = (name) => [`values.${name}`, name, (run) => run.values[name], (run) => [number(run.values[name])], "num metric", false];

const columnsNow = (runs, metric) => {
  const all = [...runs.values()], has = (key) => all.some((run) => (run[key] ?? []).length);
  const found = COLUMNS.filter(([key]) => !["tags", "question"].includes(key) || has(key)).map((column) => [...column]);
  const best = found.findIndex(([key]) => key === "best");
  found[best][1] = metric === null ? "Best" : `Best ${metric}`;
  found.splice(best + 1, 0, ...state.columns.map(metricColumn));
  return found;
};

const sortBy = (key, downFirst) => change({ sort: key, down: state.sort === key ? !state.down : downFirst, page: 0 });

let headsDrawn = "";
const drawHeads = (columns, shown) => {
  const now = JSON.stringify([columns.map(([key, head]) => [key, head]), state.sort, state.down]);
  if (now !== headsDrawn) {
    const focused = document.activeElement?.dataset?.key;
    headsDrawn = now;
    const all = make("input", { type: "checkbox", id: "choose-all", ariaLabel: `choose the runs on this page, ${MOST_CHOSEN} at most`, on: { change: chooseAll } });
    const heads = columns.map(([key, head, , , kind, downFirst]) => {
      const parts = kind.includes("metric") ? head.split("/") : [head];
      const words = parts.flatMap((word, place) => (place ? ["/", make("wbr"), word] : [word]));
      const button = make("button", { type: "button", on: { click: () => sortBy(key, downFirst) } }, ...words);
      button.dataset.key = key;
      const cell = make("th", { scope: "col", role: "columnheader", className: kind }, button);
      if (state.sort === key) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      return cell;
    });
    $("heads").replaceChildren(make("th", { scope: "col", role: "columnheader", className: "tick" }, all), ...heads);
    if (focused) $("heads").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    const options = columns.flatMap(([key, head, , , , downFirst]) => [[`${key} ${downFirst}`, head], [`${key} ${!downFirst}`, `${head}, reversed`]]);
    $("sort").replaceChildren(...options.map(([value, textContent]) => make("option", { value, textContent })));
    $("sort").value = `${state.sort} ${state.down}`;
  }
  const all = $("choose-all"), chosen = shown.filter((run) => state.chosen.includes(run.id)).length;
  all.checked = chosen > 0 && chosen === Math.min(shown.length, MOST_CHOSEN); all.indeterminate = chosen > 0 && !all.checked;
};

let onPage = [];
const chooseAll = () => {
  const ids = onPage.map((run) => run.id);
  const others = state.chosen.filter((run) => !ids.includes(run));
  change({ chosen: $("choose-all").checked ? [...others, ...ids].slice(0, MOST_CHOSEN) : others });
};

const choose = (id, on) => {
  if (on && state.chosen.length >= MOST_CHOSEN) {
    $(`choose-${id}`).checked = false;
    $("counted").textContent = `${MOST_CHOSEN} runs are chosen, the most that are shown side by side. Clear some first.`;
    return;
  }
  change({ chosen: on ? [...state.chosen, id] : state.chosen.filter((run) => run !== id) });
};

const kept = new Map();
const rowOf = (run, columns) => {
  const now = JSON.stringify([run, columns.map(([key]) => key), run.age === null ? "" : ago(run.age)]);
  const known = kept.get(run.id);
  if (known?.now === now) return known.row;
  const tick = known?.tick ?? make("input", { type: "checkbox", id: `choose-${run.id}`, on: { change: (event) => choose(run.id, event.target.checked) } });
  tick.ariaLabel = `choose ${run.title}`;
  const cells = columns.map(([, head, , shown, kind]) => {
    const cell = make("td", { className: kind, role: "cell" }, ...shown(run));
    cell.dataset.label = head;
    return cell;
  });
  const row = known?.row ?? make("tr", { role: "row" }, make("td", { className: "tick", role: "cell" }, tick));
  while (row.children.length > 1) row.lastChild.remove();
  row.append(...cells);
  kept.set(run.id, { now, row, tick });
  return row;
};

const drawEmpty = (runs, folder, read) => {
  const empty = $("empty");
  if (runs.size === 0) {
    const command = code("python train.py +experiment=demo");
    empty.replaceChildren(...(read ? [make("p", {}, `There is no run in ${folder} yet. Begin one, as with `, command, ", and it appears here by itself.")] : [make("p", { textContent: "Reading the runs …" })]));
  } else empty.replaceChildren(make("p", { textContent: "No run matches these filters." }), make("button", { type: "button", className: "button quiet", textContent: "Clear the filters", on: { click: () => change(noFilters) } }));
};

export const drawTable = (runs, names, folder, read) => {
  drawFilters(runs, names);
  const metrics = new Set([...runs.values()].map((run) => run.metric)), columns = columnsNow(runs, metrics.size === 1 ? [...metrics][0] : null);
  const column = columns.find(([key]) => key === state.sort) ?? columns.find(([key]) => key === "updated");
  const found = sorted(matching(runs), column[2]), last = Math.max(0, Math.ceil(found.length / PAGE) - 1), page = Math.min(state.page, last);
  onPage = found.slice(page * PAGE, (page + 1) * PAGE);
  const of = found.length === runs.size ? "" : ` of ${whole(runs.size)}`, said = `${whole(found.length)}${of} ${runs.size === 1 ? "run" : "runs"}`;
  if ($("counted").textContent !== said) $("counted").textContent = said;
  $("table-box").hidden = onPage.length === 0; $("empty").hidden = onPage.length > 0; $("counted").hidden = runs.size === 0;
  $("filters").hidden = runs.size === 0 && !hasFilters();
  if (onPage.length === 0) drawEmpty(runs, folder, read);
  drawHeads(columns, onPage);
  const rows = onPage.map((run) => rowOf(run, columns));
  for (const [place, run] of onPage.entries()) {
    kept.get(run.id).tick.checked = state.chosen.includes(run.id);
    rows[place].classList.toggle("own", state.chosen.includes(run.id));
  }
  const body = $("rows");
  if (body.children.length !== rows.length || rows.some((row, place) => body.children[place] !== row)) body.replaceChildren(...rows);
  for (const id of kept.keys()) if (!runs.has(id)) kept.delete(id);
  $("pages").hidden = last === 0;
  $("page-said").textContent = `${whole(page * PAGE + 1)} to ${whole(page * PAGE + onPage.length)} of ${whole(found.length)}`;
  $("previous").disabled = page === 0; $("next").disabled = page === last;
};

const turn = (by) => { change({ page: Math.max(0, state.page + by) }); $("table-box").scrollTop = 0; $("table-box").scrollIntoView({ block: "start" }); };
$("previous").addEventListener("click", () => turn(-1));
$("next").addEventListener("click", () => turn(1));
$("sort").addEventListener("change", () => { const [key, down] = $("sort").value.split(/ (?=true$|false$)/); change({ sort: key, down: down === "true", page: 0 }); });
