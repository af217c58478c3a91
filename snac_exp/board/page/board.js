/* The board: asks for what changed, and has the view that is open drawn. */
import { $, ago, whole } from "./dom.js";
import { state, change, onChange } from "./state.js";
import { drawTable } from "./table.js";
import { drawCompare } from "./compare.js";

const EVERY_MS = 2000;
const runs = new Map();
let token = "", names = [], asked = "", answered = null, timer = null, asking = false, folder = "", read = false;

const draw = () => {
  const comparing = state.view === "compare";
  $("runs-view").hidden = comparing; $("compare-view").hidden = !comparing;
  $("to-runs").toggleAttribute("aria-current", !comparing); $("to-compare").toggleAttribute("aria-current", comparing);
  $("num-chosen").textContent = whole(state.chosen.length);
  $("bar").hidden = comparing || state.chosen.length === 0;
  $("bar-said").textContent = state.chosen.length === 1 ? "1 run chosen" : `${state.chosen.length} runs chosen`;
  $("heading").textContent = comparing ? "Compare" : "Runs";
  document.title = comparing ? `Compare ${state.chosen.length} runs` : `Runs: ${folder}`;
  if (comparing) drawCompare(runs, names); else drawTable(runs, names, folder, read);
};

const take = (told) => {
  if (told.is_full) runs.clear();
  for (const row of told.rows) runs.set(row.id, row);
  for (const run of told.gone) runs.delete(run);
  if (told.names !== null) names = told.names;
  token = told.token; folder = told.folder; read = told.reading === null;
  for (const row of runs.values()) row.age = row.updated === null ? null : Math.max(0, told.now - row.updated);
  $("folder").textContent = folder;
  $("problem").hidden = told.problem === null; $("problem").textContent = told.problem ?? "";
  const reading = told.reading === null ? "Live" : `Reading ${whole(told.reading[0])} of ${whole(told.reading[1])} runs …`;
  if ($("live").textContent !== reading) $("live").textContent = reading;
  $("live").className = `live small ${told.reading === null ? "on" : ""}`;
};

const ask = async () => {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  const metrics = state.columns.map((name) => `&metric=${encodeURIComponent(name)}`).join("");
  if (metrics !== asked) { token = ""; asked = metrics; }
  try {
    const answer = await fetch(`/runs?since=${token}${metrics}`);
    if (!answer.ok) throw new Error(await answer.text());
    take(await answer.json());
    answered = Date.now();
    draw();
  } catch (error) {
    const since = answered === null ? "" : ` Last answer ${ago((Date.now() - answered) / 1000)}.`;
    $("live").className = "live small off";
    $("live").textContent = `No answer (${error.message}).${since} Is snac-exp board still running?`;
  } finally {
    asking = false;
    if (!document.hidden) timer = setTimeout(ask, read ? EVERY_MS : EVERY_MS / 4);
  }
};

onChange(() => {
  draw();
  if (state.columns.map((name) => `&metric=${encodeURIComponent(name)}`).join("") !== asked) ask();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
$("to-runs").addEventListener("click", () => change({ view: "runs" }));
for (const id of ["to-compare", "compare"]) $(id).addEventListener("click", () => { change({ view: "compare" }); scrollTo(0, 0); });
$("none").addEventListener("click", () => change({ chosen: [] }));
ask();
